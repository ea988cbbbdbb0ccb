"""Queues, on a simulated clock: no item is lost, or acknowledged twice, whoever dies and whatever is cut off."""

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.client import (
    Client,
    ClientClosed,
    ClientError,
    ConnectionFailed,
    Event,
    NotADirectory,
    OutcomeUnknown,
    Reading,
)
from etcd_twisted.client.recipes import Item, NotHeld, PriorityQueue, Queue, QueueEmpty
from tests import examples
from tests.client.recipes.contenders import TTL_SECONDS, pad_names
from tests.client.store import STEP_SECONDS, Store

DIRECTORY = "/queues/it"


def _ignore(failure: Failure) -> None:
    failure.trap(ClientError, CancelledError)


class QueueTest(SynchronousTestCase):
    """A queue in one store."""

    def setUp(self) -> None:
        self.set_up_store()

    def set_up_store(self) -> None:
        self.store = Store(self)

    def queue(self, client: Client | None = None) -> Queue:
        return Queue(self.store.client() if client is None else client, DIRECTORY, ttl_seconds=TTL_SECONDS)

    def step(self) -> None:
        """Let what is due right now happen, and a little more."""
        self.store.advance(STEP_SECONDS)

    def put(self, *values: str) -> None:
        queue = self.queue()
        for value in values:
            self.store.result_of(queue.put(value))

    def taken(self, queue: Queue | None = None) -> Item:
        """Returns an item that is there."""
        taking = (self.queue() if queue is None else queue).take()
        self.step()
        return self.successResultOf(taking)

    def waiting(self, queue: Queue | None = None) -> "Deferred[Item]":
        """Returns the result of taking from a queue where there is nothing now."""
        taking = (self.queue() if queue is None else queue).take()
        self.step()
        self.assertNoResult(taking)
        # A test may end while it still waits: then the end of its client ends it.
        self.addCleanup(taking.addErrback, lambda failure: failure.trap(ClientClosed) and None)
        return taking

    def items(self) -> list[str]:
        return self.store.names(f"{DIRECTORY}/items")

    def claims(self) -> list[str]:
        return self.store.names(f"{DIRECTORY}/claims")

    def takers(self) -> list[str]:
        return self.store.names(f"{DIRECTORY}/_takers")

    def assert_nothing_left(self) -> None:
        self.step()
        self.assertEqual((self.items(), self.claims(), self.takers()), ([], [], []))


class TakeTests(QueueTest):
    def test_an_item(self) -> None:
        key = self.store.result_of(self.queue().put("work"))
        item = self.taken()
        self.assertEqual((item.key, item.value, item.is_held), (key, "work", True))
        self.assertEqual(len(self.items()), 1)
        self.assertEqual(self.takers(), [])
        self.store.result_of(item.ack())
        self.assertFalse(item.is_held)
        self.assertTrue(self.successResultOf(item.lost).released)
        self.assert_nothing_left()

    def test_values(self) -> None:
        for value in ("", "a b\n", "Grüße, 世界 & =+%"):
            self.put(value)
            item = self.taken()
            self.assertEqual(item.value, value)
            self.store.result_of(item.ack())

    def assert_in_order(self) -> None:
        """The names of twelve keys go on from one digit to two; as a text, 10 comes before 9."""
        values = [str(number) for number in range(12)]
        self.put(*values)
        queue = self.queue()
        items = [self.taken(queue) for _ in values]
        self.assertEqual([item.value for item in items], values)
        for item in items:
            self.store.result_of(item.ack())
        self.assert_nothing_left()

    def test_order_where_names_are_not_padded(self) -> None:
        self.assert_in_order()

    def test_order_where_names_are_padded(self) -> None:
        pad_names(self.store)
        self.assert_in_order()

    def test_takers_have_their_turns_in_order(self) -> None:
        taken: list[tuple[int, str]] = []
        for number in range(3):
            self.waiting().addCallback(lambda item, number=number: taken.append((number, item.value)))
        self.put("a", "b")
        self.step()
        self.put("c")
        self.step()
        self.assertEqual(taken, [(0, "a"), (1, "b"), (2, "c")])

    def test_an_item_wakes_one_taker(self) -> None:
        """It lists the queue, claims the item and writes it; and the end of its turn lets the next one look."""
        waiting = [self.waiting() for _ in range(5)]
        self.store.requests.clear()
        self.store.replica.put(f"{DIRECTORY}/items/by-hand", "work")
        self.step()
        self.successResultOf(waiting[0])
        methods = sorted(method for method, target in self.store.requests if "wait" not in target)
        self.assertEqual(methods, ["DELETE", "GET", "GET", "GET", "PUT", "PUT"])

    def test_items_of_other_programs(self) -> None:
        self.store.replica.put(f"{DIRECTORY}/items/by-hand", "work")
        item = self.taken()
        self.assertEqual(item.value, "work")
        self.store.result_of(item.ack())
        self.store.replica.put(f"{DIRECTORY}/items/by-hand", "more work")
        self.assertEqual(self.taken().value, "more work")

    def test_timeout(self) -> None:
        none, some = self.queue().take(timeout_seconds=0), self.queue().take(timeout_seconds=5)
        self.step()
        self.failureResultOf(none, QueueEmpty)
        self.store.advance(4)
        self.assertNoResult(some)
        self.store.advance(1.1)
        self.failureResultOf(some, QueueEmpty)
        self.assertEqual((self.takers(), self.claims()), ([], []))
        self.put("work")
        self.assertEqual(self.store.result_of(self.queue().take(timeout_seconds=0)).value, "work")

    def test_timeout_behind_others(self) -> None:
        self.waiting()
        some = self.queue().take(timeout_seconds=5)
        self.store.advance(6)
        self.failureResultOf(some, QueueEmpty)
        self.assertEqual(len(self.takers()), 1)

    def test_bad_arguments_are_named(self) -> None:
        with self.assertRaisesRegex(ValueError, "ttl_seconds"):
            Queue(self.store.client(), DIRECTORY, ttl_seconds=0)


class HeldTests(QueueTest):
    """An item that a taker has, and how it gets back into the queue."""

    def test_nobody_else_has_it(self) -> None:
        self.put("work")
        item = self.taken()
        waiting = self.waiting()
        self.store.advance(5 * TTL_SECONDS)
        self.assertNoResult(waiting)
        self.assertTrue(item.is_held)

    def test_release(self) -> None:
        """It is the first again."""
        self.put("a", "b", "c")
        first, second = self.taken(), self.taken()
        self.store.result_of(second.release())
        self.store.result_of(first.release())
        again = self.taken()
        self.assertEqual(again.value, "a")
        self.assertGreater(again.fencing_token, first.fencing_token)
        self.assertEqual([self.taken().value, self.taken().value], ["b", "c"])
        self.failureResultOf(first.ack(), NotHeld)
        self.failureResultOf(first.release(), NotHeld)

    def test_release_wakes_who_waits(self) -> None:
        self.put("work")
        item = self.taken()
        waiting = self.waiting()
        self.store.result_of(item.release())
        self.step()
        self.assertEqual(self.successResultOf(waiting).value, "work")

    def test_taker_that_dies(self) -> None:
        client = self.store.client()
        self.put("work")
        item = self.taken(self.queue(client))
        waiting = self.waiting()
        client.close()
        self.assertFalse(item.is_held)
        self.failureResultOf(item.ack(), NotHeld)
        self.store.advance(TTL_SECONDS - 3 * STEP_SECONDS)
        self.assertNoResult(waiting)
        self.store.advance(4 * STEP_SECONDS)
        again = self.successResultOf(waiting)
        self.assertEqual(again.value, "work")
        self.store.result_of(again.ack())
        self.assert_nothing_left()

    def test_taker_that_dies_in_line(self) -> None:
        client = self.store.client()
        self.waiting(self.queue(client)).addErrback(_ignore)
        waiting = self.waiting()
        client.close()
        self.put("work")
        self.store.advance(TTL_SECONDS)
        self.assertEqual(self.successResultOf(waiting).value, "work")

    def test_taker_that_is_cut_off(self) -> None:
        """It notices before another one can have the item, and can't acknowledge it any more."""
        elsewhere = Store(self, replica=self.store.replica)
        self.put("work")
        item = self.taken(self.queue(elsewhere.client()))
        waiting = self.waiting()
        elsewhere.cut()
        lost_before = item.lost.addCallback(lambda _: not waiting.called)
        acknowledging = item.ack()
        self.store.advance(TTL_SECONDS + 5)
        self.assertTrue(self.successResultOf(lost_before))
        self.failureResultOf(acknowledging, NotHeld, OutcomeUnknown)
        elsewhere.heal()
        self.failureResultOf(item.ack(), NotHeld)
        self.store.result_of(self.successResultOf(waiting).ack())
        self.assert_nothing_left()

    def test_taker_that_does_not_notice(self) -> None:
        """Only one can acknowledge the item, also where a lease has ended without a sign."""
        self.put("work")
        first = self.taken()
        waiting = self.waiting()
        self.store.replica.delete(f"{DIRECTORY}/claims")
        self.step()
        second = self.successResultOf(waiting)
        self.assertTrue(first.is_held)
        acknowledging = first.ack()
        self.step()
        self.failureResultOf(acknowledging, NotHeld)
        self.assertFalse(first.is_held)
        self.assertEqual(len(self.items()), 1)
        self.store.result_of(second.ack())
        self.assertEqual(self.items(), [])

    def test_item_that_was_deleted_by_hand(self) -> None:
        self.put("work")
        item = self.taken()
        self.store.replica.delete(item.key)
        acknowledging = item.ack()
        self.step()
        self.failureResultOf(acknowledging, NotHeld)

    def test_item_that_is_changed_and_deleted_by_hand_while_it_is_taken(self) -> None:
        """The taker goes on to the next item."""
        self.put("work", "more")
        client = self.store.client()
        key = f"{DIRECTORY}/items/{self.items()[0]}"
        swap, get = client.compare_and_swap, client.get

        def swap_late(changed: str, value: str, **conditions: Any) -> "Deferred[Event]":
            if changed == key:
                self.store.replica.put(key, "changed")
            return swap(changed, value, **conditions)

        def get_late(read: str, **settings: Any) -> "Deferred[Reading]":
            self.store.replica.delete(read)
            return get(read, **settings)

        self.patch(client, "compare_and_swap", swap_late)
        self.patch(client, "get", get_late)
        self.assertEqual(self.taken(self.queue(client)).value, "more")

    def test_context(self) -> None:
        async def use(error: Exception | None) -> None:
            async with await self.queue().take() as item:
                self.assertEqual(item.value, "work")
                if error is not None:
                    raise error

        self.put("work")
        failing = Deferred.fromCoroutine(use(ZeroDivisionError()))
        self.step()
        self.failureResultOf(failing, ZeroDivisionError)
        self.assertEqual((len(self.items()), self.claims()), (1, []))
        self.store.result_of(Deferred.fromCoroutine(use(None)))
        self.assert_nothing_left()

    def test_context_that_has_acknowledged(self) -> None:
        async def use() -> None:
            async with await self.queue().take() as item:
                await item.ack()

        self.put("work")
        self.store.result_of(Deferred.fromCoroutine(use()))
        self.assert_nothing_left()

    def test_context_that_has_lost_its_item(self) -> None:
        async def use() -> None:
            async with await self.queue().take() as item:
                await item.lost

        self.put("work")
        using = Deferred.fromCoroutine(use())
        self.step()
        self.store.cut()
        self.store.advance(TTL_SECONDS)
        self.failureResultOf(using, NotHeld)


class UnknownOutcomeTests(QueueTest):
    """Requests whose answers do not come."""

    def ask(self, call: "Callable[[], Deferred[None]]") -> "Deferred[None]":
        """Returns what comes of a request that is with the machine now, and not carried out yet."""
        self.store.replica.holding = True
        asking = call()
        self.step()
        self.assertNoResult(asking)
        return asking

    def lose(self, carried_out: bool) -> None:
        """Break the connection, and carry out what was asked, or not."""
        self.store.cut()
        if not carried_out:
            self.store.replica._held.clear()
        self.store.replica.release()
        self.store.heal()
        self.store.advance(1)

    def test_put(self) -> None:
        queue = self.queue()
        putting = self.ask(lambda: queue.put("work").addCallback(lambda _: None))
        self.lose(True)
        self.failureResultOf(putting, OutcomeUnknown)
        self.assertEqual(self.taken().value, "work")

    def acknowledge(self) -> "Deferred[None]":
        self.put("work")
        return self.ask(self.taken().ack)

    def test_ack_that_was_carried_out(self) -> None:
        acknowledging = self.acknowledge()
        self.lose(True)
        self.successResultOf(acknowledging)
        self.assert_nothing_left()

    def test_ack_that_was_not_carried_out(self) -> None:
        acknowledging = self.acknowledge()
        self.lose(False)
        self.successResultOf(acknowledging)
        self.assert_nothing_left()

    def test_ack_that_is_carried_out_late(self) -> None:
        acknowledging = self.acknowledge()
        late, self.store.replica._held = self.store.replica._held, []
        self.lose(False)
        self.successResultOf(acknowledging)
        for carry_out, _ in late:
            carry_out()
        self.assert_nothing_left()

    def test_ack_that_is_cancelled_and_done_again(self) -> None:
        self.put("work")
        item = self.taken()
        acknowledging = self.ask(item.ack)
        acknowledging.cancel()
        self.failureResultOf(acknowledging, CancelledError, OutcomeUnknown)
        self.store.replica.release()
        self.store.result_of(item.ack())
        self.assert_nothing_left()

    def test_ack_whose_client_is_closed_then(self) -> None:
        self.put("work")
        client = self.store.client()
        item = self.taken(self.queue(client))
        acknowledging = self.ask(item.ack)
        self.store.cut()
        client.close()
        self.failureResultOf(acknowledging, OutcomeUnknown)

    def test_ack_that_may_have_been_carried_out_for_somebody_else(self) -> None:
        """When the lease is over, nobody can say whose acknowledgement has deleted the item."""
        acknowledging = self.acknowledge()
        self.store.cut()
        self.store.replica._held.clear()
        self.store.replica.release()
        self.store.advance(TTL_SECONDS + 5)
        self.failureResultOf(acknowledging, OutcomeUnknown)
        self.store.heal()
        self.assertEqual(self.taken().value, "work")

    def test_ack_that_finds_the_item_gone_when_the_lease_is_over(self) -> None:
        """Another one may have acknowledged it by then."""
        self.put("work")
        item = self.taken()
        acknowledging = self.ask(item.ack)
        self.store.cut()
        self.store.replica._held.clear()
        self.store.heal()
        for _ in range(200):
            self.store.advance(STEP_SECONDS)
            if not item.is_held:
                break
        self.assertFalse(item.is_held)
        self.store.replica.delete(item.key)
        self.store.replica.release()
        self.store.advance(1)
        self.failureResultOf(acknowledging, OutcomeUnknown)

    def take_with_lost_answers(self, carried_out: bool, count: int) -> Item:
        """Returns an item although the answer to the first, second or third write was lost."""
        self.put("work")
        self.store.replica.holding = True
        taking = self.queue().take()
        for _ in range(40):
            self.store.advance(0)
            if len(self.store.replica.proposed) == 1 + count and self.store.replica._held:
                break
            self.store.replica.release_once()
        self.lose(carried_out)
        self.store.advance(2)
        return self.successResultOf(taking)

    def test_take(self) -> None:
        for carried_out in (False, True):
            for count in range(1, 4):
                self.set_up_store()
                item = self.take_with_lost_answers(carried_out, count)
                self.assertEqual((item.value, len(self.claims()), self.takers()), ("work", 1, []))
                self.store.advance(3 * TTL_SECONDS)
                self.assertTrue(item.is_held)
                self.store.result_of(item.ack())
                self.assert_nothing_left()


class LeftBehindTests(QueueTest):
    def test_cancelled_at_any_step(self) -> None:
        for seconds in range(60):
            self.put("work")
            taking = self.queue().take()
            for _ in range(seconds):
                self.store.clock.advance(0.001)
            taking.addErrback(lambda failure: failure.trap(CancelledError) and None)
            taking.cancel()
            self.step()
            item = self.successResultOf(taking)
            self.assertEqual(len(self.items()), 1)
            if item is None:
                self.assertEqual((self.claims(), self.takers()), ([], []))
                item = self.taken()
            self.store.result_of(item.ack())
            self.assert_nothing_left()

    def test_cancelled_with_requests_under_way(self) -> None:
        """Whichever write is with the machine just then."""
        for count in range(1, 4):
            self.set_up_store()
            self.put("work")
            self.store.replica.holding = True
            taking = self.queue().take()
            for _ in range(40):
                self.store.advance(0)
                if len(self.store.replica.proposed) == 1 + count and self.store.replica._held:
                    break
                self.store.replica.release_once()
            taking.cancel()
            self.store.replica.release()
            self.store.advance(1)
            self.failureResultOf(taking, CancelledError)
            self.assertEqual((self.claims(), self.takers()), ([], []))
            self.assertEqual(self.taken().value, "work")

    def test_cancelled_while_the_cluster_cant_be_reached(self) -> None:
        waiting = self.waiting()
        self.store.cut()
        waiting.cancel()
        self.store.advance(6)
        self.failureResultOf(waiting, CancelledError)
        self.store.heal()
        self.store.advance(TTL_SECONDS)
        self.assert_nothing_left()

    def test_closed_client(self) -> None:
        client = self.store.client()
        taking = self.queue(client).take()
        self.step()
        client.close()
        self.failureResultOf(taking, ClientClosed)
        self.failureResultOf(self.queue(client).take(), ClientClosed)
        self.failureResultOf(self.queue(client).put("work"), ClientClosed)
        self.store.stop()
        self.assertEqual(self.store.clock.getDelayedCalls(), [])

    def test_the_directory_is_a_file(self) -> None:
        self.store.replica.put(DIRECTORY, "file")
        taking, putting = self.queue().take(), self.queue().put("work")
        self.step()
        self.failureResultOf(taking, NotADirectory)
        self.failureResultOf(putting, NotADirectory)

    def test_the_cluster_cant_be_reached(self) -> None:
        """It fails at the beginning, where nothing is to be lost yet."""
        self.store.cut()
        taking = self.queue().take()
        self.store.advance(6)
        self.failureResultOf(taking, ConnectionFailed)


class ReconnectTests(QueueTest):
    def test_waiting_through_outages(self) -> None:
        for seconds in (1, TTL_SECONDS - 1, 5 * TTL_SECONDS):
            waiting = self.waiting()
            self.store.cut()
            self.store.advance(seconds)
            self.assertNoResult(waiting)
            self.store.heal()
            self.put("work")
            self.store.advance(5)
            self.store.result_of(self.successResultOf(waiting).ack())
            self.store.advance(TTL_SECONDS)
            self.assert_nothing_left()

    def test_lost_history(self) -> None:
        """The first taker looks again; it does not spin."""
        self.store = Store(self, history_capacity=5)
        waiting = self.waiting()
        self.store.cut()
        self.store.advance(2)
        for number in range(10):
            self.store.replica.put("/elsewhere", str(number))
        self.store.replica.put(f"{DIRECTORY}/items/by-hand", "work")
        for number in range(10):
            self.store.replica.put("/elsewhere", str(number))
        self.store.requests.clear()
        self.store.heal()
        self.store.advance(3)
        self.successResultOf(waiting)
        self.assertLess(len(self.store.requests), 20)

    def test_old_history_does_not_make_it_spin(self) -> None:
        self.store = Store(self, history_capacity=5)
        self.waiting()
        self.store.requests.clear()
        for number in range(200):
            self.store.replica.put("/elsewhere", str(number))
            self.store.advance(0.5)
        self.assertLess(len(self.store.requests), 150)


class PriorityTests(QueueTest):
    def queue(self, client: Client | None = None) -> PriorityQueue:
        return PriorityQueue(self.store.client() if client is None else client, DIRECTORY, ttl_seconds=TTL_SECONDS)

    def put_all(self, *items: tuple[str, int]) -> None:
        for value, priority in items:
            self.store.result_of(self.queue().put(value, priority))

    def test_lower_numbers_come_first(self) -> None:
        self.put_all(("c", 10), ("b", 9), ("d", 10), ("a", -1), ("e", 100))
        items = [self.taken() for _ in range(5)]
        self.assertEqual("".join(item.value for item in items), "abcde")
        for item in items:
            self.store.result_of(item.ack())
        self.assertEqual(self.claims(), [])

    def test_equals_come_in_the_order_in_which_they_were_put(self) -> None:
        self.put_all(*((str(number), 5) for number in range(12)))
        self.assertEqual([self.taken().value for _ in range(12)], [str(number) for number in range(12)])

    def test_released_items_come_before_later_ones(self) -> None:
        self.put_all(("a", 1), ("b", 1), ("urgent", 0))
        urgent, first = self.taken(), self.taken()
        self.store.result_of(first.release())
        self.store.result_of(urgent.release())
        self.assertEqual([self.taken().value for _ in range(3)], ["urgent", "a", "b"])

    def test_a_waiting_taker_is_woken(self) -> None:
        waiting = self.waiting()
        self.put_all(("a", 3))
        self.step()
        self.assertEqual(self.successResultOf(waiting).value, "a")

    def test_other_directories_do_not_count(self) -> None:
        self.store.replica.put(f"{DIRECTORY}/items/urgent/1", "x")
        self.store.replica.put(f"{DIRECTORY}/items/by-hand", "x")
        self.store.replica.put(f"{DIRECTORY}/items/007/by-hand", "work")
        self.assertEqual(self.taken().value, "work")
        self.waiting()


class _Takers:
    """
    Programs that put and take, each with its own connection to the machine.

    @ivar held: the items that they have taken.
    @ivar put: the values of the items that were put.
    @ivar acknowledged: those of the items that were acknowledged.
    @ivar unknown: those of the items of whose acknowledgement this is not certain.
    """

    COUNT = 3

    def __init__(self, test: QueueTest) -> None:
        self._test = test
        self._stores = [Store(test, replica=test.store.replica) for _ in range(self.COUNT)]
        self._clients = [store.client() for store in self._stores]
        self.held: list[Item] = []
        self.put: list[str] = []
        self.acknowledged: list[str] = []
        self.unknown: list[str] = []

    def act(self, action: str, number: int, which: int) -> None:
        """Have a program do something."""
        if action == "put":
            self.put.append(f"item {len(self.put)}")
            self._test.put(self.put[-1])
        elif action == "take":
            queue = Queue(self._clients[number], DIRECTORY, ttl_seconds=TTL_SECONDS)
            queue.take().addCallbacks(self.held.append, _ignore)
        elif action == "die":
            self.die(number)
        elif action == "cut":
            self._stores[number].cut()
        elif action == "heal":
            self._stores[number].heal()
        elif self.held:
            item = self.held.pop(which % len(self.held))
            if action == "ack":
                self.acknowledge(item)
            else:
                item.release().addErrback(_ignore)

    def acknowledge(self, item: Item) -> None:
        def failed(failure: Failure) -> None:
            if failure.check(OutcomeUnknown):
                self.unknown.append(item.value)
            failure.trap(OutcomeUnknown, NotHeld, ClientClosed)

        item.ack().addCallbacks(lambda _: self.acknowledged.append(item.value), failed)

    def die(self, number: int) -> None:
        self._clients[number].close()
        self._clients[number] = self._stores[number].client()

    def end(self) -> None:
        for number, store in enumerate(self._stores):
            store.heal()
            self.die(number)


class PropertyTests(QueueTest):
    """Takers die and are cut off at any time: each item is acknowledged once, and none is lost."""

    ACTIONS = ("put", "put", "take", "take", "ack", "ack", "release", "die", "cut", "heal", "heal")

    @settings(max_examples=examples(150))
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(ACTIONS),
                st.integers(0, _Takers.COUNT - 1),
                st.integers(0, 10),
                st.sampled_from([0, 0.001, 0.1, 3, TTL_SECONDS]),
            ),
            min_size=5,
            max_size=20,
        )
    )
    def test_nothing_is_lost_or_doubled(self, actions: list[tuple[str, int, int, float]]) -> None:
        self.set_up_store()
        takers = _Takers(self)
        for action, number, which, seconds in actions:
            takers.act(action, number, which)
            self.store.advance(seconds)
        takers.end()
        self.store.advance(2 * TTL_SECONDS)
        acknowledged, put = takers.acknowledged, takers.put
        while self.items():
            item = self.taken()
            self.store.result_of(item.ack())
            acknowledged.append(item.value)
        self.assertEqual(sorted(acknowledged), sorted(set(acknowledged)))
        self.assertLessEqual(set(acknowledged), set(put))
        self.assertLessEqual(set(put), {*acknowledged, *takers.unknown})
        self.assert_nothing_left()
