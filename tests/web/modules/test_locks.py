"""
Locks without HTTP: who gets a lock and when, which names identify an entry, and what requests do with entries.
"""

from twisted.internet.defer import ensureDeferred, succeed

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.keyspace.commands import CreateInOrder, Delete, Refresh, Set
from etcd_twisted.keyspace.nodes import Directory
from etcd_twisted.web.modules.lock_queue import entry_key, lock_directory
from etcd_twisted.web.modules.locks import EntryReference
from tests.web.modules.lockers import QUEUE, TTL, LocksTest

TAKEN = "others hold it or wait for it"


class AcquireTests(LocksTest):
    """These tests acquire a lock."""

    def test_a_free_lock_is_acquired_at_once(self) -> None:
        """The entry lasts as long as the client asked for, and takes one change."""
        now = self.replica.now()
        index = self.get("me")
        self.assertEqual(self.replica.proposed, [CreateInOrder(QUEUE, now, "me", False, now + TTL * 1_000_000)])
        self.assertEqual(self.holder(), (index, "me"))
        self.release(index)
        self.assert_over()

    def test_locks_are_granted_in_order(self) -> None:
        """The client that asked first gets the lock first, in whatever order the others release their entries."""
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
        """A lock delays no other lock, not even one whose name continues its own after a slash."""
        self.get()
        for name in ("other", "mylock/below", "my", "mylock2"):
            self.successResultOf(self.ask(directory=lock_directory(name) or ""))

    def test_only_the_next_is_woken(self) -> None:
        """When an entry goes, only the next entry in the queue is confirmed."""
        first = self.get()
        waiting = [self.wait() for _ in range(10)]
        self.replica.proposed.clear()
        self.release(first)
        self.successResultOf(waiting[0])
        self.assertEqual(len(self.proposed(Refresh)), 1)

    def test_a_long_queue_is_served_in_order(self) -> None:
        """The queue is read when the first client waits, and not again, however many clients join and leave it."""
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
        reads.remove(QUEUE)  # this test's own read
        self.assertLessEqual(reads.count(QUEUE), 2)
        self.assertEqual(self.holder(), (self.entries()[0], "18"))

    def test_a_turn_is_confirmed_by_a_quorum(self) -> None:
        """No client gets the lock before a quorum has confirmed that its entry is still there."""
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
        """A renewal that is under way serves as the confirmation."""
        first = self.get(ttl=300)
        asked = self.wait(ttl=30)
        self.replica.holding = True
        self.clock.advance(10)
        self.assertEqual(len(self.proposed(Refresh)), 1)
        self.replica.keyspace.apply(Delete(entry_key(self.replica, QUEUE, first), self.replica.now()))
        self.clock.advance(0)
        self.assertNoResult(asked)
        self.replica.release()
        self.successResultOf(asked)
        self.assertEqual(len(self.proposed(Refresh)), 1)
        self.release(self.entries()[0])
        self.assert_over()

    def test_keys_that_are_not_entries_do_not_matter(self) -> None:
        """A key in the queue's directory that is not an entry delays nobody."""
        for name in ("007", "x", "-1", "1" * 40, "3/4"):
            self.replica.keyspace.apply(Set(f"{QUEUE}/{name}", 0, "v"))
        self.assertEqual(self.get(), self.replica.index)

    def test_an_entry_that_was_made_with_a_plain_request(self) -> None:
        """An entry that somebody created with a plain request counts. A change of its value does not move it."""
        entry = self.successResultOf(self.replica.propose(CreateInOrder(QUEUE, 0, "v"))).node.key
        asked = self.wait()
        self.replica.keyspace.apply(Set(entry, 0, "w"))
        self.clock.advance(0)
        self.assertNoResult(asked)
        self.replica.keyspace.apply(Delete(entry, 0))
        self.clock.advance(0)
        self.successResultOf(asked)

    def test_a_file_where_the_queue_should_be_is_an_error(self) -> None:
        self.replica.keyspace.apply(Set(QUEUE, 0, "v"))
        error = self.failureResultOf(self.ask(), EtcdError).value
        self.assertEqual(error.code, ErrorCode.NOT_A_DIRECTORY)
        self.assertEqual(self.locks._queues, {})


class PaddedTests(AcquireTests):
    """These tests acquire a lock in a cluster whose in-order keys have 20 digits."""

    def setUp(self) -> None:
        super().setUp()
        self.replica.keyspace.pads_in_order_keys = True

    def test_entries_are_padded_and_keep_their_order(self) -> None:
        """Indexes of one and of two digits are one queue, whose order is that of the names as texts, too."""
        indexes = [self.get("me")]
        waiting = [self.wait() for _ in range(12)]
        indexes = self.entries()
        self.assertTrue(indexes[0] < 10 <= indexes[-1], indexes)
        names = [f"{index:020}" for index in indexes]
        directory = self.replica.get(QUEUE)
        self.assertIsInstance(directory, Directory)
        self.assertEqual(sorted(directory.children), names)  # type: ignore[union-attr]
        self.renew(indexes[0])
        for index, asked in zip(indexes, waiting, strict=False):
            self.release(index)
            self.assertEqual(self.successResultOf(asked), indexes[indexes.index(index) + 1])
        self.release(indexes[-1])
        self.assert_over()


class TimeoutTests(LocksTest):
    """These tests bound how long a client waits."""

    def test_a_client_may_try_once(self) -> None:
        """The client gets a free lock. A lock that is taken shows no trace of the attempt at any time."""
        index = self.get(timeout=0)
        self.replica.proposed.clear()
        self.assert_not_acquired(self.ask(timeout=0), TAKEN)
        self.assertEqual((self.replica.proposed, self.entries()), ([], [index]))

    def test_clients_may_try_once_at_the_same_time(self) -> None:
        """One of them gets the lock in whichever order they come, and the other is not in the queue."""
        self.replica.holding = True
        asked = [self.ask(timeout=0) for _ in range(2)]
        self.replica.release()
        self.clock.advance(0)
        self.assertEqual(self.entries(), [self.successResultOf(asked[0])])
        self.assert_not_acquired(asked[1], TAKEN)

    def test_a_timeout_ends_the_wait(self) -> None:
        """The entry is deleted exactly then, and the client hears of it once the entry is gone."""
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

    def test_a_turn_before_the_timeout_cancels_the_timeout(self) -> None:
        """A client that gets the lock no longer times out."""
        index = self.get()
        asked = self.wait(timeout=5)
        self.release(index)
        index = self.successResultOf(asked)
        self.pass_time(10)
        self.assertEqual(self.entries(), [index])
        self.release(index)
        self.assert_over()

    def test_getting_into_the_queue_does_not_count_against_the_timeout(self) -> None:
        """The time until the entry is in the queue does not count, so trying once can succeed."""
        self.replica.holding = True
        asked = self.ask(timeout=0)
        self.clock.advance(3)
        self.replica.release()
        self.clock.advance(0)
        self.successResultOf(asked)

    def test_a_client_goes_while_its_entry_is_deleted(self) -> None:
        """A client that has timed out and leaves before it is answered causes no error."""
        self.get()
        asked = self.wait(timeout=5)
        self.replica.holding = True
        self.pass_time(5)
        asked.cancel()
        self.failureResultOf(asked)
        self.replica.release()
        self.assert_over()


class ValueTests(LocksTest):
    """These tests name entries by their values."""

    def test_a_waiting_client_that_asks_again_shares_its_entry(self) -> None:
        """The waits share one entry, and both clients get the lock."""
        first = self.get()
        asked = [self.wait("me") for _ in range(2)]
        self.assertEqual(len(self.entries()), 2)
        self.release(first)
        self.assertEqual([self.successResultOf(each) for each in asked], self.entries() * 2)
        self.release(self.entries()[0])
        self.assert_over()

    def test_an_entry_stays_while_one_of_its_two_clients_waits(self) -> None:
        """The entry goes when its last client goes."""
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

    def test_two_clients_with_one_value_at_the_same_time_share_an_entry(self) -> None:
        """There are never two entries."""
        self.replica.holding = True
        asked = [self.ask("me") for _ in range(2)]
        self.replica.release()
        self.clock.advance(0)
        index = self.successResultOf(asked[0])
        self.assertEqual((self.successResultOf(asked[1]), self.entries()), (index, [index]))

    def test_an_index_with_another_value_finds_no_entry(self) -> None:
        """
        A request with the wrong value has no entry there and changes nothing, whether the lock is granted or not.
        """
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
        """The client already has the lock, and now has it for longer."""
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
        """The lock stays with it."""
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

    def test_a_client_that_comes_back_while_its_entry_is_deleted_is_last(self) -> None:
        """The client joins the end of the queue, however soon it comes back."""
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

    def test_a_client_that_asks_again_with_a_longer_ttl_gets_it(self) -> None:
        """The TTL of the last request counts from then on."""
        self.get(ttl=3_600)
        self.wait("me", ttl=3)
        self.wait("me", ttl=300)
        self.pass_time(1.125)
        self.replica.proposed.clear()
        self.pass_time(99, 1)
        self.assertEqual(self.replica.proposed, [])

    def test_a_longer_ttl_while_the_entry_is_renewed_is_kept(self) -> None:
        """An entry renewed for a short time is renewed again in time, whatever clients ask for during the renewal."""
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

    def test_an_entry_that_another_leader_kept_is_kept(self) -> None:
        """This leader finds the entry in its copy and keeps it from then on."""
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
        """No leader reads its copy before it knows that the copy is current."""
        self.get(ttl=3_600)
        self.replica.holding = True
        asked = self.ask("me")
        self.replica.keyspace.apply(CreateInOrder(QUEUE, self.replica.now(), "me"))
        before = self.entries()
        self.replica.release()
        self.assertNoResult(asked)
        self.assertEqual(self.entries(), before)


class IndexTests(LocksTest):
    """These tests wait with the index of an existing entry."""

    def test_a_client_goes_on_to_wait_with_its_index(self) -> None:
        """The client waits at the entry that another machine kept, under that entry's name."""
        first = self.get()
        self.replica.propose(CreateInOrder(QUEUE, self.replica.now(), "me"))
        last = self.wait()
        _, index, _ = self.entries()
        asked = [self.ask(index=index), self.ask("me")]
        self.assertEqual(len(self.entries()), 3)
        self.release(first)
        self.assertEqual([self.successResultOf(each) for each in asked], [index, index])
        self.assertNoResult(last)

    def test_an_index_without_an_entry_is_refused(self) -> None:
        """The client does not get the lock, and no new entry joins the queue."""
        self.replica.proposed.clear()
        self.assert_not_acquired(self.ask(index=77), "there is no entry 77 in the queue")
        self.assertEqual(self.replica.proposed, [])
        self.assert_over()


class RenewTests(LocksTest):
    """These tests renew and release entries."""

    def test_an_entry_is_renewed_by_index_and_by_value(self) -> None:
        """The client may name the entry by its index, its value, or both. The entry stays, and its TTL begins anew."""
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
        """The machine keeps it with the new TTL from then on (spec, "Other client endpoints")."""
        self.get(ttl=3_600)
        self.wait(ttl=3)
        queue = self.entries()
        self.renew(queue[1], ttl=300)
        self.pass_time(1.125)
        self.replica.proposed.clear()
        self.pass_time(98, 1)
        self.assertEqual((self.entries(), self.replica.proposed), (queue, []))

    def test_a_waiting_entry_is_renewed_for_a_short_time(self) -> None:
        """The machine keeps it all the same, and renews it as often as the short TTL requires."""
        self.get(ttl=3_600)
        asked = self.wait(ttl=300)
        queue = self.entries()
        self.renew(queue[1], ttl=1)
        self.pass_time(10)
        self.assertNoResult(asked)
        self.assertEqual(self.entries(), queue)

    def test_renewal_with_a_ttl_of_zero_releases_the_entry(self) -> None:
        index = self.get()
        asked = self.wait()
        self.renew(index, ttl=0)
        self.pass_time(0.125)
        self.assertEqual(self.entries(), [self.successResultOf(asked)])

    def test_unknown_entries_can_not_be_renewed_or_released(self) -> None:
        """The request may name an unknown index, an unknown value, or an index and a value of different entries."""
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
        """The first entry with that value is released."""
        self.get("me")
        asked = self.wait("other")
        self.release(value="me")
        self.successResultOf(asked)

    def test_the_holder_of_a_lock_is_known(self) -> None:
        """A released lock has no holder; the holder of a lock that nobody asked for is unknown."""
        error = self.failureResultOf(ensureDeferred(self.locks.holder(QUEUE)), EtcdError).value
        self.assertEqual((error.code, error.cause), (ErrorCode.KEY_NOT_FOUND, "/mylock"))
        self.release(self.get())
        self.assertIsNone(self.holder())

    def test_the_holder_is_confirmed_by_a_quorum(self) -> None:
        """No machine reads its copy before it knows that the copy is current."""
        index = self.get()
        self.replica.holding = True
        asked = ensureDeferred(self.locks.holder(QUEUE))
        self.replica.keyspace.apply(Delete(entry_key(self.replica, QUEUE, index), 0))
        self.replica.release()
        self.assertIsNone(self.successResultOf(asked))
