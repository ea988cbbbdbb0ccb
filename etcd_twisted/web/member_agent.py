"""
The agent with which a standby makes requests of members; see L{etcd_twisted.web.relay}.

This module must never use a connection for a second request: a server may close one that stays open just when a change
is sent, and nobody would know whether it was made.
"""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.web.client import URI, Agent
from twisted.web.iweb import IAgent, IAgentEndpointFactory
from zope.interface import implementer

from etcd_twisted.interfaces import IReactor
from etcd_twisted.net.sockets import tune
from etcd_twisted.net.tls import ClientTls

UNACKNOWLEDGED_TIMEOUT_SECONDS = 5.0
"""How long a member may acknowledge nothing of what was sent before the connection is given up."""

CONNECT_TIMEOUT_SECONDS = 5.0
"""How long it may take to connect to a member."""


def member_agent(reactor: IReactor, tls: ClientTls) -> IAgent:
    """
    Returns the agent. A connection whose other side has silently disappeared ends.

    @param tls: how to use TLS with a machine.
    """
    agent: IAgent = Agent.usingEndpointFactory(reactor, _Endpoints(reactor, tls))
    return agent


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """Makes endpoints for the agent."""

    def __init__(self, reactor: IReactor, tls: ClientTls) -> None:
        self._reactor = reactor
        self._tls = tls

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """See L{IAgentEndpointFactory}."""
        host = uri.host.decode().strip("[]")
        endpoint: IStreamClientEndpoint = _LivingEndpoint(self._reactor, host, uri.port)
        if uri.scheme == b"https":
            return wrapClientTLS(self._tls(host), endpoint)
        return endpoint


@implementer(IStreamClientEndpoint)
class _LivingEndpoint:
    """Connects, and has the system look after the connection."""

    def __init__(self, reactor: IReactor, host: str, port: int) -> None:
        self._endpoint = HostnameEndpoint(reactor, host, port, timeout=CONNECT_TIMEOUT_SECONDS)

    def connect(self, protocolFactory: IProtocolFactory) -> "Deferred[IProtocol]":  # Twisted's name
        """See L{IStreamClientEndpoint}."""
        connected: Deferred[IProtocol] = self._endpoint.connect(protocolFactory)
        return connected.addCallback(_looked_after)


def _looked_after(protocol: Any) -> Any:
    tune(protocol.transport, UNACKNOWLEDGED_TIMEOUT_SECONDS)
    return protocol
