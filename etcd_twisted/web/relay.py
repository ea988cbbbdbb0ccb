"""
Requests of a standby's clients, which a member of the cluster answers.

A standby has no copy, and as it is no member, no other machine takes requests from it over the connections between
machines. So it makes a client's request itself, at the client port of the leader or, if that can't be reached, of
another member, and passes the answer on as it comes: listings and errors as a whole, events one by one.

A request that was passed on says so, and is redirected by a machine that is a standby too: two standbys that know each
other as leaders would send it to and fro. This module must never make a change twice, nor say that nothing was done if
a member may have done it.
"""

from collections.abc import Callable
from urllib.parse import urlsplit

import attrs
from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.logger import Logger
from twisted.python.failure import Failure

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.httpd.handler import RELAYED
from etcd_twisted.httpd.responses import Events, Response, plain
from etcd_twisted.interfaces import IReplica
from etcd_twisted.interfaces.cluster import Machine
from etcd_twisted.net.reasons import reason_of
from etcd_twisted.web.api_responses import error_response, internal_error
from etcd_twisted.web.http_connection import MOST_HELD_BYTES, HttpConnection, NoReplyError, Reply, request_bytes
from etcd_twisted.web.member_connections import MemberConnections
from etcd_twisted.web.redirects import redirect, url_at

_PASSED = frozenset((
    b"content-type", b"location", b"allow", b"warning", b"www-authenticate", b"cache-control", b"etag",
    b"x-etcd-index", b"x-raft-index", b"x-raft-term",
))  # fmt: skip
"""The headers of an answer that are passed on; the others are the door's."""

_READS = (b"GET", b"HEAD", b"OPTIONS")
_NOT_CONNECTED = (ConnectError, DNSLookupError)


@attrs.frozen
class ClientRequest:
    """
    A client's request.

    @ivar target: the path and the query.
    @ivar headers: those that matter to whoever answers; C{None} for one that the client did not send.
    @ivar waits: whether it waits for an event.
    @ivar streams: whether it waits for one event after the other.
    """

    method: bytes
    target: bytes
    body: bytes
    headers: tuple[tuple[bytes, bytes | None], ...]
    waits: bool = False
    streams: bool = False


class Relay:
    """Passes requests on."""

    _log = Logger()

    def __init__(self, replica: IReplica, connections: MemberConnections) -> None:
        self._replica = replica
        self._connections = connections

    def stop(self) -> None:
        """Keep no connection to a member any more."""
        self._connections.stop()

    def answer(self, leader: Machine, request: ClientRequest) -> "Deferred[Response]":
        """
        Returns a Deferred that fires with a member's response to a request. Cancelling it ends the request. It never
        fires with a failure.
        """
        return Deferred.fromCoroutine(self._answer(leader, request)).addErrback(self._failed)

    def _failed(self, failure: Failure) -> Response:
        if isinstance(failure.value, EtcdError):
            return error_response(failure.value, self._replica.index)
        if failure.check(CancelledError):
            return plain(500, "the client is gone")
        self._log.failure("A request could not be passed on", failure)
        return internal_error(self._replica.index)

    async def _answer(self, leader: Machine, request: ClientRequest) -> Response:
        if not request.method.isalpha():  # nobody knows other methods
            return redirect(leader.client_url, request.target)
        others = [each for each in self._replica.machines() if each.name not in (leader.name, self._replica.name)]
        for machine in (leader, *(each for each in others if each.client_url)):
            try:
                connection, reply = await self._ask(machine, request)
            except _NOT_CONNECTED as error:
                self._log.debug("{name} can't be asked: {why}", name=machine.name, why=reason_of(error))
            except NoReplyError as error:
                if request.method not in _READS and not _is_about_certificates(error.reason):
                    raise self._unknown(machine) from error
                if error.has_begun:
                    return redirect(machine.client_url, request.target)
            else:
                return _passed_on(machine, request, connection, reply)
        return redirect(leader.client_url, request.target)

    async def _ask(self, machine: Machine, request: ClientRequest) -> tuple[HttpConnection, Reply]:
        """
        Make a request of a machine. A member may close a connection that was kept just as it is used again. Then a
        read is made once more; of a change, nobody knows whether the member has it.
        """
        url = machine.client_url
        headers = [(name, value) for name, value in request.headers if value is not None]
        if not any(name == b"Host" for name, _ in headers):
            headers.append((b"Host", urlsplit(url).netloc.encode()))
        headers.append((RELAYED, b"1"))
        data = request_bytes(request.method, url_at("", request.target), b"HTTP/1.1", headers, request.body)
        is_head = request.method == b"HEAD"
        connection = self._connections.kept(url)
        if connection is not None:
            try:
                return connection, await connection.ask(data, is_head, request.waits)
            except NoReplyError as error:
                if error.has_begun or request.method not in _READS:
                    raise
        connection = await self._connections.connect(url)
        return connection, await connection.ask(data, is_head, request.waits)

    def _unknown(self, machine: Machine) -> EtcdError:
        cause = f"{machine.name} was asked and has not answered; whether it was done is unknown"
        return EtcdError(ErrorCode.RAFT_INTERNAL, cause, self._replica.index)


def _passed_on(machine: Machine, request: ClientRequest, connection: HttpConnection, reply: Reply) -> Response:
    """Returns a member's response as the client gets it."""
    fields = b"".join([b"%s: %s\r\n" % each for each in reply.headers if each[0].lower() in _PASSED])
    if request.method == b"HEAD":
        length = reply.length()
        if length is None:
            return Response(reply.status, fields, iter(()))  # the door sends no length either
        if length > MOST_HELD_BYTES:
            return redirect(machine.client_url, request.target)
        return Response(reply.status, fields, bytes(length))  # the door sends the length alone
    if request.waits and reply.status == 200:
        return Response(200, fields, RelayedEvents(connection, request.streams))
    return Response(reply.status, fields, reply.body)


def _is_about_certificates(reason: BaseException) -> bool:
    """Returns whether no request was sent, since the other machine's certificate is not trusted."""
    if isinstance(reason, SSL.Error):
        return "certificate verify failed" in str(reason)
    return isinstance(reason, CertificateError | VerificationError)


class RelayedEvents(Events):
    """Passes on events as they come, each on a line of its own if there may be several."""

    __slots__ = ("_connection", "_partial", "stream")

    def __init__(self, connection: HttpConnection, stream: bool) -> None:
        self.stream = stream
        self._connection: HttpConnection | None = connection
        self._partial = b""

    def begin(self, send: Callable[[bytes], None], end: Callable[[], None]) -> None:
        """See L{Events}."""

        def take(data: bytes) -> None:
            self._partial += data
            if self.stream:
                *events, self._partial = self._partial.split(b"\n")
                for event in events:
                    send(event)

        def ended(is_whole: bool) -> None:
            self._connection = None  # it may be another request's
            if self._partial and is_whole and not self.stream:
                send(self._partial)
            else:
                end()

        if self._connection is not None:
            self._connection.receive(take, ended)

    def cancel(self) -> None:
        """See L{Events}."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    def pause(self) -> None:
        """See L{Events}."""
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """See L{Events}."""
        if self._connection is not None:
            self._connection.resume()

    @property
    def buffered_bytes(self) -> int:
        """See L{Events}."""
        return len(self._partial)
