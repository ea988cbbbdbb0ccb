"""
The client port of a machine with workers, as the consensus process has it.

It answers what workers relay, and what a program that embeds the machine requests without a socket. Only metrics and
health have addresses that it listens at itself. This module must never accept a client's connection.
"""

from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort

from etcd_twisted.config import Config
from etcd_twisted.httpd.limits import Limits
from etcd_twisted.httpd.usage import Usage
from etcd_twisted.interfaces import IReactor, IReplica
from etcd_twisted.net.listening import listen
from etcd_twisted.net.memory import MemoryEndpoint
from etcd_twisted.net.port import GRACE_SECONDS, IServedFactory
from etcd_twisted.net.tls import client_port_tls, with_contents
from etcd_twisted.process import file_descriptors
from etcd_twisted.web.access import Access
from etcd_twisted.web.frontend import LateClientPages, client_site, metrics_openings, standby_relay
from etcd_twisted.workers.feed import Feed
from etcd_twisted.workers.relay import RelayedSite
from etcd_twisted.workers.supervisor import Workers


class WorkersPort(Service):
    """
    The port, while the service runs.

    @ivar ready: see L{Workers}.
    @ivar pages: the pages of the port.
    """

    def __init__(self, reactor: IReactor, config: Config, replica: IReplica, feed: Feed) -> None:
        """
        @raise ConfigError: a certificate can't be used, or an address can't be shared by workers.
        """
        config = with_contents(config)  # a worker that is started again uses the same certificates as the others
        self._reactor = reactor
        self._workers = workers = Workers(reactor, config, feed)
        self.ready = workers.ready
        tls, usage = client_port_tls(config), Usage()
        access = Access(replica, reactor, attempts=workers.attempts)
        relay = standby_relay(reactor, config, replica)
        self.pages = pages = LateClientPages(reactor, config, replica, usage, access, relay, workers)
        self._site = client_site(reactor, config, replica, pages, usage, access, None, relay)
        limits = Limits.of(config, file_descriptors.client_connections())
        self._relayed = workers.site = RelayedSite(reactor, replica, pages, limits)
        self._openings = metrics_openings(reactor, config, pages, tls)
        self._ports: list[IListeningPort] = []

    def startService(self) -> "Deferred[None]":
        """
        Listen, and start the workers. Returns a Deferred that fires when all sockets are open; see also L{ready}.

        @raise StartError: (by errback) a port can't be opened.
        """
        super().startService()  # type: ignore[no-untyped-call]  # Twisted has no types there
        return ensureDeferred(self._listen())

    async def _listen(self) -> None:
        for site in (self._site, self._relayed):
            site.startFactory()
        for each in self._openings:
            self._ports.append(await listen(self._reactor, each.address, each.factory, each.tls))
        await self._workers.startService()

    def endpoint(self, port: int, name: str) -> MemoryEndpoint:
        """See L{etcd_twisted.net.port.PortService.endpoint}."""
        return MemoryEndpoint(self._reactor, lambda: self._site if self.running else None, port, name)

    def stopService(self) -> "Deferred[None]":
        """Close the port, and end the workers. Returns a Deferred that fires when nothing is left."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted has no types there
        return ensureDeferred(self._close())

    async def _close(self) -> None:
        ports, self._ports = self._ports, []
        closed: list[Deferred[Any]] = [maybeDeferred(port.stopListening) for port in ports]
        closed.append(self._workers.stopService())
        self.pages.stop()
        sites: list[IServedFactory] = [self._site, self._relayed, *(each.factory for each in self._openings)]
        for end in closed:
            await end
        for site in sites:
            await site.stop(min(GRACE_SECONDS, site.write_timeout_seconds))
