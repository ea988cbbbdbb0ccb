"""
A machine: everything built from a L{Config}, started and stopped in order. The one place that knows all rooms.

The ports are opened first, so that a port that is taken is found out before anything is written to disk; requests
that come before the key space is recovered wait. Must never leave anything open or running that it opened, whatever
went wrong with the rest.
"""

import secrets
import time
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from etcd_twisted.config import Config
from etcd_twisted.consensus.directory import Identity
from etcd_twisted.consensus.recovery import Storage, recover
from etcd_twisted.consensus.replica import Replica
from etcd_twisted.consensus.writer import LogWriter
from etcd_twisted.frontends import chosen_frontends
from etcd_twisted.interfaces import IReactor
from etcd_twisted.machines import Machine


class EtcdService(Service):
    """
    One machine, for a program of its own or as a part of another. It is started and stopped once.

    @ivar replica: what the frontends serve from; also for programs that embed this.
    @ivar started: fires when requests are answered, or errbacks with why that can't be. Made by L{startService}.
    @ivar refusal: why it could not be started, as soon as that is known. A port that can't be opened and a data
        directory that can't be used are known when L{startService} returns.
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
        @param reactor: its time should be one that nobody sets, or timers are late after the system's clock was set
            back, see L{etcd_twisted.tap.keep_time_evenly}.
        @param fatal: called once, with one line, when the disk failed: the machine answers nobody any more, and the
            process should end.
        @param wall_clock: the time by which keys expire, in seconds since the epoch.
        @raise ConfigError: a frontend is not installed or can't use its options.
        """
        snapshot_count = config.snapshot_count if config.snapshot else None
        self.replica = Replica(reactor, wall_clock, config.watch_history, snapshot_count, fatal)
        self.started: Deferred[None] = succeed(None)
        self.refusal: BaseException | None = None
        self._reactor = reactor
        self._config = config
        self._frontends = [
            frontend.service(reactor, config, options, self.replica) for frontend, options in chosen_frontends(config)
        ]
        self._listening: list[IService] = []
        self._storage: Storage | None = None
        self._writer: LogWriter | None = None
        self._starting: Deferred[None] = succeed(None)
        self._closing: Deferred[None] | None = None
        self._problem: Failure | None = None

    def startService(self) -> None:
        """Open the ports, recover, and serve; see L{started}."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted has no types there
        self.started = Deferred(lambda _: self._starting.cancel())
        self._starting = ensureDeferred(self._start())
        self._starting.addCallbacks(self.started.callback, self._not_started)

    async def _start(self) -> None:
        for frontend in self._frontends:
            self._listening.append(frontend)
            await maybeDeferred(frontend.startService)
        self._storage = storage = Storage.open(self._config.data_dir, self._config.given_as("data-dir"))
        recovered = await recover(
            storage, self.replica.keyspace, self._config.name, self._new_identity, self.replica.turn
        )
        self._writer = LogWriter(self._reactor)
        self._writer.start()
        machine = Machine(recovered.identity.name, self._config.addr.url(), self._config.peer_addr.url())
        self.replica.start(machine, storage, self._writer, recovered)
        await self.replica.when_serving()
        self._log.info(
            "{name} serves clients at {client_url} and machines at {peer_url}",
            name=machine.name,
            client_url=machine.client_url,
            peer_url=machine.peer_url,
        )

    def _new_identity(self) -> Identity:
        name = self._config.name or str(uuid.uuid4())
        return Identity(name, machine_id=secrets.token_hex(8), cluster_id=secrets.token_hex(8))

    def _not_started(self, failure: Failure) -> None:
        self.refusal = failure.value
        closed = self._close()
        closed.addErrback(lambda problem: self._log.failure("Closing what was opened failed", problem))
        self.started.errback(failure)

    def stopService(self) -> "Deferred[None]":
        """
        Stop listening, finish what is under way, and give the data directory back.

        The Deferred fires when all of that is done; it errbacks when a part of it failed, and then too all is done.
        """
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted has no types there
        self.started.cancel()
        return self._close()

    def _close(self) -> "Deferred[None]":
        """Close whatever is open; whoever asks is told when all of it is closed, and of what went wrong."""
        if self._closing is None:
            self._closing = ensureDeferred(self._close_all())
        closed: Deferred[None] = Deferred()

        def tell(result: Failure | None) -> None:
            self._problem = self._problem or result
            closed.callback(self._problem)  # a Failure makes it an errback

        self._closing.addBoth(tell)
        return closed

    async def _close_all(self) -> None:
        async with AsyncExitStack() as last_first:
            if self._storage is not None:
                last_first.callback(self._storage.close)
            if self._writer is not None:
                last_first.push_async_callback(self._writer.stop)
            last_first.push_async_callback(self.replica.stop)
            for frontend in self._listening:
                last_first.push_async_callback(maybeDeferred, frontend.stopService)
