"""
Tests of a group of several machines: who is admitted, and what frontends see of it.
"""

import msgspec
from twisted.internet.defer import Deferred, ensureDeferred

from etcd_twisted.consensus.availability import LEADERLESS_SECONDS
from etcd_twisted.consensus.cluster_keys import CONFIG_KEY
from etcd_twisted.consensus.raft.messages import MOST_TERMS_AHEAD, Append, encode_messages
from etcd_twisted.errors import EtcdError
from etcd_twisted.interfaces.cluster import Admission, ClusterView, fingerprint
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from tests.consensus.cluster import CLUSTER_ID, ClusterMachine, ClusterTestCase


class AdmissionTests(ClusterTestCase):
    """Tests of which machines' messages are accepted."""

    STRANGER = "f" * 16

    def view_with(self, machine: ClusterMachine, index: int, *strangers: str) -> ClusterView:
        """Returns the view of a machine that knows a configuration with strangers in it."""
        view = machine.peer.describe()
        fingerprints = tuple(fingerprint(view.cluster_id, each) for each in strangers)
        return msgspec.structs.replace(view, configuration_index=index, fingerprints=fingerprints)

    def test_members_are_heard_and_strangers_are_not(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        peer, other = cluster.leader.peer, cluster.followers[0]
        self.assertEqual(peer.admission(other.id, 0), Admission.MEMBER)
        peer.received(other.id, b"\x90")
        for index in (peer.configuration_index, 0):
            self.assertEqual(peer.admission(self.STRANGER, index), Admission.STRANGER)
        self.assertRaises(ValueError, peer.received, self.STRANGER, b"\x90")

    def test_machine_with_a_newer_configuration_needs_confirmation(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        leader = cluster.leader
        peer, index, term = leader.peer, leader.peer.configuration_index, leader.replica.term
        for _ in range(100):
            self.assertEqual(peer.admission(self.STRANGER, 1 << 40), Admission.UNCONFIRMED)
            cluster.advance(0.01)
        others = {each.url for each in cluster.followers}
        self.assertEqual(set(leader.peers.asked), others)
        self.assertLess(len(leader.peers.asked), 30)  # not a hundred times two
        self.assertEqual(peer.admission(self.STRANGER, 1 << 40), Admission.UNCONFIRMED)
        self.assertRaises(ValueError, peer.received, self.STRANGER, encode_messages([Append(term + 1, 0, 0, 0, 0)]))
        cluster.advance(1.0)
        self.assertEqual((cluster.leader, leader.replica.term), (leader, term))
        self.assertEqual(peer.configuration_index, index)

    def test_confirmed_machine_is_heard_until_it_is_known_here(self) -> None:
        cluster = self.cluster()
        cluster.start(2)
        leader = cluster.leader
        peer = leader.peer
        self.assertTrue(peer.learn_members(self.view_with(leader, peer.configuration_index + 1, self.STRANGER)))
        self.assertEqual(peer.admission(self.STRANGER, 0), Admission.MEMBER)
        peer.received(self.STRANGER, b"\x90")
        cluster.result_of(leader.replica.remove(cluster.followers[0].machine.name))
        self.assertEqual(peer.admission(self.STRANGER, 0), Admission.STRANGER)
        self.assertRaises(ValueError, peer.received, self.STRANGER, b"\x90")

    def test_unconfirmed_machines_are_known(self) -> None:
        """The machine is in doubt until this one knows it, in whatever way."""
        cluster = self.cluster()
        cluster.start(2)
        leader = cluster.leader
        peer, index = leader.peer, leader.peer.configuration_index
        for known in (False, True):
            self.assertFalse(peer.has_unconfirmed())
            self.assertEqual(peer.admission(self.STRANGER, index + 1), Admission.UNCONFIRMED)
            if known:
                self.assertTrue(peer.learn_members(self.view_with(leader, index + 1, self.STRANGER)))
            self.assertIs(peer.has_unconfirmed(), not known)

    def test_old_views_and_those_of_another_cluster_do_not_count(self) -> None:
        cluster = self.cluster()
        cluster.start(2)
        leader = cluster.leader
        peer, index = leader.peer, leader.peer.configuration_index
        view = self.view_with(leader, index + 1, self.STRANGER)
        for other in (
            self.view_with(leader, index, self.STRANGER),
            msgspec.structs.replace(view, cluster_id="e" * 16),
            msgspec.structs.replace(view, configuration_index=0, fingerprints=()),  # of a machine that does not say it
        ):
            self.assertFalse(peer.learn_members(other))
            self.assertEqual(peer.admission(self.STRANGER, index + 1), Admission.UNCONFIRMED)

    def test_members_are_known_by_fingerprints(self) -> None:
        """A machine whose removal may not be committed is still there."""
        cluster = self.cluster()
        machines = cluster.start(3)
        leader, gone = cluster.leader, cluster.followers[0]
        expected = {fingerprint(CLUSTER_ID, each.id) for each in machines}
        self.assertEqual(set(leader.peer.describe().fingerprints), expected)
        self.assertEqual(leader.peer.describe().configuration_index, leader.peer.configuration_index)
        for machine in cluster.followers:
            machine.disk_thread.held = True
        leaving = leader.replica.remove(gone.machine.name)
        self.assertNotIn(gone.id, leader.raft.configuration)
        self.assertEqual(set(leader.peer.describe().fingerprints), expected)
        for machine in cluster.followers:
            machine.disk_thread.held = False
        cluster.result_of(leaving)
        self.assertEqual(set(leader.peer.describe().fingerprints), expected - {fingerprint(CLUSTER_ID, gone.id)})
        self.assertNotIn(gone.id, repr(leader.peer.describe()))

    def test_uncommitted_configuration_keeps_nobody_out(self) -> None:
        """A configuration that is dropped later may be newer than that of the cluster."""
        cluster = self.cluster()
        cluster.start(3)
        leader = cluster.leader
        peer, index = leader.peer, leader.peer.configuration_index
        for machine in cluster.followers:
            machine.disk_thread.held = True
        for _ in range(5):
            leader.set("/a").addErrback(lambda failure: failure.trap(EtcdError))
        leader.replica.remove(cluster.followers[0].machine.name).addErrback(lambda failure: failure.trap(EtcdError))
        self.assertGreater(peer.configuration_index, index + 1)
        self.assertEqual(peer.admission(self.STRANGER, index + 1), Admission.UNCONFIRMED)
        self.assertTrue(peer.learn_members(self.view_with(leader, index + 1, self.STRANGER)))
        self.assertEqual(peer.admission(self.STRANGER, index + 1), Admission.MEMBER)
        for machine in cluster.followers:
            machine.disk_thread.held = False
        cluster.advance(1.0)

    def test_impossible_term_is_refused(self) -> None:
        """A machine that passes for a member may lie, and its term must not become every machine's last one."""
        cluster = self.cluster()
        cluster.start(3)
        leader = cluster.leader
        peer, term = leader.peer, leader.replica.term
        for far in (term + MOST_TERMS_AHEAD + 1, 1 << 40, 1 << 48):
            payload = encode_messages([Append(far, 0, 0, 0, 0)])
            self.assertRaises(ValueError, peer.received, cluster.followers[0].id, payload)
        cluster.advance(1.0)
        self.assertTrue(leader.replica.is_leader)
        self.assertEqual(leader.replica.term, term)

    def test_strangers_take_no_memory(self) -> None:
        cluster = self.cluster()
        cluster.start(1)
        leader = cluster.leader
        peer = leader.replica.peer
        for number in range(1_000):
            peer.admission(f"{number:016x}", number)
        admissions = leader.member.admissions
        self.assertEqual(admissions._confirmed, {})
        self.assertLess(len(admissions._unconfirmed), 100)
        for number in range(1, 1_001):
            self.assertTrue(peer.learn_members(self.view_with(leader, 10**6 + number, f"{number:016x}")))
            self.assertEqual(peer.admission(f"{number:016x}", 0), Admission.MEMBER)
        self.assertLess(len(admissions._confirmed), 100)

    def test_what_is_no_message_is_refused(self) -> None:
        cluster = self.cluster()
        cluster.start(2)
        term = cluster.leader.replica.term
        for payload in (b"", b"\x00", b"\x91\x91\xa4vote", b"\x91\x94\xa4vote\xcf" + b"\xff" * 8 + b"\x00\x00"):
            self.assertRaises(ValueError, cluster.leader.peer.received, cluster.followers[0].id, payload)
        cluster.advance(0.5)
        self.assertEqual((cluster.leader.replica.term, cluster.leader.fatal), (term, []))


class MembershipTests(ClusterTestCase):
    """
    Tests of the group as frontends see it; what a leader does about it is tested in
    L{tests.consensus.reconfiguration.test_changes}.
    """

    def test_registrations_follow_the_group(self) -> None:
        """The registrations in the key space change with the group (spec, "Joining")."""
        cluster = self.cluster()
        cluster.start(3)
        gone = cluster.followers[0]
        index = cluster.leader.replica.index
        cluster.result_of(cluster.leader.replica.remove(gone.machine.name))
        left = [machine for machine in cluster.running if machine is not gone]
        cluster.advance(0.1)
        for machine in left:
            self.assertRaises(EtcdError, machine.replica.get, gone.machine.key)
            self.assertNotIn(gone.machine, machine.replica.machines())
            self.assertEqual(machine.replica.index, index + 1)

    def test_obstacle_to_a_registration_ends_nothing(self) -> None:
        cluster = self.cluster()
        cluster.start(2)
        cluster.result_of(cluster.leader.set("/_etcd/machines/machine3/x", "in the way"))
        third = cluster.start_one()
        self.assertIn(third.machine, cluster.leader.replica.machines())
        self.assertEqual(third.get("/_etcd/machines/machine3/x"), "in the way")
        self.assertSame(cluster)

    def test_removed_follower_is_notified(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        gone = cluster.followers[0]
        cluster.result_of(cluster.leader.replica.remove(gone.machine.name))
        cluster.advance_until(lambda: gone.excluded > 0)
        term = cluster.leader.replica.term
        cluster.advance(2.0)
        self.assertEqual(cluster.leader.replica.term, term)

    def test_removed_leader_transfers_its_leadership_and_is_notified(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        gone = cluster.leader
        before = cluster.clock.seconds()
        cluster.result_of(gone.replica.remove(gone.machine.name))
        self.assertEqual(gone.excluded, 1)
        cluster.await_leader()
        self.assertLess(cluster.clock.seconds() - before, 0.15)
        cluster.result_of(cluster.leader.set("/a", "1"))
        self.assertRaises(EtcdError, cluster.leader.replica.get, gone.machine.key)

    def test_removed_machine_may_stand_by_at_once(self) -> None:
        """The machine stands by in the very call that reports the removal."""
        cluster = self.cluster()
        cluster.start(3)
        gone = cluster.leader
        view = gone.replica.peer.describe()
        standing_by: list[Deferred[None]] = []
        gone.participation.on_exclusion.append(
            lambda: standing_by.append(ensureDeferred(gone.participation.stand_by(view)))
        )
        removed = gone.replica.remove(gone.machine.name)
        cluster.result_of(removed)
        cluster.advance_until(lambda: any(each.called for each in standing_by))
        self.assertEqual(len(standing_by), 1)
        self.assertEqual(gone.clock.getDelayedCalls(), [])
        self.assertEqual(gone.transport.connected, {})

    def test_machine_that_hears_no_leader_for_long_doubts_its_membership(self) -> None:
        """
        A machine that was removed while it was cut off doubts its membership, although it believes that it knows
        better than the others.
        """
        cluster = self.cluster()
        cluster.start(3)
        gone = cluster.leader
        cluster.network.isolate(gone.name)
        lost = [gone.set(f"/lost{number}") for number in range(9)]
        lost.append(gone.replica.remove(cluster.followers[0].machine.name))
        for answer in lost:
            answer.addErrback(lambda failure: failure.trap(EtcdError))
        cluster.advance_until(lambda: any(each.leads for each in cluster.running if each is not gone))
        cluster.result_of(cluster.leader.replica.remove(gone.machine.name))
        self.assertGreater(gone.peer.configuration_index, cluster.leader.peer.configuration_index)
        cluster.network.heal()
        cluster.advance(LEADERLESS_SECONDS - 1.0)
        self.assertEqual(gone.excluded, 0)  # they receive the requests, and do not answer
        cluster.advance_until(lambda: gone.excluded == 1, 2.0)
        cluster.advance(LEADERLESS_SECONDS)
        self.assertEqual(gone.excluded, 2)

    def test_cluster_configuration_is_set(self) -> None:
        cluster = self.cluster(defaults=ClusterConfig(active_size=5))
        cluster.start(2)
        self.assertEqual(cluster.leader.replica.cluster_config(), ClusterConfig(active_size=5))
        cluster.result_of(cluster.leader.replica.configure(ClusterConfig(4, 60.0, 1.5)))
        cluster.settle()
        for machine in cluster.running:
            self.assertEqual(machine.replica.cluster_config(), ClusterConfig(4, 60.0, 1.5))
            self.assertEqual(machine.get(CONFIG_KEY), '{"activeSize":4,"removeDelay":60,"syncInterval":1.5}')

    def test_statistics_are_counted(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        leader = cluster.leader
        cluster.result_of(leader.set("/a", "1"))
        cluster.advance(1.0)
        self.assertEqual(set(leader.replica.traffic.followers), {each.machine.name for each in cluster.followers})
        for name, followed in leader.replica.traffic.followers.items():
            self.assertGreater(followed.success, 10, name)
            self.assertLess(abs(followed.current_ms - 2.0), 0.1)
        self.assertIsNotNone(leader.replica.traffic.sent.rates(cluster.clock.seconds()))
        for follower in cluster.followers:
            self.assertEqual(follower.replica.traffic.followers, {})
            self.assertGreater(follower.replica.traffic.received.count, 10)
        failing = cluster.followers[0]
        before = leader.replica.traffic.followers[failing.machine.name].fail
        failing.crash()
        cluster.advance(0.2)
        self.assertGreater(leader.replica.traffic.followers[failing.machine.name].fail, before)
