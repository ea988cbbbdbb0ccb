"""
A client that decides nothing: it returns what was answered, and raises when nothing was. It follows redirects only if
it was made for that.
"""

from collections.abc import Mapping
from typing import Any

import attrs
import msgspec
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.web.client import (
    Agent,
    HTTPConnectionPool,
    PartialDownloadError,
    RequestTransmissionFailed,
    ResponseFailed,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IPolicyForHTTPS, IResponse

GONE = (ConnectError, ConnectionClosed, PartialDownloadError, RequestTransmissionFailed, ResponseFailed)
"""
What a request raises when the server goes away before it has answered: before it is there, before it has the whole
request, before the head of the answer, or before its end. L{Client}'s pool gives out no connection that is known to be
closed, so every request is at least begun.
"""


@attrs.frozen
class Answer:
    """A complete HTTP answer."""

    status: int
    headers: Headers
    body: bytes

    def json(self) -> Any:
        """Returns the decoded body."""
        return msgspec.json.decode(self.body)

    @property
    def location(self) -> str:
        """The URL to which a redirect leads."""
        (location,) = self.headers.getRawHeaders("Location", [])
        return location

    @property
    def index(self) -> int:
        """C{X-Etcd-Index}."""
        (index,) = self.headers.getRawHeaders("X-Etcd-Index", [])
        return int(index)

    @property
    def term(self) -> int:
        """C{X-Raft-Term}."""
        (term,) = self.headers.getRawHeaders("X-Raft-Term", [])
        return int(term)


class Client:
    """Sends requests to one port over connections that it keeps."""

    def __init__(self, url: str, redirects: int = 0, tls: IPolicyForHTTPS | None = None) -> None:
        """
        @param url: scheme, host and port.
        @param redirects: how many redirects to follow, one after the other.
        @param tls: whom to trust, and which certificate to show; for C{https}.
        """
        self._url = url
        self._redirects = redirects
        self._pool = HTTPConnectionPool(reactor)
        self._pool.retryAutomatically = False
        self._pool.maxPersistentPerHost = 1_000
        agent = Agent(reactor, pool=self._pool) if tls is None else Agent(reactor, tls, pool=self._pool)
        self._http = HTTPClient(agent)

    async def begin(self, method: str, path: str, form: Mapping[str, str] | bytes | None = None) -> IResponse:
        """Sends a request once and waits for the head of the answer, whose C{content()} has to be called."""
        response: IResponse = await self._http.request(method, self._url + path, data=form, allow_redirects=False)
        return response

    async def request(self, method: str, path: str, form: Mapping[str, str] | bytes | None = None) -> Answer:
        """Sends a request once and waits for the whole answer."""
        response = await self.begin(method, path, form)
        answer = Answer(response.code, response.headers, await response.content())
        for _ in range(self._redirects):
            if answer.status != 307:
                break
            response = await self._http.request(method, answer.location, data=form, allow_redirects=False)
            answer = Answer(response.code, response.headers, await response.content())
        return answer

    def close(self) -> "Deferred[None]":
        """Closes the connections, none of which may have a request on it."""
        closed: Deferred[None] = self._pool.closeCachedConnections()
        return closed

    # Shortcuts for the API

    async def get(self, key: str, query: str = "") -> Answer:
        """Reads a key."""
        return await self.request("GET", f"/v2/keys{key}{query}")

    async def put(self, key: str, **form: str) -> Answer:
        """Writes a key."""
        return await self.request("PUT", f"/v2/keys{key}", form)

    async def post(self, key: str, **form: str) -> Answer:
        """Makes an in-order key in a directory."""
        return await self.request("POST", f"/v2/keys{key}", form)

    async def delete(self, key: str, query: str = "") -> Answer:
        """Removes a key."""
        return await self.request("DELETE", f"/v2/keys{key}{query}")
