"""
Tests of L{etcd_twisted.consensus.background.founder}: what a new cluster decides for good.
"""

from etcd_twisted.consensus.raft.entries import EntryKind
from etcd_twisted.keyspace.commands import CreateInOrder, PadInOrderKeys, decode_command
from tests.consensus.cluster import Cluster, ClusterMachine, ClusterTestCase
from tests.logs.lines import Log


class FounderTests(ClusterTestCase):
    """Each machine has a setting of its own, and the cluster one for all of them."""

    def started(self, cluster: Cluster, *pads: bool) -> list[ClusterMachine]:
        """Starts a machine for each setting, one after the other."""
        machines = [self.start(cluster, cluster.add(), each) for each in pads]
        cluster.advance_until(lambda: not cluster.leader.raft.configuration.learners)
        cluster.settle()
        return machines

    def start(self, cluster: Cluster, machine: ClusterMachine, pads: bool) -> ClusterMachine:
        """Starts a machine with this setting."""
        name = f"machine{machine.number}"
        machine.configure(machine.number, name, in_order_keys="padded" if pads else "plain")
        cluster.result_of(machine.launch())
        return machine

    def created(self, cluster: Cluster, machine: ClusterMachine | None = None) -> str:
        """Returns the name of a new in-order key, which a machine makes or has the leader make."""
        replica = (machine or cluster.leader).replica
        command = CreateInOrder("/q", replica.now())
        event = cluster.result_of(replica.propose(command) if replica.is_leader else replica.forward(command))
        return str(event.result.node.key.removeprefix("/q/"))

    def test_first_machine_decides(self) -> None:
        """All machines name in-order keys alike, however they are set, and after another one leads."""
        for first in (False, True):
            cluster = self.cluster()
            machines = self.started(cluster, first, not first, not first)
            for machine in machines:
                name = self.created(cluster, machine)
                self.assertEqual(name, f"{machine.replica.index:020}" if first else str(machine.replica.index))
            cluster.leader.stop()
            name = self.created(cluster, cluster.await_leader())
            self.assertEqual(len(name) == 20, first)
            self.assertSame(cluster)

    def test_decision_is_first_in_the_log(self) -> None:
        """It is there before a client can change anything, and takes no index of the key space."""
        cluster = self.cluster()
        (machine,) = self.started(cluster, True)
        self.assertEqual(machine.replica.index, 1)
        self.created(cluster)
        log = machine.raft.log
        commands = [e for e in log.between(1, log.last_index + 1) if e.kind is EntryKind.COMMAND]
        self.assertEqual([type(decode_command(each.data)) for each in commands], [PadInOrderKeys, CreateInOrder])

    def test_decision_is_made_once(self) -> None:
        """A cluster that has a command in its log, or a snapshot, keeps what it has."""
        for snapshot_count in (None, 5):
            for first in (False, True):
                cluster = self.cluster(snapshot_count=snapshot_count)
                (machine,) = self.started(cluster, first)
                for _ in range(12):
                    name = self.created(cluster)
                machine.stop()
                self.start(cluster, machine, not first)
                self.assertEqual(len(self.created(cluster)), len(name))

    def test_machine_learns_it_from_a_snapshot(self) -> None:
        cluster = self.cluster(snapshot_count=5)
        self.started(cluster, True)
        for _ in range(12):
            self.created(cluster)
        (late,) = self.started(cluster, False)
        self.assertGreater(late.raft.log.snapshot_index, 0)
        self.assertEqual(len(self.created(cluster, late)), 20)
        self.assertSame(cluster)

    def test_machine_warns_of_what_it_can_not_decide(self) -> None:
        """There is one warning for each start of a machine that is set otherwise than its cluster."""
        for first, second in ((False, False), (True, True), (False, True), (True, False)):
            log = Log(self)
            cluster = self.cluster()
            machines = self.started(cluster, first, second)
            self.created(cluster)
            cluster.settle()
            words = {False: "plain", True: "padded"}
            expected = (
                f"In-order keys are {words[first]} in this cluster, and stay so, although this machine has"
                f" --in-order-keys {words[second]}"
            )
            for starts in (1, 2):
                told = [each for each in log.warnings if each.startswith("In-order keys")]
                self.assertEqual(told, [expected] * starts if first is not second else [])
                machines[1].stop()
                self.start(cluster, machines[1], second)
                cluster.settle()
