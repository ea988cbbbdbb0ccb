"""
What C{top} shows: a sample of what all machines say of themselves, and what two samples say of the time in between.

This module must never print anything.
"""

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from etcd_twisted.client import (
        Client,
        FollowerStatistics,
        LeaderStatistics,
        Machine,
        MachineStatistics,
        StoreStatistics,
    )

_READS = ("gets_success", "gets_fail")
_NO_CHANGES = (*_READS, "watchers")

LEAST_TIMEOUT_SECONDS = 0.5


@attrs.frozen
class MachineSample:
    """
    What one machine says of itself.

    @ivar machine: the machine.
    @ivar statistics: what it says, or C{None} if it does not answer.
    @ivar counts: how many operations it has handled, or C{None} likewise.
    @ivar problem: why it does not answer, or an empty text.
    """

    machine: "Machine"
    statistics: "MachineStatistics | None"
    counts: "StoreStatistics | None"
    problem: str = ""

    @property
    def reads(self) -> int:
        """How many reads it has answered."""
        return sum(getattr(self.counts, name) or 0 for name in _READS)

    @property
    def changes(self) -> int:
        """How many changes it has applied, those that were refused included."""
        counts = {} if self.counts is None else attrs.asdict(self.counts)
        return sum(count or 0 for name, count in counts.items() if name not in _NO_CHANGES)


@attrs.frozen
class Sample:
    """
    What the machines of a cluster say at one time.

    @ivar at: the time, in seconds of a clock that is never set.
    @ivar leader: the id of the machine that leads, or C{None}.
    @ivar machines: what each says.
    @ivar followers: how the followers answer the leader, by their names or ids.
    """

    at: float
    leader: str | None
    machines: tuple[MachineSample, ...]
    followers: "dict[str, FollowerStatistics]"


@attrs.frozen
class Row:
    """
    How one machine does.

    @ivar leads: whether it leads.
    @ivar reads_per_second: how many reads it answers, or C{None} if that is not known.
    @ivar writes_per_second: how many changes it applies, or C{None} likewise.
    @ivar watchers: how many watches it has, or C{None} likewise.
    @ivar lag: how many changes it is behind the leader, or C{None} likewise.
    @ivar latency: how it answers the leader, or C{None} for the leader itself.
    """

    sample: MachineSample
    leads: bool
    reads_per_second: float | None
    writes_per_second: float | None
    watchers: int | None
    lag: int | None
    latency: "FollowerStatistics | None"

    def as_json(self) -> dict[str, Any]:
        """Returns this as it is in the JSON."""
        machine, statistics = self.sample.machine, self.sample.statistics
        return {
            "id": machine.id,
            "name": machine.name,
            "clientURLs": list(machine.client_urls),
            "isLeader": self.leads,
            "state": None if statistics is None else statistics.state,
            "problem": self.sample.problem or None,
            "readsPerSecond": self.reads_per_second,
            "writesPerSecond": self.writes_per_second,
            "watchers": self.watchers,
            "lag": self.lag,
            "latencyMilliseconds": None if self.latency is None else self.latency.current_milliseconds,
            "averageLatencyMilliseconds": None if self.latency is None else self.latency.average_milliseconds,
        }


async def take_sample(client: "Client", timeout_seconds: float) -> Sample:
    """
    Ask all machines.

    @param timeout_seconds: how long each may take.
    @raise ClientError: no machine lists the others.
    """
    from twisted.internet.defer import Deferred, gatherResults

    timeout_seconds = max(timeout_seconds, LEAST_TIMEOUT_SECONDS)
    members = await client.members()
    asking = [Deferred.fromCoroutine(_ask(client, each, timeout_seconds)) for each in members]
    machines = await gatherResults(asking)
    followers: LeaderStatistics | None = None
    leader = await _or_none(client.leader(timeout_seconds=timeout_seconds))
    if leader is not None:
        followers = await _or_none(client.statistics.leader(timeout_seconds=timeout_seconds))
    return Sample(
        client.reactor.seconds(),
        None if leader is None else leader.id,
        tuple(machines),
        {} if followers is None else dict(followers.followers),
    )


async def _or_none(asking: Any) -> Any:
    """Returns what a request returns, or C{None} if there is no leader to answer it."""
    from etcd_twisted.client import ClientError

    try:
        return await asking
    except ClientError:
        return None


async def _ask(client: "Client", machine: "Machine", timeout_seconds: float) -> MachineSample:
    from etcd_twisted.client import ClientError

    try:
        statistics = await client.statistics.machine(machine, timeout_seconds=timeout_seconds)
        counts = await client.statistics.store(machine, timeout_seconds=timeout_seconds)
    except (ClientError, ValueError) as error:
        return MachineSample(machine, None, None, str(error))
    return MachineSample(machine, statistics, counts)


def rows_of(now: Sample, before: Sample | None) -> list[Row]:
    """Returns how each machine does, by what it says now and, for rates, what it said before."""
    earlier = {} if before is None else {each.machine.id: each for each in before.machines}
    changes = next((each.changes for each in now.machines if each.machine.id == now.leader and each.counts), None)
    return [
        _row(each, now, earlier.get(each.machine.id), 0.0 if before is None else before.at, changes)
        for each in now.machines
    ]


def _row(
    sample: MachineSample, now: Sample, before: MachineSample | None, before_at: float, changes: int | None
) -> Row:
    reads = writes = None
    seconds = now.at - before_at
    if before is not None and before.counts is not None and sample.counts is not None and seconds > 0:
        # A machine that was started again counts its reads from the beginning.
        reads = max(sample.reads - before.reads, 0) / seconds
        writes = max(sample.changes - before.changes, 0) / seconds
    lag = None if sample.counts is None or changes is None else max(changes - sample.changes, 0)
    machine = sample.machine
    return Row(
        sample,
        machine.id == now.leader,
        reads,
        writes,
        None if sample.counts is None else sample.counts.watchers,
        lag,
        now.followers.get(machine.name) or now.followers.get(machine.id),
    )
