"""
The player itself: what it takes for the same, and what not.
"""

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.player import differences, left_of, load


class DifferencesTests(SynchronousTestCase):
    """The comparison that every conformance test rests on."""

    def test_same(self) -> None:
        """Nothing to say."""
        shape = {"status": 200, "json": {"node": {"nodes": [{"key": "/a"}]}}}
        self.assertEqual(list(differences(shape, shape)), [])

    def test_different(self) -> None:
        """Each difference with its place: values, missing and additional fields, lists of another length."""
        self.assertEqual(
            list(differences({"a": {"b": 1, "c": 2}, "l": [1]}, {"a": {"b": 2, "d": 3}, "l": [1, 2]})),
            [
                ".a.b: expected 1, got 2",
                ".a.c: expected 2, got '(absent)'",
                ".a.d: expected '(absent)', got 3",
                ".l: expected [1], got [1, 2]",
            ],
        )

    def test_star(self) -> None:
        """Like anything, and like nothing."""
        self.assertEqual(list(differences({"a": "*", "b": ["*"]}, {"b": [{"c": 1}]})), [])

    def test_what_is_left(self) -> None:
        """Of a TTL there is no more left than was given, and what is gone has passed."""
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
