"""
Tests of L{etcd_twisted.consensus.clocks.offsets}.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.clocks.offsets import DRIFT, Offset

_DELAYS = st.floats(0.0, 2.0)


class OffsetTests(SynchronousTestCase):
    """Tests of readings of another clock."""

    def test_offset_is_unknown_at_first(self) -> None:
        self.assertIsNone(Offset().best(0.0))

    @given(
        st.lists(st.tuples(_DELAYS, _DELAYS, st.floats(0.0, 10.0)), min_size=1, max_size=20),
        st.floats(-3600.0, 3600.0),
        st.floats(-DRIFT / 2, DRIFT / 2),
    )
    def test_error_is_within_its_bound(
        self, questions: list[tuple[float, float, float]], ahead: float, drift: float
    ) -> None:
        """The bound holds however slow the request and the answer are, and although the clocks drift apart."""
        offset, now = Offset(), 0.0
        for there, back, pause in questions:
            read = now + there
            answered = read + back
            shown = read + ahead + drift * read
            offset.add(shown, now, answered)
            now = answered + pause
            best = offset.best(now)
            assert best is not None
            self.assertLessEqual(abs(best[0] - ahead - drift * now), best[1] + 1e-6)

    def test_quick_answer_counts_more_than_later_slow_ones(self) -> None:
        offset = Offset()
        offset.add(10.0, 0.0, 0.002)
        offset.add(11.4, 0.5, 1.5)
        best = offset.best(1.5)
        assert best is not None
        self.assertAlmostEqual(best[0], 9.999)

    def test_age_is_that_of_the_best_reading(self) -> None:
        offset = Offset()
        self.assertEqual(offset.age_seconds(5.0), 0.0)
        offset.add(10.0, 0.0, 0.002)
        offset.add(11.4, 0.5, 1.5)
        self.assertAlmostEqual(offset.age_seconds(3.0), 2.998)

    def test_clock_that_is_set_counts_at_once(self) -> None:
        """Earlier readings can't be right any more, however exact they were."""
        offset = Offset()
        offset.add(10.0, 0.0, 0.002)
        offset.add(-3590.0, 0.5, 1.5)
        best = offset.best(1.5)
        assert best is not None
        self.assertAlmostEqual(best[0], -3591.0)

    def test_old_readings_are_forgotten(self) -> None:
        offset = Offset()
        offset.add(10.0, 0.0, 0.0)
        for second in range(1, 9):
            offset.add(10.0 + second, float(second) - 0.5, float(second))
        best = offset.best(8.0)
        assert best is not None
        self.assertAlmostEqual(best[0], 10.25)
