"""
Tests of L{etcd_twisted.consensus.raft.core}: a leader notices lost messages and sends them again (Raft paper, section
5.3: "the leader retries AppendEntries RPCs indefinitely").
"""

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.raft.limits import DEFAULT_LIMITS, RaftLimits
from etcd_twisted.consensus.raft.messages import Append, AppendReply
from tests.consensus.raft.group import LONG, TIMING, Group, Sent


class LossTests(SynchronousTestCase):
    """Heartbeats reveal what was lost."""

    def setUp(self) -> None:
        self.begin(DEFAULT_LIMITS)

    def begin(self, limits: RaftLimits) -> None:
        self.group = Group("abc", limits=limits)
        self.group.elect("a")

    def assert_alike(self, expected: list[bytes]) -> None:
        self.group.advance(3 * TIMING.heartbeat_seconds)
        self.assertEqual(self.group.states(), dict.fromkeys("abc", expected))
        self.assertEqual({self.group[each].commit_index for each in "abc"}, {self.group["a"].last_index})

    def test_lost_entries_are_sent_again(self) -> None:
        self.group.passes = lambda each: not getattr(each.message, "entries", ())
        expected = [b"%d" % number for number in range(10)]
        for data in expected:
            self.group.propose(data)
            self.group.settle()
        self.group.heal()
        self.assert_alike(expected)

    def test_one_lost_message_of_many_is_sent_again(self) -> None:
        for lost in range(10):
            data = b"lost %d" % lost
            self.group.propose(data)
            self.group.passes = lambda each: not getattr(each.message, "entries", ()) or each.receiver == "b"
            self.group.settle()
            self.group.heal()
            self.group.propose(b"after %d" % lost)
            self.group.settle()
        self.assert_alike([b"%s %d" % (word, number) for number in range(10) for word in (b"lost", b"after")])

    def test_lost_answers_do_no_harm(self) -> None:
        self.group.passes = lambda each: not isinstance(each.message, AppendReply)
        self.group.propose(b"x")
        self.group.settle()
        self.assertEqual(self.group["a"].commit_index, 1)
        self.group.heal()
        self.assert_alike([b"x"])

    def test_lost_commit_index_is_sent_again(self) -> None:
        index = self.group.propose(b"x")
        self.group.passes = lambda each: getattr(each.message, "commit", 0) < index
        self.group.settle()
        self.assertEqual(self.group["a"].commit_index, index)
        self.assertEqual(self.group.states()["b"], [])
        self.group.heal()
        self.assert_alike([b"x"])

    def test_a_full_window_opens_again(self) -> None:
        for lost in (Append, AppendReply):
            self.begin(RaftLimits(in_flight_batches=3))
            kind = lost
            self.group.passes = lambda each, kind=kind: not isinstance(each.message, kind)  # type: ignore[misc]
            expected = [b"%d" % number for number in range(20)]
            for data in expected:
                self.group.propose(data)
                self.group.settle()
            self.group.heal()
            self.group.advance(20 * TIMING.heartbeat_seconds)
            self.assert_alike(expected)

    def test_machine_that_crashed_before_a_write_gets_the_entries_again(self) -> None:
        self.group.machines["b"].slow = True
        self.group.propose(b"x")
        self.group.settle()
        self.group.crash("b")
        self.group.start("b")
        self.assert_alike([b"x"])

    def test_lost_connection_loses_no_entries(self) -> None:
        """The window is empty then, and messages that arrive late do no harm."""
        late: list[Sent] = []

        def hold_back(letter: Sent) -> bool:
            if letter.sender == "b":
                late.append(letter)
            return letter.sender != "b"

        self.group.passes = hold_back
        for number in range(5):
            self.group.propose(b"%d" % number)
            self.group.settle()
        self.group["a"].unreachable("b")
        self.group.heal()
        for letter in late:
            self.group.deliver(letter)
        self.assert_alike([b"%d" % number for number in range(5)])

    def test_connection_that_is_lost_over_and_over_loses_no_entries(self) -> None:
        for number in range(20):
            self.group.propose(b"%d" % number)
            self.group["a"].unreachable("b")
            self.group["a"].unreachable("c")
            self.group.advance(TIMING.heartbeat_seconds)
        self.assert_alike([b"%d" % number for number in range(20)])

    def test_machine_that_was_away_for_long_catches_up(self) -> None:
        self.group.crash("b")
        expected = [b"%d" % number for number in range(1_000)]
        for data in expected:
            self.group.propose(data)
            self.group.settle()
        self.group.advance(10 * LONG)
        self.group.start("b")
        self.assert_alike(expected)

    def test_an_idle_group_says_nothing_but_heartbeats(self) -> None:
        self.group.propose(b"x")
        self.group.advance(2 * TIMING.heartbeat_seconds)
        seen: list[Sent] = []

        def note(letter: Sent) -> bool:
            seen.append(letter)
            return True

        self.group.passes = note
        self.group.advance(20 * TIMING.heartbeat_seconds)
        self.assertLessEqual(len(seen), 4 * 21)
        self.assertFalse([each for each in seen if getattr(each.message, "entries", ())])
