"""
Machines of one group with real disks, which work at once, and a network that is never late.

The objects of each process are put together by L{etcd_twisted.testing.simulation.machine.MachineRun}. How a machine
becomes a member is decided here, and not by its L{etcd_twisted.cluster.lifecycle.Lifecycle}: it has an id that tests
know, and does nothing about its membership of itself.
"""

from pathlib import Path
from typing import Any

import attrs
import msgspec
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.config import Config
from etcd_twisted.config.addresses import Address
from etcd_twisted.consensus.local_member import LocalMember
from etcd_twisted.consensus.node import Node
from etcd_twisted.consensus.participation import Participation
from etcd_twisted.consensus.raft.core import Raft
from etcd_twisted.consensus.raft.entries import Member
from etcd_twisted.consensus.raft.leader import Timing
from etcd_twisted.consensus.recovery import come_back, enter_cluster, found_cluster, recover
from etcd_twisted.consensus.replica import Replica
from etcd_twisted.consensus.storage.data_directory import Identity
from etcd_twisted.consensus.storage.storage import Storage
from etcd_twisted.interfaces import IRaftPeer
from etcd_twisted.interfaces.cluster import PROTOCOL_VERSION, JoinRequest, Machine
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from etcd_twisted.keyspace.commands import Set
from etcd_twisted.keyspace.snapshot import dump
from etcd_twisted.testing.simulation.cluster import SimulatedMachines
from etcd_twisted.testing.simulation.disk_threads import PromptDiskThread
from etcd_twisted.testing.simulation.disks import Disks
from etcd_twisted.testing.simulation.machine import MachineRun, SimulatedMachine
from etcd_twisted.testing.simulation.network import Weather
from etcd_twisted.testing.simulation.schedule import MachineClock, Process, Schedule
from etcd_twisted.testing.simulation.settings import Settings
from etcd_twisted.testing.simulation.transport import SimulatedPeers, SimulatedTransport

CLUSTER_ID = "c" * 16
TIMING = Timing()

LATENCY = 0.001
"""How many seconds each message takes."""


class ClusterMachine(SimulatedMachine):
    """
    A machine whose objects are there before its process starts, and after it has ended.

    @ivar latest: its latest process, or the next one before the first and after L{renew}.
    @ivar fatal: why it could not go on.
    @ivar excluded: how often it was told that it is not of the cluster any more.
    """

    def __init__(self, cluster: "Cluster", number: int, **settings: Any) -> None:
        super().__init__(cluster, number, config=_config(**({"port": number, "name": f"machine{number}"} | settings)))
        self.cluster = cluster
        self.number = number
        self.id = f"{number:016x}"
        self.fatal: list[str] = []
        self.excluded = 0
        self.renew()

    def configure(self, port: int, name: str | None, **settings: Any) -> None:
        """Set its name and addresses, and make the objects of its next process."""
        self.config = _config(port, name=name, **settings)
        self.renew()

    def renew(self) -> None:
        """Make the objects of its next process."""
        assert self.process is None
        self.disk_fails = False
        self.latest = super()._make_run()
        self.latest.participation.on_exclusion.insert(0, self._note_excluded)

    def _make_run(self) -> MachineRun:
        if not self.latest.process.alive:
            self.renew()
        return self.latest

    def _note_excluded(self) -> None:
        self.excluded += 1

    # What it is

    @property
    def machine(self) -> Machine:
        """How it is registered."""
        return Machine(self.config.name or "", self.config.client_url, self.config.peer_url)

    @property
    def url(self) -> str:
        """Where others reach it."""
        return self.config.peer_url

    @property
    def path(self) -> Path:
        """Its data directory."""
        return self.disk.path

    @property
    def clock(self) -> MachineClock:
        """The clock of its process."""
        return self.latest.process.clock

    @property
    def replica(self) -> Replica:
        """Its copy of the keys."""
        return self.latest.replica

    @property
    def participation(self) -> Participation:
        """What takes part in the cluster for it."""
        return self.latest.participation

    @property
    def transport(self) -> SimulatedTransport:
        """What it sends with."""
        return self.latest.transport

    @property
    def peers(self) -> SimulatedPeers:
        """How it asks others."""
        return self.latest.peers

    @property
    def disk_thread(self) -> PromptDiskThread:
        """What stands for its disk thread."""
        assert isinstance(self.latest.disk_thread, PromptDiskThread)
        return self.latest.disk_thread

    @property
    def storage(self) -> Storage:
        """Its files, while they are open."""
        assert self.latest.storage is not None
        return self.latest.storage

    @property
    def peer(self) -> IRaftPeer:
        """As the network sees it."""
        return self.replica.peer

    @property
    def member(self) -> LocalMember:
        """Its part in the group."""
        member = self.participation.member
        assert member is not None
        return member

    @property
    def node(self) -> Node:
        """What runs its core."""
        return self.member.node

    @property
    def raft(self) -> Raft:
        """Its core."""
        return self.member.raft

    @property
    def leads(self) -> bool:
        """Whether it leads, as far as it knows."""
        return self.process is not None and self.replica.is_leader

    def dumped(self) -> bytes:
        """Its whole copy."""
        return b"".join(dump(self.replica.keyspace.state()))

    # What it does

    def set(self, key: str, value: str = "", expires: int | None = None) -> "Deferred[Any]":
        """Propose a change."""
        return self.replica.propose(Set(key, self.replica.now(), value, False, expires))

    def request(self, **changes: Any) -> JoinRequest:
        """How it asks to be taken in."""
        machine = self.machine
        request = JoinRequest(PROTOCOL_VERSION, self.id, "", machine.name, machine.client_url, machine.peer_url)
        return msgspec.structs.replace(request, **changes)

    async def _enter(self, running: MachineRun, storage: Storage) -> None:
        running.participation.on_exclusion.remove(running.lifecycle.excluded)
        recovered = await recover(storage, running.replica.keyspace, None, running.participation.turn)
        machine, identity = self.machine, Identity(self.machine.name, self.id, CLUSTER_ID)
        if recovered.identity is not None:
            come_back(storage, recovered)
        elif self.number == 1:
            found_cluster(storage, recovered, identity, Member(machine.name, machine.client_url, machine.peer_url))
        else:
            leader = self.cluster.leader
            running.lifecycle.known.note([leader.url])
            await leader.peer.join(self.request())
            enter_cluster(storage, recovered, identity)
        running.participation.start(machine, storage, running.disk_thread, recovered, running.transport)  # type: ignore[arg-type]
        await running.replica.when_serving()

    def disk_failed(self, reason: str) -> None:
        """Note why it can't go on; it is the test that ends it."""
        self.fatal.append(reason)
        self.disk_fails = True

    def _stopped(self, result: Any, running: MachineRun) -> None:
        if left := self.clock.getDelayedCalls():
            self.world.broken(AssertionError(f"{self.name} has left {left} on its clock"))
        super()._stopped(result, running)

    def _end(self) -> MachineRun | None:
        running = super()._end()
        if running is not None and running.storage is not None:
            running.storage.close()  # the disk is a real one: nobody else unlocks it after a crash
        return running

    def stop(self) -> None:
        """Stop in order, and advance until that is done."""
        super().stop()
        self.cluster.advance_until(lambda: self.process is None)


def _config(port: int, **settings: Any) -> Config:
    given: dict[str, Any] = {
        "addr": Address("clients", 4000 + port),
        "peer_addr": Address("peers", 7000 + port),
        "sources": {"peers": "--peers"},
    }
    return Config(**(given | settings))


class Cluster(SimulatedMachines[ClusterMachine]):
    """All machines. The disks are as real as the files in C{path}: nothing is undone by a crash."""

    def __init__(
        self,
        path: Path,
        snapshot_count: int | None = None,
        history: int = 1_000,
        defaults: ClusterConfig = ClusterConfig(),  # noqa: B008  # it is frozen
        **limits: Any,
    ) -> None:
        """
        @param limits: see L{Settings}.
        """
        settings = Settings(TIMING, defaults, history, snapshot_count, limits=limits, disk_thread=PromptDiskThread)
        schedule = Schedule(0, lateness_seconds=0.0)
        weather = Weather(latency=LATENCY, spread=(1.0, 1.0), kept=0.0)
        super().__init__(schedule, Disks(schedule.random, path), settings, weather)
        self.network.prompt = True
        self.network.reconnect_seconds = 0.02
        self.network.refused_seconds = 0.5
        self.network.answer_seconds = 5.0

    def ended(self, process: Process) -> None:
        """See L{etcd_twisted.testing.simulation.machine.World}. Others notice it at once."""
        self.network.break_connections(process.name)

    def change(self, **settings: Any) -> None:
        """Change L{Settings} for machines that begin from now on."""
        self.settings = attrs.evolve(self.settings, **settings)

    def add(self) -> ClusterMachine:
        """A machine that is not started yet."""
        return self.include(ClusterMachine(self, len(self.machines) + 1))

    def start(self, count: int) -> list[ClusterMachine]:
        """Start so many machines, one after the other, and let all of them vote."""
        started = [self.start_one() for _ in range(count)]
        self.advance_until(lambda: self.leader.raft.configuration.learners == ())
        self.settle()
        return started

    def start_one(self) -> ClusterMachine:
        """Add a machine, start it, and wait until it serves."""
        machine = self.add()
        self.result_of(machine.launch())
        return machine

    @property
    def leader(self) -> ClusterMachine:
        """The one that leads; of several the one with the highest term."""
        leading = [machine for machine in self.running if machine.leads]
        assert leading, "no machine leads"
        return max(leading, key=lambda machine: machine.replica.term)

    @property
    def has_leader(self) -> bool:
        """Whether one leads."""
        return any(machine.leads for machine in self.running)

    def await_leader(self) -> ClusterMachine:
        """Wait until one leads."""
        self.advance_until(lambda: self.has_leader)
        return self.leader

    @property
    def followers(self) -> list[ClusterMachine]:
        """All others that run."""
        leader = self.leader
        return [machine for machine in self.running if machine is not leader]

    def settle(self) -> None:
        """Let all machines that run and reach each other come to the same."""
        self.advance_until(lambda: len({machine.replica.raft_index for machine in self.running}) == 1)
        self.advance(0.2)


class ClusterTestCase(SynchronousTestCase):
    """Makes clusters, and sees to it that nothing is left of them."""

    def cluster(self, **settings: Any) -> Cluster:
        """A new one, without machines."""
        path = Path(self.mktemp())
        path.mkdir()
        cluster = Cluster(path, **settings)
        self.addCleanup(self._bury, cluster)
        return cluster

    def _bury(self, cluster: Cluster) -> None:
        for machine in cluster.machines.values():
            machine.crash()
        cluster.advance(LATENCY)
        self.assertEqual([reason for machine in cluster.machines.values() for reason in machine.fatal], [])
        self.assertEqual([event.kind for event in cluster.schedule.pending()], [])

    def assertSame(self, cluster: Cluster) -> None:
        """All copies are the same."""
        cluster.settle()
        self.assertEqual(len({machine.dumped() for machine in cluster.running}), 1)

    def lose_leader(self, cluster: Cluster) -> ClusterMachine:
        """Cut the leader off, and wait for another one."""
        leader = cluster.leader
        cluster.network.isolate(leader.name)
        cluster.advance_until(lambda: any(each.leads for each in cluster.running if each is not leader))
        return leader
