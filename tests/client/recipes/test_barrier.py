"""Barriers and gates, on a simulated clock: who passes, and what is left behind."""

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.client import Client, ClientClosed, ConnectionFailed, NotADirectory
from etcd_twisted.client.recipes import Barrier, Gate, NotOpened
from tests.client.store import STEP_SECONDS, Store

DIRECTORY = "/barriers/it"
KEY = "/gates/it"
TTL_SECONDS = 10


class BarrierTest(SynchronousTestCase):
    """A barrier of three parties."""

    def setUp(self) -> None:
        self.store = Store(self)

    def barrier(self, client: Client | None = None) -> Barrier:
        return Barrier(self.store.client() if client is None else client, DIRECTORY, 3, ttl_seconds=TTL_SECONDS)

    def waiting(self, barrier: Barrier | None = None) -> "Deferred[None]":
        waiting = (self.barrier() if barrier is None else barrier).wait()
        self.step()
        self.assertNoResult(waiting)
        # A test may end while it still waits: then the end of its client ends it.
        self.addCleanup(waiting.addErrback, lambda failure: failure.trap(ClientClosed) and None)
        return waiting

    def step(self) -> None:
        self.store.advance(STEP_SECONDS)

    def parties(self) -> list[str]:
        return self.store.names(f"{DIRECTORY}/parties")


class PassTests(BarrierTest):
    def test_all_pass_when_the_last_one_comes(self) -> None:
        first, second = self.waiting(), self.waiting()
        self.store.advance(5 * TTL_SECONDS)
        self.assertNoResult(first)
        third = self.barrier().wait()
        self.step()
        for waiting in (first, second, third):
            self.successResultOf(waiting)
        self.assertEqual(self.parties(), [])

    def test_it_stays_open(self) -> None:
        for _ in range(3):
            self.barrier().wait()
        self.step()
        self.store.result_of(self.barrier().wait())
        self.assertEqual(self.parties(), [])

    def test_reset(self) -> None:
        self.store.result_of(self.barrier().reset())
        for _ in range(3):
            self.barrier().wait()
        self.step()
        self.store.result_of(self.barrier().reset())
        waiting = [self.waiting(), self.waiting()]
        self.store.result_of(self.barrier().wait())
        for each in waiting:
            self.successResultOf(each)

    def test_a_party_that_comes_wakes_nobody(self) -> None:
        self.waiting()
        self.store.requests.clear()
        self.waiting()
        methods = sorted(method for method, target in self.store.requests if "wait" not in target)
        self.assertEqual(methods, ["GET", "PUT"])

    def test_a_party_that_dies_does_not_count(self) -> None:
        client = self.store.client()
        dying = self.barrier(client).wait()
        self.step()
        first = self.waiting()
        client.close()
        self.failureResultOf(dying, ClientClosed)
        self.store.advance(TTL_SECONDS)
        second = self.waiting()
        self.assertNoResult(first)
        third = self.barrier().wait()
        self.step()
        for waiting in (first, second, third):
            self.successResultOf(waiting)

    def test_outages(self) -> None:
        """Long and short; each party has its key again after them."""
        for seconds in (1, 3 * TTL_SECONDS):
            first, second = self.waiting(), self.waiting()
            self.store.cut()
            self.store.advance(seconds)
            self.store.heal()
            self.store.advance(5)
            self.assertEqual(len(self.parties()), 2)
            third = self.barrier().wait()
            self.store.advance(1)
            for waiting in (first, second, third):
                self.successResultOf(waiting)
            self.store.result_of(self.barrier().reset())
            self.assertEqual(self.parties(), [])

    def test_a_party_that_is_cut_off_when_it_opens(self) -> None:
        elsewhere = Store(self, replica=self.store.replica)
        cut_off = Barrier(elsewhere.client(), DIRECTORY, 3, ttl_seconds=TTL_SECONDS).wait()
        self.waiting()
        elsewhere.cut()
        self.store.result_of(self.barrier().wait())
        self.store.advance(3 * TTL_SECONDS)
        self.assertNoResult(cut_off)
        elsewhere.heal()
        self.store.advance(5)
        self.successResultOf(cut_off)
        self.assertEqual(self.parties(), [])

    def test_one_party(self) -> None:
        self.store.result_of(Barrier(self.store.client(), DIRECTORY, 1).wait())

    def test_bad_arguments_are_named(self) -> None:
        for parties, ttl_seconds, name in ((0, 1, "parties"), (1, 0, "ttl_seconds")):
            with self.assertRaisesRegex(ValueError, name):
                Barrier(self.store.client(), DIRECTORY, parties, ttl_seconds=ttl_seconds)


class LeftBehindTests(BarrierTest):
    def test_timeout(self) -> None:
        at_once, later = self.barrier().wait(timeout_seconds=0), self.barrier().wait(timeout_seconds=5)
        self.step()
        self.failureResultOf(at_once, NotOpened)
        self.store.advance(4)
        self.assertNoResult(later)
        self.store.advance(1.1)
        self.failureResultOf(later, NotOpened)
        self.assertEqual(self.parties(), [])

    def test_timeout_in_an_outage(self) -> None:
        for seconds in (5, 3 * TTL_SECONDS):
            waiting = self.barrier().wait(timeout_seconds=seconds)
            self.step()
            self.store.cut()
            self.store.advance(seconds + 15)
            self.failureResultOf(waiting, NotOpened)
            self.store.heal()
            self.store.advance(TTL_SECONDS)
            self.assertEqual(self.parties(), [])

    def test_cancelled_at_any_step(self) -> None:
        for seconds in range(30):
            waiting = self.barrier().wait()
            for _ in range(seconds):
                self.store.clock.advance(0.001)
            waiting.cancel()
            self.step()
            self.failureResultOf(waiting, CancelledError)
            self.assertEqual(self.parties(), [])

    def test_closed_client(self) -> None:
        client = self.store.client()
        waiting = self.barrier(client).wait()
        self.step()
        client.close()
        self.failureResultOf(waiting, ClientClosed)
        self.failureResultOf(self.barrier(client).wait(), ClientClosed)
        self.store.stop()
        self.assertEqual(self.store.clock.getDelayedCalls(), [])

    def test_the_cluster_cant_be_reached(self) -> None:
        self.store.cut()
        waiting = self.barrier().wait()
        self.store.advance(6)
        self.failureResultOf(waiting, ConnectionFailed)

    def test_the_directory_is_a_file(self) -> None:
        self.store.replica.put(DIRECTORY, "file")
        waiting = self.barrier().wait()
        self.step()
        self.failureResultOf(waiting, NotADirectory)


class GateTests(BarrierTest):
    def setUp(self) -> None:
        super().setUp()
        self.gate = Gate(self.store.client(), KEY)

    def wait_at_gate(self) -> "Deferred[None]":
        waiting = Gate(self.store.client(), KEY).wait()
        self.step()
        return waiting

    def test_it_is_open_at_first(self) -> None:
        self.store.result_of(self.gate.wait())
        self.store.result_of(self.gate.open())

    def test_all_pass_when_it_opens(self) -> None:
        self.store.result_of(self.gate.close())
        self.store.result_of(self.gate.close())
        waiting = [self.wait_at_gate() for _ in range(3)]
        self.store.advance(60)
        for each in waiting:
            self.assertNoResult(each)
        self.store.result_of(self.gate.open())
        self.step()
        for each in waiting:
            self.successResultOf(each)

    def test_ttl(self) -> None:
        self.store.result_of(self.gate.close(ttl_seconds=5))
        waiting = self.wait_at_gate()
        self.store.advance(4)
        self.assertNoResult(waiting)
        self.store.advance(1)
        self.successResultOf(waiting)

    def test_removal_of_the_directory(self) -> None:
        self.store.result_of(self.gate.close())
        waiting = self.wait_at_gate()
        self.store.replica.delete("/gates")
        self.step()
        self.successResultOf(waiting)

    def test_outage_and_lost_history(self) -> None:
        self.store = Store(self, history_capacity=5)
        self.store.replica.put(KEY, "closed")
        waiting = self.wait_at_gate()
        self.store.cut()
        self.store.replica.delete(KEY)
        for number in range(10):
            self.store.replica.put("/elsewhere", str(number))
        self.store.advance(60)
        self.assertNoResult(waiting)
        self.store.heal()
        self.store.advance(5)
        self.successResultOf(waiting)

    def test_timeout(self) -> None:
        self.store.result_of(self.gate.close())
        waiting = self.gate.wait(timeout_seconds=5)
        self.store.advance(4)
        self.assertNoResult(waiting)
        self.store.advance(1.1)
        self.failureResultOf(waiting, NotOpened)

    def test_cancelled(self) -> None:
        self.store.result_of(self.gate.close())
        waiting = self.wait_at_gate()
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.step()
        self.assertEqual(self.store.replica.keyspace.hub.count, 0)

    def test_closed_client(self) -> None:
        client = self.store.client()
        self.store.result_of(self.gate.close())
        waiting = Gate(client, KEY).wait()
        self.step()
        client.close()
        self.failureResultOf(waiting, ClientClosed)

    def test_the_cluster_cant_be_reached(self) -> None:
        self.store.cut()
        waiting = self.gate.wait()
        self.store.advance(6)
        self.failureResultOf(waiting, ConnectionFailed)
