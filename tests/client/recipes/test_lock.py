"""Locks, on a simulated clock: whose turn it is, and what is left behind when something fails."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.client import (
    ClientClosed,
    ClientError,
    ConnectionFailed,
    NotADirectory,
    NotAFile,
    OutcomeUnknown,
    UnexpectedAnswer,
)
from etcd_twisted.client.recipes import AlreadyHeld, Hold, Lock, NotAcquired, NotHeld
from etcd_twisted.client.recipes.contender import MAX_CREATIONS
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.keyspace.commands import CreateInOrder
from tests.client.recipes.contenders import DIRECTORY, TTL_SECONDS, ContenderTest, pad_names
from tests.client.store import STEP_SECONDS, Store


def _ignore(failure: Failure) -> None:
    failure.trap(ClientError, CancelledError)


class TurnTests(ContenderTest):
    """Each contender has its turn in the order in which they came."""

    def test_one_holds_it_at_a_time(self) -> None:
        first, second = self.lock(), self.lock()
        hold = self.held(first)
        self.assertTrue(hold.is_held)
        waiting = self.waiting(second)
        self.store.advance(5 * TTL_SECONDS)
        self.assertNoResult(waiting)
        self.assertTrue(hold.is_held)
        self.store.result_of(first.release())
        self.assertFalse(hold.is_held)
        self.assertTrue(self.successResultOf(waiting).is_held)

    def assert_turns_are_fair(self) -> None:
        """The names of twelve keys go on from one digit to two; as a text, 10 comes before 9."""
        locks = [self.lock() for _ in range(12)]
        acquired: list[int] = []
        tokens: list[int] = []

        def note(hold: Hold, number: int) -> None:
            acquired.append(number)
            tokens.append(hold.fencing_token)

        for number, lock in enumerate(locks):
            lock.acquire().addCallback(note, number)
            self.step()
        for number, lock in enumerate(locks):
            self.assertEqual(acquired, list(range(number + 1)))
            self.store.result_of(lock.release())
        self.assertEqual(tokens, sorted(set(tokens)))
        self.assertLess(tokens[0], 10)
        self.assertGreater(tokens[-1], 10)
        self.assertEqual(self.keys(), [])

    def test_turns_are_fair_where_names_are_not_padded(self) -> None:
        self.assert_turns_are_fair()

    def test_turns_are_fair_where_names_are_padded(self) -> None:
        pad_names(self.store)
        self.assert_turns_are_fair()

    def test_a_release_wakes_only_the_next(self) -> None:
        """Of twelve; as a text, the key 10 comes before 9."""
        locks = [self.lock() for _ in range(12)]
        self.held(locks[0])
        waiting = [self.waiting(lock) for lock in locks[1:]]
        for lock, coming in zip(locks, waiting, strict=False):
            self.store.requests.clear()
            self.store.result_of(lock.release())
            self.assertEqual(sorted(method for method, _ in self.store.requests), ["DELETE", "GET"])
            coming.addCallback(self.assertIsInstance, Hold)
            self.assertTrue(coming.called)

    def test_a_removal_before_the_list_has_come(self) -> None:
        """It is in the history, after the index of the list."""
        self.store.stop()
        self.store = Store(self, latency_seconds=0.5)
        holding = self.lock().acquire()
        self.store.advance(10)
        hold = self.successResultOf(holding)
        self.store.requests.clear()
        acquiring = self.lock().acquire()
        while len(self.store.requests) < 2:
            self.step()
        self.store.advance(0.6)  # the answer to the list is on its way
        self.store.replica.delete(hold.key)
        self.store.advance(5)
        self.assertTrue(self.successResultOf(acquiring).is_held)

    def test_one_in_the_middle_gives_up(self) -> None:
        """The one after it waits for the holder from then on."""
        first, second, third = self.lock(), self.lock(), self.lock()
        self.held(first)
        giving_up, waiting = self.waiting(second), self.waiting(third)
        giving_up.cancel()
        self.step()
        self.failureResultOf(giving_up, CancelledError)
        self.assertNoResult(waiting)
        self.store.result_of(first.release())
        self.successResultOf(waiting)

    def test_a_holder_that_dies_is_replaced_after_its_ttl(self) -> None:
        """It has lost it, by its own clock, before the next one has it."""
        client = self.client()
        hold = self.held(self.lock(client))
        waiting = self.waiting(self.lock())
        client.close()
        self.successResultOf(hold.lost)
        self.store.advance(TTL_SECONDS - 2 * STEP_SECONDS)
        self.assertNoResult(waiting)
        self.store.advance(3 * STEP_SECONDS)
        self.assertGreater(self.successResultOf(waiting).fencing_token, hold.fencing_token)

    def test_keys_of_others_count(self) -> None:
        """Somebody may hold the lock with another library, or by hand."""
        self.store.replica.put(f"{DIRECTORY}/by-hand", "mine", ttl_seconds=30)
        waiting = self.waiting(self.lock())
        self.store.advance(29)
        self.assertNoResult(waiting)
        self.store.advance(2)
        self.successResultOf(waiting)

    def test_key_says_who_it_is(self) -> None:
        lock = Lock(self.client(), DIRECTORY, ttl_seconds=TTL_SECONDS, name="worker 7")
        hold = self.held(lock)
        value = self.store.result_of(self.client().get(hold.key)).value
        self.assertRegex(value or "", r"^[0-9a-f]{32} worker 7$")


class UseTests(ContenderTest):
    """How locks are used, and mistakes in that."""

    def run_in(self, lock: Lock, error: Exception | None = None, pause_seconds: float = 0.0) -> "Deferred[Hold]":
        async def run() -> Hold:
            async with lock as hold:
                paused: Deferred[None] = Deferred()
                self.store.clock.callLater(pause_seconds, paused.callback, None)
                await paused
                self.assertEqual(len(self.keys()), 1)
                if error is not None:
                    raise error
            return hold

        return Deferred.fromCoroutine(run())

    def test_context(self) -> None:
        hold = self.store.result_of(self.run_in(self.lock()))
        self.assertFalse(hold.is_held)
        self.assertTrue(self.successResultOf(hold.lost).released)
        self.assertEqual(self.keys(), [])

    def test_context_with_an_exception(self) -> None:
        running = self.run_in(self.lock(), ZeroDivisionError())
        self.step()
        self.failureResultOf(running, ZeroDivisionError)
        self.assertEqual(self.keys(), [])

    def test_context_that_lost_its_lock_fails(self) -> None:
        running = self.run_in(self.lock(), None, TTL_SECONDS * 0.9)
        self.step()
        self.store.cut()
        self.store.advance(TTL_SECONDS)
        self.assertIn("not be refreshed", str(self.failureResultOf(running, NotHeld).value))

    def test_context_that_lost_its_lock_keeps_its_own_exception(self) -> None:
        running = self.run_in(self.lock(), ZeroDivisionError(), TTL_SECONDS * 0.9)
        self.step()
        self.store.cut()
        self.store.advance(TTL_SECONDS)
        self.failureResultOf(running, ZeroDivisionError)

    def test_context_that_has_released_its_lock(self) -> None:
        async def run() -> None:
            async with self.lock() as hold:
                await hold.release()

        self.store.result_of(Deferred.fromCoroutine(run()))

    def test_double_acquire(self) -> None:
        lock = self.lock()
        self.held(lock)
        self.assertIn("is held", str(self.failureResultOf(lock.acquire(), AlreadyHeld).value))
        other = self.lock()
        self.waiting(other)
        self.assertIn("being acquired", str(self.failureResultOf(other.acquire(), AlreadyHeld).value))

    def test_release_without_holding(self) -> None:
        lock = self.lock()
        self.failureResultOf(lock.release(), NotHeld)
        hold = self.held(lock)
        self.store.result_of(lock.release())
        self.failureResultOf(lock.release(), NotHeld)
        self.assertIn("released", str(self.failureResultOf(hold.release(), NotHeld).value))

    def test_release_after_it_was_lost(self) -> None:
        lock = self.lock()
        self.held(lock)
        self.store.replica.delete(DIRECTORY)
        self.store.advance(TTL_SECONDS / 2)
        self.assertIn("Key not found", str(self.failureResultOf(lock.release(), NotHeld).value))

    def test_it_can_be_acquired_again(self) -> None:
        lock = self.lock()
        first = self.held(lock)
        self.store.result_of(lock.release())
        second = self.held(lock)
        self.assertGreater(second.fencing_token, first.fencing_token)
        self.store.cut()
        self.store.advance(TTL_SECONDS * 2)
        self.store.heal()
        self.assertGreater(self.held(lock).fencing_token, second.fencing_token)

    def test_timeout(self) -> None:
        self.held(self.lock())
        trying, waiting = self.lock().acquire(timeout_seconds=0), self.lock().acquire(timeout_seconds=5)
        self.step()
        self.failureResultOf(trying, NotAcquired)
        self.store.advance(4)
        self.assertNoResult(waiting)
        self.assertEqual(len(self.keys()), 2)
        self.store.advance(1.1)
        self.failureResultOf(waiting, NotAcquired)
        self.assertEqual(len(self.keys()), 1)

    def test_timeout_that_is_not_needed(self) -> None:
        holder = self.lock()
        self.held(holder)
        waiting = self.lock().acquire(timeout_seconds=5)
        self.store.advance(4)
        self.store.result_of(holder.release())
        hold = self.successResultOf(waiting)
        self.store.advance(10)
        self.assertTrue(hold.is_held)
        self.assertTrue(self.held(Lock(self.client(), "/locks/other")).is_held)

    def test_bad_arguments_are_named(self) -> None:
        with self.assertRaisesRegex(ValueError, "ttl_seconds"):
            Lock(self.client(), DIRECTORY, ttl_seconds=0)


class LeftBehindTests(ContenderTest):
    """An attempt that fails or is cancelled leaves no key behind, whenever that happens."""

    def test_cancelled_while_it_waits(self) -> None:
        self.held(self.lock())
        waiting = self.waiting(self.lock())
        self.assertEqual(len(self.keys()), 2)
        waiting.cancel()
        self.step()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(len(self.keys()), 1)

    def test_cancelled_while_its_key_is_made(self) -> None:
        """The request is let finish, since its key could not be removed otherwise."""
        self.store.replica.holding = True
        acquiring = self.waiting(self.lock())
        acquiring.cancel()
        self.step()
        self.assertNoResult(acquiring)
        self.store.replica.release()
        self.step()
        self.failureResultOf(acquiring, CancelledError)
        self.assertEqual(self.keys(), [])
        self.assertEqual(len(self.store.replica.proposed), 2, "the key was made, and deleted")

    def test_cancelled_twice_while_its_key_is_made(self) -> None:
        """It ends at once then, and the key is left to its TTL."""
        self.store.replica.holding = True
        acquiring = self.waiting(self.lock())
        acquiring.cancel()
        acquiring.cancel()
        self.step()
        self.failureResultOf(acquiring, CancelledError)
        self.store.replica.release()
        self.store.advance(TTL_SECONDS + 1)
        self.assertEqual(self.keys(), [])

    def test_cancelled_at_any_step(self) -> None:
        """Whatever an attempt is waiting for just then."""
        for seconds in range(40):
            lock = self.lock()
            acquiring = lock.acquire()
            for _ in range(seconds):
                self.store.clock.advance(0.001)
            acquiring.addErrback(lambda failure: failure.trap(CancelledError) and None)
            acquiring.cancel()
            self.step()
            hold = self.successResultOf(acquiring)
            if hold is not None:
                self.store.result_of(lock.release())
            self.assertEqual(self.keys(), [])

    def test_cancelled_while_the_cluster_cant_be_reached(self) -> None:
        """The key is refreshed no more, and expires."""
        self.held(self.lock())
        waiting = self.waiting(self.lock())
        self.store.cut()
        waiting.cancel()
        self.store.advance(6)
        self.failureResultOf(waiting, CancelledError)
        self.store.heal()
        self.store.advance(TTL_SECONDS)
        self.assertEqual(len(self.keys()), 1, "only the holder's is left")

    def test_the_list_is_refused(self) -> None:
        """An attempt that may make its key, but not see the others, fails."""
        error = EtcdError(ErrorCode.NOT_A_FILE, DIRECTORY, 1)
        for method in ("confirm_reads", "confirm_recent"):
            self.patch(self.store.replica, method, lambda: fail(error))
        acquiring = self.lock().acquire()
        self.step()
        self.failureResultOf(acquiring, NotAFile)
        self.assertEqual(self.keys(), [])

    def test_the_directory_is_a_file(self) -> None:
        self.store.replica.put(DIRECTORY, "file")
        acquiring = self.lock().acquire()
        self.step()
        self.failureResultOf(acquiring, NotADirectory)

    def test_the_cluster_cant_be_reached(self) -> None:
        """It fails at the beginning, where nothing is to be lost yet."""
        self.store.cut()
        lock = self.lock()
        acquiring = lock.acquire()
        self.store.advance(6)
        self.failureResultOf(acquiring, ConnectionFailed)
        self.store.heal()
        self.assertTrue(self.held(lock).is_held)


class UnknownOutcomeTests(ContenderTest):
    """The answer to the request that makes the key does not come."""

    def begin(self) -> "tuple[Lock, Deferred[Hold]]":
        """Returns a lock and its acquisition, whose request is with the machine, and not carried out yet."""
        self.store.replica.holding = True
        lock = self.lock()
        acquiring = self.waiting(lock)
        return lock, acquiring

    def test_it_was_carried_out(self) -> None:
        """The key is found again."""
        _, acquiring = self.begin()
        self.store.cut()
        self.store.replica.release()
        self.store.heal()
        self.step()
        self.assertTrue(self.successResultOf(acquiring).is_held)
        self.assertEqual(len(self.keys()), 1)

    def test_it_was_not_carried_out(self) -> None:
        """Another key is made."""
        _, acquiring = self.begin()
        self.store.cut()
        self.store.replica._held.clear()
        self.store.replica.release()
        self.store.heal()
        self.store.advance(1)
        self.assertTrue(self.successResultOf(acquiring).is_held)
        self.assertEqual(len(self.keys()), 1)

    def test_it_is_carried_out_late(self) -> None:
        """One key of the two that this makes is removed."""
        _, acquiring = self.begin()
        late, self.store.replica._held = self.store.replica._held, []
        self.store.cut()
        self.store.replica.release()
        self.store.heal()
        self.step()
        self.assertEqual(self.keys(), [])
        for carry_out, _ in late:
            carry_out()
        self.store.advance(1)
        hold = self.successResultOf(acquiring)
        self.assertTrue(hold.is_held)
        self.assertEqual(len(self.keys()), 1)
        self.store.advance(3 * TTL_SECONDS)
        self.assertTrue(hold.is_held)

    def test_key_of_an_earlier_request_is_found(self) -> None:
        """The lease counts from the first request that may have made the key."""
        replica = self.store.replica
        for method in ("confirm_reads", "confirm_recent"):
            self.patch(replica, method, lambda: succeed(None))
        _, acquiring = self.begin()
        first, replica._held = replica._held, []
        self.store.cut()
        self.store.advance(4)
        self.store.heal()
        self.store.advance(1)
        self.assertEqual([type(command) for command in replica.proposed], [CreateInOrder, CreateInOrder])
        replica._held.clear()
        for carry_out, _ in first:
            carry_out()
        self.store.cut()
        replica.release()
        self.store.heal()
        self.store.advance(0.5)
        hold = self.successResultOf(acquiring)
        self.assertTrue(hold.is_held)
        replica.holding = True  # so that it is not refreshed
        self.store.after_step = lambda: self.assertTrue(not hold.is_held or self.keys())
        self.store.advance(TTL_SECONDS)
        self.assertFalse(hold.is_held)

    def test_it_is_never_carried_out(self) -> None:
        """The attempt fails after a few tries."""
        _, acquiring = self.begin()
        for method in ("confirm_reads", "confirm_recent"):
            self.patch(self.store.replica, method, lambda: succeed(None))
        while not acquiring.called:
            self.store.cut()
            self.store.replica._held.clear()
            self.store.heal()
            self.store.advance(1)
        self.failureResultOf(acquiring, OutcomeUnknown)
        self.assertEqual(len(self.store.replica.proposed), MAX_CREATIONS)

    def test_answer_that_cant_be_read(self) -> None:
        """The key is found if it was made."""
        client, unreadable = self.client(), UnexpectedAnswer(200, b"<html>")
        create = client.create_in_order
        self.patch(client, "create_in_order", lambda *a, **k: create(*a, **k).addCallback(lambda _: fail(unreadable)))
        self.assertTrue(self.held(self.lock(client)).is_held)

    def test_answer_of_something_else(self) -> None:
        """The attempt fails at once."""
        client, unreadable = self.client(), UnexpectedAnswer(403, b"<html>")
        self.patch(client, "create_in_order", lambda *_, **__: fail(unreadable))
        acquiring = self.lock(client).acquire()
        self.step()
        self.failureResultOf(acquiring, UnexpectedAnswer)

    def test_cancelled_then(self) -> None:
        _, acquiring = self.begin()
        acquiring.cancel()
        self.store.cut()
        self.store.replica.release()
        self.store.heal()
        self.store.advance(1)
        self.failureResultOf(acquiring, CancelledError)
        self.assertEqual(self.keys(), [])

    def test_cluster_is_back_when_the_attempt_has_failed(self) -> None:
        """The key was made, and is deleted, though the attempt has never seen it."""
        _, acquiring = self.begin()
        self.store.cut()
        self.store.replica.release()
        self.store.advance(5.5)
        self.assertEqual(len(self.keys()), 1)
        self.store.heal()
        self.store.advance(0.6)
        self.failureResultOf(acquiring, ConnectionFailed)
        self.assertEqual(self.keys(), [])

    def test_cluster_is_gone_then(self) -> None:
        lock, acquiring = self.begin()
        self.store.cut()
        self.store.replica.release()
        self.store.advance(30)
        self.failureResultOf(acquiring, ConnectionFailed, OutcomeUnknown)
        self.store.heal()
        self.store.advance(TTL_SECONDS)
        self.assertEqual(self.keys(), [])
        self.assertTrue(self.held(lock).is_held)


class ReconnectTests(ContenderTest):
    """Outages, long and short, and clients that close."""

    def test_waiter_goes_on_after_an_outage(self) -> None:
        """It has lost its key, makes another one, and gets the lock."""
        first, second = self.lock(), self.lock()
        self.held(first)
        waiting = self.waiting(second)
        self.store.cut()
        self.store.advance(3 * TTL_SECONDS)
        self.assertNoResult(waiting)
        self.store.heal()
        self.store.advance(3)
        self.assertTrue(self.successResultOf(waiting).is_held)
        self.assertEqual(len(self.keys()), 1)

    def test_list_that_is_answered_when_the_lease_has_ended(self) -> None:
        """The contender would be next, but its key may be gone. It begins again."""
        first, second = self.lock(), self.lock()
        hold = self.held(first)
        waiting = self.waiting(second)
        self.store.replica.holding = True
        self.store.replica.delete(hold.key)
        self.store.advance(0.8 * TTL_SECONDS + STEP_SECONDS)
        self.store.replica.release()
        self.store.advance(1)
        self.assertTrue(self.successResultOf(waiting).is_held)

    def test_timeout_in_an_outage(self) -> None:
        self.held(self.lock())
        waiting = self.lock().acquire(timeout_seconds=2 * TTL_SECONDS)
        self.step()
        self.store.cut()
        self.store.advance(5 * TTL_SECONDS)
        self.failureResultOf(waiting, NotAcquired)

    def test_waiter_whose_key_was_deleted_joins_again(self) -> None:
        self.held(self.lock())
        waiting = self.waiting(self.lock())
        self.store.replica.delete(f"{DIRECTORY}/{self.keys()[1]}")
        self.store.advance(TTL_SECONDS / 2)
        self.assertNoResult(waiting)
        self.assertEqual(len(self.keys()), 2)

    def test_directory_was_deleted(self) -> None:
        """Whoever comes first now has it; the old holder knows that it has not."""
        hold = self.held(self.lock())
        waiting = self.waiting(self.lock())
        self.store.replica.delete(DIRECTORY)
        self.store.advance(TTL_SECONDS / 2)
        self.assertFalse(hold.is_held)
        self.assertTrue(self.successResultOf(waiting).is_held)

    def test_two_quick_reconnects_do_not_make_two_holders(self) -> None:
        locks = [self.lock() for _ in range(3)]
        hold = self.held(locks[0])
        waiting = [self.waiting(lock) for lock in locks[1:]]
        for _ in range(2):
            self.store.cut()
            self.store.advance(0.1)
            self.store.heal()
            self.store.advance(0.1)
        self.store.advance(3 * TTL_SECONDS)
        self.assertTrue(hold.is_held)
        for each in waiting:
            self.assertNoResult(each)
        self.assertEqual(len(self.keys()), 3)

    def test_holder_whose_client_closes(self) -> None:
        client = self.client()
        lock = self.lock(client)
        hold = self.held(lock)
        lost = hold.lost
        client.close()
        self.assertIn("closed", self.successResultOf(lost).reason)
        self.failureResultOf(lock.release(), NotHeld)
        self.failureResultOf(lock.acquire(), ClientClosed)

    def test_waiter_whose_client_closes(self) -> None:
        client = self.client()
        self.held(self.lock())
        waiting = self.waiting(self.lock(client))
        client.close()
        self.failureResultOf(waiting, ClientClosed)

    def test_client_closes_at_any_step(self) -> None:
        """Nothing hangs, and nothing is left on the reactor."""
        for steps in range(40):
            client = self.client()
            acquiring = self.lock(client).acquire()
            for _ in range(steps):
                self.store.clock.advance(0.001)
            client.close()
            self.step()
            acquiring.addErrback(lambda failure: failure.trap(ClientClosed, OutcomeUnknown) and None)
            self.successResultOf(acquiring)
            self.store.advance(TTL_SECONDS + 1)
            self.assertEqual(self.keys(), [])

    def test_nothing_is_left_on_the_reactor(self) -> None:
        client = self.client()
        self.held(self.lock(client))
        self.waiting(self.lock(client))
        client.close()
        self.store.stop()
        self.assertEqual(self.store.clock.getDelayedCalls(), [])


class _Struggle:
    """Three locks in one directory of one store, for which anything may happen. At most one is held at any time."""

    def __init__(self, test: SynchronousTestCase) -> None:
        self.store = Store(test)
        self.store.after_step = self.check
        self.locks = [Lock(self.store.client(), DIRECTORY, ttl_seconds=TTL_SECONDS) for _ in range(3)]
        self.acquiring: list[Deferred[None] | None] = [None for _ in self.locks]
        self.holds: list[Hold] = []
        self._test = test

    def check(self) -> None:
        self._test.assertLessEqual(sum(hold.is_held for hold in self.holds), 1)

    def acquire(self, number: int) -> None:
        def acquired(hold: Hold) -> None:
            self._test.assertTrue(hold.is_held)
            self.holds.append(hold)
            self.check()

        def ended(_: object) -> None:
            self.acquiring[number] = None

        if self.acquiring[number] is None:
            acquiring = self.locks[number].acquire().addCallbacks(acquired, _ignore)
            self.acquiring[number] = acquiring
            acquiring.addCallback(ended)

    def give_up(self, number: int) -> None:
        acquiring = self.acquiring[number]
        if acquiring is None:
            self.locks[number].release().addErrback(_ignore)
        else:
            acquiring.cancel()

    def cut(self, _: int) -> None:
        self.store.cut()

    def heal(self, _: int) -> None:
        self.store.heal()

    def hold_back(self, _: int) -> None:
        self.store.replica.holding = True

    def let_go(self, _: int) -> None:
        self.store.replica.release()


ACTIONS = [_Struggle.acquire, _Struggle.give_up, _Struggle.cut, _Struggle.hold_back, _Struggle.heal, _Struggle.let_go]


class ExclusionTests(SynchronousTestCase):
    @given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 2), st.floats(0.0, 6.0)), max_size=40))
    def test_at_most_one_holds_it(self, steps: list[tuple[Callable[[_Struggle, int], None], int, float]]) -> None:
        """
        This holds for any order of acquiring, releasing, cancelling, outages and requests that are carried out late.
        Each holder has a higher token than the one before it, and in the end each has its turn.
        """
        struggle = _Struggle(self)
        store = struggle.store
        for act, number, seconds in steps:
            act(struggle, number)
            store.advance(seconds)
        store.heal()
        store.replica.release()
        for _ in range(3):
            for number in range(3):
                if struggle.acquiring[number] is None:
                    struggle.give_up(number)
            store.advance(2 * TTL_SECONDS)
        self.assertEqual(struggle.acquiring, [None, None, None])
        tokens = [hold.fencing_token for hold in struggle.holds]
        self.assertEqual(tokens, sorted(set(tokens)))
        store.stop()


class HistoryTests(ContenderTest):
    def setUp(self) -> None:
        super().setUp()
        self.store.replica.stop()
        self.store.__init__(self, history_capacity=2)  # type: ignore[misc]

    def test_lost_history_does_not_make_it_spin(self) -> None:
        """The list is read once more, and the watch begins after it."""
        first, second = self.lock(), self.lock()
        self.held(first)
        waiting = self.waiting(second)
        self.store.requests.clear()
        for round_ in range(3):
            self.store.cut()
            for number in range(10):
                self.store.replica.put(f"/other/{round_}", str(number))
            self.store.heal()
            self.store.advance(5)
        self.assertNoResult(waiting)
        lists = [target for method, target in self.store.requests if method == "GET" and "wait" not in target]
        self.assertLess(len(lists), 15)
        self.assertLess(len(self.store.requests), 80)
        self.store.result_of(first.release())
        self.successResultOf(waiting)

    def test_a_removal_in_lost_history_is_noticed(self) -> None:
        hold = self.held(self.lock())
        waiting = self.waiting(self.lock())
        self.store.cut()
        self.store.replica.delete(hold.key)
        for number in range(10):
            self.store.replica.put("/other", str(number))
        self.store.heal()
        self.store.advance(3)
        self.assertTrue(self.successResultOf(waiting).is_held)
