"""
Lines about strangers, and how many of them.
"""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.logs.rate_limit import MOST, PERIOD, Complaints
from tests.logs.lines import Log


class ComplaintsTests(SynchronousTestCase):
    """On a fake clock."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.complaints = Complaints(self.clock)
        self.log = Log(self)

    def test_few(self) -> None:
        """As they are, also with what would be a field in a log's format."""
        self.complaints.say("a", "Something {is} wrong")
        self.assertEqual(self.log.warnings, ["Something {is} wrong"])

    def test_many(self) -> None:
        """The last one says that it is the last, and nothing more comes for a while."""
        for number in range(3 * MOST):
            self.complaints.say("a", f"line {number}")
        self.assertEqual(len(self.log.warnings), MOST)
        last = f"line {MOST - 1}; more like this are not logged for a minute"
        self.assertEqual(self.log.warnings[-1], last)
        self.clock.advance(PERIOD)
        self.complaints.say("a", "again")
        self.assertEqual(self.log.warnings[MOST:], ["again"])

    def test_causes(self) -> None:
        """Each has lines of its own."""
        for _ in range(2 * MOST):
            self.complaints.say("a", "one")
        self.complaints.say("b", "another")
        self.assertEqual(self.log.warnings[MOST:], ["another"])
