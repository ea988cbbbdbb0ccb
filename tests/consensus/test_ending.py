"""
Tests of how a machine ends its part in a group: it transfers the leadership, stops, or stands by.
"""

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred

from etcd_twisted.errors import EtcdError, RequestDroppedError
from etcd_twisted.interfaces.cluster import Admission, ClusterView
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.watchers import Watcher
from tests.consensus.cluster import TIMING, Cluster, ClusterMachine, ClusterTestCase

PROPOSAL_TIMEOUT_SECONDS = 1.0
"""How many seconds a proposer waits when the leader is lost."""


class HandOverTests(ClusterTestCase):
    def test_another_machine_leads_and_nothing_is_refused(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        leader = cluster.leader
        under_way = [leader.set(f"/k{number}", "1") for number in range(10)]
        handed_over = ensureDeferred(leader.participation.hand_over())
        waits = leader.set("/late", "1")
        before = cluster.clock.seconds()
        cluster.result_of(handed_over)
        self.assertLess(cluster.clock.seconds() - before, 0.1)
        self.assertFalse(leader.leads)
        self.assertNotEqual(leader.replica.leader(), None)
        self.failureResultOf(waits, RequestDroppedError)
        for answer in under_way:
            self.successResultOf(answer)
        leader.stop()
        self.assertEqual(cluster.await_leader().get("/k9"), "1")

    def test_single_machine_does_not_wait(self) -> None:
        cluster = self.cluster()
        machine = cluster.start(1)[0]
        self.successResultOf(ensureDeferred(machine.participation.hand_over()))
        self.assertTrue(machine.leads)

    def test_follower_has_nothing_to_transfer(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        self.successResultOf(ensureDeferred(cluster.followers[0].participation.hand_over()))

    def test_leader_goes_on_when_no_other_can_lead_and_keys_expire(self) -> None:
        cluster = self.cluster()
        cluster.start(2)
        leader, other = cluster.leader, cluster.followers[0]
        cluster.result_of(leader.set("/a", "1", leader.replica.now() + 300_000))
        cluster.advance(0.2)
        other.disk_thread.held = True  # it does not have the last entry, and won't get it
        under_way = leader.set("/b", "1")
        handed_over = ensureDeferred(leader.participation.hand_over())
        cluster.advance(TIMING.election_timeout_seconds + TIMING.heartbeat_seconds)
        self.successResultOf(handed_over)
        self.assertTrue(leader.leads)
        other.disk_thread.held = False
        cluster.result_of(under_way)
        cluster.advance(0.3)
        self.assertRaises(EtcdError, leader.replica.get, "/a")

    def test_requests_are_answered_during_a_stop_after_a_failed_transfer(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        leader, followers = cluster.leader, cluster.followers
        for follower in followers:
            follower.disk_thread.held = True
        under_way = leader.set("/a", "1")
        stopped = ensureDeferred(leader.participation.stop())
        cluster.advance(0.05)
        self.assertNoResult(stopped)
        for follower in followers:
            follower.disk_thread.held = False
        cluster.result_of(stopped)
        self.assertEqual(self.successResultOf(under_way).node.value, "1")

    def test_stop_does_not_wait_for_ever(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        leader = cluster.leader
        for follower in cluster.followers:
            follower.disk_thread.held = True
        under_way = leader.set("/a", "1")
        stopped = ensureDeferred(leader.participation.stop())
        cluster.advance(PROPOSAL_TIMEOUT_SECONDS + 0.01)
        self.successResultOf(stopped)
        self.assertIn("unknown", self.failureResultOf(under_way, EtcdError).value.cause)
        self.assertEqual(leader.clock.getDelayedCalls(), [])


class StopTests(ClusterTestCase):
    """A stop ends, whatever is going on."""

    def test_stop_while_much_waits_to_be_delivered(self) -> None:
        """What is committed is applied before the end, even if watchers delay that."""
        cluster = self.cluster()
        machine = cluster.start(1)[0]
        for _ in range(200):
            machine.replica.watch("/", True, True, None, lambda _event: None)
        answers = [machine.set(f"/k{number}") for number in range(200)]
        stopped = ensureDeferred(machine.participation.stop())
        cluster.result_of(stopped)
        for answer in answers:
            self.successResultOf(answer)
        self.assertEqual(machine.clock.getDelayedCalls(), [])

    def test_stop_in_the_callback_of_a_change(self) -> None:
        """The turn that reported the change does nothing more."""
        cluster = self.cluster()
        machine = cluster.start(1)[0]
        stopping: list[Deferred[None]] = []
        answers = [machine.set("/a"), machine.set("/b")]
        answers[0].addCallback(lambda _: stopping.append(ensureDeferred(machine.participation.stop())))
        cluster.advance(0.1)
        self.successResultOf(stopping[0])
        self.successResultOf(answers[1])
        self.assertEqual(machine.clock.getDelayedCalls(), [])
        self.assertEqual(machine.transport.connected, {})

    def test_stop_while_keys_are_about_to_expire(self) -> None:
        cluster = self.cluster()
        machine = cluster.start(1)[0]
        answer = machine.set("/a", "", machine.replica.now() + 10**9)
        stopped = ensureDeferred(machine.participation.stop())
        cluster.result_of(stopped)
        self.successResultOf(answer)
        self.assertEqual(machine.clock.getDelayedCalls(), [])

    def test_stopping_twice_does_no_harm(self) -> None:
        cluster = self.cluster()
        cluster.start(2)
        leader = cluster.leader
        leader.set("/a").addErrback(lambda failure: failure.trap(EtcdError))
        first, second = (ensureDeferred(leader.participation.stop()) for _ in range(2))
        self.assertNoResult(second)
        cluster.result_of(first)
        self.successResultOf(second)

    def test_stop_before_there_is_a_leader(self) -> None:
        cluster = self.cluster()
        machines = cluster.start(3)
        for machine in machines:
            machine.crash()
        machines[0].launch().addErrback(lambda failure: failure.trap(CancelledError))
        cluster.advance(0.1)
        waiting = ensureDeferred(machines[0].replica.when_serving())
        answer = machines[0].set("/a")
        machines[0].stop()
        self.assertIn("stopping", self.failureResultOf(answer, EtcdError).value.cause)
        self.failureResultOf(waiting, EtcdError)
        self.assertEqual(machines[0].clock.getDelayedCalls(), [])

    def test_cancelled_stop_goes_on(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        leader = cluster.leader
        for follower in cluster.followers:
            follower.disk_thread.held = True
        leader.set("/a").addErrback(lambda failure: failure.trap(EtcdError))
        view = leader.replica.peer.describe()
        standing_by = ensureDeferred(leader.participation.stand_by(view))
        standing_by.cancel()
        self.failureResultOf(standing_by)
        stopped = ensureDeferred(leader.participation.stop())
        self.assertNoResult(stopped)
        cluster.result_of(stopped)
        self.assertEqual(leader.clock.getDelayedCalls(), [])


class StandByTests(ClusterTestCase):
    def stand_by(self, cluster: Cluster, machine: ClusterMachine) -> ClusterView:
        view = cluster.leader.replica.peer.describe()
        cluster.result_of(ensureDeferred(machine.participation.stand_by(view)))
        return view

    def test_standby_has_no_copy_and_knows_the_leader(self) -> None:
        cluster = self.cluster(defaults=ClusterConfig(active_size=3))
        cluster.start(3)
        cluster.result_of(cluster.leader.set("/a", "1"))
        cluster.settle()
        machine = cluster.followers[0]
        view = self.stand_by(cluster, machine)
        replica = machine.replica
        self.assertTrue(replica.standby)
        self.assertFalse(replica.serving)
        self.assertEqual(replica.leader(), cluster.leader.machine)
        self.assertEqual(replica.machines(), view.machines)
        self.assertEqual(replica.cluster_config(), ClusterConfig(active_size=3))
        self.assertEqual(replica.peer.describe(), view)
        self.assertRaises(EtcdError, replica.get, "/a")
        for refused in (machine.set("/b"), replica.confirm_reads(), replica.confirm_recent()):
            self.failureResultOf(refused, RequestDroppedError)
        self.assertEqual(machine.clock.getDelayedCalls(), [])
        self.assertEqual(replica.peer.admission(cluster.leader.id, 100), Admission.STRANGER)
        self.assertRaises(ValueError, replica.peer.received, cluster.leader.id, b"\x90")

    def test_watchers_see_past_events_and_then_end(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        machine = cluster.followers[0]
        view = cluster.leader.replica.peer.describe()
        standing_by: list[Deferred[None]] = []
        told: list[Event] = []
        ended: list[str] = []

        def first_of_all(_event: Event) -> None:
            standing_by.append(ensureDeferred(machine.participation.stand_by(view)))

        machine.replica.watch("/a", False, False, None, first_of_all, lambda: ended.append("first"))
        for _ in range(300):  # so many that not all of them see it in one turn
            machine.replica.watch("/a", False, False, None, told.append, lambda: ended.append("a"))
        machine.replica.watch("/b", False, False, None, told.append, lambda: ended.append("b"))
        cluster.leader.set("/a", "1")
        cluster.advance_until(lambda: bool(standing_by))
        cluster.result_of(standing_by[0])
        self.assertEqual((len(told), ended), (300, ["b"]))

    def test_watcher_that_ends_may_cancel_others(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        machine = cluster.followers[0]
        ended: list[str] = []
        watchers: list[Watcher] = []

        def end_all() -> None:
            ended.append("one")
            for watcher in watchers:
                watcher.cancel()

        watchers += [machine.replica.watch("/a", False, True, None, lambda _: None, end_all) for _ in range(3)]
        self.stand_by(cluster, machine)
        self.assertEqual(ended, ["one"])

    def test_two_requests_to_stand_by_at_once(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        machine = cluster.followers[0]
        view = cluster.leader.replica.peer.describe()
        first, second = (ensureDeferred(machine.participation.stand_by(view)) for _ in range(2))
        cluster.result_of(first)
        cluster.result_of(second)
        keyspace = machine.replica.keyspace
        cluster.result_of(ensureDeferred(machine.participation.stand_by(view)))
        self.assertIs(machine.replica.keyspace, keyspace)

    def test_a_new_leader_is_noted_with_each_view(self) -> None:
        cluster = self.cluster()
        cluster.start(4)
        machine = cluster.followers[0]
        self.stand_by(cluster, machine)
        leader = cluster.leader
        cluster.result_of(ensureDeferred(leader.participation.hand_over()))
        cluster.await_leader()
        self.stand_by(cluster, machine)
        self.assertEqual(machine.replica.leader(), cluster.leader.machine)
        self.assertNotEqual(cluster.leader, leader)

    def test_without_a_leader_requests_wait_for_one(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        machine = cluster.followers[0]
        view = cluster.leader.replica.peer.describe()
        nobody = ClusterView(view.cluster_id, view.machines, "", view.config)
        cluster.result_of(ensureDeferred(machine.participation.stand_by(nobody)))
        answer = machine.set("/a")
        self.assertNoResult(answer)
        cluster.result_of(ensureDeferred(machine.participation.stand_by(view)))
        self.failureResultOf(answer, RequestDroppedError)

    def test_writes_under_way_are_answered(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        leader = cluster.leader
        answer = leader.set("/a", "1")
        self.stand_by(cluster, leader)
        self.successResultOf(answer)


class DeposedTests(ClusterTestCase):
    """Tests of the notification that a machine no longer leads."""

    def test_follower_does_not_lead(self) -> None:
        cluster = self.cluster()
        cluster.start(2)
        self.successResultOf(cluster.followers[0].replica.when_deposed())

    def test_leader_that_transfers_its_leadership_is_deposed(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        leader = cluster.leader
        deposed, given_up = leader.replica.when_deposed(), leader.replica.when_deposed()
        given_up.addErrback(lambda reason: reason.trap(CancelledError))
        given_up.cancel()
        cluster.advance(1.0)
        self.assertNoResult(deposed)
        cluster.result_of(ensureDeferred(leader.participation.hand_over()))
        self.successResultOf(deposed)
        self.assertFalse(leader.leads)

    def test_leader_that_is_cut_off_is_deposed(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        leader = cluster.leader
        deposed = leader.replica.when_deposed()
        cluster.network.isolate(leader.name)
        cluster.advance_until(lambda: not leader.leads)
        self.successResultOf(deposed)

    def test_leader_that_stands_by_is_deposed(self) -> None:
        cluster = self.cluster()
        cluster.start(2)
        leader = cluster.leader
        deposed = leader.replica.when_deposed()
        cluster.result_of(ensureDeferred(leader.participation.stand_by(leader.replica.peer.describe())))
        self.successResultOf(deposed)
        self.successResultOf(leader.replica.when_deposed())

    def test_leader_that_stops_is_deposed(self) -> None:
        cluster = self.cluster()
        leader = cluster.start(1)[0]
        deposed = leader.replica.when_deposed()
        leader.stop()
        for each in (deposed, leader.replica.when_deposed()):
            self.assertEqual(self.failureResultOf(each, EtcdError).value.cause, "this machine is stopping")
