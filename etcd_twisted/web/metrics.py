"""
C{/metrics}: everything that is counted, for Prometheus, in its text format.

Names and units are etcd's where etcd 3.4 has the metric; all others begin with C{etcd_twisted_} and follow
Prometheus's conventions. This module must never count anything: that is done where things happen, and read here when
somebody asks. This module must never keep a figure beyond one machine's life either, nor let two machines of one
process share one.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from etcd_twisted import __version__
from etcd_twisted.httpd.responses import Response
from etcd_twisted.httpd.usage import Usage
from etcd_twisted.interfaces import IReplica
from etcd_twisted.interfaces.statistics import BUCKET_BOUNDS_SECONDS, Contents, Durations, IWorkers, Measurements
from etcd_twisted.keyspace.statistics import StoreStatistics
from etcd_twisted.web.access import Access
from etcd_twisted.web.statistics import Counted, counted, store_statistics

_WRITES = {
    "set": "sets",
    "create": "create",
    "update": "update",
    "delete": "delete",
    "compareAndSwap": "compare_and_swap",
    "compareAndDelete": "compare_and_delete",
}
"""For each action, the fields of L{StoreStatistics} that count it, without C{_success} and C{_fail}."""

_BUCKETS = (*(f"{bound:g}" for bound in BUCKET_BOUNDS_SECONDS), "+Inf")


class Metrics:
    """The metrics of one machine."""

    def __init__(self, replica: IReplica, usage: Usage, access: Access, workers: IWorkers | None = None) -> None:
        """
        @param usage: the usage of the client port.
        @param access: the access control of the client port.
        @param workers: the processes that serve the port, if it is not this one.
        """
        self._registry = CollectorRegistry()
        self._collector = _MachineCollector(replica, usage, access)
        self._registry.register(self._collector)
        ProcessCollector(registry=self._registry)
        self._workers = workers

    async def page(self) -> Response:
        """Returns all metrics as they are now."""
        if self._workers is not None:
            self._collector.workers = await counted(self._workers)
        kind = b"Content-Type: %s\r\n" % CONTENT_TYPE_PLAIN_0_0_4.encode()
        return Response(200, kind, generate_latest(self._registry))


class _MachineCollector(Collector):
    """
    Reads what was counted.

    @ivar workers: what the workers have counted; C{None} if there are none.
    """

    workers: Counted | None = None

    def __init__(self, replica: IReplica, usage: Usage, access: Access) -> None:
        self._replica = replica
        self._usage = usage
        self._access = access

    def collect(self) -> Iterator[Metric]:
        """See L{Collector}."""
        measured = self._replica.measurements()
        yield from self._server(measured)
        yield from self._disk(measured)
        yield from _store(store_statistics(self._replica, self.workers))
        yield from _contents(measured.contents)
        yield from self._peers()
        yield from self._machines(measured)
        yield from _clocks(measured)
        yield from _http(self._summed_usage())
        yield from self._auth()
        if self.workers is not None:
            yield from _workers(self.workers)

    def _server(self, measured: Measurements) -> Iterator[Metric]:
        replica = self._replica
        version = GaugeMetricFamily("etcd_server_version", "The version that runs.", labels=["server_version"])
        version.add_metric([__version__], 1)
        yield version
        yield GaugeMetricFamily(
            "etcd_server_has_leader", "Whether this machine knows of a leader.", float(replica.leader() is not None)
        )
        yield GaugeMetricFamily("etcd_server_is_leader", "Whether this machine leads.", float(replica.is_leader))
        yield GaugeMetricFamily(
            "etcd_twisted_server_is_standby", "Whether this machine is a standby.", float(replica.standby)
        )
        yield CounterMetricFamily(
            "etcd_server_leader_changes_seen_total", "How often a machine began to lead.", measured.leader_changes
        )
        yield GaugeMetricFamily("etcd_twisted_server_raft_term", "The Raft term.", replica.term)
        yield CounterMetricFamily(
            "etcd_server_proposals_committed_total", "The log index that is committed.", measured.commit_index
        )
        yield CounterMetricFamily(
            "etcd_server_proposals_applied_total", "The log index that is applied.", replica.raft_index
        )
        yield GaugeMetricFamily(
            "etcd_server_proposals_pending", "Changes whose outcome is not known yet.", measured.proposals_pending
        )
        yield CounterMetricFamily(
            "etcd_server_proposals_failed_total",
            "Changes that were not made, or whose outcome is unknown.",
            measured.proposals_failed,
        )
        yield _histogram(
            "etcd_twisted_server_commit_duration_seconds",
            "How long it takes until a quorum has a batch of this leader.",
            measured.commits,
        )

    def _disk(self, measured: Measurements) -> Iterator[Metric]:
        yield _histogram(
            "etcd_disk_wal_fsync_duration_seconds", "How long the disk takes to sync the log.", measured.syncs
        )
        yield GaugeMetricFamily("etcd_twisted_wal_size_bytes", "The size of the log on disk.", measured.log_bytes)
        yield GaugeMetricFamily(
            "etcd_twisted_snapshot_size_bytes", "The size of the snapshot on disk.", measured.snapshot_bytes
        )
        yield GaugeMetricFamily(
            "etcd_twisted_disk_free_bytes",
            "What may still be written to the file system of the data directory.",
            measured.disk_free_bytes,
        )
        yield GaugeMetricFamily(
            "etcd_twisted_disk_size_bytes",
            "The size of the file system of the data directory.",
            measured.disk_size_bytes,
        )

    def _peers(self) -> Iterator[Metric]:
        replica = self._replica
        names = {machine_id: machine.name for machine_id, machine in replica.members().items()}
        sent = CounterMetricFamily(
            "etcd_network_peer_sent_bytes_total", "Bytes sent to another machine.", labels=["To"]
        )
        received = CounterMetricFamily(
            "etcd_network_peer_received_bytes_total", "Bytes received from another machine.", labels=["From"]
        )
        for machine_id, traffic in replica.traffic.peers.items():
            if (name := names.get(machine_id)) is not None:
                sent.add_metric([name], traffic.sent)
                received.add_metric([name], traffic.received)
        failures = CounterMetricFamily(
            "etcd_network_peer_sent_failures_total", "How often a follower could not be reached.", labels=["To"]
        )
        for name, followed in replica.traffic.followers.items():
            failures.add_metric([name], followed.fail)
        yield from (sent, received, failures)

    def _machines(self, measured: Measurements) -> Iterator[Metric]:
        """Returns what this machine knows of each member, itself included."""
        up = GaugeMetricFamily("etcd_twisted_machine_up", "Whether a machine answers this one.", labels=["machine"])
        lag = GaugeMetricFamily(
            "etcd_twisted_machine_lag_entries",
            "How many committed log entries a machine has not applied, as far as this one knows.",
            labels=["machine"],
        )
        ahead = GaugeMetricFamily(
            "etcd_twisted_machine_clock_ahead_seconds",
            "How far a machine's clock is ahead of this one's.",
            labels=["machine"],
        )
        error = GaugeMetricFamily(
            "etcd_twisted_machine_clock_error_seconds",
            "How wrong etcd_twisted_machine_clock_ahead_seconds may be.",
            labels=["machine"],
        )
        statuses = list(self._replica.statuses().values())
        committed = max([measured.commit_index, *(each.report.applied for each in statuses if each.report)])
        for status in statuses:
            up.add_metric([status.name], float(status.reachable))
            if status.report is not None:
                lag.add_metric([status.name], committed - status.report.applied)
            if status.clock_ahead_seconds is not None:
                ahead.add_metric([status.name], status.clock_ahead_seconds)
            if status.clock_error_seconds is not None:
                error.add_metric([status.name], status.clock_error_seconds)
        yield from (up, lag, ahead, error)

    def _summed_usage(self) -> Usage:
        """Returns the usage of the port, in whatever process."""
        if self.workers is None:
            return self._usage
        usage = Usage()
        for counts in (self._usage.counts(), self.workers.total):
            usage.add(counts)
        return usage

    def _auth(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "etcd_twisted_auth_enabled", "Whether users are enabled.", float(self._replica.auth.enabled)
        )
        failed = self._access.failed_attempts + (0 if self.workers is None else self.workers.total.failed_attempts)
        yield CounterMetricFamily("etcd_twisted_auth_failed_logins_total", "Passwords that were wrong.", failed)


def _http(usage: Usage) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "etcd_twisted_http_requests_total",
        "Requests to the client port that were answered.",
        labels=["method", "code"],
    )
    for (method, status), count in sorted(usage.requests().items()):
        requests.add_metric([method, status], count)
    yield requests
    received = CounterMetricFamily(
        "etcd_http_received_total", "Requests to the client port, by method.", labels=["method"]
    )
    failed = CounterMetricFamily(
        "etcd_http_failed_total", "Requests to the client port that failed.", labels=["method", "code"]
    )
    methods: Counter[str] = Counter()
    for (method, code), count in sorted(usage.by_status().items()):
        methods[method] += count
        if code >= 400:
            failed.add_metric([method, str(code)], count)
    for method, count in methods.items():
        received.add_metric([method], count)
    yield from (received, failed)
    took = HistogramMetricFamily(
        "etcd_http_successful_duration_seconds",
        "How long successful requests about keys take, except waits for events.",
        labels=["method"],
    )
    for name, durations in usage.durations.items():
        took.add_metric([name.decode()], _buckets(durations), durations.total_seconds)
    yield took
    yield GaugeMetricFamily("etcd_twisted_http_connections", "Open connections to the client port.", usage.connections)


def _workers(workers: Counted) -> Iterator[Metric]:
    """Yields what each worker uses."""
    seconds = CounterMetricFamily(
        "etcd_twisted_worker_cpu_seconds_total", "The processor time of a worker.", labels=["worker"]
    )
    memory = GaugeMetricFamily(
        "etcd_twisted_worker_resident_memory_bytes", "The memory that a worker takes.", labels=["worker"]
    )
    connections = GaugeMetricFamily(
        "etcd_twisted_worker_connections", "Open connections to a worker.", labels=["worker"]
    )
    for number, counts in sorted(workers.each.items()):
        seconds.add_metric([str(number)], counts.processor_seconds)
        memory.add_metric([str(number)], counts.memory_bytes)
        connections.add_metric([str(number)], counts.connections)
    yield from (seconds, memory, connections)


def _clocks(measured: Measurements) -> Iterator[Metric]:
    yield CounterMetricFamily(
        "etcd_twisted_clock_jumps_total", "How often this machine's clock was set.", measured.clock_jumps
    )
    yield GaugeMetricFamily(
        "etcd_twisted_clock_jump_seconds", "By how much its clock was set last.", measured.clock_jump_seconds
    )
    yield GaugeMetricFamily(
        "etcd_twisted_cluster_time_ahead_seconds",
        "How far the time by which keys expire is ahead of this machine's clock.",
        measured.cluster_time_ahead_seconds,
    )
    if measured.cluster_time_error_seconds is not None:
        yield GaugeMetricFamily(
            "etcd_twisted_cluster_time_error_seconds",
            "By how much the cluster time may differ from what the leader knows.",
            measured.cluster_time_error_seconds,
        )


def _store(statistics: StoreStatistics) -> Iterator[Metric]:
    text = "How many clients wait for events here."
    yield GaugeMetricFamily("etcd_debugging_store_watchers", text, statistics.watchers)
    yield CounterMetricFamily("etcd_debugging_store_expires_total", "Keys whose TTL ended.", statistics.expire_count)
    yield from _actions("reads", "Reads of this machine's copy", {"get": "gets"}, statistics)
    yield from _actions("writes", "Changes of the key space", _WRITES, statistics)


def _contents(contents: Contents) -> Iterator[Metric]:
    prefix = "etcd_twisted_store_"
    yield GaugeMetricFamily(prefix + "keys", "Keys that have a value.", contents.keys)
    yield GaugeMetricFamily(prefix + "directories", "Directories.", contents.directories)
    yield GaugeMetricFamily(prefix + "size_bytes", "The size of the key space.", contents.size_bytes)
    yield GaugeMetricFamily(
        prefix + "quota_bytes", "The largest size of the key space; 0 for any.", contents.quota_bytes
    )
    yield GaugeMetricFamily(
        prefix + "quota_alarm",
        "Whether the key space is nearly as large as the quota, or larger.",
        float(contents.alarm),
    )
    yield CounterMetricFamily(
        prefix + "quota_refused_total", "Changes refused, since they would exceed the quota.", contents.refused
    )


def _actions(kind: str, text: str, fields: dict[str, str], statistics: StoreStatistics) -> Iterator[Metric]:
    """Yields how often each action was done, and how often it failed. As in etcd, the former includes the latter."""
    done = CounterMetricFamily(f"etcd_debugging_store_{kind}_total", f"{text}.", labels=["action"])
    failed = CounterMetricFamily(f"etcd_twisted_store_{kind}_failed_total", f"{text} that failed.", labels=["action"])
    for action, field in fields.items():
        failures = getattr(statistics, f"{field}_fail")
        done.add_metric([action], getattr(statistics, f"{field}_success") + failures)
        failed.add_metric([action], failures)
    yield from (done, failed)


def _histogram(name: str, text: str, durations: Durations) -> Metric:
    return HistogramMetricFamily(name, text, _buckets(durations), durations.total_seconds)


def _buckets(durations: Durations) -> list[tuple[str, float]]:
    """Returns cumulative buckets, as Prometheus counts."""
    return list(zip(_BUCKETS, accumulate(durations.counts), strict=True))
