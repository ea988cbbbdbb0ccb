"""
The frontend: the options of C{--frontend dns:...}, and the service that it makes.

Must never open a port before the service is started.
"""

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.plugin import IPlugin
from zope.interface import implementer

from etcd_twisted.config import Config
from etcd_twisted.errors import ConfigError, StartError
from etcd_twisted.frontends import IFrontend
from etcd_twisted.interfaces import IReactor, IReplica
from etcd_twisted.keyspace import ROOT, clean
from etcd_twisted.logs import RateLimitedLog
from etcd_twisted_dns.authority import Authority
from etcd_twisted_dns.follower import Follower
from etcd_twisted_dns.records import is_name
from etcd_twisted_dns.server import Connections, Datagrams, Server

_LONGEST_TTL = 86_400


def _whole(text: str, largest: int) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= largest:
        raise ValueError(f"should be a whole number from 1 to {largest}")
    return int(text)


def _port(text: str) -> int:
    return _whole(text, 65_535)


def _ttl(text: str) -> int:
    return _whole(text, _LONGEST_TTL)


def _interface(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(r"should be an IP address, as in 0.0.0.0, with its colons as in \:\:1") from None


def _zone(text: str) -> str:
    name = text.lower().removesuffix(".")
    if not is_name(name):
        raise ValueError("should be a domain name, as in cluster.internal")
    return name


def _directory(text: str) -> str:
    key = clean(text)
    if not text.startswith("/") or key == ROOT:
        raise ValueError("should be the key of a directory, as in /dns")
    return key


@attrs.frozen
class Settings:
    """
    The values of the options.

    @ivar port: the UDP and TCP port.
    @ivar interface: the address to listen on.
    @ivar zone: the name that all names end in.
    @ivar directory: the key that the names are in.
    @ivar ttl: how long an answer may be kept at most, in seconds.
    """

    port: int = 53
    interface: str = "127.0.0.1"
    zone: str = "cluster.internal"
    directory: str = "/dns"
    ttl: int = 60

    @classmethod
    def read(cls, options: Mapping[str, str], given: str) -> "Settings":
        """
        Reads the options.

        @param given: how they were given, for errors, as in C{--frontend dns}.
        @raise ConfigError: one of them can't be used.
        """
        values: dict[str, Any] = {}
        for option, text in options.items():
            if option not in _OPTIONS:
                raise ConfigError(f"{given}: there is no option {option!r}; the options are {', '.join(_OPTIONS)}")
            try:
                values[option] = _OPTIONS[option](text)
            except ValueError as error:
                raise ConfigError(f"{given}: {option}={text}: {error}") from error
        return cls(**values)


_OPTIONS: dict[str, Callable[[str], object]] = {
    "port": _port,
    "interface": _interface,
    "zone": _zone,
    "directory": _directory,
    "ttl": _ttl,
}
"""The options, each with the function that reads its value."""


class DnsService(Service):
    """
    Answers questions about the zone while it runs.

    @ivar settings: the values of its options.
    """

    def __init__(self, reactor: Any, replica: IReplica, settings: Settings, given: str) -> None:
        """
        @param given: how the frontend was given, for errors.
        """
        self.settings = settings
        self._reactor = reactor
        self._given = given
        rate_limited_log = RateLimitedLog(reactor)
        self._follower = Follower(reactor, replica, settings.zone, settings.directory, rate_limited_log)
        server = Server(self._authority)
        self._datagrams = Datagrams(server, rate_limited_log)
        self._connections = Connections(server, reactor)
        self._ports: list[IListeningPort] = []

    def _authority(self) -> Authority | None:
        zone = self._follower.zone
        return None if zone is None else Authority(zone, self.settings.ttl, self._follower.seconds_left)

    def startService(self) -> None:
        """
        Listens. Until this machine has a copy of the keys, each question is answered with SERVFAIL.

        @raise StartError: the port can't be listened on.
        """
        super().startService()  # type: ignore[no-untyped-call]  # Twisted has no types there
        settings = self.settings
        where = {"port": settings.port, "interface": settings.interface}
        try:
            self._ports.append(self._reactor.listenUDP(protocol=self._datagrams, **where))
            self._ports.append(self._reactor.listenTCP(factory=self._connections, **where))
        except CannotListenError as error:
            reason = os.strerror(error.socketError.errno)
            address = f"port={settings.port} of interface={settings.interface}"
            raise StartError(f"{self._given}: {address} can't be listened on: {reason}") from error
        self._follower.startService()

    def stopService(self) -> "Deferred[None]":
        """Stops listening, and closes every connection."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted has no types there
        if self._follower.running:
            self._follower.stopService()
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        ports, self._ports = self._ports, []
        closed = [maybeDeferred(port.stopListening) for port in ports]
        self._connections.close()
        for each in closed:
            await each


@implementer(IPlugin, IFrontend)
class DnsFrontend:
    """Answers DNS from the keys."""

    name = "dns"

    def service(self, reactor: IReactor, config: Config, options: Mapping[str, str], replica: IReplica) -> DnsService:
        """See L{IFrontend}."""
        given = f"{config.given_as('frontend')} {self.name}"
        return DnsService(reactor, replica, Settings.read(options, given), given)
