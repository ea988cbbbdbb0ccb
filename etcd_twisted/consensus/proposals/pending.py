"""
What was proposed here and is on its way through the log, and who waits to be told what became of it.

An entry that this machine proposed as a leader is known by its index and term. When that index is applied it is known
whether the entry made it; until then it may, though this machine no longer leads. Must never say that a change was not
made when it may yet be.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from etcd_twisted.consensus.raft.entries import Entry
from etcd_twisted.errors import NotDoneError
from etcd_twisted.interfaces import OutcomeCallback
from etcd_twisted.keyspace.commands import Change
from etcd_twisted.keyspace.events import Event
from etcd_twisted.waiters import Waiters


def telling(answer: "Deferred[Any]") -> OutcomeCallback:
    """Returns what fires a Deferred with what it is told."""

    def told(outcome: Event | Exception | None) -> None:
        if isinstance(outcome, Exception):
            answer.errback(outcome)
        else:
            answer.callback(outcome)

    return told


class Proposal(msgspec.Struct, frozen=True):
    """
    A change on its way.

    @ivar command: C{None} for a change of the group.
    @ivar term: the term it was proposed in.
    @ivar size: how many bytes it has in the log.
    @ivar told: called once with what became of it.
    """

    command: Change | None
    term: int
    size: int
    told: OutcomeCallback

    _log: ClassVar[Logger] = Logger()

    def tell(self, outcome: Event | Exception | None) -> None:
        """Say what became of it. Others wait too: they must be told, though this one can't be."""
        try:
            self.told(outcome)
        except Exception:
            self._log.failure("Who made a change could not be told what became of it")


class Proposals:
    """
    All of one machine's.

    @ivar size: how many bytes they have in the log, all together.
    @ivar failed: how many were not made, or may not have been.
    """

    def __init__(self, clock: IReactorTime, timeout_seconds: float, unknown: Callable[[], Exception]) -> None:
        """
        @param timeout_seconds: how long who waits is kept waiting when this machine no longer leads.
        @param unknown: makes the error for a change that may have been made or not.
        """
        self.size = 0
        self.failed = 0
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._unknown = unknown
        self._proposals: dict[int, Proposal] = {}
        self._growths: dict[int, int] = {}  # of the oldest of them, as far as L{growth} was asked for
        self._growth = 0
        self._too_late: IDelayedCall | None = None
        self._none = Waiters()

    @property
    def pending(self) -> int:
        """How many wait."""
        return len(self._proposals)

    def add(self, index: int, proposal: Proposal) -> None:
        """
        Wait for the entry at C{index}. What waits there already was replaced in this log, but may be in another one.
        """
        replaced = self._proposals.get(index)
        self._proposals[index] = proposal
        self.size += proposal.size
        if replaced is not None:
            self.size -= replaced.size
            self._forget_growths()
            self._fail(replaced, self._unknown())

    def growth(self, of_one: Callable[[Change], int]) -> int:
        """
        By how many bytes they make the key space larger, all together and at the most.

        @param of_one: tells that of one change, when it is asked about the first time.
        """
        growths = self._growths
        for index in reversed(self._proposals):
            if index in growths:
                break
            command = self._proposals[index].command
            growths[index] = added = 0 if command is None else max(0, of_one(command))
            self._growth += added
        return self._growth

    def _forget_growths(self) -> None:
        self._growths = {}
        self._growth = 0

    def _fail(self, proposal: Proposal, error: Exception) -> None:
        self.failed += 1
        proposal.tell(error)

    def take(self, entry: Entry) -> Proposal | None:
        """
        The proposal that an entry to be applied was made from, C{None} for another leader's. The caller answers.

        One whose place another leader's entry has taken is told that it was not done.
        """
        proposal = self._proposals.pop(entry.index, None)
        if proposal is None:
            return None
        self.size -= proposal.size
        if self._growths:
            self._growth -= self._growths.pop(entry.index, 0)
        if self._none.waiting and not self._proposals:
            self._none.fire()
        if proposal.term != entry.term:
            self._fail(proposal, NotDoneError())
            return None
        return proposal

    def leads(self) -> None:
        """This machine leads: what waits will be settled."""
        self._wait_no_longer()

    def leads_no_longer(self) -> None:
        """Another machine may lead: what waits may never be settled here."""
        if self._proposals and self._too_late is None:
            self._too_late = self._clock.callLater(self._timeout_seconds, self._give_up)

    def _give_up(self) -> None:
        self._too_late = None
        self.fail(self._unknown())

    def _wait_no_longer(self) -> None:
        if self._too_late is not None:
            self._too_late.cancel()
            self._too_late = None

    def skip(self, index: int) -> None:
        """What is up to C{index} came with a snapshot: whose entries these were can't be told."""
        skipped = [each for each in self._proposals if each <= index]
        self._forget_growths()
        for each in skipped:
            proposal = self._proposals.pop(each)
            self.size -= proposal.size
            self._fail(proposal, self._unknown())
        if not self._proposals:
            self._none.fire()

    def fail(self, error: Exception) -> None:
        """Nobody here will be told more than C{error}."""
        self._wait_no_longer()
        proposals, self._proposals = self._proposals, {}
        self.size = 0
        self._forget_growths()
        for proposal in proposals.values():
            self._fail(proposal, error)
        self._none.fire()

    def when_none(self) -> "Deferred[None]":
        """Fires when nobody waits."""
        waiting = self._none.wait()
        if not self._proposals:
            self._none.fire()
        return waiting
