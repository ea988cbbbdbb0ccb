"""
A machine: builds everything from a L{Config}, and starts and stops it in order. It is the only place that knows all
rooms.

What only some machines need is imported by those: workers, and the client library, for programs that embed a machine
and for SRV records. All machines need the pages beside the keys, but only once they serve keys, and import them then.

The ports are opened first, so that a port in use is noticed before anything is written to disk. Requests that come
before the key space is recovered wait. This module must never leave open or running what it has opened, whatever else
fails.
"""

import secrets
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

from twisted.application.service import IService, Service
from twisted.copyright import version as twisted_version
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, gatherResults, maybeDeferred, succeed
from twisted.internet.interfaces import IResolver
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import Agent
from twisted.web.iweb import IAgent

from etcd_twisted import __version__
from etcd_twisted.cluster.client import ClusterClient
from etcd_twisted.cluster.discovery import Registration, configured_discovery
from etcd_twisted.cluster.http_client import network_http_client
from etcd_twisted.cluster.lifecycle import Lifecycle
from etcd_twisted.cluster.seeds import ConfiguredSeeds
from etcd_twisted.config import Config
from etcd_twisted.consensus.participation import Participation
from etcd_twisted.consensus.raft.leader import Timing
from etcd_twisted.consensus.settings import ReplicaSettings
from etcd_twisted.consensus.storage.disk_thread import DiskThread
from etcd_twisted.consensus.storage.storage import Storage
from etcd_twisted.frontends import IWorkerFrontend, chosen_frontends
from etcd_twisted.httpd.agent import OwnAgent, RoutingAgent
from etcd_twisted.interfaces import IReactor
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from etcd_twisted.net.port import PortService
from etcd_twisted.net.sockets import UNACKNOWLEDGED_TIMEOUT_SECONDS
from etcd_twisted.net.tls import check_peer_certificate, tls_for_peers
from etcd_twisted.peer.frontend import PeerFrontend
from etcd_twisted.peer.transport import AmpTransport
from etcd_twisted.web.admin_site import admin_site, late_admin_pages
from etcd_twisted.web.frontend import HttpFrontend, LateClientPages

if TYPE_CHECKING:
    from etcd_twisted.client import Client, Timeouts, Tls
    from etcd_twisted.workers.port import WorkersPort


class EtcdService(Service):
    """
    One machine, which is a program of its own or a part of another one. It is started and stopped once.

    @ivar replica: what the frontends serve from; also for programs that embed this.
    @ivar started: fires when requests are answered, or errbacks with why they can't be. L{startService} makes it. It
        errbacks with L{CancelledError} if the machine is stopped before that.
    @ivar accepted: fires when the start can't be refused any more: the ports are open, the data can be used, and the
        cluster has admitted the machine. The machine may still have to wait for others. Never fires if the start is
        refused.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactor,
        config: Config,
        fatal: Callable[[str], None],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """
        @param reactor: its time should not follow the system's clock, or timers are late after that was set back; see
            L{etcd_twisted.process.monotonic.use_monotonic_time}.
        @param fatal: called once, with one line, if the disk fails: the machine answers nobody any more, and the
            process should end.
        @param wall_clock: returns the time by which keys expire, in seconds since the epoch.
        @raise ConfigError: a frontend is not installed or can't use its options, or a configured file can't be used.
        """
        self._participation = participation = Participation(reactor, wall_clock, _replica_settings(config))
        participation.on_failure.append(fatal)
        self.replica = participation.replica
        self.started: Deferred[None] = succeed(None)
        self.accepted: Deferred[None] = Deferred()
        self._reactor = reactor
        self._config = config
        tls = tls_for_peers(config)
        check_peer_certificate(config)
        timeout_seconds = max(UNACKNOWLEDGED_TIMEOUT_SECONDS, 5 * self.replica.timing.election_timeout_seconds)
        self._transport = AmpTransport(
            reactor, self.replica.peer, tls, lambda: self.replica.name, config.peer_url, timeout_seconds
        )
        self._admin_pages = late_admin_pages(reactor, config, self.replica)
        served = partial(admin_site, pages=self._admin_pages)
        peer_port = PeerFrontend(self._transport.connected, served).service(reactor, config, {}, self.replica)
        client_port: PortService | WorkersPort
        self._client_pages: LateClientPages
        self._workers_ready: Deferred[None] = succeed(None)
        if config.workers:
            client_port = _workers_port(reactor, config, participation)
            self._client_pages = client_port.pages
            self._workers_ready = client_port.ready.addErrback(self._workers_failed)
        else:
            http = HttpFrontend()
            client_port = http.service(reactor, config, {}, self.replica)
            self._client_pages = http.pages
        # They are stopped from the last to the first: requests under way need the other machines until the end.
        self._frontends: list[IService] = [peer_port, client_port]
        for frontend, options in chosen_frontends(config):
            service = frontend.service(reactor, config, options, self.replica)  # which may refuse the options
            if not (config.workers and IWorkerFrontend.providedBy(frontend)):
                self._frontends.append(service)
        own_ports = {
            config.client_url: client_port.endpoint(config.addr.port, "the machine's client port"),
            config.peer_url: peer_port.endpoint(config.peer_addr.port, "the machine's peer port"),
        }
        self._own_agent = OwnAgent(reactor, own_ports)
        self._clients: set[Client] = set()
        http_client = network_http_client(reactor, config.max_retry_attempts)
        self._discovery = configured_discovery(http_client, config)
        self._registration: Registration | None = None
        client = ClusterClient(reactor, tls, http_client)
        self._seeds = ConfiguredSeeds(config, self._discovery, client, partial(_resolver, reactor))
        self._lifecycle = Lifecycle(reactor, config, participation, client, self._transport, self._seeds)
        participation.on_exclusion.append(self._lifecycle.excluded)
        self.replica.peer.on_claim.append(self._lifecycle.claimed)
        self._listening: list[IService] = []
        self._storage: Storage | None = None
        self._disk_thread: DiskThread | None = None
        self._starting: Deferred[None] = succeed(None)
        self._closing: Deferred[None] | None = None
        self._first_failure: Failure | None = None
        self._problem: Failure | None = None

    def agent(self, elsewhere: IAgent | None = None) -> IAgent:
        """
        Returns an agent for programs that embed this: what they request of this machine, by its client URL or its peer
        URL, comes to its ports without a socket, and is treated there as any other request. A request that comes while
        the machine does not run fails with L{twisted.internet.error.ConnectionRefusedError}.

        @param elsewhere: makes all other requests, as when this machine redirects to the leader. C{None} for one that
            uses the network, closes each connection after its request, and trusts the certificates that browsers do.
        """
        return RoutingAgent(self._own_agent, Agent(self._reactor) if elsewhere is None else elsewhere)

    def client(
        self,
        *,
        credentials: tuple[str, str] | None = None,
        tls: "Tls | None" = None,
        timeouts: "Timeouts | None" = None,
    ) -> "Client":
        """
        Returns a client for programs that embed this. It reaches this machine without a socket, and the others of the
        cluster over the network.

        The machine closes the client when it stops. So whatever uses it has to be stopped earlier, and its locks given
        back.

        @param credentials: see L{Client}.
        @param tls: the certificates to use with other machines.
        @param timeouts: see L{Client}; C{None} for its own.
        @raise ValueError: a certificate can't be used.
        """
        from etcd_twisted.client import Client, ClientClosed, Timeouts  # noqa: PLC0415 - see above

        client = Client(
            self._config.client_url,
            reactor=self._reactor,
            wrap_agent=self.agent,
            credentials=credentials,
            tls=tls,
            timeouts=Timeouts() if timeouts is None else timeouts,
        )
        self._clients.add(client)
        until_closed: Deferred[None] = Deferred(lambda _: self._clients.discard(client))
        client.run(until_closed).addErrback(lambda failure: failure.trap(ClientClosed) and None)
        if self._closing is not None:
            client.close()
        return client

    def startService(self) -> None:
        """Open the ports, recover, and serve; see L{started}."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted has no types there
        self._log.info(
            "etcd_twisted {version} starts (Python {python}, Twisted {twisted}) for {client_url} and {peer_url},"
            " with its data in {directory}",
            version=__version__,
            python=sys.version.split()[0],
            twisted=twisted_version,
            client_url=self._config.client_url,
            peer_url=self._config.peer_url,
            directory=str(self._config.data_dir),
        )
        self.started = Deferred(lambda _: self._starting.cancel())
        self._starting = ensureDeferred(self._start())
        self._starting.addCallbacks(self.started.callback, self._start_failed)

    async def _start(self) -> None:
        for frontend in self._frontends:
            self._listening.append(frontend)
            await maybeDeferred(frontend.startService)
        config = self._config
        self._storage = Storage.open(config.data_dir, config.given_as("data-dir"), fresh=config.force)
        self._disk_thread = DiskThread(self._reactor)
        self._disk_thread.start()
        try:
            await self._lifecycle.begin(self._storage, self._disk_thread)
            self.accepted.callback(None)
            await self._lifecycle.when_serving()
            for pages in (self._admin_pages, self._client_pages):
                await pages.load(self._reactor)
            await self._workers_ready
            if self._problem is not None:
                self._problem.raiseException()
        except BaseException:
            self._storage.directory.withdraw()
            raise
        if self._discovery is not None:
            name = self.replica.name
            self._registration = Registration(self._reactor, self._discovery, name, config.peer_url)
            self._registration.start(self._seeds.registration_due_seconds)
        if not self.replica.standby:  # a standby has logged that already
            self._log.info(
                "{name} serves clients at {client_url} and machines at {peer_url}",
                name=self.replica.name,
                client_url=config.client_url,
                peer_url=config.peer_url,
            )

    def _workers_failed(self, failure: Failure) -> None:
        """End the start, since a worker can't be started, or nobody waits for it any more."""
        self._problem = failure
        if not failure.check(CancelledError):
            self._starting.cancel()

    def _start_failed(self, failure: Failure) -> None:
        failure = self._problem or failure
        closed = self._close()
        closed.addErrback(lambda problem: self._log.failure("Closing what was opened failed", problem))
        self.started.errback(failure)

    def stopService(self) -> "Deferred[None]":
        """
        Close the ports, finish what is under way, and unlock the data directory.

        Returns a Deferred that fires when all of this is done. It errbacks then if a part of it failed.
        """
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted has no types there
        self._log.info("{name} stops", name=self.replica.name or "This machine")
        self.started.cancel()
        return self._close()

    def _close(self) -> "Deferred[None]":
        """Close whatever is open, once. Each call returns a Deferred of its own that fires when that is done."""
        if self._closing is None:
            self._closing = ensureDeferred(self._close_all())
        closed: Deferred[None] = Deferred()

        def fire(result: Failure | None) -> None:
            self._first_failure = self._first_failure or result
            closed.callback(self._first_failure)  # a Failure makes it an errback

        self._closing.addBoth(fire)
        return closed

    async def _close_all(self) -> None:
        async with AsyncExitStack() as last_first:
            if self._storage is not None:
                last_first.callback(self._close_storage)
            if self._disk_thread is not None:
                last_first.push_async_callback(self._disk_thread.stop)
            last_first.push_async_callback(self._transport.stop)
            last_first.push_async_callback(self._participation.stop)
            last_first.push_async_callback(self._own_agent.stop)
            last_first.push_async_callback(self._close_clients)
            for frontend in self._listening:
                last_first.push_async_callback(maybeDeferred, frontend.stopService)
            # Another machine leads before this one closes its ports: clients that come meanwhile are sent there.
            last_first.push_async_callback(self._participation.hand_over)
            last_first.callback(self._lifecycle.stop)
            if self._registration is not None:
                last_first.push_async_callback(self._registration.stop)

    async def _close_clients(self) -> None:
        await gatherResults([client.close() for client in list(self._clients)])

    def _close_storage(self) -> None:
        storage = self._lifecycle.storage or self._storage
        if storage is not None:
            storage.close()


def _workers_port(reactor: IReactor, config: Config, participation: Participation) -> "WorkersPort":
    """
    Returns the client port of a machine with workers.

    @raise ConfigError: see L{WorkersPort}.
    """
    from etcd_twisted.workers.feed import Feed  # noqa: PLC0415 - see above
    from etcd_twisted.workers.port import WorkersPort  # noqa: PLC0415

    return WorkersPort(reactor, config, participation.replica, Feed(reactor, participation))


def _resolver(reactor: IReactor) -> IResolver:
    """Returns what asks the name servers of this computer."""
    from etcd_twisted.client.srv import default_resolver  # noqa: PLC0415 - see above

    return default_resolver(reactor)


def _replica_settings(config: Config) -> ReplicaSettings:
    """Returns what is configured for the replica, with random numbers of its own."""
    return ReplicaSettings(
        history_capacity=config.watch_history,
        history_bytes=config.watch_history_bytes,
        snapshot_count=config.snapshot_count if config.snapshot else None,
        quota_bytes=config.quota_bytes,
        timing=Timing(config.peer_heartbeat_interval / 1e3, config.peer_election_timeout / 1e3),
        defaults=ClusterConfig(config.cluster_active_size, config.cluster_remove_delay, config.cluster_sync_interval),
        pads_in_order_keys=config.pads_in_order_keys,
        random_seed=secrets.randbits(64),
    )
