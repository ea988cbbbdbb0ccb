"""
Locks without HTTP: how long entries last, and what happens when clients, entries or leadership go.
"""

from twisted.internet.defer import ensureDeferred, fail

from etcd_twisted.errors import ErrorCode, EtcdError, RequestDroppedError
from etcd_twisted.keyspace.commands import CreateInOrder, Delete, Refresh
from etcd_twisted.web.modules.lock_queue import entry_key
from etcd_twisted.web.modules.locks import EntryReference
from etcd_twisted.web.modules.queue_entry import RENEWALS_PER_TTL, LeadershipLostError
from tests.web.modules.lockers import QUEUE, LocksTest

GONE = "the entry in the queue is gone, as it was released or its TTL has ended"


class LifetimeTests(LocksTest):
    """These tests are about how long entries last."""

    def test_a_holder_has_its_own_ttl(self) -> None:
        """Nobody renews a holder's entry. When its TTL ends, the next client gets the lock."""
        self.get(ttl=5)
        asked = self.wait(ttl=7)
        self.pass_time(4.9375)
        self.assertNoResult(asked)
        self.pass_time(0.125)
        self.assertEqual(self.entries(), [self.successResultOf(asked)])
        self.pass_time(6.875)
        self.assertEqual(len(self.entries()), 1)
        self.pass_time(0.125)
        self.assertEqual(self.entries(), [])
        self.assert_over()

    def test_a_holder_has_all_of_its_ttl(self) -> None:
        """The TTL begins when the client gets the lock, however long it waited."""
        first = self.get(ttl=300)
        asked = self.wait(ttl=10)
        self.pass_time(102.5)
        self.release(first)
        index = self.successResultOf(asked)
        self.pass_time(9.9375)
        self.assertEqual(self.entries(), [index])
        self.pass_time(0.125)
        self.assertEqual(self.entries(), [])

    def test_a_waiting_entry_is_kept(self) -> None:
        """Its entry stays while it waits, however short its TTL is (spec, "Other client endpoints")."""
        index = self.get(ttl=3_600)
        asked = self.wait(ttl=1)
        self.pass_time(600)
        self.assertNoResult(asked)
        self.release(index)
        self.successResultOf(asked)

    def test_a_short_ttl_is_renewed_three_times_within_it(self) -> None:
        """A TTL of a second takes three renewals a second, and no other proposals."""
        self.get(ttl=3_600)
        self.wait(ttl=1)
        self.replica.proposed.clear()
        self.pass_time(60)
        self.assertEqual(len(self.proposed(Refresh)), len(self.replica.proposed))
        self.assertLessEqual(len(self.replica.proposed), 60 * RENEWALS_PER_TTL)
        self.assertGreaterEqual(len(self.replica.proposed), 60 * RENEWALS_PER_TTL * 0.8)

    def test_a_long_ttl_is_renewed_seldom(self) -> None:
        """The interval between renewals grows with the TTL."""
        self.get(ttl=3_600)
        self.wait(ttl=300)
        self.replica.proposed.clear()
        self.pass_time(1_000, 1)
        self.assertEqual(len(self.replica.proposed), 10)

    def test_one_renewal_is_made_at_a_time(self) -> None:
        """A slow cluster gets no second renewal before it has answered the first."""
        self.get(ttl=3_600)
        asked = self.wait(ttl=1)
        self.replica.proposed.clear()
        self.replica.holding = True
        self.pass_time(0.875)
        self.assertEqual(len(self.replica.proposed), 1)
        self.replica.release()
        self.assertNoResult(asked)

    def test_a_ttl_of_zero_ends_at_once(self) -> None:
        """The client gets a free lock, which is then free again. A client does not wait for a lock that is taken."""
        index = self.get(ttl=0)
        self.clock.advance(0.05)
        self.assertEqual((self.entries(), self.holder()), ([], None))
        self.assertGreater(self.get(), index)
        asked = self.ask(ttl=0)
        self.replica.proposed.clear()
        self.pass_time(1)
        self.assert_not_acquired(asked, GONE)
        self.assertEqual(self.replica.proposed, [])

    def test_an_entry_of_a_dead_machine_ends_with_its_ttl(self) -> None:
        """The entry that the machine kept goes when its TTL ends, and not before."""
        first = self.get(ttl=3_600)
        self.wait(ttl=9)
        _, orphan = self.entries()
        behind = self.wait(ttl=20)
        entry = self.locks._queues[QUEUE].find_entry(orphan, "")
        assert entry is not None
        entry._cancel_renewal()  # The locks do nothing more, as if they were on a dead machine.
        self.release(first)
        self.pass_time(8.875)
        self.assertEqual(self.entries()[0], orphan)
        self.assertNoResult(behind)
        self.pass_time(0.25)
        self.assertEqual(self.entries(), [self.successResultOf(behind)])


class GoneTests(LocksTest):
    """These tests make clients and entries go."""

    def test_a_waiting_client_goes(self) -> None:
        """Its entry is deleted at once, and the clients behind it move up (spec, "Other client endpoints")."""
        first = self.get()
        gone, other = self.wait(), self.wait()
        gone.cancel()
        self.failureResultOf(gone)
        self.assertEqual(len(self.entries()), 2)
        self.clock.advance(0)
        self.assertNoResult(other)
        self.release(first)
        self.assertEqual(self.entries(), [self.successResultOf(other)])
        self.release(self.entries()[0])
        self.assert_over()

    def test_a_client_goes_before_its_entry_is_created(self) -> None:
        """The entry that it never saw is deleted too."""
        self.replica.holding = True
        asked = self.ask()
        asked.cancel()
        self.failureResultOf(asked)
        self.assertEqual(self.entries(), [])
        self.replica.release()
        self.assertEqual(self.entries(), [])
        self.assertEqual([type(each) for each in self.replica.proposed], [CreateInOrder, Delete])
        self.assert_over()

    def test_a_client_goes_when_its_turn_comes(self) -> None:
        """The client goes before it is answered, so the next client gets the lock."""
        first = self.get()
        gone, other = self.wait(), self.wait()
        self.successResultOf(ensureDeferred(self.locks.release(EntryReference(QUEUE, first, ""))))
        self.replica.holding = True
        self.clock.advance(0)
        gone.cancel()
        self.failureResultOf(gone)
        self.replica.release()
        self.clock.advance(0)
        self.assertEqual(self.entries(), [self.successResultOf(other)])

    def test_a_client_goes_before_its_turn_comes(self) -> None:
        """Nothing grants it the lock while its entry is being deleted."""
        first = self.get()
        gone = self.wait()
        self.replica.holding = True
        gone.cancel()
        self.failureResultOf(gone)
        self.replica.proposed.clear()
        self.replica.keyspace.apply(Delete(entry_key(self.replica, QUEUE, first), 0))
        self.clock.advance(0)
        self.assertEqual(self.replica.proposed, [])
        self.replica.release()
        self.clock.advance(0)
        self.assertEqual(self.entries(), [])
        self.assert_over()

    def test_a_holder_may_go(self) -> None:
        """
        Nothing happens when a holder's connection ends, since the lock stays with it until it is released or expires.
        """
        asked = self.ask()
        index = self.successResultOf(asked)
        asked.cancel()
        self.assertEqual(self.entries(), [index])

    def test_a_waiting_client_hears_that_its_entry_was_released(self) -> None:
        """Its client hears at once that it will not get the lock."""
        self.get()
        asked = self.wait()
        self.release(self.entries()[1])
        self.assert_not_acquired(asked, GONE)
        self.assertEqual(len(self.entries()), 1)
        self.assert_over()

    def test_waiting_clients_hear_that_the_queue_was_deleted(self) -> None:
        self.get()
        asked = [self.wait() for _ in range(3)]
        self.replica.keyspace.apply(Delete(QUEUE, self.replica.now(), recursive=True))
        self.clock.advance(0)
        for each in asked:
            self.assert_not_acquired(each, GONE)
        self.assert_over()

    def test_an_unseen_deletion_is_noticed_at_the_renewal(self) -> None:
        """The renewal is the latest moment at which the machine notices that an entry is gone."""
        self.get(ttl=3_600)
        asked = self.wait(ttl=3)
        self.patch(self.replica, "propose", lambda _: fail(EtcdError(ErrorCode.KEY_NOT_FOUND, "/k")))
        self.pass_time(1.125)
        self.assert_not_acquired(asked, GONE)

    def test_a_refused_renewal_is_reported(self) -> None:
        """The client gets an unexpected error unchanged."""
        self.get(ttl=3_600)
        asked = self.wait(ttl=3)
        self.patch(self.replica, "propose", lambda _: fail(EtcdError(ErrorCode.TTL_NOT_A_NUMBER, "t")))
        self.pass_time(1.125)
        self.assertEqual(self.failureResultOf(asked, EtcdError).value.code, ErrorCode.TTL_NOT_A_NUMBER)
        self.assert_over()

    def test_all_clients_are_sent_away_at_the_stop(self) -> None:
        """All clients that wait learn why, and their entries leave the queue."""
        index = self.get()
        asked = [self.wait(), self.wait(timeout=5)]
        error = EtcdError(ErrorCode.RAFT_INTERNAL, "this machine is stopping")
        self.locks.stop(error)
        for each in (*asked, self.ask()):
            self.assertIs(self.failureResultOf(each).value, error)
        self.assertEqual(self.entries(), [index])
        self.assert_over()

    def test_all_clients_are_sent_away_when_the_replica_stops(self) -> None:
        """The same holds when the replica stops first."""
        self.get()
        asked = self.wait()
        error = EtcdError(ErrorCode.RAFT_INTERNAL, "this machine is stopping")
        self.replica.stop_serving(error)
        self.assertIs(self.failureResultOf(asked).value, error)
        self.assert_over()


class DeposedTests(LocksTest):
    """These tests are about a machine that stops leading."""

    def test_waiting_clients_learn_their_index(self) -> None:
        """They learn at once which entry they have, and the entry stays as it is."""
        self.get(ttl=3_600)
        asked = [self.wait(), self.wait("me"), self.wait("me"), self.wait(timeout=5)]
        queue = self.entries()
        self.replica.proposed.clear()
        self.replica.follow()
        lost = [self.failureResultOf(each, LeadershipLostError).value.index for each in asked]
        self.assertEqual(lost, [queue[1], queue[2], queue[2], queue[3]])
        self.assertEqual((self.entries(), self.replica.proposed), (queue, []))
        self.assert_over()

    def test_a_client_without_an_entry_may_ask_again(self) -> None:
        """Nothing was done, so the client may ask again."""
        self.replica.holding = True
        asked = self.ask()
        self.replica.follow()
        self.assertNoResult(asked)
        self.replica.fail_held(RequestDroppedError())
        error = self.failureResultOf(asked, RequestDroppedError).value
        self.assertNotIsInstance(error, LeadershipLostError)
        self.assert_over()

    def test_an_entry_that_is_created_after_all_is_reported(self) -> None:
        """The outcome of the earlier proposal is known only then: the entry exists, and its client learns of it."""
        first = self.get()
        self.replica.holding = True
        asked = self.ask()
        self.replica.follow()
        self.assertNoResult(asked)
        self.replica.release()
        self.assertEqual(self.entries(), [first, self.failureResultOf(asked, LeadershipLostError).value.index])
        self.assert_over()

    def test_an_entry_that_is_created_when_this_machine_leads_again(self) -> None:
        """The client still learns of it, so that the entry never has two keepers."""
        first = self.get()
        self.replica.holding = True
        asked = self.ask()
        self.replica.follow()
        self.replica.lead()
        self.replica.release()
        index = self.failureResultOf(asked, LeadershipLostError).value.index
        self.assertEqual(self.entries(), [first, index])
        again = [self.ask(index=index), self.ask(index=index)]
        self.release(first)
        self.assertEqual([self.successResultOf(each) for each in again], [index, index])
        self.assert_over()

    def test_a_client_hears_that_the_outcome_is_unknown(self) -> None:
        """The client learns exactly that: its entry may or may not be in the queue."""
        self.replica.holding = True
        asked = self.ask()
        self.replica.fail_held(error := EtcdError(ErrorCode.RAFT_INTERNAL, "whether it was done is unknown"))
        self.assertIs(self.failureResultOf(asked).value, error)
        self.assert_over()

    def test_a_refused_renewal_shows_that_leadership_is_lost(self) -> None:
        """The machine notices then, if not before."""
        for error in (RequestDroppedError(), EtcdError(ErrorCode.RAFT_INTERNAL, "whether it was done is unknown")):
            self.get("first", ttl=3_600)
            asked = self.wait(ttl=3)
            self.replica.holding = True
            self.clock.advance(1)
            self.replica.fail_held(error)
            self.assertEqual(self.failureResultOf(asked, LeadershipLostError).value.index, self.entries()[-1])
        self.assert_over()

    def test_a_turn_comes_too_late(self) -> None:
        """A machine that does not know yet that it no longer leads grants nothing."""
        first = self.get()
        asked = self.wait()
        self.replica.holding = True
        self.replica.keyspace.apply(Delete(entry_key(self.replica, QUEUE, first), 0))
        self.clock.advance(0)
        self.replica.fail_held(RequestDroppedError())
        self.failureResultOf(asked, LeadershipLostError)

    def test_a_client_goes_too_late(self) -> None:
        """Its entry is left to its TTL, and no error comes of that."""
        self.get(ttl=3_600)
        asked = self.wait(ttl=5)
        self.replica.holding = True
        asked.cancel()
        self.failureResultOf(asked)
        self.replica.fail_held(RequestDroppedError())
        self.assertEqual(len(self.entries()), 2)
        self.assertEqual(self.locks._queues, {})
        self.pass_time(5.125)
        self.assertEqual(len(self.entries()), 1)

    def test_clients_of_a_new_standby_learn_their_index(self) -> None:
        """A client that waited on a machine that becomes a standby learns which entry it has."""
        self.get(ttl=3_600)
        asked = self.wait()
        self.replica.keyspace.hub.end_all()
        self.assertEqual(self.failureResultOf(asked, LeadershipLostError).value.index, self.entries()[1])
        self.assert_over()

    def test_a_machine_that_does_not_lead_does_nothing(self) -> None:
        index = self.get("me")
        self.replica.follow()
        named = EntryReference(QUEUE, index, "")
        for work in (self.locks.renew(named, 5), self.locks.release(named), self.locks.holder(QUEUE)):
            self.failureResultOf(ensureDeferred(work), RequestDroppedError)
        for asked in (self.ask(), self.ask("me"), self.ask(timeout=0), self.ask(index=index)):
            self.failureResultOf(asked, RequestDroppedError)
        self.assertEqual(self.entries(), [index])
        self.assert_over()

    def test_this_machine_leads_again(self) -> None:
        """The machine keeps the entries that clients ask it to keep, and notices when it stops leading again."""
        first = self.get(ttl=3_600)
        asked = self.wait(ttl=5)
        self.replica.follow()
        index = self.failureResultOf(asked, LeadershipLostError).value.index
        self.replica.lead()
        asked = self.ask(index=index, ttl=5)
        self.pass_time(20)
        self.assertNoResult(asked)
        self.replica.follow()
        self.failureResultOf(asked, LeadershipLostError)
        self.replica.lead()
        asked = self.ask(index=index, ttl=5)
        self.release(first)
        self.assertEqual(self.successResultOf(asked), index)
