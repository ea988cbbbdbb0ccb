"""
The peer port as a frontend.
"""

from collections.abc import Mapping
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from zope.interface import implementer

from etcd_twisted.config import Config
from etcd_twisted.errors import ConfigError
from etcd_twisted.interfaces import IFrontend, IReplica
from etcd_twisted.listening import listen
from etcd_twisted.peer.admin import AdminApp
from etcd_twisted.web.site import Site

GRACE = 5.0


class PeerService(Service):
    """Serves administrators while it runs."""

    def __init__(self, reactor: Any, config: Config, replica: IReplica) -> None:
        self._reactor = reactor
        self._config = config
        self._site = Site(
            reactor,
            AdminApp(replica).app.resource(),
            None,
            config.max_request_bytes,
            config.http_read_timeout,
            config.http_write_timeout,
        )
        self._port: IListeningPort | None = None

    def startService(self) -> "Deferred[None]":
        """Listen; the Deferred fires when that is so."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted has no types there
        return ensureDeferred(self._listen())

    async def _listen(self) -> None:
        self._port = await listen(self._reactor, "--peer-bind-addr", self._config.peer_bind_addr, self._site)

    def stopService(self) -> "Deferred[None]":
        """Listen no longer and close every connection; the Deferred fires when nothing is left."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted has no types there
        return ensureDeferred(self._close())

    async def _close(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            await maybeDeferred(port.stopListening)
        await self._site.stop(min(GRACE, self._config.http_write_timeout))


@implementer(IFrontend)
class PeerFrontend:
    """Serves administrators from the replica."""

    name = "peer"

    def service(self, reactor: Any, config: Config, options: Mapping[str, str], replica: IReplica) -> PeerService:
        """See L{IFrontend}."""
        if options:
            raise ConfigError(f"--frontend {self.name} has no option {next(iter(options))!r}; it has none at all")
        return PeerService(reactor, config, replica)
