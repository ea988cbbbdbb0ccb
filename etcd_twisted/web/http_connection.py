"""
A connection over which requests of clients are passed on, one after the other, and the responses that come back.

What a client has asked for is passed on as it came, byte for byte, which Twisted's agent does not do; nor does that
know when a connection that was kept is closed meanwhile. A request is one write, and C{httptools} parses the response.

This module must never send a request twice, nor take a response for whole that has broken off.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, cast

import attrs
import httptools
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure

from etcd_twisted.net.sockets import has_input, write_now

MOST_HEAD_BYTES = 1 << 16
"""How long the status and the headers of a response may be."""

MOST_HELD_BYTES = 64 << 20
"""How many bytes of responses may be held at a time, until their clients have them."""

SHORT_BYTES = 1 << 16
"""A response that is no longer takes no room when it is whole: it is sent at once."""

_FRAMING = (b"content-length", b"transfer-encoding")


class NoReplyError(Exception):
    """
    The connection has ended without a whole response: nobody knows whether the request was carried out.

    @ivar reason: why it has ended.
    @ivar has_begun: whether some of the response has come.
    """

    def __init__(self, reason: BaseException, has_begun: bool) -> None:
        super().__init__(str(reason))
        self.reason = reason
        self.has_begun = has_begun


@attrs.define(eq=False)
class Reply:
    """
    A response.

    @ivar headers: names and values, as they came.
    @ivar body: the whole body; empty if it is received piece by piece (L{HttpConnection.receive}).
    """

    status: int = 0
    headers: list[tuple[bytes, bytes]] = attrs.field(factory=list)
    body: bytes = b""

    def length(self) -> int | None:
        """Returns what the headers say of the length of the body, or C{None} if they don't say it."""
        lengths = [value for name, value in self.headers if name.lower() == b"content-length"]
        return int(lengths[0]) if lengths else None


@attrs.define
class Room:
    """
    The room for responses, which connections share: those that are not whole yet, and long ones that are being sent.

    @ivar left_bytes: how much of it is left.
    """

    left_bytes: int = MOST_HELD_BYTES

    def hold(self, body: bytes) -> bytes:
        """Returns a body that takes room for as long as it exists, unless it is short."""
        return body if len(body) <= SHORT_BYTES else _LongBody(body, self)


class _LongBody(bytes):
    """A body that waits for its client, who may read it slowly, or not at all."""

    _room: Room

    def __new__(cls, body: bytes, room: Room) -> "_LongBody":
        made = super().__new__(cls, body)
        made._room = room
        room.left_bytes -= len(body)
        return made

    def __del__(self) -> None:
        self._room.left_bytes += len(self)


def request_bytes(
    method: bytes, target: bytes, version: bytes, headers: Iterable[tuple[bytes, bytes]], body: bytes
) -> bytes:
    """Returns a request as it is sent. The length is added to the headers."""
    fields = b"".join([b"%s: %s\r\n" % each for each in headers])
    return b"%s %s %s\r\n%sContent-Length: %d\r\n\r\n%s" % (method, target, version, fields, len(body), body)


def _forget(_: "HttpConnection") -> None:
    """Do nothing about a connection that is not used for another request."""


class HttpConnection(Protocol):
    """
    A connection.

    @ivar idle_since: since when it has had no request, in seconds; whoever keeps connections sets it.
    """

    transport: Any
    idle_since = 0.0

    def __init__(self, room: Room, on_idle: "Callable[[HttpConnection], None]" = _forget) -> None:
        """
        @param on_idle: called when the response is complete and the connection can take another request, before
            anybody gets the response.
        """
        self._room = room
        self._on_idle = on_idle
        self._parser: Any = httptools.HttpResponseParser(self)
        self._asked: Deferred[Reply] | None = None
        self._lost: BaseException | None = None
        self._reset()

    def _reset(self) -> None:
        self._reply = Reply()
        self._is_head = self._in_pieces = self._paused = False
        self._has_head = self._is_whole = self._stays = False
        self._head_bytes = self._held_bytes = 0
        self._pieces: list[bytes] = []
        self._take: Callable[[bytes], None] | None = None
        self._end: Callable[[bool], None] | None = None

    def connectionMade(self) -> None:
        """See L{Protocol}."""
        transport = self.transport
        self._write = partial(write_now, transport) if isinstance(transport, Connection) else transport.write

    @property
    def is_open(self) -> bool:
        """
        Whether another request can be made, as far as this machine can know: the other side has neither ended the
        connection nor sent anything since the last response, which would be taken for the next one.
        """
        return self._lost is None and not has_input(self.transport)

    def ask(self, request: bytes, is_head: bool = False, in_pieces: bool = False) -> "Deferred[Reply]":
        """
        Make a request. Returns a Deferred that fires with the response. Cancelling it ends the connection.

        @param is_head: whether the response has no body, whatever its headers say.
        @param in_pieces: whether the body of a response with status 200 is not waited for: see L{receive}.
        @raise NoReplyError: (by errback) there is no whole response.
        """
        self._is_head, self._in_pieces = is_head, in_pieces
        asked = self._asked = Deferred(self._cancelled)
        if self._lost is None:
            self._write(request)
        else:
            self._fail(self._lost)
        return asked

    def _cancelled(self, _: object) -> None:
        self._asked = None
        self.abort()

    def receive(self, take: Callable[[bytes], None], end: Callable[[bool], None]) -> None:
        """
        Receive the body piece by piece.

        @param take: called with each piece.
        @param end: called at the end, with whether the body is whole. The connection may be another request's then.
        """
        self._take, self._end = take, end
        self._make_room()
        pieces, self._pieces = self._pieces, []
        if pieces:
            take(b"".join(pieces))
        self._go_on()

    def pause(self) -> None:
        """Receive nothing for the moment."""
        self._paused = True
        self.transport.pauseProducing()

    def resume(self) -> None:
        """Go on."""
        self._paused = False
        self.transport.resumeProducing()

    def abort(self) -> None:
        """End the connection at once."""
        self._take = self._end = None
        self.transport.abortConnection()

    # What comes

    def dataReceived(self, data: bytes) -> None:
        """See L{Protocol}."""
        if not self._has_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._stays = False
            if not self._is_whole:
                self._give_up(error)
                return
        if self._head_bytes > MOST_HEAD_BYTES and not self._has_head:
            self._give_up(ValueError("the headers of the response are too long"))
        elif self._room.left_bytes < 0:
            self._give_up(ValueError("there is no room for the response"))
        else:
            self._go_on()

    def on_message_begin(self) -> None:
        """A response begins."""
        if self._asked is None or self._is_whole:
            raise ValueError("nobody has asked")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header has come, or a trailer, which is not passed on: it may have the name of a header."""
        if not self._has_head:
            self._reply.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The headers have come."""
        reply = self._reply
        reply.status = self._parser.get_status_code()
        if reply.status < 200:
            reply.headers.clear()  # the response itself follows
            return
        self._has_head = True
        if self._is_head:
            self.on_message_complete()

    def on_body(self, data: bytes) -> None:
        """A piece of the body has come."""
        if self._is_head:
            self._stays = False  # nobody knows whether there is more of it
            return
        if self._take is not None:
            self._take(data)
            return
        self._pieces.append(data)
        self._held_bytes += len(data)
        self._room.left_bytes -= len(data)

    def on_message_complete(self) -> None:
        """The response is complete."""
        if self._has_head and not self._is_whole:
            self._is_whole, self._stays = True, self._parser.should_keep_alive()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See L{Protocol}."""
        self._lost = lost = cast(BaseException, reason.value)
        self._stays = False
        self._parser = None  # it refers to this connection
        has_length = any(name.lower() in _FRAMING for name, _ in self._reply.headers)
        if self._has_head and not has_length and isinstance(lost, ConnectionDone):
            self._is_whole = True  # the end of the connection is the end of the body
        self._go_on()
        self._fail(lost)

    def _go_on(self) -> None:
        """Hand over the response, or the end of its body, if either is there."""
        asked = self._asked
        if self._in_pieces and self._has_head and self._reply.status == 200:
            if asked is not None:
                self._asked = None
                asked.callback(self._reply)  # this may call L{receive}
            elif self._end is not None and (self._is_whole or self._lost is not None):
                self._finish()
        elif self._is_whole and asked is not None:
            self._finish()

    def _finish(self) -> None:
        """Make the connection ready for another request, and hand over the response to this one."""
        asked, reply, end, is_whole = self._asked, self._reply, self._end, self._is_whole
        self._asked = None
        self._make_room()
        reply.body = self._room.hold(b"".join(self._pieces))
        if not self._stays:
            self._take = self._end = None
            self.transport.loseConnection()
        else:
            if self._is_head:
                self._parser = httptools.HttpResponseParser(self)  # the old one waits for a body
            if self._paused:
                self.resume()
            self._reset()
            self._on_idle(self)
        if end is not None:
            end(is_whole)
        elif asked is not None:
            asked.callback(reply)

    def _make_room(self) -> None:
        self._room.left_bytes += self._held_bytes
        self._held_bytes = 0

    def _give_up(self, reason: BaseException) -> None:
        self._fail(reason)
        self.transport.abortConnection()

    def _fail(self, reason: BaseException) -> None:
        """Fail the request, unless its response was handed over."""
        self._make_room()
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.errback(NoReplyError(reason, self._head_bytes > 0))
