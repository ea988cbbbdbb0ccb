"""
Tests of L{etcd_twisted.consensus.raft.progress}.
"""

from collections import deque

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.raft.limits import DEFAULT_LIMITS, RaftLimits
from etcd_twisted.consensus.raft.progress import Phase, Progress


class PhaseTests(SynchronousTestCase):
    def test_follower_is_probed_at_first(self) -> None:
        fresh = Progress(8, 0.0)
        self.assertEqual((fresh.phase, fresh.next, fresh.match, fresh.asking), (Phase.PROBE, 8, 0, True))
        self.assertFalse(fresh.has_room)

    def test_follower_is_never_probed_for_what_it_is_known_to_have(self) -> None:
        one = Progress(8, 0.0)
        one.matched(5)
        one.probe(2)
        self.assertEqual((one.next, one.asking), (6, True))

    def test_nothing_is_in_flight_in_a_new_phase(self) -> None:
        one = Progress(1, 0.0)
        for begin in (lambda: one.probe(2), one.replicate, lambda: one.await_snapshot(3)):
            one.replicate()
            one.sent(5, DEFAULT_LIMITS.in_flight_bytes)
            one.commit = 4
            self.assertFalse(one.has_room)
            begin()
            self.assertEqual((one.room, one.commit), (DEFAULT_LIMITS.in_flight_bytes, 0))
            one.replicate()
            self.assertTrue(one.has_room)

    def test_next_entries_follow_those_that_a_follower_has_or_will_have(self) -> None:
        one = Progress(8, 0.0)
        one.matched(5)
        self.assertEqual(one.needed, 6)
        one.await_snapshot(20)
        self.assertEqual(one.needed, 21)
        one.probe(6)
        self.assertEqual(one.needed, 6)


class WindowTests(SynchronousTestCase):
    @given(
        st.lists(
            st.one_of(
                st.tuples(st.just("send"), st.integers(1, 3), st.integers(0, 30)),
                st.tuples(st.just("answer"), st.integers(-3, 30), st.just(0)),
            ),
            max_size=60,
        )
    )
    def test_window_agrees_with_a_model(self, steps: list[tuple[str, int, int]]) -> None:
        """What is in flight is what was sent and is not known to have arrived."""
        one = Progress(1, 0.0, RaftLimits(in_flight_batches=4, in_flight_bytes=50))
        one.replicate()
        flying: deque[tuple[int, int]] = deque()
        match = sent = 0
        for step, number, length in steps:
            if step == "answer":
                index = min(max(match + number, 0), sent)
                one.matched(index)
                self.assertEqual(one.match > match, index > match)
                match = max(match, index)
                flying = deque(each for each in flying if each[0] > index)
            elif one.has_room:
                sent += number
                one.sent(sent, length)
                flying.append((sent, length))
            used = sum(each[1] for each in flying)
            self.assertEqual(one.room, 50 - used)
            self.assertEqual(one.has_room, len(flying) < 4 and used < 50)
            self.assertEqual((one.match, one.next), (match, sent + 1))
