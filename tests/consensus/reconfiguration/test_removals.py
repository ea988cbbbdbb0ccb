"""
Tests of machines that are removed, by an administrator or by the leader itself (spec, section 3, "Standby").
"""

from etcd_twisted.consensus.raft.leader import Timing
from etcd_twisted.consensus.reconfiguration.liveness import ALIVE_SECONDS
from etcd_twisted.errors import ErrorCode, EtcdError, RequestDroppedError
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from tests.consensus import cluster as module
from tests.consensus.reconfiguration.cases import MembersTestCase


class RemoveTests(MembersTestCase):
    def test_follower_is_removed(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        gone = cluster.followers[0]
        cluster.result_of(cluster.leader.replica.remove(gone.machine.name))
        self.assertNotIn(gone.id, cluster.leader.raft.configuration)
        self.assertNotIn(gone.id, cluster.leader.transport.connected)
        gone.crash()
        cluster.followers[0].crash()  # one of two is no quorum
        answer = cluster.leader.set("/a")
        cluster.advance(2.0)
        self.failureResultOf(answer, EtcdError)

    def test_removal_of_an_unknown_machine_is_refused(self) -> None:
        cluster = self.cluster()
        cluster.start(2)
        answer = cluster.leader.replica.remove("nobody")
        self.assertRefused(cluster, answer, ErrorCode.KEY_NOT_FOUND, "nobody")

    def test_leader_is_removed(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        gone = cluster.leader
        cluster.result_of(gone.replica.remove(gone.machine.name))
        cluster.await_leader()
        self.assertIsNot(cluster.leader, gone)
        self.assertEqual(self.voters(cluster), {each.id for each in cluster.running if each is not gone})

    def test_leader_of_two_is_removed(self) -> None:
        cluster = self.cluster()
        cluster.start(2)
        gone, left = cluster.leader, cluster.followers[0]
        cluster.result_of(gone.replica.remove(gone.machine.name))
        cluster.await_leader()
        self.assertIs(cluster.leader, left)
        self.assertEqual(self.voters(cluster), {left.id})
        cluster.result_of(left.set("/a"))

    def test_removal_of_the_last_machine_is_refused(self) -> None:
        cluster = self.cluster()
        cluster.start(1)
        answer = cluster.leader.replica.remove("machine1")
        self.assertRefused(cluster, answer, ErrorCode.RAFT_INTERNAL, "too few")

    def test_removal_that_leaves_no_quorum_is_refused(self) -> None:
        cluster = self.cluster()
        cluster.start(5)
        dead, alive = cluster.followers[:2], cluster.followers[2:]
        for machine in dead:
            machine.crash()
        cluster.advance(ALIVE_SECONDS + 0.1)
        answer = cluster.leader.replica.remove(alive[0].machine.name)  # two of four would be left
        self.assertRefused(cluster, answer, ErrorCode.RAFT_INTERNAL, "too few machines are alive")
        for machine in (*dead, alive[0]):
            cluster.result_of(cluster.leader.replica.remove(machine.machine.name))
        self.assertEqual(len(self.voters(cluster)), 2)

    def test_two_removals_go_one_after_the_other(self) -> None:
        cluster = self.cluster()
        cluster.start(5)
        names = [machine.machine.name for machine in cluster.followers[:2]]
        for answer in [cluster.leader.replica.remove(name) for name in names]:
            cluster.result_of(answer)
        self.assertEqual(len(self.voters(cluster)), 3)

    def test_same_machine_is_removed_twice(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        name = cluster.followers[0].machine.name
        first, second = cluster.leader.replica.remove(name), cluster.leader.replica.remove(name)
        cluster.result_of(first)
        self.assertRefused(cluster, second, ErrorCode.KEY_NOT_FOUND, name)

    def test_lost_leader_can_not_know_the_outcome_of_a_removal(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        leader, gone = cluster.leader, cluster.followers[0]
        cluster.network.isolate(leader.name)
        answer = leader.replica.remove(gone.machine.name)
        cluster.advance(2.0)
        self.assertIn("unknown", self.failureResultOf(answer, EtcdError).value.cause)
        self.assertIn(gone.id, self.voters(cluster))

    def test_leader_whose_removal_is_overwritten_knows_the_outcome(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        leader, gone = cluster.leader, cluster.followers[0]
        cluster.network.isolate(leader.name)
        answer = leader.replica.remove(gone.machine.name)
        cluster.advance_until(lambda: any(each.leads for each in cluster.running if each is not leader))
        cluster.result_of(cluster.leader.set("/a"))
        cluster.network.heal()
        cluster.advance(0.5)
        self.failureResultOf(answer, RequestDroppedError)
        self.assertIn(gone.id, leader.raft.configuration)
        self.assertIn(gone.id, leader.transport.connected)


class OfItselfTests(MembersTestCase):
    """Tests of what the leader does without being asked."""

    def test_machines_beyond_the_active_size_are_removed(self) -> None:
        """The machine that came last is removed first, and the leader stays (spec, "Standby")."""
        cluster = self.cluster()
        machines = cluster.start(5)
        leader = cluster.leader
        cluster.result_of(leader.replica.configure(ClusterConfig(active_size=3)))
        cluster.advance(2.0)
        self.assertIs(cluster.leader, leader)
        self.assertEqual(self.names(cluster), ["machine1", "machine2", "machine3"])
        for machine in machines[3:]:
            self.assertGreater(machine.excluded, 0)

    def test_silent_machine_is_removed_first(self) -> None:
        cluster = self.cluster()
        silent = cluster.start(5)[1]
        silent.crash()
        cluster.advance(ALIVE_SECONDS + 0.1)
        cluster.result_of(cluster.leader.replica.configure(ClusterConfig(active_size=3)))
        cluster.advance(2.0)
        self.assertEqual(self.names(cluster), ["machine1", "machine3", "machine4"])

    def test_machine_that_is_silent_for_too_long_is_removed(self) -> None:
        """
        A machine that is silent for longer than C{removeDelay} is removed (api, "Set Cluster Config"; spec,
        "Standby").
        """
        cluster = self.cluster(defaults=ClusterConfig(remove_delay_seconds=5.0))
        cluster.start(3)
        silent = cluster.followers[0]
        silent.crash()
        cluster.advance(4.9)
        self.assertIn(silent.id, self.voters(cluster))
        cluster.advance(0.4)
        self.assertNotIn(silent.id, self.voters(cluster))
        self.assertEqual(len(self.voters(cluster)), 2)

    def test_new_leader_gives_every_machine_the_whole_delay(self) -> None:
        cluster = self.cluster(defaults=ClusterConfig(remove_delay_seconds=5.0))
        cluster.start(5)
        silent = cluster.followers[0]
        silent.crash()
        cluster.advance(4.0)
        cluster.leader.crash()
        cluster.await_leader()
        cluster.advance(4.5)
        self.assertIn(silent.id, self.voters(cluster))
        cluster.advance(1.0)
        self.assertNotIn(silent.id, self.voters(cluster))

    def test_machine_without_which_there_is_no_quorum_stays(self) -> None:
        cluster = self.cluster(defaults=ClusterConfig(remove_delay_seconds=5.0))
        cluster.start(3)
        leader, (one, two) = cluster.leader, cluster.followers
        one.crash()
        two.crash()
        cluster.advance(20.0)
        self.assertEqual(len(leader.raft.configuration.voters), 3)
        cluster.result_of(one.launch(), 20.0)
        cluster.result_of(cluster.await_leader().set("/a"))

    def test_learner_that_never_comes_is_removed(self) -> None:
        cluster = self.cluster(defaults=ClusterConfig(remove_delay_seconds=5.0))
        cluster.start(2)
        cluster.result_of(self.join(cluster, cluster.add()))
        cluster.advance(5.5)
        self.assertEqual(self.names(cluster), ["machine1", "machine2"])

    def test_only_the_leader_removes_machines(self) -> None:
        cluster = self.cluster(defaults=ClusterConfig(remove_delay_seconds=5.0))
        cluster.start(3)
        leader = cluster.leader
        cluster.network.isolate(leader.name)
        cluster.advance(20.0)
        self.assertEqual(len(leader.raft.configuration.voters), 3)
        self.assertFalse(leader.member._upkeep._loop.running)
        cluster.network.heal()
        cluster.advance(1.0)
        self.assertEqual(len(self.voters(cluster)), 2)

    def test_change_that_can_not_be_done_delays_nothing(self) -> None:
        """The change was begun by a leader that is cut off, and the next leader begins it again."""
        cluster = self.cluster()
        cluster.start(5)
        leader = cluster.leader
        cluster.result_of(leader.replica.configure(ClusterConfig(active_size=4)))
        cluster.network.isolate(leader.name)
        cluster.advance(5.0)
        self.assertEqual(len(self.voters(cluster)), 4)
        self.assertIsNone(leader.member._upkeep._changing)
        cluster.network.heal()
        cluster.advance(1.0)
        self.assertEqual(len(leader.replica.machines()), 4)

    def test_with_slow_elections_a_machine_may_be_silent_for_longer(self) -> None:
        self.patch(module, "TIMING", Timing(1.0, 4.0))
        cluster = self.cluster()
        machines = [cluster.start_one()]
        for _ in range(2):
            machines.append(cluster.add())
            cluster.result_of(machines[-1].launch(), 60.0)
        cluster.advance(20.0)
        self.assertEqual(len(self.voters(cluster)), 3)
        other = cluster.followers[0].machine.name
        answer = self.join(cluster, cluster.add(), name=other)
        self.assertRefused(cluster, answer, ErrorCode.KEY_EXISTS, other)
