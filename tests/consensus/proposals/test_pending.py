"""
Tests of L{etcd_twisted.consensus.proposals.pending} and L{etcd_twisted.waiters}.
"""

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.proposals.pending import Proposal, Proposals, outcome_callback
from etcd_twisted.consensus.proposals.quota import Quota
from etcd_twisted.consensus.raft.core import Raft
from etcd_twisted.consensus.raft.entries import Configuration, Entry, EntryKind, HardState
from etcd_twisted.consensus.raft.leader import Timing
from etcd_twisted.consensus.raft.log import RaftLog
from etcd_twisted.errors import ErrorCode, EtcdError, RequestDroppedError
from etcd_twisted.keyspace.commands import Change, Set
from etcd_twisted.keyspace.growth import MAX_GROWTH_PER_BYTE, MAX_GROWTH_PER_COMMAND
from etcd_twisted.keyspace.space import KeySpace
from etcd_twisted.waiters import Waiters

TIMEOUT_SECONDS = 3.0


class UnknownError(Exception):
    """The outcome is unknown."""


def entry(index: int, term: int) -> Entry:
    return Entry(index, term, EntryKind.COMMAND, b"")


class ProposalsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.proposals = Proposals(self.clock, TIMEOUT_SECONDS, UnknownError)

    def add(self, index: int, term: int = 1) -> "Deferred[object]":
        answer: Deferred[object] = Deferred()
        self.proposals.add(index, Proposal(Set(f"/{index}", 0), term, 10, outcome_callback(answer)))
        return answer

    def take(self, index: int, term: int) -> Proposal | None:
        """Returns the proposal of one entry."""
        return self.proposals.take([entry(index, term)])[0]

    def test_applied_entry_answers_its_proposal(self) -> None:
        answer = self.add(5)
        proposal = self.take(5, 1)
        assert proposal is not None
        self.assertEqual(proposal.command, Set("/5", 0))
        self.assertNoResult(answer)
        proposal.on_outcome(None)
        self.successResultOf(answer)
        self.assertIsNone(self.take(5, 1))

    def test_several_entries_are_taken_together(self) -> None:
        """Each is with its own proposal, if there is one and the entry is of its term."""
        answers = [self.add(index, 1 + index // 7) for index in (4, 6, 7, 9)]
        self.proposals.growth(lambda _: 1)
        entries = [entry(4, 1), entry(5, 1), entry(6, 2), entry(7, 2)]
        taken = self.proposals.take(entries)
        self.assertEqual(
            [None if each is None else each.command for each in taken], [Set("/4", 0), None, None, Set("/7", 0)]
        )
        self.failureResultOf(answers[1], RequestDroppedError)
        self.assertEqual((list(self.proposals.pending), self.proposals.size, self.proposals.failed), ([9], 10, 1))
        self.assertEqual(self.proposals.growth(lambda _: 1), 1)
        error = EtcdError(ErrorCode.KEY_EXISTS, "/7")
        self.proposals.tell(entries, taken, [None, None, None, error])
        self.assertIsNone(self.successResultOf(answers[0]))
        self.assertIs(self.failureResultOf(answers[2], EtcdError).value, error)
        self.assertNoResult(answers[3])

    def test_the_outcomes_of_others_are_kept_while_they_are_expected(self) -> None:
        """Also of those that are applied together with an entry of this machine, whose proposer begins to expect."""
        self.proposals.add(4, Proposal(None, 1, 10, lambda _: self.proposals.expect()))
        entries = [entry(index, 1) for index in (3, 4, 5)]
        errors = [EtcdError(ErrorCode.KEY_EXISTS, f"/{each.index}") for each in entries]
        self.proposals.tell(entries, self.proposals.take(entries), errors)
        self.assertIs(self.failureResultOf(self.place(5, 1, 5), EtcdError).value, errors[2])
        self.failureResultOf(self.place(3, 1, 5), UnknownError)

    def test_entry_of_another_machine_answers_nobody(self) -> None:
        answer = self.add(5)
        self.assertIsNone(self.take(4, 1))
        self.assertNoResult(answer)

    def test_another_leaders_entry_in_its_place_fails_the_proposal(self) -> None:
        """Once the other leader's entry is committed, this proposal never will be."""
        answer = self.add(5)
        self.assertIsNone(self.take(5, 2))
        self.failureResultOf(answer, RequestDroppedError)

    def test_another_proposal_in_its_place_makes_the_outcome_unknown(self) -> None:
        """The entry is no longer in this machine's log, but may be in another one's, which may still win."""
        first = self.add(5)
        second = self.add(5, term=3)
        self.failureResultOf(first, UnknownError)
        self.assertNoResult(second)
        self.assertIsNotNone(self.take(5, 3))

    def test_lost_leader_makes_the_outcome_unknown_after_a_while(self) -> None:
        """The proposers wait for a while, because another leader may settle the outcome."""
        answer = self.add(5)
        self.proposals.start_timeout(0)
        self.clock.advance(TIMEOUT_SECONDS / 2)
        self.proposals.start_timeout(0)
        self.clock.advance(TIMEOUT_SECONDS / 2 - 0.1)
        self.assertNoResult(answer)
        self.clock.advance(0.1)
        self.failureResultOf(answer, UnknownError)
        self.assertIsNone(self.take(5, 1))

    def test_outcome_is_settled_meanwhile(self) -> None:
        first, second = self.add(5), self.add(6)
        self.proposals.start_timeout(0)
        self.assertIsNotNone(self.take(5, 1))
        self.assertIsNone(self.take(6, 2))
        self.failureResultOf(second, RequestDroppedError)
        self.clock.advance(TIMEOUT_SECONDS)
        self.assertNoResult(first)  # the caller that took it answers

    def test_machine_that_leads_again_settles_its_proposals(self) -> None:
        """The machine commits what it has in its log, or learns otherwise."""
        answer = self.add(5)
        self.proposals.start_timeout(0)
        self.proposals.stop_timeout(2)
        self.clock.advance(10 * TIMEOUT_SECONDS)
        self.assertNoResult(answer)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_timer_without_proposals(self) -> None:
        self.proposals.start_timeout(0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_snapshot_in_its_place_makes_the_outcome_unknown(self) -> None:
        """The outcome of entries in a snapshot can't be known."""
        answers = [self.add(index) for index in (4, 5, 6)]
        self.proposals.skip(5)
        self.failureResultOf(answers[0], UnknownError)
        self.failureResultOf(answers[1], UnknownError)
        self.assertNoResult(answers[2])

    # Those that are not in the log yet

    def submit(self, term: int) -> "Deferred[object]":
        answer: Deferred[object] = Deferred()
        self.proposals.size += 10
        self.proposals.new.append((b"", Proposal(Set("/new", 0), term, 10, outcome_callback(answer))))
        return answer

    def raft(self, term: int) -> Raft:
        """Returns the core of a machine that begins to lead in a term. Its first entry is the only one."""
        log = RaftLog(0, 0, Configuration(("a" * 16,)))
        raft = Raft("a" * 16, HardState(term - 1), log, Timing(), 1, 0.0)
        raft.campaign(0.0)
        record = raft.to_persist()
        assert record is not None
        raft.persisted(record, 0.0)
        return raft

    def test_new_ones_are_not_put_into_the_log_of_a_later_term(self) -> None:
        """What they were checked against may be otherwise by then."""
        raft, answers = self.raft(2), [self.submit(1), self.submit(2)]
        self.proposals.log(raft)
        for answer in answers:
            self.failureResultOf(answer, RequestDroppedError)
        self.assertEqual((raft.last_index, self.proposals.count, self.proposals.size), (1, 0, 0))

    def test_new_ones_may_come_in_the_place_of_others(self) -> None:
        """The entries of these are no longer in this machine's log, but may be in another one's."""
        replaced = [self.add(3, term=1), self.add(9, term=1)]
        again: list[Deferred[object]] = []
        replaced[0].addErrback(lambda failure: again.append(self.submit(2)) or failure)
        answers = [self.submit(2), self.submit(2)]
        self.proposals.log(self.raft(2))
        self.failureResultOf(replaced[0], UnknownError)
        self.assertNoResult(replaced[1])
        self.assertEqual((sorted(self.proposals.pending), len(self.proposals.new)), ([2, 3, 9], 1))
        self.assert_size(4)
        for index, answer in zip((2, 3), answers, strict=True):
            proposal = self.take(index, 2)
            assert proposal is not None
            proposal.tell(None)
            self.successResultOf(answer)
        self.assertNoResult(again[0])

    def test_new_ones_count_for_the_quota(self) -> None:
        """Each of them may add much, however few bytes it has."""
        self.submit(1)
        self.submit(1)
        most = MAX_GROWTH_PER_BYTE * (2 * 10 + 1) + MAX_GROWTH_PER_COMMAND * 3
        self.assertTrue(Quota(self.clock, KeySpace(), self.proposals, most).has_room(1))
        self.assertFalse(Quota(self.clock, KeySpace(), self.proposals, most - 1).has_room(1))

    def test_room_is_checked_again_once_something_else_may_take_it(self) -> None:
        self.proposals.unchecked_bytes = 9
        self.add(5)
        self.assertEqual(self.proposals.unchecked_bytes, 0)
        self.proposals.unchecked_bytes = 9
        self.proposals.skip(4)
        self.assertEqual(self.proposals.unchecked_bytes, 0)

    def test_nobody_is_left_while_there_are_new_ones(self) -> None:
        self.submit(1).addErrback(lambda failure: failure.trap(UnknownError))
        none = self.proposals.when_none()
        self.assertNoResult(none)
        self.proposals.fail(UnknownError())
        self.successResultOf(none)

    # Those that the leader puts into its log for this machine

    def place(self, index: int, term: int = 1, applied_index: int = 0) -> "Deferred[object]":
        answer: Deferred[object] = Deferred()
        self.proposals.place(index, Proposal(None, term, 10, outcome_callback(answer)), applied_index)
        return answer

    def test_placed_proposal_waits_for_its_entry(self) -> None:
        """It has the outcome when the entry is applied, and was not made if another leader's entry is there."""
        self.proposals.start_timeout(1)
        first, second = self.place(5), self.place(6)
        proposal = self.take(5, 1)
        assert proposal is not None
        proposal.tell(None)
        self.assertIsNone(self.successResultOf(first))
        self.assertIsNone(self.take(6, 2))
        self.failureResultOf(second, RequestDroppedError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_entry_may_be_applied_before_its_index_is_known(self) -> None:
        """The outcomes of all entries are kept while the leader has not answered."""
        error = EtcdError(ErrorCode.KEY_NOT_FOUND, "/a", 3)
        self.proposals.expect()
        self.proposals.note(entry(5, 1), error)
        self.proposals.note(entry(6, 2), error)
        self.assertIs(self.failureResultOf(self.place(5, 1, 7), EtcdError).value, error)
        self.failureResultOf(self.place(6, 1, 7), RequestDroppedError)
        self.failureResultOf(self.place(7, 1, 7), UnknownError)  # a snapshot covers it
        self.proposals.expect_no_longer()
        self.failureResultOf(self.place(5, 1, 7), UnknownError)

    def test_leader_of_the_same_term_still_sends_what_it_has_placed(self) -> None:
        """Only the outcomes of other leaders' terms may never become known."""
        self.proposals.start_timeout(1)
        first = self.place(5)
        self.proposals.start_timeout(2)
        second = self.place(6, term=2)
        self.clock.advance(TIMEOUT_SECONDS)
        self.failureResultOf(first, UnknownError)
        self.assertNoResult(second)
        self.assertEqual((len(self.proposals.pending), self.proposals.size), (1, 10))

    def test_late_answer_of_an_earlier_leader_limits_the_wait(self) -> None:
        """The entry may be in no log any more, and nothing may ever come in its place."""
        self.proposals.start_timeout(2)
        answer = self.place(5, term=1)
        self.clock.advance(TIMEOUT_SECONDS)
        self.failureResultOf(answer, UnknownError)

    def test_next_leader_limits_the_wait_for_what_another_one_has_placed(self) -> None:
        """Its own log may end before."""
        answer = self.place(5, term=1)
        own = self.add(9, term=2)
        self.proposals.stop_timeout(2)
        self.clock.advance(TIMEOUT_SECONDS)
        self.failureResultOf(answer, UnknownError)
        self.assertNoResult(own)

    def assert_size(self, count: int) -> None:
        self.assertEqual(self.proposals.size, 10 * count)

    def test_size_of_pending_proposals(self) -> None:
        """The size is that of the pending proposals in the log."""
        answers = [self.add(index) for index in (4, 5, 6, 7, 8)]
        self.assert_size(5)
        self.take(3, 1)
        self.take(4, 1)
        self.assert_size(4)
        answers.append(self.add(5, term=3))
        self.assert_size(4)
        self.take(5, 4)
        self.assert_size(3)
        self.proposals.skip(6)
        self.assert_size(2)
        self.proposals.fail(UnknownError())
        self.assert_size(0)
        for each in answers[1:]:
            self.failureResultOf(each)

    def test_growth_by_very_many_proposals_is_bounded(self) -> None:
        """Proposals that are not looked at yet count with the most that they can add."""
        new = 2_500
        for index in range(new):
            self.proposals.add(index, Proposal(Set("/a", 0), 1, 10, lambda _: None))
        most = 10 * MAX_GROWTH_PER_BYTE + MAX_GROWTH_PER_COMMAND
        self.assertEqual(self.proposals.growth(lambda _: 3), 2_000 * 3 + 500 * most)
        self.assertEqual(self.proposals.growth(lambda _: 3), new * 3)
        for index in range(new):
            self.take(index, 1)
        self.assertEqual(self.proposals.growth(lambda _: 3), 0)

    def test_growth_by_pending_proposals(self) -> None:
        """
        The growth is by how much the pending proposals enlarge the key space; each is looked at once, when somebody
        asks.
        """
        growths = {"/4": 4, "/5": 50, "/6": 600, "/7": -7, "/8": 8_000}
        asked: list[str] = []

        def growth_of(command: Change) -> int:
            asked.append(command.key)
            return growths[command.key]

        def assert_growth(expected: int, *newly_asked: str) -> None:
            del asked[:]
            self.assertEqual(self.proposals.growth(growth_of), expected)
            self.assertEqual(sorted(asked), sorted(newly_asked))

        assert_growth(0)
        answers = [self.add(index) for index in (4, 5, 6)]
        self.take(4, 1)
        assert_growth(650, "/5", "/6")
        answers.append(self.add(7))
        self.proposals.add(8, Proposal(None, 1, 0, lambda _: None))
        assert_growth(650, "/7")
        self.take(5, 1)
        answers.append(self.add(8))
        assert_growth(8_600, "/6", "/7", "/8")
        self.proposals.skip(6)
        assert_growth(8_000, "/7", "/8")
        self.proposals.fail(UnknownError())
        assert_growth(0)
        for each in answers[2:]:
            self.failureResultOf(each)

    def test_outcomes_are_unknown_at_the_end(self) -> None:
        answers = [self.add(index) for index in (4, 5)]
        self.proposals.start_timeout(0)
        error = ValueError("stopped")
        self.proposals.fail(error)
        for answer in answers:
            self.assertIs(self.failureResultOf(answer).value, error)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_callback_may_cancel_other_proposals(self) -> None:
        first, second = self.add(4), self.add(5)
        first.addErrback(lambda _: second.cancel())
        self.proposals.fail(ValueError("stopped"))
        self.failureResultOf(second, CancelledError)

    def test_cancelled_proposal_is_not_answered(self) -> None:
        answer = self.add(5)
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        proposal = self.take(5, 1)
        assert proposal is not None
        proposal.on_outcome(None)

    def test_failing_callback_does_not_affect_others(self) -> None:
        """The others are notified all the same."""

        def fail(_: object) -> None:
            raise ZeroDivisionError

        self.proposals.add(5, Proposal(None, 1, 10, fail))
        answer = self.add(6)
        self.proposals.fail(UnknownError())
        self.failureResultOf(answer, UnknownError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_callback_may_propose_again(self) -> None:
        again: list[Deferred[object]] = []
        self.add(5).addErrback(lambda _: again.append(self.add(5, term=9)))
        self.proposals.fail(ValueError("lost"))
        self.assertNoResult(again[0])
        self.assertIsNotNone(self.take(5, 9))

    def test_callback_when_no_proposal_is_left(self) -> None:
        self.successResultOf(self.proposals.when_none())
        for settle in (
            lambda: self.proposals.tell([entry(4, 1)], self.proposals.take([entry(4, 1)]), [None]),
            lambda: self.proposals.skip(4),
            lambda: self.proposals.fail(UnknownError()),
        ):
            self.add(4).addErrback(lambda failure: failure.trap(UnknownError))
            none = self.proposals.when_none()
            self.assertNoResult(none)
            settle()
            self.successResultOf(none)


class WaitersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.waiting = Waiters()

    def test_all_waiters_are_notified(self) -> None:
        waiting = [self.waiting.wait() for _ in range(3)]
        self.waiting.fire()
        for each in waiting:
            self.successResultOf(each)
        later = self.waiting.wait()
        self.assertNoResult(later)
        error = ValueError()
        self.waiting.fail(error)
        self.assertIs(self.failureResultOf(later).value, error)

    def test_cancelled_waiter_is_not_notified(self) -> None:
        gone, there = self.waiting.wait(), self.waiting.wait()
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        self.waiting.fire()
        self.successResultOf(there)

    def test_waiter_may_cancel_others(self) -> None:
        for tell in (self.waiting.fire, lambda: self.waiting.fail(ValueError())):
            first, second = self.waiting.wait(), self.waiting.wait()
            first.addBoth(lambda _, second=second: second.cancel())
            tell()
            self.successResultOf(first)
            self.failureResultOf(second, CancelledError)

    def test_first_waiter_alone_is_notified(self) -> None:
        first, second, third = [self.waiting.wait() for _ in range(3)]
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.assertEqual(len(self.waiting), 2)
        self.waiting.fire_first()
        self.successResultOf(first)
        self.assertNoResult(third)
        self.waiting.fire_first()
        self.successResultOf(third)
        self.assertEqual(len(self.waiting), 0)

    def test_waiter_may_wait_again(self) -> None:
        """A caller that waits again is notified the next time."""
        again: list[Deferred[None]] = []
        self.waiting.wait().addCallback(lambda _: again.append(self.waiting.wait()))
        self.waiting.fire()
        self.assertNoResult(again[0])
        self.waiting.fire()
        self.successResultOf(again[0])
