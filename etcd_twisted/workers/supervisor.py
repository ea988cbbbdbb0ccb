"""
The workers of a machine, as the consensus process has them: it starts them, and each again that ends.

While a worker has no process that serves, or one that says nothing, the others accept the connections of its sockets
too. This module must never let one worker that can't be started, or that hangs, hold up the others, nor leave a
process behind when the service stops.
"""

import random
from collections.abc import Mapping

from twisted.application.service import Service
from twisted.internet import defer
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.interfaces import IDelayedCall, IReactorProcess, IReactorSocket
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from etcd_twisted.backoff import Backoff
from etcd_twisted.config import Config
from etcd_twisted.errors import ConfigError, StartError
from etcd_twisted.interfaces import IReactor
from etcd_twisted.interfaces.statistics import IWorkers, WorkerCounts
from etcd_twisted.net.port import GRACE_SECONDS
from etcd_twisted.web.auth.failed_attempts import FailedAttempts
from etcd_twisted.workers.feed import Feed
from etcd_twisted.workers.relay import RelayedSite
from etcd_twisted.workers.running import RunningWorker
from etcd_twisted.workers.sockets import Sockets, wanted_sockets

LONGEST_PAUSE_SECONDS = 10.0
"""The longest pause before a worker that ends again and again is started again."""

STEADY_SECONDS = 10.0
"""A worker that has served for as long is started again with a short pause."""

MOST_FAILED_STARTS = 3
"""How often a worker may end before it has ever served: then the start of the machine fails."""

COUNT_TIMEOUT_SECONDS = 1.0
"""How long whoever shows what is counted waits for the workers."""

STALLED_SECONDS = 3
"""After so long without a word from a worker, the others accept its connections too, in case that it hangs."""

MOST_SILENT_SECONDS = 60
"""For how long a worker may say nothing. It says what it counts about once a second, also while it loads its copy."""

STOP_TIMEOUT_SECONDS = GRACE_SECONDS + 3.0
"""How long a worker may take to end in order."""


class _Place:
    """
    A worker, whichever process it has.

    @ivar running: its process; C{None} while it has none.
    @ivar due: when it is started again.
    @ivar failed_starts: how many processes have ended before one has served.
    @ivar has_served: whether one has.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.running: RunningWorker | None = None
        self.due: IDelayedCall | None = None
        self.failed_starts = 0
        self.has_served = False
        self.backoff = Backoff(random.random, LONGEST_PAUSE_SECONDS)  # nothing depends on it
        self.ready_since = 0.0

    @property
    def is_ready(self) -> bool:
        """Whether it serves."""
        return self.running is not None and self.running.is_ready

    @property
    def is_heard(self) -> bool:
        """Whether it serves, and has said so lately."""
        return self.running is not None and self.running.is_ready and self.running.silent_seconds < STALLED_SECONDS


@implementer(IWorkers)
class Workers(Service):
    """
    The workers of a machine. They are started with the service, as soon as their sockets are open.

    @ivar attempts: the log-ins that have failed anywhere on this machine.
    @ivar ready: fires when all workers serve for the first time, or errbacks with a L{StartError} if one can't.
    @ivar site: serves what workers relay. Its owner sets it before the service starts.
    """

    _log = Logger()
    site: RelayedSite

    def __init__(self, reactor: IReactor, config: Config, feed: Feed) -> None:
        """
        @raise ConfigError: an address can't be shared by workers, or the reactor can't start processes.
        """
        if not (IReactorProcess.providedBy(reactor) and IReactorSocket.providedBy(reactor)):
            raise ConfigError(f"{config.given('workers')} needs a reactor that starts processes; leave it out")
        self.attempts = FailedAttempts(reactor)
        self.ready: Deferred[None] = Deferred()
        self._reactor = reactor
        self._config = config
        self._feed = feed
        self._wanted = wanted_sockets(config)
        self._sockets = Sockets(reactor, config.workers)
        self._places = [_Place(number) for number in range(1, config.workers + 1)]
        self._ended = WorkerCounts()
        self._stopping = False
        self._heard: list[_Place] = []
        """Those that accept the connections of the others."""
        self._looking = LoopingCall(self._look)
        self._looking.clock = reactor

    # IWorkers

    def counts(self) -> "Deferred[Mapping[int, WorkerCounts]]":
        """See L{IWorkers}. A worker that does not answer in time is counted as far as is known."""
        ready = [each.running for each in self._places if each.running is not None and each.is_ready]
        asked = gatherResults([each.count() for each in ready])
        asked.addTimeout(COUNT_TIMEOUT_SECONDS, self._reactor)
        asked.addErrback(lambda failure: failure.trap(defer.TimeoutError) and None)
        return asked.addCallback(lambda _: {each.number: each.counts for each in ready if each.is_ready})

    def ended(self) -> WorkerCounts:
        """See L{IWorkers}."""
        return self._ended

    # Their life

    def startService(self) -> "Deferred[None]":
        """
        Open the sockets, and start the workers. Returns a Deferred that fires when the sockets are open.

        @raise StartError: (by errback) a socket can't be opened.
        """
        super().startService()  # type: ignore[no-untyped-call]  # Twisted has no types there
        return ensureDeferred(self._open())

    async def _open(self) -> None:
        await self._sockets.open(self._wanted)
        for each in self._places:
            self._start(each)
        looking = self._looking.start(1, now=False)
        looking.addErrback(lambda failure: self._log.failure("Nobody looks for workers that hang", failure))

    def _look(self) -> None:
        """
        End workers that hang. Calls are counted, and not seconds: this process may have had no time itself, and then
        has not read yet what a worker has said.
        """
        for place in self._places:
            running = place.running
            if running is not None:
                running.silent_seconds += 1
                if running.silent_seconds == MOST_SILENT_SECONDS:
                    self._log.warn("Worker {number} does not go on, and is ended", number=place.number)
                    running.kill()
        if self._heard != [each for each in self._places if each.is_heard]:
            self._share_sockets()

    def _start(self, place: _Place) -> None:
        place.due = None
        worker = RunningWorker(self._reactor, place.number, self.attempts, lambda _: self._became_ready(place))
        connection = self._feed.attach()
        try:
            worker.start(self._config, connection, self.site, self._sockets)
        except OSError as error:
            self._again(place, f"its process can't be started: {error.strerror}")
            return
        place.running = worker
        connection.lost.addBoth(lambda _: worker.kill())
        worker.ended.addCallback(lambda how: self._has_ended(place, worker, how))
        worker.ended.addErrback(lambda failure: self._log.failure("A worker is not started again", failure))

    def _became_ready(self, place: _Place) -> None:
        running = place.running
        if running is None or self._stopping:
            return  # one that stops is not told to accept connections again
        place.has_served = True
        place.ready_since = self._reactor.seconds()
        self._log.info("Worker {number} serves clients, in process {pid}", number=place.number, pid=running.pid)
        self._share_sockets()
        if not self.ready.called and all(each.is_ready for each in self._places):
            self.ready.callback(None)

    def _share_sockets(self) -> None:
        """Assign each socket to its worker, and to one of the others as well while that worker says nothing."""
        heard = self._heard = [each for each in self._places if each.is_heard]
        without = [each.number for each in self._places if not each.is_heard]
        for position, place in enumerate(heard):
            if place.running is not None:
                place.running.accept([place.number, *without[position :: len(heard)]])

    def _has_ended(self, place: _Place, worker: RunningWorker, how: str) -> None:
        worker.counts.end()
        self._ended.add(worker.counts)
        place.running = None
        worker.stop_counting()
        if self._stopping:
            return
        self._share_sockets()
        if self._reactor.seconds() - place.ready_since > STEADY_SECONDS:
            place.backoff.reset()
        self._again(place, how)

    def _again(self, place: _Place, how: str) -> None:
        """Start a worker again after a pause, unless it can't be started at all."""
        place.failed_starts += not place.has_served
        if place.failed_starts >= MOST_FAILED_STARTS and not self.ready.called:
            given = self._config.given("workers")
            self.ready.errback(StartError(f"{given}: a worker can't be started: it ended with {how}"))
            if self._stopping:
                return
        pause_seconds = place.backoff.next()
        self._log.warn(
            "Worker {number} has ended with {how}; it is started again in {seconds:.2f} seconds",
            number=place.number,
            how=how,
            seconds=pause_seconds,
        )
        place.due = self._reactor.callLater(pause_seconds, self._start, place)

    def stopService(self) -> "Deferred[None]":
        """Have the workers finish and end. Returns a Deferred that fires when no process is left."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted has no types there
        return ensureDeferred(self._stop())

    async def _stop(self) -> None:
        self._stopping = True
        if self._looking.running:
            self._looking.stop()
        for place in self._places:
            if place.due is not None and place.due.active():
                place.due.cancel()
        running = [each.running for each in self._places if each.running is not None]
        for worker in running:
            worker.stop()
        await self._sockets.close()
        too_late = [self._reactor.callLater(STOP_TIMEOUT_SECONDS, each.kill) for each in running]
        for worker in running:
            await worker.ended
        for each in too_late:
            if each.active():
                each.cancel()
