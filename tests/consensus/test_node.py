"""
Tests of L{etcd_twisted.consensus.node}: what it makes the core, the disk and the state machine do, and in which order.
"""

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.node import Node
from etcd_twisted.consensus.raft.core import Raft
from etcd_twisted.consensus.raft.entries import Configuration, Entry, EntryKind, HardState, Record
from etcd_twisted.consensus.raft.errors import NotLeaderError
from etcd_twisted.consensus.raft.leader import Timing
from etcd_twisted.consensus.raft.log import RaftLog
from etcd_twisted.consensus.raft.messages import Append, AppendReply, Message, VoteReply, VoteRequest
from etcd_twisted.consensus.raft.state import Role

A, B, C = "a" * 16, "b" * 16, "c" * 16
TIMING = Timing()


class Around:
    """
    What a node needs, played by the test.

    @ivar writes: the records that are being made durable, and the Deferreds that wait for that.
    @ivar applied: the indexes of what was applied, by turn.
    @ivar on_apply: called with each entry.
    """

    def __init__(self) -> None:
        self.writes: list[tuple[Record, Deferred[None]]] = []
        self.written: list[Record] = []
        self.applied_index = 0
        self.applied: list[list[int]] = []
        self.sent: list[tuple[str, Message]] = []
        self.snapshots: list[tuple[str, int, Deferred[None]]] = []
        self.changes = 0
        self.failures: list[Failure] = []
        self.most = 1_000
        self.on_apply: Any = lambda _: None

    def append(self, record: Record) -> "Deferred[None]":
        done: Deferred[None] = Deferred()
        self.writes.append((record, done))
        assert len(self.writes) == 1, "one after another"
        return done

    def room(self) -> int:
        return self.most

    def apply(self, entries: tuple[Entry, ...]) -> None:
        for entry in entries:
            self.applied_index = entry.index
            self.on_apply(entry)
        self.applied.append([entry.index for entry in entries])

    def send(self, machine_id: str, messages: list[Message]) -> None:
        self.sent += [(machine_id, message) for message in messages]

    def send_snapshot(self, machine_id: str, term: int) -> "Deferred[None]":
        ended: Deferred[None] = Deferred()
        self.snapshots.append((machine_id, term, ended))
        return ended

    def changed(self) -> None:
        self.changes += 1

    def failed(self, failure: Failure) -> None:
        self.failures.append(failure)

    def sync(self) -> None:
        """Completes the write that is under way."""
        record, done = self.writes.pop()
        self.written.append(record)
        done.callback(None)

    def take_sent(self) -> list[tuple[str, Message]]:
        sent, self.sent = self.sent, []
        return sent


class NodeTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(100.0)
        self.around = Around()

    def node(self, *voters: str) -> Node:
        self.raft = Raft(A, HardState(), RaftLog(0, 0, Configuration(voters)), TIMING, 1, self.clock.seconds())
        node = Node(self.clock, self.raft, self.around, self.around, self.around)
        node.on_change.append(self.around.changed)
        node.failed.addErrback(self.around.failed)
        return node

    def settle(self) -> None:
        """Lets everything happen that can happen without time passing."""
        while self.around.writes or any(call.getTime() <= self.clock.seconds() for call in self.clock.calls):
            self.clock.advance(0)
            if self.around.writes:
                self.around.sync()

    def ring(self) -> None:
        """Runs the first delayed call that is due, and nothing after it."""
        call = self.clock.calls.pop(0)
        self.assertLessEqual(call.getTime(), self.clock.seconds())
        call.called = 1
        call.func(*call.args)

    def alone(self) -> Node:
        """Returns a node that leads alone."""
        node = self.node(A)
        node.start()
        self.settle()
        self.assertTrue(self.raft.leads_own_term)
        self.around.applied.clear()
        self.around.written.clear()
        return node

    def elected(self) -> Node:
        """Returns a node that leads with another machine's vote."""
        node = self.node(A, B, C)
        node.start()
        self.clock.advance(0)
        self.clock.advance(2 * TIMING.election_timeout_seconds)
        self.clock.advance(0)
        for pre in (True, False):
            self.settle()
            requests = [message for _, message in self.around.take_sent() if isinstance(message, VoteRequest)]
            node.receive(B, [VoteReply(requests[-1].term, True, pre)])
        self.settle()
        self.assertIs(self.raft.role, Role.LEADER)
        return node

    def acknowledge(self, node: Node, new: int = 0) -> None:
        """Another machine acknowledges everything except the last C{new} entries."""
        core = self.raft
        rounds = [message.round for _, message in self.around.sent if isinstance(message, Append)]
        index = core.last_index - new
        node.receive(B, [AppendReply(core.term, max(rounds, default=0), index, index)])


class TurnTests(NodeTestCase):
    """Tests of one turn of the reactor."""

    def test_many_proposals_are_one_record(self) -> None:
        node = self.alone()
        for _ in range(10):
            node.propose(b"x")
        self.assertEqual(self.around.writes, [])
        self.clock.advance(0)
        ((record, _),) = self.around.writes
        self.assertEqual(len(record.entries), 10)

    def test_proposals_during_a_sync_go_into_the_next_record(self) -> None:
        node = self.alone()
        node.propose(b"x")
        self.clock.advance(0)
        for _ in range(5):
            node.propose(b"y")
            self.clock.advance(0)
        self.around.sync()
        ((record, _),) = self.around.writes
        self.assertEqual(len(record.entries), 5)

    def test_entries_are_sent_before_they_are_written(self) -> None:
        """The answers of the others take longer."""
        node = self.elected()
        self.acknowledge(node)
        self.settle()
        self.around.take_sent()
        told: list[int] = []
        append = self.around.append

        def appending(record: Record) -> "Deferred[None]":
            told.append(sum(isinstance(message, Append) for _, message in self.around.sent))
            return append(record)

        self.patch(self.around, "append", appending)
        node.propose(b"x")
        self.clock.advance(0)
        self.assertEqual(told, [1])

    def told_when_applying(self, node: Node, proposals: int) -> list[list[int]]:
        """
        Returns the entries in each message that is sent before a change is applied that others have acknowledged.

        @param proposals: how many come meanwhile.
        """
        self.acknowledge(node)
        self.settle()
        node.propose(b"x")
        self.clock.advance(0)
        self.around.sync()
        for _ in range(proposals):
            node.propose(b"y")
        told: list[list[int]] = []

        def applying(_: object) -> None:
            sent = [message for _, message in self.around.sent if isinstance(message, Append)]
            told.extend([entry.index - self.raft.commit_index for entry in message.entries] for message in sent)

        self.around.on_apply = applying
        self.around.take_sent()
        self.acknowledge(node, proposals)
        self.clock.advance(0)
        self.assertEqual(self.around.applied[-1], [self.raft.commit_index])
        commits = [message.commit for _, message in self.around.sent if isinstance(message, Append)]
        self.assertIn(self.raft.commit_index, commits)
        return told

    def test_leader_answers_before_it_sends_the_commit_index(self) -> None:
        """Nobody waits for the message with the new commit index."""
        self.assertEqual(self.told_when_applying(self.elected(), 0), [])

    def test_leader_sends_entries_before_it_answers(self) -> None:
        """The others have to write the entries."""
        self.assertEqual(self.told_when_applying(self.elected(), 2), [[1, 2]])

    def test_messages_are_handled_at_once(self) -> None:
        """Nothing else that comes in this turn would go with it."""
        node = self.node(A, B, C)
        node.start()
        node.receive(B, [Append(1, 1, 0, 0, 0, (Entry(1, 1, EntryKind.COMMAND, b"x"),))])
        self.assertEqual(len(self.around.writes), 1)

    def test_messages_wait_while_there_are_new_entries(self) -> None:
        """More entries may come."""
        node = self.elected()
        self.settle()
        node.propose(b"x")
        self.around.take_sent()
        self.acknowledge(node, 1)
        self.assertEqual((self.around.sent, self.around.writes), ([], []))
        node.propose(b"y")
        self.clock.advance(0)
        entries = [message.entries for _, message in self.around.sent if isinstance(message, Append)]
        self.assertEqual([len(each) for each in entries], [2])

    def test_messages_wait_while_there_is_much_to_apply(self) -> None:
        """A bounded number is applied in a turn, however much comes in it."""
        node = self.node(A, B, C)
        node.start()
        self.around.most = 3
        entries = tuple(Entry(index, 1, EntryKind.COMMAND, b"x") for index in range(1, 21))
        node.receive(B, [Append(1, 1, 0, 0, 20, entries)])
        self.around.sync()
        self.assertEqual(self.around.applied, [[1, 2, 3]])
        for _ in range(10):
            node.receive(B, [Append(1, 1, 20, 1, 20)])
        self.assertEqual(self.around.applied, [[1, 2, 3]])
        self.clock.advance(0)
        self.assertEqual([len(each) for each in self.around.applied], [3] * 6 + [2])

    def test_follower_answers_before_it_applies(self) -> None:
        """The leader waits for the answer."""
        node = self.node(A, B, C)
        node.start()
        answered: list[int] = []
        self.around.on_apply = lambda _: answered.extend(
            message.index for _, message in self.around.sent if isinstance(message, AppendReply)
        )
        node.receive(B, [Append(1, 1, 0, 0, 1, (Entry(1, 1, EntryKind.COMMAND, b"x"),))])
        self.settle()
        self.assertEqual((answered, self.around.applied), ([1], [[1]]))

    def test_nothing_is_applied_before_it_is_durable(self) -> None:
        node = self.alone()
        node.propose(b"x")
        self.clock.advance(0)
        self.assertEqual(self.around.applied, [])
        self.around.sync()
        self.assertEqual(self.around.applied, [[self.around.applied_index]])

    def test_follower_applies_nothing_before_it_is_durable(self) -> None:
        """This holds even if the leader says that the entry is committed."""
        node = self.node(A, B, C)
        node.start()
        entry = Entry(1, 1, EntryKind.COMMAND, b"x")
        node.receive(B, [Append(1, 1, 0, 0, 1, (entry,))])
        self.clock.advance(0)
        self.assertEqual((self.raft.commit_index, self.around.applied), (1, []))
        self.assertEqual([each for each in self.around.sent if isinstance(each[1], AppendReply)], [])
        self.settle()
        self.assertEqual(self.around.applied, [[1]])

    def test_bounded_number_of_entries_is_applied_in_a_turn(self) -> None:
        node = self.alone()
        self.around.most = 3
        for _ in range(8):
            node.propose(b"x")
        self.clock.advance(0)
        self.around.sync()
        self.assertEqual([len(each) for each in self.around.applied], [3])
        self.around.most = 0
        self.ring()
        self.assertEqual([len(each) for each in self.around.applied], [3])
        self.around.most = 3
        self.clock.advance(0)
        self.assertEqual([len(each) for each in self.around.applied], [3, 3, 2])

    def test_applied_index_within_a_batch(self) -> None:
        """A copy is whole only after the last entry."""
        node = self.alone()
        found: list[tuple[int, bool]] = []
        around = self.around
        around.on_apply = lambda entry: found.append((entry.index - around.applied_index, node.holds_lease()))
        for _ in range(3):
            node.propose(b"x")
        self.settle()
        self.assertEqual(found, [(0, False), (0, False), (0, True)])

    def test_change_is_reported_once(self) -> None:
        node = self.alone()
        before = self.around.changes
        node.propose(b"x")
        self.settle()
        self.assertEqual(self.around.changes, before)

    def test_callback_within_a_turn_may_propose(self) -> None:
        node = self.alone()
        self.around.on_apply = lambda entry: node.propose(b"y") if entry.data == b"x" else None
        node.propose(b"x")
        self.settle()
        self.assertEqual(len(self.around.applied), 2)

    def test_callback_within_a_turn_may_stop_the_node(self) -> None:
        node = self.alone()
        self.around.on_apply = lambda _: node.stop()
        node.propose(b"x")
        self.clock.advance(0)
        read = node.confirm_read()
        self.around.sync()
        self.failureResultOf(read, NotLeaderError)
        self.around.take_sent()
        self.settle()
        self.assertEqual((self.around.sent, self.around.failures), ([], []))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_node_that_is_stopped_within_a_turn_reports_nothing_more(self) -> None:
        node = self.node(A)
        told: list[int] = []

        def stop(_: object) -> None:
            node.stop()
            told.append(self.around.changes)

        self.around.on_apply = stop  # with the entry that reveals what is committed, which is a change
        node.start()
        self.settle()
        self.assertEqual(told, [self.around.changes])


class TimeTests(NodeTestCase):
    def test_late_timer_lets_messages_be_read_before_an_election(self) -> None:
        """A process that was held up finds its leader's heartbeats in its socket, and they have their turn first."""
        node = self.node(A, B, C)
        node.start()
        node.receive(B, [Append(1, 1, 0, 0, 0)])
        self.settle()
        self.around.take_sent()

        def read_sockets() -> None:
            node.receive(B, [Append(1, 2, 0, 0, 0)])

        self.clock.rightNow += 10.0
        self.ring()
        read_sockets()  # as the reactor does between two turns
        self.settle()
        self.assertIs(self.raft.role, Role.FOLLOWER)
        self.assertEqual([each for each in self.around.sent if isinstance(each[1], VoteRequest)], [])

    def test_late_timer_without_messages_leads_to_an_election(self) -> None:
        node = self.node(A, B, C)
        node.start()
        self.clock.advance(0)
        self.clock.advance(10.0)
        self.settle()
        self.assertEqual({each for each, message in self.around.sent if isinstance(message, VoteRequest)}, {B, C})

    def test_heartbeats_go_on(self) -> None:
        node = self.elected()
        self.acknowledge(node)
        self.settle()
        self.around.take_sent()
        for _ in range(10):
            self.clock.advance(TIMING.heartbeat_seconds)
            self.acknowledge(node)
            self.settle()
        beats = [message for each, message in self.around.sent if each == C]
        self.assertGreaterEqual(len(beats), 10)
        self.assertIs(self.raft.role, Role.LEADER)

    def test_late_leader_sends_heartbeats_at_once(self) -> None:
        node = self.elected()
        self.acknowledge(node)
        self.settle()
        self.around.take_sent()
        self.clock.rightNow += 5 * TIMING.heartbeat_seconds
        self.ring()
        self.assertNotEqual(self.around.sent, [])

    def test_leader_that_hears_nobody_stops_leading(self) -> None:
        node = self.elected()
        self.acknowledge(node)
        self.settle()
        for _ in range(20):
            self.clock.advance(TIMING.heartbeat_seconds)
            self.settle()
        self.assertIsNot(self.raft.role, Role.LEADER)

    def test_learner_sets_no_timer(self) -> None:
        self.node(B).start()
        self.settle()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_single_machine_sets_no_timer(self) -> None:
        self.alone()
        self.clock.advance(1.0)  # it has waited to stand before
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_busy_turn_does_not_repeat_itself(self) -> None:
        """While a term is being made durable, a candidate has nothing to send and no timer to set."""
        node = self.node(A, B, C)
        node.start()
        self.clock.advance(0)
        for _ in range(20):
            self.clock.advance(0.1)
            if self.raft.role is Role.PRE_CANDIDATE:
                node.receive(B, [VoteReply(self.raft.term + 1, True, True)])
        due = [call for call in self.clock.calls if call.getTime() <= self.clock.seconds()]
        self.assertEqual(due, [])


class ReadTests(NodeTestCase):
    def test_read_waits_for_what_is_committed_to_be_applied(self) -> None:
        node = self.alone()
        node.propose(b"x")
        self.clock.advance(0)
        self.around.most = 0
        self.around.sync()
        read = node.confirm_read()
        self.assertNoResult(read)
        self.around.most = 10
        self.settle()
        self.successResultOf(read)

    def test_read_asks_others(self) -> None:
        node = self.elected()
        self.acknowledge(node)
        self.settle()
        read = node.confirm_read()
        self.settle()
        self.assertNoResult(read)
        self.acknowledge(node)
        self.settle()
        self.successResultOf(read)

    def test_read_fails_when_the_leader_is_lost(self) -> None:
        node = self.elected()
        read = node.confirm_read()
        node.receive(B, [Append(self.raft.term + 1, 1, 0, 0, 0)])
        self.settle()
        self.failureResultOf(read, NotLeaderError)
        self.assertRaises(NotLeaderError, node.confirm_read)

    def test_read_fails_when_the_node_is_stopped(self) -> None:
        node = self.alone()
        node.propose(b"x")
        self.clock.advance(0)
        self.around.most = 0
        self.around.sync()
        confirmed = node.confirm_read()
        node.stop()
        self.failureResultOf(confirmed, NotLeaderError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancelled_read_is_ignored(self) -> None:
        node = self.elected()
        self.acknowledge(node)
        self.settle()
        gone, there = node.confirm_read(), node.confirm_read()
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        self.settle()
        self.acknowledge(node)
        self.settle()
        self.successResultOf(there)

    def test_nothing_happens_while_no_read_waits(self) -> None:
        node = self.elected()
        self.successResultOf(node.when_answered())
        self.acknowledge(node)
        self.settle()
        read = node.confirm_read()
        answered = node.when_answered()
        self.settle()
        self.assertNoResult(answered)
        self.acknowledge(node)
        self.settle()
        self.successResultOf(read)
        self.successResultOf(answered)


class EndTests(NodeTestCase):
    def test_node_is_drained_when_nothing_is_under_way(self) -> None:
        node = self.alone()
        self.successResultOf(node.drain())
        node.propose(b"x")
        drained = node.drain()
        self.clock.advance(0)
        self.assertNoResult(drained)
        self.around.most = 0
        self.around.sync()
        self.assertNoResult(drained)
        self.around.most = 10
        self.clock.advance(0)
        self.successResultOf(drained)
        self.assertEqual(len(self.around.applied), 1)

    def test_node_is_not_drained_within_a_turn(self) -> None:
        """A caller within a turn waits for the rest of the batch."""
        node = self.alone()
        happened: list[str] = []

        def applying(_: object) -> None:
            node.drain().addCallback(lambda _: happened.append("drained"))
            happened.append("applied")

        self.around.on_apply = applying
        node.propose(b"x")
        self.settle()
        self.assertEqual(happened, ["applied", "drained"])

    def test_two_callers_may_wait_for_the_drain(self) -> None:
        node = self.alone()
        node.propose(b"x")
        first, second = node.drain(), node.drain()
        self.settle()
        self.successResultOf(first)
        self.successResultOf(second)

    def test_failing_disk_ends_the_node(self) -> None:
        node = self.alone()
        node.propose(b"x")
        read = node.confirm_read()
        drained = node.drain()
        self.clock.advance(0)
        self.successResultOf(read)
        (_, done) = self.around.writes.pop()
        done.errback(OSError(5, "Input/output error"))
        (failure,) = self.around.failures
        failure.trap(OSError)
        self.successResultOf(drained)
        self.assertEqual((self.around.applied, self.clock.getDelayedCalls()), ([], []))

    def test_failing_state_machine_ends_the_node(self) -> None:
        node = self.alone()

        def broken(_: object) -> None:
            raise RuntimeError("a mistake")

        self.around.on_apply = broken
        node.propose(b"x")
        self.settle()
        (failure,) = self.around.failures
        failure.trap(RuntimeError)
        node.fail(Failure(OSError()))
        self.assertEqual(len(self.around.failures), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_write_that_ends_after_a_stop_is_ignored(self) -> None:
        node = self.alone()
        node.propose(b"x")
        self.clock.advance(0)
        node.stop()
        self.around.sync()
        self.assertEqual((self.around.applied, self.clock.getDelayedCalls()), ([], []))

    def test_stopped_node_does_nothing(self) -> None:
        node = self.elected()
        node.stop()
        node.stop()
        self.around.take_sent()
        node.receive(B, [Append(self.raft.term + 1, 1, 0, 0, 0)])
        node._snapshot_ended(None, B)
        self.clock.advance(10.0)
        self.assertEqual((self.around.sent, self.around.writes, self.clock.getDelayedCalls()), ([], [], []))
