"""
The player itself: which differences count.
"""

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.player import differences, left_of, load


class DifferencesTests(SynchronousTestCase):
    """Every conformance test depends on this comparison."""

    def test_equal_answers_have_no_differences(self) -> None:
        shape = {"status": 200, "json": {"node": {"nodes": [{"key": "/a"}]}}}
        self.assertEqual(list(differences(shape, shape)), [])

    def test_each_difference_is_named_with_its_place(self) -> None:
        """Values may differ, fields may be missing or added, and lists may have other lengths."""
        self.assertEqual(
            list(differences({"a": {"b": 1, "c": 2}, "l": [1]}, {"a": {"b": 2, "d": 3}, "l": [1, 2]})),
            [
                ".a.b: expected 1, got 2",
                ".a.c: expected 2, got '(absent)'",
                ".a.d: expected '(absent)', got 3",
                ".l: expected [1], got [1, 2]",
            ],
        )

    def test_star_equals_anything(self) -> None:
        """It even equals nothing."""
        self.assertEqual(list(differences({"a": "*", "b": ["*"]}, {"b": [{"c": 1}]})), [])

    def test_ttl_left_is_bounded(self) -> None:
        """No more is left of a TTL than was given, and the rest has passed."""
        for value, elapsed in ((100, 0.0), (100, 0.5), (100, 7.0), (98, 2.5), (93, 7.0)):
            self.assertTrue(left_of(100, value, elapsed), (value, elapsed))
        for value, elapsed in ((101, 0.0), (99, 0.5), (92, 7.0)):
            self.assertFalse(left_of(100, value, elapsed), (value, elapsed))

    def test_everything_is_recorded(self) -> None:
        """Each step has its transcript, and most have something to compare."""
        compared = 0
        for scenario, transcript in load().values():
            self.assertEqual(len(scenario["steps"]), len(transcript), scenario["name"])
            compared += sum(shape is not None for shape in transcript)
        self.assertEqual(compared, 326)
