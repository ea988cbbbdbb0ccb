"""A lease, on a simulated clock, while the cluster can't be reached or does not answer."""

import time

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.client import Client, ClientClosed
from etcd_twisted.client.recipes import lease as lease_module
from etcd_twisted.client.recipes.lease import MARGIN_FRACTION, REFRESH_FRACTION, Lease, Loss, monotonic
from tests.client.store import STEP_SECONDS, Store

ACTIONS = ["cut", "heal", "hold", "release", "none"]
TTL_SECONDS = 10
KEY = "/lease"


class LeaseTest(SynchronousTestCase):
    """A lease of ten seconds."""

    def setUp(self) -> None:
        self.set_up_lease()

    def set_up_lease(self) -> None:
        self.store = Store(self)
        self.client = self.store.client()
        self.began = self.store.clock.seconds()
        self.lease = self.lease_of(self.client)

    def lease_of(self, client: Client) -> Lease:
        sent_at = self.store.clock.seconds()
        node = self.store.result_of(client.set(KEY, "value", ttl_seconds=TTL_SECONDS)).node
        return Lease(client, node, TTL_SECONDS, sent_at)

    def elapsed(self) -> float:
        return self.store.clock.seconds() - self.began


class KeptTests(LeaseTest):
    def test_key_outlives_its_ttl(self) -> None:
        self.store.advance(10 * TTL_SECONDS)
        self.assertTrue(self.lease.is_held)
        self.assertIsNone(self.lease.loss)
        self.assertIsNotNone(self.store.node(KEY))

    def test_watchers_do_not_notice(self) -> None:
        watch = self.store.client().watch(KEY)
        item = watch.next()
        self.store.advance(3 * TTL_SECONDS)
        self.assertNoResult(item)
        watch.close()
        self.store.advance(0)
        self.failureResultOf(item)

    def test_short_outages_do_no_harm(self) -> None:
        for _ in range(10):
            self.store.cut()
            self.store.advance(TTL_SECONDS * 0.4)
            self.store.heal()
            self.store.advance(TTL_SECONDS * 0.4)
            self.assertTrue(self.lease.is_held)

    def test_one_of_two_who_wait_may_cancel(self) -> None:
        kept, cancelled = self.lease.lost, self.lease.lost
        cancelled.addErrback(lambda _: None).cancel()
        self.lease.end("enough", released=True)
        self.assertEqual(self.successResultOf(kept), Loss("enough", True))
        self.assertEqual(self.successResultOf(self.lease.lost), Loss("enough", True))


class LostTests(LeaseTest):
    def test_lost_fires_before_the_key_expires(self) -> None:
        """The time counts from before the last refresh that was answered."""
        found: list[tuple[float, bool]] = []
        self.lease.lost.addCallback(lambda _: found.append((self.elapsed(), self.store.node(KEY) is not None)))
        self.store.cut()
        self.store.advance(3 * TTL_SECONDS)
        self.assertEqual(len(found), 1)
        ((seconds, exists),) = found
        self.assertLessEqual(seconds, TTL_SECONDS * (1 - MARGIN_FRACTION) + STEP_SECONDS)
        self.assertTrue(exists)
        self.assertIsNone(self.store.node(KEY))

    def test_a_refresh_without_an_answer_extends_nothing(self) -> None:
        """Even if it is carried out, and the key lives on, the lease ends in the time of the last answer."""
        self.store.replica.holding = True
        lost = self.lease.lost
        self.store.advance(TTL_SECONDS * (1 - MARGIN_FRACTION) - 2 * STEP_SECONDS)
        self.assertNoResult(lost)
        self.store.cut()
        self.store.replica.release()
        self.store.advance(3 * STEP_SECONDS)
        self.assertFalse(self.successResultOf(lost).released)
        node = self.store.node(KEY)
        assert node is not None
        assert node.expires is not None
        self.assertGreater(node.expires, (self.began + TTL_SECONDS) * 1e6, "a refresh was carried out late")
        self.store.heal()
        self.store.advance(TTL_SECONDS * 2)
        self.assertIsNone(self.store.node(KEY), "it is never refreshed again")

    def test_a_deleted_key_is_noticed_at_the_next_refresh(self) -> None:
        self.store.replica.delete(KEY)
        lost = self.lease.lost
        self.store.advance(TTL_SECONDS * REFRESH_FRACTION + STEP_SECONDS)
        self.assertIn(KEY, self.successResultOf(lost).reason)

    def test_another_key_of_the_same_name_is_left_alone(self) -> None:
        self.store.replica.put(KEY, "another")
        self.store.advance(TTL_SECONDS * REFRESH_FRACTION + STEP_SECONDS)
        assert self.lease.loss is not None
        self.assertIn("somebody has changed it", self.lease.loss.reason)
        self.store.result_of(Deferred.fromCoroutine(self.lease.remove(5.0)))
        self.store.advance(2 * TTL_SECONDS)
        self.assertIsNotNone(self.store.node(KEY), "it was given no TTL")

    def test_a_directory_of_the_same_name_is_left_alone(self) -> None:
        self.store.replica.delete(KEY)
        self.store.replica.put(f"{KEY}/below", "another")
        self.store.advance(TTL_SECONDS * REFRESH_FRACTION + STEP_SECONDS)
        self.assertIsNotNone(self.lease.loss)
        self.store.result_of(Deferred.fromCoroutine(self.lease.remove(5.0)))
        self.store.advance(2 * TTL_SECONDS)
        self.assertIsNotNone(self.store.node(KEY), "it was given no TTL")

    def test_a_server_that_cant_refresh(self) -> None:
        """It sets the key to an empty value, as it does not know the parameter."""
        update = self.client.update
        self.patch(self.client, "refresh", lambda key, ttl, **_: update(key, "", ttl_seconds=ttl))
        lost = self.lease.lost
        self.store.advance(TTL_SECONDS * REFRESH_FRACTION + STEP_SECONDS)
        self.assertIn("can't refresh", self.successResultOf(lost).reason)

    def test_a_closed_client_ends_it_at_once(self) -> None:
        lost = self.lease.lost
        self.client.close()
        self.assertIn("closed", self.successResultOf(lost).reason)
        self.assertFalse(self.lease.is_held)
        removal = Deferred.fromCoroutine(self.lease.remove(5.0))
        self.failureResultOf(removal, ClientClosed)

    def test_a_client_that_is_closed_before_it_begins(self) -> None:
        node = self.store.result_of(self.client.get(KEY)).node
        self.client.close()
        lease = Lease(self.client, node, TTL_SECONDS, self.store.clock.seconds())
        self.assertIn("closed", self.successResultOf(lease.lost).reason)

    def test_a_lease_that_is_over_from_the_beginning(self) -> None:
        node = self.store.result_of(self.client.get(KEY)).node
        lease = Lease(self.client, node, TTL_SECONDS, self.store.clock.seconds() - TTL_SECONDS)
        self.assertFalse(lease.is_held)
        self.store.advance(0)
        self.successResultOf(lease.lost)


class ClocksTests(LeaseTest):
    """The reactor's clock is set, while the monotonic clock goes on."""

    def setUp(self) -> None:
        self.ahead_seconds = 0.0
        self.patch(lease_module, "monotonic", lambda clock: lambda: clock.seconds() + self.ahead_seconds)
        super().setUp()

    def test_a_lease_that_is_over_does_not_come_back(self) -> None:
        """Though the timer that should have ended it is late, and the key still exists."""
        lost = self.lease.lost
        self.ahead_seconds = TTL_SECONDS
        self.assertFalse(self.lease.is_held)
        self.store.advance(TTL_SECONDS * 0.4)
        self.assertFalse(self.lease.is_held)
        self.successResultOf(lost)

    def test_a_timer_that_is_early_ends_nothing(self) -> None:
        lost = self.lease.lost
        self.store.cut()
        self.ahead_seconds = -TTL_SECONDS / 2
        self.store.advance(TTL_SECONDS)
        self.assertNoResult(lost)
        self.assertTrue(self.lease.is_held)
        self.store.advance(TTL_SECONDS * 0.4)
        self.successResultOf(lost)


class CertaintyTests(SynchronousTestCase):
    @given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.floats(0.0, 6.0))), st.sampled_from([0.0, 0.2, 0.4]))
    def test_while_it_is_held_the_key_exists(self, steps: list[tuple[str, float]], latency_seconds: float) -> None:
        """
        This holds for any outages, for requests that are carried out late, or not at all, and for answers that are
        long on their way. No margin is needed for that, but only for clocks that differ.
        """
        self.patch(lease_module, "MARGIN_FRACTION", 0.0)
        store = Store(self, latency_seconds=latency_seconds)
        client = store.client()
        sent_at = store.clock.seconds()
        event = client.set(KEY, "value", ttl_seconds=TTL_SECONDS)
        store.advance(4 * latency_seconds)
        lease = Lease(client, store.result_of(event).node, TTL_SECONDS, sent_at)

        def check() -> None:
            self.assertTrue(not lease.is_held or store.node(KEY) is not None)

        store.after_step = check
        for action, seconds in steps:
            if action == "cut":
                store.cut()
            elif action == "heal":
                store.heal()
            elif action == "hold":
                store.replica.holding = True
            elif action == "release":
                store.replica.release()
            store.advance(seconds)
        client.close()


class RemovalTests(LeaseTest):
    def test_the_key_is_deleted_when_the_cluster_is_back(self) -> None:
        self.store.cut()
        self.lease.end("released", released=True)
        removal = Deferred.fromCoroutine(self.lease.remove(TTL_SECONDS))
        self.store.advance(TTL_SECONDS * 0.5)
        self.assertNoResult(removal)
        self.store.heal()
        self.store.advance(TTL_SECONDS * 0.2)
        self.successResultOf(removal)
        self.assertIsNone(self.store.node(KEY))

    def test_the_key_is_left_to_its_ttl_if_the_cluster_is_gone(self) -> None:
        self.store.cut()
        self.lease.end("released", released=True)
        removal = Deferred.fromCoroutine(self.lease.remove(TTL_SECONDS))
        self.store.advance(TTL_SECONDS * 2)
        self.successResultOf(removal)

    def test_a_refresh_whose_outcome_was_unknown_does_not_hinder_it(self) -> None:
        """That refresh has changed the index that the removal compares first."""
        self.store.replica.holding = True
        self.store.advance(TTL_SECONDS * REFRESH_FRACTION + STEP_SECONDS)
        self.store.cut()
        self.store.replica.release()
        self.store.heal()
        self.lease.end("released", released=True)
        removal = Deferred.fromCoroutine(self.lease.remove(TTL_SECONDS))
        self.store.advance(TTL_SECONDS * 0.1)
        self.successResultOf(removal)
        self.assertIsNone(self.store.node(KEY))


class ClockTests(SynchronousTestCase):
    def test_time_of_a_real_reactor_is_monotonic(self) -> None:
        assert IReactorTime.providedBy(reactor)
        self.assertIs(monotonic(reactor), time.monotonic)

    def test_time_of_a_simulated_reactor_is_its_own(self) -> None:
        clock = Clock()
        now = monotonic(clock)
        clock.advance(5)
        self.assertEqual(now(), 5)
