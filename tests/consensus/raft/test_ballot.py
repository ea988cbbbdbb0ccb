"""
Tests of L{etcd_twisted.consensus.raft.ballot}.
"""

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.raft.ballot import Ballot
from etcd_twisted.consensus.raft.entries import HardState


class BallotTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.ballot = Ballot(HardState(3, "b"))

    def test_initial_ballot_is_durable(self) -> None:
        self.assertEqual((self.ballot.term, self.ballot.vote), (3, "b"))
        self.assertTrue(self.ballot.is_durable)
        self.assertIsNone(self.ballot.to_persist())

    def test_terms_only_grow(self) -> None:
        for term in (2, 3):
            self.assertRaises(ValueError, self.ballot.enter, term)
        self.ballot.enter(4)
        self.assertEqual((self.ballot.term, self.ballot.vote), (4, ""))

    def test_one_vote_a_term(self) -> None:
        self.assertRaises(ValueError, self.ballot.give, "c")
        self.ballot.give("b")
        self.assertIsNone(self.ballot.to_persist())
        self.ballot.enter(4)
        self.ballot.give("c")
        self.assertRaises(ValueError, self.ballot.give, "b")

    def test_only_the_newest_ballot_is_written(self) -> None:
        self.ballot.enter(4)
        self.ballot.enter(5)
        self.ballot.give("c")
        self.assertEqual(self.ballot.to_persist(), HardState(5, "c"))
        self.assertIsNone(self.ballot.to_persist())

    def test_ballot_is_not_durable_while_a_newer_one_is_not(self) -> None:
        self.ballot.enter(4)
        written = self.ballot.to_persist()
        self.assertFalse(self.ballot.is_durable)
        self.ballot.give("c")
        assert written is not None
        self.ballot.persisted(written)
        self.assertFalse(self.ballot.is_durable)
        written = self.ballot.to_persist()
        self.assertEqual(written, HardState(4, "c"))
        assert written is not None
        self.ballot.persisted(written)
        self.assertTrue(self.ballot.is_durable)

    def test_votes_of_voters_count_once_each(self) -> None:
        self.ballot.ask("a")
        for voter in ("a", "a", "x"):
            self.ballot.count(voter)
            self.assertFalse(self.ballot.is_won(("a", "b", "c")))
        self.ballot.count("b")
        self.assertTrue(self.ballot.is_won(("a", "b", "c")))
        self.assertFalse(self.ballot.is_won(("a", "b", "c", "d")))
        self.ballot.ask()
        self.assertFalse(self.ballot.is_won(("a", "b", "c")))
