"""
Several replicas on simulated clocks, each with a real disk, and a simulated network between them that is never late.

Nothing happens but in L{Cluster.run}. A machine can be stopped in order, crash, and be started again on its directory.
"""

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.cluster.membership_check import MembershipCheck
from etcd_twisted.consensus.local_member import LocalMember, ReplicaSettings
from etcd_twisted.consensus.node import Node
from etcd_twisted.consensus.participation import Participation
from etcd_twisted.consensus.proposals.quota import QUOTA_BYTES
from etcd_twisted.consensus.raft.core import Raft
from etcd_twisted.consensus.raft.entries import Member
from etcd_twisted.consensus.raft.leader import Timing
from etcd_twisted.consensus.recovery import Recovered, come_back, enter_cluster, found_cluster, recover
from etcd_twisted.consensus.storage.data_directory import Identity
from etcd_twisted.consensus.storage.storage import Storage
from etcd_twisted.interfaces import IRaftPeer
from etcd_twisted.interfaces.cluster import PROTOCOL_VERSION, JoinRequest, Machine
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from etcd_twisted.keyspace.commands import Set
from etcd_twisted.keyspace.nodes import File
from etcd_twisted.keyspace.snapshot import dump
from etcd_twisted.testing.network import Weather
from etcd_twisted.testing.schedule import Process, Schedule
from etcd_twisted.testing.simulation import Simulation
from etcd_twisted.testing.transport import SimulatedPeers, SimulatedTransport
from etcd_twisted.testing.writer import PromptWriter
from tests.consensus.machine import START

CLUSTER_ID = "c" * 16
TIMING = Timing()

LATENCY = 0.001
"""How many seconds each message takes."""


class ClusterMachine:
    """
    A machine, and the process that runs on it just now.

    @ivar wall_ahead: how many seconds its time of day is ahead.
    @ivar fatal: why it could not go on.
    @ivar excluded: how often it was told that it is not of the cluster any more.
    """

    def __init__(self, cluster: "Cluster", number: int) -> None:
        self.cluster = cluster
        self.number = number
        self.id = f"{number:016x}"
        self.machine = Machine(f"machine{number}", f"http://clients:{4000 + number}", f"http://peers:{7000 + number}")
        self.path = cluster.path / self.machine.name
        self.wall_ahead = 0.0
        self.fatal: list[str] = []
        self.excluded = 0
        self.up = False
        self._asked: list[str] = []
        self._begin()

    def _begin(self) -> None:
        """A new process."""
        cluster = self.cluster
        self.process = Process(cluster.schedule, self.url, 0.0, 1.0)
        self.clock = self.process.clock
        self.host = cluster.network.host(self.url)
        self.disk = PromptWriter(self.process)
        self.participation = Participation(
            self.clock,
            lambda: START + cluster.schedule.now + self.wall_ahead,
            ReplicaSettings(
                cluster.history,
                snapshot_count=cluster.snapshot_count,
                quota_bytes=cluster.quota_bytes,
                timing=TIMING,
                defaults=cluster.defaults,
                seed=self.number,
                **cluster.limits,
            ),
        )
        self.replica = self.participation.replica
        self.participation.on_failure.append(self.fatal.append)
        self.participation.on_exclusion.append(self._note_excluded)
        self.replica.peer.on_claim.append(self._note_claimed)
        self.peers = SimulatedPeers(cluster.network, self.process)
        self.membership_check = MembershipCheck(self.clock, self.peers, self.replica.peer, self.url, self._known)
        self.transport = SimulatedTransport(
            cluster.network, self.process, self.host, self.replica.peer, lambda *_: None
        )

    def _note_excluded(self) -> None:
        self.excluded += 1

    def _note_claimed(self) -> None:
        self.membership_check.ask()

    def _known(self) -> list[str]:
        """Where others of the cluster are; a new machine knows whom it has asked to let it in."""
        return [machine.peer_url for machine in self.replica.machines()] or self._asked

    # What it is

    @property
    def url(self) -> str:
        """Where others reach it."""
        return self.machine.peer_url

    @property
    def peer(self) -> IRaftPeer:
        """As the network sees it."""
        return self.replica.peer

    @property
    def member(self) -> LocalMember:
        """Its part in the group."""
        member = self.participation._member
        assert member is not None
        return member

    @property
    def node(self) -> Node:
        """What runs its core."""
        return self.member._node

    @property
    def raft(self) -> Raft:
        """Its core."""
        return self.member.raft

    @property
    def leads(self) -> bool:
        """Whether it leads, as far as it knows."""
        return self.up and self.replica.is_leader

    def value(self, key: str) -> str:
        """What a key holds in its copy."""
        node = self.replica.get(key)
        assert isinstance(node, File)
        return node.value

    def dumped(self) -> bytes:
        """Its whole copy."""
        return b"".join(dump(self.replica.keyspace.state()))

    # What it does

    def set(self, key: str, value: str = "", expires: int | None = None) -> "Deferred[Any]":
        """Propose a change."""
        return self.replica.propose(Set(key, self.replica.now(), value, False, expires))

    def request(self, **changes: Any) -> JoinRequest:
        """How it asks to be taken in."""
        fields: dict[str, Any] = {
            "version": PROTOCOL_VERSION,
            "machine_id": self.id,
            "cluster_id": "",
            "name": self.machine.name,
            "client_url": self.machine.client_url,
            "peer_url": self.machine.peer_url,
        }
        return JoinRequest(**(fields | changes))

    def start(self) -> "Deferred[None]":
        """Start the process; fires when it serves. Who comes first has the port."""
        self.up = True
        if not self.host.up:
            self.host.process, self.host.peer = self.process, self.peer
        return ensureDeferred(self._start())

    async def _start(self) -> None:
        self.storage = Storage.open(self.path, "--data-dir")
        recovered = await recover(self.storage, self.replica.keyspace, None, self.participation.turn)
        if recovered.identity is None:
            await self._become_member(recovered)
        else:
            come_back(self.storage, recovered)
        self.participation.start(self.machine, self.storage, self.disk, recovered, self.transport)
        await self.replica.when_serving()

    async def _become_member(self, recovered: Recovered) -> None:
        identity = Identity(self.machine.name, self.id, CLUSTER_ID)
        member = Member(self.machine.name, self.machine.client_url, self.machine.peer_url)
        if self.number == 1:
            found_cluster(self.storage, recovered, identity, member)
        else:
            leader = self.cluster.leader
            self._asked = [leader.url]
            await leader.replica.peer.join(self.request())
            enter_cluster(self.storage, recovered, identity)

    def begin_to_stop(self) -> "Deferred[None]":
        """Stop in order; fires when that is done."""
        return ensureDeferred(self._stop())

    async def _stop(self) -> None:
        await self.participation.stop()
        while self.disk.jobs:  # a writer that is stopped does what it was given
            self.disk.run_one()
        self.close_files()
        self._end()

    def close_files(self) -> None:
        """Give the directory back."""
        self.storage.close()

    def stop(self) -> None:
        """Stop in order."""
        self.cluster.finish(self.begin_to_stop())

    def crash(self) -> None:
        """End as a killed process does: what was not synced is lost, nothing is tidied up."""
        self.disk.jobs.clear()
        self.close_files()
        self._end()

    def _end(self) -> None:
        self.up = False
        self.process.end()
        if self.host.process is self.process:
            self.host.process = self.host.peer = None
            self.host.visitors.clear()
        self.cluster.network.break_connections(self.url)

    def restart(self) -> "Deferred[None]":
        """Start a new process where one has ended."""
        assert not self.up
        self._begin()
        return self.start()


class Cluster(Simulation):
    """
    All machines.

    @ivar snapshot_count: for machines that begin from now on.
    """

    def __init__(
        self,
        path: Path,
        snapshot_count: int | None = None,
        history: int = 1_000,
        defaults: ClusterConfig = ClusterConfig(),  # noqa: B008  # it is frozen
        quota_bytes: int = QUOTA_BYTES,
        **limits: int,
    ) -> None:
        """
        @param limits: further fields of L{ReplicaSettings}.
        """
        self.path = path
        self.limits = limits
        self.quota_bytes = quota_bytes
        self.snapshot_count = snapshot_count
        self.history = history
        self.defaults = defaults
        super().__init__(Schedule(0, lateness_seconds=0.0), Weather(latency=LATENCY, spread=(1.0, 1.0), kept=0.0))
        self.network.prompt = True
        self.network.reconnect_seconds = 0.02
        self.network.refused_seconds = 0.5
        self.network.answer_seconds = 5.0
        self.machines: list[ClusterMachine] = []

    def add(self) -> ClusterMachine:
        """A machine that is not started yet."""
        machine = ClusterMachine(self, len(self.machines) + 1)
        self.machines.append(machine)
        return machine

    def start(self, count: int) -> list[ClusterMachine]:
        """Start so many machines, one after the other, and let all of them vote."""
        started = [self.start_one() for _ in range(count)]
        self.run_until(lambda: self.leader.raft.configuration.learners == ())
        self.settle()
        return started

    def start_one(self) -> ClusterMachine:
        """Add a machine, start it, and wait until it serves."""
        machine = self.add()
        self.finish(machine.start())
        return machine

    @property
    def up(self) -> list[ClusterMachine]:
        """Those that run."""
        return [machine for machine in self.machines if machine.up]

    @property
    def leader(self) -> ClusterMachine:
        """The one that leads; of several the one with the highest term."""
        leading = [machine for machine in self.up if machine.leads]
        assert leading, "no machine leads"
        return max(leading, key=lambda machine: machine.replica.term)

    @property
    def has_leader(self) -> bool:
        """Whether one leads."""
        return any(machine.leads for machine in self.up)

    def await_leader(self) -> ClusterMachine:
        """Wait until one leads."""
        self.run_until(lambda: self.has_leader)
        return self.leader

    @property
    def followers(self) -> list[ClusterMachine]:
        """All others that run."""
        leader = self.leader
        return [machine for machine in self.up if machine is not leader]

    # Time

    run = Simulation.advance
    run_until = Simulation.advance_until
    finish = Simulation.result_of

    def settle(self) -> None:
        """Let all machines that run and reach each other come to the same."""
        self.run_until(lambda: len({machine.replica.raft_index for machine in self.up}) == 1)
        self.run(0.2)

    def stop(self) -> None:
        """Stop all that run."""
        for machine in self.up:
            machine.stop()


class ClusterTestCase(SynchronousTestCase):
    """Makes clusters, and sees to it that nothing is left of them."""

    def cluster(self, **settings: Any) -> Cluster:
        """A new one, without machines."""
        cluster = Cluster(Path(self.mktemp()), **settings)
        cluster.path.mkdir()
        self.addCleanup(self._bury, cluster)
        return cluster

    def _bury(self, cluster: Cluster) -> None:
        for machine in cluster.up:
            machine.crash()
        cluster.run(LATENCY)
        self.assertEqual([reason for machine in cluster.machines for reason in machine.fatal], [])
        self.assertEqual([event.kind for event in cluster.schedule.pending()], [])

    def assertSame(self, cluster: Cluster) -> None:
        """All copies are the same."""
        cluster.settle()
        self.assertEqual(len({machine.dumped() for machine in cluster.up}), 1)

    def lose_leader(self, cluster: Cluster) -> ClusterMachine:
        """Cut the leader off, and wait for another one."""
        leader = cluster.leader
        cluster.network.isolate(leader.url)
        cluster.run_until(lambda: any(each.leads for each in cluster.up if each is not leader))
        return leader
