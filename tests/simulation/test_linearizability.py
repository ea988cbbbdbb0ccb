"""
Tests that the checker finds an order if there is one, and none otherwise.
"""

import itertools
from collections.abc import Hashable
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from tests.simulation.linearizability import IMPOSSIBLE, NEVER, Step, linearizable


def write(value: str, called: float, answered: float, optional: bool = False) -> Step:
    """Sets a register."""
    return Step(called, answered, lambda _: value, optional)


def read(value: str | None, called: float, answered: float) -> Step:
    """Reads a value from a register."""
    return Step(called, answered, lambda state: state if state == value else IMPOSSIBLE)


def swap(old: str | None, new: str, called: float, answered: float, optional: bool = False) -> Step:
    """Sets a register if it has a value."""
    return Step(called, answered, lambda state: new if state == old else IMPOSSIBLE, optional)


class LinearizabilityTests(SynchronousTestCase):
    """Tests of L{linearizable}."""

    def test_empty_history_is_linearizable(self) -> None:
        """A history in which nothing happened is linearizable."""
        self.assertTrue(linearizable([], None))

    def test_read_sees_an_earlier_write(self) -> None:
        """A read that begins after a write has ended sees it."""
        self.assertTrue(linearizable([write("a", 0, 1), read("a", 2, 3)], None))

    def test_stale_read_is_found(self) -> None:
        """A read that begins after a write has ended can't see the value before."""
        self.assertFalse(linearizable([write("a", 0, 1), read(None, 2, 3)], None))

    def test_concurrent_read_sees_either(self) -> None:
        """A read at the same time as a write sees the value before or after it."""
        for seen in (None, "a"):
            self.assertTrue(linearizable([write("a", 0, 3), read(seen, 1, 2)], None))

    def test_reads_do_not_go_back(self) -> None:
        """Once a read has seen a write, later reads see it too, even if the write is not over."""
        history = [write("a", 0, 9), read("a", 1, 2), read(None, 3, 4)]
        self.assertFalse(linearizable(history, None))
        self.assertTrue(linearizable([history[0], read(None, 1, 2), read("a", 3, 4)], None))

    def test_value_from_nowhere(self) -> None:
        """A read can't return a value that was never written."""
        self.assertFalse(linearizable([write("a", 0, 1), read("b", 0, 3)], None))

    def test_unknown_outcome_may_be_either(self) -> None:
        """A write without an answer was done at any time after it was called, or never."""
        unknown = write("a", 0, NEVER, optional=True)
        for seen in ([None, None], [None, "a"], ["a", "a"]):
            self.assertTrue(linearizable([unknown, read(seen[0], 1, 2), read(seen[1], 3, 4)], None), seen)
        self.assertFalse(linearizable([unknown, read("a", 1, 2), read(None, 3, 4)], None))

    def test_no_effect_before_the_call(self) -> None:
        """An operation was not done before it was called."""
        self.assertFalse(linearizable([read("a", 0, 1), write("a", 2, NEVER, optional=True)], None))

    def test_two_swaps_of_one_value(self) -> None:
        """Of two operations that replace the same value, one comes too late."""
        self.assertFalse(linearizable([swap(None, "a", 0, 5), swap(None, "b", 0, 5)], None))
        self.assertTrue(linearizable([swap(None, "a", 0, 5), swap("a", "b", 0, 5)], None))

    def test_lost_update_is_found(self) -> None:
        """An operation can only replace a value that was there."""
        self.assertFalse(linearizable([write("a", 0, 1), swap(None, "b", 2, 3)], None))

    def test_reads_agree_on_the_order_of_writes(self) -> None:
        """Two clients that read two writes in different orders can't both be right."""
        writes = [write("a", 0, 10), write("b", 0, 10)]
        one = [read("a", 1, 2), read("b", 3, 4)]
        other = [read("b", 5, 6), read("a", 7, 8)]
        self.assertTrue(linearizable([*writes, *one], None))
        self.assertFalse(linearizable([*writes, *one, *other], None))

    def test_checker_agrees_with_trying_all_orders(self) -> None:
        """For small histories of all kinds the checker agrees with trying all orders."""
        outcomes = [self._compare(Random(seed)) for seed in range(400)]
        self.assertGreater(outcomes.count(True), 50)
        self.assertGreater(outcomes.count(False), 50)

    def _compare(self, random: Random) -> bool:
        steps = [self._any_step(random, number) for number in range(random.randrange(2, 6))]
        expected = any(_fits(order, None) for order in _orders(steps))
        self.assertEqual(linearizable(steps, None), expected, steps)
        return expected

    def _any_step(self, random: Random, number: int) -> Step:
        called = random.uniform(0, 4)
        answered = called + random.uniform(0, 2)
        values = [None, "0", "1", "2"]
        match random.randrange(4):
            case 0:
                return write(str(number), called, answered)
            case 1:
                return write(str(number), called, NEVER, optional=True)
            case 2:
                return swap(random.choice(values), str(number), called, answered)
            case _:
                return read(random.choice(values), called, answered)

    def test_long_history_is_checked_quickly(self) -> None:
        """A long history with many operations at a time is checked quickly."""
        random = Random(1)
        steps, state, now = [], None, 0.0
        for number in range(150):
            now += random.uniform(0, 1)
            called, answered = now - random.uniform(0, 4), now + random.uniform(0, 4)
            if random.random() < 0.5:
                state = f"v{number}"
                steps.append(write(state, called, answered))
            else:
                steps.append(read(state, called, answered))
        self.assertTrue(linearizable(steps, None))
        self.assertFalse(linearizable([*steps, read("v0", now + 9, now + 10)], None))

    def test_history_that_is_too_long_fails(self) -> None:
        """A history that is too long to check is no success."""
        steps = [write(str(number), 0, 1) for number in range(20)]
        self.assertRaises(RuntimeError, linearizable, [*steps, read("x", 2, 3)], None, most=1_000)


def _orders(steps: list[Step]) -> list[tuple[Step, ...]]:
    """
    Returns all orders of the operations that were done: those that must have been, with any of the optional ones.
    """
    needed = [each for each in steps if not each.optional]
    others = [each for each in steps if each.optional]
    return [
        order
        for count in range(len(others) + 1)
        for some in itertools.combinations(others, count)
        for order in itertools.permutations([*needed, *some])
    ]


def _fits(order: tuple[Step, ...], state: Hashable) -> bool:
    for at, step in enumerate(order):
        if any(later.answered < step.called for later in order[at + 1 :]):
            return False
        state = step.apply(state)
        if state is IMPOSSIBLE:
            return False
    return True
