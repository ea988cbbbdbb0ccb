"""
The fast door: a connection that takes common requests straight to the site's L{Handler}.

Common is what clients of keys send: HTTP/1.1, a body with a length or none, a connection that stays open. At the first
request that is not common, or not for the handler, the connection is handed over to a L{Channel}, with what has come
so far. So all rare forms of HTTP, and all refusals, are the channel's alone.

A response is written to the socket in the same turn of the reactor if nothing waits to be sent (L{SendQueue}). The
responses to requests that came together are sent together. Connections also wait for requests together (L{Readers}).

This module must never answer anything differently than L{Channel} would, nor let a client hold more, or for longer.
"""
# Twisted's HTTP server has no types.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import re
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

from twisted.internet.interfaces import IAddress, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Connection
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from zope.interface import implementer

from etcd_twisted.httpd.browsers import with_fields
from etcd_twisted.httpd.exchange import Exchange, in_one_piece
from etcd_twisted.httpd.fast.heads import Heads, may_become_common
from etcd_twisted.httpd.fast.readers import HAS_EPOLL, Readers
from etcd_twisted.httpd.fast.receive_buffer import READ_AHEAD_BYTES, ReceiveBuffer
from etcd_twisted.httpd.fast.sending import SendQueue
from etcd_twisted.httpd.handler import Handler, ParsedRequest
from etcd_twisted.httpd.lifetime import Lifetime, Verdict
from etcd_twisted.httpd.ordinary.channel import Channel
from etcd_twisted.httpd.responses import Response
from etcd_twisted.httpd.site import Site
from etcd_twisted.httpd.turns import BYTES_SHIFT
from etcd_twisted.net.sockets import keep_alive, tcp_socket

LONGEST_COMMON_HEAD_BYTES = 1 << 13
"""The longest request line and headers of a common request."""

_END = 1 << 62
"""The end of data of which nothing is left to handle."""

_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
_MOST_TOGETHER = 32
"""How many responses are sent together at most."""

_SHORT_BYTES = 1 << 11
"""A longer response is sent at once, with those before it."""

_MOST_IN_A_ROW = 64
"""How many requests of one connection are handled before those of other connections that wait."""


class FastSite(Site):
    """
    A site whose connections begin at the fast door.

    @ivar heads: what the header lines of common requests say.
    @ivar sends: what is sent before the turn of the reactor ends.
    @ivar common_fields: header lines for the responses to common requests, none of which has an C{Origin}.
    @ivar request_line: matches the request line of a common request for the handler. Its groups are the method, the
        path and the query.
    """

    handler: Handler

    def __init__(self, *args: Any, **kw: Any) -> None:
        """See L{Site}. A fast site has to have a handler."""
        super().__init__(*args, **kw)
        self.heads = Heads(self.browsers)
        self.sends = SendQueue(self.reactor)
        self._readers: Readers | None = None
        self.common_fields = b"" if self.cors is None else self.cors.fields(Headers())
        methods = rb"[A-Z]+" if self.cors is None else rb"(?!OPTIONS )[A-Z]+"
        prefix = re.escape(self.handler.prefix)
        self.request_line = re.compile(rb"(%s) %s(/[!->@-~]*)?(?:\?([!-~]*))? HTTP/1\.1\r\n" % (methods, prefix))

    def connection(self, addr: IAddress | None) -> "FastChannel":
        """Returns a new connection."""
        return FastChannel(self, addr)

    def share(self, connection: Connection) -> None:
        """Let a connection wait for bytes together with all others."""
        if self._readers is None and HAS_EPOLL:
            self._readers = Readers(connection.reactor, self.turns, self.sends)
        if self._readers is not None:
            self._readers.adopt(connection)

    def ordinary(self, addr: IAddress | None) -> Channel:
        """Returns what takes over a connection."""
        channel: Channel = super().connection(addr)
        return channel


@implementer(IPushProducer)
class FastChannel(Protocol):
    """
    A connection.

    What comes is handled at once, unless the connection has to wait: for an earlier response (L{_exchange}), for the
    client to read, or for a turn. Then it is buffered, and no more is read once that is much. At most one of
    L{_exchange} and L{_ordinary} is set.

    @ivar site: the site that it belongs to.
    @ivar lifetime: its timeouts, from the moment when it is connected.
    @ivar persistent: whether it stays open after this response.
    @ivar count: the site's L{etcd_twisted.httpd.usage.Usage.count}; likewise C{answered}.
    @ivar turns: the site's.
    @ivar write: sends bytes; it exists from the moment when the channel is connected.
    @ivar _ordinary: the channel that has taken over; nothing else is done here once it is set.
    @ivar _exchange: the response under way that could not be sent at once.
    @ivar _producer: produces the body of that response.
    @ivar _received: what has come and is not handled yet.
    @ivar _handling: whether requests are being handled further up the stack.
    @ivar _waits_for_turn: whether what has come waits for a turn.
    """

    _log = Logger()

    answered: Callable[[bytes, int, float], None]
    count: Callable[[bytes, int], None]
    lifetime: Lifetime
    transport: Any
    _received: ReceiveBuffer
    write: Callable[[bytes], None]

    def __init__(self, site: FastSite, addr: IAddress | None) -> None:
        self.count = site.usage.count
        self.answered = site.usage.answered
        self.turns = site.turns
        self._seconds = site.reactor.seconds
        self.site = site
        self._address = addr
        self._ordinary: Channel | None = None
        self._exchange: Exchange | None = None
        self._producer: Any = None
        self._handling = False
        self.persistent = True
        self._waits_for_turn = False
        self._common_until = 0
        """To where the header lines of a head that is not complete were found to be common."""

    # For an exchange

    def registerProducer(self, producer: object, _streaming: bool) -> None:
        """Tell C{producer} when to pause and resume."""
        self._producer = producer

    def unregisterProducer(self) -> None:
        """Stop telling it."""
        self._producer = None

    def requestDone(self, _request: object) -> None:
        """Continue with the next request, as the response is complete."""
        self._exchange = None
        if not self.persistent:
            self._close()
            return
        self.lifetime.deadline = self._seconds() + self.site.limits.idle_timeout_seconds
        received = self._received
        if (received.size or received.paused) and not self._handling:
            self._continue()

    # Its life

    def connectionMade(self) -> None:
        """Begin to count the time until the first request."""
        transport = self.transport
        self.lifetime = Lifetime(transport, self.site.limits, self._seconds())
        self._received = ReceiveBuffer(transport)
        self.write = transport.write
        if isinstance(transport, Connection):
            if tcp_socket(transport) is not None:
                transport.setTcpNoDelay(True)
            keep_alive(transport)
            self.write = partial(self.site.sends.send, transport)
            self.site.share(transport)
        transport.registerProducer(self, True)
        self.site.opened(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the answer under way that the client has gone."""
        if self._ordinary is not None:
            self._ordinary.connectionLost(reason)
            return
        exchange, self._exchange = self._exchange, None
        self._received.take()
        self.turns.give_up(self)
        if exchange is not None:
            exchange.connectionLost(reason)
        self.site.closed(self)

    def _close(self) -> None:
        """Close the connection when the client has taken what waits to be sent, or takes none of it."""
        self.site.sends.flush()
        self.lifetime.close(self._seconds())
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def abort(self) -> None:
        """Close the connection at once."""
        self.transport.abortConnection()

    def stop(self) -> None:
        """Close the connection in order: a request under way may be answered, a wait for events ends."""
        if self._exchange is None and not self._waits_for_turn:
            self._close()
            return
        self.persistent = False
        if self._exchange is not None:
            self._exchange.end_waiting()

    def sweep(self, now: float) -> None:
        """Close the connection if a timeout has passed. The site calls this about once a second."""
        exchange = self._exchange
        verdict = self.lifetime.verdict(now, exchange, self._received.paused and exchange is not None)
        if verdict is Verdict.ABORTED:
            self.abort()
        elif verdict is Verdict.LATE and not self._waits_for_turn:
            self._close()

    def pauseProducing(self) -> None:
        """The client has to read before more is sent."""
        self.lifetime.stall(self._seconds())
        if self._producer is not None:
            self._producer.pauseProducing()
        if self._exchange is None:
            self._received.pause()

    def resumeProducing(self) -> None:
        """The client has read all there was."""
        self.lifetime.stalled = False
        if self._producer is not None:
            self._producer.resumeProducing()
        if self._exchange is None and not self._handling:
            self._continue()

    def stopProducing(self) -> None:
        """The connection is being lost: L{connectionLost} follows."""

    # Requests

    def dataReceived(self, data: bytes) -> None:
        """Handle bytes, or keep them while something has to be waited for."""
        if self._ordinary is not None:
            self._ordinary.dataReceived(data)
        elif self._exchange is not None or self.lifetime.stalled or self._waits_for_turn:
            self._received.add(data)
            self._adjust_reading()
        elif (received := self._received).size:
            received.add(data, received.needed_bytes)
            if received.size >= received.needed_bytes:
                self._read(received.take())
        elif self.turns.left > 0 and not self.turns.waiting:
            self._handle_some(data)
        else:
            self._wait_for_turn(data)

    def _continue(self) -> None:
        """Handle what has come meanwhile, and read more."""
        if self.lifetime.closing or self.lifetime.stalled or self._waits_for_turn:
            return
        if not self._received.size:
            self._received.resume()
        else:
            try:
                self._read(self._received.take())
            except Exception:  # the caller has sent a response, or has made room for one: it can't handle this
                self._log.failure("A connection is closed, since what it sent could not be handled")
                self.abort()

    def _read(self, data: bytes) -> None:
        """Handle what has come, now or in a later turn."""
        turns = self.turns
        if turns.left <= 0 or turns.waiting:
            self._wait_for_turn(data)
        else:
            self._handle_some(data)

    def _wait_for_turn(self, data: bytes) -> None:
        """Keep what has come until a later turn of the reactor."""
        self._received.add(data)
        self._waits_for_turn = True
        self.turns.wait(self, self._take_turn)

    def _take_turn(self) -> None:
        """Handle some of what waited for a turn."""
        self._waits_for_turn = False
        if self.lifetime.closing:
            return
        if self.lifetime.stalled or self._exchange is not None:
            return  # it continues when the client has read, or the response is complete
        try:
            self._handle_some(self._received.take())
        except Exception:
            self._log.failure("A connection is closed, since what it sent could not be handled")
            self.abort()
            return
        if not self.persistent and not self.lifetime.closing:
            self._stop_now()

    def _stop_now(self) -> None:
        """Close the connection, as the service stopped while something waited for its turn."""
        if self._ordinary is None:
            self.stop()
        else:
            self._ordinary.stop()

    def _handle_some(self, data: bytes) -> None:
        """Handle one request after the other, as long as they are complete and there is time."""
        self._handling = True
        answers: list[bytes] = []
        turns = self.turns
        most = _MOST_IN_A_ROW if turns.waiting else turns.left
        start, size, handled = self._handle_one(data, 0, answers), len(data), 1
        while start < size and self._ordinary is None and not self.lifetime.closing:
            if self._exchange is not None or self.lifetime.stalled:
                self._received.add(data[start:])
                break
            if handled >= most or turns.left <= 0:
                self._wait_for_turn(data[start:])
                break
            start = self._handle_one(data, start, answers)
            handled += 1
        if answers:
            self.write(answers[0] if len(answers) == 1 else b"".join(answers))
        self._handling = False
        turns.left -= handled
        if turns.left <= 0:
            turns.exhausted()
        received = self._received
        if received.size or received.paused:
            self._adjust_reading()

    def _adjust_reading(self) -> None:
        """Read on, unless enough is buffered. Reading shows when a client that waits for a response has gone."""
        stalled, answering = self.lifetime.stalled, self._exchange is not None
        if self._received.size > READ_AHEAD_BYTES and (self._waits_for_turn or answering or stalled):
            self._received.pause()
        elif answering or not stalled:
            self._received.resume()

    def _send(self, answers: list[bytes]) -> None:
        """Send the responses that have been gathered, which are at least one."""
        self.write(answers[0] if len(answers) == 1 else b"".join(answers))
        answers.clear()

    def _has_room(self, answers: list[bytes], rest: bytes) -> bool:
        """Send what has been gathered. Returns whether there is room for more; if not, keeps the C{rest}."""
        if answers:
            self._send(answers)
        if self.lifetime.stalled:
            self._received.add(rest)
        return not self.lifetime.stalled

    def _handle_one(self, data: bytes, start: int, answers: list[bytes]) -> int:
        """
        Handle the request that begins at C{start}. Returns where it ends.

        @param answers: the responses to earlier requests that are not sent yet. The response to this one is added if
            it is there and short.
        """
        site = self.site
        line = site.request_line.match(data, start)
        end = data.find(b"\r\n\r\n", start, start + LONGEST_COMMON_HEAD_BYTES)
        if line is None or end < 0:
            rest = data[start:]
            first_line = line.end() - start if line is not None else 0
            return self._wait_for_head(rest, first_line) if self._has_room(answers, rest) else _END
        head = site.heads[data[line.end() : end + 2]]
        if head is None or head.length > site.limits.body_bytes:
            rest = data[start:]
            return self._hand_over(rest) if self._has_room(answers, rest) else _END
        body = end + 4
        end = body + head.length
        if end > len(data):
            rest = data[start:]
            return self._wait_for_rest(rest, end - start) if self._has_room(answers, rest) else _END
        lifetime = self.lifetime
        lifetime.receiving = False
        method, path, query = line.groups(b"")
        began = perf_counter()
        content_type, credentials, relayed = head.content_type, head.authorization, head.relayed
        request = ParsedRequest(method, path, query, content_type, data[body:end], credentials, None, relayed)
        answer = site.handler.handle(request)
        if site.common_fields:
            answer = with_fields(answer, site.common_fields)
        if type(answer) is Response and (whole := in_one_piece(self, method, answer)) is not None:
            self.answered(method, answer.status, perf_counter() - began)
            answers.append(whole)
            if len(answers) == _MOST_TOGETHER or len(whole) > _SHORT_BYTES or not self.persistent:
                self._send(answers)
                self.turns.spend(len(whole) >> BYTES_SHIFT)
            if self.persistent:
                lifetime.deadline = self._seconds() + site.limits.idle_timeout_seconds
            else:
                self._close()
            return end
        if answers:
            self._send(answers)
        lifetime.deadline = 0.0
        self._exchange = exchange = Exchange(self, True, method, began)
        exchange.answer(answer)
        return end

    def _wait_for_head(self, data: bytes, first_line: int) -> int:
        """
        Wait for the rest of a head that may become that of a common request; hand over any other.

        @param first_line: the length of the request line if it is there and for the handler, else 0.
        """
        if first_line:
            lines_end = data.rfind(b"\r\n") + 2
            is_known = self.lifetime.receiving and lines_end == self._common_until  # no line more than the last time
            may_be = is_known or may_become_common(data[first_line:lines_end])
            self._common_until = lines_end
        else:
            may_be = data[:1].isupper() and b"\r\n" not in data
        may_be = may_be and len(data) < LONGEST_COMMON_HEAD_BYTES and not _BARE_LINE_FEED.search(data)
        return self._wait_for_rest(data, 0) if may_be else self._hand_over(data)

    def _wait_for_rest(self, data: bytes, needed_bytes: int) -> int:
        """Wait for the rest of a request, which has to come within the read timeout."""
        self._received.add(data, needed_bytes)
        self.lifetime.begin_request(self._seconds())
        return _END

    def _hand_over(self, data: bytes) -> int:
        """Hand the connection over to a channel that knows all of HTTP."""
        self.site.sends.flush()
        self.site.handed_over(self)
        self._received.resume()  # from now on, the transport is the other channel's
        self.transport.unregisterProducer()
        self._ordinary = channel = self.site.ordinary(self._address)
        channel.makeConnection(self.transport)
        channel.lifetime = self.lifetime  # a request that has begun has no more time than any other
        channel.dataReceived(data)
        return _END
