"""
An HTTP client for what a machine has to ask before it serves anybody: it follows redirects with method and body, waits
only so long, and tries again.

Twisted's own agents follow a redirect of C{GET} and C{HEAD} alone, and forget the body: a follower that redirects a
C{PUT} to its leader needs more than that. Must never go through a proxy, nor read more than it can use.
"""

import urllib.parse
from collections.abc import Mapping
from typing import Any

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

PATIENCE = 5.0
"""How long an answer may take, in seconds; each redirect has as long again."""

FIRST_PAUSE = 0.5
"""How long to wait before trying again, in seconds; twice as long each time after that."""

MOST_REDIRECTS = 10
MOST_BYTES = 1 << 20
"""The longest answer that is read."""

_REDIRECTS = {301, 302, 307, 308}
_FAILURES = (ConnectError, ConnectionClosed, DNSLookupError, RequestTransmissionFailed, ResponseFailed, TlsError)
"""What a request raises when there is nobody to answer it, or nobody that speaks HTTP."""


class NoAnswerError(Exception):
    """There was none, or none but that the server is broken; the text says why in a few words."""


@attrs.frozen
class Answer:
    """An HTTP answer, complete."""

    status: int
    location: str | None
    body: bytes


class _Body(Protocol):
    """Reads an answer to its end, or to where it is too long."""

    def __init__(self) -> None:
        self.read: Deferred[bytes] = Deferred(lambda _: self._give_up())
        self._data = bytearray()

    def _give_up(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Some of it."""
        self._data += data
        if len(self._data) > MOST_BYTES:
            self._give_up()
            self._fail(Failure(NoAnswerError(f"its answer is longer than {MOST_BYTES} bytes")))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It has ended."""
        if reason.check(ResponseDone, PotentialDataLoss) is None:
            self._fail(reason)
        elif not self.read.called:
            self.read.callback(bytes(self._data))

    def _fail(self, failure: Failure) -> None:
        if not self.read.called:
            self.read.errback(failure)


class Asker:
    """Asks until there is an answer, or it was tried often enough."""

    def __init__(
        self,
        clock: IReactorTime,
        http: HTTPClient,
        attempts: int,
        patience: float = PATIENCE,
        first_pause: float = FIRST_PAUSE,
    ) -> None:
        """
        @param attempts: how often to ask, at the most.
        @param patience: see L{PATIENCE}.
        @param first_pause: see L{FIRST_PAUSE}.
        """
        self._clock = clock
        self._http = http
        self._attempts = attempts
        self._patience = patience
        self._first_pause = first_pause

    async def ask(self, method: str, url: str, form: Mapping[str, str] | None = None) -> Answer:
        """
        Ask. What is asked for may be done more than once, as an answer may get lost.

        @param form: what to send, if anything.
        @raise NoAnswerError: there was no answer each time, or one with a status of 500 or above.
        """
        pause = self._first_pause
        for _ in range(self._attempts - 1):
            try:
                return await self._ask_once(method, url, form)
            except NoAnswerError:
                await deferLater(self._clock, pause, lambda: None)
                pause *= 2
        return await self._ask_once(method, url, form)

    async def _ask_once(self, method: str, url: str, form: Mapping[str, str] | None) -> Answer:
        for _ in range(MOST_REDIRECTS + 1):
            answer = await self._in_time(method, url, form)
            if answer.status >= 500:
                raise NoAnswerError(f"it answers with status {answer.status}{_words(answer.body)}")
            if answer.status not in _REDIRECTS or answer.location is None:
                return answer
            url = _redirected(url, answer.location)
        raise NoAnswerError(f"it redirects more than {MOST_REDIRECTS} times")

    def _in_time(self, method: str, url: str, form: Mapping[str, str] | None) -> "Deferred[Answer]":
        """
        Cancelled, it fails with L{CancelledError}, which a request of Twisted's does in some of its states only.
        """
        exchange = ensureDeferred(self._exchange(method, url, form))
        wanted = True

        def give_up(_: object) -> None:
            nonlocal wanted
            wanted = False
            exchange.cancel()

        def tell(result: Answer | Failure) -> None:
            if wanted:
                asked.callback(result)  # a Failure makes it an errback

        def too_late(_result: object, _timeout: float) -> Failure:
            return Failure(NoAnswerError(f"no answer within {self._patience:g} seconds"))

        asked: Deferred[Answer] = Deferred(give_up)
        exchange.addBoth(tell)
        return asked.addTimeout(self._patience, self._clock, too_late)

    async def _exchange(self, method: str, url: str, form: Mapping[str, str] | None) -> Answer:
        data = None if form is None else dict(form)
        try:
            response: IResponse = await self._http.request(
                method, url, data=data, allow_redirects=False, unbuffered=True
            )
            body = _Body()
            response.deliverBody(body)
            content = await body.read
        except _FAILURES as error:
            raise NoAnswerError(_why(error)) from error
        locations = response.headers.getRawHeaders("location") or [None]
        return Answer(response.code, locations[0], content)


def asker(reactor: IReactor, attempts: int) -> Asker:
    """An L{Asker} that uses the network."""
    return Asker(reactor, HTTPClient(Agent(reactor, connectTimeout=PATIENCE)), attempts)


def is_http(url: str) -> bool:
    """Whether a URL names a server that can be asked."""
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
        raise NoAnswerError(f"it redirects to {target!r}, which is no URL of a server")
    return target


def _why(error: Any) -> str:
    """What went wrong first, on one line."""
    reasons = getattr(error, "reasons", ())
    if reasons:
        return _why(reasons[0].value)
    return reason_of(error)


def _words(body: bytes) -> str:
    """The beginning of what an answer says, on one line, for people."""
    text = " ".join(body[:200].decode("utf-8", "replace").split())
    return f" ({text})" if text.isprintable() and text else ""
