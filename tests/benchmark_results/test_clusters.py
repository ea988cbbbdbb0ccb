"""
The conclusions that the benchmarks draw about clusters: which machine leads, for how long none did, and whether an
election was intended.
"""

import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from benchmarks import cluster, clusters, elections, failover, load, servers, writer
from benchmarks.clusters import Cluster, Leadership, View
from benchmarks.errors import BenchmarkError
from benchmarks.servers import Answer, EtcdTwisted, GoEtcd, Server
from benchmarks.throughput import Cell

OURS = Answer(
    200,
    {},
    b'{"name":"m2","state":"follower","startTime":"2026-11-24T19:40:00.000001Z",'
    b'"leaderInfo":{"leader":"m1","uptime":"1.5s"},"recvAppendRequestCnt":5,"sendAppendRequestCnt":0}',
)
ETCD = Answer(
    200,
    {},
    b'{"name":"m1","id":"b5eff649824935d4","state":"StateLeader","startTime":"2026-11-24T19:38:03.253113563Z",'
    b'"leaderInfo":{"leader":"b5eff649824935d4","uptime":"1.204182317s","startTime":"2026-11-24T19:38:04.055070874Z"},'
    b'"recvAppendRequestCnt":0,"sendAppendRequestCnt":10}',
)
LISTING = Answer(200, {"x-etcd-index": "7", "x-raft-index": "8", "x-raft-term": "2"}, b"{}")
MACHINES = Answer(200, {}, b"http://127.0.0.1:21001, http://127.0.0.1:21002, http://127.0.0.1:21003")

LEADER = View(leads=True, leader="m1", term=2, index=7, machines=3)
FOLLOWER = View(leads=False, leader="m1", term=2, index=7, machines=3)
LOST = View(leads=False, leader="", term=2, index=7, machines=3)


class ViewTests(SynchronousTestCase):
    """These tests read the answers of machines, recorded from both kinds."""

    def test_view_of_etcd_twisted(self) -> None:
        found = clusters.read_view(ETCD, LISTING, MACHINES)
        self.assertEqual(found, View(leads=True, leader="b5eff649824935d4", term=2, index=7, machines=3))

    def test_view_of_etcd_twisted_is_read(self) -> None:
        self.assertEqual(clusters.read_view(OURS, LISTING, MACHINES), FOLLOWER)

    def test_refused_answers_are_no_view(self) -> None:
        """Nothing is read from an answer without success."""
        refused = Answer(500, {}, b'{"errorCode":300}')
        for answers in ((refused, LISTING, MACHINES), (OURS, refused, MACHINES), (OURS, LISTING, refused)):
            failure = self.assertRaises(BenchmarkError, clusters.read_view, *answers)
            self.assertIn("300", str(failure))

    def test_answer_without_a_term_is_refused(self) -> None:
        self.assertRaises(BenchmarkError, clusters.term_of, Answer(307, {}, b""))


class LeadingTests(SynchronousTestCase):
    """These tests show when machines agree on a leader."""

    def test_machines_that_agree_have_a_leader(self) -> None:
        self.assertEqual(clusters.leading([FOLLOWER, LEADER, FOLLOWER]), 1)

    def test_machines_that_differ_have_no_leader(self) -> None:
        """They may differ in the leader, the term, the index and the number of machines."""
        behind = View(leads=False, leader="m1", term=2, index=6, machines=3)
        older = View(leads=False, leader="m1", term=1, index=7, machines=3)
        other = View(leads=False, leader="m2", term=2, index=7, machines=3)
        alone = View(leads=False, leader="m1", term=2, index=7, machines=1)
        for wrong in (behind, older, other, alone, LEADER, LOST):
            self.assertRaises(BenchmarkError, clusters.leading, [LEADER, FOLLOWER, wrong])

    def test_no_machine_leads(self) -> None:
        self.assertRaises(BenchmarkError, clusters.leading, [LOST, LOST, LOST])
        self.assertRaises(BenchmarkError, clusters.leading, [FOLLOWER, FOLLOWER, FOLLOWER])

    def test_too_few_machines(self) -> None:
        """Some agree while one has not joined yet."""
        two = View(leads=True, leader="m1", term=2, index=7, machines=2)
        self.assertRaises(BenchmarkError, clusters.leading, [two])


class FakeServer(Server):
    """
    A machine whose answers the test sets: one view for each request, and the last one from then on.

    @ivar views: the views; an item is C{None} when the machine does not answer.
    """

    name = "fake"
    founded = False

    def __init__(self, directory: Path, machine: str = "bench") -> None:
        super().__init__(directory, machine)
        self.views: list[View | None] = [FOLLOWER]

    def get(self, path: str) -> Answer:
        view = self.views[0]
        if path == "/v2/machines" and len(self.views) > 1:  # the last thing that it is asked for
            del self.views[0]
        if view is None:
            del self.views[0]
            raise ConnectionRefusedError
        state = "leader" if view.leads else "follower"
        return {
            "/v2/stats/self": Answer(200, {}, OURS.body.replace(b"follower", state.encode())),
            "/v2/keys/": Answer(200, {"x-etcd-index": f"{view.index}", "x-raft-term": f"{view.term}"}, b"{}"),
            "/v2/machines": MACHINES,
        }[path]

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        raise NotImplementedError

    def snapshots(self) -> set[str]:
        raise NotImplementedError

    @classmethod
    def version(cls) -> str:
        return cls.name


class FakeCluster(Cluster):
    """
    A cluster of three such machines.

    @ivar fakes: the same as C{members}.
    """

    def __init__(self, directory: Path, leader: Sequence[View | None] = (LEADER,)) -> None:
        super().__init__(FakeServer, directory)
        self.fakes = [member for member in self.members if isinstance(member, FakeServer)]
        self.fakes[0].views = list(leader)


class ClusterTests(SynchronousTestCase):
    """Several machines are one cluster when they say so."""

    def setUp(self) -> None:
        self.patch(clusters, "SEPARATE_SECONDS", 0.0)
        self.directory = Path(self.mktemp()).resolve()

    def test_machines_agree_at_last(self) -> None:
        """Machines that are silent, without a leader, or behind are asked again."""
        behind = View(leads=True, leader="m1", term=2, index=6, machines=3)
        group = FakeCluster(self.directory, [None, LOST, behind, LEADER])
        self.assertEqual(group.agree(), Leadership(group.members[0], 2))
        self.assertEqual(group.fakes[0].views, [LEADER])

    def test_machines_never_agree(self) -> None:
        """The wait is bounded, and the error has their last views."""
        self.patch(clusters, "START_SECONDS", -1.0)
        group = FakeCluster(self.directory, [LOST])
        failure = self.assertRaises(BenchmarkError, group.agree)
        self.assertIn("fake was no cluster", str(failure))
        self.assertIn("they don't agree", str(failure))

    def test_terms_are_read(self) -> None:
        self.assertEqual(FakeCluster(self.directory).terms(), [2, 2, 2])

    def test_silent_machine_is_an_error(self) -> None:
        failure = self.assertRaises(BenchmarkError, FakeCluster(self.directory, [None]).terms)
        self.assertIn("m1 of fake does not answer", str(failure))

    def test_first_machine_has_no_peers(self) -> None:
        """The others get the first one as their peer."""
        first, *others = Cluster(EtcdTwisted, self.directory).members
        self.assertNotIn("--peers", first.command())
        for member in others:
            command = member.command()
            self.assertEqual(command[command.index("--peers") + 1], f"127.0.0.1:{first.peer_port}")

    def test_each_machine_has_its_directory(self) -> None:
        self.assertEqual(len({member.data for member in Cluster(EtcdTwisted, self.directory).members}), 3)

    def test_etcd_machines_know_all(self) -> None:
        """Each gets the names and addresses of all."""
        self.patch(servers.shutil, "which", lambda program: program)
        members = Cluster(GoEtcd, self.directory).members
        everyone = ",".join(f"{each.machine}=http://127.0.0.1:{each.peer_port}" for each in members)
        for member in members:
            command = member.command()
            self.assertEqual(command[command.index("--initial-cluster") + 1], everyone)
            self.assertEqual(command[command.index("--name") + 1], member.machine)


class LoadTests(SynchronousTestCase):
    """These figures are of a cluster whose leader is loaded."""

    FIGURES = load.Throughput(1000.0, 2.0, 1.0, 5000)

    def setUp(self) -> None:
        self.urls: list[str] = []
        self.patch(load, "run", self.run_load)

    def run_load(self, url: str, *_options: object) -> load.Throughput:
        self.urls.append(url)
        return self.FIGURES

    def test_load_goes_to_the_leader(self) -> None:
        group = FakeCluster(Path(self.mktemp()).resolve())
        self.assertEqual(cluster.drive(group, Cell("PUT", 64), 1), self.FIGURES)
        self.assertEqual(set(self.urls), {group.members[0].url})

    def test_election_spoils_the_figure(self) -> None:
        """There is no figure, even if the same machine won the election."""
        group = FakeCluster(Path(self.mktemp()).resolve(), [LEADER, View(True, "m1", 3, 7, 3)])
        for follower in group.fakes[1:]:
            follower.views = [FOLLOWER, View(False, "m1", 3, 7, 3)]
        failure = self.assertRaises(BenchmarkError, cluster.drive, group, Cell("PUT", 64), 1)
        self.assertIn("in term 3", str(failure))

    def test_cells_of_a_cluster(self) -> None:
        self.assertEqual(
            list(map(str, cluster.cells([1, 64]))),
            ["PUT, 1 connection", "PUT, 64 connections", "quorum GET, 64 connections"],
        )

    def test_each_load_has_a_script(self) -> None:
        self.patch(load, "executable", lambda: "wrk")
        for cell in cluster.cells([1]):
            command = load.command("http://127.0.0.1:1", cell.verb, cell.connections, 1)
            self.assertTrue(Path(command[command.index("-s") + 1]).is_file(), cell.verb)


class SilenceTests(SynchronousTestCase):
    """The figure is the longest time without a write."""

    def test_silence_between_two_writes(self) -> None:
        self.assertAlmostEqual(failover.longest_silence([1.1, 1.2, 1.7, 1.8], 1.0, 2.0), 0.5)

    def test_silence_at_the_edges(self) -> None:
        """It may begin with the window, or end with it. A write outside does not interrupt it."""
        self.assertAlmostEqual(failover.longest_silence([0.9, 1.6, 1.9, 2.1], 1.0, 2.0), 0.6)
        self.assertAlmostEqual(failover.longest_silence([0.9, 1.1, 2.1], 1.0, 2.0), 0.9)

    def test_silence_without_writes_is_the_whole_window(self) -> None:
        self.assertEqual(failover.longest_silence([], 1.0, 2.0), 1.0)

    @given(st.lists(st.floats(0.0, 10.0), max_size=20))
    def test_silence_is_bounded(self, moments: list[float]) -> None:
        """It is no longer than the window, and no shorter than if the writes were spread evenly."""
        silence = failover.longest_silence(sorted(moments), 0.0, 10.0)
        self.assertLessEqual(silence, 10.0)
        self.assertGreaterEqual(silence, 10.0 / (len(moments) + 1) - 1e-9)

    def test_table_shows_the_median_and_longest_silence(self) -> None:
        """It has the median and the worst of each way to end."""
        ours = {what: [0.1, 0.3, 0.2] for what in failover.ENDS}
        theirs = {what: [2.0, 1.0, 3.0] for what in failover.ENDS}
        _caption, head, _rule, median, longest, *others = failover.table([ours, theirs], ["a", "b"], 3).splitlines()
        self.assertEqual(head.split(), ["a", "b", "ratio"])
        self.assertEqual(median.split()[-4:], ["median", "0.200", "2.000", "0.10"])
        self.assertEqual(longest.split()[-4:], ["longest", "0.300", "3.000", "0.10"])
        self.assertEqual(len(others), 4)


class ScriptedServer:
    """
    Answers every C{PUT} in the same way, until the test sets another.

    @ivar status: the status of its answers; C{None} for no answers.
    @ivar location: where a redirect leads.
    """

    def __init__(self, status: int | None, location: str = "") -> None:
        self.status = status
        self.location = location
        self._released = threading.Event()
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:  # the base class names it
                self.rfile.read(int(self.headers["Content-Length"]))
                status = scripted.status
                if status is None:
                    scripted.wait()
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("Content-Length", "0")
                if scripted.location:
                    self.send_header("Location", scripted.location)
                self.end_headers()

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # the base class names it
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def port(self) -> int:
        """Returns the port that it listens on."""
        return self._server.server_address[1]

    def wait(self) -> None:
        """Waits until it is closed."""
        self._released.wait()

    def close(self) -> None:
        """Stops, and waits for all of its threads."""
        self._released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class WriterTests(SynchronousTestCase):
    """The client writes all the time."""

    def setUp(self) -> None:
        self.patch(writer, "ATTEMPT_SECONDS", 30.0)  # the machine may be busy with other tests

    def scripted(self, status: int | None, location: str = "") -> ScriptedServer:
        server = ScriptedServer(status, location)
        self.addCleanup(server.close)
        return server

    def first_from(self, port: int, machines: Sequence[ScriptedServer]) -> writer.Writer:
        """Starts a writer at the first of the machines, and returns when one of them has answered."""
        with writer.Writer([machine.port for machine in machines], machines[0].port) as client:
            client.wait_for(lambda write: write.port == port, 120)
        return client

    def test_writer_keeps_to_one_machine(self) -> None:
        """It stays as long as the machine answers. Set and create are both acknowledged."""
        for status in (200, 201):
            one, two = self.scripted(status), self.scripted(status)
            with writer.Writer([two.port, one.port], one.port) as client:
                client.wait_for(lambda _write, seen=client.acknowledged: len(seen) >= 20, 120)
            self.assertEqual({write.port for write in client.acknowledged}, {one.port})
            moments = [write.at for write in client.acknowledged]
            self.assertEqual(moments, sorted(moments))

    def test_writer_follows_redirects(self) -> None:
        """A redirect is no acknowledgement."""
        leader = self.scripted(200)
        follower = self.scripted(307, f"http://127.0.0.1:{leader.port}/v2/keys/written")
        other = self.scripted(200)
        client = self.first_from(leader.port, [follower, other, leader])
        self.assertEqual({write.port for write in client.acknowledged}, {leader.port})

    def test_writer_leaves_a_machine_that_refuses(self) -> None:
        """It goes on to the next, and so on."""
        one, two, three = self.scripted(500), self.scripted(307, "http://127.0.0.1:1/elsewhere"), self.scripted(200)
        self.first_from(three.port, [one, two, three])

    def test_writer_leaves_a_silent_machine(self) -> None:
        self.patch(writer, "ATTEMPT_SECONDS", 1.0)
        one, two = self.scripted(None), self.scripted(200)
        self.first_from(two.port, [one, two])

    def test_writer_leaves_a_redirect_to_a_dead_machine(self) -> None:
        """It goes on to all the others in turn."""
        gone = self.scripted(200)
        gone.close()
        stale = self.scripted(307, f"http://127.0.0.1:{gone.port}/v2/keys/written")
        three = self.scripted(200)
        self.first_from(three.port, [stale, gone, three])

    def test_writer_without_success_has_no_writes(self) -> None:
        one = self.scripted(500)
        with writer.Writer([one.port], one.port) as client:
            self.assertRaises(BenchmarkError, client.wait_for, lambda _write: True, 0.05)
        self.assertEqual(client.acknowledged, [])

    def test_error_of_the_writer_is_raised(self) -> None:
        """Its owner gets the error."""

        def broken(_target: writer.Target, _value: str) -> tuple[int, str]:
            raise ZeroDivisionError

        self.patch(writer.Target, "put", broken)
        client = writer.Writer([1], 1)
        client.__enter__()
        self.assertRaises(ZeroDivisionError, client.__exit__, None, None, None)


class FakeLoader:
    """A wrk that has ended."""

    def poll(self) -> int:
        return 0


class ElectionsTests(SynchronousTestCase):
    """These tests count elections that were not intended."""

    def setUp(self) -> None:
        self.patch(elections, "LOOK_SECONDS", 0.0)
        self.patch(clusters, "SEPARATE_SECONDS", 0.0)
        self.patch(elections.throughput, "fill", lambda _server, _keys: None)
        self.patch(load, "begin", lambda *_options: FakeLoader())
        self.patch(load, "finish", lambda _loader, _seconds: LoadTests.FIGURES)

    def test_election_is_counted(self) -> None:
        """A term that one machine knows has begun, whatever the others know."""
        self.assertEqual(elections.terms_begun([[2, 2, 2]]), 0)
        self.assertEqual(elections.terms_begun([[2, 1, 2], [2, 2, 2], [2, 2, 2]]), 0)
        self.assertEqual(elections.terms_begun([[2, 2, 2], [2, 5, 2], [5, 5, 2]]), 3)

    def test_no_election_is_counted(self) -> None:
        group = FakeCluster(Path(self.mktemp()).resolve())
        self.assertEqual(elections.measure(group, 0, 1), elections.Result(0, 0, 1000.0))

    def test_last_views_count(self) -> None:
        """The machines are asked once more at the end."""
        group = FakeCluster(Path(self.mktemp()).resolve())
        answers = iter([[2, 2, 2], [2, 2, 2], [3, 3, 2]])
        self.patch(group, "terms", lambda: next(answers))
        enough = iter([False, False, True])
        self.assertEqual(elections.watch(group, lambda: next(enough)), 1)

    def test_election_spoils_the_rate(self) -> None:
        """The load's figure is worthless, whether its requests failed or not."""
        self.assertIsNone(elections.measured_rate(FakeLoader(), 1))
        self.patch(load, "finish", self.fail_load)
        self.assertIsNone(elections.measured_rate(FakeLoader(), 1))

    def test_failed_load_is_an_error(self) -> None:
        """Requests that fail without an election are an error."""
        self.patch(load, "finish", self.fail_load)
        self.assertRaises(BenchmarkError, elections.measured_rate, FakeLoader(), 0)

    def fail_load(self, *_options: object) -> load.Throughput:
        raise BenchmarkError("Non-2xx or 3xx responses: 1")

    def test_table_shows_elections(self) -> None:
        results = [elections.Result(0, 0, 5000.0), elections.Result(1, 2, None)]
        _caption, _head, _rule, *lines = elections.table(results, ["a", "b"], 60, 30).splitlines()
        shown = [line.split()[-3:] for line in lines]
        self.assertEqual(shown, [["0", "1", "0.00"], ["0", "2", "0.00"], ["5,000", "-", "-"]])
