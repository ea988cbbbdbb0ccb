"""
What a port counts about its usage.
"""

from typing import ClassVar

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.httpd.fast.site import FastSite
from etcd_twisted.httpd.site import Site
from etcd_twisted.httpd.usage import METHODS, MOST_RECENT, OTHER, Usage
from etcd_twisted.interfaces.statistics import BUCKET_BOUNDS_SECONDS, Durations
from tests.wires import GET, HEAD, VERSION, WATCH, Wire, put, read_answers

SECONDS = st.sampled_from(BUCKET_BOUNDS_SECONDS) | st.floats(0, 20)
REQUESTS = st.lists(st.tuples(st.sampled_from(METHODS) | st.text("AZ", max_size=3), st.integers(100, 599)))


class UsageTests(SynchronousTestCase):
    """These tests are about the counters."""

    @given(REQUESTS)
    def test_each_request_is_counted_once(self, requests: list[tuple[str, int]]) -> None:
        """It is counted by its method, if that is known, and by the class of its status."""
        usage = Usage()
        expected: dict[tuple[str, str], int] = {}
        for method, status in requests:
            usage.count(method.encode(), status)
            line = (method if method in METHODS else OTHER, f"{status // 100}xx")
            expected[line] = expected.get(line, 0) + 1
        self.assertEqual(usage.requests(), expected)

    def test_invented_methods_are_counted_together(self) -> None:
        usage = Usage()
        for number in range(1_000):
            usage.count(b"M%d" % number, 405)
        self.assertEqual(usage.requests(), {(OTHER, "4xx"): 1_000})
        self.assertEqual(len(usage._answers), 1)

    @given(st.lists(st.tuples(st.sampled_from((b"GET", b"PUT", b"BREW")), st.sampled_from((200, 201, 404)), SECONDS)))
    def test_durations_are_those_of_requests_that_succeeded(self, answered: list[tuple[bytes, int, float]]) -> None:
        """They are the same whenever somebody reads them, and in the same buckets as when each is added alone."""
        usage = Usage()
        expected = {b"GET": Durations(), b"PUT": Durations()}
        for method, status, seconds in answered:
            usage.answered(method, status, seconds)
            if status < 300 and method in expected:
                expected[method].add(seconds)
            if seconds > 1:
                usage.add_up()
        for method, durations in expected.items():
            self.assertEqual(usage.durations[method].counts, durations.counts)
            self.assertAlmostEqual(usage.durations[method].total_seconds, durations.total_seconds)
        self.assertEqual(sum(usage.by_status().values()), len(answered))

    def test_few_durations_are_kept(self) -> None:
        """The durations of requests are added up once there are many, although nobody asks."""
        usage = Usage()
        for number in range(3 * MOST_RECENT):
            usage.answered(b"M%d" % number, 405, 0.001)
            self.assertLess(sum(map(len, usage.recent.values())), MOST_RECENT)
        self.assertEqual(len(usage.recent), 1)


class PortTests(SynchronousTestCase):
    """
    These tests read the counters of a port through the server.

    @cvar kind: the door that requests come in by.
    """

    kind: ClassVar[type[Site]] = Site

    def setUp(self) -> None:
        self.wire = Wire(kind=self.kind)
        self.addCleanup(self.wire.stop)
        self.usage = self.wire.site.usage

    def test_keys_and_pages_are_counted(self) -> None:
        """Each is counted once, when its response begins."""
        channel, transport = self.wire.connect()
        channel.dataReceived(put("v") + GET + HEAD + VERSION + GET.replace(b"/k ", b"/none ") + VERSION[:-2])
        read_answers(transport.value(), "PUT", "GET", "HEAD", "GET", "GET")
        expected = {("PUT", "2xx"): 1, ("GET", "2xx"): 2, ("HEAD", "2xx"): 1, ("GET", "4xx"): 1}
        self.assertEqual(self.usage.requests(), expected)
        channel.dataReceived(VERSION[-2:])
        self.assertEqual(self.usage.requests()["GET", "2xx"], 3)

    def test_a_watch_is_counted_when_it_begins(self) -> None:
        """The head of the response has been sent by then."""
        channel, _ = self.wire.connect()
        channel.dataReceived(WATCH)
        self.assertEqual(self.usage.requests(), {("GET", "2xx"): 1})

    def test_refused_requests_are_counted(self) -> None:
        """These are malformed requests and one whose body is too long."""
        for data in (b"nonsense\r\n\r\n", put("x" * 2_000)):
            channel, _ = self.wire.connect()
            channel.dataReceived(data)
        self.assertEqual(self.usage.requests(), {(OTHER, "4xx"): 2})

    def test_unknown_methods_are_counted(self) -> None:
        """Either door answers them."""
        channel, _ = self.wire.connect()
        channel.dataReceived(VERSION.replace(b"GET", b"BREW") + GET.replace(b"GET", b"BREW"))
        self.assertEqual(self.usage.requests(), {(OTHER, "4xx"): 2})

    def test_open_connections_are_counted(self) -> None:
        """The count is right whichever side closes them."""
        connected = [self.wire.connect() for _ in range(3)]
        self.assertEqual(self.usage.connections, 3)
        connected[2][0].dataReceived(VERSION)  # the fast door does not answer it
        self.assertEqual(self.usage.connections, 3)
        connected[0][1].client_goes()
        connected[1][0].abort()
        self.assertEqual(self.usage.connections, 1)


class FastPortTests(PortTests):
    """The same tests use the fast door, which hands some requests to the other one."""

    kind = FastSite

    def test_few_durations_are_kept(self) -> None:
        """The door adds up what it remembers of each request."""
        channel, transport = self.wire.connect()
        for _ in range(2 * MOST_RECENT + 1):
            channel.dataReceived(GET)
            self.wire.clock.advance(0)
            transport.clear()
        self.assertEqual(sum(map(len, self.usage.recent.values())), 1)
        self.assertEqual(self.usage.requests(), {("GET", "4xx"): 2 * MOST_RECENT + 1})
