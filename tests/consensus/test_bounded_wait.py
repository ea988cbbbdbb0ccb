"""
Tests of L{etcd_twisted.consensus.bounded_wait}, and of the node and the disk thread that wait.
"""

import threading
from typing import cast

from twisted.internet import defer, reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from etcd_twisted.consensus.bounded_wait import (
    MOST_READS_BETWEEN,
    MOST_RECORDS_AFTER_TIMEOUT,
    MOST_SECONDS,
    RECORDS_AFTER_TIMEOUT,
    RECORDS_IN_A_ROW,
    BoundedWait,
)
from etcd_twisted.consensus.forwarding.requests import Confirm, encode
from etcd_twisted.consensus.node import Node
from etcd_twisted.consensus.raft.entries import Entry, EntryKind, Record
from etcd_twisted.consensus.raft.messages import Append, AppendReply
from etcd_twisted.consensus.storage.disk_thread import DiskThread
from etcd_twisted.keyspace.commands import Set
from tests.consensus.cluster import ClusterTestCase
from tests.consensus.nodes import A, B, NodeTestCase, propose

SYNC_SECONDS = 0.0001
LONG_SECONDS = 30.0
"""Longer than any test that passes."""


class GateTests(SynchronousTestCase):
    """Tests of when there is a wait."""

    def setUp(self) -> None:
        self.reads = 0
        self.anybody_waits = False
        self.wait = BoundedWait(lambda: self.reads, anybody_waits=lambda: self.anybody_waits)

    def write(self, records: int, sync_seconds: float = SYNC_SECONDS) -> list[float]:
        """Returns how long it may wait for each of some records, which come one after another."""
        waits = []
        for _ in range(records):
            waits.append(self.wait.seconds(1))
            self.wait.took(sync_seconds)
        return waits

    def test_a_lone_writer_is_known_by_its_records(self) -> None:
        waits = self.write(100)
        self.assertEqual(waits[:RECORDS_IN_A_ROW], [0.0] * RECORDS_IN_A_ROW)
        self.assertTrue(self.wait.lone)
        self.assertEqual(waits[-1], 2 * SYNC_SECONDS)

    def test_there_is_a_bound(self) -> None:
        self.assertEqual(self.write(100, 0.4)[-1], MOST_SECONDS)

    def test_a_clock_that_is_set_back_is_no_reason_to_wait(self) -> None:
        self.assertEqual(self.write(100, -5.0)[-1], 0.0)

    def test_a_record_of_several_entries_ends_it(self) -> None:
        self.write(100)
        self.assertEqual(self.wait.seconds(2), 0.0)
        self.assertFalse(self.wait.lone)
        self.assertEqual(self.write(RECORDS_IN_A_ROW), [0.0] * RECORDS_IN_A_ROW)

    def test_a_record_without_entries_ends_it(self) -> None:
        self.write(100)
        self.assertEqual(self.wait.seconds(0), 0.0)
        self.assertFalse(self.wait.lone)

    def test_other_clients_reads_end_it(self) -> None:
        self.write(100)
        self.reads += MOST_READS_BETWEEN
        self.assertNotEqual(self.wait.seconds(1), 0.0)
        self.reads += MOST_READS_BETWEEN + 1
        self.assertEqual(self.wait.seconds(1), 0.0)
        self.assertFalse(self.wait.lone)

    def follow(self, records: int) -> list[float]:
        """Returns how long it may wait for each of some long records that come from the leader."""
        waits = []
        for _ in range(records):
            waits.append(self.wait.seconds(50, follows=True))
            self.wait.took(SYNC_SECONDS)
        return waits

    def test_a_follower_waits_for_long_records_too(self) -> None:
        waits = self.follow(100)
        self.assertEqual(waits[:RECORDS_IN_A_ROW], [0.0] * RECORDS_IN_A_ROW)
        self.assertEqual(waits[-1], 2 * SYNC_SECONDS)
        self.assertFalse(self.wait.lone)
        self.assertEqual(self.wait.seconds(0, follows=True), 0.0)

    def test_a_follower_does_not_wait_while_its_own_clients_ask(self) -> None:
        self.follow(100)
        self.reads += MOST_READS_BETWEEN + 1
        self.assertEqual(self.follow(RECORDS_IN_A_ROW + 1), [0.0] * (RECORDS_IN_A_ROW + 1))
        self.assertNotEqual(self.follow(1), [0.0])
        self.anybody_waits = True
        self.assertEqual(self.follow(1), [0.0])

    def test_a_lone_writer_through_a_follower(self) -> None:
        """The follower waits for its records, each of which holds the one change that its client waits for."""
        self.anybody_waits = True
        waits = [self.wait.seconds(1, follows=True) for _ in range(RECORDS_IN_A_ROW + 1)]
        self.assertNotEqual(waits[-1], 0.0)

    def test_a_machine_that_takes_the_lead_does_not_wait_for_many_writers(self) -> None:
        self.follow(100)
        self.assertEqual(self.wait.seconds(50), 0.0)

    def test_there_is_no_wait_for_a_while_after_one_that_was_too_long(self) -> None:
        self.write(100)
        self.wait.timed_out()
        waits = self.write(RECORDS_AFTER_TIMEOUT + 1)
        self.assertEqual(waits[:-1], [0.0] * RECORDS_AFTER_TIMEOUT)
        self.assertNotEqual(waits[-1], 0.0)

    def until_next_wait(self) -> int:
        """Returns how many records are written without a wait before the next one that may be waited for."""
        without = 0
        while not self.wait.seconds(1):
            without += 1
            self.assertLessEqual(without, MOST_RECORDS_AFTER_TIMEOUT)
        return without

    def test_a_disk_that_is_always_too_slow_is_hardly_waited_for(self) -> None:
        self.write(100)
        without = []
        for _ in range(12):
            self.wait.timed_out()
            without.append(self.until_next_wait())
        self.assertEqual(without, sorted(without))
        self.assertEqual(without[-1], MOST_RECORDS_AFTER_TIMEOUT)

    def test_a_disk_that_is_seldom_too_slow_is_waited_for_again_soon(self) -> None:
        self.write(100)
        for _ in range(12):
            self.wait.timed_out()
            self.until_next_wait()
        self.write(20)
        self.wait.timed_out()
        self.assertEqual(self.until_next_wait(), RECORDS_AFTER_TIMEOUT)


class MemberTests(ClusterTestCase):
    def test_a_follower_does_not_wait_while_it_serves(self) -> None:
        """It serves those who wait for changes that it has passed on, and its workers, which ask the leader by it."""
        cluster = self.cluster()
        cluster.start(3)
        follower = cluster.followers[0]
        wait = follower.node._bounded_wait
        assert wait is not None
        forwarded = follower.replica.forward(Set("/a", follower.replica.now()))
        cluster.advance(0)  # it is on its way to the leader
        waits = [wait.seconds(50, follows=True) for _ in range(2 * RECORDS_IN_A_ROW)]
        self.assertEqual(set(waits), {0.0})
        cluster.result_of(forwarded)
        waits = [wait.seconds(50, follows=True) for _ in range(2 * RECORDS_IN_A_ROW)]
        self.assertNotEqual(waits[-1], 0.0)
        for _ in range(MOST_READS_BETWEEN + 1):
            cluster.result_of(follower.member.carry_out(encode(Confirm(recent=True)), None))
        self.assertEqual(wait.seconds(50, follows=True), 0.0)


class WaitingNodeTests(NodeTestCase):
    """Tests of a node that waits."""

    def waiting(self, node: Node) -> None:
        """Makes a node wait for each record, on a disk that writes each at once."""
        self.records: list[Record] = []
        wait = BoundedWait(lambda: 0)
        self.patch(node, "_bounded_wait", wait)
        for _ in range(100):
            wait.seconds(1)
            wait.took(SYNC_SECONDS)

        def append(record: Record, wait_seconds: float = 0.0) -> "Deferred[None]":
            self.assertGreater(wait_seconds, 0.0)
            self.records.append(record)
            return succeed(None)

        self.patch(self.around, "append", append)

    def test_a_lone_write_is_applied_before_the_call_returns(self) -> None:
        node = self.alone()
        self.waiting(node)
        index = node.propose(b"x")
        node.proposed()
        self.assertEqual(self.around.applied, [[index]])
        self.assertEqual([entry.data for record in self.records for entry in record.entries], [b"x"])

    def test_a_lone_write_goes_to_the_others_first(self) -> None:
        node = self.elected()
        self.acknowledge(node)
        self.settle()
        self.around.take_sent()
        self.waiting(node)
        propose(node, b"x")
        self.assertTrue(self.around.sent)
        applied = len(self.around.applied)
        self.acknowledge(node)
        self.assertEqual(len(self.around.applied), applied + 1)

    def test_a_follower_answers_in_the_turn_in_which_the_record_came(self) -> None:
        follower = self.node(A, B)
        self.waiting(follower)
        follower.receive(B, [Append(1, 1, 0, 0, 0, (Entry(1, 1, EntryKind.COMMAND, b"x"),))])
        self.assertTrue([message for _, message in self.around.sent if isinstance(message, AppendReply)])

    def test_a_follower_answers_for_many_entries_in_the_turn_in_which_they_came(self) -> None:
        follower = self.node(A, B)
        self.waiting(follower)
        entries = tuple(Entry(index, 1, EntryKind.COMMAND, b"x") for index in range(1, 51))
        follower.receive(B, [Append(1, 1, 0, 0, 0, entries)])
        replies = [message.index for _, message in self.around.sent if isinstance(message, AppendReply)]
        self.assertEqual(replies, [50])

    def test_a_follower_measures_its_long_records(self) -> None:
        follower = self.node(A, B)
        self.waiting(follower)
        measured: list[float] = []
        self.patch(follower._bounded_wait, "took", measured.append)
        entries = tuple(Entry(index, 1, EntryKind.COMMAND, b"x") for index in (1, 2))
        follower.receive(B, [Append(1, 1, 0, 0, 0, entries)])
        self.assertEqual(measured, [0.0])

    def test_a_wait_that_ends_first_is_noted(self) -> None:
        node = self.alone()
        self.waiting(node)
        waits: list[float] = []
        done: list[Deferred[None]] = []

        def append(_: Record, wait_seconds: float = 0.0) -> "Deferred[None]":
            waits.append(wait_seconds)
            done.append(Deferred())
            return done[-1]

        self.patch(self.around, "append", append)
        for data in (b"x", b"y"):
            propose(node, data)
            done.pop().callback(None)
            self.clock.advance(0)
        self.assertEqual(len(self.around.applied), 2)
        self.assertGreater(waits[0], 0.0)
        self.assertEqual(waits[1], 0.0)

    def test_it_waits_once_a_turn(self) -> None:
        """Writers that come in one turn of the reactor share a record, and one of them shows that none is alone."""
        node = self.alone()
        self.waiting(node)
        waits = self.note_waits()
        for data in (b"w", b"x", b"y", b"z"):
            propose(node, data)
        self.assertEqual([wait > 0.0 for wait in waits], [True])
        self.clock.advance(0)
        self.assertEqual([wait > 0.0 for wait in waits], [True, False])
        self.assertEqual([len(entries) for entries in self.around.applied], [1, 3])

    def test_it_waits_once_a_turn_for_a_client_that_sends_ahead(self) -> None:
        """Requests that a client sends without waiting for the answers do not hold up the reactor one by one."""
        node = self.alone()
        self.waiting(node)
        waits = self.note_waits()
        sent_ahead = [b"x", b"y", b"z"]
        self.around.on_apply = lambda _: propose(node, sent_ahead.pop()) if sent_ahead else None
        propose(node, b"w")
        for turn in range(1, 5):
            self.assertLessEqual(sum(wait > 0.0 for wait in waits), turn)
            self.clock.advance(0)
        self.assertEqual(sent_ahead, [])
        self.assertEqual([len(entries) for entries in self.around.applied], [1, 1, 1, 1])

    def without_waits(self, node: Node) -> None:
        """Has a node take its writer for a lone one, but not wait, as after a wait that took too long."""
        self.waiting(node)
        wait = node._bounded_wait
        assert wait is not None
        wait.timed_out()
        self.patch(self.around, "append", type(self.around).append.__get__(self.around))

    def test_a_change_that_is_made_within_a_turn_waits_for_the_next_one(self) -> None:
        """No turn begins within another one, even where nothing is waited for."""
        node = self.alone()
        self.without_waits(node)
        more, happened = [b"y"], list[str]()

        def applied(entry: Entry) -> None:
            if more:
                propose(node, more.pop())
                happened.append(f"writes {len(self.around.writes)}")
            happened.append(entry.data.decode())

        self.around.on_apply = applied
        propose(node, b"x")
        self.around.sync()
        self.assertEqual(happened, ["writes 0", "x"])
        self.settle()
        self.assertEqual(happened, ["writes 0", "x", "y"])

    def test_changes_during_a_sync_go_to_the_others_together(self) -> None:
        node = self.elected()
        self.acknowledge(node)
        self.settle()
        self.without_waits(node)
        propose(node, b"v")  # this one is written and sent at once
        self.around.take_sent()
        for data in (b"w", b"x"):
            propose(node, data)
        self.assertEqual(self.around.sent, [])
        self.clock.advance(0)
        sent = [message for each, message in self.around.sent if each == B and isinstance(message, Append)]
        self.assertEqual([[entry.data for entry in message.entries] for message in sent], [[b"w", b"x"]])

    def test_a_disk_that_fails_during_a_wait_ends_the_node(self) -> None:
        node = self.alone()
        self.waiting(node)
        self.patch(self.around, "append", lambda _record, _wait_seconds: fail(OSError(5, "Input/output error")))
        propose(node, b"x")
        (failure,) = self.around.failures
        failure.trap(OSError)
        propose(node, b"y")
        self.settle()
        self.assertEqual((self.around.applied, self.clock.getDelayedCalls()), ([], []))

    def note_waits(self) -> list[float]:
        """Returns a list to which each append adds how long it may wait. Each is done at once, or in the next turn."""
        waits: list[float] = []

        def append(_: Record, wait_seconds: float = 0.0) -> "Deferred[None]":
            waits.append(wait_seconds)
            return succeed(None) if wait_seconds else deferLater(self.clock, 0, lambda: None)

        self.patch(self.around, "append", append)
        return waits


class WaitingThreadTests(TestCase):
    """Tests of a disk thread that is waited for."""

    timeout = 60

    def setUp(self) -> None:
        self.thread = DiskThread(cast(IReactorFromThreads, reactor))
        self.thread.start()
        self.addCleanup(self.thread.stop)

    def test_the_job_is_done_when_the_call_returns(self) -> None:
        done: list[int] = []
        self.assertIsNone(self.thread.run_within(LONG_SECONDS, lambda: done.append(7)))
        self.assertEqual(done, [7])

    def test_its_failure_is_there(self) -> None:
        def job() -> None:
            raise OSError(5, "Input/output error")

        failed = self.thread.run_within(LONG_SECONDS, job)
        assert failed is not None
        self.failureResultOf(failed, OSError)

    async def test_a_job_that_takes_longer_hands_its_result_over_later(self) -> None:
        may_end, ended = threading.Event(), []

        def job() -> None:
            ended.append(may_end.wait(LONG_SECONDS))

        done = self.thread.run_within(0.001, job)
        assert done is not None
        self.assertNoResult(done)
        may_end.set()
        await done
        self.assertEqual(ended, [True])

    async def test_nothing_waits_behind_another_job(self) -> None:
        may_end = threading.Event()
        first = self.thread.submit(lambda: may_end.wait(LONG_SECONDS))
        ended: list[int] = []
        second = self.thread.run_within(LONG_SECONDS, lambda: ended.append(2))
        assert second is not None
        self.assertNoResult(second)
        may_end.set()
        self.assertEqual(await defer.gatherResults([first, second]), [True, None])
        self.assertEqual(ended, [2])
