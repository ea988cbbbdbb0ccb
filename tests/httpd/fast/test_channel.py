"""
The fast door gives the same responses as L{Channel}, under the same limits.
"""

import re
from collections.abc import Sequence
from functools import partial
from typing import Any, cast
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.auth.state import AuthState
from etcd_twisted.httpd.fast import channel as fast
from etcd_twisted.httpd.fast.channel import FastChannel
from etcd_twisted.httpd.fast.heads import may_become_common
from etcd_twisted.httpd.fast.shared import LONGEST_COMMON_HEAD_BYTES
from etcd_twisted.httpd.fast.site import FastSite
from etcd_twisted.httpd.handler import ParsedRequest
from etcd_twisted.httpd.ordinary.channel import Channel
from etcd_twisted.httpd.responses import AnyResponse
from etcd_twisted.httpd.site import Site
from etcd_twisted.keyspace.commands import Set
from etcd_twisted.net.sockets import write_now
from etcd_twisted.testing.replica import FakeReplica
from etcd_twisted.web.auth.passwords import Passwords
from tests import examples
from tests.httpd import test_site, test_slow_clients
from tests.web.auth.threads import COST
from tests.web.auth.users import users
from tests.wires import GET, STREAM, VERSION, WATCH, Transport, Wire, put, read_answers

DATE = re.compile(rb"Date: [^\r]*\r\n")
KEYS = st.sampled_from(
    ["", "/", "/a", "/a/b", "/a//./b/", "/%C3%A4", "/_h", "/%zz", "/%ff", "/a#b", "s", "\u00e4", "/a b",
     "/\u96ea/\u00e4", "/\udcff", "/../../x", "/a;b", "/%2Fa", "/%00"]
)  # fmt: skip
PREFIXES = st.sampled_from(
    ["/v2/keys"] * 12
    + ["//v2/keys", "/v2//keys", "/./v2/keys", "/v2/../v2/keys", "/%762/keys", "http://x/v2/keys", "/v2/stats"]
)
FORMS = st.lists(
    st.sampled_from(
        ["value=v", "value=%zz", "ttl=5", "ttl=x", "dir=true", "prevExist=false", "prevExist=true", "prevValue=v",
         "prevIndex=2", "recursive=true", "sorted=true", "quorum=true", "wait=true&waitIndex=1", "value=" + "x" * 300,
         "value=\u96ea", "value=\udcff", "dir=1", "prevExist=f", "refresh=t", "prevIndex=0", "a;b=c", "&", "="]
    ),
    max_size=3,
).map("&".join)  # fmt: skip
FIELDS = st.lists(
    st.sampled_from(
        ["Accept: */*", "Content-Type: application/x-www-form-urlencoded", "Content-Type: text/plain",
         "content-TYPE: Application/X-WWW-Form-Urlencoded; charset=UTF-8",
         "Connection: keep-alive", "Connection: close", "X: y", "X:", " folded", "no header", "Host: z",
         "Expect: 100-continue", "Content-Length: 1", "X: " + "x" * 3_000, "Accept-Language: de",
         "Sec-Fetch-Site: none", "User-Agent: Mozilla/5.0", "User-Agent: curl", "Origin: null", "Origin: http://x",
         "Origin: http://[::1]", "Authorization: Basic cm9vdDpyb290", "authorization:  bearer x ", "AUTHORIZATION:",
         "Authorization: Basic b:c, Basic \u00e4", "Proxy-Authorization: Basic cm9vdDpw"]
    ),
    max_size=2,
)  # fmt: skip
HOSTS = st.sampled_from(["x", "x", "[::1]", "[0::1]:80", "localhost.", "a.example:4001", "[x]", "x@localhost", ""])
METHODS = st.sampled_from(["GET", "GET", "PUT", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "PATCH", "get", "G T"])
VERSIONS = st.sampled_from(["HTTP/1.1"] * 8 + ["HTTP/1.0", "HTTP/2", "http/1.1", ""])


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Generates a request, which is sometimes malformed or for another page."""
    if draw(st.integers(0, 9)) == 0:
        others = [
            VERSION, b"\r\n" + GET, b"GET /v2/keys HTTP/1.1\n\n", b"\x16\x03\x01", b"x" * 9_000, b"\n" + GET,
            GET.replace(b"\r\n", b"\n"), GET.replace(b"\r\nHost", b"\nHost"), b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        ]  # fmt: skip
        return draw(st.sampled_from(others))
    method, form = draw(METHODS), draw(FORMS)
    target = draw(PREFIXES) + draw(KEYS)
    in_query = draw(st.booleans())
    body = "" if in_query else form
    target += "?" + form if in_query else ""
    lines = [f"{method} {target} {draw(VERSIONS)}", f"Host: {draw(HOSTS)}", *draw(FIELDS)]
    match draw(st.sampled_from(["length", "length", "length", "chunked"])) if body else "none":
        case "length":
            lines.append(f"Content-Length: {len(body)}")
        case "chunked":
            lines.append("Transfer-Encoding: chunked")
            body = f"{len(body):x}\r\n{body}\r\n0\r\n\r\n"
    return "\r\n".join([*lines, "", body]).encode("utf-8", "surrogateescape")


class Socket(Transport):
    """
    A transport with the part of a TCP connection that the fast door reads.

    @ivar takes: how many bytes the system takes at once.
    @ivar refuses: the error when it takes none.
    """

    connected = True

    def __init__(self, channel: FastChannel) -> None:
        super().__init__(channel)
        self.takes = 0
        self.refuses: OSError = BlockingIOError()
        self.dataBuffer = b""
        self._tempDataBuffer: list[bytes] = []
        self.socket = self
        channel.write = partial(write_now, cast(Any, self))

    def send(self, data: bytes) -> int:
        """Takes bytes as a system's socket does."""
        if not self.takes:
            raise self.refuses
        taken = data[: self.takes]
        super().write(taken)
        self.takes -= len(taken)
        return len(taken)

    def write(self, data: bytes) -> None:
        self._tempDataBuffer.append(data)

    def begin_to_send(self) -> None:
        """The reactor finds that there may be room."""
        self.dataBuffer += b"".join(self._tempDataBuffer)
        self._tempDataBuffer.clear()
        self.dataBuffer = self.dataBuffer[self.send(self.dataBuffer) :]


class EagerTests(SynchronousTestCase):
    """Responses go to the system at once."""

    def test_bytes_are_sent_in_order(self) -> None:
        """Nothing is sent ahead of bytes that the system has not yet taken."""
        wire = Wire(kind=FastSite)
        self.addCleanup(wire.stop)
        channel, _ = wire.connect()
        assert isinstance(channel, FastChannel)
        channel.transport = transport = Socket(channel)
        for takes, data, sent in (
            (9, b"abc", b"abc"),
            (2, b"def", b"abcde"),
            (9, b"ghi", b"abcde"),
        ):
            transport.takes = takes
            channel.write(data)
            self.assertEqual(transport.value(), sent)
        transport.takes = 2
        transport.begin_to_send()
        transport.takes = 9
        channel.write(b"jkl")
        self.assertEqual(transport.value(), b"abcdefg")
        transport.begin_to_send()
        channel.write(b"mno")
        self.assertEqual(transport.value(), b"abcdefghijklmno")

    def test_what_the_system_does_not_take_is_left_to_the_transport(self) -> None:
        """The transport tries again and finds out what is wrong."""
        for refusal in (BlockingIOError(), ConnectionResetError(), BrokenPipeError(), OSError()):
            wire = Wire(kind=FastSite)
            self.addCleanup(wire.stop)
            channel, _ = wire.connect()
            assert isinstance(channel, FastChannel)
            channel.transport = transport = Socket(channel)
            transport.refuses = refusal
            channel.write(b"abc")
            self.assertEqual(transport._tempDataBuffer, [b"abc"])


class TogetherTests(SynchronousTestCase):
    """Requests that came together are answered together."""

    def setUp(self) -> None:
        self.wire = Wire(kind=FastSite, most_body=100_000)
        self.addCleanup(self.wire.stop)
        self.channel, self.transport = self.wire.connect()
        self.written: list[int] = []
        write = self.channel.write

        def counted(data: bytes) -> None:
            self.written.append(data.count(b"HTTP/1.1 "))
            write(data)

        self.patch(self.channel, "write", counted)

    def receive(self, *requests: bytes) -> list[int]:
        """Returns how many responses are in each of the pieces that are sent."""
        self.written.clear()
        self.channel.dataReceived(b"".join(requests))
        self.wire.clock.advance(0)
        return self.written

    def test_responses_to_requests_that_came_together_are_sent_together(self) -> None:
        """At most 32 of them are sent together."""
        self.assertEqual(self.receive(GET), [1])
        self.assertEqual(self.receive(*[GET] * 5), [5])
        self.assertEqual(self.receive(*[GET] * 5, GET[:9]), [5])
        self.assertEqual(self.receive(GET[9:]), [1])
        self.assertEqual(self.receive(*[GET] * 70), [32, 32, 6])

    def test_responses_do_not_wait_for_later_requests(self) -> None:
        """A request that is answered later, or by the ordinary door, delays none of the earlier responses."""
        self.wire.replica.holding = True
        self.assertEqual(self.receive(GET, GET, put("v"), GET, GET), [2])
        self.wire.replica.release()
        self.assertEqual(self.written, [2, 1, 2])
        self.assertEqual(self.receive(GET, put("v"), GET), [3], "a change that is made at once delays none either")
        self.assertEqual(self.receive(GET, GET, WATCH), [2, 1])
        self.assertEqual(self.receive(put("w"))[:1], [])
        other, transport = self.wire.connect()
        other.dataReceived(GET + GET + VERSION)
        self.assertEqual([answer.status for answer in read_answers(transport.value(), "GET", "GET", "GET")], [200] * 3)

    def stall(self, behind: bytes) -> None:
        """Makes the client send much at once, then something more, and read only when all of it has arrived."""
        self.receive(put("x" * 1_000))
        self.transport.clear()
        self.transport.room = 3_000
        self.receive(*[GET] * 10, behind)

    def test_client_that_does_not_read_and_waits(self) -> None:
        """The server notices when such a client goes."""
        for request in (WATCH, STREAM):
            self.channel, self.transport = self.wire.connect()
            self.stall(request)
            self.assertEqual(self.transport.producerState, "producing")
            self.transport.client_reads()
            self.assertEqual(self.transport.producerState, "producing")
            self.assertEqual(self.transport.value().count(b"HTTP/1.1 200"), 11)

    def test_client_that_does_not_read_and_sends_more(self) -> None:
        """What the client sends waits until it has read, and is then answered in order."""
        for cut in (9, len(GET) - 1, len(GET)):
            self.channel, self.transport = self.wire.connect()
            self.stall(VERSION[:cut])
            self.assertEqual(self.transport.producerState, "paused")
            self.transport.client_reads()
            self.assertEqual(self.transport.producerState, "producing")
            (channel,) = {channel for channel in self.wire.site.channels if channel.transport is self.transport}
            channel.dataReceived(VERSION[cut:] + GET)
            self.wire.clock.advance(0)
            answers = read_answers(self.transport.value(), *["GET"] * 12)
            self.assertEqual([answer.status for answer in answers], [200] * 12)
            self.assertNotIn(b"node", answers[10].body)

    def test_client_that_does_not_read_while_its_change_is_made(self) -> None:
        """The response to the change waits until the client has read those before it."""
        self.receive(put("x" * 1_000))
        self.transport.clear()
        self.transport.room = 3_000
        self.wire.replica.holding = True
        self.receive(*[GET] * 10, put("w"), GET)
        self.wire.replica.release()
        self.wire.clock.advance(0)
        self.assertNotIn(b'"value":"w"', self.transport.value())
        self.transport.room = None
        self.transport.client_reads()
        self.wire.clock.advance(0)
        answers = read_answers(self.transport.value(), *["GET"] * 12)
        self.assertEqual([b'"value":"w"' in answer.body for answer in answers], [False] * 10 + [True] * 2)

    def test_client_that_does_not_read_before_its_last_request(self) -> None:
        """The ordinary channel answers that request and closes the connection. The fast one does nothing more."""
        self.stall(GET.replace(b"HTTP/1.1", b"HTTP/1.0"))
        self.transport.client_reads()
        self.assertEqual(self.transport.value().count(b"HTTP/1.1 200"), 11)
        self.assertEqual(self.transport.how_lost, "closed")

    def test_a_request_that_can_not_be_handled_closes_the_connection(self) -> None:
        """The client could no longer tell which response belongs to which request."""
        self.receive(WATCH, GET, GET)
        self.patch(self.wire.site, "heads", {})
        self.wire.replica.apply(Set("/k", 0, "v"))
        self.wire.clock.advance(0)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.assertEqual(self.transport.how_lost, "aborted")
        self.assertEqual(self.wire.site.channels, {})

    def test_long_responses_are_sent_at_once(self) -> None:
        """The bytes that wait to be sent are thereby bounded."""
        self.receive(put("x" * 3_000))
        self.assertEqual(self.receive(*[GET] * 3), [1, 1, 1])


class Conversation:
    """A client and a server that talk through one door."""

    def __init__(self, kind: type[Site], state: AuthState | None = None, work: int = 1 << 40) -> None:
        """
        @param state: the users; C{None} while authentication is disabled.
        @param work: how much work a turn may do.
        """
        replica = FakeReplica()
        if state is not None:
            replica.set_auth(state)
        self.wire = Wire(replica, kind=kind, passwords=Passwords(maybeDeferred, COST), work=work)
        self.channel, self.transport = self.wire.connect()
        self.credentials: list[tuple[bytes | None, str | None]] = []
        """Those of the requests that the handler gets."""
        handler = self.wire.site.handler
        assert handler is not None
        self._handle, handler.handle = handler.handle, self._noting

    def _noting(self, request: ParsedRequest, *again: float | None) -> AnyResponse:
        """
        @param again: the deadline, when the handler itself handles a request once more.
        """
        if not again:
            self.credentials.append((request.authorization, request.common_name))
        return self._handle(request, *again)

    def hold(self, data: bytes, cuts: Sequence[int], slow: bool, room: int | None = None) -> object:
        """
        Sends bytes in pieces. After the last one, the service is told to stop.

        @param slow: whether writes are committed only after each piece, and those of the last piece after the stop.
        @param room: how much of the responses the client's system takes before the client reads, which it does after
            each piece; C{None} if it takes everything.
        @return: everything that can be seen from outside.
        """
        replica, transport = self.wire.replica, self.transport
        transport.room = room
        start = 0
        for end in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
            self._go_on()
            replica.holding = slow
            if not transport.disconnecting and not transport.writes_closed:
                self.channel.dataReceived(data[start:end])
            start = end
        if not slow:
            self._go_on()
        if not transport.disconnecting and not transport.writes_closed:
            self.wire.site.stop(1.0)
        self._go_on()
        seen = (
            DATE.sub(b"", transport.value()), transport.how_lost, transport.writes_closed,
            replica.proposed, replica.keyspace.hub.count, len(self.wire.site.channels), self.credentials,
            self.wire.site.usage.by_status(),
        )  # fmt: skip
        self.wire.pass_time(5)
        self.wire.stop()
        return seen

    def _go_on(self) -> None:
        """Commits what is held, and makes the client read, until nothing more is sent."""
        sent = -1
        while sent != len(self.transport.value()):
            sent = len(self.transport.value())
            self.wire.replica.release()
            if not self.transport.disconnecting:
                self.transport.client_reads()
            self.wire.clock.advance(0)


class SameAnswersTests(SynchronousTestCase):
    """These properties compare the two doors."""

    maxDiff = None

    @settings(max_examples=examples(300))
    @given(
        st.lists(requests(), min_size=1, max_size=5),
        st.lists(st.integers(0, 2_000), max_size=6),
        st.booleans(),
    )
    def test_both_doors_answer_any_requests_alike(self, sent: list[bytes], cuts: list[int], slow: bool) -> None:
        """The requests are pipelined, cut anywhere, and well-formed or not."""
        self.assert_alike(b"".join(sent), cuts, slow)

    @settings(max_examples=examples(200))
    @given(
        st.lists(requests(), min_size=2, max_size=5),
        st.lists(st.integers(0, 2_000), max_size=3),
        st.sampled_from([None, 0, 700]),
        st.sampled_from([1 << 40, 1, 9]),
    )
    def test_both_doors_wait_alike(self, sent: list[bytes], cuts: list[int], room: int | None, work: int) -> None:
        """The client does not read for a while, or there is more to do than fits a turn of the reactor."""
        ordinary, fast = (
            Conversation(kind, work=work).hold(b"".join(sent), cuts, False, room) for kind in (Site, FastSite)
        )
        self.assertEqual(ordinary, fast)

    @settings(max_examples=examples(100))
    @given(
        st.lists(requests(), min_size=1, max_size=5),
        st.lists(st.integers(0, 2_000), max_size=3),
        st.booleans(),
        st.sampled_from([users(), users(guest="/*"), users(guest="/a*")]),
    )
    def test_both_doors_have_the_same_users(
        self, sent: list[bytes], cuts: list[int], slow: bool, state: AuthState
    ) -> None:
        """Authentication is enabled."""
        self.assert_alike(b"".join(sent), cuts, slow, state)

    def assert_alike(self, data: bytes, cuts: list[int], slow: bool, state: AuthState | None = None) -> None:
        ordinary, fast = (Conversation(kind, state).hold(data, cuts, slow) for kind in (Site, FastSite))
        self.assertEqual(ordinary, fast)


class FastBodyTests(test_site.BodyTests):
    """The same tests send bodies to the fast door."""

    kind = FastSite


class FastHeadTests(test_site.HeadTests):
    """The same tests send heads to the fast door."""

    kind = FastSite


class FastMalformedTests(test_site.MalformedTests):
    """The same tests send malformed requests to the fast door."""

    kind = FastSite


class FastPersistenceTests(test_site.PersistenceTests):
    """The same tests send several requests to the fast door."""

    kind = FastSite


class FastTimeTests(test_slow_clients.TimeTests):
    """The same tests have slow clients at the fast door."""

    kind = FastSite


class FastBackPressureTests(test_slow_clients.BackPressureTests):
    """The same tests have clients at the fast door that do not read."""

    kind = FastSite
    together = 32


class FastGoneTests(test_slow_clients.GoneTests):
    """The same tests have clients at the fast door that go."""

    kind = FastSite


class FastWatchMemoryTests(test_slow_clients.WatchMemoryTests):
    """The same tests have watchers at the fast door."""

    kind = FastSite


class DoorTests(SynchronousTestCase):
    """These tests show which door answers."""

    def setUp(self) -> None:
        self.wire = Wire(kind=FastSite)
        self.addCleanup(self.wire.stop)
        self.channel, self.transport = self.wire.connect()

    def assert_fast(self, fast: bool) -> None:
        (channel,) = self.wire.site.channels
        self.assertIsInstance(channel, FastChannel if fast else Channel)

    def test_common_requests_stay_at_the_fast_door(self) -> None:
        """They stay there wherever they are cut."""
        credentials = GET.replace(b"\r\n\r\n", b"\r\nAuthorization: Basic cm9vdDpw\r\n\r\n")
        for request in (put("v"), GET, credentials, put(quote("ä")), put("w" * 900), GET + put("v") + GET):
            for piece in (len(request), 1_000, 5, 1):
                for start in range(0, len(request), piece):
                    self.channel.dataReceived(request[start : start + piece])
                    self.assert_fast(True)
        self.assertEqual(self.transport.value().count(b"HTTP/1.1 20"), 4 * 8)

    def test_watches_stay_at_the_fast_door(self) -> None:
        for request in (WATCH, STREAM):
            channel, _ = self.wire.connect()
            channel.dataReceived(request)
        self.assert_all_fast()

    def assert_all_fast(self) -> None:
        self.assertEqual({type(channel) for channel in self.wire.site.channels}, {FastChannel})

    def test_a_request_for_another_page_is_handed_over(self) -> None:
        """That request is the last one that the fast door sees on the connection."""
        self.channel.dataReceived(GET + VERSION)
        self.assert_fast(False)
        self.channel.dataReceived(GET)
        self.assertEqual(self.transport.value().count(b"HTTP/1.1 "), 3)

    def test_a_head_with_an_uncommon_line_is_handed_over_early(self) -> None:
        """The rest of the head need not be there."""
        for line in (b"no header\r\n", b"Content-Length: x\r\n", b"Expect: 100-continue\r\n", b"X: \r\r\n", b" x\r\n"):
            self.channel, self.transport = self.wire.connect()
            self.channel.dataReceived(b"GET /v2/keys/k HTTP/1.1\r\nAccept: */*\r\n")
            self.assertIn(self.channel, self.wire.site.channels)
            self.channel.dataReceived(line)
            self.assertNotIn(self.channel, self.wire.site.channels, line)

    def test_header_lines_that_come_byte_by_byte_are_parsed_once_a_line(self) -> None:
        parsed: list[bytes] = []

        def counted(lines: bytes) -> bool:
            parsed.append(lines)
            return may_become_common(lines)

        self.patch(fast, "may_become_common", counted)
        head = b"GET /v2/keys/k HTTP/1.1\r\nHost: x\r\nAccept: */*\r\nUser-Agent: slow\r\n"
        for byte in head:
            self.channel.dataReceived(bytes([byte]))
        self.assert_fast(True)
        self.assertEqual(len(parsed), head.count(b"\r\n"))

    def test_a_long_head_is_handed_over(self) -> None:
        self.channel.dataReceived(GET[:-2] + b"X: " + b"x" * LONGEST_COMMON_HEAD_BYTES)
        self.assert_fast(False)

    def test_a_long_target_is_handed_over(self) -> None:
        """Its segments are looked at one by one, so the ordinary door lets it cost more than a common one."""
        for target in (b"/v2/keys/%s", b"/v2/keys?%s", b"/v2/keys/k?%s"):
            for length, stays in ((4_000, True), (4_097, False)):
                self.channel, self.transport = self.wire.connect()
                self.channel.dataReceived(GET.replace(b"/v2/keys/k", target % (b"x" * length)))
                self.assertIs(self.channel in self.wire.site.channels, stays)
                self.assertEqual(self.transport.value().count(b"HTTP/1.1 "), 1)

    def test_little_is_read_ahead(self) -> None:
        """A client that sends more while it waits is paused, and loses nothing."""
        self.channel.dataReceived(WATCH + GET * 10)
        self.assertEqual(self.transport.producerState, "producing")
        self.channel.dataReceived(GET * 1_000)
        self.assertEqual(self.transport.producerState, "paused")
        self.wire.replica.keyspace.apply(Set("/k", 0, "v"))
        self.wire.pass_time(1)
        self.assertEqual(self.transport.producerState, "producing")
        self.assertEqual(self.transport.value().count(b"HTTP/1.1 200"), 1_011)

    def test_little_is_read_ahead_of_changes(self) -> None:
        """The server reads no further changes while enough of them wait."""
        replica, size = self.wire.replica, len(put("v"))
        replica.holding = True
        self.channel.dataReceived(put("v") * 1_000)
        while (left := 1_000 - len(replica.proposed)) > 0:
            self.assertEqual(self.transport.producerState, "paused" if left * size > 1 << 14 else "producing", left)
            replica.release_once()
            self.wire.clock.advance(0)
        replica.release()
        self.assertEqual(self.transport.value().count(b"HTTP/1.1 20"), 1_000)
        self.assertEqual(self.transport.producerState, "producing")

    def test_time_does_not_begin_anew(self) -> None:
        """A client that was slow before its connection was handed over has no more time than others."""
        self.channel.dataReceived(b"GET /v2/key")
        self.wire.pass_time(9)
        self.channel.dataReceived(b"x HTTP/1.1\r\n")
        self.assert_fast(False)
        self.wire.pass_time(1)
        self.assertEqual(self.transport.how_lost, "closed")

    def test_the_next_request_has_the_whole_time(self) -> None:
        """This holds on a connection that was handed over."""
        self.channel.dataReceived(VERSION[:9])
        self.wire.pass_time(9)
        self.channel.dataReceived(VERSION[9:] + GET[:9])
        self.assert_fast(False)
        self.wire.pass_time(9)
        self.channel.dataReceived(GET[9:])
        self.assertEqual(self.transport.value().count(b"HTTP/1.1 200"), 1)
        self.assertIsNone(self.transport.how_lost)
