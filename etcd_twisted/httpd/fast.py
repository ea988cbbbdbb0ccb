"""
The fast door: a connection that takes common requests for the site's L{Door} straight to it.

Common is what clients of keys send: HTTP/1.1, a body with a length or none, a connection that stays. The first request
on a connection that is not common, or for other pages, hands the connection to L{Channel} with what has come so far,
and this steps aside. So that one alone refuses, and knows what is rare.

An answer is written to the socket at once, when nothing waits there; those to requests that came together, together.
Connections wait for requests together too (L{Readers}).

Must never answer anything in another way than L{Channel} would, nor let a client hold more, or for longer.
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
from etcd_twisted.httpd.channel import Channel
from etcd_twisted.httpd.door import Door, DoorRequest
from etcd_twisted.httpd.exchange import Exchange, in_one_piece
from etcd_twisted.httpd.heads import Heads, may_become_common
from etcd_twisted.httpd.lifetime import Lifetime, Verdict
from etcd_twisted.httpd.readers import HAS_EPOLL, Readers
from etcd_twisted.httpd.responses import Response
from etcd_twisted.httpd.site import Site
from etcd_twisted.httpd.turns import BYTES_SHIFT
from etcd_twisted.net.sockets import keep_alive, tcp_socket, write_now

LONGEST_HEAD = 1 << 13
"""How long the head of a common request may be, in bytes."""

_ALL = 1 << 62
"""Where bytes end of which nothing is left to read."""

_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
_VERSION = b"HTTP/1.1"
_EAGER = 1 << 14
"""How much is read ahead while a request is answered, in bytes, before the client has to wait."""
_TOGETHER = 32
_SHORT = 1 << 11
_MOST_IN_A_ROW = 64
"""
How many answers are sent together at the most, how long each may be but for the last, in bytes, and how many requests
are taken from one connection before it is the turn of others that wait.
"""


class FastSite(Site):
    """
    A site whose connections begin at the fast door.

    @ivar heads: the heads of common requests.
    @ivar common_fields: header lines for the answers to common requests, which are of no origin.
    @ivar request_line: matches the request line of a common one for the door: its method, path and query.
    """

    door: Door

    def __init__(self, *args: Any, **kw: Any) -> None:
        """See L{Site}; it has a door."""
        super().__init__(*args, **kw)
        self.heads = Heads(self.browsers)
        self._readers: Readers | None = None
        self.common_fields = b"" if self.cors is None else self.cors.fields(Headers())
        methods = rb"[A-Z]+" if self.cors is None else rb"(?!OPTIONS )[A-Z]+"
        prefix = re.escape(self.door.prefix)
        self.request_line = re.compile(rb"(%s) %s(/[!->@-~]*)?(?:\?([!-~]*))? HTTP/1\.1\r\n" % (methods, prefix))

    def connection(self, addr: IAddress | None) -> "FastChannel":
        """A new connection."""
        return FastChannel(self, addr)

    def share(self, connection: Connection) -> None:
        """Have a connection wait for bytes together with all others."""
        if self._readers is None and HAS_EPOLL:
            self._readers = Readers(connection.reactor, self.turns.begin)
        if self._readers is not None:
            self._readers.adopt(connection)

    def ordinary(self, addr: IAddress | None) -> Channel:
        """What takes a connection over."""
        channel: Channel = super().connection(addr)
        return channel


@implementer(IPushProducer)
class FastChannel(Protocol):
    """
    A connection.

    @ivar site: the site that it belongs to.
    @ivar lifetime: its timeouts, from the moment when it is connected.
    @ivar persistent: whether it stays open after this answer.
    @ivar count: see L{etcd_twisted.httpd.usage.Usage}; so for C{answered}.
    @ivar turns: the site's.
    @ivar write: sends bytes; likewise from that moment.
    """

    _log = Logger()

    answered: Callable[[bytes, int, float], None]
    count: Callable[[bytes, int], None]
    lifetime: Lifetime
    transport: Any
    write: Callable[[bytes], None]
    persistent = True

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
        self._parts: list[bytes] = []
        self._have = 0
        self._need = 0
        self._reading = False
        self._held = False
        self._queued = False

    # What an exchange needs

    def registerProducer(self, producer: object, _streaming: bool) -> None:
        """Tell C{producer} when to pause and resume."""
        self._producer = producer

    def unregisterProducer(self) -> None:
        """Tell it no more."""
        self._producer = None

    def requestDone(self, _request: object) -> None:
        """The answer is complete; begin with the next request."""
        self._exchange = None
        if not self.persistent:
            self._close()
            return
        self.lifetime.deadline = self._seconds() + self.site.limits.idle_timeout_seconds
        if (self._parts or self._held) and not self._reading:
            self._go_on()

    # Its life

    def connectionMade(self) -> None:
        """Begin to count the time until the first request."""
        transport = self.transport
        self.lifetime = Lifetime(transport, self.site.limits, self._seconds())
        self.write = transport.write
        if isinstance(transport, Connection):
            if tcp_socket(transport) is not None:
                transport.setTcpNoDelay(True)
            keep_alive(transport)
            self.write = partial(write_now, transport)
            self.site.share(transport)
        transport.registerProducer(self, True)
        self.site.opened(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell whoever is answering."""
        if self._ordinary is not None:
            self._ordinary.connectionLost(reason)
            return
        exchange, self._exchange = self._exchange, None
        self._parts.clear()
        self.turns.give_up(self)
        if exchange is not None:
            exchange.connectionLost(reason)
        self.site.closed(self)

    def _close(self) -> None:
        """Close the connection when the client has taken what waits to be sent, or takes none of it."""
        self.lifetime.close(self._seconds())
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def abort(self) -> None:
        """Close the connection at once."""
        self.transport.abortConnection()

    def stop(self) -> None:
        """Close the connection in order: a request under way may be answered, a wait for events ends."""
        if self._exchange is None and not self._queued:
            self._close()
            return
        self.persistent = False
        if self._exchange is not None:
            self._exchange.end_waiting()

    def sweep(self, now: float) -> None:
        """Close the connection if a timeout has passed. The site calls this about once a second."""
        exchange = self._exchange
        verdict = self.lifetime.verdict(now, exchange, self._held and exchange is not None)
        if verdict is Verdict.ABORTED:
            self.abort()
        elif verdict is Verdict.LATE and not self._queued:
            self._close()

    def pauseProducing(self) -> None:
        """The client has to read before more is sent."""
        self.lifetime.stall(self._seconds())
        if self._producer is not None:
            self._producer.pauseProducing()
        if self._exchange is None:
            self._hold()

    def resumeProducing(self) -> None:
        """The client has read all there was."""
        self.lifetime.stalled = False
        if self._producer is not None:
            self._producer.resumeProducing()
        if self._exchange is None and not self._reading:
            self._go_on()

    def stopProducing(self) -> None:
        """The connection is being lost: L{connectionLost} follows."""

    # Requests

    def dataReceived(self, data: bytes) -> None:
        """Bytes have come."""
        if self._ordinary is not None:
            self._ordinary.dataReceived(data)
        elif self._exchange is not None or self.lifetime.stalled or self._queued:
            self._keep(data, 0)
            self._hold_or_release()
        elif self._parts:
            self._keep(data, self._need)
            if self._have >= self._need:
                self._read(self._taken())
        else:
            self._read(data)

    def _keep(self, data: bytes, need: int) -> None:
        """Keep bytes until there are more of them, or a request is answered."""
        self._parts.append(data)
        self._have += len(data)
        self._need = need

    def _taken(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        self._have = 0
        return data

    def _hold(self) -> None:
        """Let no more come."""
        if not self._held:
            self._held = True
            self.transport.pauseProducing()

    def _go_on(self) -> None:
        """Take what has come meanwhile, and let more come."""
        if self.lifetime.closing or self.lifetime.stalled or self._queued:
            return
        if not self._parts:
            self._release()
        else:
            try:
                self._read(self._taken())
            except Exception:  # nobody who sent an answer, or made room for one, could know what to do about it
                self._log.failure("A connection is closed, since what came could not be taken")
                self.abort()

    def _release(self) -> None:
        """Let more come."""
        if self._held:
            self._held = False
            self.transport.resumeProducing()

    def _read(self, data: bytes) -> None:
        """Take what has come, now or when there is time for it."""
        turns = self.turns
        if turns.left <= 0 or turns.waiting:
            self._queue(data)
        else:
            self._take_some(data)

    def _queue(self, data: bytes) -> None:
        """Go on with what has come in another turn of the reactor."""
        self._keep(data, 0)
        self._queued = True
        self.turns.wait(self, self._have_turn)

    def _have_turn(self) -> None:
        """There is time for a few requests."""
        self._queued = False
        if self.lifetime.closing:
            return
        if self.lifetime.stalled or self._exchange is not None:
            return  # there is a turn when the client has read, or the answer is there
        try:
            self._take_some(self._taken())
        except Exception:
            self._log.failure("A connection is closed, since what came could not be taken")
            self.abort()
            return
        if not self.persistent and not self.lifetime.closing:
            self._stop_taking()

    def _stop_taking(self) -> None:
        """The service has been stopped while something waited here for its turn."""
        if self._ordinary is None:
            self.stop()
        else:
            self._ordinary.stop()

    def _take_some(self, data: bytes) -> None:
        """Take one request after the other, as far as they are complete and there is time for them."""
        self._reading = True
        answers: list[bytes] = []
        turns = self.turns
        most = _MOST_IN_A_ROW if turns.waiting else turns.left
        start, size, taken = self._take(data, 0, answers), len(data), 1
        while start < size and self._ordinary is None and not self.lifetime.closing:
            if self._exchange is not None or self.lifetime.stalled:
                self._keep(data[start:], 0)
                break
            if taken >= most or turns.left <= 0:
                self._queue(data[start:])
                break
            start = self._take(data, start, answers)
            taken += 1
        if answers:
            self._send(answers)
        self._reading = False
        turns.left -= taken
        if turns.left <= 0:
            turns.exhausted()
        if self._have or self._held:
            self._hold_or_release()

    def _hold_or_release(self) -> None:
        """Read on, unless enough waits already. Reading shows when a client that waits for an answer has gone."""
        if self._have > _EAGER and (self._queued or self._exchange is not None or self.lifetime.stalled):
            self._hold()
        elif self._exchange is not None or not self.lifetime.stalled:
            self._release()

    def _send(self, answers: list[bytes]) -> None:
        """Send the answers that have been gathered, at least one."""
        self.write(answers[0] if len(answers) == 1 else b"".join(answers))
        answers.clear()

    def _may_go_on(self, answers: list[bytes], rest: bytes) -> bool:
        """Send what is there; if the client has to read first, the C{rest} is kept until it has."""
        if answers:
            self._send(answers)
        if self.lifetime.stalled:
            self._keep(rest, 0)
        return not self.lifetime.stalled

    def _take(self, data: bytes, start: int, answers: list[bytes]) -> int:
        """
        Take the request that begins there; returns where it ends.

        @param answers: to requests before it, not sent yet; its own is put there if it is in one piece.
        """
        site = self.site
        line = site.request_line.match(data, start)
        end = data.find(b"\r\n\r\n", start, start + LONGEST_HEAD)
        if line is None or end < 0:
            rest = data[start:]
            first_line = line.end() - start if line is not None else 0
            return self._unclear(rest, first_line) if self._may_go_on(answers, rest) else _ALL
        head = site.heads[data[line.end() : end + 2]]
        if head is None or head.length > site.limits.body_bytes:
            rest = data[start:]
            return self._hand_over(rest) if self._may_go_on(answers, rest) else _ALL
        body = end + 4
        end = body + head.length
        if end > len(data):
            rest = data[start:]
            return self._wait(rest, end - start) if self._may_go_on(answers, rest) else _ALL
        lifetime = self.lifetime
        lifetime.receiving = False
        method, path, query = line.groups(b"")
        began = perf_counter()
        answer = site.door.handle(DoorRequest(method, path, query, head.content_type, data[body:end]))
        if site.common_fields:
            answer = with_fields(answer, site.common_fields)
        if isinstance(answer, Response) and (whole := in_one_piece(self, method, answer)) is not None:
            self.answered(method, answer.status, perf_counter() - began)
            answers.append(whole)
            if len(answers) == _TOGETHER or len(whole) > _SHORT or not self.persistent:
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
        self._exchange = exchange = Exchange(self, _VERSION, method, began)
        exchange.answer(answer)
        return end

    def _unclear(self, data: bytes, first_line: int) -> int:
        """
        There is no whole head of a request for the door.

        @param first_line: the size of its request line, if that is there and for the door; else 0.
        """
        if first_line:
            may_be = may_become_common(data[first_line : data.rfind(b"\r\n") + 2])
        else:
            may_be = data[:1].isupper() and b"\r\n" not in data
        may_be = may_be and len(data) < LONGEST_HEAD and not _BARE_LINE_FEED.search(data)
        return self._wait(data, 0) if may_be else self._hand_over(data)

    def _wait(self, data: bytes, need: int) -> int:
        """The rest of a request is to come, within the read timeout."""
        self._keep(data, need)
        self.lifetime.begin_request(self._seconds())
        return _ALL

    def _hand_over(self, data: bytes) -> int:
        """This is for one who knows all of HTTP."""
        self.site.handed_over(self)
        self._release()  # from here on, the transport is the other channel's
        self.transport.unregisterProducer()
        self._ordinary = channel = self.site.ordinary(self._address)
        channel.makeConnection(self.transport)
        channel.lifetime = self.lifetime  # what it began to receive has no more time than on any other connection
        channel.dataReceived(data)
        return _ALL
