"""
The fast door: a connection that takes common requests straight to the site's L{Handler}.

Common is what clients of keys send: HTTP/1.1, a body with a length or none, a connection that stays open. At the first
request that is not common, or not for the handler, the connection is handed over to a L{Channel}, with what has come
so far. So all rare forms of HTTP, and all refusals, are the channel's alone.

A short response is put together here, whether it is there at once or comes later; an L{Exchange} sends all others. It
is written to the socket in the same turn of the reactor if nothing waits to be sent (L{SendQueue}). The responses to
requests that came together are sent together. Connections also wait for requests together (L{Readers}).

This module must never answer anything differently than L{Channel} would, nor let a client hold more, or for longer.
"""
# Twisted's HTTP server has no types.
# mypy: disallow-untyped-calls=False, warn-return-any=False

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

from twisted.internet.interfaces import IAddress, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Connection
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from etcd_twisted.httpd.browsers import with_fields
from etcd_twisted.httpd.exchange import PIECE_BYTES, Exchange
from etcd_twisted.httpd.fast.heads import has_bare_line_feed, may_become_common
from etcd_twisted.httpd.fast.receive_buffer import READ_AHEAD_BYTES, ReceiveBuffer
from etcd_twisted.httpd.fast.sending import MOST_BYTES
from etcd_twisted.httpd.fast.shared import LONGEST_COMMON_HEAD_BYTES, SharedSite
from etcd_twisted.httpd.handler import ParsedRequest
from etcd_twisted.httpd.lifetime import Lifetime, Verdict
from etcd_twisted.httpd.ordinary.channel import Channel
from etcd_twisted.httpd.responses import AnyResponse, Later, Response
from etcd_twisted.httpd.turns import BYTES_SHIFT
from etcd_twisted.httpd.usage import MOST_RECENT
from etcd_twisted.net.sockets import keep_alive, tcp_socket

_HEAD = b"HEAD"
_MOST_TOGETHER = 32
"""How many responses are sent together at most."""

_MOST_IN_A_ROW = 64
"""How many requests of one connection are handled before those of other connections that wait."""


@implementer(IPushProducer)
class FastChannel(Protocol):
    """
    A connection.

    What comes is handled at once, unless the connection has to wait: for an earlier response (L{_under_way}), for the
    client to read, or for a turn. Then it is buffered, and no more is read once that is much.

    @ivar site: the site that it belongs to.
    @ivar lifetime: its timeouts, from the moment when it is connected.
    @ivar persistent: whether it stays open after this response.
    @ivar count: the site's L{etcd_twisted.httpd.usage.Usage.count}; likewise C{answered}.
    @ivar turns: the site's.
    @ivar write: sends bytes; it exists from the moment when the channel is connected.
    @ivar _under_way: the response that the client waits for, or what sends it; or, for good, the channel that has
        taken over.
    @ivar _method: the method of the request that is handled, or was last; likewise C{_began}, when it was complete.
    @ivar _producer: produces the body of the response under way.
    @ivar _received: what has come and is not handled yet.
    @ivar _gathers: whether several requests that came together are being handled.
    @ivar _gathered: the responses to the first of them, which are not sent yet.
    @ivar _in_a_row: how many of them were handled.
    @ivar _waits_for_turn: whether what has come waits for a turn.
    """

    _log = Logger()

    answered: Callable[[bytes, int, float], None]
    count: Callable[[bytes, int], None]
    lifetime: Lifetime
    transport: Any
    _received: ReceiveBuffer
    write: Callable[[bytes], None]

    def __init__(self, site: SharedSite, addr: IAddress | None) -> None:
        self.count = site.usage.count
        self.answered = site.usage.answered
        self._recent = site.usage.recent
        self.turns = site.turns
        self._seconds = site.reactor.seconds
        self._idle_timeout_seconds = site.limits.idle_timeout_seconds
        self.site = site
        self._address = addr
        self._under_way: Exchange | Later | Channel | None = None
        self._method = b""
        self._began = 0.0
        self._producer: Any = None
        self._gathers = False
        self._gathered: list[bytes] = []
        self._in_a_row = 0
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
        self._under_way = None
        if not self.persistent:
            self._close()
            return
        self.lifetime.deadline = self._seconds() + self._idle_timeout_seconds
        if not self._gathers:
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
        """Cancel the response under way, as the client has gone."""
        under_way, self._under_way = self._under_way, None
        if isinstance(under_way, Channel):
            under_way.connectionLost(reason)
            return
        self._received.take()
        self.turns.give_up(self)
        if isinstance(under_way, Exchange):
            under_way.connectionLost(reason)
        elif under_way is not None:
            under_way.cancel()
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
        if self._under_way is None and not self._waits_for_turn:
            self._close()
            return
        self.persistent = False
        if isinstance(self._under_way, Exchange):
            self._under_way.end_waiting()

    def sweep(self, now: float) -> None:
        """Close the connection if a timeout has passed. The site calls this about once a second."""
        under_way = self._under_way
        backlog = under_way if isinstance(under_way, Exchange) else None
        verdict = self.lifetime.verdict(now, backlog, self._received.paused and under_way is not None)
        if verdict is Verdict.ABORTED:
            self.abort()
        elif verdict is Verdict.LATE and under_way is None and not self._waits_for_turn:
            self._close()

    def pauseProducing(self) -> None:
        """The client has to read before more is sent."""
        self.lifetime.stall(self._seconds())
        if self._producer is not None:
            self._producer.pauseProducing()
        if self._under_way is None:
            self._received.pause()

    def resumeProducing(self) -> None:
        """The client has read all there was."""
        self.lifetime.stalled = False
        if self._producer is not None:
            self._producer.resumeProducing()
        if self._under_way is None and not self._gathers:
            self._continue()

    def stopProducing(self) -> None:
        """The connection is being lost: L{connectionLost} follows."""

    # Requests

    def dataReceived(self, data: bytes) -> None:
        """Handle bytes, or keep them while something has to be waited for."""
        turns = self.turns
        if (
            self._under_way is None
            and turns.left > 0
            and not (turns.waiting or self._received.size or self.lifetime.stalled)
        ):
            self._handle(data)
        else:
            self._receive(data)

    def _receive(self, data: bytes) -> None:
        """Take bytes that can't be handled by themselves, or not now."""
        received = self._received
        if isinstance(self._under_way, Channel):
            self._under_way.dataReceived(data)
        elif self._under_way is not None or self.lifetime.stalled or self._waits_for_turn:
            received.add(data)
            self._adjust_reading()
        elif received.size:
            received.add(data, received.needed_bytes)
            if received.size >= received.needed_bytes:
                self._handle_received()
        else:
            self._wait_for_turn(data)

    def _handle_received(self) -> None:
        """Handle what is buffered, now or in a later turn."""
        data = self._received.take()
        if self.turns.is_busy:
            self._wait_for_turn(data)
        else:
            self._handle(data)
            self._adjust_reading()

    def _continue(self) -> None:
        """Handle what has come meanwhile, and read more."""
        if self.lifetime.closing or self.lifetime.stalled or self._waits_for_turn:
            return
        if not self._received.size:
            self._received.resume()
        else:
            try:
                self._handle_received()
            except Exception:  # the caller has sent a response, or has made room for one: it can't handle this
                self._log.failure("A connection is closed, since what it sent could not be handled")
                self.abort()

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
        if self.lifetime.stalled or self._under_way is not None:
            return  # it continues when the client has read, or the response is complete
        try:
            self._handle(self._received.take())
            self._adjust_reading()
        except Exception:
            self._log.failure("A connection is closed, since what it sent could not be handled")
            self.abort()
            return
        if not self.persistent and not self.lifetime.closing:  # the service has stopped meanwhile
            (self._under_way if isinstance(self._under_way, Channel) else self).stop()

    def _adjust_reading(self) -> None:
        """Read on, unless enough is buffered. Reading shows when a client that waits for a response has gone."""
        stalled, answering = self.lifetime.stalled, self._under_way is not None
        if self._received.size > READ_AHEAD_BYTES and (self._waits_for_turn or answering or stalled):
            self._received.pause()
        elif answering or not stalled:
            self._received.resume()

    def _handle(self, data: bytes) -> None:
        """Handle the request that has come, and those behind it as long as they are complete and there is time."""
        site, start, size = self.site, 0, len(data)
        while True:
            match = site.request_head.match(data, start)
            if match is None:
                self._wait_for_head(data[start:])
                break
            self._method, path, query, fields = match.groups()
            head = site.heads[fields]
            if head is None:
                self._hand_over(data[start:])
                break
            body = match.end()
            end = body + head.length
            if end != size:
                if end > size:
                    self._wait_for_rest(data[start:], end - start)
                    break
                self._gathers = True
            self.lifetime.receiving = False
            self.turns.left -= 1
            self._began = perf_counter()
            request = ParsedRequest(
                self._method, path, query, head.content_type, data[body:end], head.authorization, None, head.relayed
            )
            answer = site.handler.handle(request)
            if type(answer) is Response:
                self._respond(answer)
            elif isinstance(answer, Later):
                self._under_way = answer
                answer.listener = self._respond
            else:
                self._begin_exchange(answer)
            if end == size or not self._goes_on(data, end):
                break
            start = end
        if self._gathers:
            self._end_gathering()

    def _goes_on(self, data: bytes, start: int) -> bool:
        """Returns whether the request that begins at C{start} is handled now. If it will be later, it is kept."""
        if self.lifetime.closing:
            return False
        if self._under_way is not None or self.lifetime.stalled:
            self._received.add(data[start:])
            return False
        self._in_a_row += 1
        turns = self.turns
        if turns.left <= 0 or (turns.waiting and self._in_a_row >= _MOST_IN_A_ROW):
            self._wait_for_turn(data[start:])
            return False
        return True

    # Responses

    def _respond(self, response: Response) -> None:
        """Send the response to the request that was handled last: here if it can be sent at once."""
        body, lifetime = response.body, self.lifetime
        if (
            type(body) is not bytes
            or len(body) > PIECE_BYTES
            or lifetime.stalled
            or self._method == _HEAD
            or not self.persistent
        ):
            self._begin_exchange(response)
            return
        try:
            recent = self._recent[self._method, response.status]
            recent.append(perf_counter() - self._began)
            if len(recent) >= MOST_RECENT:
                self.site.usage.add_up()
            whole = b"%s%sContent-Length: %d\r\n\r\n%s" % (
                self.site.beginnings[response.status], response.fields, len(body), body
            )  # fmt: skip
            self._under_way = None
            lifetime.deadline = self._seconds() + self._idle_timeout_seconds
            if self._gathers:
                self._gather(whole)
                return
            self.write(whole)
            if len(whole) > MOST_BYTES:
                self.turns.spend(len(whole) >> BYTES_SHIFT)
            if self._received.size:
                self._continue()
        except Exception:  # the caller has made a response: it can't handle this
            self._log.failure("An answer could not be sent")
            self.abort()

    def _begin_exchange(self, answer: AnyResponse) -> None:
        """Begin an exchange, which sends a response that can't be sent at once."""
        if self._gathered:
            self._send_gathered()
        fields = self.site.common_fields
        self._under_way = exchange = Exchange(self, True, self._method, self._began)
        exchange.answer(with_fields(answer, fields) if fields else answer)

    def _gather(self, whole: bytes) -> None:
        """Send a response together with others, as several requests came together."""
        self._gathered.append(whole)
        if len(self._gathered) == _MOST_TOGETHER or len(whole) > MOST_BYTES:
            self._send_gathered()
            self.turns.spend(len(whole) >> BYTES_SHIFT)

    def _send_gathered(self) -> None:
        self.write(b"".join(self._gathered))
        self._gathered.clear()

    def _end_gathering(self) -> None:
        """Send what was gathered, and read on."""
        if self._gathered:
            self._send_gathered()
        self._gathers = False
        self._in_a_row = 0
        self._adjust_reading()

    def _has_room(self, rest: bytes) -> bool:
        """Send what has been gathered. Returns whether there is room for more; if not, keeps the C{rest}."""
        if self._gathered:
            self._send_gathered()
        if self.lifetime.stalled:
            self._received.add(rest)
        return not self.lifetime.stalled

    # What can't be handled yet, or not here

    def _wait_for_head(self, data: bytes) -> None:
        """Wait for the rest of a head that may become that of a common request; hand over any other."""
        line = self.site.request_line.match(data)
        if line is not None:
            lines_end = data.rfind(b"\r\n") + 2
            is_known = self.lifetime.receiving and lines_end == self._common_until  # no line more than the last time
            may_be = is_known or may_become_common(data[line.end() : lines_end])
            self._common_until = lines_end
        else:
            may_be = data[:1].isupper() and b"\r\n" not in data
        if may_be and len(data) < LONGEST_COMMON_HEAD_BYTES and not has_bare_line_feed(data):
            self._wait_for_rest(data, 0)
        else:
            self._hand_over(data)

    def _wait_for_rest(self, data: bytes, needed_bytes: int) -> None:
        """Wait for the rest of a request, which has to come within the read timeout."""
        if self._has_room(data):
            self._received.add(data, needed_bytes)
            self.lifetime.begin_request(self._seconds())

    def _hand_over(self, data: bytes) -> None:
        """Hand the connection over to a channel that knows all of HTTP."""
        if not self._has_room(data):
            return
        self.site.sends.flush()
        self.site.handed_over(self)
        self._received.resume()  # from now on, the transport is the other channel's
        self.transport.unregisterProducer()
        self._under_way = channel = self.site.ordinary(self._address)
        channel.makeConnection(self.transport)
        channel.lifetime = self.lifetime  # a request that has begun has no more time than any other
        channel.dataReceived(data)
