"""
What machines count (C{api.md}, "Statistics"): C{client.statistics}.

This module must never make up a number that a server leaves out.
"""

import re
from datetime import datetime

import attrs
import msgspec
from twisted.internet.defer import Deferred

from etcd_twisted.client.answers import decode_json
from etcd_twisted.client.errors import ConnectionFailed, UnexpectedAnswer
from etcd_twisted.client.members import LEADER, machine_of, only, urls_of
from etcd_twisted.client.messages import Answer, Request
from etcd_twisted.client.results import (
    FollowerStatistics,
    LeaderStatistics,
    Machine,
    MachineStatistics,
    StoreStatistics,
)
from etcd_twisted.client.sender import Sender

_MACHINE = Request("GET", "/v2/stats/self")
_STORE = Request("GET", "/v2/stats/store")
_NOT_LEADER = 403
_LEADER = Request("GET", "/v2/stats/leader", accepted=frozenset((_NOT_LEADER,)))

_LEADER_CHANGES = 5
"""How often the leader is looked for again because another one has taken over meanwhile."""

_UNITS_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)([a-zµμ]+)")


class _WireLeader(msgspec.Struct):
    leader: str = ""
    uptime: str = ""


class _WireMachine(msgspec.Struct, rename="camel"):
    name: str
    state: str
    start_time: str
    leader_info: _WireLeader
    recv_append_request_cnt: int
    send_append_request_cnt: int
    recv_pkg_rate: float | None = None
    recv_bandwidth_rate: float | None = None
    send_pkg_rate: float | None = None
    send_bandwidth_rate: float | None = None


class _WireCounts(msgspec.Struct):
    fail: int
    success: int


class _WireLatency(msgspec.Struct, rename="camel"):
    current: float
    average: float
    standard_deviation: float
    minimum: float
    maximum: float


class _WireFollower(msgspec.Struct):
    counts: _WireCounts
    latency: _WireLatency


class _WireFollowers(msgspec.Struct):
    leader: str
    followers: dict[str, _WireFollower]


_WireStore = msgspec.defstruct(
    "_WireStore", [(field.name, int | None, None) for field in attrs.fields(StoreStatistics)], rename="camel"
)


class Statistics:
    """What machines count. Each method returns a Deferred, which can be awaited and cancelled."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def machine(
        self, machine: str | Machine | None = None, *, timeout_seconds: float | None = None
    ) -> "Deferred[MachineStatistics]":
        """
        Read what a machine says of itself.

        @param machine: the machine, or the URL at which it serves clients; C{None} for any.
        """
        machines = only(self._sender.machines, machine)
        return self._sender.send(_MACHINE, timeout_seconds, machines).addCallback(_machine_of)

    def store(
        self, machine: str | Machine | None = None, *, timeout_seconds: float | None = None
    ) -> "Deferred[StoreStatistics]":
        """
        Read how many operations a machine has handled.

        @param machine: see L{machine}.
        """
        machines = only(self._sender.machines, machine)
        return self._sender.send(_STORE, timeout_seconds, machines).addCallback(_store_of)

    def leader(self, *, timeout_seconds: float | None = None) -> "Deferred[LeaderStatistics]":
        """
        Read how the followers answer the leader.

        @param timeout_seconds: how long each of the two requests that this takes may take.
        @raise ConnectionFailed: (as a failure) no leader has stayed for long enough to answer.
        """
        return Deferred.fromCoroutine(self._leader(timeout_seconds))

    async def _leader(self, timeout_seconds: float | None) -> LeaderStatistics:
        for _ in range(_LEADER_CHANGES):
            leader = machine_of(await self._sender.send(LEADER, timeout_seconds))
            machines = self._sender.machines.only(urls_of(leader))
            answer = await self._sender.send(_LEADER, timeout_seconds, machines)
            if answer.status != _NOT_LEADER:
                return _leader_of(answer)
        raise ConnectionFailed("the leader changes all the time")


def _machine_of(answer: Answer) -> MachineStatistics:
    wire = decode_json(answer, _WireMachine)
    try:
        started_at = datetime.fromisoformat(wire.start_time).timestamp()
        uptime_seconds = duration_seconds(wire.leader_info.uptime) if wire.leader_info.uptime else None
    except ValueError as error:
        raise UnexpectedAnswer(answer.status, answer.body, str(error)) from error
    return MachineStatistics(
        wire.name,
        wire.state.removeprefix("State").lower(),  # etcd has it as "StateLeader"
        started_at,
        wire.leader_info.leader,
        uptime_seconds,
        wire.recv_append_request_cnt,
        wire.send_append_request_cnt,
        wire.recv_pkg_rate,
        wire.recv_bandwidth_rate,
        wire.send_pkg_rate,
        wire.send_bandwidth_rate,
    )


def _leader_of(answer: Answer) -> LeaderStatistics:
    wire = decode_json(answer, _WireFollowers)
    return LeaderStatistics(wire.leader, {name: _follower(each) for name, each in wire.followers.items()})


def _follower(wire: _WireFollower) -> FollowerStatistics:
    counts, latency = wire.counts, wire.latency
    return FollowerStatistics(
        counts.fail,
        counts.success,
        latency.current,
        latency.average,
        latency.standard_deviation,
        latency.minimum,
        latency.maximum,
    )


def _store_of(answer: Answer) -> StoreStatistics:
    return StoreStatistics(**msgspec.structs.asdict(decode_json(answer, _WireStore)))


def duration_seconds(text: str) -> float:
    """
    Returns a duration that is written in Go's way, such as C{1m18.5s}, in seconds.

    @raise ValueError: it is not.
    """
    seconds = 0.0
    rest = text
    while rest:
        part = _DURATION_PART.match(rest)
        if part is None or part[2] not in _UNITS_SECONDS:
            raise ValueError(f"{text!r} is no duration")
        seconds += float(part[1]) * _UNITS_SECONDS[part[2]]
        rest = rest[part.end() :]
    return seconds
