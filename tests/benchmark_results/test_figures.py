"""
The benchmarks' own arithmetic and parsing: a figure that is read wrongly is worse than none.
"""

import argparse
import contextlib
import io
import signal
import socket
from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from benchmarks import __main__ as command_line
from benchmarks import crowd, files, growth, load, servers, stall, tables, turns
from benchmarks.errors import BenchmarkError

PUT_64 = """\
Running 1s test @ http://127.0.0.1:24791
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     3.69ms    1.70ms  17.07ms   78.22%
    Req/Sec    16.95k     1.98k   19.33k    70.00%
  Latency Distribution
     50%    3.31ms
     75%    4.26ms
     90%    5.77ms
     99%    9.72ms
  16890 requests in 1.01s, 10.76MB read
Requests/sec:  16757.22
Transfer/sec:     10.68MB
"""

PUT_1 = """\
Running 1s test @ http://127.0.0.1:24791
  1 threads and 1 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   460.22us  233.64us   4.14ms   93.89%
    Req/Sec     2.17k   293.33     2.62k    63.64%
  Latency Distribution
     50%  426.00us
     75%  530.00us
     90%  622.00us
     99%    1.09ms
  2376 requests in 1.10s, 1.54MB read
Requests/sec:   2159.94
Transfer/sec:      1.40MB
"""

REFUSED = """\
Running 1s test @ http://127.0.0.1:24791/v2/keys/nothing
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.67ms    1.43ms  12.03ms   78.25%
    Req/Sec    40.15k     1.85k   44.28k    70.00%
  Latency Distribution
     50%    1.47ms
     75%    1.97ms
     90%    3.07ms
     99%    7.43ms
  39952 requests in 1.00s, 15.70MB read
  Non-2xx or 3xx responses: 39952
Requests/sec:  39836.79
Transfer/sec:     15.65MB
"""

SILENT = """\
Running 3s test @ http://127.0.0.1:24791/v2/keys/x?wait=true
  1 threads and 2 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     0.00us    0.00us   0.00us    -nan%
    Req/Sec     0.00      0.00     0.00      -nan%
  Latency Distribution
     50%    0.00us
     75%    0.00us
     90%    0.00us
     99%    0.00us
  0 requests in 3.01s, 746.00B read
Requests/sec:      0.00
Transfer/sec:     248.02B
"""

BROKEN = """\
Running 2s test @ http://127.0.0.1:24791
  1 threads and 8 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   442.39us  813.96us  10.11ms   91.86%
    Req/Sec    24.62k     8.14k   30.74k    90.91%
  Latency Distribution
     50%  204.00us
     75%  331.00us
     90%  842.00us
     99%    4.30ms
  26920 requests in 2.00s, 13.60MB read
  Socket errors: connect 0, read 8, write 68192, timeout 0
Requests/sec:  13454.78
Transfer/sec:      6.80MB
"""

MOUNTS = """\
/dev/vda / ext4 rw,relatime 0 0
tmpfs /run tmpfs rw,nosuid 0 0
/dev/vdb /srv/big\\040disk xfs rw 0 0
tmpfs /srv/shadow tmpfs rw 0 0
/dev/vdc /srv/shadow btrfs rw 0 0
"""


class ParseTests(SynchronousTestCase):
    """These tests parse wrk's output, recorded from version 4.1."""

    def test_milliseconds_are_read(self) -> None:
        self.assertEqual(load.parse(PUT_64), load.Throughput(rate=16757.22, p99=9.72, p50=3.31, requests=16890))

    def test_microseconds_are_read(self) -> None:
        """wrk picks the unit for each figure by itself."""
        self.assertEqual(load.parse(PUT_1), load.Throughput(rate=2159.94, p99=1.09, p50=0.426, requests=2376))
        self.assertEqual(load.parse(PUT_1.replace("1.09ms", "622.00us")).p99, 0.622)

    def test_seconds_are_read(self) -> None:
        """wrk pads them with a space."""
        self.assertEqual(load.parse(PUT_64.replace("9.72ms", "1.20s ")).p99, 1200.0)

    def test_refused_requests_are_an_error(self) -> None:
        """Answers without success are no figure, however many there were in a second."""
        failure = self.assertRaises(BenchmarkError, load.parse, REFUSED)
        self.assertIn("Non-2xx or 3xx responses: 39952", str(failure))

    def test_broken_connections_are_an_error(self) -> None:
        failure = self.assertRaises(BenchmarkError, load.parse, BROKEN)
        self.assertIn("read 8, write 68192", str(failure))

    def test_timeouts_are_an_error(self) -> None:
        broken = BROKEN.replace("read 8, write 68192, timeout 0", "read 0, write 0, timeout 3")
        self.assertRaises(BenchmarkError, load.parse, broken)

    def test_silence_is_an_error(self) -> None:
        self.assertRaises(BenchmarkError, load.parse, SILENT)

    def test_foreign_output_is_shown(self) -> None:
        """Output without the figures is not interpreted."""
        failure = self.assertRaises(BenchmarkError, load.parse, "unable to connect")
        self.assertIn("unable to connect", str(failure))


class TableTests(SynchronousTestCase):
    """These tests show figures in tables."""

    def test_ratio_has_two_decimals(self) -> None:
        self.assertEqual(tables.ratio(23_000.0, 15_500.0), "1.48")
        self.assertEqual(tables.ratio(0.0, 15_500.0), "0.00")

    def test_missing_figure_has_no_ratio(self) -> None:
        """There is none for a figure that is missing, or for one divided by zero."""
        for ours, theirs in ((None, 1.0), (1.0, None), (1.0, 0.0)):
            self.assertEqual(tables.ratio(ours, theirs), "-")

    def test_table_compares_two_servers(self) -> None:
        lines = [tables.Line("memory, MB", (120.4, 226.0)), tables.Line("listing, s", (0.2, None), decimals=2)]
        self.assertEqual(
            tables.compared(lines, ["ours", "etcd"]),
            "            ours  etcd  ratio\n"
            "----------  ----  ----  -----\n"
            "memory, MB   120   226   0.53\n"
            "listing, s  0.20     -      -",
        )

    def test_table_of_one_server_has_no_ratios(self) -> None:
        lines = [tables.Line("memory, MB", (1234.0,))]
        self.assertEqual(tables.compared(lines, ["ours"]), "             ours\n----------  -----\nmemory, MB  1,234")

    @given(st.lists(st.lists(st.text("xyz", min_size=1), min_size=3, max_size=3), min_size=1, max_size=5))
    def test_columns_are_aligned(self, rows: list[list[str]]) -> None:
        """Every line of a table is as long as its rule, and has its cells in order."""
        lines = tables.aligned(rows).splitlines()
        self.assertEqual({len(line) for line in lines}, {len(lines[1])})
        self.assertEqual([line.split() for line in (lines[0], *lines[2:])], rows)

    def test_file_system_is_the_innermost_mount(self) -> None:
        """Of two mounts in one place the later counts."""
        for place, kind in (
            ("/home/bench", "ext4"),
            ("/run/bench", "tmpfs"),
            ("/runner", "ext4"),
            ("/srv/big disk/bench", "xfs"),
            ("/srv/shadow", "btrfs"),
        ):
            self.assertEqual(tables.file_system(Path(place), MOUNTS), kind, place)


class TurnTests(SynchronousTestCase):
    """One process records the reactor's turns, and another reads and judges them."""

    def test_calls_are_recorded(self) -> None:
        """Every call is recorded, schedules the next, and is read back as the time since the one before."""
        clock = Clock()
        notes = turns.Notes(clock)
        notes.note()
        clock.pump([turns.PAUSE_SECONDS] * 10)
        path = Path(self.mktemp())
        notes.save(path)
        noted = turns.read(path)
        self.assertEqual(len(noted), 10)
        for before, turn in pairwise(noted):
            self.assertAlmostEqual(turn.ended - turn.gap, before.ended)
            self.assertGreaterEqual(turn.cpu, 0.0)

    def test_missing_file_of_turns_is_an_error(self) -> None:
        self.assertRaises(OSError, turns.read, Path(self.mktemp()))

    def test_longest_turn_in_a_window(self) -> None:
        """Each figure has its own worst turn. A turn wholly outside does not count."""
        noted = [
            turns.Turn(ended=1.0, gap=0.9, cpu=0.8),
            turns.Turn(ended=2.0, gap=0.01, cpu=0.009),
            turns.Turn(ended=2.5, gap=0.02, cpu=0.001),
            turns.Turn(ended=4.0, gap=0.7, cpu=0.6),
        ]
        self.assertEqual(stall.longest(noted, stall.Window("", 1.5, 3.0)), stall.Longest(gap=0.02, cpu=0.009))

    def test_turns_at_the_edges_count(self) -> None:
        """A turn that began before the window or ended after it held the reactor inside it as well."""
        noted = [turns.Turn(ended=2.0, gap=0.5, cpu=0.1), turns.Turn(ended=3.4, gap=0.6, cpu=0.2)]
        self.assertEqual(stall.longest(noted, stall.Window("", 1.8, 3.0)), stall.Longest(gap=0.6, cpu=0.2))

    def test_no_turns_are_an_error(self) -> None:
        noted = [turns.Turn(ended=1.0, gap=0.1, cpu=0.1)]
        self.assertRaises(BenchmarkError, stall.longest, noted, stall.Window("writes", 2.0, 3.0))


class GrowthTests(SynchronousTestCase):
    """These tests show what the benchmark varies, and its table."""

    def test_all_shapes_are_measured(self) -> None:
        """All numbers that matter are there, each in the usual shape apart from itself."""
        found = growth.series(1_000_000)
        self.assertEqual([shape.keys for shape in found["keys"]], [1_000, 100_000, 1_000_000])
        self.assertEqual([shape.children for shape in found["children"]], [10, 1_000, 100_000])
        self.assertEqual([shape.value for shape in found["value"]], [64, 4_096, 100_000])
        self.assertEqual([shape.connections for shape in found["connections"]], [10, 64, 1_000, 10_000])
        for what in ("keys", "value", "connections"):
            self.assertIn(growth.Shape(), found[what])

    def test_shape_writes_every_key_once(self) -> None:
        """A shape has as many keys as it says, in directories of the size that it says."""
        paths = [request.split()[1] for request in growth.Shape(keys=25, children=10).requests()]
        self.assertEqual(len(set(paths)), 25)
        sizes = [sum(path.startswith(b"/v2/keys/grow/d%d/" % each) for path in paths) for each in range(3)]
        self.assertEqual(sizes, [10, 10, 5])

    def test_growth_table_has_a_row_for_each_series(self) -> None:
        """A shape of two series has a row for each, and the ratios are of the same method."""
        shape = growth.Shape()
        varied = {"keys": [shape], "value": [shape]}
        table = growth.table(varied, {shape: (1500.0, 300.0, 1000.0, 400.0)}, ["a", "b"])
        _head, _rule, *rows = [line.split() for line in table.splitlines()]
        figures = ["1,500", "300", "1,000", "400", "1.50", "0.75"]
        self.assertEqual(rows, [["keys", "1,000", *figures], ["value", "64", *figures]])

    def test_failed_measurement_leaves_a_dash(self) -> None:
        """The failure is reported, and costs no other figure."""

        def failing(_server: servers.Server, _shape: growth.Shape, method: str, *_often: int) -> float:
            if method == "PUT":
                raise BenchmarkError("wrk's requests failed")
            return 5.0

        self.patch(load, "executable", lambda: "wrk")
        self.patch(files, "allow", lambda _connections: None)
        self.patch(growth, "_rate", failing)
        self.patch(growth, "series", lambda _most: {"keys": [growth.Shape(keys=3)]})
        directory = Path(self.mktemp()).resolve()
        directory.mkdir(parents=True)
        *_heads, row = growth.run([servers.EtcdTwisted.name], directory, 1, 1, 1).splitlines()
        self.assertEqual(row.split(), ["keys", "3", "-", "5"])


class FilesTests(SynchronousTestCase):
    """These tests are about limits of open files."""

    def setUp(self) -> None:
        self.set: list[tuple[int, int]] = []
        self.patch(files.resource, "setrlimit", lambda _which, limits: self.set.append(limits))

    def limited(self, soft: int, hard: int) -> None:
        """Gives this process such limits."""
        self.patch(files.resource, "getrlimit", lambda _which: (soft, hard))

    def test_limit_is_raised_as_needed(self) -> None:
        """No hard limit is changed."""
        self.limited(1024, 20_000)
        files.allow(10_000)
        self.assertEqual(self.set, [(10_000 + files.SPARE_FILES, 20_000)])

    def test_sufficient_limit_is_left_alone(self) -> None:
        for soft in (20_000, files.resource.RLIM_INFINITY):
            self.limited(soft, files.resource.RLIM_INFINITY)
            files.allow(10_000)
        self.assertEqual(self.set, [])

    def test_forbidden_limit_names_the_remedy(self) -> None:
        self.limited(1024, 4096)
        failure = self.assertRaises(BenchmarkError, files.allow, 10_000)
        self.assertIn("ulimit -Hn", str(failure))


class RequestTests(SynchronousTestCase):
    """These tests are about the requests that the benchmarks send without wrk."""

    def test_put_has_a_form(self) -> None:
        head, _blank, body = crowd.put("/v2/keys/bench/k1", "x" * 64).partition(b"\r\n\r\n")
        self.assertEqual(body, b"value=" + b"x" * 64)
        self.assertIn(b"Content-Length: 70", head.split(b"\r\n"))
        self.assertTrue(head.startswith(b"PUT /v2/keys/bench/k1 HTTP/1.1\r\n"))

    def answered(self, *pieces: bytes) -> crowd.Connection:
        """Returns a connection whose server has sent some pieces, each of which is read by itself, and closed."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            connection = crowd.Connection(listening.getsockname()[1])
            self.addCleanup(connection.close)
            server, _address = listening.accept()
        with server:
            for piece in pieces:
                server.sendall(piece)
                connection.receive()
        return connection

    def test_answer_in_pieces(self) -> None:
        """A watch counts as accepted with its headers, and as answered with its last chunk."""
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        waiting = self.answered(head)
        self.assertEqual((waiting.accepted, waiting.answered, waiting.body), (1, 0, b""))
        half = self.answered(head, b"5\r\nev")
        self.assertEqual((half.accepted, half.answered), (1, 0))
        whole = self.answered(head, b"5\r\nev", b"ent\r\n0\r\n\r\n")
        self.assertEqual((whole.accepted, whole.answered, whole.body), (1, 1, b"event"))

    def test_pipelined_answers_all_count(self) -> None:
        """The body is the latest one's."""
        one, two = (b"HTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\n%d" % each for each in (1, 2))
        connection = self.answered(one + two)
        self.assertEqual((connection.answered, connection.body), (2, b"2"))

    def test_unsuccessful_answer_ends_the_measurement(self) -> None:
        """A redirect does so too."""
        for status in (b"307 Temporary Redirect", b"404 Not Found", b"500 Internal Server Error"):
            refused = b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n"
            failure = self.assertRaises(BenchmarkError, self.answered, refused)
            self.assertIn(status[:3].decode(), str(failure))

    def test_closed_connection_is_an_error(self) -> None:
        connection = self.answered()
        self.assertRaises(BenchmarkError, connection.receive)


class CommandLineTests(SynchronousTestCase):
    """These tests are about the command line."""

    def test_options_have_defaults(self) -> None:
        options = command_line.parser().parse_args([])
        self.assertEqual((options.work, options.rounds, options.seconds), ("comparison", 5, 5))
        self.assertEqual(tuple(options.connections), (1, 64, 256))

    def test_nothing_to_measure_is_refused(self) -> None:
        """A number of zero would measure nothing."""
        for text in ("0", "-1", "many"):
            self.assertRaises((ValueError, argparse.ArgumentTypeError), command_line.positive, text)


class MissingTests(SynchronousTestCase):
    """A missing program is named with its package, and nothing is measured without it."""

    def run_without(self, missing: str, *arguments: str) -> tuple[int, str, str]:
        """Returns the status, the output and the errors of a run on a machine without a program."""
        self.patch(servers.shutil, "which", lambda name: None if name == missing else f"/usr/bin/{name}")
        output, errors = io.StringIO(), io.StringIO()
        self.addCleanup(signal.signal, signal.SIGTERM, signal.getsignal(signal.SIGTERM))
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            status = command_line.main(["--directory", self.mktemp(), *arguments])
        return status, output.getvalue(), errors.getvalue()

    def test_missing_wrk_is_named_with_its_remedy(self) -> None:
        self.patch(servers.GoEtcd, "version", lambda: "etcd 3.4")
        for work in ("comparison", "throughput", "cluster", "growth"):
            status, _output, errors = self.run_without("wrk", work)
            self.assertEqual(status, 1)
            self.assertEqual(errors.count("\n"), 1)
            self.assertIn("apt-get install wrk", errors)

    def test_missing_etcd_is_left_out(self) -> None:
        """This server is measured alone. A run that asked only for etcd fails with the reason."""
        self.patch(command_line.comparison, "run", lambda names, *_options: f"measured: {names}")
        status, output, errors = self.run_without("etcd")
        self.assertEqual((status, errors), (0, ""))
        self.assertIn("apt-get install etcd-server", output)
        self.assertIn("measured: ['etcd_twisted']", output)
        status, _output, errors = self.run_without("etcd", "--only", "etcd")
        self.assertEqual(status, 1)
        self.assertIn("apt-get install etcd-server", errors)
