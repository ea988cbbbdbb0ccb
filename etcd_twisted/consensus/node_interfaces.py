"""
What the node drives, as it uses it: the log on disk, the way to the other machines, the state machine, and what this
machine is about to propose.

This module must never say more of them than the node needs.
"""

from collections.abc import Sized
from typing import Protocol

from twisted.internet.defer import Deferred

from etcd_twisted.consensus.raft.core import Raft
from etcd_twisted.consensus.raft.entries import Entry, Record
from etcd_twisted.consensus.raft.messages import Message


class LogOnDisk(Protocol):
    """The write-ahead log, as the node uses it."""

    def append(self, record: Record, wait_seconds: float = 0.0) -> "Deferred[None] | None":
        """
        Append a record. The node appends the next one only when this one is durable.

        @param wait_seconds: how long this call may wait until the record is durable.
        @return: C{None} if the record is durable; otherwise a Deferred that fires when it is, or errbacks.
        """


class MessageSender(Protocol):
    """Carries messages to the other machines."""

    def send(self, machine_id: str, messages: list[Message]) -> None:
        """Send messages to another machine; they may be lost."""

    def send_snapshot(self, machine_id: str, term: int) -> "Deferred[None]":
        """
        Send the newest snapshot to another machine.

        @return: a Deferred that fires when the snapshot has arrived or was given up.
        """


class EntryApplier(Protocol):
    """
    The state machine to which committed entries are applied.

    @ivar applied_index: the index of the last entry that was applied.
    """

    applied_index: int

    def room(self) -> int:
        """Returns how many entries may be applied in this turn. The node asks again in each turn."""

    def apply(self, entries: tuple[Entry, ...]) -> None:
        """Apply committed entries, which come in order."""


class NewProposals(Protocol):
    """The changes that this machine is about to put into the log."""

    @property
    def new(self) -> Sized:
        """Those that are not in the log yet."""

    def log(self, raft: Raft) -> None:
        """Put them into the log. They fail if this machine does not lead any more."""
