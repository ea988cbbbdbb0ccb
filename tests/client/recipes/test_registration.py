"""Registrations, on a simulated clock: the key is there while it can be, and gone afterwards."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.client import Client, ClientClosed, ClientError, NotADirectory, NotAFile
from etcd_twisted.client.recipes import AlreadyClosed, Registration
from etcd_twisted.keyspace.nodes import File
from tests.client.store import STEP_SECONDS, Store

KEY = "/services/web/a"
TTL_SECONDS = 10


class RegistrationTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = Store(self)
        self.client = self.store.client()

    def registration(self, value: str = "1", client: Client | None = None) -> Registration:
        return Registration(client or self.client, KEY, value, ttl_seconds=TTL_SECONDS)

    def registered(self, value: str = "1", client: Client | None = None) -> Registration:
        registration = self.registration(value, client)
        self.store.result_of(registration.open())
        return registration

    @property
    def value(self) -> str | None:
        """The value of the key; C{None} if it does not exist."""
        node = self.store.node(KEY)
        return node.value if isinstance(node, File) else None


class LifeTests(RegistrationTest):
    def test_it_is_there_until_it_is_closed(self) -> None:
        registration = self.registered()
        self.store.advance(5 * TTL_SECONDS)
        self.assertTrue(registration.is_registered)
        self.assertEqual(self.value, "1")
        self.store.result_of(registration.close())
        self.assertFalse(registration.is_registered)
        self.assertIsNone(self.value)

    def test_context(self) -> None:
        async def run() -> None:
            async with self.registration():
                self.assertEqual(self.value, "1")

        self.store.result_of(Deferred.fromCoroutine(run()))
        self.assertIsNone(self.value)

    def test_update(self) -> None:
        registration = self.registered()
        self.store.result_of(registration.update("2"))
        self.assertEqual((self.value, registration.value), ("2", "2"))
        self.store.requests.clear()
        self.store.advance(5 * TTL_SECONDS)
        self.assertEqual(self.value, "2")
        self.assertEqual({method for method, _ in self.store.requests}, {"PUT"}, "only one lease is kept alive")
        self.assertLess(len(self.store.requests), 18)
        self.store.result_of(registration.close())
        self.assertIsNone(self.value)

    def test_watchers_see_values_and_no_refreshes(self) -> None:
        watch = self.store.client().watch("/services", recursive=True)
        seen: list[tuple[str, str | None]] = []
        watch.for_each(lambda event: seen.append((event.action, event.node.value)))  # type: ignore[union-attr]
        self.store.advance(0)
        registration = self.registered()
        self.store.advance(2 * TTL_SECONDS)
        self.store.result_of(registration.update("2"))
        self.store.advance(2 * TTL_SECONDS)
        self.store.result_of(registration.close())
        self.assertEqual(seen, [("set", "1"), ("set", "2"), ("compareAndDelete", None)])
        watch.close()

    def test_an_empty_value(self) -> None:
        registration = self.registered("")
        self.assertEqual(self.value, "")
        self.store.result_of(registration.close())
        self.assertIsNone(self.value)

    def test_a_key_that_an_earlier_process_left_is_taken_over(self) -> None:
        self.store.replica.put(KEY, "old", ttl_seconds=TTL_SECONDS)
        registration = self.registered()
        self.store.advance(5 * TTL_SECONDS)
        self.assertEqual(self.value, "1")
        self.store.result_of(registration.close())
        self.assertIsNone(self.value)

    def test_of_updates_at_once_the_last_one_stays(self) -> None:
        registration = self.registered()
        updates = [registration.update(value) for value in "234"]
        self.store.advance(STEP_SECONDS)
        for each in updates:
            self.successResultOf(each)
        self.assertEqual(self.value, "4")

    def test_a_value_that_is_changed_before_it_is_open(self) -> None:
        registration = self.registration()
        self.successResultOf(registration.update("2"))
        self.store.result_of(registration.open())
        self.assertEqual(self.value, "2")

    def test_a_service_that_dies_is_gone_after_its_ttl(self) -> None:
        registration = self.registered()
        self.client.close()
        self.assertFalse(registration.is_registered)
        self.store.advance(TTL_SECONDS + STEP_SECONDS)
        self.assertIsNone(self.value)
        self.failureResultOf(registration.close(), ClientClosed)
        self.failureResultOf(registration.update("2"), AlreadyClosed)
        self.store.stop()
        self.assertEqual(self.store.clock.getDelayedCalls(), [])

    def test_it_fails_at_once_when_the_client_is_closed(self) -> None:
        self.client.close()
        registration = self.registration()
        self.failureResultOf(registration.open(), ClientClosed)
        self.failureResultOf(registration.close(), ClientClosed)

    def test_it_can_be_closed_only_for_good(self) -> None:
        registration = self.registered()
        self.store.result_of(registration.close())
        self.store.result_of(registration.close())
        self.failureResultOf(registration.open(), AlreadyClosed)
        self.failureResultOf(registration.update("2"), AlreadyClosed)

    def test_bad_arguments_are_named(self) -> None:
        with self.assertRaisesRegex(ValueError, "ttl_seconds"):
            Registration(self.client, KEY, "1", ttl_seconds=0)


class TroubleTests(RegistrationTest):
    def test_it_comes_back_after_an_outage(self) -> None:
        registration = self.registered()
        self.store.cut()
        self.store.advance(2 * TTL_SECONDS)
        self.assertFalse(registration.is_registered)
        self.assertIsNone(self.value)
        self.store.heal()
        self.store.advance(1)
        self.assertTrue(registration.is_registered)
        self.assertEqual(self.value, "1")

    def test_it_opens_when_the_cluster_is_there(self) -> None:
        self.store.cut()
        registration = self.registration()
        opening = registration.open()
        self.store.advance(3 * TTL_SECONDS)
        self.assertNoResult(opening)
        self.store.heal()
        self.store.advance(1)
        self.successResultOf(opening)
        self.assertEqual(self.value, "1")

    def test_a_key_that_somebody_deletes_is_set_again(self) -> None:
        registration = self.registered()
        self.store.replica.delete("/services")
        self.store.advance(TTL_SECONDS / 2)
        self.assertEqual(self.value, "1")
        self.store.result_of(registration.close())
        self.assertIsNone(self.value)

    def test_a_key_that_somebody_overwrites_is_set_again(self) -> None:
        self.registered()
        self.store.replica.put(KEY, "theirs")
        self.store.advance(TTL_SECONDS / 2)
        self.assertEqual(self.value, "1")

    def test_a_value_that_somebody_changes_is_set_again(self) -> None:
        self.registered()
        self.store.result_of(self.client.update(KEY, "theirs", ttl_seconds=TTL_SECONDS))
        self.store.advance(TTL_SECONDS / 2)
        self.assertEqual(self.value, "1")

    def test_the_key_of_somebody_else_is_not_deleted(self) -> None:
        registration = self.registered()
        self.store.replica.put(KEY, "theirs")
        closing = registration.close()
        self.store.advance(1)
        self.successResultOf(closing)
        self.assertEqual(self.value, "theirs")

    def test_an_update_in_an_outage(self) -> None:
        registration = self.registered()
        self.store.cut()
        updating = registration.update("2")
        self.store.advance(2 * TTL_SECONDS)
        self.assertNoResult(updating)
        self.store.heal()
        self.store.advance(1)
        self.successResultOf(updating)
        self.assertEqual(self.value, "2")

    def test_a_request_whose_outcome_is_unknown_is_sent_again(self) -> None:
        registration = self.registration()
        self.store.replica.holding = True
        opening = registration.open()
        self.store.advance(STEP_SECONDS)
        self.store.cut()
        self.store.replica.release()
        self.store.heal()
        self.store.advance(1)
        self.successResultOf(opening)
        self.store.result_of(registration.close())
        self.assertIsNone(self.value)

    def test_a_refusal(self) -> None:
        self.store.replica.put("/services", "a file")
        registration = self.registration()
        opening = registration.open()
        self.store.advance(STEP_SECONDS)
        self.failureResultOf(opening, NotADirectory)
        self.failureResultOf(registration.open(), AlreadyClosed)

    def test_a_refused_update_leaves_the_old_value(self) -> None:
        registration = self.registered()
        updating = registration.update("2" * 200_000)
        self.store.advance(STEP_SECONDS)
        self.failureResultOf(updating, ClientError)
        self.store.advance(3 * TTL_SECONDS)
        self.assertEqual((self.value, registration.value), ("1", "1"))

    def test_a_refusal_later_on(self) -> None:
        """It is tried again from time to time, and not all the time."""
        registration = self.registered()
        self.store.replica.delete(KEY)
        self.store.replica.put(f"{KEY}/below", "so that it is a directory")
        self.store.requests.clear()
        self.store.advance(3 * TTL_SECONDS)
        self.assertLess(len(self.store.requests), 20)
        updating = registration.update("2")
        self.store.advance(STEP_SECONDS)
        self.failureResultOf(updating, NotAFile)
        self.store.replica.delete(KEY)
        self.store.advance(TTL_SECONDS)
        self.assertEqual(self.value, "2")


class ClosingTests(RegistrationTest):
    def test_opening_can_be_cancelled(self) -> None:
        """At any step; then nothing is left behind."""
        for steps in range(20):
            registration = self.registration()
            opening = registration.open()
            opening.addErrback(lambda failure: failure.trap(CancelledError) and None)
            for _ in range(steps):
                self.store.clock.advance(0.001)
            opening.cancel()
            self.store.advance(STEP_SECONDS)
            self.successResultOf(opening)
            if registration.is_registered:
                self.store.result_of(registration.close())
            self.assertIsNone(self.value)

    def test_opening_can_be_cancelled_in_an_outage(self) -> None:
        self.store.cut()
        opening = self.registration().open()
        self.store.advance(1)
        opening.cancel()
        self.store.advance(6)
        self.failureResultOf(opening, CancelledError)
        self.store.heal()
        self.store.advance(TTL_SECONDS)
        self.assertIsNone(self.value)

    def test_it_is_closed_in_an_outage(self) -> None:
        """The key is deleted as soon as that is possible, or expires."""
        for back in (True, False):
            registration = self.registered()
            self.store.cut()
            closing = registration.close()
            self.store.advance(TTL_SECONDS / 2)
            self.assertNoResult(closing)
            if back:
                self.store.heal()
            self.store.advance(1 if back else TTL_SECONDS)
            self.successResultOf(closing)
            self.assertIsNone(self.value)

    def test_it_is_closed_while_it_opens(self) -> None:
        self.store.replica.holding = True
        registration = self.registration()
        opening = registration.open()
        self.store.advance(STEP_SECONDS)
        closing = registration.close()
        self.store.replica.release()
        self.store.advance(STEP_SECONDS)
        self.failureResultOf(opening, AlreadyClosed)
        self.successResultOf(closing)
        self.assertIsNone(self.value)

    def test_the_client_closes_at_any_step(self) -> None:
        for steps in range(20):
            client = self.store.client()
            registration = self.registration(client=client)
            opening = registration.open()
            opening.addErrback(lambda failure: failure.trap(ClientError) and None)
            for _ in range(steps):
                self.store.clock.advance(0.001)
            client.close()
            self.store.advance(STEP_SECONDS)
            self.successResultOf(opening)
            self.failureResultOf(registration.close(), ClientError)
            self.store.advance(TTL_SECONDS)
            self.assertIsNone(self.value)
        self.store.stop()
        self.assertEqual(self.store.clock.getDelayedCalls(), [])


ACTIONS = ["cut", "heal", "hold", "release", "delete", "overwrite", "update", "wait"]


class AnythingTests(SynchronousTestCase):
    @given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.sampled_from([0.0, 0.1, 1.0, 4.0, 11.0])), max_size=30))
    def test_it_is_there_in_the_end_and_gone_when_closed(self, steps: list[tuple[str, float]]) -> None:
        store = Store(self)
        registration = Registration(store.client(), KEY, "0", ttl_seconds=TTL_SECONDS)
        registration.open()
        unexpected: list[Failure] = []
        for number, (action, seconds) in enumerate(steps):
            if action == "cut":
                store.cut()
            elif action == "heal":
                store.heal()
            elif action == "hold":
                store.replica.holding = True
            elif action == "release":
                store.replica.release()
            elif action == "delete" and store.node(KEY) is not None:
                store.replica.delete(KEY)
            elif action == "overwrite":
                store.replica.put(KEY, "theirs")
            elif action == "update":
                registration.update(str(number)).addErrback(unexpected.append)
            store.advance(seconds)
        store.heal()
        store.replica.release()
        store.advance(2 * TTL_SECONDS)
        node = store.node(KEY)
        self.assertTrue(registration.is_registered)
        self.assertEqual(node.value if isinstance(node, File) else None, registration.value)
        store.result_of(registration.close())
        self.assertIsNone(store.node(KEY))
        self.assertEqual(unexpected, [])
        store.stop()
