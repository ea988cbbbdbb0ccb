"""
Responses to requests that were passed on, as they may come over a connection.
"""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.web.http_connection import (
    MOST_HEAD_BYTES,
    SHORT_BYTES,
    HttpConnection,
    NoReplyError,
    Reply,
    Room,
    request_bytes,
)

OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = OK + b"X-Etcd-Index: 7\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
CLOSING = OK + b"Connection: close\r\n\r\nhello"
REQUEST = request_bytes(b"PUT", b"/k", b"HTTP/1.1", [(b"Host", b"x")], b"a=b")


class HttpConnectionTests(SynchronousTestCase):
    """A connection in memory."""

    def setUp(self) -> None:
        self.idle: list[HttpConnection] = []
        self.room = Room(1_000)
        self.begin()

    def begin(self) -> None:
        """Begins with a new connection."""
        self.idle.clear()
        self.connection = HttpConnection(self.room, self.idle.append)
        self.transport: Any = StringTransport()
        self.connection.makeConnection(self.transport)

    def lose(self) -> None:
        self.connection.connectionLost(Failure(ConnectionDone()))

    def broken(self, asked: "Deferred[Reply]") -> NoReplyError:
        """Returns how a request has failed."""
        error = self.failureResultOf(asked, NoReplyError).value
        assert isinstance(error, NoReplyError)
        return error

    def test_request_is_one_write(self) -> None:
        self.connection.ask(REQUEST)
        self.assertEqual(self.transport.value(), b"PUT /k HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na=b")

    def test_response_may_come_in_pieces(self) -> None:
        """However it is cut, it is the same, and the connection takes another request."""
        for response in (LENGTH, CHUNKED, b"HTTP/1.1 100 Continue\r\n\r\n" + LENGTH):
            for size in (1, 2, 7, len(response)):
                asked = self.connection.ask(REQUEST)
                for start in range(0, len(response), size):
                    self.assertNoResult(asked)
                    self.connection.dataReceived(response[start : start + size])
                reply = self.successResultOf(asked)
                self.assertEqual((reply.status, reply.body), (200, b"hello"))
                self.assertEqual(self.idle, [self.connection])
                self.idle.clear()
        self.assertEqual(self.room.left_bytes, 1_000)

    def test_every_end_before_the_last_byte_is_no_reply(self) -> None:
        for response in (LENGTH, CHUNKED):
            for end in range(len(response)):
                self.begin()
                asked = self.connection.ask(REQUEST)
                if end:
                    self.connection.dataReceived(response[:end])
                self.lose()
                self.assertEqual(self.broken(asked).has_begun, end > 0)
                self.assertEqual((self.idle, self.room.left_bytes), ([], 1_000))

    def test_end_of_the_connection_may_be_the_end_of_the_response(self) -> None:
        asked = self.connection.ask(REQUEST)
        self.connection.dataReceived(CLOSING)
        self.assertNoResult(asked)
        self.lose()
        self.assertEqual(self.successResultOf(asked).body, b"hello")
        self.assertEqual(self.idle, [])

    def test_reset_is_not_the_end_of_a_response(self) -> None:
        """A response without a length is only whole when the other side ends the connection in order."""
        for in_pieces in (False, True):
            self.begin()
            ends: list[bool] = []
            asked = self.connection.ask(REQUEST, in_pieces=in_pieces)
            self.connection.dataReceived(CLOSING)
            if in_pieces:
                self.successResultOf(asked)
                self.connection.receive(lambda _: None, ends.append)
            self.connection.connectionLost(Failure(ConnectionLost()))
            if in_pieces:
                self.assertEqual(ends, [False])
            else:
                self.assertTrue(self.broken(asked).has_begun)

    def test_connection_that_does_not_stay_is_not_kept(self) -> None:
        for response in (OK + b"Connection: close\r\nContent-Length: 0\r\n\r\n", LENGTH + b"x", LENGTH + LENGTH):
            self.begin()
            asked = self.connection.ask(REQUEST)
            self.connection.dataReceived(response)
            self.assertEqual(self.successResultOf(asked).status, 200)
            self.assertEqual((self.idle, self.transport.disconnecting), ([], True))

    def test_head(self) -> None:
        for _ in range(2):
            asked = self.connection.ask(REQUEST, is_head=True)
            self.connection.dataReceived(LENGTH.removesuffix(b"hello"))
            reply = self.successResultOf(asked)
            self.assertEqual((reply.length(), reply.body), (5, b""))
        self.assertEqual(len(self.idle), 2)

    def test_trailers_are_no_headers(self) -> None:
        asked = self.connection.ask(REQUEST)
        self.connection.dataReceived(CHUNKED.removesuffix(b"\r\n") + b"Location: x\r\n\r\n")
        self.assertEqual(self.successResultOf(asked).headers, [(b"Transfer-Encoding", b"chunked")])
        self.assertEqual(self.idle, [self.connection])

    def test_body_after_head(self) -> None:
        """It is not passed on, and the connection is not used again: there may be more of it."""
        asked = self.connection.ask(REQUEST, is_head=True)
        self.connection.dataReceived(LENGTH)
        self.assertEqual(self.successResultOf(asked).body, b"")
        self.assertEqual((self.idle, self.transport.disconnecting, self.room.left_bytes), ([], True, 1_000))

    def test_what_is_no_response(self) -> None:
        """It ends the connection, also while nobody waits for one."""
        for data in (b"nonsense", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"x" * MOST_HEAD_BYTES):
            self.begin()
            asked = self.connection.ask(REQUEST)
            self.connection.dataReceived(data)
            self.assertTrue(self.broken(asked).has_begun)
            self.assertTrue(self.transport.disconnecting)
        self.begin()
        self.connection.dataReceived(LENGTH)
        self.assertTrue(self.transport.disconnecting)

    def test_headers_have_an_end(self) -> None:
        asked = self.connection.ask(REQUEST)
        self.connection.dataReceived(OK)
        for number in range(MOST_HEAD_BYTES // 100 + 1):
            self.connection.dataReceived(b"X-%04d: %s\r\n" % (number, 92 * b"x"))
        self.broken(asked)
        self.assertTrue(self.transport.disconnecting)

    def test_room_is_shared(self) -> None:
        """Of two responses for which there is no room, the one that comes first is answered."""
        first, second = self.connection.ask(REQUEST), None
        self.connection.dataReceived(OK + b"Content-Length: 700\r\n\r\n" + 600 * b"x")
        one = self.connection
        self.begin()
        second = self.connection.ask(REQUEST)
        self.connection.dataReceived(OK + b"Content-Length: 700\r\n\r\n" + 600 * b"x")
        self.assertTrue(self.broken(second).has_begun)
        one.dataReceived(100 * b"x")
        self.assertEqual(len(self.successResultOf(first).body), 700)
        self.assertEqual(self.room.left_bytes, 1_000)

    def test_long_response_takes_room_until_it_is_sent(self) -> None:
        self.room.left_bytes = 4 * SHORT_BYTES
        for length, taken in ((SHORT_BYTES, 0), (SHORT_BYTES + 1, SHORT_BYTES + 1), (0, 0)):
            asked = self.connection.ask(REQUEST)
            self.connection.dataReceived(OK + b"Content-Length: %d\r\n\r\n" % length + length * b"x")
            body = self.successResultOf(asked).body
            self.assertEqual((body, self.room.left_bytes), (length * b"x", 4 * SHORT_BYTES - taken))
            del asked, body
            self.assertEqual(self.room.left_bytes, 4 * SHORT_BYTES)

    def test_cancelled_request_ends_the_connection(self) -> None:
        asked = self.connection.ask(REQUEST)
        asked.cancel()
        self.failureResultOf(asked)
        self.assertTrue(self.transport.disconnecting)
        self.lose()
        self.assertEqual(self.idle, [])

    def test_request_on_a_connection_that_is_lost(self) -> None:
        self.lose()
        self.assertFalse(self.broken(self.connection.ask(REQUEST)).has_begun)
        self.assertEqual(self.transport.value(), b"")

    def test_pieces_of_a_body(self) -> None:
        """They are handed on as they come, what came before somebody wanted them first."""
        for wanted_at in range(len(CHUNKED) - 20, len(CHUNKED) + 1):
            pieces: list[bytes] = []
            ends: list[bool] = []
            asked = self.connection.ask(REQUEST, in_pieces=True)
            self.connection.dataReceived(CHUNKED[:wanted_at])
            self.assertEqual(self.successResultOf(asked).status, 200)
            self.assertEqual(self.idle, [])
            self.connection.receive(pieces.append, ends.append)
            if wanted_at < len(CHUNKED):
                self.connection.dataReceived(CHUNKED[wanted_at:])
            self.assertEqual((b"".join(pieces), ends, self.idle), (b"hello", [True], [self.connection]))
            self.assertEqual(self.room.left_bytes, 1_000)
            self.idle.clear()

    def test_pieces_that_break_off(self) -> None:
        pieces: list[bytes] = []
        ends: list[bool] = []
        asked = self.connection.ask(REQUEST, in_pieces=True)
        self.connection.dataReceived(CHUNKED[:-5])
        self.successResultOf(asked)
        self.connection.receive(pieces.append, ends.append)
        self.lose()
        self.assertEqual((pieces, ends, self.idle), ([b"hello"], [False], []))

    def test_pieces_nobody_wants(self) -> None:
        """Nothing is told any more after the connection was given up."""
        ends: list[bool] = []
        asked = self.connection.ask(REQUEST, in_pieces=True)
        self.connection.dataReceived(CHUNKED[:-8])
        self.successResultOf(asked)
        self.connection.receive(lambda _: None, ends.append)
        self.connection.pause()
        self.assertEqual(self.transport.producerState, "paused")
        self.connection.abort()
        self.lose()
        self.assertEqual((ends, self.idle), ([], []))

    def test_paused_connection_is_read_again_for_the_next_request(self) -> None:
        self.connection.ask(REQUEST, in_pieces=True)
        self.connection.dataReceived(CHUNKED[:-5])
        self.connection.receive(lambda _: self.connection.pause(), lambda _: None)
        self.connection.dataReceived(CHUNKED[-5:])
        self.assertEqual((self.idle, self.transport.producerState), ([self.connection], "producing"))

    def test_error_for_who_wants_pieces_is_whole(self) -> None:
        asked = self.connection.ask(REQUEST, in_pieces=True)
        self.connection.dataReceived(LENGTH.replace(b"200 OK", b"400 Bad Request"))
        self.assertEqual(self.successResultOf(asked).body, b"hello")


_PIECES = (
    LENGTH, LENGTH[:30], LENGTH[30:], CHUNKED, CHUNKED[:60], CHUNKED[60:], CLOSING, b"nonsense\r\n\r\n",
    OK + b"Content-Length: 900\r\n\r\n", 400 * b"x", OK + b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\nhello\r\n",
    b"0\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
)  # fmt: skip


class _User:
    """A connection, and who uses it as it is meant to be used."""

    def __init__(self, room: Room) -> None:
        self.connection = HttpConnection(room, self._on_idle)
        self.transport: Any = StringTransport()
        self.connection.makeConnection(self.transport)
        self.asked: Deferred[Reply] | None = None
        self.outcomes: list[object] = []
        self.ends: list[bool] = []
        self.is_idle, self.is_lost, self.is_received = True, False, False

    def _on_idle(self, _: HttpConnection) -> None:
        self.is_idle = True

    def ask(self, is_head: bool, in_pieces: bool) -> None:
        if self.is_idle:
            self.is_idle = self.is_received = False
            self.outcomes, self.ends = [], []
            self.asked = self.connection.ask(REQUEST, is_head, in_pieces).addBoth(self.outcomes.append)

    def receive(self, gives_up: bool) -> None:
        has_begun = any(isinstance(each, Reply) for each in self.outcomes)
        if self.connection._in_pieces and has_begun and not self.is_received:
            self.is_received = True
            self.connection.receive(lambda _: self.connection.abort() if gives_up else None, self.ends.append)

    def come(self, data: bytes) -> None:
        if not (self.is_lost or self.transport.disconnecting):
            self.connection.dataReceived(data)

    def give_up(self, cancels: bool) -> None:
        if cancels and self.asked is not None:
            self.asked.cancel()
        elif not cancels:
            self.connection.abort()

    def lose(self, in_order: bool) -> None:
        if not self.is_lost:
            self.is_lost = True
            self.connection.connectionLost(Failure(ConnectionDone() if in_order else ConnectionLost()))


_STEPS = st.one_of(
    st.tuples(st.just("ask"), st.tuples(st.booleans(), st.booleans())),
    st.tuples(st.just("come"), st.tuples(st.sampled_from(_PIECES))),
    st.tuples(st.sampled_from(("receive", "give_up", "lose")), st.tuples(st.booleans())),
)


class RoomTests(SynchronousTestCase):
    """Whatever comes, and whatever is done, in whatever order."""

    @given(st.lists(st.tuples(st.integers(0, 1), _STEPS), max_size=30))
    def test_room_is_what_is_not_held(self, steps: list[tuple[int, tuple[str, tuple[Any, ...]]]]) -> None:
        """Everybody is answered once."""
        room = Room(1_000)
        users = _User(room), _User(room)
        for which, (step, arguments) in steps:
            getattr(users[which], step)(*arguments)
            self.assertEqual(room.left_bytes, 1_000 - sum(each.connection._held_bytes for each in users))
            self.assertTrue(all(len(each.outcomes) <= 1 and len(each.ends) <= 1 for each in users))
        for each in users:
            each.lose(in_order=True)
            self.assertEqual(len(each.outcomes), each.asked is not None)
        self.assertEqual(room.left_bytes, 1_000)
