"""
How long followers take to answer their leader, and how often they can't be reached (api, "Leader Statistics").

Must never keep more than a bounded number of questions that nobody answers.
"""

from collections import deque
from collections.abc import Collection

from etcd_twisted.consensus.messages import Append, AppendReply
from etcd_twisted.traffic import FollowerTraffic, Traffic

_MOST_OPEN = 512
"""How many questions to one follower are remembered at the most."""

_Asked = tuple[int, int, float]
"""The round, the last index and the time of a question."""


class Latencies:
    """Of one leader, from what it sends and what comes back."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._asked: dict[tuple[str, bool], deque[_Asked]] = {}
        """By the follower's name, and whether entries were asked about: what compares nothing overtakes them."""

    def _of(self, name: str) -> FollowerTraffic:
        return self._traffic.followers.setdefault(name, FollowerTraffic())

    def sent(self, name: str, append: Append, now: float) -> None:
        """A follower was asked."""
        asked = self._asked.setdefault((name, append.last_index > 0), deque(maxlen=_MOST_OPEN))
        asked.append((append.round, append.last_index, now))

    def answered(self, name: str, reply: AppendReply, now: float) -> None:
        """A follower has answered a question, and with it all that it was asked before."""
        asked = self._asked.get((name, reply.asked > 0))
        while asked and asked[0][0] <= reply.round and (reply.rejected or asked[0][1] <= reply.asked):
            self._of(name).succeeded((now - asked.popleft()[2]) * 1e3)

    def lost(self, name: str) -> None:
        """A follower can't be reached; what it was asked will not be answered."""
        self._forget(name)
        self._of(name).failed()

    def _forget(self, name: str) -> None:
        self._asked.pop((name, True), None)
        self._asked.pop((name, False), None)

    def keep(self, names: Collection[str]) -> None:
        """These are the followers; what was counted of others is forgotten."""
        for name in self._traffic.followers.keys() - names:
            del self._traffic.followers[name]
            self._forget(name)

    def clear(self) -> None:
        """This machine leads no longer, or anew."""
        self._asked.clear()
        self._traffic.followers.clear()
