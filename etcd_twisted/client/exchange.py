"""
One request to one machine, and its answer.

If no answer comes, this module decides whether the request may have been carried out: L{NotSent} says that it was not,
L{NoAnswer} that nobody knows. What an answer says of that is judged in L{etcd_twisted.client.answers}. This module
must never send a request twice, nor follow a redirect.
"""

import base64
import urllib.parse
from collections.abc import Awaitable, Callable
from typing import TypeVar

from hyperlink import EncodedURL
from OpenSSL.SSL import Error as TlsError
from service_identity import VerificationError
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    ConnectionClosed,
    DNSLookupError,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import (  # type: ignore[attr-defined]  # RequestNotSent is missing in __all__ only
    RequestGenerationFailed,
    RequestNotSent,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
)
from twisted.web.error import SchemeNotSupported
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from etcd_twisted.client.messages import Answer, Request

_T = TypeVar("_T")

_FORM = b"application/x-www-form-urlencoded"

_NOT_CONNECTED = (ConnectError, ConnectingCancelledError, DNSLookupError, RequestNotSent, SchemeNotSupported)
"""The agent raises these when none of the request has left this machine."""

_BROKEN = (CancelledError, ConnectionClosed, RequestGenerationFailed, RequestTransmissionFailed, ResponseFailed)
"""The agent raises these when a connection breaks, is given up, or carries what is not HTTP."""

_HANDSHAKE_PROBLEMS = (
    "certificate",
    "handshake failure",
    "no protocols available",
    "packet length too long",
    "protocol version",
    "unknown ca",
    "unrecognized name",
    "unsupported protocol",
    "wrong version number",
)
"""
The reason that OpenSSL gives contains one of these when both sides did not come to terms. A server that refuses a
client's certificate says so after the client has sent the request (TLS 1.3), but drops the request unread.
"""


class NotSent(Exception):
    """The request did not reach the machine. The text says why."""


class NotTrusted(NotSent):
    """The two ends do not trust each other's certificates, or have no version of TLS in common. That will not pass."""


class NoAnswer(Exception):
    """The request may have reached the machine, but the answer did not come back. The text says why."""


class _Url(EncodedURL):
    """A URL that treq can send, even with the address of an IPv6 host, which C{to_uri} takes for a name otherwise."""

    def to_uri(self) -> EncodedURL:
        """Returns the URL in ASCII."""
        return self if ":" in self.host else super().to_uri()


class Exchanges:
    """
    Sends requests, each to the machine that the caller names.

    @ivar authorization: the values of the header C{Authorization}, or C{None}.
    """

    def __init__(self, http: HTTPClient, credentials: tuple[str, str] | None) -> None:
        """
        @param http: sends them.
        @param credentials: a user's name and password, which go with each request.
        @raise ValueError: the name has a colon, which Basic authentication can't express.
        """
        self._http = http
        self.authorization: list[bytes] | None = None
        if credentials is not None:
            user, password = credentials
            if ":" in user:
                raise ValueError("credentials: the name of a user can't have a colon in it")
            self.authorization = [b"Basic " + base64.b64encode(f"{user}:{password}".encode())]

    async def exchange(self, machine: str, request: Request, read: "Callable[[str, IResponse], Awaitable[_T]]") -> _T:
        """
        Send a request, and return what C{read} makes of the answer. To cancel this closes the connection; it then
        raises what it raises if the connection breaks.

        @param machine: the URL of the machine.
        @param read: called with C{machine} and the answer. It must take the body, with L{whole} or L{discard}.
        @raise NotSent: the request did not reach the machine.
        @raise NoAnswer: nobody knows whether the machine has carried it out.
        """
        data, headers = _body(request)
        if self.authorization is not None:
            headers.setRawHeaders(b"Authorization", self.authorization)
        try:
            response = await self._http.request(
                request.method,
                _Url.from_text(machine + request.target),
                headers=headers,
                data=data,
                allow_redirects=False,
                unbuffered=True,
            )
            return await read(machine, response)
        except _NOT_CONNECTED as error:
            raise NotSent(_reason(error)) from error
        except _BROKEN as error:
            if _is_handshake(error):
                raise NotTrusted(_reason(error)) from error
            raise NoAnswer(_reason(error)) from error


async def whole(machine: str, response: IResponse) -> Answer:
    """Returns the answer with its body, as L{Exchanges.exchange} wants it."""
    body = _Body()
    response.deliverBody(body)
    return Answer(machine, response.code, response.headers, await body.read)


def discard(response: IResponse) -> None:
    """Close the connection of an answer whose body nobody wants: otherwise it would stay open for ever."""
    body = _Body()
    body.read.addErrback(lambda _: None)  # the body does not matter, so why it has ended does not either
    response.deliverBody(body)
    body.read.cancel()


class _Body(Protocol):
    """
    Reads a body to its end. Twisted's C{readBody} can't be cancelled while a body is on its way.

    @ivar read: fires with the body. Cancelling it closes the connection.
    """

    def __init__(self) -> None:
        self.read: Deferred[bytes] = Deferred(lambda _: self._give_up())
        self._data: list[bytes] = []

    def _give_up(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        self._data.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.read.called:
            return
        # A body without a length ends with its connection.
        if reason.check(ResponseDone, PotentialDataLoss):
            self.read.callback(b"".join(self._data))
        else:
            self.read.errback(reason)


def _body(request: Request) -> tuple[bytes | None, Headers]:
    if request.form is not None:
        return urllib.parse.urlencode(request.form).encode("ascii"), Headers({b"Content-Type": [_FORM]})
    if request.json is not None:
        return request.json, Headers({b"Content-Type": [b"application/json"]})
    return None, Headers()


def _reasons(error: BaseException) -> list[BaseException]:
    """Returns what a failure of the agent is made of."""
    found: list[BaseException] = []
    for failure in getattr(error, "reasons", None) or ():
        found += _reasons(failure.value)
    return found or [error]


def _is_handshake(error: BaseException) -> bool:
    """
    Returns whether a connection failed before the machine could read anything: while TLS was agreed on.

    The agent reports that like any other broken connection, with the reason inside.
    """
    return any(
        isinstance(reason, VerificationError) or (isinstance(reason, TlsError) and _in_handshake(reason))
        for reason in _reasons(error)
    )


def _in_handshake(error: TlsError) -> bool:
    return any(problem in reason for reason in _tls_reasons(error) for problem in _HANDSHAKE_PROBLEMS)


def _tls_reasons(error: TlsError) -> list[str]:
    """Returns what OpenSSL says, which is the last part of each entry of its queue of errors."""
    return [str(entry[-1]) for entry in error.args[0]] if error.args and isinstance(error.args[0], list) else []


def _reason(error: BaseException) -> str:
    """Returns why a request failed, in one line."""
    return "; ".join(dict.fromkeys(_text(reason) for reason in _reasons(error)))


def _text(error: BaseException) -> str:
    if isinstance(error, TlsError) and (reasons := _tls_reasons(error)):
        return "TLS: " + ", ".join(reasons)
    if isinstance(error, VerificationError):
        return "TLS: the certificate is not for this host: " + ", ".join(str(each) for each in error.errors)
    return " ".join(str(error).split()) or type(error).__name__
