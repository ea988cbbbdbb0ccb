"""
How a client connects: its agent, its pool of connections, and TLS.

This module must never have Twisted's connection pool send a request again by itself: it would do so with a C{DELETE}.
It must never leave a connection open when it is closed, nor wait for ever for a machine that is gone.
"""

import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast
from weakref import WeakSet

import attrs
from OpenSSL.crypto import X509
from OpenSSL.crypto import Error as CertificateError
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, VerifyError
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import (
    Certificate,
    PrivateCertificate,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.internet.task import deferLater
from twisted.web.client import URI, Agent, HTTPConnectionPool
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IPolicyForHTTPS
from zope.interface import implementer

_T = TypeVar("_T")

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)

IDLE_CONNECTIONS_PER_MACHINE = 8
IDLE_SECONDS = 30
"""How long an idle connection is kept; servers keep it for longer, so that it is not closed just as it is used."""

KEEP_ALIVE_SECONDS = 15
"""
After how many quiet seconds the system asks the machine at the other end whether it is still there. This is the only
way in which a quiet watch notices that its machine has lost power.
"""

_KEEP_ALIVE_OPTIONS = {"TCP_KEEPIDLE": KEEP_ALIVE_SECONDS, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""By the names that they have in L{socket}, on platforms that know them."""


@attrs.frozen
class Tls:
    """
    With which certificates a client connects, each in a PEM file.

    @ivar ca_file: the authorities that machines' certificates must come from; C{None} for those of the system.
    @ivar cert_file: the client's certificate, or C{None}.
    @ivar key_file: the key of that certificate, or C{None} if it is in C{cert_file} too.
    """

    ca_file: str | Path | None = None
    cert_file: str | Path | None = None
    key_file: str | Path | None = None


@implementer(IPolicyForHTTPS)
class _TlsPolicy:
    """Verifies machines' certificates, and shows the client's own."""

    def __init__(self, tls: Tls) -> None:
        self._trust_root = platformTrust()
        self._certificate = None
        self._chain: list[X509] = []
        if tls.ca_file is not None:
            pem = _contents(tls.ca_file, "ca_file")
            authorities = _certificates(pem, f"ca_file {tls.ca_file}")
            if not authorities:
                raise ValueError(f"ca_file {tls.ca_file}: there is no PEM certificate in it")
            self._trust_root = trustRootFromCertificates(authorities)
        if tls.cert_file is None and tls.key_file is not None:
            raise ValueError(f"key_file {tls.key_file}: it needs a cert_file with its certificate")
        if tls.cert_file is not None:
            key_file = tls.cert_file if tls.key_file is None else tls.key_file
            pem = _contents(tls.cert_file, "cert_file")
            what = f"cert_file {tls.cert_file}, key_file {key_file}"
            with_key = pem + b"\n" + _contents(key_file, "key_file")
            self._certificate = _loaded(PrivateCertificate.loadPEM, with_key, what)
            self._chain = [each.original for each in _certificates(pem, what)[1:]]

    def creatorForNetloc(self, hostname: bytes, port: int) -> IOpenSSLClientConnectionCreator:  # noqa: ARG002
        """See L{IPolicyForHTTPS}."""
        return optionsForClientTLS(
            hostname.decode("ascii"),
            trustRoot=self._trust_root,
            clientCertificate=self._certificate,
            extraCertificateOptions={"extraCertChain": self._chain} if self._chain else None,
        )


def _contents(path: str | Path, option: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{option} {path}: {error.strerror}") from error


def _certificates(pem: bytes, what: str) -> list[Certificate]:
    return [_loaded(Certificate.loadPEM, each, what) for each in _CERTIFICATE.findall(pem)]


def _loaded(load: "Callable[[bytes], _T]", pem: bytes, what: str) -> "_T":
    try:
        return load(pem)
    except (CertificateError, ValueError, VerifyError) as error:
        raise ValueError(f"{what}: it is not a PEM certificate with its key that can be used") from error


def default_reactor() -> IReactorTime:
    """Returns Twisted's global reactor, which is chosen when it is first imported."""
    from twisted.internet import reactor  # noqa: PLC0415

    return cast(IReactorTime, reactor)


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """
    Connects to machines.

    @ivar transports: the connections that there are, and some that have ended.
    """

    def __init__(self, reactor: IReactorTime, tls: _TlsPolicy, timeout_seconds: float) -> None:
        self.transports: WeakSet[ITCPTransport] = WeakSet()
        self._reactor = reactor
        self._tls = tls
        self._timeout_seconds = timeout_seconds

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """See L{IAgentEndpointFactory}."""
        host = HostnameEndpoint(self._reactor, uri.host, uri.port, self._timeout_seconds)
        endpoint = _Endpoint(self._reactor, host, self._timeout_seconds, self.transports)
        if uri.scheme == b"http":
            return _QuietEndpoint(endpoint)
        tls = self._tls.creatorForNetloc(uri.host, uri.port)
        return _QuietEndpoint(wrapClientTLS(tls, endpoint))


@implementer(IStreamClientEndpoint)
@attrs.frozen
class _QuietEndpoint:
    """Connects without a line in the log for the beginning and for the end of each connection."""

    endpoint: IStreamClientEndpoint

    def connect(self, protocolFactory: IProtocolFactory) -> "Deferred[IProtocol]":
        """See L{IStreamClientEndpoint}."""
        cast(Factory, protocolFactory).noisy = False
        return self.endpoint.connect(protocolFactory)


@implementer(IStreamClientEndpoint)
class _Endpoint:
    """Connects to one machine, within a time that covers the look-up of its name."""

    def __init__(
        self,
        reactor: IReactorTime,
        endpoint: HostnameEndpoint,
        timeout_seconds: float,
        transports: "WeakSet[ITCPTransport]",
    ) -> None:
        self._reactor = reactor
        self._endpoint = endpoint
        self._timeout_seconds = timeout_seconds
        self._transports = transports

    def connect(self, protocolFactory: IProtocolFactory) -> "Deferred[IProtocol]":
        """See L{IStreamClientEndpoint}."""
        connecting = self._endpoint.connect(protocolFactory)
        connecting.addTimeout(self._timeout_seconds, self._reactor, self._too_late)
        return connecting.addCallback(self._connected)

    def _too_late(self, _: object, seconds: float) -> None:
        raise ConnectError(string=f"no connection within {seconds:.3g} seconds")

    def _connected(self, protocol: IProtocol) -> IProtocol:
        transport = cast(ITCPTransport, cast(Protocol, protocol).transport)
        self._transports.add(transport)
        transport.setTcpKeepAlive(True)
        connection = cast(socket.socket, transport.getHandle())  # type: ignore[attr-defined]  # each TCP transport has it
        for name, value in _KEEP_ALIVE_OPTIONS.items():
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        return protocol


class Connections:
    """
    The connections of one client.

    @ivar agent: sends requests over them.
    @ivar endpoint_of: returns the endpoint of a machine, for connections that are used in another way.
    """

    def __init__(self, reactor: IReactorTime, tls: Tls | None, connect_timeout_seconds: float) -> None:
        """
        @raise ValueError: a certificate can't be used; the text names the option and the file.
        """
        self._reactor = reactor
        self._pool = HTTPConnectionPool(reactor)
        self._pool.maxPersistentPerHost = IDLE_CONNECTIONS_PER_MACHINE
        self._pool.cachedConnectionTimeout = IDLE_SECONDS
        self._pool.retryAutomatically = False
        self._endpoints = _Endpoints(reactor, _TlsPolicy(Tls() if tls is None else tls), connect_timeout_seconds)
        self.endpoint_of = self._endpoints.endpointForURI
        self.agent: IAgent = Agent.usingEndpointFactory(reactor, self._endpoints, self._pool)

    def close(self) -> "Deferred[None]":
        """
        Close all connections. The Deferred fires when that is done.

        Those that carry requests are closed at once: a machine that is gone would never agree to the end of TLS.
        """
        closed = [self._pool.closeCachedConnections()]
        transports = list(self._endpoints.transports)
        for transport in transports:
            transport.abortConnection()
        if transports:
            closed.append(deferLater(self._reactor, 0))  # they are closed in the next turn of the reactor
        return gatherResults(closed).addCallback(lambda _: None)
