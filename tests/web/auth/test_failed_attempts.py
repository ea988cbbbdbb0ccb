"""
How attempts are slowed down when they fail, on a clock of the test's.
"""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.web.auth.failed_attempts import (
    FIRST_PAUSE_SECONDS,
    FORGET_SECONDS,
    FREE_ATTEMPTS,
    LONGEST_PAUSE_SECONDS,
    LONGEST_WAIT_SECONDS,
    MOST_NAMES,
    FailedAttempts,
)


class FailedAttemptsTests(SynchronousTestCase):
    """These tests make attempts under the name alice, and now and then under another one."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.attempts = FailedAttempts(self.clock)

    def fail_one(self, name: str = "alice") -> float:
        """Makes an attempt that fails. Returns how long it had to wait."""
        wait_seconds = self.attempts.begin(name)
        assert wait_seconds is not None
        self.clock.advance(wait_seconds)
        self.attempts.failed(name)
        return wait_seconds

    def test_pauses_double_up_to_the_longest(self) -> None:
        waits = [self.fail_one() for _ in range(FREE_ATTEMPTS + 8)]
        self.assertEqual(waits[:FREE_ATTEMPTS], [0] * FREE_ATTEMPTS)
        pauses = [min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**each) for each in range(8)]
        for wait, pause in zip(waits[FREE_ATTEMPTS:], pauses, strict=True):
            self.assertAlmostEqual(wait, pause)

    def test_one_name_does_not_slow_down_another(self) -> None:
        for _ in range(FREE_ATTEMPTS + 3):
            self.fail_one()
        self.assertEqual(self.attempts.begin("bob"), 0)

    def test_a_success_ends_the_pauses(self) -> None:
        for _ in range(FREE_ATTEMPTS + 1):
            self.fail_one()
        self.clock.advance(self.attempts.begin("alice") or 0)
        self.attempts.succeeded("alice")
        self.assertEqual(self.fail_one(), 0)

    def test_the_first_that_makes_others_wait_is_told(self) -> None:
        told = []
        for _ in range(FREE_ATTEMPTS + 2):
            self.attempts.begin("alice")
            told.append(self.attempts.failed("alice"))
        self.assertEqual(told.index(True), FREE_ATTEMPTS - 1)
        self.assertEqual(told.count(True), 1)

    def test_many_at_once_wait_for_each_other(self) -> None:
        """They wait as if they came one after another, and are refused when the wait is too long."""
        waits = [self.attempts.begin("alice") for _ in range(50)]
        accepted = [each for each in waits if each is not None]
        self.assertEqual(accepted, sorted(accepted))
        self.assertEqual(accepted.count(0), FREE_ATTEMPTS)
        self.assertLessEqual(accepted[-1], LONGEST_WAIT_SECONDS)
        self.assertEqual(waits[len(accepted) :], [None] * (50 - len(accepted)))
        self.assertLess(len(accepted), 12)

    def test_one_that_was_given_up_is_no_failure(self) -> None:
        for _ in range(100):
            self.attempts.begin("alice")
            self.attempts.given_up("alice")
            self.clock.advance(LONGEST_PAUSE_SECONDS)
        self.assertEqual(self.fail_one(), 0)

    def test_a_name_is_forgotten(self) -> None:
        for _ in range(FREE_ATTEMPTS + 3):
            self.fail_one()
        self.clock.advance(FORGET_SECONDS + 1)
        self.assertEqual([self.fail_one() for _ in range(2)], [0, 0])

    def test_there_is_a_bound_on_names(self) -> None:
        """The one whose attempt is the longest ago is forgotten first."""
        for _ in range(FREE_ATTEMPTS):
            self.fail_one("first")
            self.fail_one("alice")
        for number in range(MOST_NAMES - 2):
            self.fail_one(f"name{number}")
        self.assertNotEqual(self.attempts.begin("alice"), 0)
        self.fail_one("one more")
        self.assertEqual(self.attempts.begin("first"), 0)

    def test_long_names_take_no_more_memory(self) -> None:
        """Anybody may log in under thousands of them."""
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for number in range(100):
            self.fail_one(f"{number}{'x' * 10_000}")
        kept_bytes, _ = tracemalloc.get_traced_memory()
        self.assertLess(kept_bytes, 100_000)

    @given(st.lists(st.tuples(st.sampled_from(["begin", "failed", "succeeded", "given_up"]), st.integers(0, 20))))
    def test_in_no_order_do_attempts_pass_faster_than_allowed(self, steps: list[tuple[str, int]]) -> None:
        """Without a success, never more than a bounded number begins within a minute."""
        clock = Clock()
        attempts, under_way, starts = FailedAttempts(clock), 0, list[float]()
        for step, seconds in steps:
            clock.advance(seconds / 10)
            if step == "begin":
                wait_seconds = attempts.begin("alice")
                if wait_seconds is not None:
                    under_way += 1
                    starts.append(clock.seconds() + wait_seconds)
            elif under_way and step == "failed":
                under_way -= 1
                attempts.failed("alice")
            elif under_way and step == "given_up":
                under_way -= 1
                attempts.given_up("alice")
                starts.pop()
        for start in starts:
            within = [each for each in starts if start <= each < start + LONGEST_PAUSE_SECONDS]
            self.assertLessEqual(len(within), FREE_ATTEMPTS + 5)
