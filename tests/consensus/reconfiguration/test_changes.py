"""
Tests of L{etcd_twisted.consensus.reconfiguration.changes}, in a cluster: machines that join (spec, section 3:
"Joining", "Membership safety").
"""

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.raft.entries import Configuration, Member
from etcd_twisted.consensus.raft.limits import RaftLimits
from etcd_twisted.consensus.reconfiguration.changes import with_member, with_voter, without
from etcd_twisted.consensus.reconfiguration.liveness import ALIVE_SECONDS
from etcd_twisted.consensus.reconfiguration.upkeep import PromotionLimits
from etcd_twisted.errors import ErrorCode, EtcdError, RequestDroppedError
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from tests.consensus import cluster as module
from tests.consensus.reconfiguration.cases import MembersTestCase


class ConfigurationTests(SynchronousTestCase):
    """Tests of how a configuration is changed."""

    ONE, TWO = Member("one", "c1", "p1"), Member("two", "c2", "p2")

    def test_a_new_machine_is_a_learner(self) -> None:
        self.assertEqual(
            with_member(Configuration(("a",), (), {"a": self.ONE}), "b", self.TWO),
            Configuration(("a",), ("b",), {"a": self.ONE, "b": self.TWO}),
        )

    def test_member_has_another_address(self) -> None:
        for before in (Configuration(("a",), (), {"a": self.ONE}), Configuration(("b",), ("a",), {"a": self.ONE})):
            after = with_member(before, "a", self.TWO)
            self.assertEqual((after.voters, after.learners), (before.voters, before.learners))
            self.assertEqual(after.members["a"], self.TWO)

    def test_a_learner_gets_a_vote(self) -> None:
        before = Configuration(("a",), ("b", "c"), {"b": self.TWO})
        self.assertEqual(with_voter(before, "b"), Configuration(("a", "b"), ("c",), {"b": self.TWO}))

    def test_machine_is_removed(self) -> None:
        before = Configuration(("a", "b"), ("c",), {"a": self.ONE, "c": self.TWO})
        self.assertEqual(without(before, "c"), Configuration(("a", "b"), (), {"a": self.ONE}))
        self.assertEqual(without(before, "a"), Configuration(("b",), ("c",), {"c": self.TWO}))


class JoinTests(MembersTestCase):
    def test_a_new_machine_learns_before_it_votes(self) -> None:
        """A new machine is a learner first (spec, "Joining")."""
        cluster = self.cluster()
        cluster.start(1)
        new = cluster.add()
        cluster.result_of(self.join(cluster, new))
        configuration = cluster.leader.raft.configuration
        self.assertEqual(configuration.learners, (new.id,))
        cluster.advance(5.0)
        self.assertEqual(cluster.leader.raft.configuration.learners, (new.id,))  # it has not started yet
        self.assertEqual(cluster.result_of(cluster.leader.set("/a")).node.key, "/a")  # and it is not needed
        cluster.result_of(new.launch())
        cluster.advance_until(lambda: new.id in self.voters(cluster))

    def test_learner_lacks_little_when_it_gets_its_vote(self) -> None:
        """The limit is also in bytes, for few entries that are large."""
        promotion = PromotionLimits(lag_bytes=10_000)
        cluster = self.cluster(raft_limits=RaftLimits(in_flight_bytes=1), promotion=promotion)
        cluster.start(1)
        core = cluster.leader.raft
        for _ in range(300):
            written = cluster.leader.set("/a", 1_000 * "x")
        cluster.result_of(written)
        new = cluster.add()
        cluster.result_of(self.join(cluster, new))
        new.launch()
        cluster.advance_until(lambda: core.leadership.progress[new.id].match > 0)
        self.assertGreater(core.committed_bytes_after(core.leadership.progress[new.id].match), 200_000)
        cluster.advance_until(lambda: new.id in self.voters(cluster))
        self.assertLess(core.committed_bytes_after(core.leadership.progress[new.id].match), 20_000)

    def test_answer_says_which_cluster_it_is(self) -> None:
        cluster = self.cluster()
        cluster.start(1)
        reply = cluster.result_of(self.join(cluster, cluster.add()))
        self.assertEqual(reply.cluster_id, module.CLUSTER_ID)

    def test_member_may_ask_again(self) -> None:
        """The machine may not have received the answer."""
        cluster = self.cluster()
        cluster.start(2)
        logged = cluster.leader.replica.raft_index
        self.successResultOf(self.join(cluster, cluster.followers[0]))
        cluster.advance(0.1)
        self.assertEqual(cluster.leader.replica.raft_index, logged)

    def test_member_may_have_new_addresses(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        moved = cluster.followers[0]
        cluster.result_of(self.join(cluster, moved, client_url="http://clients:9", peer_url=moved.url))
        cluster.settle()
        for machine in cluster.running:
            self.assertIn("http://clients:9", [each.client_url for each in machine.replica.machines()])
            self.assertIn("clients%3A9", machine.get(moved.machine.key))
        self.assertEqual(len(self.voters(cluster)), 3)

    def test_member_may_have_a_new_name(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        renamed = cluster.followers[0]
        cluster.result_of(self.join(cluster, renamed, name="new"))
        cluster.settle()
        for machine in cluster.running:
            self.assertRaises(EtcdError, machine.replica.get, renamed.machine.key)
            machine.replica.get("/_etcd/machines/new")

    def test_name_of_a_machine_that_is_alive_is_refused(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        for named in ("machine1", "machine2"):  # the leader and another one
            answer = self.join(cluster, cluster.add(), name=named)
            self.assertRefused(cluster, answer, ErrorCode.KEY_EXISTS, named)

    def test_name_of_a_machine_that_is_gone_is_accepted(self) -> None:
        """The machine has lost its data, and begins anew."""
        cluster = self.cluster()
        cluster.start(3)
        lost = cluster.followers[0]
        lost.crash()
        cluster.advance(ALIVE_SECONDS + 0.1)
        anew = cluster.add()
        anew.config = lost.config
        cluster.result_of(self.join(cluster, anew))
        configuration = cluster.leader.raft.configuration
        self.assertNotIn(lost.id, configuration)
        self.assertEqual(configuration.learners, (anew.id,))
        self.assertEqual(len(configuration.members), 3)
        self.assertEqual(self.names(cluster), ["machine1", "machine2", "machine3"])

    def test_member_can_not_take_the_name_of_another_that_is_alive(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        one, two = cluster.followers
        answer = self.join(cluster, one, name=two.machine.name)
        self.assertRefused(cluster, answer, ErrorCode.KEY_EXISTS, two.machine.name)

    def test_member_is_reached_at_an_announced_address(self) -> None:
        """The others connect to the announced address, until the machine itself announces one."""
        cluster = self.cluster()
        cluster.start(3)
        moved, other = cluster.followers
        cluster.result_of(cluster.leader.replica.move(moved.id, "http://peers:9"))
        cluster.advance(1.0)
        for machine in (cluster.leader, other):
            self.assertEqual(machine.replica.members()[moved.id].peer_url, "http://peers:9")
            self.assertIn("peers%3A9", machine.get(moved.machine.key))
            self.assertEqual(machine.transport.connected[moved.id], "http://peers:9")
        cluster.result_of(cluster.leader.replica.move(moved.id, "http://peers:9"))  # it is that already
        cluster.result_of(self.join(cluster, moved))
        cluster.settle()
        self.assertEqual(other.transport.connected[moved.id], moved.url)
        self.assertSame(cluster)

    def test_moved_member_is_reached_before_the_group_can_be_changed(self) -> None:
        """The machine may have to get a snapshot before another change of the group can be committed."""
        cluster = self.cluster()
        cluster.start(3)
        leader, (moved, removed) = cluster.leader, cluster.followers
        cluster.network.isolate(leader.name)
        taken_out = leader.replica.remove(removed.machine.name)
        self.assertTrue(leader.raft.is_reconfiguring)
        answer = self.join(cluster, moved, peer_url="http://peers:9")
        self.assertEqual(leader.transport.connected[moved.id], "http://peers:9")
        self.assertEqual(leader.replica.members()[moved.id].peer_url, moved.url)
        self.assertNoResult(answer)
        cluster.network.heal()
        cluster.settle()
        cluster.result_of(self.join(cluster, moved))
        self.assertEqual(leader.transport.connected[moved.id], moved.url)
        for each in (taken_out, answer):
            each.addErrback(lambda _: None)

    def test_move_to_another_machines_address_is_refused(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        leader, (one, other) = cluster.leader, cluster.followers
        for machine_id, url, code, words in (
            ("f" * 16, "http://peers:9", ErrorCode.KEY_NOT_FOUND, "no machine ffffffffffffffff is in the cluster"),
            (one.id, other.url, ErrorCode.PEER_ADDRESS_EXISTS, f"the address of {other.machine.name}"),
            (one.id, other.machine.client_url, ErrorCode.PEER_ADDRESS_EXISTS, f"the address of {other.machine.name}"),
            (leader.id, "http://peers:9", ErrorCode.INVALID_FIELD, "start it with another --peer-addr to move it"),
        ):
            self.assertRefused(cluster, leader.replica.move(machine_id, url), code, words)
        with self.assertRaises(RequestDroppedError):
            cluster.result_of(one.replica.move(other.id, "http://peers:9"))

    def test_address_of_another_machine_is_refused(self) -> None:
        """No two machines have the same address (spec, "Joining")."""
        cluster = self.cluster()
        cluster.start(3)
        other = cluster.followers[0].machine
        new = cluster.add()
        for changes in (
            {"peer_url": other.peer_url},
            {"client_url": other.client_url},
            {"client_url": other.peer_url},
            {"peer_url": other.client_url},
        ):
            answer = self.join(cluster, new, **changes)
            self.assertRefused(cluster, answer, ErrorCode.PEER_ADDRESS_EXISTS, f"the address of {other.name}")
        leader, member = cluster.leader, cluster.followers[1]
        answer = self.join(cluster, member, peer_url=other.peer_url)
        self.assertRefused(cluster, answer, ErrorCode.PEER_ADDRESS_EXISTS, other.peer_url)
        self.assertEqual(leader.transport.connected[member.id], member.url)

    def test_two_members_move_to_the_same_address_at_once(self) -> None:
        """The second one is refused, although nobody had the address when it asked: another change was under way."""
        cluster = self.cluster()
        cluster.start(5)
        one, other, *_ = cluster.followers
        before = self.join(cluster, cluster.add())
        first = self.join(cluster, one, peer_url="http://peers:9")
        second = self.join(cluster, other, peer_url="http://peers:9")
        cluster.result_of(before)
        cluster.result_of(first)
        self.assertRefused(cluster, second, ErrorCode.PEER_ADDRESS_EXISTS, f"the address of {one.machine.name}")

    def test_machine_replaces_one_of_the_same_name_and_address_that_is_gone(self) -> None:
        cluster = self.cluster()
        cluster.start(2)
        new = cluster.add()
        cluster.result_of(self.join(cluster, new))
        cluster.advance(ALIVE_SECONDS + 0.1)
        cluster.result_of(self.join(cluster, new, machine_id="f" * 16))
        self.assertEqual(cluster.leader.raft.configuration.learners, ("f" * 16,))

    def test_full_cluster_admits_nobody(self) -> None:
        cluster = self.cluster(defaults=ClusterConfig(active_size=3))
        cluster.start(3)
        new = cluster.add()
        self.assertRefused(cluster, self.join(cluster, new), ErrorCode.NO_MORE_PEER, new.machine.name)
        cluster.result_of(
            self.join(cluster, cluster.followers[0], client_url="http://clients:9")
        )  # A member may move.
        cluster.result_of(cluster.leader.replica.configure(ClusterConfig(active_size=4)))
        cluster.result_of(self.join(cluster, new))

    def test_learners_count_as_machines(self) -> None:
        cluster = self.cluster(defaults=ClusterConfig(active_size=3))
        cluster.start(2)
        cluster.result_of(self.join(cluster, cluster.add()))
        self.assertRefused(cluster, self.join(cluster, cluster.add()), ErrorCode.NO_MORE_PEER, "machine4")

    def test_machine_that_replaces_another_fits_in_a_full_cluster(self) -> None:
        cluster = self.cluster(defaults=ClusterConfig(active_size=3))
        cluster.start(3)
        lost = cluster.followers[0]
        lost.crash()
        cluster.advance(ALIVE_SECONDS + 0.1)
        cluster.result_of(self.join(cluster, lost, machine_id="f" * 16))
        self.assertEqual(len(cluster.leader.raft.configuration.members), 3)

    def test_machine_of_another_cluster_is_refused(self) -> None:
        cluster = self.cluster()
        cluster.start(1)
        new = cluster.add()
        answer = self.join(cluster, new, cluster_id="e" * 16)
        self.assertRefused(cluster, answer, ErrorCode.RAFT_INTERNAL, "e" * 16)
        answer = self.join(cluster, new, version=2)
        self.assertRefused(cluster, answer, ErrorCode.RAFT_INTERNAL, "version")

    def test_only_the_leader_admits_machines(self) -> None:
        cluster = self.cluster()
        cluster.start(2)
        follower = cluster.followers[0]
        answer = follower.replica.peer.join(cluster.add().request())
        self.assertRefused(cluster, answer, ErrorCode.RAFT_INTERNAL, "does not lead")
        follower.stop()
        answer = follower.replica.peer.join(cluster.add().request())
        self.assertIn("takes no part", self.failureResultOf(answer, EtcdError).value.cause)

    def test_many_machines_are_admitted_one_after_the_other(self) -> None:
        """The machines are admitted one after the other (spec, "Membership safety")."""
        cluster = self.cluster()
        cluster.start(1)
        new = [cluster.add() for _ in range(4)]
        for answer in [self.join(cluster, machine) for machine in new]:
            cluster.result_of(answer)
        self.assertEqual(len(cluster.leader.raft.configuration.learners), 4)
        started = [machine.launch() for machine in new]
        cluster.advance_until(lambda: len(self.voters(cluster)) == 5)
        for each in started:
            cluster.result_of(each)

    def test_two_requests_of_the_same_name_at_once(self) -> None:
        """The second request finds that the first was carried out."""
        cluster = self.cluster()
        cluster.start(1)
        one, two = cluster.add(), cluster.add()
        first = self.join(cluster, one, name="same")
        second = self.join(cluster, two, name="same")
        cluster.result_of(first)
        self.assertRefused(cluster, second, ErrorCode.KEY_EXISTS, "same")

    def test_leader_is_lost_while_a_machine_joins(self) -> None:
        cluster = self.cluster()
        cluster.start(3)
        leader = cluster.leader
        cluster.network.isolate(leader.name)
        answers = [leader.replica.peer.join(cluster.add().request()) for _ in range(2)]
        cluster.advance(3.0)
        for answer in answers:
            self.assertEqual(self.failureResultOf(answer, EtcdError).value.code, ErrorCode.RAFT_INTERNAL)

    def test_admission_is_answered_when_a_quorum_has_it(self) -> None:
        """The answer is given only when a quorum has the change (spec, "Membership safety")."""
        cluster = self.cluster()
        cluster.start(3)
        leader = cluster.leader
        cluster.network.isolate(leader.name)
        new = cluster.add()
        first = leader.replica.peer.join(new.request())
        cluster.advance(0.01)
        self.assertIn(new.id, leader.raft.configuration)
        leader.member.changes.lock.release()  # as if another leader had left that in this one's log
        second = leader.replica.peer.join(new.request())
        leader.member.changes.lock.locked = True
        error = self.failureResultOf(second, EtcdError).value
        self.assertIn("not done yet", error.cause)
        first.addErrback(lambda failure: failure.trap(EtcdError))
