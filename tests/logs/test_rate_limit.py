"""
Tests of the limit on how many lines one cause may have in the log.
"""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.logs.rate_limit import MOST_LINES_PER_PERIOD, PERIOD_SECONDS, RateLimitedLog
from tests.logs.lines import Log


class RateLimitedLogTests(SynchronousTestCase):
    """Tests of the rate limit, on a fake clock."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.limited = RateLimitedLog(self.clock)
        self.log = Log(self)

    def test_few_are_logged_as_they_are(self) -> None:
        """Text that looks like a field of a log format is logged unchanged too."""
        self.limited.warn("a", "Something {is} wrong")
        self.assertEqual(self.log.warnings, ["Something {is} wrong"])

    def test_the_last_of_many_says_that_it_is_the_last(self) -> None:
        """After the last line nothing more is logged for a while."""
        for number in range(3 * MOST_LINES_PER_PERIOD):
            self.limited.warn("a", f"line {number}")
        self.assertEqual(len(self.log.warnings), MOST_LINES_PER_PERIOD)
        last = f"line {MOST_LINES_PER_PERIOD - 1}; more like this are not logged for a minute"
        self.assertEqual(self.log.warnings[-1], last)
        self.clock.advance(PERIOD_SECONDS)
        self.limited.warn("a", "again")
        self.assertEqual(self.log.warnings[MOST_LINES_PER_PERIOD:], ["again"])

    def test_each_cause_has_its_own_limit(self) -> None:
        for _ in range(2 * MOST_LINES_PER_PERIOD):
            self.limited.warn("a", "one")
        self.limited.warn("b", "another")
        self.assertEqual(self.log.warnings[MOST_LINES_PER_PERIOD:], ["another"])
