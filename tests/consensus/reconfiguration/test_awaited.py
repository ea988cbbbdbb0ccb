"""
Tests of machines that are added by a request, and awaited until they join.
"""

from twisted.internet.defer import fail

from etcd_twisted.consensus.raft.errors import NotLeaderError
from etcd_twisted.errors import ErrorCode, EtcdError, RequestDroppedError
from etcd_twisted.interfaces.cluster import fingerprint
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from etcd_twisted.interfaces.member_records import DIRECTORY
from etcd_twisted.keyspace.commands import Set
from tests.cluster.machines import SYNC_INTERVAL_SECONDS, LifecycleMachine, LifecycleTestCase

ADMIN = "192.0.2.1"
NOWHERE = "http://peers:9"


class AwaitedTest(LifecycleTestCase):
    """Two machines are in the cluster, which has room for three."""

    def setUp(self) -> None:
        super().setUp()
        self.group.change(snapshot_count=10)
        self.first = self.start()
        self.second = self.start(self.first)

    def await_at(self, url: str) -> str:
        member_id: str = self.group.result_of(self.group.leader.replica.await_machine(url))
        return member_id

    def shown(self, machine: LifecycleMachine | None = None) -> dict[str, str]:
        """Returns the names by the ids that clients see, as one machine or the leader has them."""
        members = (machine or self.group.leader).replica.shown_members()
        return {member_id: member.name for member_id, member in members.items()}

    def own(self, machine: LifecycleMachine) -> str:
        """Returns the id by which a machine is shown that has joined by itself."""
        identity = machine.identity
        return fingerprint(identity["cluster_id"], identity["machine_id"])

    def refused(self, code: ErrorCode, change: object) -> str:
        with self.assertRaises(EtcdError) as caught:
            self.group.result_of(change)
        self.assertEqual(caught.exception.code, code)
        return caught.exception.cause


class AddTests(AwaitedTest):
    def test_awaited_machine_has_no_vote(self) -> None:
        """It does not count for a quorum either: the cluster goes on with the machines that it had."""
        before = self.group.leader.raft.configuration
        member_id = self.await_at(NOWHERE)
        self.group.settle()
        self.assertEqual(self.group.leader.raft.configuration, before)
        for machine in self.group.running:
            self.assertEqual(machine.replica.shown_members()[member_id].peer_url, NOWHERE)
            self.assertEqual(
                (machine.replica.shown_members()[member_id].name, len(machine.replica.machines())), ("", 2)
            )

    def test_machine_that_comes_keeps_the_id(self) -> None:
        """So do its restarts, its next address and its snapshots."""
        machine = self.add(self.first)
        member_id = self.await_at(machine.url)
        self.group.result_of(machine.launch())
        self.group.settle()
        expected = {self.own(self.first): "machine1", self.own(self.second): "machine2", member_id: "machine3"}
        for each in self.group.running:
            self.assertEqual(self.shown(each), expected)
        for number in range(30):
            self.group.result_of(self.group.leader.set(f"/{number}"))
        machine.crash()
        machine.configure(9, "machine3")
        self.group.result_of(machine.launch())
        self.group.settle()
        for each in self.group.running:
            self.assertEqual(self.shown(each), expected)
        self.assertEqual(self.group.leader.replica.shown_members()[member_id].peer_url, machine.url)

    def test_request_that_is_repeated_notes_the_arrival(self) -> None:
        """If the leader was lost before it had noted that, the machine is shown with its id all the same."""
        machine = self.start(self.first)
        leader = self.group.leader
        record = f'{{"id":"{"a" * 16}","peerUrl":"{machine.url}"}}'
        self.group.result_of(leader.replica.propose(Set(f"{DIRECTORY}/{'a' * 16}", leader.replica.now(), record)))
        self.assertEqual(self.shown()["a" * 16], "machine3")
        self.assertEqual(len(self.shown()), 3)
        self.group.result_of(
            self.group.leader.replica.peer.join(machine.request(machine_id=machine.identity["machine_id"]))
        )
        self.assertIn(self.own(machine), leader.get(f"{DIRECTORY}/{'a' * 16}"))
        self.assertEqual(self.shown()["a" * 16], "machine3")

    def test_place_is_kept(self) -> None:
        """Another machine finds no room, and stands by until the awaited one is dismissed."""
        member_id = self.await_at(NOWHERE)
        self.refused(ErrorCode.NO_MORE_PEER, self.group.leader.replica.await_machine("http://peers:10"))
        other = self.start(self.first)
        self.assertTrue(other.replica.standby)
        self.group.result_of(self.group.leader.replica.dismiss(member_id, False))
        self.assertFalse(self.group.leader.replica.was_removed(member_id))
        self.group.advance_until(lambda: other.is_member, 2 * SYNC_INTERVAL_SECONDS)

    def test_addresses_are_taken_once(self) -> None:
        member_id = self.await_at(NOWHERE)
        replica = self.group.leader.replica
        for url in (NOWHERE, self.first.url, self.second.machine.client_url):
            self.refused(ErrorCode.PEER_ADDRESS_EXISTS, replica.await_machine(url))
        self.refused(ErrorCode.PEER_ADDRESS_EXISTS, replica.move(member_id, self.first.url))
        other = next(each for each in (self.first, self.second) if each is not self.group.leader)
        own_id = other.identity["machine_id"]
        self.refused(ErrorCode.PEER_ADDRESS_EXISTS, replica.move(own_id, NOWHERE))
        self.refused(
            ErrorCode.PEER_ADDRESS_EXISTS,
            replica.peer.join(other.request(machine_id=own_id, peer_url=NOWHERE)),
        )
        self.group.result_of(replica.move(member_id, "http://peers:10"))
        self.assertEqual(replica.shown_members()[member_id].peer_url, "http://peers:10")

    def test_unknown_machine_is_not_dismissed(self) -> None:
        self.refused(ErrorCode.KEY_NOT_FOUND, self.group.leader.replica.dismiss("a" * 16, True))

    def test_next_leader_awaits_it_too(self) -> None:
        machine = self.add(self.first, self.second)
        self.group.result_of(self.group.leader.replica.configure(ClusterConfig(active_size=4)))
        self.start(self.first)
        member_id = self.await_at(machine.url)
        self.group.leader.crash()
        self.group.await_leader()
        self.group.advance_until(lambda: machine.replica.serving or not machine.launch().called, 30.0)
        self.group.advance_until(lambda: machine.is_member, 30.0)
        self.assertEqual(self.shown()[member_id], machine.name)


class RemovedTests(AwaitedTest):
    """A machine was removed and is kept out."""

    def setUp(self) -> None:
        super().setUp()
        self.gone = self.start(self.first)
        self.gone_id = self.own(self.gone)
        self.group.result_of(self.group.await_leader().replica.remove(self.gone.name, ADMIN))
        self.group.advance_until(lambda: self.gone.replica.standby, 30.0)
        self.group.advance(3 * SYNC_INTERVAL_SECONDS)

    def test_it_stays_out_until_it_is_added_again(self) -> None:
        """It then has another id, and the one from before is that of a member that was removed."""
        replica = self.group.leader.replica
        self.assertTrue(self.gone.replica.standby)
        self.assertTrue(replica.was_removed(self.gone_id))
        self.assertNotIn(self.gone_id, self.shown())
        member_id = self.await_at(self.gone.url)
        self.group.advance_until(lambda: self.gone.is_member, 3 * SYNC_INTERVAL_SECONDS)
        self.assertEqual(self.shown()[member_id], self.gone.name)
        self.assertNotIn(self.gone_id, self.shown())
        self.assertEqual((replica.forbidden(), replica.was_removed(self.gone_id)), ([], True))
        self.assertFalse(replica.was_removed(member_id))

    def test_machine_that_was_added_and_removed_twice(self) -> None:
        ids = [self.gone_id]
        for _ in range(2):
            ids.append(self.await_at(self.gone.url))
            self.group.advance_until(lambda: self.gone.is_member, 3 * SYNC_INTERVAL_SECONDS)
            self.group.result_of(self.group.leader.replica.remove(self.gone.name, ADMIN))
            self.group.advance_until(lambda: self.gone.replica.standby, 30.0)
        self.assertEqual(len(set(ids)), 3)
        for each in ids:
            self.assertTrue(self.group.leader.replica.was_removed(each))

    def test_another_machine_may_take_its_name(self) -> None:
        """It is a new one without data, at an address that was added."""
        self.gone.crash()
        new = self.add(self.first, name=self.gone.name, port=9)
        member_id = self.await_at(new.url)
        self.group.result_of(new.launch())
        self.group.settle()
        self.assertEqual(self.shown()[member_id], self.gone.name)


class InterruptedTests(AwaitedTest):
    def test_removal_that_was_interrupted_is_repeated_with_the_same_id(self) -> None:
        """The leader was lost after it had noted that the machine is removed, and before the group was without it."""
        machine = self.add(self.first)
        member_id = self.await_at(machine.url)
        self.group.result_of(machine.launch())
        self.group.settle()
        leader = self.group.leader
        take_out = self.patch(leader.member.changes, "take_out", lambda _: fail(NotLeaderError()))
        with self.assertRaises(RequestDroppedError):
            self.group.result_of(leader.replica.remove(machine.name, ADMIN))
        take_out.restore()
        self.assertEqual(self.shown()[member_id], machine.name)
        self.group.result_of(leader.replica.remove(machine.name, ADMIN))
        self.assertNotIn(machine.name, self.shown().values())
        self.assertTrue(leader.replica.was_removed(member_id))
        self.assertFalse(leader.replica.was_removed(self.own(machine)))


class DamagedTests(AwaitedTest):
    def test_keys_that_are_no_records_are_passed_over(self) -> None:
        """Clients can set keys there, too."""
        leader = self.group.leader
        before = self.shown()
        for name, value in (
            ("x", '{"id":"x","peerUrl":"http://peers:9"}'),
            ("b" * 16, f'{{"id":"{"a" * 16}","peerUrl":"http://peers:9"}}'),
            ("c" * 16, "nonsense"),
            ("d" * 16, "[" * 10_000),
        ):
            self.group.result_of(leader.replica.propose(Set(f"{DIRECTORY}/{name}", leader.replica.now(), value)))
        self.assertEqual(self.shown(), before)
        self.await_at("http://peers:9")
        self.assertEqual(len(self.shown()), 3)
