"""
Tests of what the log says while the cluster can't go on.
"""

from twisted.internet.task import Clock
from twisted.logger import LogLevel, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.monitoring.alarm import ELECTION_SECONDS, REPEAT_SECONDS, START_SECONDS, QuorumAlarm
from etcd_twisted.interfaces.cluster import Health, MachineStatus
from tests.logs.lines import Log

SINCE = 1_786_000_000_000_000
"""2026-08-06 07:06:40 UTC"""


class QuorumAlarmTests(SynchronousTestCase):
    """Machine 1 of three, whose view of the others the test sets."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.log = Log(self)
        self.leader = "machine1"
        self.missing: set[str] = set()
        self.voters = "123"
        self.alarm = QuorumAlarm(self.clock, self)
        self.alarm.start()

    def health(self) -> Health:
        statuses = {
            each: MachineStatus(each, f"machine{each}", each not in self.missing, SINCE, 1.0, "it is down")
            for each in "123"
        }
        return Health(statuses, frozenset(self.voters), self.leader)

    def label(self, machine_id: str) -> str:
        return f"machine{machine_id} (http://peers:700{machine_id})"

    def pass_time(self, seconds: float) -> None:
        self.clock.pump([0.5] * int(seconds * 2))

    def lose(self, *missing: str) -> None:
        self.leader, self.missing = "", set(missing)
        self.alarm.check()

    def said(self, level: LogLevel) -> list[str]:
        """Returns what was logged at that level since the last call."""
        said = [formatEvent(event) for event in self.log.events if event["log_level"] == level]
        self.log.events.clear()
        return said

    def test_silent_while_there_is_a_leader(self) -> None:
        """While there is a leader a majority has answered it, whatever this machine itself can reach."""
        self.missing = {"2", "3"}
        self.pass_time(100)
        self.assertEqual(self.log.events, [])

    def test_lost_majority_is_logged(self) -> None:
        """The log says at once which machines are missing since when, and what that means."""
        self.pass_time(100)
        self.lose("2", "3")
        (line,) = self.said(LogLevel.warn)
        self.assertEqual(
            line,
            "There is no majority: 1 of 3 machines answers; 2 are needed; writes are refused"
            "; missing: machine2 (http://peers:7002) since 2026-08-06 07:06:40 UTC (it is down)"
            "; missing: machine3 (http://peers:7003) since 2026-08-06 07:06:40 UTC (it is down)",
        )

    def test_lost_majority_is_logged_again_and_again(self) -> None:
        """The line is repeated as long as the loss lasts, but not more often than is useful."""
        self.pass_time(10)
        self.lose("2", "3")
        self.assertEqual(len(self.said(LogLevel.warn)), 1)
        self.pass_time(REPEAT_SECONDS - 2)
        self.assertEqual(len(self.said(LogLevel.warn)), 0)
        self.pass_time(2)
        self.assertEqual(len(self.said(LogLevel.warn)), 1)
        self.pass_time(4 * REPEAT_SECONDS)
        self.assertEqual(len(self.said(LogLevel.warn)), 4)

    def test_end_of_the_loss_is_logged(self) -> None:
        """
        One line says that the loss is over and how long it lasted, but not before there is a leader that accepts
        writes.
        """
        self.pass_time(10)
        self.lose("2", "3")
        self.pass_time(12)
        self.said(LogLevel.warn)
        self.missing = {"3"}
        self.pass_time(2)
        self.assertEqual(self.log.events, [])
        self.leader = "machine2"
        self.alarm.check()
        self.assertEqual(
            self.said(LogLevel.info),
            ["The cluster has a leader again after 14 s: machine2 leads, 2 of 3 machines answer; 2 are needed"
             "; writes are accepted"],
        )  # fmt: skip
        self.pass_time(100)
        self.assertEqual(self.log.events, [])

    def test_only_a_long_election_is_logged(self) -> None:
        """An election that is soon over is not logged, neither when it begins nor when it ends; a long one is."""
        self.pass_time(10)
        self.lose("3")
        self.pass_time(ELECTION_SECONDS - 1)
        self.leader = "machine2"
        self.pass_time(10)
        self.assertEqual(self.log.events, [])
        self.lose("3")
        self.pass_time(ELECTION_SECONDS + 1)
        (line,) = self.said(LogLevel.warn)
        self.assertTrue(line.startswith("No machine has led for 3 s, although a majority answers: 2 of 3"), line)

    def test_start_is_not_logged(self) -> None:
        """Machines that are started together have some time to find each other."""
        self.leader, self.missing = "", {"2", "3"}
        self.pass_time(START_SECONDS - 1)
        self.assertEqual(self.log.events, [])
        self.pass_time(2)
        self.assertEqual(len(self.said(LogLevel.warn)), 1)

    def test_silent_without_known_voters(self) -> None:
        """A machine that was just admitted does not know who is in the cluster."""
        self.leader, self.voters = "", ""
        self.pass_time(100)
        self.assertEqual(self.log.events, [])

    def test_silent_after_a_stop(self) -> None:
        """Nothing more is logged, and nothing is left in the reactor."""
        self.alarm.stop()
        self.lose("2", "3")
        self.pass_time(100)
        self.assertEqual(self.log.events, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])
