"""
HTTP servers and an HTTP client whose answers come from a function.
"""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from twisted.web.server import Site

from etcd_twisted.cluster.http_client import RetryingHttpClient

Said = tuple[int, dict[str, str], bytes]
"""An answer: status, headers, body."""


def networked(attempts: int = 1, timeout_seconds: float = 20.0) -> RetryingHttpClient:
    """Returns a client that does not pause between its attempts."""
    return RetryingHttpClient(
        reactor, HTTPClient(Agent(reactor)), attempts, timeout_seconds, first_pause_seconds=0.001
    )


class _Page(Resource):
    """Answers every request with the result of a function."""

    isLeaf = True  # noqa: N815  # Twisted's name

    def __init__(self, answer: Callable[[Any], Said]) -> None:
        super().__init__()
        self._answer = answer

    def render(self, request: Any) -> bytes:
        """Twisted's method."""
        status, headers, body = self._answer(request)
        request.setResponseCode(status)
        for name, value in headers.items():
            request.setHeader(name, value)
        return body


class ServersTest(TestCase):
    """A test case with servers of its own, on free ports."""

    timeout = 240

    def serve(self, factory: Factory) -> str:
        """Starts a server, and returns its URL."""
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return f"http://127.0.0.1:{port.getHost().port}"

    def answer_with(self, answer: Callable[[Any], Said]) -> str:
        """Starts an HTTP server, and returns its URL."""
        return self.serve(Site(_Page(answer)))

    def say(self, words: bytes) -> str:
        """Starts a server that answers whatever it receives with the same bytes and closes, and returns its URL."""

        class Saying(Protocol):
            def dataReceived(self, _data: bytes) -> None:
                self.transport.write(words)
                self.transport.loseConnection()

        return self.serve(Factory.forProtocol(Saying))


class Response:
    """A response without a network."""

    def __init__(self, status: int, body: object) -> None:
        self.code = status
        self.headers = Headers()
        self._body = json.dumps(body).encode()

    def deliverBody(self, protocol: Protocol) -> None:
        """Delivers the whole body at once."""
        protocol.dataReceived(self._body)
        protocol.connectionLost(Failure(ResponseDone()))


def done(key: str, value: str) -> Deferred[Response]:
    """Returns the answer of an etcd that has set a key."""
    return succeed(Response(200, {"action": "set", "node": {"key": key, "value": value}}))


class Scripted:
    """
    An HTTP client without a network.

    @ivar answer: makes the response of a request from its method, path, query and form.
    @ivar asked: the requests.
    """

    def __init__(self, answer: Callable[..., Deferred[Response]]) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def request(
        self, method: str, url: str, data: dict[str, str] | None, allow_redirects: bool, unbuffered: bool
    ) -> Deferred[Response]:
        """Makes a request, as treq's client does."""
        assert unbuffered
        assert not allow_redirects
        parts = urlsplit(url)
        self.asked.append(f"{method} {parts.path}")
        return self.answer(method, parts.path, parse_qs(parts.query), data)
