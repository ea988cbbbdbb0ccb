"""
C{/metrics}, read as Prometheus reads it.
"""

import re
from base64 import b64encode

import bcrypt
from prometheus_client import REGISTRY, Metric
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from etcd_twisted import __version__
from etcd_twisted.auth.state import AuthState, User
from etcd_twisted.httpd.usage import Usage
from etcd_twisted.interfaces.cluster import MachineStatus, StatusReport
from etcd_twisted.interfaces.statistics import (
    BUCKET_BOUNDS_SECONDS,
    Contents,
    Durations,
    FollowerTraffic,
    IWorkers,
    Measurements,
    WorkerCounts,
)
from etcd_twisted.keyspace.commands import CompareAndDelete, CompareAndSwap, Create, Delete, Refresh, Set, Update
from etcd_twisted.testing.replica import OTHER, FakeReplica
from etcd_twisted.web.access import Access
from etcd_twisted.web.metrics import Metrics
from tests.processes.child import SOURCE
from tests.wires import GET, WATCH, Wire, ask, put


class MetricsTest(SynchronousTestCase):
    """The page, through the server."""

    def setUp(self) -> None:
        self.wire = Wire()
        self.replica = self.wire.replica
        self.addCleanup(self.wire.stop)

    def families(self) -> dict[str, Metric]:
        """Returns every metric on the page, by name."""
        answer = ask(self.wire.site, "/metrics")
        kind = answer.headers["Content-Type"]
        self.assertEqual((answer.status, kind), (200, "text/plain; version=0.0.4; charset=utf-8"))
        return {family.name: family for family in text_string_to_metric_families(answer.body.decode())}

    def values(self) -> dict[str, float]:
        """Returns the value of each line, by its name and labels as they are written."""
        values = {}
        for family in self.families().values():
            for sample in family.samples:
                labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
                values[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
        return values

    def value(self, name: str) -> float:
        return self.values()[name]


class AuthTests(MetricsTest):
    """These metrics are about users."""

    def test_wrong_passwords_are_counted(self) -> None:
        """A right one is not, nor is a guest."""
        hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
        names = ("etcd_twisted_auth_enabled", "etcd_twisted_auth_failed_logins_total")
        self.assertEqual([self.value(name) for name in names], [0, 0])
        self.replica.set_auth(AuthState(True, {"ben": User("ben", hashed, ("root",))}))
        for header, status in (("", 401), ("ben:secret", 404), ("ben:wrong", 401), ("nobody:secret", 401)):
            fields = f"Authorization: Basic {b64encode(header.encode()).decode()}\r\n" if header else ""
            self.assertEqual(ask(self.wire.site, "/v2/keys/k", fields=fields).status, status)
        self.assertEqual([self.value(name) for name in names], [1, 2])


class ServerTests(MetricsTest):
    """These metrics are about the machine's role and its log."""

    def test_roles_are_shown(self) -> None:
        names = ("etcd_server_has_leader", "etcd_server_is_leader", "etcd_twisted_server_is_standby")
        for change, expected in (
            (self.replica.lead, [1, 1, 0]),
            (self.replica.follow, [1, 0, 0]),
            (self.replica.lose_leader, [0, 0, 0]),
            (self.replica.stand_by, [1, 0, 1]),
        ):
            change()
            values = self.values()
            self.assertEqual([values[name] for name in names], expected)

    def test_measurements_are_shown(self) -> None:
        self.replica.term, self.replica.raft_index = 7, 40
        self.replica.measured = Measurements(
            42, 3, 2, 5, log_bytes=1_000, snapshot_bytes=500, clock_jumps=2, cluster_time_ahead_seconds=-0.5,
            disk_free_bytes=7_000, disk_size_bytes=9_000,
        )  # fmt: skip
        expected = {
            "etcd_twisted_server_raft_term": 7,
            "etcd_server_leader_changes_seen_total": 3,
            "etcd_server_proposals_committed_total": 42,
            "etcd_server_proposals_applied_total": 40,
            "etcd_server_proposals_pending": 2,
            "etcd_server_proposals_failed_total": 5,
            "etcd_twisted_wal_size_bytes": 1_000,
            "etcd_twisted_snapshot_size_bytes": 500,
            "etcd_twisted_disk_free_bytes": 7_000,
            "etcd_twisted_disk_size_bytes": 9_000,
            "etcd_twisted_clock_jumps_total": 2,
            "etcd_twisted_cluster_time_ahead_seconds": -0.5,
            f'etcd_server_version{{server_version="{__version__}"}}': 1,
        }
        values = self.values()
        self.assertEqual({name: values[name] for name in expected}, expected)

    def test_size_and_quota_of_the_key_space_are_shown(self) -> None:
        self.replica.measured = Measurements(contents=Contents(10, 4, 5_000, 5_100, True, 2))
        expected = {"keys": 10, "directories": 4, "size_bytes": 5_000, "quota_bytes": 5_100, "quota_alarm": 1}
        expected["quota_refused_total"] = 2
        values = self.values()
        self.assertEqual({name: values[f"etcd_twisted_store_{name}"] for name in expected}, expected)

    def test_histograms_are_cumulative(self) -> None:
        """Each has a sum and a count."""
        syncs = Durations()
        for seconds in (0.0001, 0.001, 0.0011, 3.0, 100.0):
            syncs.add(seconds)
        self.replica.measured = Measurements(syncs=syncs)
        family = self.families()["etcd_disk_wal_fsync_duration_seconds"]
        self.assertEqual(family.type, "histogram")
        buckets = {each.labels["le"]: each.value for each in family.samples if each.name.endswith("_bucket")}
        self.assertEqual(len(buckets), len(BUCKET_BOUNDS_SECONDS) + 1)
        some = {le: buckets[le] for le in ("0.00025", "0.001", "0.002", "2.048", "4.096", "8.192", "+Inf")}
        expected = {"0.00025": 1, "0.001": 2, "0.002": 3, "2.048": 3, "4.096": 4, "8.192": 4, "+Inf": 5}
        self.assertEqual(some, expected)
        values = self.values()
        self.assertEqual(values["etcd_disk_wal_fsync_duration_seconds_count"], 5)
        self.assertAlmostEqual(values["etcd_disk_wal_fsync_duration_seconds_sum"], 103.0022)
        self.assertEqual(values["etcd_twisted_server_commit_duration_seconds_count"], 0)


class StoreTests(MetricsTest):
    """These metrics are about keys."""

    def test_writes_are_counted_by_action(self) -> None:
        """A write that fails counts as done, as in etcd, and also has a counter of its own."""
        apply = self.replica.propose
        good = [
            *(Create("/c", 0), Update("/c", 0, "v"), Refresh("/c", 0, 10**12), Set("/s", 0), Set("/s", 0, "v")),
            *(CompareAndSwap("/s", 0, "w", None, "v"), CompareAndDelete("/s", 0, "w"), Delete("/c", 0)),
        ]
        for command in good:
            self.successResultOf(apply(command))
        for command in (Update("/c", 0, "v"), Delete("/c", 0), Delete("/c", 0), Set("/", 0)):
            self.failureResultOf(apply(command))
        values = self.values()
        done = {
            action: (values[f'etcd_debugging_store_writes_total{{action="{action}"}}'],
                     values[f'etcd_twisted_store_writes_failed_total{{action="{action}"}}'])
            for action in ("set", "create", "update", "delete", "compareAndSwap", "compareAndDelete")
        }  # fmt: skip
        self.assertEqual(
            done,
            {
                "set": (4, 1),  # the machine's registration is one
                "create": (1, 0),
                "update": (3, 1),
                "delete": (3, 2),
                "compareAndSwap": (1, 0),
                "compareAndDelete": (1, 0),
            },
        )

    def test_reads_are_counted(self) -> None:
        channel, _ = self.wire.connect()
        channel.dataReceived(put("v") + GET + GET + GET.replace(b"/k ", b"/none "))
        values = self.values()
        self.assertEqual(values['etcd_debugging_store_reads_total{action="get"}'], 3)
        self.assertEqual(values['etcd_twisted_store_reads_failed_total{action="get"}'], 1)

    def test_watchers_are_counted(self) -> None:
        channel, transport = self.wire.connect()
        channel.dataReceived(WATCH)
        self.assertEqual(self.value("etcd_debugging_store_watchers"), 1)
        transport.client_goes()
        self.assertEqual(self.value("etcd_debugging_store_watchers"), 0)

    def test_expired_keys_are_counted(self) -> None:
        self.successResultOf(self.replica.propose(Set("/k", 0, "v", False, self.replica.now() + 1_000_000)))
        self.wire.clock.advance(1)
        self.assertEqual(self.value("etcd_debugging_store_expires_total"), 1)


class NetworkTests(MetricsTest):
    """These metrics are about the network."""

    def test_traffic_is_counted_by_the_peers_name(self) -> None:
        """A machine that is no longer in the cluster has no metric, since its id is secret."""
        self.replica.register(OTHER)
        known = next(each for each, machine in self.replica.members().items() if machine == OTHER)
        self.replica.traffic.add_sent(known, 100)
        self.replica.traffic.add_received(known, 30)
        self.replica.traffic.add_sent("gone", 5)
        failing = FollowerTraffic()
        failing.failed()
        self.replica.traffic.followers[OTHER.name] = failing
        values = self.values()
        self.assertEqual(values['etcd_network_peer_sent_bytes_total{To="machine1"}'], 100)
        self.assertEqual(values['etcd_network_peer_received_bytes_total{From="machine1"}'], 30)
        self.assertNotIn("gone", "".join(values))
        self.assertEqual(values['etcd_network_peer_sent_failures_total{To="machine1"}'], 1)

    def test_http_requests_are_counted(self) -> None:
        """The page's own request is not yet answered while the page is made."""
        channel, _ = self.wire.connect()
        channel.dataReceived(put("v") + GET + GET.replace(b"/k ", b"/none "))
        values = self.values()
        name = "etcd_twisted_http_requests_total"
        counted = {line: value for line, value in values.items() if line.startswith(name)}
        self.assertEqual(
            counted,
            {
                'etcd_twisted_http_requests_total{code="2xx",method="PUT"}': 1,
                'etcd_twisted_http_requests_total{code="2xx",method="GET"}': 1,
                'etcd_twisted_http_requests_total{code="4xx",method="GET"}': 1,
            },
        )
        self.assertEqual(values['etcd_http_received_total{method="GET"}'], 2)
        self.assertEqual(values['etcd_http_received_total{method="PUT"}'], 1)
        failed = {line: value for line, value in values.items() if line.startswith("etcd_http_failed_total")}
        self.assertEqual(failed, {'etcd_http_failed_total{code="404",method="GET"}': 1})
        self.assertEqual(values["etcd_twisted_http_connections"], 2)
        self.assertEqual(self.value('etcd_twisted_http_requests_total{code="2xx",method="GET"}'), 2)

    def test_durations_of_successful_requests_are_measured(self) -> None:
        """Both immediate and later responses count, but waits for events do not."""
        channel, _ = self.wire.connect()
        channel.dataReceived(put("v") + GET + GET.replace(b"/k ", b"/none "))
        channel.dataReceived(WATCH)
        values = self.values()
        name = "etcd_http_successful_duration_seconds"
        counts = {method: values[f'{name}_count{{method="{method}"}}'] for method in ("GET", "HEAD", "PUT", "POST")}
        self.assertEqual(counts, {"GET": 1, "HEAD": 0, "PUT": 1, "POST": 0})
        self.assertGreater(values[f'{name}_sum{{method="PUT"}}'], 0)

    def test_durations_are_cumulative(self) -> None:
        """A longer request is in a higher bucket and in all buckets above it."""
        for seconds in (0.0001, 0.00025, 0.0003, 1.0, 100.0):
            self.wire.site.usage.answered(b"PUT", 200, seconds)
        self.wire.site.usage.answered(b"PUT", 307, 1.0)
        self.wire.site.usage.answered(b"BREW", 200, 1.0)
        values = self.values()
        name = "etcd_http_successful_duration_seconds"
        bounds = ("0.00025", "0.0005", "1.024", "+Inf")
        buckets = {le: values[f'{name}_bucket{{le="{le}",method="PUT"}}'] for le in bounds}
        self.assertEqual(buckets, {"0.00025": 2, "0.0005": 3, "1.024": 4, "+Inf": 5})
        self.assertAlmostEqual(values[f'{name}_sum{{method="PUT"}}'], 101.00065)
        self.assertEqual(values['etcd_http_received_total{method="other"}'], 1)


class MachineTests(MetricsTest):
    """These metrics are about each machine of the cluster, and every machine shows them."""

    def status(self, name: str, reachable: bool, applied: int | None, ahead: float | None = None) -> MachineStatus:
        report = None if applied is None else StatusReport(0, 0, 0, "follower", 2, applied, "1", 0)
        return MachineStatus(name, name, reachable, 0, 1.0, report=report, clock_ahead_seconds=ahead)

    def test_machine_that_never_answered_has_no_lag_and_no_clock(self) -> None:
        self.replica.measured = Measurements(commit_index=40)
        self.replica.known_statuses = {
            "a": self.status("machine0", True, 40, 0.0),
            "b": self.status("machine1", True, 42, -3.5),
            "c": self.status("machine2", False, 30),
            "d": self.status("machine3", False, None),
        }
        values = self.values()
        figures = ("up", "lag_entries", "clock_ahead_seconds")
        found = {
            machine: [values.get(f'etcd_twisted_machine_{figure}{{machine="{machine}"}}') for figure in figures]
            for machine in ("machine0", "machine1", "machine2", "machine3")
        }
        expected = {
            "machine0": [1, 2, 0],
            "machine1": [1, 0, -3.5],
            "machine2": [0, 12, None],
            "machine3": [0, None, None],
        }
        self.assertEqual(found, expected)

    def test_clocks_are_shown(self) -> None:
        """
        The page has the error of each difference, how this machine's clock was set, and the cluster time if it is
        known.
        """
        self.assertNotIn("etcd_twisted_cluster_time_error_seconds", self.values())
        other = MachineStatus("b", "machine1", True, 0, 1.0, clock_ahead_seconds=2.0, clock_error_seconds=0.25)
        self.replica.known_statuses = {"b": other}
        self.replica.measured = Measurements(clock_jump_seconds=-3600.0, cluster_time_error_seconds=0.125)
        values = self.values()
        self.assertEqual(values['etcd_twisted_machine_clock_error_seconds{machine="machine1"}'], 0.25)
        self.assertEqual(values["etcd_twisted_clock_jump_seconds"], -3600)
        self.assertEqual(values["etcd_twisted_cluster_time_error_seconds"], 0.125)


@implementer(IWorkers)
class TwoWorkers:
    """Two workers that run, and one that has ended."""

    def counts(self) -> "Deferred[dict[int, WorkerCounts]]":
        """See L{IWorkers}."""
        usage = Usage()
        usage.answered(b"GET", 200, 0.001)
        usage.count(b"BREW", 405)
        first, second = usage.counts(), Usage().counts()
        first.gets_success, first.watchers, first.failed_attempts, first.connections = 3, 4, 1, 2
        first.processor_seconds, first.memory_bytes = 1.5, 1000
        second.gets_success, second.gets_fail, second.connections = 5, 1, 7
        return succeed({1: first, 2: second})

    def ended(self) -> WorkerCounts:
        """See L{IWorkers}."""
        usage = Usage()
        usage.answered(b"GET", 200, 0.001)
        counts = usage.counts()
        counts.gets_success, counts.watchers, counts.connections, counts.failed_attempts = 100, 50, 60, 9
        counts.end()
        return counts


def _families_with_workers(test: SynchronousTestCase, wire: Wire) -> dict[str, Metric]:
    page = Metrics(wire.replica, wire.site.usage, Access(wire.replica, Clock()), TwoWorkers()).page()
    body = test.successResultOf(ensureDeferred(page)).body
    return {family.name: family for family in text_string_to_metric_families(body.decode())}


class WorkersTests(MetricsTest):
    """The machine has workers."""

    def families(self) -> dict[str, Metric]:
        """Returns the metrics of a machine with workers."""
        return _families_with_workers(self, self.wire)

    def test_counts_are_summed(self) -> None:
        """What the workers have counted is added up, those that have ended included, and asking again adds nothing."""
        for _ in range(2):
            values = self.values()
            self.assertEqual(values['etcd_twisted_http_requests_total{code="2xx",method="GET"}'], 2)
            self.assertEqual(values['etcd_http_failed_total{code="405",method="other"}'], 1)
            self.assertEqual(values['etcd_http_successful_duration_seconds_count{method="GET"}'], 2)
            self.assertEqual(values["etcd_twisted_http_connections"], 9)
            self.assertEqual(values['etcd_debugging_store_reads_total{action="get"}'], 109)
            self.assertEqual(values['etcd_twisted_store_reads_failed_total{action="get"}'], 1)
            self.assertEqual(values["etcd_debugging_store_watchers"], 4)
            self.assertEqual(values["etcd_twisted_auth_failed_logins_total"], 10)

    def test_each_worker_has_its_own(self) -> None:
        values = self.values()
        self.assertEqual(values['etcd_twisted_worker_cpu_seconds_total{worker="1"}'], 1.5)
        self.assertEqual(values['etcd_twisted_worker_resident_memory_bytes{worker="1"}'], 1000)
        self.assertEqual(values['etcd_twisted_worker_connections{worker="2"}'], 7)


class DocumentTests(MetricsTest):
    """These tests compare the page with C{docs/metrics.md}."""

    def setUp(self) -> None:
        """Makes another machine answer, and the cluster time known."""
        super().setUp()
        other = MachineStatus("2", "other", True, 0, 9.0, clock_ahead_seconds=0.0, clock_error_seconds=0.0)
        self.replica.known_statuses = {"2": other}
        self.replica.measured = Measurements(cluster_time_error_seconds=0.0)

    def families(self) -> dict[str, Metric]:
        """Returns the metrics of a machine with workers, and of one without."""
        return super().families() | _families_with_workers(self, self.wire)

    def page(self) -> str:
        return (SOURCE / "docs" / "metrics.md").read_text()

    def test_document_explains_every_metric(self) -> None:
        """The table has exactly the metrics that are served, with their types."""
        told = {}
        for names, kind in re.findall(r"^\| (`.*`) \| (\w+) \| ", self.page(), re.MULTILINE):
            told |= dict.fromkeys(re.findall(r"`(\w+)`", names), kind)
        served = {
            f"{name}_total" if family.type == "counter" else name: family.type
            for name, family in self.families().items()
        }
        self.assertEqual(told, served)

    def test_document_says_which_panels_work(self) -> None:
        """A panel that works has all the metrics that it asks for, and any other panel has none."""
        served = {name for family in self.families().values() for name in (family.name, f"{family.name}_total")}
        rows = re.findall(r"^\| .* \| (.*) \| (yes|no)\b.* \|$", self.page(), re.MULTILINE)
        self.assertGreater(len(rows), 10)
        for asks, shows in rows:
            for name in re.findall(r"`((?:etcd|process|grpc)_\w+)`", asks):
                self.assertEqual(name in served, shows == "yes", name)


class PageTests(MetricsTest):
    """These tests look at the page as a whole."""

    def test_names_follow_the_conventions(self) -> None:
        """A counter ends in C{_total}, and each metric has a sentence of help (spec, "Other client endpoints")."""
        families = self.families()
        self.assertGreater(len(families), 25)
        for name, family in families.items():
            self.assertRegex(name, r"^(etcd|process)_[a-z_]+$")
            self.assertTrue(family.documentation.endswith("."), name)
            self.assertNotEqual(family.type, "unknown", name)
            written = {sample.name for sample in family.samples}
            if family.type == "counter":
                self.assertEqual(written - {f"{name}_total"}, set())

    def test_names_are_those_of_etcd(self) -> None:
        """
        A metric has the name that etcd 3.4 gives it, as recorded from a cluster of three, or one that etcd will never
        use.
        """
        recorded = (SOURCE / "tests" / "web" / "etcd-3.4-metrics.txt").read_text().split()
        self.assertIn("etcd_server_has_leader", recorded)
        for name, family in self.families().items():
            full = f"{name}_total" if family.type == "counter" else name
            if not full.startswith("process_") and full not in recorded:
                self.assertTrue(full.startswith("etcd_twisted_"), full)

    def test_process_metrics_are_shown(self) -> None:
        values = self.values()
        for name in ("process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"):
            self.assertGreater(values[name], 0)

    def test_machines_of_one_process_share_no_metric(self) -> None:
        """They share none with the rest of the process either."""
        before = {family.name for family in REGISTRY.collect()}
        other = Wire(FakeReplica(Clock()))
        self.addCleanup(other.stop)
        self.successResultOf(other.replica.propose(Set("/k", 0, "v")))
        self.assertEqual(self.value('etcd_debugging_store_writes_total{action="set"}'), 1)
        self.assertEqual({family.name for family in REGISTRY.collect()}, before)
        self.assertFalse(any(name.startswith("etcd") for name in before))
