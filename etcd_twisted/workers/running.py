"""
A worker that runs, as the consensus process has it: its process, and what the two tell each other.

It is of one process: one that is started again is another one. This module must never wait for a worker's answer
without an end, as the worker may be gone.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from etcd_twisted.config import Config
from etcd_twisted.interfaces import IReactor
from etcd_twisted.interfaces.statistics import WorkerCounts
from etcd_twisted.waiters import Waiters
from etcd_twisted.web.auth.failed_attempts import FailedAttempts
from etcd_twisted.workers.control import (
    Accept,
    Attempt,
    BeginAttempt,
    Configure,
    Count,
    Counted,
    EndAttempt,
    FromWorker,
    Logged,
    Ready,
    Stop,
    consensus_end,
)
from etcd_twisted.workers.process import WorkerProcess
from etcd_twisted.workers.relay import RelayedSite, RelayReceiver, relay_ends
from etcd_twisted.workers.sockets import Sockets


class WorkerError(Exception):
    """An error that a worker has logged. Its text is the traceback there."""


class RunningWorker:
    """
    One process of a worker.

    @ivar number: the worker's.
    @ivar is_ready: whether it can serve.
    @ivar counts: what it has counted, as far as is known.
    @ivar silent_seconds: for how long it has not said what it counts, for whoever counts that.
    @ivar ended: fires when the process has ended, with why.
    """

    _log = Logger()

    def __init__(
        self, reactor: IReactor, number: int, attempts: FailedAttempts, on_ready: Callable[["RunningWorker"], None]
    ) -> None:
        """
        @param attempts: the log-ins that have failed anywhere on this machine.
        """
        self.number = number
        self.is_ready = False
        self.counts = WorkerCounts()
        self.silent_seconds = 0
        self._reactor = reactor
        self._attempts = attempts
        self._under_way: Counter[str] = Counter()
        """The names that somebody is logging in by."""
        self._on_ready = on_ready
        self._control = consensus_end(self._told)
        self._control.on_lost = self._lost
        self._counted = Waiters()
        self._requests = 0
        self._process = WorkerProcess(reactor, number)
        self.ended = self._process.ended.addCallback(self._has_ended)
        self._receiver: RelayReceiver | None = None

    @property
    def pid(self) -> int | None:
        """The number of the process."""
        return self._process.pid

    def start(self, config: Config, feed: IProtocol, site: RelayedSite, sockets: Sockets) -> None:
        """Start the process."""
        ours, theirs = relay_ends()
        self._receiver = RelayReceiver(self._reactor, ours, site)
        self._process.start(self._control, feed, theirs, sockets.descriptors)
        ahead = self._reactor.seconds() - time.monotonic()
        sources, contents = dict(config.sources), dict(config.contents)
        self._control.send(Configure(self.number, ahead, config.texts(), sources, contents, sockets.shared))

    def accept(self, owners: Iterable[int]) -> None:
        """Accept connections from the sockets of these workers alone."""
        self._control.send(Accept(sorted(owners)))

    def stop(self) -> None:
        """End in order."""
        self._control.send(Stop())

    def kill(self) -> None:
        """End at once."""
        self._process.kill()

    def count(self) -> "Deferred[None]":
        """Returns a Deferred that fires when L{counts} says what the worker counts now; see also L{stop_counting}."""
        self._requests += 1
        self._control.send(Count(self._requests))
        return self._counted.wait()

    def stop_counting(self) -> None:
        """Fire what L{count} has returned: the worker has ended, and its last counts are known."""
        self._counted.fire()

    def _told(self, message: FromWorker) -> None:
        match message:
            case Logged():
                self._relog(message)
            case Counted():
                self.counts = message.counts
                self.silent_seconds = 0
                if message.request_id == self._requests:
                    self._counted.fire()
            case BeginAttempt():
                self._under_way[message.name] += 1
                self._control.send(Attempt(message.request_id, self._attempts.begin(message.name)))
            case EndAttempt():
                self._end_attempt(message)
            case Ready():
                self.is_ready = True
                self._on_ready(self)

    def _relog(self, event: Logged) -> None:
        logger, level = Logger(event.namespace), LogLevel.levelWithName(event.level)
        fields: dict[str, Any] = {**event.fields, "worker": self.number, "text": event.text}
        if event.traceback:
            fields["log_failure"] = Failure(WorkerError(event.traceback))
        logger.emit(level, "Worker {worker}: {text}", **fields)

    def _end_attempt(self, message: EndAttempt) -> None:
        name = message.name
        self._under_way[name] -= 1
        if self._under_way[name] <= 0:
            del self._under_way[name]
        if message.succeeded is None:
            self._attempts.given_up(name)
        elif message.succeeded:
            self._attempts.succeeded(name)
        elif message.request_id is not None:
            self._control.send(Attempt(message.request_id, self._attempts.failed(name)))

    def _lost(self) -> None:
        """The process has ended, or does not work any more."""
        self._process.kill()
        self._process.reap()

    def _has_ended(self, how: str) -> str:
        self.is_ready = False
        for name, count in self._under_way.items():
            for _ in range(count):
                self._attempts.given_up(name)
        self._under_way.clear()
        if self._receiver is not None:
            self._receiver.close()
        return how
