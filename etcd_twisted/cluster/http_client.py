"""
The HTTP client for what a machine has to ask before it serves: it follows redirects with their method and body, limits
the time for a response, and tries again.

Twisted's own agents follow redirects of C{GET} and C{HEAD} alone, and without the body; but a follower redirects a
C{PUT} to its leader. This module must never go through a proxy, nor read more than it can use.
"""

import urllib.parse
from collections.abc import Mapping

import attrs
from OpenSSL.SSL import Error as TlsError
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.client import Agent, RequestTransmissionFailed, ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IResponse

from etcd_twisted.config.addresses import BindAddress
from etcd_twisted.interfaces import IReactor
from etcd_twisted.net.reasons import reason_of

TIMEOUT_SECONDS = 5.0
"""How long a response may take; after a redirect the time starts again."""

FIRST_RETRY_PAUSE_SECONDS = 0.5
"""How long to wait before the second attempt; the pause doubles after each further one."""

MAX_REDIRECTS = 10
MAX_RESPONSE_BYTES = 1 << 20

_REDIRECTS = {301, 302, 307, 308}
_FAILURES = (ConnectError, ConnectionClosed, DNSLookupError, RequestTransmissionFailed, ResponseFailed, TlsError)
"""A request raises these if nobody answers it, or nobody who speaks HTTP."""


class NoResponseError(Exception):
    """There is no response, or only one that says that the server is broken; the text says why in a few words."""


@attrs.frozen
class HttpResponse:
    """A complete HTTP response."""

    status: int
    location: str | None
    body: bytes


class _BodyReader(Protocol):
    """Reads the body of a response to its end, or until it is too long."""

    def __init__(self) -> None:
        self.read: Deferred[bytes] = Deferred(lambda _: self._give_up())
        self._data = bytearray()

    def _give_up(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Take some of it."""
        self._data += data
        if len(self._data) > MAX_RESPONSE_BYTES:
            self._give_up()
            self._fail(Failure(NoResponseError(f"its answer is longer than {MAX_RESPONSE_BYTES} bytes")))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Take the end of the response."""
        if reason.check(ResponseDone, PotentialDataLoss) is None:
            self._fail(reason)
        elif not self.read.called:
            self.read.callback(bytes(self._data))

    def _fail(self, failure: Failure) -> None:
        if not self.read.called:
            self.read.errback(failure)


class RetryingHttpClient:
    """Makes requests, each until there is a response or it was tried often enough."""

    def __init__(
        self,
        clock: IReactorTime,
        http: HTTPClient,
        attempts: int,
        timeout_seconds: float = TIMEOUT_SECONDS,
        first_pause_seconds: float = FIRST_RETRY_PAUSE_SECONDS,
    ) -> None:
        """
        @param attempts: how often to try, at the most.
        @param timeout_seconds: see L{TIMEOUT_SECONDS}.
        @param first_pause_seconds: see L{FIRST_RETRY_PAUSE_SECONDS}.
        """
        self._clock = clock
        self._http = http
        self._attempts = attempts
        self._timeout_seconds = timeout_seconds
        self._first_pause_seconds = first_pause_seconds

    async def request(self, method: str, url: str, form: Mapping[str, str] | None = None) -> HttpResponse:
        """
        Make a request. The server may act on it more than once, since a response may get lost.

        @param form: the form to send, if any.
        @raise NoResponseError: each time there was no response, or one with a status of 500 or above.
        """
        pause_seconds = self._first_pause_seconds
        for _ in range(self._attempts - 1):
            try:
                return await self.request_once(method, url, form)
            except NoResponseError:
                await deferLater(self._clock, pause_seconds, lambda: None)
                pause_seconds *= 2
        return await self.request_once(method, url, form)

    async def request_once(self, method: str, url: str, form: Mapping[str, str] | None = None) -> HttpResponse:
        """Make a request as L{request} does, but do not try again."""
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._in_time(method, url, form)
            if response.status >= 500:
                raise NoResponseError(f"it answers with status {response.status}{_excerpt(response.body)}")
            if response.status not in _REDIRECTS or response.location is None:
                return response
            url = _redirected(url, response.location)
        raise NoResponseError(f"it redirects more than {MAX_REDIRECTS} times")

    def _in_time(self, method: str, url: str, form: Mapping[str, str] | None) -> "Deferred[HttpResponse]":
        """
        Limit the time of a request. When the Deferred is cancelled it fails with L{CancelledError}; a request of
        Twisted's does so only in some of its states.
        """
        exchange = ensureDeferred(self._exchange(method, url, form))
        wanted = True

        def give_up(_: object) -> None:
            nonlocal wanted
            wanted = False
            exchange.cancel()

        def fire(result: HttpResponse | Failure) -> None:
            if wanted:
                asked.callback(result)  # a Failure makes it an errback

        def too_late(_result: object, _timeout: float) -> Failure:
            return Failure(NoResponseError(f"no answer within {self._timeout_seconds:g} seconds"))

        asked: Deferred[HttpResponse] = Deferred(give_up)
        exchange.addBoth(fire)
        return asked.addTimeout(self._timeout_seconds, self._clock, too_late)

    async def _exchange(self, method: str, url: str, form: Mapping[str, str] | None) -> HttpResponse:
        data = None if form is None else dict(form)
        try:
            response: IResponse = await self._http.request(
                method, url, data=data, allow_redirects=False, unbuffered=True
            )
            body = _BodyReader()
            response.deliverBody(body)
            content = await body.read
        except _FAILURES as error:
            raise NoResponseError(_why(error)) from error
        locations = response.headers.getRawHeaders("location") or [None]
        return HttpResponse(response.code, locations[0], content)


def network_http_client(reactor: IReactor, attempts: int) -> RetryingHttpClient:
    """Returns a client that uses the network."""
    return RetryingHttpClient(reactor, HTTPClient(Agent(reactor, connectTimeout=TIMEOUT_SECONDS)), attempts)


def is_http(url: str) -> bool:
    """Returns whether a URL names a server that requests can be made to."""
    try:
        parts = urllib.parse.urlsplit(url)
        BindAddress.parse(parts.netloc)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"}


def _redirected(url: str, location: str) -> str:
    try:
        target = urllib.parse.urljoin(url, location)
    except ValueError:
        target = location
    if not is_http(target):
        raise NoResponseError(f"it redirects to {target!r}, which is no URL of a server")
    return target


def _why(error: BaseException) -> str:
    """Returns what went wrong first, on one line."""
    reasons = getattr(error, "reasons", ())
    if reasons:
        return _why(reasons[0].value)
    return reason_of(error)


def _excerpt(body: bytes) -> str:
    """Returns the beginning of a body, on one line, for people."""
    text = " ".join(body[:200].decode("utf-8", "replace").split())
    return f" ({text})" if text.isprintable() and text else ""
