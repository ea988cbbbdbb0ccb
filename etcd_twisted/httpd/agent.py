"""
How a program makes requests to ports that are in the same process.

This module must never retry a request, since it may have been acted on, nor take the URL of another machine for one of
its own.
"""

from collections.abc import Mapping

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.web.client import URI, Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer

_CACHED_SECONDS = 30
"""How long a connection is kept for the next request. The ports close one that is idle for longer than that."""

_MOST_CACHED = 8
"""How many connections to a port are kept."""

_Origin = tuple[bytes, bytes, int]
"""The scheme, the host and the port of a URL."""


def _origin(uri: URI) -> _Origin:
    return uri.scheme.lower(), uri.host.lower(), uri.port


@implementer(IAgent, IAgentEndpointFactory)
class OwnAgent:
    """Makes requests to the ports of this process."""

    def __init__(self, clock: IReactorTime, ports: Mapping[str, IStreamClientEndpoint]) -> None:
        """
        @param ports: how each port is connected to, by the URL that it is known by.
        """
        self._ports = {_origin(URI.fromBytes(url.encode())): endpoint for url, endpoint in ports.items()}
        self._pool = HTTPConnectionPool(clock)
        self._pool.retryAutomatically = False
        self._pool.cachedConnectionTimeout = _CACHED_SECONDS
        self._pool.maxPersistentPerHost = _MOST_CACHED
        self._agent = Agent.usingEndpointFactory(clock, self, self._pool)

    def reaches(self, uri: bytes) -> bool:
        """Returns whether a URI is below the URL of one of the ports."""
        return _origin(URI.fromBytes(uri)) in self._ports

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """See L{IAgentEndpointFactory}."""
        return self._ports[_origin(uri)]

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> "Deferred[IResponse]":
        """See L{IAgent}. The URI has to be one that this L{reaches}."""
        response: Deferred[IResponse] = self._agent.request(method, uri, headers, bodyProducer)
        return response

    def stop(self) -> "Deferred[None]":
        """Close the connections that are kept, after the ports. Returns a Deferred that fires when that is done."""
        closed: Deferred[None] = self._pool.closeCachedConnections()
        return closed


@implementer(IAgent)
class RoutingAgent:
    """Makes requests to the ports of this process, and all others through another agent."""

    def __init__(self, own: OwnAgent, elsewhere: IAgent) -> None:
        self._own = own
        self._elsewhere = elsewhere

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> "Deferred[IResponse]":
        """See L{IAgent}."""
        agent = self._own if self._own.reaches(uri) else self._elsewhere
        return agent.request(method, uri, headers, bodyProducer)
