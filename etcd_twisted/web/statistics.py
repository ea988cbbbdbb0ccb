"""
The contents of C{/v2/stats/self}, C{/v2/stats/leader} and C{/v2/stats/store}, in the reference's order (api,
"Statistics").

This module must never count anything: that is done where things happen. This module must never round a duration
either, since clients read durations back.
"""

from collections.abc import Mapping

import attrs
import msgspec
from msgspec import UNSET, UnsetType

from etcd_twisted.interfaces import IReplica
from etcd_twisted.interfaces.statistics import FollowerTraffic, IWorkers, WorkerCounts
from etcd_twisted.keyspace.events import format_time
from etcd_twisted.keyspace.statistics import StoreStatistics
from etcd_twisted.web.api_options import ETCD04, ApiOptions
from etcd_twisted.web.members import member_id

_MICROSECONDS = {"h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000}


class LeaderInfo(msgspec.Struct, rename="camel"):
    """The leader, and for how long it has led."""

    leader: str
    uptime: str
    start_time: str | UnsetType = UNSET


class SelfStatistics(msgspec.Struct, rename="camel"):
    """The statistics of one machine. It has the rates of its role only, and only if there was anything to count."""

    name: str
    id: str | UnsetType
    state: str
    start_time: str
    leader_info: LeaderInfo
    recv_append_request_cnt: int
    send_append_request_cnt: int
    recv_pkg_rate: float | UnsetType = UNSET
    recv_bandwidth_rate: float | UnsetType = UNSET
    send_pkg_rate: float | UnsetType = UNSET
    send_bandwidth_rate: float | UnsetType = UNSET


class Latency(msgspec.Struct, rename="camel"):
    """How long a follower took to answer, in milliseconds."""

    current: float
    average: float
    standard_deviation: float
    minimum: float
    maximum: float


class Counts(msgspec.Struct):
    """How often a follower answered, and how often it could not be reached."""

    fail: int
    success: int


class FollowerStatistics(msgspec.Struct):
    """How one follower answers."""

    latency: Latency
    counts: Counts


class LeaderStatistics(msgspec.Struct):
    """How all followers answer the leader, by name."""

    leader: str
    followers: dict[str, FollowerStatistics]


@attrs.frozen
class Counted:
    """
    What workers have counted.

    @ivar each: what those count that run, by number.
    @ivar total: what all have counted.
    """

    each: Mapping[int, WorkerCounts]
    total: WorkerCounts


async def counted(workers: IWorkers) -> Counted:
    """Returns what a machine's workers have counted by now."""
    each, total = await workers.counts(), WorkerCounts()
    for counts in (workers.ended(), *each.values()):
        total.add(counts)
    return Counted(each, total)


def store_statistics(replica: IReplica, workers: Counted | None) -> StoreStatistics:
    """
    Returns the counters of the store: those of this copy, and what workers have counted on theirs, if there are any.
    """
    statistics = replica.statistics()
    if workers is None:
        return statistics
    return msgspec.structs.replace(
        statistics,
        gets_success=statistics.gets_success + workers.total.gets_success,
        gets_fail=statistics.gets_fail + workers.total.gets_fail,
        watchers=statistics.watchers + workers.total.watchers,
    )


def self_statistics(replica: IReplica, started: int, now: float, options: ApiOptions = ETCD04) -> SelfStatistics:
    """
    Returns the statistics of this machine. Where members have ids of digits, they are as etcd 2 has them.

    @param started: when it was started, in microseconds since the epoch.
    @param now: seconds, by the clock with which the traffic is counted.
    """
    leader = replica.leader()
    traffic = replica.traffic
    uptime = 0 if leader is None else int(replica.led_seconds * 1e6)
    statistics = SelfStatistics(
        replica.name,
        UNSET,
        "leader" if replica.is_leader else "follower",
        format_time(started),
        LeaderInfo("" if leader is None else member_id(replica, options, leader.name), go_duration(uptime)),
        traffic.received.count,
        traffic.sent.count,
    )
    rates = (traffic.sent if replica.is_leader else traffic.received).rates(now)
    if rates is not None and replica.is_leader:
        statistics.send_pkg_rate, statistics.send_bandwidth_rate = rates
    elif rates is not None:
        statistics.recv_pkg_rate, statistics.recv_bandwidth_rate = rates
    if options.hex_member_ids:
        statistics.id = member_id(replica, options, replica.name)
        statistics.state = "StateLeader" if replica.is_leader else "StateFollower"
        statistics.leader_info.start_time = format_time(replica.now() - uptime)
    return statistics


def leader_statistics(replica: IReplica, options: ApiOptions = ETCD04) -> LeaderStatistics:
    """Returns the statistics of the machines that follow this one."""
    names = [machine.name for machine in replica.machines() if machine.name != replica.name]
    counted = replica.traffic.followers
    followers = {member_id(replica, options, name): counted.get(name, FollowerTraffic()) for name in names}
    return LeaderStatistics(
        member_id(replica, options, replica.name), {each: _follower(followers[each]) for each in followers}
    )


def _follower(traffic: FollowerTraffic) -> FollowerStatistics:
    latency = Latency(
        traffic.current_ms, traffic.average_ms, traffic.standard_deviation_ms, traffic.minimum_ms, traffic.maximum_ms
    )
    return FollowerStatistics(latency, Counts(traffic.fail, traffic.success))


def go_duration(microseconds: int) -> str:
    """
    Returns a duration as the reference writes it, which is Go's C{time.Duration.String}: C{1m18.544996s}, for example,
    or C{1.5ms} for less than a second.

    @param microseconds: not negative.
    """
    if microseconds == 0:
        return "0s"
    if microseconds < 1_000:
        return f"{microseconds}µs"
    if microseconds < _MICROSECONDS["s"]:
        return f"{_decimal(microseconds, 1_000)}ms"
    hours, rest = divmod(microseconds, _MICROSECONDS["h"])
    minutes, rest = divmod(rest, _MICROSECONDS["m"])
    text = f"{_decimal(rest, _MICROSECONDS['s'])}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{hours}h{text}" if hours else text


def _decimal(number: int, unit: int) -> str:
    whole, part = divmod(number, unit)
    if not part:
        return str(whole)
    digits = len(str(unit)) - 1
    return f"{whole}.{part:0{digits}}".rstrip("0")
