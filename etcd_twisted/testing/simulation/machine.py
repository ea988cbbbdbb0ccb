"""
A machine in memory: its disk, its clocks, and one process after the other on it.

Each process is the whole program but for its sockets: it begins, joins, serves and stands by as C{twistd etcd} does.
This module must never let anything of a process live on in the next one but what is on the disk.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import attrs
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.python.failure import Failure

from etcd_twisted.cluster.lifecycle import Lifecycle
from etcd_twisted.config import Config
from etcd_twisted.config.initial_cluster import InitialCluster
from etcd_twisted.consensus.participation import Participation
from etcd_twisted.consensus.replica import Replica
from etcd_twisted.consensus.settings import ReplicaSettings
from etcd_twisted.consensus.storage.storage import Storage
from etcd_twisted.errors import ErrorCode, EtcdError, StartError, StorageError
from etcd_twisted.keyspace import Event, File, Set
from etcd_twisted.keyspace.events import MICROSECONDS_PER_SECOND
from etcd_twisted.testing.simulation.disk import CrashError
from etcd_twisted.testing.simulation.disks import Disks
from etcd_twisted.testing.simulation.http_ports import HttpPorts
from etcd_twisted.testing.simulation.network import Network
from etcd_twisted.testing.simulation.schedule import Process, Schedule
from etcd_twisted.testing.simulation.settings import Settings
from etcd_twisted.testing.simulation.streams import Streams
from etcd_twisted.testing.simulation.transport import SimulatedPeers, SimulatedTransport
from etcd_twisted.testing.simulation.workers import SimulatedWorkers
from etcd_twisted.waiters import Waiters
from etcd_twisted.workers.feed import Feed

EPOCH = 1_700_000_000.0
"""What the machines' wall clocks show when the simulation begins, in seconds since the epoch."""

_RESTART_SECONDS = 0.5
"""About how long a supervisor waits before it starts a process again that has ended."""


class MachineFailedError(AssertionError):
    """A machine ended by itself though nothing was meant to fail."""


class World(Protocol):
    """What a machine needs of the cluster that it is in."""

    schedule: Schedule
    network: Network
    streams: Streams
    disks: Disks
    settings: Settings

    @property
    def machines(self) -> "Mapping[str, SimulatedMachine]":
        """All machines by name, in the order in which they came."""

    def sent(self, sender: str, receiver: str, payload: bytes) -> None:
        """Called when a machine sends messages to another one."""

    def ended(self, process: Process) -> None:
        """Called when a process of a machine has ended."""

    def tell(self, text: str) -> None:
        """Called with a line about each thing that is worth knowing when somebody looks for a fault."""

    def broken(self, problem: BaseException | None) -> None:
        """Called when something has happened that must never happen."""


class MachineRun:
    """
    One process of a machine: the one place where its objects are put together.

    @ivar process: what they run in.
    @ivar host: where others reach it.
    @ivar peers: how it asks others.
    @ivar disk_thread: what stands for its disk thread.
    @ivar started: fires when it serves or stands by, and fails when it does not start.
    @ivar starting: what it does until then.
    @ivar workers: its workers; C{None} if it has none.
    @ivar stopping: whether it was told to stop.
    """

    def __init__(self, machine: "SimulatedMachine") -> None:
        world, config, settings = machine.world, machine.config, machine.world.settings
        self.process = process = Process(world.schedule, machine.name, machine.clock_start, machine.speed)
        self.host = world.network.host(config.peer_url)
        self.participation = participation = Participation(
            process.clock,
            machine.wall_clock,
            ReplicaSettings(
                settings.history,
                snapshot_count=settings.snapshot_count,
                timing=settings.timing,
                defaults=settings.defaults,
                pads_in_order_keys=config.pads_in_order_keys,
                random_seed=world.schedule.random.getrandbits(32),
                **settings.limits,
            ),
        )
        participation.on_failure.append(machine.disk_failed)
        self.replica = participation.replica
        self.transport = SimulatedTransport(world.network, process, self.host, self.replica.peer, world.sent)
        self.peers = SimulatedPeers(world.network, process)
        self.lifecycle = Lifecycle(process.clock, config, participation, self.peers, self.transport, machine)
        participation.on_exclusion.append(self.lifecycle.excluded)
        self.replica.peer.on_claim.append(self.lifecycle.claimed)
        self.disk_thread = settings.disk_thread(process, machine.disk)
        self.http_ports = HttpPorts(world.streams, process, config, self.replica)
        self.workers: SimulatedWorkers | None = None
        if settings.workers:
            feed = Feed(process.clock, participation)
            worker_config = attrs.evolve(config, watch_history=settings.history)
            self.workers = SimulatedWorkers(process, worker_config, feed, settings.workers, world.ended)
        self.started = Waiters()
        self.starting: Deferred[None] | None = None
        self.stopping = False
        self._opened: Storage | None = None
        self._segment_bytes = settings.segment_bytes

    @property
    def storage(self) -> Storage | None:
        """Its files, once they are open."""
        return self.lifecycle.storage or self._opened

    def open(self, path: Path, force: bool) -> Storage:
        """Open its files, and lock them."""
        self._opened = Storage.open(path, "--data-dir", force, self._segment_bytes)
        return self._opened

    def listen(self) -> None:
        """Have others reach it, unless another process has the port."""
        if not self.host.up:
            self.host.name, self.host.process, self.host.peer = self.process.name, self.process, self.replica.peer

    def end(self) -> None:
        """Have nothing happen to it any more."""
        self.process.end()
        if self.host.process is self.process:
            self.host.process = self.host.peer = None
            self.host.visitors.clear()


class SimulatedMachine:
    """
    A machine of a L{etcd_twisted.testing.simulation.cluster.SimulatedCluster}.

    @ivar name: its name.
    @ivar config: its configuration.
    @ivar disk: its disk, which can be made to fail and to crash the machine.
    @ivar run: the process that runs, with its objects, or C{None}.
    @ivar speed: how many seconds its clocks count in one second of the simulation.
    @ivar wall_ahead: how many seconds its time of day is ahead.
    @ivar wanted: whether a supervisor starts it again when it has ended.
    @ivar disk_fails: whether its disk is meant to fail just now.
    """

    def __init__(
        self, world: World, number: int, speed: float = 1.0, wall_ahead: float = 0.0, config: Config | None = None
    ) -> None:
        """
        @param world: the cluster that it is in.
        @param number: how many machines came before it.
        @param config: C{None} for one with addresses that no machine had before.
        """
        self.world = world
        self.name = f"machine{number}"
        self.speed = speed
        self.clock_start = 1_000.0 * number
        self.wall_ahead = wall_ahead
        self.wanted = True
        self.disk_fails = False
        self.disk = world.disks.disk(self.name)
        self._number = number
        self._addresses = 0
        self.run: MachineRun | None = None
        self._graveyard: list[MachineRun] = []
        self.config = self._next_config() if config is None else config

    def _next_config(self) -> Config:
        """Returns a configuration with addresses that no machine had before."""
        port = 100 * self._addresses + self._number
        self._addresses += 1
        addr, peer_addr = f"127.0.0.1:{10_000 + port}", f"127.0.0.1:{20_000 + port}"
        return Config(name=self.name, profile=self.world.settings.profile, addr=addr, peer_addr=peer_addr)

    # What it is

    @property
    def process(self) -> Process | None:
        """The process that runs, or C{None}."""
        return None if self.run is None else self.run.process

    @property
    def replica(self) -> Replica | None:
        """Its replica while a process runs, or C{None}."""
        return None if self.run is None else self.run.replica

    @property
    def is_first(self) -> bool:
        """Whether it begins a new cluster when it finds nothing on its disk."""
        return self._number == 0

    @property
    def is_up(self) -> bool:
        """Whether a process runs and was not told to stop."""
        return self.run is not None and not self.run.stopping

    def wall_clock(self) -> float:
        """Returns its time of day, in seconds since the epoch."""
        return EPOCH + self.wall_ahead + self.world.schedule.now * self.speed

    async def initial_cluster(self) -> InitialCluster | None:
        """Returns the configured list of first machines."""
        return self.config.initial_cluster

    async def find(self, _name: str) -> list[str]:
        """Returns the peer URLs of the machines that came before this one."""
        return [each.config.peer_url for each in list(self.world.machines.values())[: self._number]]

    async def find_again(self, _name: str) -> list[str]:
        """Returns the peer URLs of all other machines."""
        return [each.config.peer_url for each in self.world.machines.values() if each is not self]

    # What its users do

    def put(self, key: str, value: str, ttl_seconds: int | None = None) -> "Deferred[Event]":
        """
        Set a key through this machine, which has to lead.

        @return: see L{etcd_twisted.interfaces.IReplica.propose}. It fails with a
            L{etcd_twisted.errors.RequestDroppedError} if another machine leads.
        """
        replica = self._get_running().replica
        expires = None if ttl_seconds is None else replica.now() + ttl_seconds * MICROSECONDS_PER_SECOND
        return replica.propose(Set(key, replica.now(), value, expires=expires))

    def get(self, key: str) -> str:
        """
        Read a key in this machine's copy, which may be behind others.

        @raise EtcdError: there is no such key.
        """
        replica = self._get_running().replica
        node = replica.get(key)
        if not isinstance(node, File):
            raise EtcdError(ErrorCode.NOT_A_FILE, key, replica.index)
        return node.value

    def _get_running(self) -> MachineRun:
        if self.run is None:
            raise RuntimeError(f"{self.name} is down")
        return self.run

    # Its processes

    def start(self) -> None:
        """Start a process, unless one runs. It begins when the cluster runs."""
        self.wanted = True
        if self.run is not None:
            return
        self.disk.repair()
        self.disk.died = self._died
        running = self.run = self._make_run()
        self.world.tell(f"{self.name} starts")
        running.process.after(0, "start", self._begin, running)

    def launch(self) -> "Deferred[None]":
        """
        Start a process, where none runs.

        @return: fires when it serves or stands by, and fails with the reason if it does not start.
        """
        self.start()
        return self._get_running().started.wait()

    def _make_run(self) -> MachineRun:
        return MachineRun(self)

    def _begin(self, running: MachineRun) -> None:
        running.listen()
        if running.workers is not None:
            running.workers.start()
        running.starting = ensureDeferred(self._live(running))
        running.starting.addErrback(self._not_started, running)

    async def _live(self, running: MachineRun) -> None:
        await self._enter(running, running.open(self.disk.path, self.config.force))
        self.world.tell(f"{self.name} {'stands by' if running.replica.standby else 'serves'}")
        running.started.fire()

    async def _enter(self, running: MachineRun, storage: Storage) -> None:
        """Returns when it serves or stands by."""
        await running.lifecycle.begin(storage, running.disk_thread)  # type: ignore[arg-type]  # all of it that is used
        await running.lifecycle.when_serving()

    def _not_started(self, failure: Failure, running: MachineRun) -> None:
        error = failure.value
        if not isinstance(error, Exception) or running is not self.run:  # a L{CrashError} is none
            return
        if running.stopping and failure.check(CancelledError, EtcdError):
            running.started.fail(error)
            return
        damaged = failure.check(StorageError) is not None
        if not self.disk_fails and (damaged or not failure.check(StartError)):
            self.world.broken(error)
            return
        self.world.tell(f"{self.name} does not start: {failure.getErrorMessage()}")
        self.crash()
        running.started.fail(error)

    def disk_failed(self, reason: str) -> None:
        """Called when the replica can't go on: the process ends."""
        if not self.disk_fails:
            self.world.broken(MachineFailedError(f"{self.name} can't go on: {reason}"))
            return
        running = self.run
        if running is not None:
            running.process.after(0, "end", self.crash)

    def _died(self) -> None:
        """Called when it has crashed in the middle of a change of its disk."""
        running = self.run
        if running is not None:
            self.world.schedule.after(0, None, "crash", self._finish_crash, running)
            running.process.alive = False

    def _finish_crash(self, running: MachineRun) -> None:
        if self.run is running:
            self.crash()

    def crash(self) -> None:
        """End the process as a loss of power does: a part of what was not synced is lost."""
        running = self._end()
        if running is None:
            return
        self.world.tell(f"{self.name} has crashed")
        if not self.disk.dead:
            running.disk_thread.crash()
        self.world.disks.crash(self.disk)
        self._restart()

    def _end(self) -> MachineRun | None:
        running, self.run = self.run, None
        if running is None:
            return None
        self._graveyard.append(running)
        running.end()
        self.world.ended(running.process)
        return running

    def _restart(self) -> None:
        if self.world.settings.supervised:
            delay = self.world.schedule.random.uniform(0.5, 2.0) * _RESTART_SECONDS
            self.world.schedule.after(delay, None, "supervisor", self._supervise)

    def _supervise(self) -> None:
        if self.wanted:
            self.start()

    def stop(self) -> None:
        """Tell the process to stop, as C{SIGTERM} does, whatever it is doing. It ends when the cluster advances."""
        running = self.run
        if running is None or running.starting is None or running.stopping:
            return
        running.stopping = True
        self.world.tell(f"{self.name} is told to stop")
        running.process.after(0, "stop", self._stop, running)

    def _stop(self, running: MachineRun) -> None:
        if running.starting is not None:
            running.starting.cancel()
        stopped = ensureDeferred(self._end_in_order(running))
        stopped.addCallbacks(self._stopped, self._not_stopped, callbackArgs=(running,))

    @staticmethod
    async def _end_in_order(running: MachineRun) -> None:
        """End a process as L{etcd_twisted.service.EtcdService} does."""
        running.lifecycle.stop()
        await running.participation.hand_over()
        await running.http_ports.close()
        if running.workers is not None:
            await running.workers.stop()
        await running.participation.stop()
        running.transport.connect({})
        await running.disk_thread.stop()
        if running.storage is not None:
            running.storage.close()

    def _stopped(self, _: Any, running: MachineRun) -> None:
        if running is self.run:
            self._end()
            self.world.disks.close_all(self.disk)
            self.world.tell(f"{self.name} has stopped")
            self._restart()

    def _not_stopped(self, failure: Failure) -> None:
        if not failure.check(CrashError) and not self.disk_fails:
            self.world.broken(failure.value)

    def pause(self) -> None:
        """Have nothing reach the process, while its clock goes on, until L{resume}."""
        if self.process is not None:
            self.process.pause()

    def resume(self) -> None:
        """Have the process go on after L{pause}."""
        if self.process is not None:
            self.process.resume()

    def fail_disk(self, changes: int = 0) -> None:
        """
        Have the disk fail, until L{mend_disk}. The process ends then, as a real one does.

        @param changes: how many changes succeed before.
        """
        self.disk_fails = True
        self.disk.changes_until_failure = changes

    def mend_disk(self) -> None:
        """Crash, if the process still runs; the next process finds a disk that works."""
        self.crash()
        self.disk_fails = False

    def move(self) -> None:
        """Crash; the next process has the same disk, and other addresses."""
        self.crash()
        self.config = self._next_config()

    def erase(self) -> None:
        """Lose the disk; the next process finds an empty one."""
        self.crash()
        self.world.disks.erase(self.disk)

    def bury(self) -> None:
        """End what runs, and forget all processes that ever ran."""
        self.wanted = False
        self._end()
        self.world.disks.close_all(self.disk)
        for running in self._graveyard:
            if running.workers is not None:
                running.workers.end()
        self._graveyard.clear()
