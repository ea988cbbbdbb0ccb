"""
What the log says of this machine's own part in elections: that it stands, and why it leads no longer.

Must never say the same twice, nor change anything.
"""

from collections.abc import Callable

from twisted.logger import Logger, LogLevel

from etcd_twisted.consensus.core import Raft, Role
from etcd_twisted.consensus.leadership import Deposition


class Announcer:
    """One machine's."""

    _log = Logger()

    def __init__(self, core: Raft, name: str, called: Callable[[str], str], count: Callable[[], str]) -> None:
        """
        @param name: this machine's.
        @param called: how the log calls the machine of an id.
        @param count: says how many machines answer.
        """
        self._core = core
        self._name = name
        self._called = called
        self._count = count
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
        self._log.emit(level, "{name} leads no longer: {why}", name=self._name, why=self._why(deposition))

    def _why(self, deposition: Deposition) -> str:
        if deposition.removed:
            return "it was taken out of the cluster"
        other = self._called(deposition.heard_from)
        if deposition.handed_over:
            return f"it has handed over to {other}"
        if deposition.newer_term:
            return f"it led in term {deposition.term}, and {other} is in term {deposition.newer_term}"
        return f"no majority has answered it for {deposition.unanswered_seconds:.1f} s ({self._count()})"
