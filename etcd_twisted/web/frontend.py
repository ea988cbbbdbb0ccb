"""
The client port as a frontend: where it listens, and how it starts and stops.
"""

from collections.abc import Mapping
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred, succeed
from twisted.internet.interfaces import IListeningPort
from zope.interface import implementer

from etcd_twisted.config import Config
from etcd_twisted.errors import ConfigError
from etcd_twisted.interfaces import IFrontend, IReplica
from etcd_twisted.listening import listen
from etcd_twisted.web.app import ClientApp
from etcd_twisted.web.keys import KeyEndpoint
from etcd_twisted.web.site import Site

GRACE = 5.0
"""How long a request may take to be answered when the service stops, in seconds."""


class HttpService(Service):
    """Serves clients while it runs."""

    def __init__(self, reactor: Any, config: Config, replica: IReplica) -> None:
        """
        @param reactor: provides C{IReactorTime} and C{IReactorTCP}.
        """
        self._reactor = reactor
        self._config = config
        self._replica = replica
        self._site: Site | None = None
        self._port: IListeningPort | None = None

    def startService(self) -> "Deferred[None]":
        """
        Listen; the Deferred fires when that is so.

        @raise StartError: (by errback) C{--bind-addr} can't be listened on.
        """
        super().startService()  # type: ignore[no-untyped-call]  # Twisted has no types here
        return ensureDeferred(self._listen())

    async def _listen(self) -> None:
        config = self._config
        self._site = Site(
            self._reactor,
            ClientApp(self._replica).app.resource(),
            KeyEndpoint(self._replica, self._reactor),
            config.max_request_bytes,
            config.http_read_timeout,
            config.http_write_timeout,
        )
        self._port = await listen(self._reactor, "--bind-addr", config.bind_addr, self._site)

    def getHost(self) -> IPv4Address | IPv6Address:
        """Where it listens: with port 0 configured, where that turned out to be."""
        if self._port is None:
            raise RuntimeError("the service does not listen")
        return cast(IPv4Address | IPv6Address, self._port.getHost())

    def stopService(self) -> "Deferred[None]":
        """Listen no longer and close every connection; the Deferred fires when nothing is left."""
        super().stopService()  # type: ignore[no-untyped-call]  # likewise
        return ensureDeferred(self._close())

    async def _close(self) -> None:
        port, self._port = self._port, None
        closed = maybeDeferred(port.stopListening) if port is not None else succeed(None)
        if self._site is not None:
            await self._site.stop(min(GRACE, self._config.http_write_timeout))
        await closed


@implementer(IFrontend)
class HttpFrontend:
    """Serves clients over HTTP."""

    name = "http"

    def service(self, reactor: Any, config: Config, options: Mapping[str, str], replica: IReplica) -> HttpService:
        """See L{IFrontend}."""
        if options:
            raise ConfigError(f"--frontend {self.name} has no option {next(iter(options))!r}; it has none at all")
        return HttpService(reactor, config, replica)
