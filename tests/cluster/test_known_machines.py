"""
Tests of which machines a machine lists while it knows no leader (spec, section 2): those that it knew last.
"""

from twisted.internet.defer import Deferred, ensureDeferred

from etcd_twisted.consensus.participation import Participation
from etcd_twisted.interfaces.cluster import fingerprint
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from tests.cluster.machines import SYNC_INTERVAL_SECONDS, LifecycleMachine, LifecycleTestCase


class KnownMachinesTest(LifecycleTestCase):
    def assert_knows(self, machine: LifecycleMachine, *others: LifecycleMachine) -> None:
        """Asserts which machines it knows, by name, and by the ids that clients are shown."""
        expected = [each.machine for each in others]
        replica = machine.replica
        self.assertIsNone(replica.leader())
        self.assertEqual(replica.machines(), expected)
        ids = {fingerprint(each.identity["cluster_id"], each.identity["machine_id"]): each.machine for each in others}
        self.assertEqual(replica.shown_members(), ids)
        self.assertEqual(replica.cluster_id, others[0].identity["cluster_id"])

    def crash_all(self) -> None:
        for machine in self.group.running:
            machine.crash()


class RestartedTests(KnownMachinesTest):
    """Tests of a machine that comes back and finds no other."""

    def test_restarted_machine_knows_others_from_its_log(self) -> None:
        """
        There is no snapshot, and nothing says which part of the log is committed (spec, "Other client endpoints").
        """
        three = self.three()
        self.crash_all()
        three[1].launch()
        self.group.advance(5.0)
        self.assert_knows(three[1], *three)

    def test_restarted_machine_knows_others_from_its_snapshot(self) -> None:
        """One of the machines that the snapshot knows has moved since."""
        self.group.change(snapshot_count=10)
        three = self.three()
        for number in range(30):
            self.group.result_of(self.group.leader.set(f"/{number}"))
        self.group.settle()
        moved = self.group.followers[0]
        moved.stop()
        moved.configure(port=9, name=moved.machine.name)
        self.group.result_of(moved.launch())
        self.group.settle()
        self.crash_all()
        other = next(each for each in three if each is not moved)
        other.launch()
        self.group.advance(5.0)
        self.assert_knows(other, *three)

    def test_restarted_machine_knows_others_while_it_reads(self) -> None:
        """
        The machine knows the others as soon as it reads the newest configuration on the disk, and not only when it has
        read everything.
        """
        three = self.three()
        for number in range(300):  # a record each, some of which are read in a turn
            self.group.result_of(self.group.leader.set(f"/{number}"))
        self.group.settle()
        self.crash_all()
        reading = three[0]
        seen: list[int] = []

        def look(participation: Participation) -> "Deferred[None]":
            seen.append(len(participation.replica.machines()) if participation.member is None else 0)
            return turn(participation)

        turn = Participation.turn
        self.patch(Participation, "turn", look)
        reading.launch()
        self.group.advance(1.0)
        self.assertIn(3, seen)

    def test_joined_machine_knows_others_before_it_has_a_log(self) -> None:
        """The machine lists those that the leader knew, and itself."""
        first, second, _ = self.three()
        self.group.result_of(
            self.group.leader.replica.configure(ClusterConfig(4, sync_interval_seconds=SYNC_INTERVAL_SECONDS))
        )
        joining = self.add(first, second)
        self.assertEqual(joining.replica.machines(), [])
        starting = joining.launch()
        self.group.advance_until(lambda: joining.replica.machines() != [])
        self.assertIsNone(joining.replica.leader())
        names = ["machine1", "machine2", "machine3", "machine4"]
        self.assertEqual([each.name for each in joining.replica.machines()], names)
        self.assertEqual(len(joining.replica.shown_members()), 4)
        self.group.result_of(starting)


class StandbyTests(KnownMachinesTest):
    """Tests of a machine that has no copy of the data."""

    def test_standby_that_lost_its_leader_knows_the_others(self) -> None:
        """
        The standby redirects nobody to a leader that does not answer, and lists the machines that it knew; then it
        finds the next leader soon.
        """
        three = self.three()
        standby = self.start(three[0])
        self.crash_all_but(standby)
        self.group.advance_until(lambda: standby.replica.leader() is None, 2 * SYNC_INTERVAL_SECONDS)
        self.assert_knows(standby, *three)
        for machine in three:
            machine.launch()
        self.group.await_leader()
        self.group.advance_until(lambda: standby.replica.leader() is not None, 2.0)
        self.assertTrue(standby.replica.standby)

    def crash_all_but(self, staying: LifecycleMachine) -> None:
        for machine in self.group.running:
            if machine is not staying:
                machine.crash()

    def test_removed_machine_that_comes_back_alone_knows_others(self) -> None:
        """As far as it knows, it may still be a member of the cluster."""
        self.group.change(defaults=ClusterConfig(active_size=3, sync_interval_seconds=60.0))
        three = self.three()
        gone = self.group.followers[0]
        self.group.result_of(self.group.leader.replica.remove(gone.machine.name))
        self.group.advance_until(lambda: gone.replica.standby)
        self.crash_all()
        gone.launch()
        self.group.advance(5.0)
        self.assertIsNone(gone.replica.leader())
        self.assertLessEqual(2, len(gone.replica.machines()))
        self.assertLessEqual({each.name for each in gone.replica.machines()}, {each.machine.name for each in three})

    def test_standby_notifies_those_that_wait_for_a_leader(self) -> None:
        """A request for the leader is answered as soon as there is one."""
        three = self.three()
        standby = self.start(three[0])
        self.group.result_of(ensureDeferred(standby.participation.lose_leader()))
        led = standby.replica.when_led()
        self.group.advance(0.1)
        self.assertNoResult(led)
        self.group.result_of(led)
        self.assertEqual(standby.replica.leader(), self.group.leader.machine)
