"""
Which machines of the group the leader takes for alive.

Must never be asked by a machine that does not lead: it has not heard the others.
"""

from twisted.internet.interfaces import IReactorTime

from etcd_twisted.consensus.raft.core import NotLeaderError
from etcd_twisted.consensus.raft.state import RaftState

ALIVE_SECONDS = 1.0
"""Who was heard within this time is alive, or within L{_ELECTIONS} election timeouts if these are longer."""

_ELECTIONS = 2


def alive_for(election: float) -> float:
    """
    Returns for how many seconds a machine that says nothing more counts as alive.

    @param election: how long a leader may be silent, in seconds.
    """
    return max(ALIVE_SECONDS, _ELECTIONS * election)


class Liveness:
    """One leader's view of it."""

    def __init__(self, clock: IReactorTime, raft: RaftState, election: float) -> None:
        """
        @param election: how long a leader may be silent, in seconds.
        """
        self._clock = clock
        self._raft = raft
        self._alive_for = alive_for(election)

    def heard(self, machine_id: str) -> float:
        """
        Returns when a machine was heard last, as far as this leader knows.

        @raise NotLeaderError: this machine does not lead.
        """
        raft = self._raft
        if raft.leadership is None:
            raise NotLeaderError
        if machine_id == raft.machine_id:
            return self._clock.seconds()
        return raft.leadership.progress[machine_id].heard

    def silent_for(self, machine_id: str, seconds: float) -> bool:
        """Returns whether a machine was not heard for so long."""
        return self.heard(machine_id) <= self._clock.seconds() - seconds

    def alive(self, machine_id: str) -> bool:
        """Returns whether a machine was heard lately."""
        return not self.silent_for(machine_id, self._alive_for)
