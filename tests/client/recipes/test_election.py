"""Elections, on a simulated clock: who leads, and what observers see of it."""

from collections.abc import Callable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.client import ClientClosed, NotAFile, WatchClosed
from etcd_twisted.client.recipes import AlreadyHeld, Election, Leadership, NotHeld, Observation
from etcd_twisted.errors import ErrorCode, EtcdError
from tests.client.recipes.contenders import DIRECTORY, TTL_SECONDS, ContenderTest, pad_names
from tests.client.store import STEP_SECONDS, Store


async def _collect(observation: Observation, seen: list[str | None]) -> None:
    async for value in observation:
        seen.append(value)  # noqa: PERF401  # a comprehension would show them at the end alone


class ElectionTest(ContenderTest):
    def election(self) -> Election:
        return Election(self.client(), DIRECTORY, ttl_seconds=TTL_SECONDS)

    def lead(self, value: str) -> Leadership:
        """Returns the leadership of a candidate where nobody leads."""
        return self.store.result_of(self.election().campaign(value))

    def candidate(self, value: str) -> "Deferred[Leadership]":
        """Returns the result of a candidate where another one leads."""
        campaign = self.election().campaign(value)
        self.step()
        self.assertNoResult(campaign)
        self.addCleanup(campaign.addErrback, lambda failure: failure.trap(ClientClosed) and None)
        return campaign


class CampaignTests(ElectionTest):
    def test_one_leads_at_a_time(self) -> None:
        leader, waiting = self.lead("a"), self.candidate("b")
        self.store.advance(5 * TTL_SECONDS)
        self.assertNoResult(waiting)
        self.assertTrue(leader.is_held)
        lost = leader.lost
        self.store.result_of(leader.resign())
        self.assertTrue(self.successResultOf(lost).released)
        following = self.successResultOf(waiting)
        self.assertEqual((leader.value, following.value), ("a", "b"))
        self.assertGreater(following.fencing_token, leader.fencing_token)

    def test_a_leader_that_is_cut_off_knows_it_before_another_one_leads(self) -> None:
        other = Store(self, replica=self.store.replica)  # another way to the same keys
        leading = self.lead("a")
        waiting = Election(other.client(), DIRECTORY, ttl_seconds=TTL_SECONDS).campaign("b")
        happened: list[str] = []
        leading.lost.addCallback(lambda _: happened.append("lost"))
        waiting.addCallback(lambda _: happened.append("led"))
        self.step()
        self.store.cut()
        self.store.advance(TTL_SECONDS * 0.9)
        self.assertEqual(happened, ["lost"])
        self.store.advance(TTL_SECONDS)
        self.assertEqual(happened, ["lost", "led"])

    def test_two_quick_reconnects_do_not_make_two_leaders(self) -> None:
        leader, waiting = self.lead("a"), [self.candidate("b"), self.candidate("c")]
        for _ in range(2):
            self.store.cut()
            self.store.advance(STEP_SECONDS)
            self.store.heal()
            self.store.advance(STEP_SECONDS)
        self.store.advance(TTL_SECONDS * 3)
        self.assertTrue(leader.is_held)
        for each in waiting:
            self.assertNoResult(each)
        self.assertEqual(len(self.keys()), 3)

    def test_candidature_can_be_withdrawn(self) -> None:
        self.lead("a")
        waiting = self.candidate("b")
        waiting.cancel()
        self.step()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(len(self.keys()), 1)

    def test_mistakes_are_errors(self) -> None:
        election = self.election()
        leadership = self.store.result_of(election.campaign("a"))
        self.failureResultOf(election.campaign("a"), AlreadyHeld)
        self.store.result_of(leadership.resign())
        self.failureResultOf(leadership.resign(), NotHeld)
        self.assertTrue(self.store.result_of(election.campaign("again")).is_held)


class ObservationTests(ElectionTest):
    def observe(self) -> Observation:
        observation = self.election().observe()
        self.addCleanup(observation.close)
        return observation

    def now(self, observation: Observation) -> str | None:
        """Returns the next state, which is there already."""
        return self.store.result_of(observation.next())

    def test_every_change_is_seen(self) -> None:
        observation = self.observe()
        self.assertIsNone(self.now(observation), "nobody has ever led")
        changed = observation.next()
        self.step()
        self.assertNoResult(changed)
        leader = self.lead("a b: ü\n")
        self.assertEqual(self.store.result_of(changed), "a b: ü\n")
        waiting = self.candidate("b")
        changed = observation.next()
        self.store.advance(3 * TTL_SECONDS)
        self.assertNoResult(changed)
        self.store.result_of(leader.resign())
        self.assertEqual(self.store.result_of(changed), "b")
        self.store.result_of(self.successResultOf(waiting).resign())
        self.assertIsNone(self.now(observation))

    def test_a_change_before_the_list_has_come(self) -> None:
        self.store.stop()
        self.store = Store(self, latency_seconds=0.5)
        observation = self.observe()
        now = observation.next()
        while not self.store.replica.keyspace.statistics().gets_fail:
            self.step()
        self.store.replica.put(f"{DIRECTORY}/1", "by hand")
        self.store.advance(0.5)
        self.assertIsNone(self.successResultOf(now))
        changed = observation.next()
        self.store.advance(2)
        self.assertEqual(self.successResultOf(changed), "by hand")

    def test_it_begins_with_the_present_leader(self) -> None:
        self.lead("a")
        self.candidate("b")
        self.assertEqual(self.now(self.observe()), "a")

    def test_the_oldest_candidate_leads_whatever_the_names(self) -> None:
        """The names of twelve keys go on from one digit to two; as a text, 10 comes before 9."""
        self._check_order()

    def test_the_oldest_candidate_leads_where_names_are_padded(self) -> None:
        pad_names(self.store)
        self._check_order()

    def _check_order(self) -> None:
        observation = self.observe()
        leadership = self.lead("0")
        waiting = [self.candidate(str(number)) for number in range(1, 12)]
        for number in range(12):
            self.assertEqual(self.now(observation), str(number))
            self.store.result_of(leadership.resign())
            if number < 11:
                leadership = self.successResultOf(waiting[number])

    def test_keys_of_others_and_other_keys(self) -> None:
        observation = self.observe()
        self.now(observation)
        changed = observation.next()
        self.store.replica.put(f"{DIRECTORY}/directory/key", "no candidate")
        self.step()
        self.assertNoResult(changed)
        self.store.replica.put(f"{DIRECTORY}/1", "by hand")
        self.assertEqual(self.store.result_of(changed), "by hand")

    def test_a_deleted_directory(self) -> None:
        observation = self.observe()
        self.lead("a")
        self.now(observation)
        self.store.replica.delete("/locks")
        self.assertIsNone(self.now(observation))

    def test_a_cancelled_next_loses_nothing(self) -> None:
        observation = self.observe()
        at_once = observation.next()
        at_once.cancel()
        self.failureResultOf(at_once, CancelledError)
        self.assertIsNone(self.now(observation))
        changed = observation.next()
        self.step()
        changed.cancel()
        self.failureResultOf(changed, CancelledError)
        self.lead("a")
        self.assertEqual(self.now(observation), "a")

    def test_close_ends_the_loop(self) -> None:
        """Also while the observation has not begun, as the cluster can't be reached."""
        for cut in (False, True):
            if cut:
                self.store.cut()
            observation = self.election().observe()
            seen: list[str | None] = []

            looping = Deferred.fromCoroutine(_collect(observation, seen))
            self.store.advance(6 if cut else 0)
            self.assertNoResult(looping)
            observation.close()
            self.successResultOf(looping)
            self.assertEqual(seen, [] if cut else [None])
            self.failureResultOf(observation.next(), WatchClosed)

    def test_closed_client(self) -> None:
        client = self.client()
        observation = Election(client, DIRECTORY).observe()
        self.now(observation)
        changed = observation.next()
        self.step()
        client.close()
        self.failureResultOf(changed, ClientClosed)

    def test_refusal(self) -> None:
        error = EtcdError(ErrorCode.NOT_A_FILE, DIRECTORY, 1)
        for method in ("confirm_reads", "confirm_recent"):
            self.patch(self.store.replica, method, lambda: fail(error))
        observing = self.observe().next()
        self.step()
        self.failureResultOf(observing, NotAFile)

    def test_nothing_is_left_on_the_reactor(self) -> None:
        client = self.client()
        observation = Election(client, DIRECTORY).observe()
        self.now(observation)
        observation.close()
        client.close()
        self.store.stop()
        self.assertEqual(self.store.clock.getDelayedCalls(), [])


class LastStateTests(SynchronousTestCase):
    @given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([0.0, 0.1, 1.0, 11.0])), max_size=30))
    def test_the_last_state_is_never_missed(self, steps: list[tuple[int, float]]) -> None:
        """This holds when history is lost, and when the observer is cut off."""
        store = Store(self, history_capacity=2)
        observation = Election(store.client(), DIRECTORY).observe()
        seen: list[str | None] = []

        def put() -> None:
            store.replica.put(f"{DIRECTORY}/{store.replica.index + 1}", f"at {store.replica.index + 1}", 10)

        def remove() -> None:
            for name in store.names(DIRECTORY)[:1]:
                store.replica.delete(f"{DIRECTORY}/{name}")

        def remove_all() -> None:
            if store.names("/locks"):
                store.replica.delete("/locks")

        acts: list[Callable[[], None]] = [
            put, put, remove, store.cut, store.heal, remove_all
        ]  # fmt: skip
        looping = Deferred.fromCoroutine(_collect(observation, seen))
        for number, seconds in steps:
            acts[number]()
            for other in range(number):
                store.replica.put("/other", str(other))
            store.advance(seconds)
        store.heal()
        store.advance(5)
        names = store.names(DIRECTORY)
        self.assertEqual(seen[-1], f"at {names[0]}" if names else None)
        self.assertEqual([a for a, b in pairwise(seen) if a == b], [])
        observation.close()
        self.successResultOf(looping)
        store.stop()
