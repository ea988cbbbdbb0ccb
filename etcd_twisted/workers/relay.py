"""
Requests that a worker does not answer itself: it has the consensus process answer them.

For each request, the worker makes a connection, a pair of Unix sockets, and sends one end of it to the consensus
process, together with who makes the request: so nobody but a worker can say that. The request goes over the connection
as HTTP/1.0 (L{etcd_twisted.web.http_connection}). A worker whose client has gone closes the connection.

This module must never send a request twice, nor take a response for whole that has broken off.
"""
# Twisted's HTTP server has no types.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import errno
import os
import socket
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import msgspec
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor, IWriteDescriptor
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.httpd.browsers import ANY, BrowserPolicy
from etcd_twisted.httpd.limits import Limits
from etcd_twisted.httpd.ordinary.channel import Channel
from etcd_twisted.httpd.ordinary.request import Request as ChannelRequest
from etcd_twisted.httpd.site import Site
from etcd_twisted.interfaces import IReactor, IReplica
from etcd_twisted.web.api_responses import error_response
from etcd_twisted.web.http_connection import HttpConnection, NoReplyError, Reply, Room, request_bytes
from etcd_twisted.web.klein_pages import send
from etcd_twisted.workers.process import adopt

_LONGEST_ORIGIN_BYTES = 4_096

_OF_THE_CONNECTION = frozenset(
    (b"connection", b"content-length", b"expect", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade")
)
"""The headers of a request that are not passed on."""

_APPLIED = b"x-applied-index"
"""The header by which a response tells a worker the log index up to which the machine has applied the log."""

_OF_THE_DOOR = frozenset((b"connection", b"content-length", b"date", b"server", b"x-content-type-options", _APPLIED))
"""The headers of a response that the worker's own door sends, or that are for the worker."""

_READING = (b"GET", b"HEAD", b"OPTIONS")
"""The methods of requests that change nothing."""


class Origin(msgspec.Struct, array_like=True, frozen=True):
    """
    The client that makes a request.

    @ivar host: the client's address, or a text about it.
    @ivar port: its port; C{None} if it has none.
    @ivar is_secure: whether it uses TLS.
    @ivar common_name: see L{etcd_twisted.httpd.handler.ParsedRequest}.
    """

    host: str
    port: int | None
    is_secure: bool
    common_name: str | None


class _Line:
    """One end of the socket that connections are sent over."""

    def __init__(self, reactor: IReactor, end: socket.socket) -> None:
        end.setblocking(False)
        self._reactor = cast(IReactorFDSet, reactor)
        self._socket = end

    def fileno(self) -> int:
        """See L{twisted.internet.interfaces.IFileDescriptor}."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """See L{twisted.internet.interfaces.ILoggingContext}."""
        return type(self).__name__

    def connectionLost(self, _reason: Failure) -> None:
        """The other end is gone, as its process is."""
        self.close()

    def close(self) -> None:
        """Close this end."""
        if self._socket.fileno() >= 0:
            self._reactor.removeReader(cast(IReadDescriptor, self))
            self._reactor.removeWriter(cast(IWriteDescriptor, self))
            self._socket.close()


def relay_ends() -> tuple[socket.socket, socket.socket]:
    """Returns both ends of a socket that keeps what is sent together together."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


# In the consensus process


class _RelayedChannel(Channel):
    """The connection of a request from a worker. It says what the worker says of its client."""

    origin: Origin
    common_name: str | None = None

    def getPeer(self) -> Any:
        """Returns the client's address."""
        origin = self.origin
        return origin.host if origin.port is None else IPv4Address("TCP", origin.host, origin.port)

    def isSecure(self) -> bool:
        """Returns whether the client uses TLS."""
        return self.origin.is_secure


class _RelayedRequest(ChannelRequest):
    """A request from a worker. The response says what the machine has applied; see L{RelayedPages}."""

    def write(self, data: bytes) -> None:
        """See L{ChannelRequest.write}."""
        if not self.startedWriting and self.channel is not None:
            self.setHeader(_APPLIED, b"%d" % cast(RelayedSite, cast(Any, self.channel).site).replica.raft_index)
        super().write(data)


class RelayedSite(Site):
    """
    What serves the requests of workers.

    @ivar replica: the machine's.
    """

    protocol = _RelayedChannel
    requestFactory = _RelayedRequest  # noqa: N815  # Twisted's name

    def __init__(self, clock: IReactor, replica: IReplica, pages: Resource, limits: Limits) -> None:
        # The worker has asked its own policy, and knows the names by which the machine is called.
        super().__init__(clock, pages, None, limits, browsers=BrowserPolicy((ANY,), (), (ANY,)))
        self.replica = replica


@implementer(IReadDescriptor)
class RelayReceiver(_Line):
    """Takes the connections that one worker sends."""

    def __init__(self, reactor: IReactor, end: socket.socket, site: RelayedSite) -> None:
        super().__init__(reactor, end)
        self._whole_reactor = reactor
        self._site = site
        self._reactor.addReader(self)

    def doRead(self) -> Failure | None:
        """Take a connection."""
        try:
            message, descriptors, _, _ = socket.recv_fds(self._socket, _LONGEST_ORIGIN_BYTES, 1)
        except BlockingIOError:
            return None
        except OSError as error:
            return cast(Failure, error)  # Twisted takes either
        if not message:
            return cast(Failure, ConnectionResetError("the worker is gone"))
        try:
            if not descriptors:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))  # so the system has closed the connection
            with socket.socket(fileno=descriptors[0]) as connected:
                self._take(msgspec.msgpack.decode(message, type=Origin), connected)
        except (OSError, msgspec.DecodeError) as error:  # the worker notices that the connection has ended
            self._site.rate_limited_log.warn("relay", f"A request of a worker is not taken: {error}")
        return None

    def _take(self, origin: Origin, connected: socket.socket) -> None:
        channel: _RelayedChannel | None = self._site.buildProtocol(None)
        if channel is not None:
            channel.origin, channel.common_name = origin, origin.common_name
            adopt(self._whole_reactor, connected, channel)


# In a worker


@implementer(IWriteDescriptor)
class RelaySender(_Line):
    """Sends connections to the consensus process."""

    def __init__(self, reactor: IReactor, end: socket.socket, on_lost: Callable[[], None]) -> None:
        """
        @param on_lost: called when nothing can be sent any more.
        """
        super().__init__(reactor, end)
        self._whole_reactor = reactor
        self._on_lost = on_lost
        self._unsent: deque[tuple[bytes, socket.socket]] = deque()

    def connect(self, origin: Origin, protocol: Protocol) -> None:
        """
        Connect a protocol to the consensus process, for a request of somebody.

        @raise OSError: there are no file descriptors left for the connection.
        """
        here, there = socket.socketpair()
        self._unsent.append((msgspec.msgpack.encode(origin), there))
        self._reactor.addWriter(self)
        adopt(self._whole_reactor, here, protocol)

    def doWrite(self) -> Failure | None:
        """Send what the system takes."""
        while self._unsent:
            message, there = self._unsent[0]
            try:
                socket.send_fds(self._socket, [message], [there.fileno()])
            except BlockingIOError:
                return None
            except OSError as error:
                return cast(Failure, error)  # Twisted takes either
            self._unsent.popleft()
            there.close()
        self._reactor.removeWriter(self)
        return None

    def connectionLost(self, reason: Failure) -> None:
        """The other end is gone, or does not work."""
        super().connectionLost(reason)
        for _, there in self._unsent:
            there.close()
        self._on_lost()


class RelayedPages(Resource):
    """
    The pages that the consensus process serves, as a worker has them.

    The worker passes the response to a change on when its copy has that change: the client may read it, or use a right
    that it was given or has taken from somebody.
    """

    isLeaf = True  # noqa: N815  # Twisted's name

    _log = Logger()

    def __init__(
        self,
        replica: IReplica,
        connect: Callable[[Origin, Protocol], None],
        when_applied: Callable[[int], "Deferred[None]"],
    ) -> None:
        """
        @param connect: see L{RelaySender.connect}.
        @param when_applied: see L{etcd_twisted.workers.replica.WorkerReplica.when_applied}.
        """
        super().__init__()
        self._replica = replica
        self._when_applied = when_applied
        self._connect = connect
        self._room = Room()

    def render(self, request: IRequest) -> int:
        """Pass a request to the consensus process, and withdraw it if the client goes before the answer."""
        connection = HttpConnection(self._room)
        try:
            self._connect(_origin(request), connection)
        except OSError as error:
            cause = f"the request was not passed on within this machine: {error.strerror}"
            response = error_response(EtcdError(ErrorCode.RAFT_INTERNAL, cause), self._replica.index)
            request.write(send(request, response))
            request.finish()
            return NOT_DONE_YET
        asked = connection.ask(_request_bytes(request), request.method == b"HEAD")
        cast(Request, request).notifyFinish().addErrback(lambda _: asked.cancel())
        asked.addCallback(self._when_in_copy, request)
        asked.addErrback(self._not_answered, request).addErrback(self._failed, request)
        return NOT_DONE_YET

    def _when_in_copy(self, reply: Reply, request: Any) -> "Deferred[None] | None":
        """Answer a request, once the copy has what it has changed."""
        if reply.length() is None:  # so it may have broken off
            raise NoReplyError(ValueError("it has no length"), has_begun=True)
        if request.method in _READING:
            _pass_on(reply, request)
            return None
        applied = max((int(value) for name, value in reply.headers if name.lower() == _APPLIED), default=0)
        return self._when_applied(applied).addCallback(lambda _: _pass_on(reply, request))

    def _not_answered(self, failure: Failure, request: Any) -> None:
        failure.trap(NoReplyError)
        cause = "no answer to the request came from within this machine; whether it was done is unknown"
        error = EtcdError(ErrorCode.RAFT_INTERNAL, cause)
        request.write(send(request, error_response(error, self._replica.index)))
        request.finish()

    def _failed(self, failure: Failure, request: Any) -> None:
        if not failure.check(CancelledError):  # the client has gone
            self._log.failure("A request could not be relayed", failure)
            request.channel.abort()


def _pass_on(reply: Reply, request: Any) -> None:
    request.setResponseCode(reply.status)
    for name, value in reply.headers:
        if name.lower() == b"content-type":
            request.responseHeaders.setRawHeaders(name, [value])
        elif name.lower() not in _OF_THE_DOOR:
            request.responseHeaders.addRawHeader(name, value)
    request.setHeader(b"Content-Length", b"%d" % (reply.length() or 0))
    request.write(reply.body)
    request.finish()


def _origin(request: IRequest) -> Origin:
    channel = cast(Any, request).channel
    peer = channel.getPeer()
    host, port = getattr(peer, "host", None), getattr(peer, "port", None)
    if host is None or port is None:
        host, port = str(peer), None
    return Origin(host, port, channel.isSecure(), channel.common_name)


def _request_bytes(request: Any) -> bytes:
    headers = [
        (name, value)
        for name, values in request.requestHeaders.getAllRawHeaders()
        if name.lower() not in _OF_THE_CONNECTION
        for value in values
    ]
    return request_bytes(request.method, request.uri, b"HTTP/1.0", headers, request.content.read())
