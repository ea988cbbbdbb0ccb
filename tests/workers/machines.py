"""
Machines with workers, in memory.
"""

from typing import Any

from etcd_twisted.keyspace.snapshot import dump
from etcd_twisted.testing.simulation.workers import SimulatedWorker
from etcd_twisted.workers.replica import WorkerReplica
from tests.consensus.cluster import Cluster, ClusterMachine, ClusterTestCase

WORKERS = 2
"""How many workers each machine has."""


def workers_of(machine: ClusterMachine) -> list[SimulatedWorker]:
    """Those that serve."""
    assert machine.latest.workers is not None
    return machine.latest.workers.loaded


def dumped(replica: WorkerReplica) -> bytes:
    """The whole copy of a worker."""
    return b"".join(dump(replica.keyspace.state()))


class WorkerTestCase(ClusterTestCase):
    """Tests of machines with workers."""

    def cluster(self, **settings: Any) -> Cluster:
        group = super().cluster(**settings)
        group.change(workers=WORKERS)
        return group

    def is_fed(self, group: Cluster) -> bool:
        """Whether each worker has what its machine has."""
        return all(
            len(workers_of(machine)) == WORKERS
            and all(each.replica.raft_index == machine.replica.raft_index for each in workers_of(machine))
            for machine in group.running
        )

    def feed(self, group: Cluster) -> None:
        """Let all workers come to where their machines are, and compare."""
        group.advance_until(lambda: self.is_fed(group))
        group.advance(0.01)
        self.assertTrue(self.is_fed(group))
        for machine in group.running:
            for worker in workers_of(machine):
                self.compare(worker.replica, machine)

    def compare(self, ours: WorkerReplica, machine: ClusterMachine) -> None:
        """Check that a worker is as its machine."""
        theirs = machine.replica
        self.assertEqual(dumped(ours), machine.dumped())
        for name in ("is_leader", "serving", "standby", "cluster_id", "name", "term", "index", "raft_index", "auth"):
            self.assertEqual(getattr(ours, name), getattr(theirs, name), name)
        for name in ("indexes", "leader", "members", "machines", "shown_members", "cluster_config", "forbidden"):
            self.assertEqual(getattr(ours, name)(), getattr(theirs, name)(), name)
        self.assertLessEqual(abs(ours.now() - theirs.now()), 1_000)  # trial's assertAlmostEqual has no delta
        self.assertAlmostEqual(ours.led_seconds, theirs.led_seconds)
