"""
Which machines of the group are alive, as far as the leader knows.

Only a leader may ask: other machines do not hear from all members.
"""

from twisted.internet.interfaces import IReactorTime

from etcd_twisted.consensus.raft.errors import NotLeaderError
from etcd_twisted.consensus.raft.state import RaftState

ALIVE_SECONDS = 1.0
"""A machine is alive if it was heard from within this time, or within L{_ELECTIONS} election timeouts if longer."""

_ELECTIONS = 2


def alive_seconds(election_timeout_seconds: float) -> float:
    """
    Returns how many seconds a machine still counts as alive after it was heard from last.

    @param election_timeout_seconds: how long a leader may be silent.
    """
    return max(ALIVE_SECONDS, _ELECTIONS * election_timeout_seconds)


class Liveness:
    """The liveness of the members, as one leader sees it."""

    def __init__(self, clock: IReactorTime, raft: RaftState, election_timeout_seconds: float) -> None:
        """
        @param election_timeout_seconds: how long a leader may be silent.
        """
        self._clock = clock
        self._raft = raft
        self._alive_seconds = alive_seconds(election_timeout_seconds)

    def heard(self, machine_id: str) -> float:
        """
        Returns when this leader heard from a machine last, in seconds.

        @raise NotLeaderError: this machine does not lead.
        """
        raft = self._raft
        if raft.leadership is None:
            raise NotLeaderError
        if machine_id == raft.machine_id:
            return self._clock.seconds()
        return raft.leadership.progress[machine_id].heard

    def silent_for(self, machine_id: str, seconds: float) -> bool:
        """Returns whether this leader has not heard from a machine for at least C{seconds}."""
        return self.heard(machine_id) <= self._clock.seconds() - seconds

    def alive(self, machine_id: str) -> bool:
        """Returns whether this leader has heard from a machine lately."""
        return not self.silent_for(machine_id, self._alive_seconds)
