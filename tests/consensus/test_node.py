"""
Tests of L{etcd_twisted.consensus.node}: what it makes the core, the disk and the state machine do, and in which order.
"""

from collections.abc import Callable

from twisted.internet.defer import Deferred

from etcd_twisted.consensus.node import Node
from etcd_twisted.consensus.raft.entries import Entry, EntryKind, Record
from etcd_twisted.consensus.raft.errors import NotLeaderError
from etcd_twisted.consensus.raft.messages import Append, AppendReply
from tests.consensus.nodes import A, B, C, NodeTestCase, propose


class TurnTests(NodeTestCase):
    """Tests of one turn of the reactor."""

    def test_many_proposals_are_one_record(self) -> None:
        node = self.alone()
        for _ in range(10):
            propose(node, b"x")
        self.assertEqual(self.around.writes, [])
        self.clock.advance(0)
        ((record, _),) = self.around.writes
        self.assertEqual(len(record.entries), 10)

    def test_proposals_during_a_sync_go_into_the_next_record(self) -> None:
        node = self.alone()
        propose(node, b"x")
        self.clock.advance(0)
        for _ in range(5):
            propose(node, b"y")
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

        def appending(record: Record, _wait_seconds: float = 0.0) -> "Deferred[None]":
            told.append(sum(isinstance(message, Append) for _, message in self.around.sent))
            return append(record)

        self.patch(self.around, "append", appending)
        propose(node, b"x")
        self.clock.advance(0)
        self.assertEqual(told, [1])

    def told_when_applying(
        self, node: Node, proposals: int, make: Callable[[Node, bytes], None] = propose
    ) -> list[list[int]]:
        """
        Returns the entries in each message that is sent before a change is applied that others have acknowledged.

        @param proposals: how many come meanwhile.
        @param make: makes one of them.
        """
        self.acknowledge(node)
        self.settle()
        propose(node, b"x")
        self.clock.advance(0)
        self.around.sync()
        for _ in range(proposals):
            make(node, b"y")
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

    def test_leader_puts_changes_into_the_log_and_sends_them_before_it_answers(self) -> None:
        """They are as urgent as entries."""
        self.assertEqual(self.told_when_applying(self.elected(), 2, self.submit), [[1, 2]])

    def test_messages_are_handled_at_once(self) -> None:
        """Nothing else that comes in this turn would go with it."""
        node = self.node(A, B, C)
        node.start()
        node.receive(B, [Append(1, 1, 0, 0, 0, (Entry(1, 1, EntryKind.COMMAND, b"x"),))])
        self.assertEqual(len(self.around.writes), 1)

    def test_messages_wait_while_there_are_new_entries(self) -> None:
        """More entries may come."""
        self.check_messages_wait(propose)

    def test_messages_wait_while_changes_are_not_in_the_log(self) -> None:
        self.check_messages_wait(self.submit)

    def check_messages_wait(self, make: Callable[[Node, bytes], None]) -> None:
        """Checks that messages are not handled before the turn in which the node sends what was proposed."""
        node = self.elected()
        self.settle()
        make(node, b"x")
        self.around.take_sent()
        self.acknowledge(node, 1)
        self.assertEqual((self.around.sent, self.around.writes), ([], []))
        make(node, b"y")
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
        propose(node, b"x")
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
            propose(node, b"x")
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
            propose(node, b"x")
        self.settle()
        self.assertEqual(found, [(0, False), (0, False), (0, True)])

    def test_change_is_reported_once(self) -> None:
        node = self.alone()
        before = self.around.changes
        propose(node, b"x")
        self.settle()
        self.assertEqual(self.around.changes, before)

    def test_callback_within_a_turn_may_propose(self) -> None:
        node = self.alone()
        self.around.on_apply = lambda entry: propose(node, b"y") if entry.data == b"x" else None
        propose(node, b"x")
        self.settle()
        self.assertEqual(len(self.around.applied), 2)

    def test_callback_within_a_turn_may_stop_the_node(self) -> None:
        node = self.alone()
        self.around.on_apply = lambda _: node.stop()
        propose(node, b"x")
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
