"""
L{etcd_twisted.consensus.proposals.pending} and L{etcd_twisted.waiters}.
"""

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.proposals.pending import Proposal, Proposals, outcome_callback
from etcd_twisted.consensus.raft.entries import Entry, EntryKind
from etcd_twisted.errors import RequestDroppedError
from etcd_twisted.keyspace.commands import Change, Set
from etcd_twisted.keyspace.growth import MAX_GROWTH_PER_BYTE, MAX_GROWTH_PER_COMMAND
from etcd_twisted.waiters import Waiters

PATIENCE = 3.0


class UnknownError(Exception):
    """What became of it is not known."""


def entry(index: int, term: int) -> Entry:
    return Entry(index, term, EntryKind.COMMAND, b"")


class ProposalsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.proposals = Proposals(self.clock, PATIENCE, UnknownError)

    def add(self, index: int, term: int = 1) -> "Deferred[object]":
        answer: Deferred[object] = Deferred()
        self.proposals.add(index, Proposal(Set(f"/{index}", 0), term, 10, outcome_callback(answer)))
        return answer

    def test_the_entry_that_was_made_of_it(self) -> None:
        answer = self.add(5)
        proposal = self.proposals.take(entry(5, 1))
        assert proposal is not None
        self.assertEqual(proposal.command, Set("/5", 0))
        self.assertNoResult(answer)
        proposal.on_outcome(None)
        self.successResultOf(answer)
        self.assertIsNone(self.proposals.take(entry(5, 1)))

    def test_an_entry_that_nobody_here_has_proposed(self) -> None:
        answer = self.add(5)
        self.assertIsNone(self.proposals.take(entry(4, 1)))
        self.assertNoResult(answer)

    def test_another_leaders_entry_in_its_place(self) -> None:
        """Once that one is committed, this one never will be."""
        answer = self.add(5)
        self.assertIsNone(self.proposals.take(entry(5, 2)))
        self.failureResultOf(answer, RequestDroppedError)

    def test_another_proposal_in_its_place(self) -> None:
        """It is in this machine's log no longer, but may be in another one's, which may win yet."""
        first = self.add(5)
        second = self.add(5, term=3)
        self.failureResultOf(first, UnknownError)
        self.assertNoResult(second)
        self.assertIsNotNone(self.proposals.take(entry(5, 3)))

    def test_the_leader_is_lost(self) -> None:
        """Who waits is kept waiting for a while: another leader may settle it."""
        answer = self.add(5)
        self.proposals.leads_no_longer()
        self.clock.advance(PATIENCE / 2)
        self.proposals.leads_no_longer()
        self.clock.advance(PATIENCE / 2 - 0.1)
        self.assertNoResult(answer)
        self.clock.advance(0.1)
        self.failureResultOf(answer, UnknownError)
        self.assertIsNone(self.proposals.take(entry(5, 1)))

    def test_it_is_settled_meanwhile(self) -> None:
        first, second = self.add(5), self.add(6)
        self.proposals.leads_no_longer()
        self.assertIsNotNone(self.proposals.take(entry(5, 1)))
        self.assertIsNone(self.proposals.take(entry(6, 2)))
        self.failureResultOf(second, RequestDroppedError)
        self.clock.advance(PATIENCE)
        self.assertNoResult(first)  # the one who took it answers

    def test_it_leads_again(self) -> None:
        """What it has in its log it will commit, or be told of otherwise."""
        answer = self.add(5)
        self.proposals.leads_no_longer()
        self.proposals.leads()
        self.clock.advance(10 * PATIENCE)
        self.assertNoResult(answer)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_without_any_no_time_is_kept(self) -> None:
        self.proposals.leads_no_longer()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_snapshot_in_its_place(self) -> None:
        """Whose entries it holds can't be told."""
        answers = [self.add(index) for index in (4, 5, 6)]
        self.proposals.skip(5)
        self.failureResultOf(answers[0], UnknownError)
        self.failureResultOf(answers[1], UnknownError)
        self.assertNoResult(answers[2])

    def assert_size(self, count: int) -> None:
        self.assertEqual(self.proposals.size, 10 * count)

    def test_their_size(self) -> None:
        """That of those who wait, in the log."""
        answers = [self.add(index) for index in (4, 5, 6, 7, 8)]
        self.assert_size(5)
        self.proposals.take(entry(3, 1))
        self.proposals.take(entry(4, 1))
        self.assert_size(4)
        answers.append(self.add(5, term=3))
        self.assert_size(4)
        self.proposals.take(entry(5, 4))
        self.assert_size(3)
        self.proposals.skip(6)
        self.assert_size(2)
        self.proposals.fail(UnknownError())
        self.assert_size(0)
        for each in answers[1:]:
            self.failureResultOf(each)

    def test_growth_of_very_many(self) -> None:
        """Those that are not looked at yet count with the most that they can add."""
        new = 2_500
        for index in range(new):
            self.proposals.add(index, Proposal(Set("/a", 0), 1, 10, lambda _: None))
        most = 10 * MAX_GROWTH_PER_BYTE + MAX_GROWTH_PER_COMMAND
        self.assertEqual(self.proposals.growth(lambda _: 3), 2_000 * 3 + 500 * most)
        self.assertEqual(self.proposals.growth(lambda _: 3), new * 3)
        for index in range(new):
            self.proposals.take(entry(index, 1))
        self.assertEqual(self.proposals.growth(lambda _: 3), 0)

    def test_their_growth(self) -> None:
        """By how much those who wait make the key space larger; each is looked at once, when somebody asks."""
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
        self.proposals.take(entry(4, 1))
        assert_growth(650, "/5", "/6")
        answers.append(self.add(7))
        self.proposals.add(8, Proposal(None, 1, 0, lambda _: None))
        assert_growth(650, "/7")
        self.proposals.take(entry(5, 1))
        answers.append(self.add(8))
        assert_growth(8_600, "/6", "/7", "/8")
        self.proposals.skip(6)
        assert_growth(8_000, "/7", "/8")
        self.proposals.fail(UnknownError())
        assert_growth(0)
        for each in answers[2:]:
            self.failureResultOf(each)

    def test_nobody_will_be_told_more(self) -> None:
        answers = [self.add(index) for index in (4, 5)]
        self.proposals.leads_no_longer()
        error = ValueError("stopped")
        self.proposals.fail(error)
        for answer in answers:
            self.assertIs(self.failureResultOf(answer).value, error)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_who_goes_away_when_told_may_take_others_along(self) -> None:
        first, second = self.add(4), self.add(5)
        first.addErrback(lambda _: second.cancel())
        self.proposals.fail(ValueError("stopped"))
        self.failureResultOf(second, CancelledError)

    def test_one_who_has_gone_is_not_told(self) -> None:
        answer = self.add(5)
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        proposal = self.proposals.take(entry(5, 1))
        assert proposal is not None
        proposal.on_outcome(None)

    def test_one_who_can_not_be_told(self) -> None:
        """That is nobody else's trouble."""

        def fail(_: object) -> None:
            raise ZeroDivisionError

        self.proposals.add(5, Proposal(None, 1, 10, fail))
        answer = self.add(6)
        self.proposals.fail(UnknownError())
        self.failureResultOf(answer, UnknownError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_one_who_is_told_may_propose_again(self) -> None:
        again: list[Deferred[object]] = []
        self.add(5).addErrback(lambda _: again.append(self.add(5, term=9)))
        self.proposals.fail(ValueError("lost"))
        self.assertNoResult(again[0])
        self.assertIsNotNone(self.proposals.take(entry(5, 9)))

    def test_when_none_is_left(self) -> None:
        self.successResultOf(self.proposals.when_none())
        for settle in (
            lambda: self.proposals.take(entry(4, 1)),
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

    def test_all_are_told(self) -> None:
        waiting = [self.waiting.wait() for _ in range(3)]
        self.waiting.fire()
        for each in waiting:
            self.successResultOf(each)
        later = self.waiting.wait()
        self.assertNoResult(later)
        error = ValueError()
        self.waiting.fail(error)
        self.assertIs(self.failureResultOf(later).value, error)

    def test_one_who_goes_away(self) -> None:
        gone, there = self.waiting.wait(), self.waiting.wait()
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        self.waiting.fire()
        self.successResultOf(there)

    def test_one_who_sends_others_away_when_told(self) -> None:
        for tell in (self.waiting.fire, lambda: self.waiting.fail(ValueError())):
            first, second = self.waiting.wait(), self.waiting.wait()
            first.addBoth(lambda _, second=second: second.cancel())
            tell()
            self.successResultOf(first)
            self.failureResultOf(second, CancelledError)

    def test_the_first_alone(self) -> None:
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

    def test_one_who_waits_again_when_told(self) -> None:
        """It waits for the next time."""
        again: list[Deferred[None]] = []
        self.waiting.wait().addCallback(lambda _: again.append(self.waiting.wait()))
        self.waiting.fire()
        self.assertNoResult(again[0])
        self.waiting.fire()
        self.successResultOf(again[0])
