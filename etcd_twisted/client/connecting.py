"""
How a client connects: its agent, its pool of connections, and TLS.

This module must never have Twisted's connection pool send a request again by itself: it would do so with a C{DELETE}.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

import attrs
from OpenSSL.SSL import Error as TlsError
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IReactorTime
from twisted.internet.ssl import (
    Certificate,
    PrivateCertificate,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.iweb import IAgent, IPolicyForHTTPS
from zope.interface import implementer

_T = TypeVar("_T")

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)

IDLE_CONNECTIONS_PER_MACHINE = 8
IDLE_SECONDS = 30
"""How long an idle connection is kept; servers keep it for longer, so that it is not closed just as it is used."""


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
        if tls.ca_file is not None:
            pem = _contents(tls.ca_file, "ca_file")
            found = _CERTIFICATE.findall(pem)
            if not found:
                raise ValueError(f"ca_file {tls.ca_file}: there is no PEM certificate in it")
            authorities = [_loaded(Certificate.loadPEM, each, f"ca_file {tls.ca_file}") for each in found]
            self._trust_root = trustRootFromCertificates(authorities)
        if tls.cert_file is not None:
            key_file = tls.cert_file if tls.key_file is None else tls.key_file
            pem = _contents(tls.cert_file, "cert_file") + b"\n" + _contents(key_file, "key_file")
            self._certificate = _loaded(PrivateCertificate.loadPEM, pem, f"cert_file {tls.cert_file}, key {key_file}")

    def creatorForNetloc(self, hostname: bytes, port: int) -> IOpenSSLClientConnectionCreator:  # noqa: ARG002
        """See L{IPolicyForHTTPS}."""
        return optionsForClientTLS(
            hostname.decode("ascii"), trustRoot=self._trust_root, clientCertificate=self._certificate
        )


def _contents(path: str | Path, option: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{option} {path}: {error.strerror}") from error


def _loaded(load: "Callable[[bytes], _T]", pem: bytes, what: str) -> "_T":
    try:
        return load(pem)
    except (TlsError, ValueError) as error:
        raise ValueError(f"{what}: it is not a PEM certificate with its key that can be used") from error


def default_reactor() -> IReactorTime:
    """Returns Twisted's global reactor, which is chosen when it is first imported."""
    from twisted.internet import reactor  # noqa: PLC0415

    return cast(IReactorTime, reactor)


class Connections:
    """
    The connections of one client.

    @ivar agent: sends requests over them.
    """

    def __init__(self, reactor: IReactorTime, tls: Tls | None, connect_timeout_seconds: float) -> None:
        """
        @raise ValueError: a certificate can't be used; the text names the option and the file.
        """
        self._pool = HTTPConnectionPool(reactor)
        self._pool.maxPersistentPerHost = IDLE_CONNECTIONS_PER_MACHINE
        self._pool.cachedConnectionTimeout = IDLE_SECONDS
        self._pool.retryAutomatically = False
        policy = _TlsPolicy(Tls() if tls is None else tls)
        self.agent: IAgent = Agent(reactor, policy, connectTimeout=connect_timeout_seconds, pool=self._pool)

    def close(self) -> "Deferred[None]":
        """Close the idle connections. The Deferred fires when that is done."""
        closed: Deferred[None] = self._pool.closeCachedConnections()
        return closed
