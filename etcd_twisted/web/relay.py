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
from io import BytesIO
from typing import cast

import attrs
from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import FileBodyProducer, RequestTransmissionFailed, ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IResponse

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.httpd.handler import RELAYED
from etcd_twisted.httpd.responses import Events, Response, plain
from etcd_twisted.interfaces import IReplica
from etcd_twisted.interfaces.cluster import Machine
from etcd_twisted.net.reasons import reason_of
from etcd_twisted.web.api_responses import error_response, internal_error
from etcd_twisted.web.redirects import redirect, url_at

MOST_HELD_BYTES = 64 << 20
"""How many bytes of answers may be held before they are passed on."""

_PASSED = (
    b"Content-Type", b"Location", b"Allow", b"Warning", b"WWW-Authenticate", b"Cache-Control", b"ETag",
    b"X-Etcd-Index", b"X-Raft-Index", b"X-Raft-Term",
)  # fmt: skip
"""The headers of an answer that are passed on; the others are the door's."""

_READS = (b"GET", b"HEAD", b"OPTIONS")
_NOT_CONNECTED = (ConnectError, DNSLookupError)
_NOT_ANSWERED = (RequestTransmissionFailed, ResponseFailed)


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

    def __init__(self, replica: IReplica, agent: IAgent) -> None:
        """
        @param agent: makes the requests. It must not repeat one, nor follow redirects.
        """
        self._replica = replica
        self._agent = agent
        self._held_bytes = 0

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
        if not request.method.isalpha():  # the agent knows no other methods, nor does anybody else
            return redirect(leader.client_url, request.target)
        others = [each for each in self._replica.machines() if each.name not in (leader.name, self._replica.name)]
        for machine in (leader, *(each for each in others if each.client_url)):
            try:
                response = await self._ask(machine, request)
            except _NOT_CONNECTED as error:
                self._log.debug("{name} can't be asked: {why}", name=machine.name, why=reason_of(error))
            except _NOT_ANSWERED as error:
                if any(reason.check(CancelledError) for reason in error.reasons):
                    raise CancelledError from error  # the client has gone
                if request.method not in _READS and not _is_about_certificates(error):
                    raise self._unknown(machine) from error
            else:
                return await self._passed_on(machine, request, response)
        return redirect(leader.client_url, request.target)

    async def _ask(self, machine: Machine, request: ClientRequest) -> IResponse:
        # The door leaves out the body of an answer to HEAD, but says how long it is.
        method = b"GET" if request.method == b"HEAD" and not request.waits else request.method
        headers = Headers({name: [value] for name, value in request.headers if value is not None})
        headers.setRawHeaders(RELAYED, [b"1"])
        body = FileBodyProducer(BytesIO(request.body)) if request.body else None
        response: IResponse = await self._agent.request(
            method, url_at(machine.client_url, request.target), headers, body
        )
        return response

    def _unknown(self, machine: Machine) -> EtcdError:
        cause = f"{machine.name} was asked and has not answered; whether it was done is unknown"
        return EtcdError(ErrorCode.RAFT_INTERNAL, cause, self._replica.index)

    async def _passed_on(self, machine: Machine, request: ClientRequest, response: IResponse) -> Response:
        fields = b"".join(
            b"%s: %s\r\n" % (name, value) for name in _PASSED for value in response.headers.getRawHeaders(name, ())
        )
        if request.waits and response.code == 200 and request.method == b"GET":
            return Response(200, fields, RelayedEvents(response, request.streams))
        body = await self._body(response)
        if body is not None:
            return Response(response.code, fields, body)
        if request.method not in _READS:
            raise self._unknown(machine)
        return redirect(machine.client_url, request.target)

    async def _body(self, response: IResponse) -> bytes | None:
        """Returns the body of a response, or C{None} if it breaks off, or there is no room for it."""
        collected = _Body(self._hold)
        response.deliverBody(collected)
        try:
            return await collected.whole
        finally:
            self._held_bytes -= collected.size

    def _hold(self, size: int) -> bool:
        self._held_bytes += size
        return self._held_bytes <= MOST_HELD_BYTES


def _is_about_certificates(error: RequestTransmissionFailed | ResponseFailed) -> bool:
    """Returns whether no request was sent, since the other machine's certificate is not trusted."""
    for reason in error.reasons:
        if reason.check(CertificateError, VerificationError):
            return True
        if reason.check(SSL.Error) and "certificate verify failed" in str(reason.value):
            return True
    return False


class _Body(Protocol):
    """Collects a body."""

    def __init__(self, hold: Callable[[int], bool]) -> None:
        """
        @param hold: takes the size of a piece that is held, and returns whether there is room for more.
        """
        self.whole: Deferred[bytes | None] = Deferred(lambda _: self._give_up())
        self.size = 0
        self._pieces: list[bytes] = []
        self._hold = hold

    def dataReceived(self, data: bytes) -> None:
        """Take a piece."""
        self.size += len(data)
        self._pieces.append(data)
        if not self._hold(len(data)):
            self._give_up()

    def _give_up(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Take the end."""
        if not self.whole.called:
            self.whole.callback(b"".join(self._pieces) if reason.check(ResponseDone, PotentialDataLoss) else None)


class RelayedEvents(Events):
    """Passes on events as they come."""

    __slots__ = ("_receiver", "_response", "stream")

    def __init__(self, response: IResponse, stream: bool) -> None:
        self.stream = stream
        self._response = response
        self._receiver = _EventReceiver(stream)

    def begin(self, send: Callable[[bytes], None], end: Callable[[], None]) -> None:
        """See L{Events}."""
        self._receiver.send, self._receiver.end = send, end
        self._response.deliverBody(self._receiver)

    def cancel(self) -> None:
        """See L{Events}."""
        receiver = self._receiver
        if receiver.send is None and not receiver.is_unwanted:
            receiver.is_unwanted = True
            self._response.deliverBody(receiver)  # or the connection would stay open
        receiver.cancel()

    def pause(self) -> None:
        """See L{Events}."""
        self._receiver.pause()

    def resume(self) -> None:
        """See L{Events}."""
        self._receiver.resume()

    @property
    def buffered_bytes(self) -> int:
        """See L{Events}."""
        return len(self._receiver.partial)


class _EventReceiver(Protocol):
    """
    Receives events, each on a line of its own if there may be several.

    @ivar send: takes each event; C{None} before the first one is wanted.
    @ivar end: called when no more come.
    @ivar partial: what has come of an event.
    @ivar is_unwanted: whether nobody wants any events.
    """

    def __init__(self, stream: bool) -> None:
        self.send: Callable[[bytes], None] | None = None
        self.end: Callable[[], None] | None = None
        self.partial = b""
        self.is_unwanted = False
        self._stream = stream

    def cancel(self) -> None:
        """Want no more events."""
        self.is_unwanted = True
        if self.transport is not None:
            self.transport.loseConnection()

    def pause(self) -> None:
        """Receive nothing for the moment."""
        if self.transport is not None:
            cast(IPushProducer, self.transport).pauseProducing()

    def resume(self) -> None:
        """Go on."""
        if self.transport is not None:
            cast(IPushProducer, self.transport).resumeProducing()

    def connectionMade(self) -> None:
        """Begin, unless nobody wants events."""
        if self.is_unwanted:
            self.cancel()

    def dataReceived(self, data: bytes) -> None:
        """Take some bytes."""
        self.partial += data
        if self._stream:
            *events, self.partial = self.partial.split(b"\n")
            for event in events:
                if self.send is not None and not self.is_unwanted:
                    self.send(event)

    def connectionLost(self, _reason: Failure = connectionDone) -> None:
        """Send the one event that has come whole, and say that no more will come."""
        if self.is_unwanted or self.send is None or self.end is None:
            return
        self.is_unwanted = True
        if self.partial and not self._stream and _reason.check(ResponseDone, PotentialDataLoss):
            self.send(self.partial)
        else:
            self.end()
