"""Counters, on a simulated clock: each addition counts once, also when its answer is lost."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.client import Client, ClientClosed, ConnectionFailed, NotAFile, OutcomeUnknown
from etcd_twisted.client.recipes import Contended, Counter, NotANumber
from tests.client.store import STEP_SECONDS, Store

KEY = "/counters/it"


class CounterTest(SynchronousTestCase):
    """A counter in a store."""

    def setUp(self) -> None:
        self.set_up_store()

    def set_up_store(self, history_capacity: int = 1_000) -> None:
        self.store = Store(self, history_capacity)

    def counter(self, client: Client | None = None, max_attempts: int = 50) -> Counter:
        return Counter(self.store.client() if client is None else client, KEY, max_attempts=max_attempts)

    def number(self) -> int:
        return self.store.result_of(self.counter().get())

    def add(self, amount: int = 1) -> int:
        return self.store.result_of(self.counter().add(amount))


class AddTests(CounterTest):
    def test_it_begins_at_zero(self) -> None:
        self.assertEqual(self.number(), 0)
        self.assertEqual([self.add(), self.add(10), self.add(-20)], [1, 11, -9])
        self.assertEqual(self.number(), -9)

    def test_numbers_of_other_programs(self) -> None:
        self.store.replica.put(KEY, "41")
        self.assertEqual((self.number(), self.add()), (41, 42))

    def test_key_shows_the_number(self) -> None:
        self.add(7)
        value = self.store.result_of(self.store.client().get(KEY)).value
        self.assertRegex(value or "", r"^7 [0-9a-f]{32}$")

    def test_what_is_no_number(self) -> None:
        for value in ("", "x", "1.5", "4 2", "٤"):
            self.store.replica.put(KEY, value)
            adding = self.counter().add()
            self.store.advance(0)
            self.failureResultOf(adding, NotANumber)

    def test_a_directory(self) -> None:
        self.store.replica.put(f"{KEY}/key", "1")
        adding = self.counter().add()
        self.store.advance(0)
        self.failureResultOf(adding, NotANumber, NotAFile)

    def test_many_at_once(self) -> None:
        results: list[int] = []
        for _ in range(20):
            self.counter().add().addCallback(results.append)
        self.store.advance(30)
        self.assertEqual(sorted(results), list(range(1, 21)))
        self.assertEqual(self.number(), 20)

    def test_too_many_conflicts(self) -> None:
        client = self.store.client()
        get = client.get

        def get_and_be_overtaken(*arguments: str, **keywords: bool) -> "Deferred[object]":
            def overtake(result: object) -> object:
                self.store.replica.put(KEY, "5")
                return result

            return get(*arguments, **keywords).addBoth(overtake)  # type: ignore[arg-type]

        self.patch(client, "get", get_and_be_overtaken)
        adding = self.counter(client, max_attempts=5).add()
        self.store.advance(10)
        self.failureResultOf(adding, Contended)
        self.assertEqual(self.number(), 5)

    def test_bad_arguments_are_named(self) -> None:
        with self.assertRaisesRegex(ValueError, "max_attempts"):
            self.counter(max_attempts=0)


class UnknownOutcomeTests(CounterTest):
    """The answer to the request that adds does not come."""

    def begin(self, before: int) -> "Deferred[int]":
        """Returns an addition whose request is with the machine, and not carried out yet."""
        if before:
            self.add(before)
        self.store.replica.holding = True
        adding = self.counter().add()
        while not self.store.replica._held or len(self.store.replica.proposed) == bool(before):
            self.store.replica.release_once()
            self.store.advance(0)
        self.assertNoResult(adding)
        return adding

    def lose(self, carried_out: bool) -> None:
        self.store.cut()
        if not carried_out:
            self.store.replica._held.clear()
        self.store.replica.release()
        self.store.heal()

    def test_it_is_found_out(self) -> None:
        """Also when others have added meanwhile, before or after."""
        for before in (0, 10):
            for carried_out in (False, True):
                for others in (0, 1, 3):
                    self.set_up_store()
                    adding = self.begin(before)
                    self.lose(carried_out)
                    for _ in range(others):
                        self.add(100)
                    self.store.advance(2)
                    expected = before + 1 if carried_out else before + 1 + 100 * others
                    self.assertEqual(self.successResultOf(adding), expected, (before, carried_out, others))
                    self.assertEqual(self.number(), before + 1 + 100 * others)

    def test_it_is_carried_out_late(self) -> None:
        """After the same request was sent again, or after somebody else's addition."""
        for others in (0, 1):
            self.set_up_store()
            adding = self.begin(10)
            late, self.store.replica._held = self.store.replica._held, []
            self.lose(False)
            for _ in range(others):
                self.add(100)
            self.store.advance(2)
            for carry_out, _ in late:
                carry_out()
            self.store.advance(1)
            self.assertEqual(self.successResultOf(adding), 11 + 100 * others)
            self.assertEqual(self.number(), 11 + 100 * others)

    def test_the_server_does_not_remember(self) -> None:
        self.set_up_store(history_capacity=3)
        adding = self.begin(10)
        self.lose(True)
        for _ in range(5):
            self.add(100)
        self.store.advance(5)
        self.failureResultOf(adding, OutcomeUnknown)
        self.assertEqual(self.number(), 511)

    def test_the_server_does_not_remember_but_the_key_shows_it(self) -> None:
        self.set_up_store(history_capacity=3)
        adding = self.begin(10)
        self.lose(True)
        for number in range(5):
            self.store.replica.put("/elsewhere", str(number))
        self.store.advance(5)
        self.assertEqual(self.successResultOf(adding), 11)

    def test_the_client_is_closed_then(self) -> None:
        self.add(10)
        client = self.store.client()
        self.store.replica.holding = True
        adding = self.counter(client).add()
        while not self.store.replica._held or len(self.store.replica.proposed) == 1:
            self.store.replica.release_once()
            self.store.advance(0)
        self.store.cut()
        client.close()
        self.failureResultOf(adding, OutcomeUnknown)

    def test_the_cluster_is_gone(self) -> None:
        adding = self.begin(10)
        self.lose(True)
        self.store.cut()
        self.store.advance(60)
        self.failureResultOf(adding, OutcomeUnknown)

    @given(st.lists(st.sampled_from(["add", "hold", "release", "break", "lose", "wait"]), max_size=25))
    def test_every_addition_counts_once(self, actions: list[str]) -> None:
        self.set_up_store()
        adding: list[Deferred[int]] = []
        replica = self.store.replica
        for action in actions:
            if action == "add":
                adding.append(self.counter().add())
            elif action == "hold":
                replica.holding = True
            elif action == "release":
                replica.release()
            elif action == "wait":
                self.store.advance(0.3)
            else:
                self.lose(action == "break")
            self.store.advance(0)
        replica.release()
        self.store.advance(60)
        sums = [self.successResultOf(each) for each in adding]
        self.assertEqual(sorted(sums), list(range(1, len(adding) + 1)))
        self.assertEqual(self.number(), len(adding))


class EndTests(CounterTest):
    def test_the_cluster_cant_be_reached(self) -> None:
        self.store.cut()
        adding = self.counter().add()
        self.store.advance(6)
        self.failureResultOf(adding, ConnectionFailed)

    def test_closed_client(self) -> None:
        client = self.store.client()
        self.store.replica.holding = True
        adding = self.counter(client).add()
        self.store.advance(STEP_SECONDS)
        client.close()
        self.failureResultOf(adding, ClientClosed)
        self.failureResultOf(self.counter(client).add(), ClientClosed)
        self.store.stop()
        self.assertEqual(self.store.clock.getDelayedCalls(), [])

    def test_cancelled_at_any_step(self) -> None:
        for seconds in range(20):
            adding = self.counter().add()
            for _ in range(seconds):
                self.store.clock.advance(0.001)
            adding.addErrback(lambda failure: failure.trap(CancelledError, OutcomeUnknown) and None)
            adding.cancel()
            self.store.advance(STEP_SECONDS)
            self.successResultOf(adding)
        self.store.stop()
