"""
A node with a disk, a transport and a state machine that tests play.
"""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.node import Node
from etcd_twisted.consensus.proposals.pending import Proposal, Proposals
from etcd_twisted.consensus.raft.core import Raft
from etcd_twisted.consensus.raft.entries import Configuration, Entry, HardState, Record
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

    def append(self, record: Record, _wait_seconds: float = 0.0) -> "Deferred[None]":
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


def propose(node: Node, data: bytes) -> None:
    """Proposes a command, for which nobody waits."""
    node.propose(data)
    node.proposed()


class NodeTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(100.0)
        self.around = Around()

    def node(self, *voters: str) -> Node:
        self.raft = Raft(A, HardState(), RaftLog(0, 0, Configuration(voters)), TIMING, 1, self.clock.seconds())
        self.proposals = Proposals(self.clock, 1.0, ValueError)
        node = Node(self.clock, self.raft, self.around, self.around, self.around, self.proposals)
        node.on_change.append(self.around.changed)
        node.failed.addErrback(self.around.failed)
        return node

    def submit(self, node: Node, data: bytes) -> None:
        """Proposes a command that the node puts into the log with the others of its turn."""
        self.proposals.size += len(data)
        self.proposals.new.append((data, Proposal(None, self.raft.term, len(data), lambda _: None)))
        node.proposed()

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
        index = core.last_index + len(self.proposals.new) - new
        node.receive(B, [AppendReply(core.term, max(rounds, default=0), index, index)])
