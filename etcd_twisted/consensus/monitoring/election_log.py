"""
Logs this machine's part in elections: that it stands for one, and why it stopped leading.

It must never log the same event twice, nor change anything.
"""

from typing import Protocol

from twisted.logger import Logger, LogLevel

from etcd_twisted.consensus.raft.leader import Deposition
from etcd_twisted.consensus.raft.state import RaftState, Role
from etcd_twisted.interfaces.cluster import Health


class ElectionGroup(Protocol):
    """The group in whose elections this machine takes part."""

    @property
    def name(self) -> str:
        """This machine's name."""

    def label(self, machine_id: str) -> str:
        """Returns what log lines call a machine."""

    def health(self) -> Health:
        """Returns what is known of the cluster's health."""


class ElectionLog:
    """The election log of one machine; see the module."""

    _log = Logger()

    def __init__(self, raft: RaftState, group: ElectionGroup) -> None:
        self._raft = raft
        self._name = group.name
        self._group = group
        self._stood_in = 0
        self._logged = raft.deposition

    def changed(self) -> None:
        """Log what is new, as the role of this machine may have changed."""
        raft = self._raft
        if raft.deposition is not None and raft.deposition is not self._logged:
            self._logged = raft.deposition
            self._log_deposition(raft.deposition)
        if raft.role is Role.PRE_CANDIDATE:
            self._log.debug("No leader is heard: {name} asks who would vote for it", name=self._name)
        elif raft.role is Role.CANDIDATE and self._stood_in != raft.term:
            self._stood_in = raft.term
            self._log.info("{name} stands for election in term {term}", name=self._name, term=raft.term)

    def _log_deposition(self, deposition: Deposition) -> None:
        intended = deposition.handed_over or deposition.removed
        level = LogLevel.info if intended else LogLevel.warn
        self._log.emit(level, "{name} no longer leads: {why}", name=self._name, why=self._why(deposition))

    def _why(self, deposition: Deposition) -> str:
        if deposition.removed:
            return "it was taken out of the cluster"
        other = self._group.label(deposition.heard_from)
        if deposition.handed_over:
            return f"it has handed over to {other}"
        if deposition.newer_term:
            return f"it led in term {deposition.term}, and {other} is in term {deposition.newer_term}"
        why = f"no majority has answered it for {deposition.unanswered_seconds:.1f} s"
        health = self._group.health()
        # Just after a failure, the machines that are gone may still count as answering.
        return why if health.has_majority else f"{why} ({health.count})"
