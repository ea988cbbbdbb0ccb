"""
Tests of machines that are removed from the cluster and kept out, until they are allowed again.
"""

import attrs

from etcd_twisted.consensus.cluster_keys import forbidden_machines
from etcd_twisted.consensus.raft.errors import NotLeaderError
from etcd_twisted.consensus.storage.storage import Storage
from etcd_twisted.errors import ErrorCode, EtcdError, RequestDroppedError
from etcd_twisted.interfaces.cluster import FORBIDDEN, Forbidden
from etcd_twisted.keyspace.commands import Set
from etcd_twisted.keyspace.space import KeySpace
from tests.cluster.machines import SYNC_INTERVAL_SECONDS, LifecycleMachine, LifecycleTestCase
from tests.logs.lines import Log

ADMIN = "192.0.2.1"


class ForbiddenTests(LifecycleTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.log = Log(self)
        self.group.change(snapshot_count=10)
        self.three()
        self.gone = self.group.followers[0]

    def forbid(self, name: str) -> None:
        self.group.result_of(self.group.leader.replica.remove(name, ADMIN))

    def assert_kept_out(self, machine: LifecycleMachine, name: str) -> None:
        """Asserts that the machine stands by, and says once who forbade it and how to allow it again."""
        self.group.advance_until(lambda: machine.replica.standby, 30.0)
        self.group.advance(3 * SYNC_INTERVAL_SECONDS)
        self.assertTrue(machine.replica.standby)
        self.assertNotIn(machine.machine.name, self.members())
        (told,) = [each for each in self.log.warnings if each.startswith("This standby can't join the cluster")]
        self.assertIn(f": {name} is kept out of the cluster: {ADMIN} forbade it at ", told)
        urls = [each.machine.peer_url for each in self.group.machines.values()]
        allow = [f"to allow it again: curl -L -XPUT '{url}/v2/admin/machines/{name}?forbid=false'" for url in urls]
        self.assertTrue(told.endswith(tuple(allow)), told)

    def test_forbidden_machine_stands_by_until_it_is_allowed_again(self) -> None:
        """A machine that is kept out stands by (spec, "Standby")."""
        name = self.gone.machine.name
        self.forbid(name)
        self.assert_kept_out(self.gone, name)
        self.group.result_of(self.group.leader.replica.allow(name))
        self.assertEqual(self.group.leader.replica.forbidden(), [])
        self.group.advance_until(lambda: self.gone.is_member, 2 * SYNC_INTERVAL_SECONDS)

    def test_next_leader_keeps_a_forbidden_machine_out_too(self) -> None:
        """The entry is in the key space, and in its snapshots."""
        name = self.gone.machine.name
        self.forbid(name)
        for number in range(30):
            self.group.result_of(self.group.leader.set(f"/{number}"))
        self.group.advance(1.0)
        staying = [each for each in self.group.machines.values() if each is not self.gone]
        before = self.group.leader
        for machine in self.group.running:
            machine.crash()
        for machine in staying:
            machine.launch()
        self.group.await_leader()
        if self.group.leader is before:
            self.group.advance_until(lambda: self.group.leader.replica.serving)
            self.group.leader.node.transfer()
            self.group.advance_until(lambda: self.group.has_leader and self.group.leader is not before)
        self.assertEqual([each.name for each in self.group.leader.replica.forbidden()], [name])
        self.gone.launch()
        self.assert_kept_out(self.gone, name)

    def test_machine_is_forbidden_again_after_the_leader_was_lost(self) -> None:
        """The machine is already kept out and is still a member: a repeated request to the next leader removes it."""

        async def lose_lead(_: str) -> None:
            raise NotLeaderError

        name, before = self.gone.machine.name, self.group.leader
        patch = self.patch(before.member.changes, "take_out", lose_lead)
        with self.assertRaises(RequestDroppedError):
            self.forbid(name)
        patch.restore()
        before.node.transfer()
        self.group.advance_until(lambda: self.group.has_leader and self.group.leader is not before)
        self.assertEqual([each.name for each in self.group.leader.replica.forbidden()], [name])
        self.gone.crash()
        self.gone.launch()
        self.group.advance_until(lambda: self.gone.is_member and self.group.has_leader)
        self.forbid(name)
        self.assert_kept_out(self.gone, name)

    def test_machine_that_begins_anew_under_its_name_is_kept_out(self) -> None:
        """The machine has another id now."""
        name = self.gone.machine.name
        self.forbid(name)
        self.gone.crash()
        other = self.add(self.group.leader, name=name, port=9)
        self.group.result_of(other.launch())
        self.assert_kept_out(other, name)

    def test_machine_that_comes_back_under_another_name_is_kept_out(self) -> None:
        """
        The machine is known by its own id, also if it is kept out once more because the first request had no answer.
        """
        name = self.gone.machine.name
        self.forbid(name)
        self.forbid(name)
        self.gone.crash()
        storage = Storage.open(self.gone.path, "--data-dir")
        identity = storage.directory.load_identity()
        assert identity is not None
        storage.directory.identity_path.unlink()
        storage.directory.save_identity(attrs.evolve(identity, name="another"))
        storage.close()
        self.gone.configure(port=9, name="another")
        self.gone.launch()
        self.assert_kept_out(self.gone, name)

    def test_machine_that_is_no_member_may_be_forbidden(self) -> None:
        """The name is enough, because the machine may be a standby, or may not have joined yet."""
        self.forbid("machine4")
        late = self.start(self.group.leader)
        self.assert_kept_out(late, "machine4")
        self.assertEqual(len(self.members()), 3)
        self.group.result_of(self.group.leader.replica.allow("machine4"))
        with self.assertRaises(EtcdError) as caught:
            self.group.result_of(self.group.leader.replica.allow("machine4"))
        self.assertEqual(caught.exception.code, ErrorCode.KEY_NOT_FOUND)

    def test_machine_that_can_not_be_removed_is_not_forbidden(self) -> None:
        """The machine is not kept out either."""
        for machine in self.group.followers:
            if machine is not self.gone:
                machine.crash()
        with self.assertRaises(EtcdError) as caught:
            self.group.advance(3.0)
            self.forbid(self.gone.machine.name)
        self.assertEqual(caught.exception.code, ErrorCode.RAFT_INTERNAL)
        self.assertEqual(self.group.leader.replica.forbidden(), [])

    def test_bad_name_is_refused(self) -> None:
        """A name that no machine can have is not stored."""
        replica = self.group.leader.replica
        for name in ("", "..", "a/b", "a b", "x" * 300):
            for asked in (replica.remove(name, ADMIN), replica.allow(name)):
                with self.assertRaises(EtcdError) as caught:
                    self.group.result_of(asked)
                self.assertEqual(caught.exception.code, ErrorCode.KEY_NOT_FOUND)
        self.assertEqual(replica.forbidden(), [])

    def test_entry_that_a_client_wrote_counts(self) -> None:
        """A key that a client wrote counts all the same, because somebody meant something by it."""
        keyspace = KeySpace(10, lambda: None)
        self.assertEqual(forbidden_machines(keyspace.root), [])
        keyspace.apply(Set(f"{FORBIDDEN}/a", 0, "nonsense"))
        keyspace.apply(Set(f"{FORBIDDEN}/b", 0, '{"name":"c","by":"d"}'))
        keyspace.apply(Set(f"{FORBIDDEN}/e/f", 0, ""))
        self.assertEqual(forbidden_machines(keyspace.root), [Forbidden("a"), Forbidden("b", "d")])
        self.assertIn("a is kept out of the cluster: it was forbidden; ", Forbidden("a").refusal("http://b:1"))
        strange = KeySpace(10, lambda: None)
        strange.apply(Set(f"{FORBIDDEN}/a'; reboot; '", 0, '{"fingerprint":"0123456789abcdef"}'))
        strange.apply(Set(f"{FORBIDDEN}/c", 0, '{"by":"d\\n2026 machine1 leads"}'))
        strange.apply(Set(f"{FORBIDDEN}/e", 0, f'{{"by":"{"x" * 1_000}"}}'))
        self.assertEqual(forbidden_machines(strange.root), [Forbidden("c"), Forbidden("e")])  # logs and shells get it
        other = KeySpace(10, lambda: None)
        other.apply(Set(FORBIDDEN, 0, "a file"))
        self.assertEqual(forbidden_machines(other.root), [])
