"""
Tests of L{etcd_twisted.consensus.raft.core}: log replication (Raft paper, section 5.3), on both sides.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.raft.entries import Entry, HardState
from etcd_twisted.consensus.raft.errors import NotLeaderError
from etcd_twisted.consensus.raft.limits import DEFAULT_LIMITS, RaftLimits
from etcd_twisted.consensus.raft.messages import Append, AppendReply, Message
from tests.consensus.raft.group import TIMING, Group, Machine, Sent, alone, elect, entries_of, sent


def follower(terms: list[int], term: int = 0) -> Machine:
    """Returns machine a, which b leads."""
    return alone("a", "abc", terms, HardState(term or max(terms, default=0)))


def terms_of(machine: Machine) -> list[int]:
    log = machine.core.log
    return [each.term for each in log.between(log.first_index, log.last_index + 1)]


class FollowerTests(SynchronousTestCase):
    def answer(self, machine: Machine, append: Append) -> Message:
        """Returns what it answers when everything is durable."""
        machine.core.receive("b", append, 0.0)
        (answer,) = sent(machine)
        self.assertEqual(answer[0], "b")
        assert isinstance(answer[1], AppendReply)
        return answer[1]

    def test_follower_refuses_entries_after_a_mismatch(self) -> None:
        """If the follower does not find an entry with the same index and term, then it refuses the new entries."""
        for terms, prev_index, prev_term, rejected, hint in (
            ([1, 2, 2], 0, 0, False, None),
            ([1, 2, 2], 1, 1, False, None),
            ([1, 2, 2], 3, 2, False, None),
            ([1, 2, 2], 4, 2, True, (3, 2)),
            ([1, 2, 2], 9, 1, True, (1, 1)),
            ([1, 2, 2], 3, 1, True, (1, 1)),
            ([1, 3, 3], 3, 2, True, (1, 1)),
            ([3, 3, 3], 3, 2, True, (0, 0)),
            ([], 5, 2, True, (0, 0)),
        ):
            append = Append(3, 7, prev_index, prev_term, 0)
            reply = self.answer(follower(terms, 3), append)
            if rejected:
                assert hint is not None
                self.assertEqual(reply, AppendReply(3, 7, 0, prev_index, True, *hint), append)
            else:
                self.assertEqual(reply, AppendReply(3, 7, prev_index, prev_index), append)

    def test_message_with_the_commit_index_alone_is_not_answered(self) -> None:
        """Such a message is not answered, unless the entries before it are missing."""
        machine = follower([1, 2, 2], 3)
        machine.core.receive("b", Append(3, 0, 3, 2, 2), 0.0)
        self.assertEqual((sent(machine), machine.core.commit_index), ([], 2))
        machine.core.receive("b", Append(3, 0, 4, 3, 4), 0.0)
        self.assertEqual(sent(machine), [("b", AppendReply(3, 0, 3, 4, True, 3, 2))])

    def test_conflicting_entries_are_replaced(self) -> None:
        """The follower deletes the existing entry and all that follow it."""
        for prev_index, prev_term, new, expected, written in (
            (2, 2, [3], [1, 2, 3], [3]),
            (1, 1, [3, 4], [1, 3, 4], [3, 4]),
            (0, 0, [1], [1, 2, 2], None),
            (0, 0, [3], [3], [3]),
            (3, 2, [4], [1, 2, 2, 4], [4]),
            (1, 1, [2, 2, 4], [1, 2, 2, 4], [4]),
            (1, 1, [2], [1, 2, 2], None),
            (2, 2, [], [1, 2, 2], None),
        ):
            machine = follower([1, 2, 2], 4)
            entries = entries_of(new, prev_index + 1)
            machine.core.receive("b", Append(4, 7, prev_index, prev_term, 0, entries), 0.0)
            records = machine.save(0.0)
            self.assertEqual(terms_of(machine), expected)
            self.assertEqual([e.term for e in machine.disk.entries], expected)
            self.assertEqual([[e.term for e in r.entries] for r in records], [] if written is None else [written])
            last = prev_index + len(new)
            self.assertEqual(machine.core.to_send(0.0), [("b", AppendReply(4, 7, last, last))])

    def test_committed_entries_are_not_compared(self) -> None:
        """An old message that arrives late is answered, and takes nothing back."""
        machine = follower([1, 1, 1, 1])
        self.answer(machine, Append(1, 2, 4, 1, 4))
        reply = self.answer(machine, Append(1, 1, 1, 1, 1, entries_of([1], 2)))
        self.assertEqual(reply, AppendReply(1, 1, 4, 2))
        self.assertEqual((machine.core.commit_index, terms_of(machine)), (4, [1, 1, 1, 1]))

    def test_a_message_that_comes_twice_or_late_changes_nothing(self) -> None:
        machine = follower([1])
        first = Append(1, 1, 1, 1, 0, entries_of([1, 1], 2))
        second = Append(1, 1, 3, 1, 0, entries_of([1], 4))
        for append, rejected, index in ((second, True, 0), (first, False, 3), (second, False, 4), (first, False, 4)):
            reply = self.answer(machine, append)
            assert isinstance(reply, AppendReply)
            self.assertEqual((reply.rejected, reply.index), (rejected, index))
        self.assertEqual(terms_of(machine), [1, 1, 1, 1])

    def test_an_entry_is_acknowledged_when_it_is_durable(self) -> None:
        machine = follower([1])
        core = machine.core
        core.receive("b", Append(1, 1, 1, 1, 0, entries_of([1, 1], 2)), 0.0)
        machine.write()
        core.receive("b", Append(1, 2, 3, 1, 0, entries_of([1], 4)), 0.0)
        self.assertEqual(core.to_send(0.0), [])
        machine.sync(0.0)
        self.assertEqual(core.to_send(0.0), [("b", AppendReply(1, 2, 3, 4))])
        self.assertEqual(sent(machine), [("b", AppendReply(1, 2, 4, 4))])
        self.assertEqual(sent(machine), [])

    def test_a_heartbeat_is_answered_at_once_with_what_is_durable(self) -> None:
        machine = follower([1])
        core = machine.core
        core.receive("b", Append(1, 1, 1, 1, 0, entries_of([1, 1], 2)), 0.0)
        machine.write()
        core.receive("b", Append(1, 2, 3, 1, 0), 0.0)
        self.assertEqual(core.to_send(0.0), [("b", AppendReply(1, 2, 1, 3))])

    def test_entry_that_may_not_be_the_leaders_is_not_acknowledged(self) -> None:
        """Nothing says that what follows the last entry compared is the leader's."""
        machine = follower([1, 1, 1], 2)
        self.assertEqual(self.answer(machine, Append(2, 1, 2, 1, 0)), AppendReply(2, 1, 2, 2))
        self.assertEqual(self.answer(machine, Append(3, 1, 1, 1, 0)), AppendReply(3, 1, 1, 1))

    def test_entries_replaced_while_they_are_written_do_not_count(self) -> None:
        for sync_first in (False, True):
            machine = follower([1])
            core = machine.core
            core.receive("b", Append(1, 1, 1, 1, 0, entries_of([1, 1, 1], 2)), 0.0)
            machine.write()
            core.receive("c", Append(2, 1, 2, 1, 0, entries_of([2], 3)), 0.0)
            if sync_first:
                machine.sync(0.0)
                self.assertEqual(core.to_send(0.0), [])  # term 2 is not durable
                core.receive("c", Append(2, 2, 2, 1, 0), 0.0)
            machine.save(0.0)
            answers = [message for _, message in core.to_send(0.0)]
            self.assertEqual(answers[-1], AppendReply(2, 1, 3, 3))
            self.assertTrue(all(each.index in (2, 3) for each in answers if isinstance(each, AppendReply)))
            self.assertEqual([each.term for each in machine.disk.entries], [1, 1, 2])
            self.assertEqual(core.last_index, 3)

    def test_log_is_replaced_and_grows_again_before_the_first_write_is_done(self) -> None:
        """The record that is being written contains more than what of it still counts."""
        machine = follower([1])
        core = machine.core
        core.receive("b", Append(1, 1, 1, 1, 0, entries_of([1] * 5, 2)), 0.0)
        machine.write()
        core.receive("c", Append(2, 1, 3, 1, 6, entries_of([2] * 3, 4)), 0.0)
        self.assertEqual(core.commit_index, 6)
        machine.sync(0.0)
        self.assertEqual([each.index for each in core.to_apply(10)], [1, 2, 3])
        machine.save(0.0)
        self.assertEqual([each.term for each in core.to_apply(10)], [2, 2, 2])

    def test_follower_commits_only_entries_that_match_the_leaders(self) -> None:
        """If leaderCommit > commitIndex, set commitIndex = min(leaderCommit, index of last new entry)."""
        for prev_index, new, commit, expected in (
            (0, [], 3, 0),
            (1, [], 3, 1),
            (1, [1], 3, 2),
            (3, [], 2, 2),
            (3, [1], 9, 4),
            (3, [1, 1], 4, 4),
        ):
            machine = follower([1, 1, 1])
            machine.core.receive("b", Append(1, 1, prev_index, 1, commit, entries_of(new, prev_index + 1)), 0.0)
            self.assertEqual(machine.core.commit_index, expected, (prev_index, new, commit))
            self.assertEqual(machine.core.leader_commit, commit)

    def test_commit_index_never_goes_back(self) -> None:
        machine = follower([1, 1, 1])
        self.answer(machine, Append(1, 1, 3, 1, 3))
        self.answer(machine, Append(2, 1, 3, 1, 1))
        self.answer(machine, Append(2, 1, 3, 1, 0))
        self.assertEqual(machine.core.commit_index, 3)

    def test_nothing_is_applied_before_it_is_durable(self) -> None:
        machine = follower([1])
        machine.core.receive("b", Append(1, 1, 1, 1, 3, entries_of([1, 1], 2)), 0.0)
        self.assertEqual([each.index for each in machine.core.to_apply(10)], [1])
        log = machine.core.log
        self.assertEqual(log.applying_index, min(log.commit_index, log.durable_index))
        self.assertFalse(machine.core.is_settled)
        machine.save(0.0)
        self.assertLess(log.applying_index, min(log.commit_index, log.durable_index))
        self.assertEqual([each.index for each in machine.core.to_apply(1)], [2])
        self.assertEqual([each.index for each in machine.core.to_apply(1)], [3])
        self.assertTrue(machine.core.is_settled)


class ConflictTests(SynchronousTestCase):
    def test_figure_7_logs_become_the_leaders(self) -> None:
        """Whatever the followers' logs are like, they become the leader's, except for what it can't know of."""
        logs = {
            "a": [1, 1, 1, 4, 4, 5, 5, 6, 6, 6],
            "b": [1, 1, 1, 4, 4, 5, 5, 6, 6],
            "c": [1, 1, 1, 4],
            "d": [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
            "e": [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
            "f": [1, 1, 1, 4, 4, 4, 4],
            "g": [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
        }
        group = Group("abcdefg", terms=logs)
        for machine_id in "abcdefg":
            group[machine_id].wants_snapshot("", 7, 0, group.now)  # the term that they are all in
        group.elect("a")
        group.propose(b"x")
        group.advance(TIMING.heartbeat_seconds)
        leader = group["a"].log
        for machine_id in "bcdefg":
            log = group[machine_id].log
            self.assertEqual(log.between(1, 13), leader.between(1, 13), machine_id)
            self.assertEqual(group.disks[machine_id].entries, list(leader.between(1, 13)))
            self.assertEqual(group[machine_id].commit_index, 12)

    @given(
        common=st.lists(st.integers(1, 3), max_size=8).map(sorted),
        longer=st.integers(0, 3),
        ones=st.lists(st.sampled_from([4, 6, 8]), max_size=8).map(sorted),
        others=st.lists(st.sampled_from([5, 7, 9]), max_size=8).map(sorted),
    )
    def test_back_up_takes_one_probe_for_each_term(
        self, common: list[int], longer: int, ones: list[int], others: list[int]
    ) -> None:
        """With this optimization, one RPC is required for each term with conflicting entries, not for each entry."""
        logs = [common + common[-1:] * longer + ones, common + others]
        logs.sort(key=lambda each: (each[-1:], len(each)))
        group = Group("ab", terms={"a": logs[1], "b": logs[0]})
        for machine_id in "ab":
            group[machine_id].wants_snapshot("", 9, 0, group.now)
        rejected: list[Sent] = []

        def note(letter: Sent) -> bool:
            if isinstance(letter.message, AppendReply) and letter.message.rejected:
                rejected.append(letter)
            return True

        group.passes = note
        group.elect("a")
        self.assertLessEqual(len(rejected), len({*logs[0], *logs[1]} - set(common)) + 1)
        self.assertEqual(group["b"].log.between(1, 30), group["a"].log.between(1, 30))


class LeaderTests(SynchronousTestCase):
    def leading(
        self, voters: str = "abc", terms: list[int] | None = None, limits: RaftLimits = DEFAULT_LIMITS
    ) -> Machine:
        """Returns a leader whose followers have everything that it has."""
        machine = alone("a", voters, terms or [1], limits=limits)
        elect(machine)
        for voter in voters[1:]:
            self.acknowledge(machine, voter)
        sent(machine)
        return machine

    def acknowledge(self, machine: Machine, voter: str, index: int = 0, now: float = 0.0) -> None:
        core = machine.core
        index = index or core.last_index
        core.receive(voter, AppendReply(core.term, 1, index, index), now)

    def appends(self, machine: Machine, to: str, now: float = 0.0) -> list[Append]:
        found = [message for receiver, message in sent(machine, now) if receiver == to]
        assert all(isinstance(each, Append) for each in found)
        return [each for each in found if isinstance(each, Append)]

    def test_only_a_leader_takes_proposals(self) -> None:
        self.assertRaises(NotLeaderError, alone("a", "abc").core.propose, b"x")

    def test_a_proposal_goes_to_all(self) -> None:
        machine = self.leading()
        index = machine.core.propose(b"x")
        self.assertEqual(index, 3)
        new = Entry(3, 2, machine.core.log._at(3).kind, b"x")
        expected = Append(2, 1, 2, 2, 2, (new,))
        self.assertEqual(machine.core.to_send(0.0), [("b", expected), ("c", expected)])

    def test_leader_does_not_wait_for_its_own_disk(self) -> None:
        """The leader's own sync runs while the followers' do (dissertation, section 10.2.1)."""
        machine = self.leading()
        machine.core.propose(b"x")
        machine.write()
        self.assertEqual([receiver for receiver, _ in machine.core.to_send(0.0)], ["b", "c"])

    def test_proposals_that_come_together_are_sent_together(self) -> None:
        machine = self.leading()
        for data in (b"x", b"y", b"z"):
            machine.core.propose(data)
        (append,) = self.appends(machine, "b")
        self.assertEqual([each.data for each in append.entries], [b"x", b"y", b"z"])

    def test_leader_does_not_wait_for_answers(self) -> None:
        machine = self.leading()
        for data in (b"x", b"y", b"z"):
            machine.core.propose(data)
            (append,) = self.appends(machine, "b")
            self.assertEqual([each.data for each in append.entries], [data])

    def test_nothing_is_sent_twice(self) -> None:
        machine = self.leading()
        machine.core.propose(b"x")
        sent(machine)
        self.assertEqual(sent(machine), [])
        self.acknowledge(machine, "b")
        told = sent(machine)
        self.assertEqual([(to, m.commit, m.round) for to, m in told if isinstance(m, Append)],
                         [("b", 3, 0), ("c", 3, 0)])  # fmt: skip
        self.assertEqual(sent(machine), [])

    def test_a_message_is_bounded(self) -> None:
        machine = self.leading(limits=RaftLimits(batch_bytes=10, batch_entries=3))
        for data in (b"x" * 6, b"y" * 6, b"z" * 99, b"", b"", b"", b""):
            machine.core.propose(data)
        appends = self.appends(machine, "b")
        self.assertEqual([[len(e.data) for e in each.entries] for each in appends], [[6], [6], [99], [0, 0, 0], [0]])

    def test_bytes_in_flight_are_bounded(self) -> None:
        machine = self.leading(limits=RaftLimits(in_flight_bytes=25, batch_bytes=10))
        for _ in range(6):
            machine.core.propose(b"x" * 10)
        self.assertEqual([each.last_index for each in self.appends(machine, "b")], [3, 4, 5])
        self.acknowledge(machine, "b", 3)
        self.assertEqual([each.last_index for each in self.appends(machine, "b")], [6])

    def test_a_heartbeat_does_not_wait_behind_entries(self) -> None:
        """
        While entries are in flight, a heartbeat is sent that compares nothing: it may overtake them, and no sync is
        waited for.
        """
        machine = self.leading()
        machine.core.propose(b"x")
        self.appends(machine, "b")
        now = machine.core.deadline
        self.assertEqual([(each.prev_index, each.entries) for each in self.appends(machine, "b", now)],
                         [(3, ()), (0, ())])  # fmt: skip
        machine.core.propose(b"y")
        now = machine.core.deadline
        self.assertEqual([(each.prev_index, len(each.entries)) for each in self.appends(machine, "b", now)],
                         [(3, 1), (0, 0)])  # fmt: skip
        self.acknowledge(machine, "b")
        now = machine.core.deadline
        self.assertEqual([each.prev_index for each in self.appends(machine, "b", now)], [4])

    def test_messages_in_flight_are_bounded(self) -> None:
        machine = self.leading(limits=RaftLimits(in_flight_batches=2))
        windows = []
        for _ in range(5):
            machine.core.propose(b"")
            windows.append(len([each for each in self.appends(machine, "b") if each.entries]))
        self.assertEqual(windows, [1, 1, 0, 0, 0])
        self.acknowledge(machine, "b", 4)
        self.assertEqual([len(each.entries) for each in self.appends(machine, "b")], [3])

    def test_new_leader_probes_first(self) -> None:
        machine = alone("a", "abc", [1, 1])
        machine.core.campaign(0.0)
        elect(machine)
        machine.core.propose(b"x")
        self.assertEqual(self.appends(machine, "b"), [])
        machine.core.receive("b", AppendReply(machine.core.term, 1, 2, 2), 0.0)
        (append,) = self.appends(machine, "b")
        self.assertEqual((append.prev_index, len(append.entries)), (2, 2))

    def test_probe_is_repeated_with_the_heartbeat_and_not_before(self) -> None:
        machine = alone("a", "abc", [1, 1])
        elect(machine)
        self.assertEqual(sent(machine, 0.01), [])
        again = self.appends(machine, "b", TIMING.heartbeat_seconds)
        self.assertEqual([(each.prev_index, each.entries) for each in again], [(2, ())])

    def test_rejection_is_followed_by_the_next_probe_at_once(self) -> None:
        machine = alone("a", "abc", [1, 1, 3, 3], HardState(4))
        elect(machine)
        machine.core.receive("b", AppendReply(5, 1, 0, 4, True, 3, 2), 0.0)
        (append,) = self.appends(machine, "b")
        self.assertEqual((append.prev_index, append.prev_term, append.entries), (2, 1, ()))
        self.assertEqual(self.appends(machine, "b"), [])
        machine.core.receive("b", AppendReply(5, 1, 0, 4, True, 3, 2), 0.0)  # the same one again
        self.assertEqual(self.appends(machine, "b"), [])

    def test_late_rejections_change_nothing(self) -> None:
        machine = self.leading("abc", [1, 1, 1])
        machine.core.receive("b", AppendReply(2, 1, 4, 3, True, 2, 1), 0.0)
        machine.core.receive("b", AppendReply(2, 1, 4, 4, True, 2, 1), 0.0)
        machine.core.propose(b"x")
        (append,) = self.appends(machine, "b")
        self.assertEqual((append.prev_index, len(append.entries)), (4, 1))

    def test_answer_beyond_the_leaders_log_is_ignored(self) -> None:
        """No machine can have that from this leader, and whatever else the answer says can't be trusted."""
        machine = self.leading()
        machine.core.receive("b", AppendReply(2, 1, 99, 99), 0.0)
        machine.core.propose(b"x")
        self.assertEqual([each.prev_index for each in self.appends(machine, "b")], [2])

    def test_answers_of_strangers_are_ignored(self) -> None:
        machine = self.leading()
        machine.core.propose(b"x")
        machine.save(0.0)
        machine.core.receive("x", AppendReply(2, 1, 3, 3), 0.0)
        self.assertEqual(machine.core.commit_index, 2)

    def test_the_outbox_does_not_grow_while_nobody_answers(self) -> None:
        machine = self.leading()
        now, messages = 0.0, 0
        for _ in range(1_000):
            machine.core.propose(b"x" * 1_000)
            now += 0.0003
            messages += len(sent(machine, now))
        self.assertLess(messages, 2 * (DEFAULT_LIMITS.in_flight_batches + 10))
