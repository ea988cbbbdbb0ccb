"""
How long followers take to answer their leader, and how often they can't be reached (api, "Leader Statistics").

Must never keep more than a bounded number of questions that nobody answers.
"""

import enum
from collections import deque
from collections.abc import Collection

from etcd_twisted.consensus.raft.messages import Append, AppendReply
from etcd_twisted.interfaces.statistics import FollowerTraffic, Traffic

_MOST_OPEN = 512
"""How many questions to one follower are remembered at the most."""

_Asked = tuple[int, int, float]
"""The round, the last index and the time of a question."""


class _Kind(enum.Enum):
    """What a follower is asked for."""

    NOTHING = enum.auto()
    """Whether it is there."""
    AGREEMENT = enum.auto()
    """Whether it has the entry before."""
    ENTRIES = enum.auto()
    """To have these on its disk."""


class Latencies:
    """Of one leader, from what it sends and what comes back."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._asked: dict[tuple[str, _Kind], deque[_Asked]] = {}
        """By the follower's name: what asks for less overtakes what asks for more."""
        self._leads = False
        self._known: set[str] = set()
        """Who was a member when this machine came to lead, or was heard since."""
        self._silent: set[str] = set()
        """Who could not be reached, and was not heard since."""

    def _of(self, name: str) -> FollowerTraffic:
        return self._traffic.followers.setdefault(name, FollowerTraffic())

    def sent(self, name: str, append: Append, now: float) -> None:
        """A follower was asked. While it can't be reached that may be lost too, and is not remembered."""
        if name in self._silent:
            return
        kind = _Kind.ENTRIES if append.entries else _Kind.AGREEMENT if append.last_index > 0 else _Kind.NOTHING
        asked = self._asked.setdefault((name, kind), deque(maxlen=_MOST_OPEN))
        asked.append((append.round, append.last_index, now))

    def answered(self, name: str, reply: AppendReply, now: float) -> None:
        """A follower has answered a question, and with it all that it was asked before."""
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
        A follower can't be reached; what it was asked will not be answered. That is no failure of one that has just
        been taken in and is still to be connected to.
        """
        self._forget(name)
        self._silent.add(name)
        if name in self._known:
            self._of(name).failed()

    def _forget(self, name: str) -> None:
        for kind in _Kind:
            self._asked.pop((name, kind), None)

    def keep(self, names: Collection[str]) -> None:
        """These are the members; what was counted of others is forgotten."""
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
        """This machine no longer leads, or anew."""
        self._leads = False
        self._known.clear()
        self._silent.clear()
        self._asked.clear()
        self._traffic.followers.clear()
