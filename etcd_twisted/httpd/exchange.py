"""
How a L{Response} is sent on an HTTP/1 connection.

An L{Exchange} takes the place of C{twisted.web}'s request object as soon as the request has been read, so that a
waiting watcher keeps neither headers nor content alive.

This module must never send anything faster than the client reads it: a long body is sent in pieces, and a stream that
its client does not read is cut off.
"""

from collections.abc import Callable, Iterator
from http import HTTPStatus
from time import perf_counter
from typing import ClassVar, Protocol

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from etcd_twisted.httpd.lifetime import Lifetime
from etcd_twisted.httpd.responses import AnyResponse, Body, Events, Later, Response
from etcd_twisted.httpd.turns import BYTES_SHIFT, WORK_OF_LISTING, Turns

PIECE_BYTES = 1 << 16
"""A longer body is sent in pieces of this size, each when the client has taken the one before."""

STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_CANT_SEND = "An answer could not be sent"
_CLOSING = b"Connection: close\r\n"
_UNBUFFERED = b"X-Accel-Buffering: no\r\n"
"""Tells a proxy to pass on each event as it comes."""
_LAST_CHUNK = b"0\r\n\r\n"


class ResponseSite(Protocol):
    """
    What a response asks of the site that its connection belongs to.

    @ivar server_fields: the header lines of every response.
    """

    server_fields: bytes


class ExchangeConnection(Protocol):
    """
    What an L{Exchange} needs of its connection.

    @ivar lifetime: tells whether the client has to read before more is sent.
    @ivar persistent: whether the connection stays open after this response.
    @ivar answered: counts a response with an end, by method and status, and how many seconds it took.
    @ivar count: counts a response without one, by method and status.
    @ivar turns: limits how much is done in a turn of the reactor.
    """

    lifetime: Lifetime
    turns: Turns
    answered: Callable[[bytes, int, float], None]
    count: Callable[[bytes, int], None]

    @property
    def site(self) -> ResponseSite:
        """The site that the connection belongs to."""

    @property
    def persistent(self) -> object:
        """See the class."""

    def write(self, data: bytes) -> None:
        """Send bytes."""

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """Tell C{producer} when to pause and resume."""

    def unregisterProducer(self) -> None:
        """Stop telling it."""

    def requestDone(self, request: object) -> None:
        """Continue with the next request, as the response is complete."""

    def abort(self) -> None:
        """Close the connection without sending what waits."""


class Exchange(msgspec.Struct, eq=False):
    """
    The response to one request. It is a C{msgspec.Struct}, as each change of a key makes one.

    @ivar _connection: the connection; C{None} as soon as the response is complete, or the client has gone.
    @ivar _chunked: whether a body without a length is sent in chunks, which the client has to understand.
    @ivar _method: the request's. The response to C{HEAD} has no body.
    @ivar _began: when the request was complete, by L{perf_counter}.
    @ivar _work: what is under way, to be cancelled when the client goes.
    """

    _connection: ExchangeConnection | None
    _chunked: bool
    _method: bytes
    _began: float
    _work: "Deferred[Response] | Later | Events | _Sender | None" = None

    _log: ClassVar[Logger] = Logger()

    @property
    def buffered_bytes(self) -> int:
        """How many bytes of a stream wait for its client to read."""
        return self._work.buffered_bytes if isinstance(self._work, Events) else 0

    def answer(self, answer: AnyResponse) -> None:
        """Send a response, as soon as it is there."""
        if isinstance(answer, Later):  # first, as most are
            self._work = answer
            if answer.response is None:
                answer.listener = self._send
            else:
                answer.listen(self._send)
        elif isinstance(answer, Response):
            self._send(answer)
        else:
            self._work = answer
            answer.addCallbacks(self._send, self._broken)

    def _broken(self, reason: Failure) -> None:
        self._log.failure(_CANT_SEND, reason)
        if self._connection is not None:
            self._connection.abort()

    def connectionLost(self, _reason: Failure) -> None:
        """Cancel what is under way, as the client has gone. The connection calls this."""
        if self._connection is not None:
            self._connection.unregisterProducer()
        self._connection = None
        work, self._work = self._work, None
        if work is not None:
            work.cancel()

    def end_waiting(self) -> None:
        """End a wait for events without an event: with an empty body, or with what was sent of a stream."""
        if isinstance(self._work, Events):
            self._work.cancel()
            self._finish()

    def _send(self, response: Response) -> None:
        connection = self._connection
        if connection is None:
            if isinstance(response.body, Events):
                response.body.cancel()
            return
        self._work = None
        body = response.body
        try:
            if (
                not isinstance(body, bytes)
                or len(body) > PIECE_BYTES
                or connection.lifetime.stalled
                or self._method == b"HEAD"
            ):
                self._send_in_pieces(connection, response)
                return
            connection.answered(self._method, response.status, perf_counter() - self._began)
            connection.turns.spend(len(body) >> BYTES_SHIFT)
            self._connection = None
            connection.write(self._head(connection, response) + body)
            connection.requestDone(self)
        except Exception:  # the caller has made a response: it can't handle this
            self._log.failure(_CANT_SEND)
            connection.abort()

    def _send_in_pieces(self, connection: ExchangeConnection, response: Response) -> None:
        body = response.body
        if isinstance(body, Events):
            connection.count(self._method, response.status)
        else:
            connection.answered(self._method, response.status, perf_counter() - self._began)
            connection.turns.spend(len(body) >> BYTES_SHIFT if isinstance(body, bytes) else WORK_OF_LISTING)
        head = self._head(connection, response)
        if self._method == b"HEAD":
            connection.write(head)
            self._finish()
        elif isinstance(body, bytes):
            self._chunked = False
            connection.write(head)
            self._send_pieces(connection, _sliced(body))
        elif isinstance(body, Events):
            connection.write(head)
            self._work = body
            self._begin(connection, body)
        else:
            connection.write(head)
            self._send_pieces(connection, body)

    def _begin(self, connection: ExchangeConnection, events: Events) -> None:
        if events.stream:
            stream = _Stream(connection, events, self._framed)
            events.begin(stream.send, self.end_waiting)
            if self._connection is not None:  # it has not ended yet
                stream.start()
        else:
            events.begin(self._send_event, self.end_waiting)

    def _head(self, connection: ExchangeConnection, response: Response) -> bytes:
        length = framing(response.body, self._chunked)
        return b"%s%s%s%s%s%s\r\n" % (
            STATUS_LINES[response.status],
            connection.site.server_fields,
            b"" if connection.persistent else _CLOSING,
            response.fields,
            _UNBUFFERED if isinstance(response.body, Events) else b"",
            length,
        )

    def _send_pieces(self, connection: ExchangeConnection, pieces: Iterator[bytes]) -> None:
        sender = _Sender(connection, pieces, self._framed, self._finish)
        self._work = sender
        sender.start()

    def _framed(self, piece: bytes) -> bytes:
        return b"%x\r\n%s\r\n" % (len(piece), piece) if self._chunked else piece

    def _send_event(self, event: bytes) -> None:
        """Send the one event that was waited for."""
        connection = self._connection
        if connection is None:
            return
        self._work = None
        if len(event) <= PIECE_BYTES and not connection.lifetime.stalled:
            self._connection = None
            connection.write(self._framed(event) + self._ending)
            connection.requestDone(self)
        else:
            self._send_pieces(connection, _sliced(event))

    def _finish(self) -> None:
        """Complete the response."""
        connection, self._connection = self._connection, None
        self._work = None
        if connection is not None:
            connection.unregisterProducer()
            if ending := self._ending:
                connection.write(ending)
            connection.requestDone(self)

    @property
    def _ending(self) -> bytes:
        """What follows the last piece."""
        return _LAST_CHUNK if self._chunked and self._method != b"HEAD" else b""


@implementer(IPushProducer)
class _Sender:
    """Sends pieces one by one: each in a turn of its own, when the client has room for it."""

    __slots__ = ("_connection", "_done", "_framed", "_pieces", "_turns")

    _log = Logger()

    def __init__(
        self,
        connection: ExchangeConnection,
        pieces: Iterator[bytes],
        framed: Callable[[bytes], bytes],
        done: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._pieces = pieces
        self._framed = framed
        self._done = done
        self._turns = connection.turns

    def start(self) -> None:
        self._connection.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        if not self._connection.lifetime.stalled:
            self._turns.wait(self, self._turn)

    def pauseProducing(self) -> None:
        """The connection's lifetime says that it is stalled."""

    def stopProducing(self) -> None:
        self.cancel()

    def cancel(self) -> None:
        self._pieces = iter(())  # they keep a whole tree alive
        self._turns.give_up(self)

    def _turn(self) -> None:
        if self._connection.lifetime.stalled:
            return
        try:
            piece = next(self._pieces, None)
        except Exception:
            # The head has been sent: all that can be done is to show the client that the body is not complete.
            self._log.failure("An answer could not be finished")
            self._connection.abort()
            return
        if piece is None:
            self._done()
            return
        self._turns.spend(1 + (len(piece) >> BYTES_SHIFT))
        if piece:
            self._connection.write(self._framed(piece))
        self.resumeProducing()


@implementer(IPushProducer)
class _Stream:
    """Sends events as they happen, as long as the client has room for them."""

    __slots__ = ("_connection", "_events", "_framed")

    def __init__(self, connection: ExchangeConnection, events: Events, framed: Callable[[bytes], bytes]) -> None:
        self._connection = connection
        self._events = events
        self._framed = framed

    def start(self) -> None:
        if self._connection.lifetime.stalled:
            self._events.pause()
        self._connection.registerProducer(self, True)

    def send(self, event: bytes) -> None:
        self._connection.write(self._framed(event + b"\n"))

    def resumeProducing(self) -> None:
        self._events.resume()

    def pauseProducing(self) -> None:
        self._events.pause()

    def stopProducing(self) -> None:
        self._events.cancel()


def framing(body: Body, chunked: bool) -> bytes:
    """
    Returns the header line that says where the body ends. It is empty if the end of the connection says so.

    @param chunked: whether the client understands chunks.
    """
    if isinstance(body, bytes):
        return b"Content-Length: %d\r\n" % len(body)
    return b"Transfer-Encoding: chunked\r\n" if chunked else b""


def _sliced(body: bytes) -> Iterator[bytes]:
    return (body[start : start + PIECE_BYTES] for start in range(0, len(body), PIECE_BYTES))
