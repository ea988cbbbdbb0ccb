"""
Tests of the changes of one turn of the reactor, which are put into the log together.
"""

from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import ensureDeferred

from etcd_twisted.consensus.clocks.cluster_time import ClusterTime
from etcd_twisted.consensus.proposals import proposer
from etcd_twisted.consensus.raft.entries import EntryKind, Member
from etcd_twisted.consensus.raft.messages import Append
from etcd_twisted.consensus.reconfiguration.changes import with_member
from etcd_twisted.errors import EtcdError, RequestDroppedError
from etcd_twisted.keyspace.commands import Delete, Set, decode_command
from etcd_twisted.keyspace.events import Event
from tests.consensus.cluster import ClusterTestCase
from tests.consensus.machine import ReplicaTestCase, TestMachine

SMALL_QUOTA = 400_000
"""Enough for a few of the keys of these tests, each of which takes nearly as much as one of its length can."""

UNCHECKED_BYTES = 350
"""Enough for the command of one of them."""

ONE_BY_ONE = ("submit", "turn", "sync")


class TurnTests(ReplicaTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.alone = self.machine()
        self.told: list[Event | Exception | None] = []

    def tearDown(self) -> None:
        self.alone.stop()

    def submit(self, key: str) -> None:
        self.assertTrue(self.alone.replica.submit(Set(key, self.alone.replica.now()), self.told.append))

    def logged_after(self, index: int) -> list[str]:
        member = self.alone.replica._member
        assert member is not None
        log = member.raft.log
        entries = [entry for entry in log.between(index + 1, log.last_index + 1) if entry.kind is EntryKind.COMMAND]
        return [decode_command(entry.data).key for entry in entries]  # type: ignore[union-attr]

    def test_they_are_put_into_the_log_in_the_order_in_which_they_came(self) -> None:
        """This is so although some of them are proposed in another way."""
        before = self.alone.replica.raft_index
        self.submit("/a")
        self.submit("/b")
        proposed = self.alone.set("/c")
        self.submit("/d")
        self.alone.clock.advance(0)
        self.assertEqual(self.logged_after(before), ["/a", "/b", "/c", "/d"])
        self.assertEqual(len(self.alone.disk_thread.jobs), 1)
        self.alone.disk_thread.run_one()
        self.assertEqual(self.successResultOf(proposed).index, 4)
        self.assertEqual([event.index for event in self.told if isinstance(event, Event)], [2, 3, 5])

    def test_machine_that_is_alone_takes_no_turn_for_them_during_a_sync(self) -> None:
        """It could send and write nothing. The turn after the sync takes them all."""
        clock, disk_thread = self.alone.clock, self.alone.disk_thread
        self.submit("/a")
        clock.advance(0)
        scheduled = list(clock.getDelayedCalls())
        self.submit("/b")
        proposed = self.alone.set("/c")
        self.submit("/d")
        self.assertEqual(clock.getDelayedCalls(), scheduled)
        disk_thread.run_one()
        self.assertEqual([event.index for event in self.told if isinstance(event, Event)], [2])
        self.assertEqual(len(disk_thread.jobs), 1)
        disk_thread.run_one()
        self.assertEqual([event.index for event in self.told if isinstance(event, Event)], [2, 3, 5])
        self.assertEqual(self.successResultOf(proposed).index, 4)

    def test_they_count_before_they_are_in_the_log(self) -> None:
        measurements = self.alone.replica.measurements
        self.submit("/a")
        self.submit("/b")
        self.assertEqual(measurements().proposals_pending, 2)
        self.alone.clock.advance(0)
        self.assertEqual(measurements().proposals_pending, 2)
        self.alone.settle()
        self.assertEqual(measurements().proposals_pending, 0)

    def test_the_cluster_time_may_not_be_set_back_meanwhile(self) -> None:
        """They may set a TTL by it, and the log must not have an earlier time after that."""
        free: list[bool] = []
        self.patch(ClusterTime, "adjust", lambda _, is_free: free.append(is_free))
        member = self.alone.replica._member
        assert member is not None
        for act in (lambda: None, lambda: self.submit("/a"), lambda: self.alone.clock.advance(0), self.alone.settle):
            act()
            member._timekeeper.adjust()
        self.assertEqual(free, [True, False, False, True])

    def test_a_stop_waits_for_them(self) -> None:
        self.submit("/a")
        self.alone.stop()
        self.assertIsInstance(self.told[0], Event)
        self.alone = self.machine()
        self.assertEqual(self.value(self.alone, "/a"), "")

    def test_all_of_them_fail_with_the_disk(self) -> None:
        self.submit("/a")
        self.alone.clock.advance(0)
        self.alone.disk_thread.failing = OSError(5, "Input/output error")
        self.submit("/b")
        self.alone.disk_thread.run_one()
        self.alone.settle()
        self.assertEqual([type(each) for each in self.told], [EtcdError, EtcdError])
        self.assertEqual(self.alone.replica.measurements().proposals_pending, 0)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)


class QuotaTests(ReplicaTestCase):
    """There is one check of the quota for many changes. It has to let pass what a check of each would, and no more."""

    steps = st.lists(
        st.tuples(
            st.sampled_from(["submit", "submit", "submit", "follow", "propose", "propose", "delete", "turn", "sync"]),
            st.integers(0, 15),
        ),
        min_size=10,
        max_size=50,
    )

    def assert_same(self, steps: list[tuple[str, int]]) -> list[object]:
        """Asserts that outcomes are those of a check of each change, and returns them."""
        seldom = self.outcomes(UNCHECKED_BYTES, steps)
        self.assertEqual(seldom, self.outcomes(SMALL_QUOTA, steps))
        return seldom

    @settings(max_examples=10)
    @given(steps)
    def test_outcomes_are_those_of_a_check_of_each_change(self, steps: list[tuple[str, int]]) -> None:
        self.assert_same(steps)

    def test_what_is_proposed_in_another_way_counts(self) -> None:
        self.assert_full([("submit", 0), *(("propose", number) for number in range(1, 15))])

    def test_what_is_applied_counts(self) -> None:
        self.assert_full([(step, number) for number in range(15) for step in ONE_BY_ONE])

    def test_what_is_not_in_the_log_yet_counts(self) -> None:
        self.assert_full([("submit", number) for number in range(15)])

    def test_what_fits_is_the_same_in_one_turn_and_in_many(self) -> None:
        in_one = self.outcomes(UNCHECKED_BYTES, [("submit", number) for number in range(15)])
        in_many = self.outcomes(UNCHECKED_BYTES, [(step, number) for number in range(15) for step in ONE_BY_ONE])
        self.assertEqual(in_one[-1], in_many[-1])

    def assert_full(self, steps: list[tuple[str, int]]) -> None:
        """Asserts that a key space becomes full by these steps, so that nothing that follows is made."""
        happened = self.assert_same([*steps, ("turn", 0), ("sync", 0), ("submit", 15), ("submit", 16)])
        refused = [each for each in happened if "--quota-bytes" in str(each)]
        self.assertGreater(len(refused), 2)

    def outcomes(self, unchecked_bytes: int, steps: list[tuple[str, int]]) -> list[object]:
        """Returns what happens in order, if there is one check for so many bytes of changes."""
        patched = self.patch(proposer, "_UNCHECKED_BYTES", unchecked_bytes)
        self.path = Path(self.mktemp())
        machine = self.machine(quota_bytes=SMALL_QUOTA, entries_per_turn=3)
        happened: list[object] = []
        for step, number in steps:
            self.take(machine, step, f"/{number}" + "/a" * 150, happened)
            happened.append(machine.replica.measurements().contents.size_bytes)
        machine.settle()
        happened.append(machine.replica.measurements().contents.size_bytes)
        machine.crash()
        patched.restore()
        return happened

    def take(self, machine: TestMachine, step: str, key: str, happened: list[object]) -> None:
        """Take one step of an example."""
        replica = machine.replica

        def tell(outcome: object) -> None:
            happened.append((key, str(outcome) if isinstance(outcome, Exception) else type(outcome)))

        def follow(outcome: object) -> None:
            tell(outcome)
            self.take(machine, "submit", key + "/a", happened)

        if step == "turn":
            machine.clock.advance(0)
        elif step == "sync" and machine.disk_thread.jobs:
            machine.disk_thread.run_one()
        elif step == "delete":
            replica.propose(Delete(key[: key.index("/", 1)], replica.now(), recursive=True)).addCallbacks(
                tell, lambda failure: tell(failure.value)
            )
        elif step == "propose":
            replica.propose(Set(key, replica.now())).addCallbacks(tell, lambda failure: tell(failure.value))
        elif step in ("submit", "follow"):
            try:
                happened.append(replica.submit(Set(key, replica.now()), tell if step == "submit" else follow))
            except EtcdError as error:
                happened.append(error.cause)


class ClusterTests(ClusterTestCase):
    def test_they_are_not_made_if_another_machine_leads_by_the_end_of_the_turn(self) -> None:
        """They may be made to the new leader."""
        cluster = self.cluster()
        cluster.start(3)
        old, other = cluster.leader, cluster.followers[0]
        logged = old.raft.last_index
        told: list[Any] = []
        for key in ("/a", "/b"):
            self.assertTrue(old.replica.submit(Set(key, old.replica.now()), told.append))
        old.node.receive(other.id, [Append(old.raft.term + 1, 1, 0, 0, 0)])
        self.assertEqual([type(each) for each in told], [RequestDroppedError, RequestDroppedError])
        self.assertEqual(old.raft.last_index, logged)
        self.assertFalse(old.replica.submit(Set("/c", old.replica.now()), told.append))
        measured = old.replica.measurements()
        self.assertEqual((measured.proposals_pending, measured.proposals_failed, len(told)), (0, 2, 2))

    def test_they_are_made_although_this_machine_hands_over_or_stops_in_the_same_turn(self) -> None:
        for act in ("hand over", "stop"):
            cluster = self.cluster()
            cluster.start(3)
            leader = cluster.leader
            told: list[Any] = []
            for key in ("/a", "/b"):
                self.assertTrue(leader.replica.submit(Set(key, leader.replica.now(), act), told.append))
            if act == "stop":
                leader.stop()
            else:
                cluster.result_of(ensureDeferred(leader.participation.hand_over()))
            cluster.settle()
            self.assertEqual([type(each) for each in told], [Event, Event], act)
            other = cluster.await_leader()
            self.assertIsNot(other, leader)
            self.assertEqual([other.get(key) for key in ("/a", "/b")], [act, act])

    def test_they_go_to_the_other_machines_during_a_sync(self) -> None:
        """The other disks need not wait until this one is done with what came before."""
        cluster = self.cluster()
        cluster.start(3)
        leader, now = cluster.leader, cluster.leader.replica.now()
        logged = leader.raft.last_index
        leader.disk_thread.held = True
        for sent, key in enumerate(("/a", "/b", "/c"), 1):
            self.assertTrue(leader.replica.submit(Set(key, now), lambda _: None))
            cluster.advance(0.005)  # a part of a heartbeat interval
            self.assertEqual([each.raft.last_index - logged for each in cluster.followers], 2 * [sent])
        leader.disk_thread.held = False
        cluster.settle()

    def test_a_change_of_the_group_follows_those_that_came_before_it(self) -> None:
        """A leader that is being taken out of the group might not learn what becomes of those after it."""
        cluster = self.cluster()
        cluster.start(3)
        leader = cluster.leader
        logged = leader.raft.last_index
        self.assertTrue(leader.replica.submit(Set("/a", leader.replica.now()), lambda _: None))
        leader.node.propose_configuration(with_member(leader.raft.configuration, leader.id, Member("m", "", "")))
        kinds = [entry.kind for entry in leader.raft.log.between(logged + 1, leader.raft.last_index + 1)]
        self.assertEqual(kinds, [EntryKind.COMMAND, EntryKind.CONFIGURATION])
