"""
How a response is sent without a server around it, including after an error and after the client has gone.
"""

from collections.abc import Callable, Iterator
from time import perf_counter
from types import SimpleNamespace

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import connectionDone
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.httpd.exchange import Exchange, framing
from etcd_twisted.httpd.fast.site import FastSite
from etcd_twisted.httpd.responses import Events, Response, plain
from etcd_twisted.httpd.site import Site
from etcd_twisted.httpd.turns import Turns
from tests.wires import GET, HEAD, STREAM, VERSION, WATCH, Wire, put

FIELDS = b"X-Field: 1\r\n"


class Connection:
    """A connection that only records what is done to it."""

    def __init__(self, persistent: bool = True) -> None:
        self.clock = Clock()
        self.turns = Turns(self.clock)
        self.lifetime = SimpleNamespace(stalled=False)
        self.persistent = persistent
        self.site = SimpleNamespace(server_fields=b"Server: x\r\n")
        self.sent = b""
        self.done: list[object] = []
        self.aborted = False
        self.producer: object = None
        self.counted: list[tuple[bytes, int]] = []

    def count(self, method: bytes, status: int) -> None:
        self.counted.append((method, status))

    def answered(self, method: bytes, status: int, seconds: float) -> None:
        if seconds >= 0:
            self.counted.append((method, status))

    def write(self, data: bytes) -> None:
        self.sent += data

    def registerProducer(self, producer: object, streaming: bool) -> None:
        assert self.producer is None
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def requestDone(self, request: object) -> None:
        self.done.append(request)

    def abort(self) -> None:
        self.aborted = True

    def turn(self) -> None:
        """Makes everything happen that need not wait for a client."""
        while self.clock.getDelayedCalls():
            self.clock.advance(0)


class HandMadeEvents(Events):
    """Events that the test makes happen."""

    def __init__(self, stream: bool) -> None:
        self.stream = stream
        self.send: Callable[[bytes], None] | None = None
        self.end: Callable[[], None] | None = None
        self.cancelled = False

    def begin(self, send: Callable[[bytes], None], end: Callable[[], None]) -> None:
        self.send = send
        self.end = end

    def cancel(self) -> None:
        self.cancelled = True

    def pause(self) -> None:
        """Does nothing, since the test sends only what it wants to send."""

    def resume(self) -> None:
        """See L{pause}."""

    @property
    def buffered_bytes(self) -> int:
        return 0


class ExchangeTest(SynchronousTestCase):
    """A connection and responses on it."""

    def setUp(self) -> None:
        self.connection = Connection()

    def exchange(self, version: bytes = b"HTTP/1.1", head_only: bool = False) -> Exchange:
        return Exchange(self.connection, version == b"HTTP/1.1", b"HEAD" if head_only else b"GET", perf_counter())

    def sent(
        self, response: Response, version: bytes = b"HTTP/1.1", head_only: bool = False
    ) -> tuple[list[bytes], bytes]:
        """Returns the lines of the head, and all that follows it."""
        exchange = self.exchange(version, head_only)
        exchange.answer(response)
        self.connection.turn()
        self.assertEqual(self.connection.done, [exchange])
        self.assertIsNone(self.connection.producer)
        head, _, rest = self.connection.sent.partition(b"\r\n\r\n")
        return head.split(b"\r\n"), rest


class FramingTests(ExchangeTest):
    """These tests show where a body ends."""

    def test_the_header_line_says_where_the_body_ends(self) -> None:
        """
        The response has a length, or chunks if the client understands them. Otherwise the end of the connection is the
        end.
        """
        self.assertEqual(framing(b"12345", True), b"Content-Length: 5\r\n")
        self.assertEqual(framing(b"", False), b"Content-Length: 0\r\n")
        self.assertEqual(framing(iter(()), True), b"Transfer-Encoding: chunked\r\n")
        self.assertEqual(framing(HandMadeEvents(True), False), b"")

    def test_a_response_is_sent_with_all_header_lines(self) -> None:
        """They are the status line, the connection's lines, the response's lines and the length."""
        head, body = self.sent(Response(404, FIELDS, b"gone"))
        self.assertEqual(head, [b"HTTP/1.1 404 Not Found", b"Server: x", b"X-Field: 1", b"Content-Length: 4"])
        self.assertEqual(body, b"gone")

    def test_the_last_response_on_a_connection_says_so(self) -> None:
        self.connection = Connection(persistent=False)
        head, _ = self.sent(plain(200, "x"))
        self.assertIn(b"Connection: close", head)

    def test_each_piece_is_a_chunk(self) -> None:
        """An empty piece is left out, since it would mean the end."""
        head, body = self.sent(Response(200, FIELDS, iter((b"ab", b"", b"cde"))))
        self.assertIn(b"Transfer-Encoding: chunked", head)
        self.assertEqual(body, b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n")

    def test_an_old_client_gets_pieces_as_they_are(self) -> None:
        head, body = self.sent(Response(200, FIELDS, iter((b"ab", b"", b"cde"))), b"HTTP/1.0")
        self.assertEqual(head, [b"HTTP/1.1 200 OK", b"Server: x", b"X-Field: 1"])
        self.assertEqual(body, b"abcde")

    def test_the_response_to_head_has_no_body(self) -> None:
        """Not even the end of the chunks follows the head, and no piece is asked for."""

        def pieces() -> Iterator[bytes]:
            raise AssertionError("nobody wants these")
            yield b""

        for body in (b"x" * 100_000, pieces()):
            self.connection = Connection()
            _, rest = self.sent(Response(200, FIELDS, body), head_only=True)
            self.assertEqual(rest, b"")


class BrokenTests(ExchangeTest):
    """These errors happen after the head was sent."""

    def test_a_body_that_breaks_off_is_not_ended(self) -> None:
        """The end of the chunks never comes, so the client sees that the body is not complete."""

        def pieces() -> Iterator[bytes]:
            yield b"ab"
            raise ZeroDivisionError

        self.exchange().answer(Response(200, FIELDS, pieces()))
        self.connection.turn()
        self.assertTrue(self.connection.aborted)
        self.assertTrue(self.connection.sent.endswith(b"2\r\nab\r\n"))
        self.assertEqual(self.connection.done, [])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_failed_response_ends_the_connection(self) -> None:
        """Other connections are not affected."""
        promised: Deferred[Response] = Deferred()
        self.exchange().answer(promised)
        promised.errback(ZeroDivisionError())
        self.assertTrue(self.connection.aborted)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class GoneTests(ExchangeTest):
    """The client goes before its response comes."""

    def test_a_later_response_is_cancelled(self) -> None:
        cancelled: list[Deferred[Response]] = []
        promised: Deferred[Response] = Deferred(cancelled.append)
        promised.addErrback(lambda reason: plain(500, str(reason.check(CancelledError))))
        exchange = self.exchange()
        exchange.answer(promised)
        exchange.connectionLost(connectionDone)
        self.assertEqual(cancelled, [promised])
        self.assertEqual((self.connection.sent, self.connection.done), (b"", []))

    def test_a_wait_that_begins_too_late_ends_at_once(self) -> None:
        events = HandMadeEvents(stream=False)
        promised: Deferred[Response] = Deferred(lambda cancelled: cancelled.callback(Response(200, FIELDS, events)))
        exchange = self.exchange()
        exchange.answer(promised)
        exchange.connectionLost(connectionDone)
        self.assertTrue(events.cancelled)
        self.assertIsNone(events.send)

    def test_an_event_for_a_client_that_has_gone_is_dropped(self) -> None:
        """The sender may not know yet that the client has gone."""
        events = HandMadeEvents(stream=False)
        exchange = self.exchange()
        exchange.answer(Response(200, FIELDS, events))
        head = self.connection.sent
        exchange.connectionLost(connectionDone)
        self.assertTrue(events.cancelled)
        events.send(b"{}")
        self.assertEqual((self.connection.sent, self.connection.done), (head, []))


class EndedWaitTests(ExchangeTest):
    """The server ends a wait."""

    def test_a_wait_ends_with_an_empty_body(self) -> None:
        """The body is complete."""
        events = HandMadeEvents(stream=False)
        exchange = self.exchange()
        exchange.answer(Response(200, FIELDS, events))
        self.assertFalse(events.cancelled)
        exchange.end_waiting()
        self.assertTrue(events.cancelled)
        self.assertTrue(self.connection.sent.endswith(b"\r\n\r\n0\r\n\r\n"))
        self.assertEqual(self.connection.done, [exchange])

    def test_a_stream_ends_when_no_more_events_can_come(self) -> None:
        """The stream ends after the events that have come."""
        events = HandMadeEvents(stream=True)
        exchange = self.exchange()
        exchange.answer(Response(200, FIELDS, events))
        assert events.send is not None
        assert events.end is not None
        events.send(b"{}")
        events.end()
        self.assertTrue(self.connection.sent.endswith(b"3\r\n{}\n\r\n0\r\n\r\n"))
        self.assertEqual(self.connection.done, [exchange])

    def test_a_stream_may_end_as_it_begins(self) -> None:
        """Nothing tells it any more when the client reads: the connection may be another response's."""

        class _Ended(HandMadeEvents):
            def begin(self, send: Callable[[bytes], None], end: Callable[[], None]) -> None:
                send(b"{}")
                end()

        _, rest = self.sent(Response(200, FIELDS, _Ended(stream=True)))
        self.assertEqual(rest, b"3\r\n{}\n\r\n0\r\n\r\n")

    def test_a_change_is_still_answered(self) -> None:
        """The client learns that its change was made."""
        promised: Deferred[Response] = Deferred()
        exchange = self.exchange()
        exchange.answer(promised)
        exchange.end_waiting()
        self.assertFalse(promised.called)
        self.assertEqual(self.connection.done, [])
        promised.callback(plain(200, "made"))
        self.assertTrue(self.connection.sent.endswith(b"made\n"))
        self.assertEqual(self.connection.done, [exchange])


class ProxyTests(SynchronousTestCase):
    """These tests read what the answers of both doors say to a proxy on the way."""

    def heads(self, *requests: bytes) -> list[bytes]:
        """Returns the head of the answer to each request, by either door."""
        heads = []
        for kind in (FastSite, Site):
            wire = Wire(kind=kind)
            self.addCleanup(wire.stop)
            for request in requests:
                channel, transport = wire.connect()
                channel.dataReceived(request)
                head, end, _ = transport.value().partition(b"\r\n\r\n")
                self.assertTrue(end, head)
                heads.append(head)
        return heads

    def test_watches_ask_proxies_not_to_buffer(self) -> None:
        """A proxy is to pass on each event as it comes (spec, "Later additions")."""
        for head in self.heads(WATCH, STREAM):
            self.assertEqual(head.count(b"\r\nX-Accel-Buffering: no"), 1, head)

    def test_other_answers_say_nothing_of_buffers(self) -> None:
        """They cost not a byte more."""
        for head in self.heads(put("1"), GET, HEAD, VERSION):
            self.assertNotIn(b"X-Accel", head)
