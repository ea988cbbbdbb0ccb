"""
Locks without HTTP: who gets one and when, by which names entries are known, and what is done with them.
"""

from twisted.internet.defer import ensureDeferred, succeed

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.keyspace.commands import CreateInOrder, Delete, Refresh, Set
from etcd_twisted.web.modules.lock_queue import entry_key, lock_directory
from etcd_twisted.web.modules.locks import EntryReference
from tests.web.modules.lockers import QUEUE, TTL, LocksTest

TAKEN = "others hold it or wait for it"


class AcquireTests(LocksTest):
    """Getting a lock."""

    def test_a_free_lock_is_acquired_at_once(self) -> None:
        """At once, for an entry that lasts as long as was asked for, and one change."""
        now = self.replica.now()
        index = self.get("me")
        self.assertEqual(self.replica.proposed, [CreateInOrder(QUEUE, now, "me", False, now + TTL * 1_000_000)])
        self.assertEqual(self.holder(), (index, "me"))
        self.release(index)
        self.assert_over()

    def test_locks_are_granted_in_order(self) -> None:
        """Whoever asked first gets it first, whoever releases it."""
        first = self.get()
        waiting = [self.wait(str(number)) for number in range(10)]
        indexes = self.entries()
        self.release(first)
        for asked, index in zip(waiting, indexes[1:], strict=True):
            self.assertEqual(self.successResultOf(asked), index)
            for other in waiting[waiting.index(asked) + 1 :]:
                self.assertNoResult(other)
            self.release(index)
        self.assertIsNone(self.holder())
        self.assert_over()

    def test_locks_are_independent(self) -> None:
        """Have nothing to do with it, also those whose names go on with a slash."""
        self.get()
        for name in ("other", "mylock/below", "my", "mylock2"):
            self.successResultOf(self.ask(directory=lock_directory(name) or ""))

    def test_only_the_next_is_woken(self) -> None:
        """When one entry goes nobody else's turn is thought about."""
        first = self.get()
        waiting = [self.wait() for _ in range(10)]
        self.replica.proposed.clear()
        self.release(first)
        self.successResultOf(waiting[0])
        self.assertEqual(len(self.proposed(Refresh)), 1)

    def test_a_long_queue_is_served_in_order(self) -> None:
        """It is read when the first one waits, and not again, however many join it and leave it."""
        self.get()
        reads = []
        get = self.replica.get
        self.patch(self.replica, "get", lambda key: (reads.append(key), get(key))[1])
        waiting = [self.wait(str(number)) for number in range(50)]
        for asked in waiting[1::2]:
            asked.cancel()
            self.failureResultOf(asked)
        for index in self.entries()[:10]:
            self.release(index)
        reads.remove(QUEUE)  # that of this test
        self.assertLessEqual(reads.count(QUEUE), 2)
        self.assertEqual(self.holder(), (self.entries()[0], "18"))

    def test_a_turn_is_confirmed_by_a_quorum(self) -> None:
        """Nobody is told before a quorum has said that the entry is still there."""
        first = self.get()
        asked = self.wait()
        (_, index) = self.entries()
        self.release(first)
        self.successResultOf(asked)
        asked = self.wait()
        self.successResultOf(ensureDeferred(self.locks.release(EntryReference(QUEUE, index, ""))))
        self.replica.holding = True
        self.clock.advance(0)
        self.assertNoResult(asked)
        self.replica.release()
        self.assertEqual(self.successResultOf(asked), self.entries()[0])

    def test_a_turn_comes_while_the_entry_is_renewed(self) -> None:
        """The renewal under way is the confirmation."""
        first = self.get(ttl=300)
        asked = self.wait(ttl=30)
        self.replica.holding = True
        self.clock.advance(10)
        self.assertEqual(len(self.proposed(Refresh)), 1)
        self.replica.keyspace.apply(Delete(entry_key(QUEUE, first), self.replica.now()))
        self.clock.advance(0)
        self.assertNoResult(asked)
        self.replica.release()
        self.successResultOf(asked)
        self.assertEqual(len(self.proposed(Refresh)), 1)
        self.release(self.entries()[0])
        self.assert_over()

    def test_keys_that_are_not_entries_do_not_matter(self) -> None:
        """What is no entry in the queue is in nobody's way."""
        for name in ("007", "x", "-1", "1" * 40, "3/4"):
            self.replica.keyspace.apply(Set(f"{QUEUE}/{name}", 0, "v"))
        self.assertEqual(self.get(), self.replica.index)

    def test_an_entry_that_was_made_with_a_plain_request(self) -> None:
        """An entry that somebody made with a plain request counts; a change of its value moves nobody."""
        entry = self.successResultOf(self.replica.propose(CreateInOrder(QUEUE, 0, "v"))).node.key
        asked = self.wait()
        self.replica.keyspace.apply(Set(entry, 0, "w"))
        self.clock.advance(0)
        self.assertNoResult(asked)
        self.replica.keyspace.apply(Delete(entry, 0))
        self.clock.advance(0)
        self.successResultOf(asked)

    def test_a_key_where_the_queue_should_be(self) -> None:
        """A key where the queue should be."""
        self.replica.keyspace.apply(Set(QUEUE, 0, "v"))
        error = self.failureResultOf(self.ask(), EtcdError).value
        self.assertEqual(error.code, ErrorCode.NOT_A_DIRECTORY)
        self.assertEqual(self.locks._queues, {})


class TimeoutTests(LocksTest):
    """Not waiting for ever."""

    def test_trying_once(self) -> None:
        """A lock that is free is got; of one that is not there is no trace left, not even for a moment."""
        index = self.get(timeout=0)
        self.replica.proposed.clear()
        self.assert_not_acquired(self.ask(timeout=0), TAKEN)
        self.assertEqual((self.replica.proposed, self.entries()), ([], [index]))

    def test_trying_once_at_the_same_time(self) -> None:
        """However they come, one of them gets it, and the other is not in the queue."""
        self.replica.holding = True
        asked = [self.ask(timeout=0) for _ in range(2)]
        self.replica.release()
        self.clock.advance(0)
        self.assertEqual(self.entries(), [self.successResultOf(asked[0])])
        self.assert_not_acquired(asked[1], TAKEN)

    def test_a_timeout_ends_the_wait(self) -> None:
        """The entry is given up exactly then, and the client told when it is gone."""
        index = self.get()
        asked = self.wait(timeout=5)
        self.pass_time(4.9375)
        self.assertNoResult(asked)
        self.assertEqual(len(self.entries()), 2)
        self.replica.holding = True
        self.pass_time(0.0625)
        self.assertNoResult(asked)
        self.replica.release()
        self.assert_not_acquired(asked, TAKEN)
        self.assertEqual(self.entries(), [index])
        self.assert_over()

    def test_the_turn_comes_before_the_timeout(self) -> None:
        """One who gets the lock is not timed out any more."""
        index = self.get()
        asked = self.wait(timeout=5)
        self.release(index)
        index = self.successResultOf(asked)
        self.pass_time(10)
        self.assertEqual(self.entries(), [index])
        self.release(index)
        self.assert_over()

    def test_getting_into_the_queue_does_not_count_against_the_timeout(self) -> None:
        """What it takes to get into the queue does not count, so that trying once is worth it."""
        self.replica.holding = True
        asked = self.ask(timeout=0)
        self.clock.advance(3)
        self.replica.release()
        self.clock.advance(0)
        self.successResultOf(asked)

    def test_a_client_goes_while_its_entry_is_deleted(self) -> None:
        """A client that has timed out and leaves before it is told is forgotten quietly."""
        self.get()
        asked = self.wait(timeout=5)
        self.replica.holding = True
        self.pass_time(5)
        asked.cancel()
        self.failureResultOf(asked)
        self.replica.release()
        self.assert_over()


class ValueTests(LocksTest):
    """Entries with names."""

    def test_a_waiting_client_that_asks_again_shares_its_entry(self) -> None:
        """Both wait with the one entry, and both get the lock."""
        first = self.get()
        asked = [self.wait("me") for _ in range(2)]
        self.assertEqual(len(self.entries()), 2)
        self.release(first)
        self.assertEqual([self.successResultOf(each) for each in asked], self.entries() * 2)
        self.release(self.entries()[0])
        self.assert_over()

    def test_one_of_two_clients_with_an_entry_goes(self) -> None:
        """The entry stays until the last is gone."""
        self.get()
        one, other, late = self.wait("me"), self.wait("me"), self.wait("me", timeout=5)
        one.cancel()
        self.failureResultOf(one)
        self.assertEqual(len(self.entries()), 2)
        self.pass_time(5)
        self.assert_not_acquired(late, TAKEN)
        self.assertEqual(len(self.entries()), 2)
        other.cancel()
        self.failureResultOf(other)
        self.assertEqual(len(self.entries()), 1)
        self.assert_over()

    def test_two_clients_with_one_value_at_the_same_time(self) -> None:
        """Not even then are there two entries."""
        self.replica.holding = True
        asked = [self.ask("me") for _ in range(2)]
        self.replica.release()
        self.clock.advance(0)
        index = self.successResultOf(asked[0])
        self.assertEqual((self.successResultOf(asked[1]), self.entries()), (index, [index]))

    def test_an_index_with_another_value(self) -> None:
        """Who calls an entry something else has none there, be it granted or not, and changes nothing about it."""
        holding, waiting = self.get("me", ttl=10), self.wait("other", ttl=10)
        _, other = self.entries()
        self.replica.proposed.clear()
        for index in (holding, other):
            error = self.failureResultOf(self.ask("stranger", index=index, ttl=1_000), EtcdError).value
            self.assertEqual((error.code, error.cause), (ErrorCode.COMPARE_FAILED,
                             f"/mylock was not acquired: entry {index} has another value"))  # fmt: skip
        self.assertEqual(self.replica.proposed, [])
        self.assertEqual(self.get(index=holding, ttl=10), holding)
        self.assertNoResult(waiting)
        self.pass_time(10.125)
        self.assertEqual(self.successResultOf(waiting), other)

    def test_a_holder_that_asks_again_holds_the_lock(self) -> None:
        """It has the lock already, and it has it longer."""
        index = self.get("me", ttl=10)
        other = self.wait("other")
        self.pass_time(9)
        self.assertEqual(self.get("me", ttl=10), index)
        self.assertEqual(self.get("me", ttl=10, timeout=0), index)
        self.pass_time(9)
        self.assertNoResult(other)
        self.assertEqual(self.holder(), (index, "me"))
        self.pass_time(1.125)
        self.successResultOf(other)

    def test_a_holder_that_asks_again_and_goes_keeps_the_lock(self) -> None:
        """It does not lose the lock by that."""
        index = self.get("me")
        self.patch(self.replica, "confirm_reads", lambda: succeed(None))
        self.replica.holding = True
        asked = self.ask("me")
        self.assertEqual(len(self.proposed(Refresh)), 1)
        asked.cancel()
        self.failureResultOf(asked)
        self.replica.release()
        self.assertEqual(self.entries(), [index])
        self.assertEqual(self.proposed(Delete), [])
        self.assert_over()

    def test_a_client_comes_back_while_its_entry_is_deleted(self) -> None:
        """One who has gone and comes back stands at the end, however soon that is."""
        self.get()
        gone, other = self.wait("me"), self.wait("other")
        before = self.entries()
        self.replica.holding = True
        gone.cancel()
        self.failureResultOf(gone)
        asked = self.ask("me")
        self.replica.release()
        self.clock.advance(0)
        self.assertNoResult(asked)
        self.assertEqual(self.entries()[:2], [before[0], before[2]])
        self.assertEqual(len(self.entries()), 3)
        self.release(before[0])
        self.assertEqual(self.successResultOf(other), before[2])

    def test_a_client_that_asks_again_with_a_longer_ttl(self) -> None:
        """What was asked for last counts from then on."""
        self.get(ttl=3_600)
        self.wait("me", ttl=3)
        self.wait("me", ttl=300)
        self.pass_time(1.125)
        self.replica.proposed.clear()
        self.pass_time(99, 1)
        self.assertEqual(self.replica.proposed, [])

    def test_a_longer_ttl_while_the_entry_is_renewed(self) -> None:
        """What was renewed for a short time is renewed again in time, whatever is asked for while that is done."""
        self.get(ttl=3_600)
        self.wait("me", ttl=1)
        queue = self.entries()
        self.replica.holding = True
        self.pass_time(0.375)
        self.assertEqual(len(self.proposed(Refresh)), 1)
        asked = self.ask("me", ttl=300)
        self.replica.release()
        self.pass_time(10)
        self.assertNoResult(asked)
        self.assertEqual(self.entries(), queue)

    def test_an_entry_that_another_leader_kept(self) -> None:
        """Found in the copy, and kept from then on."""
        self.get(ttl=3_600)
        now = self.replica.now()
        self.replica.propose(CreateInOrder(QUEUE, now, "me", False, now + 10_000_000))
        before = self.entries()
        asked = self.wait("me", ttl=5)
        self.assertEqual(self.entries(), before)
        self.pass_time(20)
        self.assertEqual(self.entries(), before)
        self.release(before[0])
        self.assertEqual(self.successResultOf(asked), before[1])

    def test_an_entry_of_another_leader_is_not_overlooked(self) -> None:
        """The copy is not looked at before it is known to be the newest."""
        self.get(ttl=3_600)
        self.replica.holding = True
        asked = self.ask("me")
        self.replica.keyspace.apply(CreateInOrder(QUEUE, self.replica.now(), "me"))
        before = self.entries()
        self.replica.release()
        self.assertNoResult(asked)
        self.assertEqual(self.entries(), before)


class IndexTests(LocksTest):
    """Entries that one has already."""

    def test_a_client_goes_on_to_wait_with_its_index(self) -> None:
        """At the entry that another machine kept, under its name."""
        first = self.get()
        self.replica.propose(CreateInOrder(QUEUE, self.replica.now(), "me"))
        last = self.wait()
        _, index, _ = self.entries()
        asked = [self.ask(index=index), self.ask("me")]
        self.assertEqual(len(self.entries()), 3)
        self.release(first)
        self.assertEqual([self.successResultOf(each) for each in asked], [index, index])
        self.assertNoResult(last)

    def test_an_index_without_an_entry(self) -> None:
        """It is not got, and nobody is put in the queue for that."""
        self.replica.proposed.clear()
        self.assert_not_acquired(self.ask(index=77), "there is no entry 77 in the queue")
        self.assertEqual(self.replica.proposed, [])
        self.assert_over()


class RenewTests(LocksTest):
    """Renewing and releasing."""

    def test_an_entry_is_renewed_by_index_and_by_value(self) -> None:
        """By index, by value or by both: the entry stays, and lasts from then on."""
        index = self.get("me", ttl=5)
        self.wait()
        queue = self.entries()
        for named in ({"index": index}, {"value": "me"}, {"index": index, "value": "me"}):
            self.pass_time(4)
            self.renew(**named, ttl=5)  # type: ignore[arg-type]
            self.assertEqual((self.entries(), self.holder()), (queue, (index, "me")))
        self.pass_time(5.125)
        self.assertNotIn(index, self.entries())

    def test_a_waiting_entry_is_renewed(self) -> None:
        """It is kept with the new TTL from then on (spec, "Other client endpoints")."""
        self.get(ttl=3_600)
        self.wait(ttl=3)
        queue = self.entries()
        self.renew(queue[1], ttl=300)
        self.pass_time(1.125)
        self.replica.proposed.clear()
        self.pass_time(98, 1)
        self.assertEqual((self.entries(), self.replica.proposed), (queue, []))

    def test_a_waiting_entry_is_renewed_for_a_short_time(self) -> None:
        """It is kept all the same, and renewed as often as that needs."""
        self.get(ttl=3_600)
        asked = self.wait(ttl=300)
        queue = self.entries()
        self.renew(queue[1], ttl=1)
        self.pass_time(10)
        self.assertNoResult(asked)
        self.assertEqual(self.entries(), queue)

    def test_an_entry_is_renewed_with_a_ttl_of_zero(self) -> None:
        """Is as good as released."""
        index = self.get()
        asked = self.wait()
        self.renew(index, ttl=0)
        self.pass_time(0.125)
        self.assertEqual(self.entries(), [self.successResultOf(asked)])

    def test_unknown_entries_can_not_be_renewed_or_released(self) -> None:
        """Index, value, or one that is not the other's."""
        index = self.get("me")
        self.wait("other")
        for entry in (
            EntryReference(QUEUE, 99, ""),
            EntryReference(QUEUE, None, "x"),
            EntryReference(QUEUE, index, "other"),
            EntryReference("/no", 1, ""),
        ):
            for work in (self.locks.renew(entry, TTL), self.locks.release(entry)):
                error = self.failureResultOf(ensureDeferred(work), EtcdError).value
                self.assertEqual(error.code, ErrorCode.KEY_NOT_FOUND)
        self.assertEqual(len(self.entries()), 2)

    def test_an_entry_is_released_by_value(self) -> None:
        """The first entry with that value."""
        self.get("me")
        asked = self.wait("other")
        self.release(value="me")
        self.successResultOf(asked)

    def test_the_holder_of_a_lock(self) -> None:
        """Nobody, when it was released; unknown before anybody asked."""
        error = self.failureResultOf(ensureDeferred(self.locks.holder(QUEUE)), EtcdError).value
        self.assertEqual((error.code, error.cause), (ErrorCode.KEY_NOT_FOUND, "/mylock"))
        self.release(self.get())
        self.assertIsNone(self.holder())

    def test_the_holder_is_confirmed_by_a_quorum(self) -> None:
        """The copy is not looked at before it is known to be the newest."""
        index = self.get()
        self.replica.holding = True
        asked = ensureDeferred(self.locks.holder(QUEUE))
        self.replica.keyspace.apply(Delete(entry_key(QUEUE, index), 0))
        self.replica.release()
        self.assertIsNone(self.successResultOf(asked))
