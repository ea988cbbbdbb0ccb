"""
Tests of the quota: what is refused before it is logged, what is accepted all the same, and who is informed.
"""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, formatEvent

from etcd_twisted.consensus.proposals.quota import REFUSALS_SECONDS
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from etcd_twisted.keyspace.commands import (
    Change,
    CompareAndDelete,
    CompareAndSwap,
    Create,
    CreateInOrder,
    Delete,
    Refresh,
    Set,
    Update,
)
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.nodes import File
from etcd_twisted.keyspace.sizes import NODE_BYTES
from tests.consensus.cluster import ClusterTestCase
from tests.consensus.machine import SECOND, ReplicaTestCase
from tests.logs.lines import Log

ROOM = 20_000
"""The quota of these tests is for what a cluster has of its own, and for some keys."""


class QuotaTest(ReplicaTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.begin()

    def begin(self, quota_bytes: int = ROOM, snapshot_count: int | None = None, **limits: Any) -> None:
        self.quota_bytes = quota_bytes
        self.machine0 = self.machine(snapshot_count, quota_bytes=quota_bytes, **limits)
        self.replica = self.machine0.replica

    def restart(self, quota_bytes: int = ROOM, snapshot_count: int | None = None, **limits: Any) -> None:
        self.machine0.stop()
        self.begin(quota_bytes, snapshot_count, **limits)

    def tearDown(self) -> None:
        self.machine0.stop()

    @property
    def size(self) -> int:
        return self.replica.measurements().contents.size_bytes

    @property
    def left(self) -> int:
        return self.quota_bytes - self.size

    def done(self, command: Change) -> Any:
        """Returns the outcome of a command."""
        made = self.replica.propose(command)
        self.machine0.settle()
        results: list[Any] = []
        made.addBoth(results.append)
        return results[0]

    def assert_done(self, *commands: Change) -> None:
        for command in commands:
            self.assertIsInstance(self.done(command), Event)

    def assert_refused(self, *commands: Change) -> None:
        """Asserts that a command is refused with the name of the limit, and before it is logged."""
        for command in commands:
            logged, index = self.replica.raft_index, self.replica.index
            error = self.done(command).value
            self.assertEqual((error.code, error.index), (ErrorCode.RAFT_INTERNAL, index), command)
            self.assertIn(f"holds {self.size} of the {self.quota_bytes} bytes that --quota-bytes allows", error.cause)
            self.assertIn("this write was not made", error.cause)
            self.assertEqual(self.replica.raft_index, logged)

    def fill(self, key: str = "/full") -> None:
        """Leaves no room at all."""
        self.assert_done(Set(key, 0, "x" * (self.left - NODE_BYTES - len(key) + 1)))
        self.assertEqual(self.left, 0)


class RefusalTests(QuotaTest):
    def test_quota_is_exact(self) -> None:
        """The key space may be as large as the quota, and not a byte larger."""
        self.assert_refused(Set("/a", 0, "x" * (self.left - NODE_BYTES)))
        self.assert_done(Set("/a", 0, "x" * (self.left - NODE_BYTES - 1)))
        self.assertEqual(self.left, 0)
        now = self.replica.now()
        self.assert_refused(
            *(Set("/b", now), Create("/b", now), Set("/b", now, "", True)),
            *(CreateInOrder("/b", now), CreateInOrder("/", now)),
            *(Set("/a", now, "x" * ROOM), Update("/a", now, "é" * ROOM), CompareAndSwap("/a", now, "x" * ROOM)),
        )
        told: list[Any] = []
        error = self.assertRaises(EtcdError, self.replica.submit, Set("/b", 0), told.append)
        self.assertEqual((error.code, told), (ErrorCode.RAFT_INTERNAL, []))
        self.assertEqual(self.replica.measurements().contents.refused, 10)

    def test_commands_that_need_no_room_are_accepted(self) -> None:
        """
        Whatever does not enlarge the key space is accepted, and what the key space itself refuses has its own errors.
        """
        now = self.replica.now()
        later = now + 5 * SECOND
        self.assert_done(Set("/d/a", 0, "12345"), Set("/d/b", 0, "12345", expires=later), Set("/d/c", 0, "12345"))
        self.fill()
        self.assert_done(
            *(Set("/d/a", now, "54321"), Update("/d/a", now, "54321")),
            *(CompareAndSwap("/d/a", now, "12345", None, "54321"), CompareAndSwap("/d/a", now, None, later)),
            *(Refresh("/d/a", now, later), Update("/d", now, "", True, later)),
        )
        for command, code in (
            (Create("/d/a", now, "x" * ROOM), ErrorCode.KEY_EXISTS),
            (Update("/nothing", now, "x" * ROOM), ErrorCode.KEY_NOT_FOUND),
            (Set("/d", now, "x" * ROOM), ErrorCode.NOT_A_FILE),
            (Set("/d/a/x", now, "x" * ROOM), ErrorCode.NOT_A_DIRECTORY),
            (Set("/", now, "x" * ROOM), ErrorCode.ROOT_READ_ONLY),
        ):
            self.assertEqual(self.done(command).value.code, code)
        self.assertEqual(self.left, 0)
        self.assert_done(CompareAndDelete("/d/c", now, "12345"), Delete("/d/a", now))
        room = self.left
        self.assertEqual(room, 2 * (NODE_BYTES + 6))
        self.machine0.clock.advance(6)  # the directory /d expires, and all that is in it
        self.machine0.settle()
        self.assertEqual(self.left, 2 * NODE_BYTES + room + 1 + 6)
        self.assert_done(Set("/e", now, "x"))

    def test_cluster_configuration_can_be_set_over_the_quota(self) -> None:
        """The cluster's configuration can be set when nobody can write anything else."""
        self.fill()
        configured = self.replica.configure(ClusterConfig(5, 60.0, 5.0))
        self.machine0.settle()
        self.successResultOf(configured)
        self.assertLess(self.left, 0)
        self.assertEqual(self.replica.cluster_config(), ClusterConfig(5, 60.0, 5.0))

    def test_quota_of_0_is_no_limit(self) -> None:
        """A quota of 0 means that there is no limit."""
        self.restart(quota_bytes=0)
        self.assert_done(Set("/a", 0, "x" * 10 * ROOM))
        contents = self.replica.measurements().contents
        self.assertEqual((contents.quota_bytes, contents.alarm), (0, False))

    def test_size_is_known_after_a_restart(self) -> None:
        """
        The key space is as large as before, from the log and from a snapshot. A smaller quota keeps what is there.
        """
        self.fill()
        contents = self.replica.measurements().contents
        for count in (None, 1, 1):
            self.restart(snapshot_count=count)
            self.assertEqual((self.replica.measurements().contents.size_bytes, self.left), (contents.size_bytes, 0))
            self.assert_refused(Set("/b", 0))
            self.assert_done(Set("/full", 0, self.value(self.machine0, "/full")))
        self.restart(quota_bytes=2_000)
        self.assertTrue(self.replica.measurements().contents.alarm)
        self.assert_refused(Set("/b", 0))
        self.assert_done(Delete("/full", 0), Set("/b", 0))


class OnTheirWayTests(QuotaTest):
    """A proposal counts as long as it may still be applied."""

    def start(self, command: Change) -> "Deferred[Any]":
        return self.replica.propose(command)

    def test_many_proposals_at_once_stay_within_the_quota(self) -> None:
        fitting = self.left // (NODE_BYTES + 103)
        made = [self.start(Set(f"/{number:02}", 0, "x" * 100)) for number in range(3 * fitting)]
        for refused in made[fitting:]:
            self.failureResultOf(refused, EtcdError)
        self.machine0.settle()
        for each in made[:fitting]:
            self.successResultOf(each)
        self.assertLess(self.left, NODE_BYTES + 103)
        self.assertGreaterEqual(self.left, 0)

    def test_applied_proposals_free_what_they_did_not_use(self) -> None:
        """A proposal that took less room than it might have, or has failed, no longer counts with more."""
        self.assert_done(Set("/d/a", 0, "x" * 5_000))
        changes = [Set("/d/a", 0, "y" * 5_000) for _ in range(10)]
        changes += [Create("/d/a/b", 0, "y" * 5_000) for _ in range(10)]
        made = [self.start(command) for command in changes]
        self.machine0.settle()
        self.assertEqual(sum(isinstance(each.result, Event) for each in made), 10)
        for each in made[10:]:
            self.failureResultOf(each, EtcdError)
        self.fill()

    def test_proposals_that_waited_for_room_in_the_log_stay_within_the_quota(self) -> None:
        self.restart(unapplied_bytes=10)
        first = self.start(Set("/a", 0, "x" * (self.left - NODE_BYTES - 1)))
        second = self.start(Set("/b", 0, "x"))
        self.assertNoResult(second)
        self.machine0.settle()
        self.successResultOf(first)
        self.assertIn("--quota-bytes", self.failureResultOf(second, EtcdError).value.cause)

    def test_quota_is_exceeded_by_a_bounded_size(self) -> None:
        """The excess is at most what was in flight while something was removed that it writes again."""
        self.restart(entries_per_turn=1)
        self.assert_done(Set("/a", 0, "x" * 5_000))
        self.fill()
        self.start(Delete("/a", 0))
        self.start(Set("/a", 0, "y" * 5_000))
        self.failureResultOf(self.start(Set("/c", 0)), EtcdError)  # by now the proposals in flight add nothing
        index = self.replica.index
        while self.replica.index == index:
            self.machine0.clock.advance(0)
            if self.machine0.disk_thread.jobs:
                self.machine0.disk_thread.run_one()
        self.assertEqual((self.replica.index, self.left), (index + 1, NODE_BYTES + 5_001))
        self.start(Set("/b", 0, "z" * 5_000))
        self.machine0.settle()
        self.assertEqual(self.left, -NODE_BYTES - 5_001)
        self.assert_refused(Set("/c", 0))


class AlarmTests(QuotaTest):
    def setUp(self) -> None:
        self.log = Log(self)
        super().setUp()

    def said(self, level: LogLevel) -> list[str]:
        lines = [formatEvent(each) for each in self.log.events if each["log_level"] == level]
        return [line for line in lines if "key space holds" in line]

    def use(self, *percents: int) -> None:
        """Makes the key space grow to each of these sizes, one after the other."""
        for percent in percents:
            node = self.replica.keyspace.root.children.get("big")
            now = len(node.value) if isinstance(node, File) else -NODE_BYTES - 3
            self.assert_done(Set("/big", 0, "x" * (ROOM * percent // 100 - self.size + now)))
            self.assertEqual(self.size, ROOM * percent // 100)

    def test_size_near_the_quota_is_logged(self) -> None:
        """There is one warning, on the way up."""
        self.use(89)
        self.assertEqual((self.said(LogLevel.warn), self.alarm), ([], False))
        self.use(90)
        size = ROOM * 9 // 10
        warning = (
            f"The key space holds {size} bytes, 90 % of the quota (--quota-bytes {ROOM}). Writes that would exceed "
            "the quota are refused"
        )
        self.assertEqual((self.said(LogLevel.warn), self.alarm), ([warning], True))

    def test_size_far_from_the_quota_is_logged(self) -> None:
        """One line is logged when it is far from the quota again; in between it may go up and down."""
        self.use(95, 89, 92, 86, 97)
        self.assertEqual((len(self.said(LogLevel.warn)), self.said(LogLevel.info)), (1, []))
        self.assert_done(Set("/big", 0, "x"))
        (over,) = self.said(LogLevel.info)
        percent = 100 * self.size // ROOM
        self.assertEqual(over, f"The key space holds {self.size} bytes, {percent} % of the quota: there is room again")
        self.assertEqual(self.alarm, False)

    def test_refusals_are_logged(self) -> None:
        """
        Refusals are logged at once, then every half a minute as long as they go on, with their number, each in one
        line.
        """
        self.fill()
        for _ in range(3):
            self.assert_refused(Set("/b", 0))
        self.assertEqual(len(self.said(LogLevel.error)), 1)
        self.machine0.clock.advance(REFUSALS_SECONDS - 1)
        self.assert_refused(Set("/b", 0))
        self.machine0.clock.advance(1)
        self.assert_refused(Set("/long\n" + "x" * 200, 0))
        first, second = self.said(LogLevel.error)
        held = f"the key space holds {ROOM} of {ROOM} bytes. Delete"
        why = "that would exceed the quota, the last one to "
        self.assertTrue(first.startswith(f"Refused 1 write {why}'/b': {held}"), first)
        self.assertTrue(second.startswith(f"Refused 4 writes {why}'/long\\nxxx"), second)
        self.assertLess(len(second), 400)
        self.assertNotIn("\n", second)

    @property
    def alarm(self) -> bool:
        return self.replica.measurements().contents.alarm


class ClusterTests(ClusterTestCase):
    def test_every_machine_has_the_alarm(self) -> None:
        """All machines know the size and have the alarm, and a new leader refuses what the last one did."""
        cluster = self.cluster(quota_bytes=ROOM)
        cluster.start(3)
        leader = cluster.leader
        room = ROOM - leader.replica.measurements().contents.size_bytes
        cluster.result_of(leader.set("/a", "x" * (room - NODE_BYTES - 1)))
        for _ in range(2):
            cluster.settle()
            for machine in cluster.running:
                contents = machine.replica.measurements().contents
                self.assertEqual((contents.size_bytes, contents.alarm), (ROOM, True))
            refused = cluster.leader.set("/b")
            self.failureResultOf(refused, EtcdError)
            if cluster.leader is leader:
                leader.crash()
                cluster.await_leader()
        cluster.result_of(cluster.leader.replica.propose(Delete("/a", 0)))
        cluster.settle()
        cluster.result_of(cluster.leader.set("/b"))
