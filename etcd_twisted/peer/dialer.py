"""
Connects to a machine, by its peer URL.

This module must never connect without TLS to a machine whose URL says C{https}.
"""

from typing import Any, NoReturn, TypeVar

import attrs
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import (
    IAddress,
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IReactorTCP,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from etcd_twisted.config.addresses import Address, read_url
from etcd_twisted.net.tls import ClientTls

CONNECT_TIMEOUT_SECONDS = 2.0
"""This is about what two lost packets cost."""

_P = TypeVar("_P", bound=IProtocol)


class PeerUrlError(ValueError):
    """No machine can be reached by this URL; the text says why."""


def read_peer_url(url: str) -> tuple[bool, Address]:
    """
    Returns whether a peer URL asks for TLS, and the address in it.

    @raise PeerUrlError: it is not a peer URL; the error says what it should be.
    """
    try:
        return read_url(url)
    except ValueError as error:
        raise PeerUrlError(str(error)) from error


class _SingleProtocolFactory(Factory):
    """Has one protocol for one connection."""

    noisy = False  # or each attempt would be logged

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol

    def buildProtocol(self, _: IAddress | None) -> Any:
        return self._protocol


def _as_cancelled(failure: Failure) -> NoReturn:
    """Make a cancelled connection fail as any other Deferred does that is cancelled."""
    if failure.check(ConnectingCancelledError):
        raise CancelledError from failure.value
    failure.raiseException()


@attrs.frozen
class Dialer:
    """
    Connects to machines.

    @ivar tls: C{None} if no TLS is configured.
    @ivar timeout_seconds: see L{CONNECT_TIMEOUT_SECONDS}.
    """

    reactor: IReactorTCP
    tls: ClientTls | None
    timeout_seconds: float = CONNECT_TIMEOUT_SECONDS

    def dial(self, url: str, protocol: _P) -> "Deferred[_P]":
        """
        Returns a Deferred that fires with the protocol once it is connected.

        @raise PeerUrlError: the URL can't be used.
        """
        secure, address = read_peer_url(url)
        endpoint = self._endpoint(address)
        if secure:
            if self.tls is None:
                raise PeerUrlError(f"{url} asks for TLS, for which this machine has no certificate")
            endpoint = wrapClientTLS(self._creator(self.tls, address.host), endpoint)
        return endpoint.connect(_SingleProtocolFactory(protocol)).addCallbacks(lambda _: protocol, _as_cancelled)

    def _creator(self, tls: ClientTls, host: str) -> IOpenSSLClientConnectionCreator:
        try:
            return tls(host)
        except ValueError as error:
            raise PeerUrlError(f"no certificate can be for the host {host!r}") from error

    def _endpoint(self, address: Address) -> IStreamClientEndpoint:
        for is_one, kind in ((isIPAddress, TCP4ClientEndpoint), (isIPv6Address, TCP6ClientEndpoint)):
            if is_one(address.host):
                return kind(self.reactor, address.host, address.port, timeout=self.timeout_seconds)
        return HostnameEndpoint(self.reactor, address.host, address.port, timeout=self.timeout_seconds)
