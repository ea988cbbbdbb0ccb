"""
Measures how long followers take to answer their leader, and counts how often they can't be reached (api, "Leader
Statistics").

It must never remember more than a bounded number of unanswered messages.
"""

import enum
from collections import deque
from collections.abc import Collection

from etcd_twisted.consensus.raft.messages import Append, AppendReply
from etcd_twisted.interfaces.statistics import FollowerTraffic, Traffic

_MOST_OPEN = 512
"""The most unanswered messages to one follower that are remembered, of each kind."""

_Asked = tuple[int, int, float]
"""The round, the last index and the time of a message."""


class _Kind(enum.Enum):
    """What a message asks a follower for."""

    NOTHING = enum.auto()
    """It only has to answer."""
    AGREEMENT = enum.auto()
    """It has to compare the entry before."""
    ENTRIES = enum.auto()
    """It has to make the entries durable."""


class Latencies:
    """The latencies of one leader's followers, from its messages and their answers."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._asked: dict[tuple[str, _Kind], deque[_Asked]] = {}
        """By the follower's name and the kind, as messages that ask for less overtake those that ask for more."""
        self._leads = False
        self._known: set[str] = set()
        """The names of those that were members when this machine began to lead, or that have answered since."""
        self._silent: set[str] = set()
        """The names of those that could not be reached and have not answered since."""

    def _of(self, name: str) -> FollowerTraffic:
        followers = self._traffic.followers
        if name not in followers:
            followers[name] = FollowerTraffic()
        return followers[name]

    def sent(self, name: str, append: Append, now: float) -> None:
        """Note a message to a follower. While the follower can't be reached it may be lost, and is not remembered."""
        if name in self._silent:
            return
        kind = _Kind.ENTRIES if append.entries else _Kind.AGREEMENT if append.last_index > 0 else _Kind.NOTHING
        asked = self._asked.setdefault((name, kind), deque(maxlen=_MOST_OPEN))
        asked.append((append.round, append.last_index, now))

    def answered(self, name: str, reply: AppendReply, now: float) -> None:
        """Note an answer of a follower. It also answers all earlier messages of the same kind."""
        self._known.add(name)
        self._silent.discard(name)
        if reply.asked > 0:
            self._answered(name, _Kind.AGREEMENT, reply, reply.asked, now)
            self._answered(name, _Kind.ENTRIES, reply, reply.index, now)
        else:
            self._answered(name, _Kind.NOTHING, reply, 0, now)

    def _answered(self, name: str, kind: _Kind, reply: AppendReply, up_to: int, now: float) -> None:
        asked = self._asked.get((name, kind))
        while asked and asked[0][0] <= reply.round and (reply.rejected or asked[0][1] <= up_to):
            self._of(name).succeeded((now - asked.popleft()[2]) * 1e3)

    def lost(self, name: str) -> None:
        """
        Note that a follower can't be reached, so that its answers will not come. This is not counted as a failure of a
        new member, to which there is no connection yet.
        """
        self._forget(name)
        self._silent.add(name)
        if name in self._known:
            self._of(name).failed()

    def _forget(self, name: str) -> None:
        for kind in _Kind:
            self._asked.pop((name, kind), None)

    def keep(self, names: Collection[str]) -> None:
        """Keep the counts of these members only."""
        if not self._leads:
            self._leads = True
            self._known.update(names)
        self._known.intersection_update(names)
        self._silent.intersection_update(names)
        for name in {each for each, _ in self._asked} - {*names}:
            self._forget(name)
        for name in self._traffic.followers.keys() - names:
            del self._traffic.followers[name]

    def clear(self) -> None:
        """Forget everything, as this machine no longer leads, or leads in a new term."""
        self._leads = False
        self._known.clear()
        self._silent.clear()
        self._asked.clear()
        self._traffic.followers.clear()
