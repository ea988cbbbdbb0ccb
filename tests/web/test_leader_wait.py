"""
Requests go to the leader, and wait for one.
"""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.client import Timeouts
from etcd_twisted.config import Config
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.testing.replica import FakeReplica
from etcd_twisted.web.redirects import (
    MIN_LEADER_WAIT_SECONDS,
    READ_WAIT_SECONDS,
    RETRY_PAUSE_SECONDS,
    LeaderWait,
    leader_wait_seconds,
    no_leader,
    redirect,
)


class LeaderWaitSecondsTests(SynchronousTestCase):
    """These tests compute how long a request waits."""

    def test_wait_covers_a_few_elections(self) -> None:
        """It is never shorter than a second, and with the timeout of etcd shorter than clients wait for a write."""
        for timeout, expected in ((200, 1.0), (10, 1.0), (251, 1.004), (1_000, 4.0), (2_000, 8.0)):
            config = Config(peer_heartbeat_interval=1, peer_election_timeout=timeout)
            self.assertEqual(leader_wait_seconds(config), expected)
        for seconds in (leader_wait_seconds(Config(profile="etcd2")), READ_WAIT_SECONDS):
            self.assertLess(seconds, Timeouts().total_seconds)


class RedirectTests(SynchronousTestCase):
    """These tests look at one redirect. L{tests.web.test_redirects} shows what holds for all."""

    def test_location_is_encoded(self) -> None:
        """The target follows the URL, and any character that would end the URL or its header line is encoded."""
        response = redirect("https://[::1]:4001", b"/a%20b/?x=1&y=\xff#z \r\n")
        self.assertEqual(response.status, 307)
        self.assertIn(b"Location: https://[::1]:4001/a%20b/?x=1&y=%FF%23z%20%0D%0A\r\n", response.fields)


class LeaderWaitTests(SynchronousTestCase):
    """These tests wait for a leader."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(100.0)
        self.replica = FakeReplica(self.clock)
        self.addCleanup(self.replica.stop)
        self.wait = LeaderWait(self.replica, self.clock, MIN_LEADER_WAIT_SECONDS)

    def test_wait_ends_with_a_leader(self) -> None:
        """The result is the deadline, which also bounds the wait after that leader is lost."""
        self.replica.lose_leader()
        led = self.wait.until_led(None)
        self.clock.advance(0.25)
        self.assertNoResult(led)
        self.replica.follow()
        deadline = self.successResultOf(led)
        self.assertEqual(deadline, 100.0 + MIN_LEADER_WAIT_SECONDS)
        self.replica.lose_leader()
        again = self.wait.until_led(deadline)
        self.clock.advance(MIN_LEADER_WAIT_SECONDS - 0.5)
        self.assertNoResult(again)
        self.clock.advance(0.25)
        self.assertEqual(str(self.failureResultOf(again, EtcdError).value), str(no_leader()))
        self.failureResultOf(self.wait.until_led(deadline), EtcdError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_known_leader_ends_the_wait_after_a_pause(self) -> None:
        """The pause leaves time to others while a client tries again and again."""
        led = self.wait.until_led(None)
        self.assertNoResult(led)
        self.clock.advance(RETRY_PAUSE_SECONDS)
        self.assertEqual(self.successResultOf(led), 100.0 + MIN_LEADER_WAIT_SECONDS)

    def test_wait_ends_when_the_replica_stops(self) -> None:
        """The error is the replica's own."""
        self.replica.lose_leader()
        led = self.wait.until_led(None)
        error = EtcdError(ErrorCode.RAFT_INTERNAL, "this machine is stopping")
        self.replica.stop_serving(error)
        self.assertIs(self.failureResultOf(led, EtcdError).value, error)
