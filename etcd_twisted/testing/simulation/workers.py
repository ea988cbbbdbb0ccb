"""
The workers of a simulated machine: processes of their own, which its process feeds over connections in memory.

This module must never let anything of a worker live on once its process has ended.
"""

from collections.abc import Callable

from twisted.internet.address import IPv4Address

from etcd_twisted.config import Config
from etcd_twisted.net.memory import HOST, Carry, MemoryTransport
from etcd_twisted.testing.simulation.schedule import Process, Schedule
from etcd_twisted.waiters import Waiters
from etcd_twisted.workers.feed import Feed, WorkerConnection
from etcd_twisted.workers.learner import WorkerFeed
from etcd_twisted.workers.replica import WorkerReplica

_LATENCY_SECONDS = 0.000_2
"""About how long it takes from one process to another one on the same machine."""

_RESTART_SECONDS = 0.05
"""About how long it takes to start a worker again that has ended."""

_ADDRESS = IPv4Address("TCP", HOST, 0)


def _carry(schedule: Schedule, receiver: Process) -> Carry:
    """Returns what brings something to a process on the same machine, in order."""
    last_due = 0.0

    def carry(call: Callable[..., object], *args: object) -> None:
        nonlocal last_due
        last_due = max(last_due, schedule.now + _LATENCY_SECONDS * schedule.random.uniform(0.3, 3.0))
        schedule.at(last_due, receiver, "carried", call, *args)

    return carry


class SimulatedWorker:
    """
    One process of a worker.

    @ivar process: what it runs in.
    @ivar feed: its end of the feed.
    @ivar connection: the machine's end of the feed.
    @ivar is_loaded: whether it has been brought to where its machine is.
    """

    def __init__(
        self, machine: Process, process: Process, config: Config, feed: Feed, ended: Callable[[Process], None]
    ) -> None:
        """
        @param machine: the process that feeds it.
        @param process: what it runs in; a new one.
        @param config: the configuration of the machine.
        @param ended: called with C{process} when that has ended.
        """
        schedule, clock = machine.schedule, machine.clock
        self.process = process
        self.is_loaded = False
        self.feed = WorkerFeed(process.clock, config)
        self.connection: WorkerConnection = feed.attach()
        self._ended = ended
        down, up = _carry(schedule, process), _carry(schedule, machine)
        above = MemoryTransport(clock, _ADDRESS, _ADDRESS, down)
        self._below = below = MemoryTransport(process.clock, _ADDRESS, _ADDRESS, up)
        above.join(below)
        machine.connections[above] = lambda: down(below.reset)
        above.when_lost = lambda: machine.connections.pop(above, None)
        process.connections[below] = lambda: up(above.reset)
        below.when_lost = lambda: process.connections.pop(below, None)
        above.begin(self.connection)
        process.after(0, "start", self._begin)

    @property
    def replica(self) -> WorkerReplica:
        """Its replica."""
        return self.feed.replica

    def _begin(self) -> None:
        self.feed.loaded.addCallback(self._loaded)
        self.feed.lost.addCallback(lambda _: self.end())
        self._below.begin(self.feed)

    def _loaded(self, _: WorkerReplica) -> None:
        self.is_loaded = True

    def end(self) -> None:
        """End the process, as C{SIGKILL} does."""
        if self.process.alive:
            self.is_loaded = False
            self.process.end()
            self._ended(self.process)


class SimulatedWorkers:
    """
    The workers of one process of a machine, each of which is started again whenever it has ended.

    @ivar running: their processes, by number.
    """

    def __init__(
        self,
        machine: Process,
        config: Config,
        feed: Feed,
        count: int,
        ended: Callable[[Process], None],
    ) -> None:
        """
        @param count: how many there are.
        @param ended: called with each process of a worker that has ended.
        """
        self.running: dict[int, SimulatedWorker] = {}
        self._machine = machine
        self._config = config
        self._feed = feed
        self._ended = ended
        self._none = Waiters()
        self._stopping = False
        self._count = count

    def start(self) -> None:
        """Start all of them."""
        for number in range(self._count):
            self._start(number)

    def _start(self, number: int) -> None:
        if self._stopping:
            return
        process = self._machine.beside(f"{self._machine.name}'s worker {number}")
        worker = SimulatedWorker(self._machine, process, self._config, self._feed, self._ended)
        self.running[number] = worker
        worker.connection.lost.addCallback(lambda _: self._lost(number))

    def _lost(self, number: int) -> None:
        """Start a worker again. What is left of the one before is ended."""
        self.running.pop(number).end()
        if not self.running:
            self._none.fire()
        delay = _RESTART_SECONDS * self._machine.schedule.random.uniform(0.5, 2.0)
        self._machine.after(delay, "starting a worker", self._start, number)

    async def stop(self) -> None:
        """End all of them, and return when the machine knows."""
        self._stopping = True
        for worker in self.running.values():
            worker.end()
        if self.running:
            await self._none.wait()

    def end(self) -> None:
        """End all of them, as their machine has ended and nobody would start them again."""
        for worker in self.running.values():
            worker.end()

    @property
    def loaded(self) -> list[SimulatedWorker]:
        """Those that have been brought to where their machine is."""
        return [worker for worker in self.running.values() if worker.is_loaded]
