"""
What the log says about this machine's part in elections: that it stands for one, and why it stopped leading.

Must never log the same event twice, nor change anything.
"""

from collections.abc import Callable

from twisted.logger import Logger, LogLevel

from etcd_twisted.consensus.raft.core import Raft, Role
from etcd_twisted.consensus.raft.leader import Deposition
from etcd_twisted.interfaces.cluster import Health


class Announcer:
    """Logs this for one machine. See the module."""

    _log = Logger()

    def __init__(self, core: Raft, name: str, called: Callable[[str], str], health: Callable[[], Health]) -> None:
        """
        @param name: this machine's.
        @param called: returns how the log names the machine with an id.
        @param health: returns what is known of the other machines.
        """
        self._core = core
        self._name = name
        self._called = called
        self._health = health
        self._stood_in = 0
        self._told = core.deposition

    def changed(self) -> None:
        """The role of this machine may have changed."""
        core = self._core
        if core.deposition is not None and core.deposition is not self._told:
            self._told = core.deposition
            self._tell(core.deposition)
        if core.role is Role.PRE_CANDIDATE:
            self._log.debug("No leader is heard: {name} asks who would vote for it", name=self._name)
        elif core.role is Role.CANDIDATE and self._stood_in != core.term:
            self._stood_in = core.term
            self._log.info("{name} stands for election in term {term}", name=self._name, term=core.term)

    def _tell(self, deposition: Deposition) -> None:
        intended = deposition.handed_over or deposition.removed
        level = LogLevel.info if intended else LogLevel.warn
        self._log.emit(level, "{name} no longer leads: {why}", name=self._name, why=self._why(deposition))

    def _why(self, deposition: Deposition) -> str:
        if deposition.removed:
            return "it was taken out of the cluster"
        other = self._called(deposition.heard_from)
        if deposition.handed_over:
            return f"it has handed over to {other}"
        if deposition.newer_term:
            return f"it led in term {deposition.term}, and {other} is in term {deposition.newer_term}"
        why = f"no majority has answered it for {deposition.unanswered_seconds:.1f} s"
        health = self._health()
        # Just after a failure, the machines that are gone may still count as answering.
        return why if health.has_majority else f"{why} ({health.count})"
