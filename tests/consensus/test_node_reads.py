"""
Tests of L{etcd_twisted.consensus.node}: reads that it confirms, what it does in time, and how it ends.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from etcd_twisted.consensus.raft.errors import NotLeaderError
from etcd_twisted.consensus.raft.messages import Append, AppendReply, VoteReply, VoteRequest
from etcd_twisted.consensus.raft.state import Role
from tests.consensus.nodes import TIMING, A, B, C, NodeTestCase, propose


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
        propose(node, b"x")
        self.clock.advance(0)
        self.around.most = 0
        self.around.sync()
        read = node.confirm_read()
        self.assertNoResult(read)
        self.around.most = 10
        self.settle()
        self.successResultOf(read)

    def test_read_that_is_confirmed_waits_for_later_turns(self) -> None:
        """Nothing but the applying of entries lets it go on."""
        node = self.alone()
        propose(node, b"x")
        self.clock.advance(0)
        self.around.most = 0
        self.around.sync()
        read = node.confirm_read()
        self.ring()
        self.assertNoResult(read)
        self.around.most = 10
        self.settle()
        self.successResultOf(read)

    def test_read_joins_none_that_a_lone_machine_has_confirmed(self) -> None:
        """A machine that leads alone confirms a read in the turn in which it comes, and sends nothing for it."""
        node = self.alone()
        reads: list[Deferred[None]] = []
        self.around.on_apply = lambda _: reads.append(node.confirm_read())
        propose(node, b"x")
        self.clock.advance(0)
        propose(node, b"y")  # so that the turn applies entries last
        self.around.sync()
        self.successResultOf(reads[0])
        late = node.confirm_read()
        self.settle()
        self.successResultOf(late)

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

    def test_reads_of_one_turn_share_a_round(self) -> None:
        """A read that comes when its messages are sent already waits for the next one."""
        node = self.elected()
        self.acknowledge(node)
        self.settle()
        reads = [node.confirm_read() for _ in range(3)]
        self.settle()
        late = node.confirm_read()
        self.acknowledge(node)
        for read in reads:
            self.successResultOf(read)
        self.assertNoResult(late)
        self.settle()
        self.acknowledge(node)
        self.settle()
        self.successResultOf(late)

    def test_read_that_asks_again_waits_for_another_round(self) -> None:
        """It may not join the reads that are being answered."""
        node = self.elected()
        self.acknowledge(node)
        self.settle()
        again: list[Deferred[None]] = []
        first = node.confirm_read().addCallback(lambda _: again.append(node.confirm_read()))
        self.settle()
        self.acknowledge(node)
        self.successResultOf(first)
        self.assertNoResult(again[0])
        self.settle()
        self.acknowledge(node)
        self.successResultOf(again[0])

    @given(st.lists(st.sampled_from(["read", "read again", "put", "turn", "answer", "late answer"]), max_size=30))
    def test_read_is_confirmed_only_by_a_round_that_begins_after_it(self, steps: list[str]) -> None:
        """However reads, changes, turns of the reactor and answers of another machine follow each other."""
        self.setUp()
        node, core, clock = self.elected(), self.raft, self.clock
        self.acknowledge(node)
        self.settle()
        answered, reads = self.newest_round(), 0
        confirmed: list[int] = []

        def read(again: bool) -> None:
            nonlocal reads
            reads, begun = reads + 1, self.newest_round()

            def tell(error: NotLeaderError | None) -> None:
                self.assertIsNone(error)
                self.assertGreater(answered, begun)
                confirmed.append(begun)
                if again:
                    read(False)

            node.submit_read(tell)

        def answer(newest: int) -> None:
            nonlocal answered
            answered = max(answered, newest)
            node.receive(B, [AppendReply(core.term, newest, core.last_index, core.last_index)])

        for step in steps:
            if step in {"read", "read again"}:
                read(step == "read again")
            elif step == "put":
                propose(node, b"x")
            elif step == "turn":
                clock.advance(0)
            else:
                answer(self.newest_round() - (step == "late answer"))
            if self.around.writes:
                self.around.sync()
        for _ in range(3):
            self.settle()
            answer(self.newest_round())
        self.assertEqual(len(confirmed), reads)

    def newest_round(self) -> int:
        """Returns the newest round of messages that another machine has been sent."""
        return max(message.round for _, message in self.around.sent if isinstance(message, Append))

    def test_read_joins_none_that_have_failed(self) -> None:
        """They have lost their leader."""
        node = self.elected()
        lost = [node.confirm_read(), node.confirm_read()]
        node.receive(B, [Append(self.raft.term + 1, 1, 0, 0, 0)])
        for read in lost:
            self.failureResultOf(read, NotLeaderError)
        self.assertRaises(NotLeaderError, node.confirm_read)

    def test_read_fails_when_the_leader_is_lost(self) -> None:
        node = self.elected()
        read = node.confirm_read()
        node.receive(B, [Append(self.raft.term + 1, 1, 0, 0, 0)])
        self.settle()
        self.failureResultOf(read, NotLeaderError)
        self.assertRaises(NotLeaderError, node.confirm_read)

    def test_read_fails_when_the_node_is_stopped(self) -> None:
        node = self.alone()
        propose(node, b"x")
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
        propose(node, b"x")
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
        propose(node, b"x")
        self.settle()
        self.assertEqual(happened, ["applied", "drained"])

    def test_two_callers_may_wait_for_the_drain(self) -> None:
        node = self.alone()
        propose(node, b"x")
        first, second = node.drain(), node.drain()
        self.settle()
        self.successResultOf(first)
        self.successResultOf(second)

    def test_failing_disk_ends_the_node(self) -> None:
        node = self.alone()
        propose(node, b"x")
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
        propose(node, b"x")
        self.settle()
        (failure,) = self.around.failures
        failure.trap(RuntimeError)
        node.fail(Failure(OSError()))
        self.assertEqual(len(self.around.failures), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_write_that_ends_after_a_stop_is_ignored(self) -> None:
        node = self.alone()
        propose(node, b"x")
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
