"""
Many writes, for a tenth of the processor time of ordinary ones: C{client.bulk()}.

Each connection carries one C{PUT} after the other to one machine. A write fires with whether it was certainly made,
and with nothing else: whoever hears that it was not looks after it with the ordinary client, which follows redirects,
waits out elections and tells errors apart. So this is for writes that can be sent twice. This module must never say
that a write was made when that is not certain.
"""

import re
import urllib.parse
from collections.abc import Callable
from functools import partial

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint, ITransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import URI

from etcd_twisted.client.messages import Request

Connect = Callable[[URI], IStreamClientEndpoint]
"""Returns the endpoint of a machine."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_LONGEST_HEAD_BYTES = 65_536
_SWEEP_SECONDS = 1.0


class _Connection(Protocol):
    """
    One connection.

    @ivar netloc: the host and the port of the machine.
    @ivar sent_at: when the request that has no answer yet was sent; C{None} if there is none.
    """

    def __init__(self, netloc: bytes, ended: "Callable[[_Connection], None]") -> None:
        self.netloc = netloc
        self.sent_at: float | None = None
        self._ended = ended
        self._answered: Callable[[_Connection, int, bytes], None] | None = None
        self._buffer = b""

    def send(self, data: bytes, now: float, answered: "Callable[[_Connection, int, bytes], None]") -> None:
        """
        Send a request.

        @param answered: called with the status and the head of the answer; the status is 0 if none comes.
        """
        self.sent_at = now
        self._answered = answered
        transport: ITransport = self.transport  # type: ignore[assignment]
        transport.write(data)

    def dataReceived(self, data: bytes) -> None:
        """Take some of an answer."""
        self._buffer = buffer = self._buffer + data if self._buffer else data
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(buffer) > _LONGEST_HEAD_BYTES:
                self.abort()
            return
        head = buffer[:end]
        length, status = _LENGTH.search(head), head[9:12]
        if self._answered is None or length is None or not status.isdigit() or status < b"200":
            self.abort()  # an answer that nobody has asked for, or of which this does not know where it ends
            return
        if len(buffer) >= end + 4 + int(length[1]):
            self._buffer = buffer[end + 4 + int(length[1]) :]
            self._answer(int(status), head)

    def _answer(self, status: int, head: bytes) -> None:
        answered, self._answered, self.sent_at = self._answered, None, None
        if answered is not None:
            answered(self, status, head)

    def abort(self) -> None:
        """End the connection."""
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]  # each stream transport has it

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See L{Protocol}."""
        del reason
        self._ended(self)
        self._answer(0, b"")


class Bulk:
    """
    Writes over connections of its own to one machine at a time. It opens as many as there are writes at once.

    Each method returns a Deferred that fires with whether the write was certainly made. Otherwise it may have been
    made, or not, or may have been refused.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        connect: Connect | None,
        find_machine: "Callable[[], Deferred[str]] | None",
        timeout_seconds: float,
        authorization: bytes | None = None,
        cluster_id: Callable[[], str | None] = lambda: None,
    ) -> None:
        """
        @param connect: C{None} if there are no connections to be had: then no write is made.
        @param find_machine: called for the URL of the leader, or of any machine.
        @param timeout_seconds: how long a write may take.
        @param authorization: the value of the header of that name, or C{None}.
        @param cluster_id: returns the id of the cluster, or C{None} while it is not known.
        """
        self._clock = clock
        self._connect = connect
        self._find_machine = find_machine
        self._timeout_seconds = timeout_seconds
        self._authorization = b"" if authorization is None else b"Authorization: %b\r\n" % authorization
        self._cluster_id = cluster_id
        self._uri: URI | None = None
        self._idle: list[_Connection] = []
        self._all: set[_Connection] = set()
        self._searchers: list[Deferred[None]] = []
        self._sweeping: IDelayedCall | None = None
        self._closed = False

    def send(self, request: Request) -> "Deferred[bool]":
        """Send a C{PUT} with a form."""
        form = urllib.parse.urlencode(request.form or {}).encode("ascii")
        made: Deferred[bool] = Deferred()
        if self._idle:
            self._send_over(self._idle.pop(), request.target, form, made)
        else:
            Deferred.fromCoroutine(self._send_over_another(request.target, form, made)).addErrback(made.errback)
        return made

    def close(self) -> None:
        """End all connections. What has no answer yet fires with C{False}."""
        self._closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        for each in list(self._all):
            each.abort()

    async def _send_over_another(self, target: str, form: bytes, made: "Deferred[bool]") -> None:
        if self._uri is None and self._find_machine is not None:
            await self._find(self._find_machine)
        uri = self._uri
        if uri is None or self._connect is None or self._closed:
            made.callback(False)
            return
        factory = Factory.forProtocol(partial(_Connection, uri.netloc, self._ended))
        try:
            connection = await self._connect(uri).connect(factory)
        except (ConnectError, DNSLookupError) as error:
            self._log.debug("No connection for many writes: {reason}", reason=str(error))
            self._uri = None
            made.callback(False)
            return
        assert isinstance(connection, _Connection)  # noqa: S101  # the factory has made it
        if self._closed or uri is not self._uri:  # another machine leads meanwhile
            connection.abort()
            made.callback(False)
            return
        self._all.add(connection)
        self._send_over(connection, target, form, made)

    def _find(self, find_machine: "Callable[[], Deferred[str]]") -> "Deferred[None]":
        """Find the machine to write to. All that want to know wait for the same answer."""
        waiting: Deferred[None] = Deferred()
        self._searchers.append(waiting)
        if len(self._searchers) == 1:
            find_machine().addCallback(self._found).addErrback(self._not_found)
        return waiting

    def _found(self, url: str) -> None:
        self._uri = URI.fromBytes(url.encode("ascii"))
        searchers, self._searchers = self._searchers, []
        for each in searchers:
            each.callback(None)

    def _not_found(self, failure: Failure) -> None:
        searchers, self._searchers = self._searchers, []
        for each in searchers:
            each.errback(failure)

    def _send_over(self, connection: _Connection, target: str, form: bytes, made: "Deferred[bool]") -> None:
        head = (
            b"PUT %b HTTP/1.1\r\nHost: %b\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            b"Content-Length: %d\r\n%b\r\n"
        )
        data = head % (target.encode("ascii"), connection.netloc, len(form), self._authorization) + form

        def answered(connection: _Connection, status: int, head: bytes) -> None:
            is_made = status in {200, 201} and self._is_of_this_cluster(head)
            if status and (is_made or status in {403, 412}) and not self._closed:
                self._idle.append(connection)
            elif status:  # a machine that redirects, or that can't write just now
                self._leave()
            made.callback(is_made)

        if self._sweeping is None and not self._closed:
            self._sweeping = self._clock.callLater(_SWEEP_SECONDS, self._sweep)
        connection.send(data, self._clock.seconds(), answered)

    def _is_of_this_cluster(self, head: bytes) -> bool:
        cluster_id = self._cluster_id()
        if cluster_id is None:
            return True
        lower = head.lower()
        return b"x-etcd-cluster-id:" not in lower or cluster_id.lower().encode() in lower

    def _leave(self) -> None:
        """Write to whichever machine leads now."""
        self._uri = None
        for each in list(self._all):
            if each.sent_at is None:
                each.abort()

    def _ended(self, connection: _Connection) -> None:
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def _sweep(self) -> None:
        """Give up what has waited too long for an answer."""
        self._sweeping = None
        latest = self._clock.seconds() - self._timeout_seconds
        waiting = [each for each in self._all if each.sent_at is not None]
        for each in waiting:
            if each.sent_at is not None and each.sent_at < latest:
                self._uri = None
                each.abort()
        if waiting and not self._closed:
            self._sweeping = self._clock.callLater(_SWEEP_SECONDS, self._sweep)
