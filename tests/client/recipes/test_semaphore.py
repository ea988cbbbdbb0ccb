"""Semaphores, on a simulated clock: the lowest keys hold it, and no others."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.client.recipes import Hold, NotAcquired, Semaphore
from tests.client.recipes.contenders import DIRECTORY, TTL_SECONDS, ContenderTest
from tests.client.store import Store


class SemaphoreTests(ContenderTest):
    def semaphore(self, limit: int = 2) -> Semaphore:
        return Semaphore(self.client(), DIRECTORY, limit, ttl_seconds=TTL_SECONDS)

    def begin(self, count: int, holders: int) -> "tuple[list[Semaphore], list[Deferred[Hold]]]":
        """Returns contenders in their order, of which the first are let in, and the results of those that wait."""
        semaphores = [self.semaphore(holders) for _ in range(count)]
        for semaphore in semaphores[:holders]:
            self.held(semaphore)
        return semaphores, [self.waiting(semaphore) for semaphore in semaphores[holders:]]

    def test_the_first_are_let_in(self) -> None:
        _, waiting = self.begin(5, 3)
        self.store.advance(5 * TTL_SECONDS)
        for each in waiting:
            self.assertNoResult(each)
        self.assertEqual(len(self.keys()), 5)

    def test_whoever_leaves_the_next_comes_in(self) -> None:
        """Also if the holder that leaves is not the one just before it."""
        semaphores, waiting = self.begin(5, 2)
        for leaving, coming in ((0, 0), (2, 1), (1, 2)):
            self.store.result_of(semaphores[leaving].release())
            for number, each in enumerate(waiting):
                if number > coming:
                    self.assertNoResult(each)
            self.assertTrue(self.successResultOf(waiting[coming]).is_held)
            waiting[coming].addCallback(lambda hold: hold)

    def test_only_those_that_come_in_list_again(self) -> None:
        semaphores, _ = self.begin(6, 2)
        self.store.requests.clear()
        self.store.result_of(semaphores[1].release())
        self.assertEqual(sorted(method for method, _ in self.store.requests), ["DELETE", "GET"])

    def test_waiters_that_give_up_let_in_nobody(self) -> None:
        semaphores, waiting = self.begin(5, 2)
        for each in waiting[:2]:
            each.addErrback(lambda failure: failure.trap(CancelledError) and None).cancel()
        self.step()
        self.assertNoResult(waiting[2])
        self.store.result_of(semaphores[0].release())
        self.assertTrue(self.successResultOf(waiting[2]).is_held)

    def test_directory_was_deleted(self) -> None:
        """All that wait notice, and come in as far as there is room."""
        _, waiting = self.begin(5, 2)
        self.store.replica.delete("/locks")
        self.store.advance(TTL_SECONDS)
        fired = [each for each in waiting if each.called]
        self.assertEqual(len(fired), 2)

    def test_one_object_is_for_one_task(self) -> None:
        semaphore = self.semaphore()
        first = self.held(semaphore)
        self.store.result_of(semaphore.release())
        self.assertNotEqual(self.held(semaphore).fencing_token, first.fencing_token)

    def test_try_once(self) -> None:
        self.begin(2, 2)
        trying = self.semaphore().acquire(timeout_seconds=0)
        self.step()
        self.failureResultOf(trying, NotAcquired)
        self.assertEqual(len(self.keys()), 2)

    def test_bad_arguments_are_named(self) -> None:
        with self.assertRaisesRegex(ValueError, "limit"):
            self.semaphore(0)


class LimitTests(SynchronousTestCase):
    @given(st.integers(1, 3), st.lists(st.tuples(st.integers(0, 4), st.sampled_from([0.0, 0.1, 1.0, 9.0]))))
    def test_the_limit_is_kept(self, limit: int, steps: list[tuple[int, float]]) -> None:
        """And as many as there is room for are let in."""
        store = Store(self)
        semaphores = [Semaphore(store.client(), DIRECTORY, limit, ttl_seconds=TTL_SECONDS) for _ in range(5)]
        acquiring: dict[int, Deferred[None]] = {}
        holds: dict[int, Hold] = {}

        def acquired(hold: Hold, number: int) -> None:
            del acquiring[number]
            holds[number] = hold

        for number, seconds in steps:
            if number in holds:
                del holds[number]
                semaphores[number].release()
            elif number in acquiring:
                acquiring.pop(number).addErrback(lambda failure: failure.trap(CancelledError) and None).cancel()
            else:
                acquired_later = semaphores[number].acquire()
                acquiring[number] = acquired_later  # type: ignore[assignment]
                acquired_later.addCallback(acquired, number)
            store.advance(seconds)
            self.assertLessEqual(len(holds), limit)
            self.assertTrue(all(hold.is_held for hold in holds.values()))
        store.advance(0.1)
        self.assertEqual(len(holds), min(limit, len(holds) + len(acquiring)))
        for each in acquiring.values():
            each.addErrback(lambda failure: failure.trap(CancelledError) and None).cancel()
        store.stop()
