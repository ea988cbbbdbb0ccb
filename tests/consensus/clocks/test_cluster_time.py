"""
Tests of L{etcd_twisted.consensus.clocks.cluster_time}: the time by which TTLs are counted, whatever the wall clocks
show.
"""

from contextlib import closing

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.clocks.clock_watch import ClockWatch
from etcd_twisted.consensus.clocks.cluster_time import SLEW, Clocks, ClusterTime
from etcd_twisted.consensus.raft.entries import SnapshotMetadata
from etcd_twisted.errors import EtcdError
from etcd_twisted.interfaces.cluster import MachineStatus, StatusReport
from etcd_twisted.keyspace.expiry import ExpirySchedule
from tests.consensus.cluster import Cluster, ClusterMachine, ClusterTestCase
from tests.consensus.machine import SECOND
from tests.logs.lines import Log

WALL = 1_700_000_000.0
HOUR = 3600.0


class Machine:
    """
    A machine's clocks, and what it knows of the cluster time.

    @ivar wall_ahead: what its wall clock shows when its monotonic clock shows 0.
    """

    def __init__(self, wall_ahead: float = WALL) -> None:
        self.clock = Clock()
        self.wall_ahead = wall_ahead
        self.time = ClusterTime(self.clock, self.wall_clock)

    def wall_clock(self) -> float:
        return self.clock.seconds() + self.wall_ahead

    @property
    def shown(self) -> float:
        """The cluster time, in seconds since C{WALL}."""
        return self.time.now() / 1e6 - WALL

    def wait(self, seconds: int, is_free: bool = False) -> None:
        for _ in range(seconds):
            self.clock.advance(1)
            self.time.adjust(is_free)

    def report(self) -> StatusReport:
        """Returns what it reports to others."""
        error = self.time.error_seconds
        return StatusReport(
            0, self.time.now(), None if error is None else round(error * 1e6), "", 1, 1, "", 0, self.time.term
        )

    def hear(self, other: "Machine", there: float = 0.001, back: float = 0.001) -> None:
        """Requests a report of another machine; C{there} and C{back} are how long the request and the answer take."""
        asked = self.clock.seconds()
        for machine in (self, other):
            machine.clock.advance(there)
        report = other.report()
        for machine in (self, other):
            machine.clock.advance(back)
        self.time.heard(report, asked, self.clock.seconds())


class ClusterTimeTests(SynchronousTestCase):
    """Tests of L{ClusterTime}."""

    def assert_near(self, machine: Machine, expected: float, bound: float = 0.01) -> None:
        self.assertApproximates(machine.shown, expected, bound)

    def test_unknown_time_is_that_of_the_wall_clock(self) -> None:
        """The cluster time is the wall clock's, also when that is set."""
        machine = Machine()
        machine.wait(5)
        self.assertEqual(
            (machine.shown, machine.time.error_seconds, machine.time.ahead_of_wall_seconds), (5.0, None, 0.0)
        )
        machine.wall_ahead -= HOUR
        machine.wait(1)
        self.assert_near(machine, 6.0 - HOUR)

    def test_leader_whose_clock_is_set_goes_on(self) -> None:
        """The cluster time goes on, and approaches the clock slowly."""
        for ahead in (HOUR, -HOUR):
            machine = Machine()
            machine.time.lead(1)
            machine.wall_ahead += ahead
            machine.wait(600)
            self.assert_near(machine, 600.0 + (SLEW if ahead > 0 else -SLEW) * 600, 0.001)
            self.assertEqual(machine.time.error_seconds, 0.0)

    def test_a_small_difference_is_made_up_for(self) -> None:
        machine = Machine()
        machine.time.lead(1)
        machine.wall_ahead += 0.01
        machine.wait(30)
        self.assert_near(machine, 30.01, 0.0001)

    def test_clock_is_followed_forward_while_nothing_expires(self) -> None:
        """The cluster time is set forward at once; it is set back only slowly, because the log may hold times."""
        machine = Machine()
        machine.time.lead(1)
        machine.wall_ahead += HOUR
        machine.wait(1, is_free=True)
        self.assert_near(machine, 1 + HOUR)
        machine.wall_ahead -= 2 * HOUR
        machine.wait(1, is_free=True)
        self.assert_near(machine, 2 + HOUR)

    def test_new_leader_continues_from_the_old_leaders_time(self) -> None:
        """The follower continues from the leader's time, although its own clock is an hour ahead, or behind."""
        for ahead in (HOUR, -HOUR):
            leader, follower = Machine(), Machine(WALL + ahead)
            leader.time.lead(1)
            follower.hear(leader)
            follower.wait(10)
            follower.time.lead(2)
            self.assert_near(follower, 10.0)

    @given(st.lists(st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)), min_size=1, max_size=10))
    def test_followers_time_is_within_the_error(self, delays: list[tuple[float, float]]) -> None:
        """A follower's error is never larger than it says."""
        leader, follower = Machine(), Machine(WALL + HOUR)
        leader.time.lead(1)
        for there, back in delays:
            follower.hear(leader, there, back)
            error = follower.time.error_seconds
            assert error is not None
            self.assertLessEqual(abs(follower.shown - leader.shown), error + 1e-5)

    def test_reports_of_followers_count_while_the_time_is_unknown(self) -> None:
        """
        A machine that has restarted learns the time from a follower too; one that knows it from the leader ignores
        others.
        """
        leader, follower, restarted = Machine(), Machine(WALL + HOUR), Machine(WALL - HOUR)
        leader.time.lead(1)
        follower.hear(leader)
        restarted.hear(follower)
        self.assertApproximates(restarted.shown, follower.shown, 0.01)
        self.assertEqual(restarted.time.term, 1)
        follower.time.observe(int((WALL + 100) * 1e6))
        restarted.hear(follower)
        self.assertApproximates(restarted.shown, leader.shown, 0.02)

    def test_machine_without_the_time_reports_none(self) -> None:
        leader, other = Machine(), Machine(WALL + HOUR)
        leader.time.lead(1)
        stranger = Machine(WALL - HOUR)
        other.hear(stranger)
        self.assertIsNone(other.time.error_seconds)
        leader.hear(stranger)
        self.assertEqual(leader.time.error_seconds, 0.0)

    def test_reports_of_a_later_leader_count(self) -> None:
        """The time from the later leader counts, and that from the earlier one does not any more."""
        first, second, follower = Machine(), Machine(WALL + HOUR), Machine()
        first.time.lead(1)
        second.time.lead(2)
        follower.hear(first)
        follower.hear(second)
        self.assertApproximates(follower.shown, second.shown, 0.01)
        follower.hear(first)
        self.assertApproximates(follower.shown, second.shown, 0.01)

    def test_leader_ignores_reports(self) -> None:
        """The leader ignores reports until it knows that it no longer leads, and then continues from its own time."""
        first, second = Machine(), Machine(WALL + HOUR)
        first.time.lead(1)
        second.time.lead(2)
        first.hear(second)
        self.assert_near(first, 0.0)
        first.time.follow()
        self.assert_near(first, 0.0)
        error = first.time.error_seconds
        assert error is not None
        self.assertTrue(0 < error < 0.001, error)
        first.hear(second)
        self.assertApproximates(first.shown, second.shown, 0.01)

    def test_time_is_never_behind_the_log(self) -> None:
        """The cluster time is not behind the log's, in any role."""
        newest = int((WALL + 100) * 1e6)
        machine, leader = Machine(), Machine()
        machine.time.observe(newest)
        self.assert_near(machine, 100.0)
        machine.wait(10)
        self.assert_near(machine, 110.0)
        machine.time.lead(1)
        self.assert_near(machine, 110.0)
        machine.time.observe(newest)
        machine.time.observe(newest + 50 * SECOND)
        self.assert_near(machine, 150.0)
        leader.time.lead(1)
        follower = Machine()
        follower.hear(leader)
        follower.time.observe(newest)
        follower.hear(leader)
        self.assertGreaterEqual(follower.time.now(), newest)


class LeaseTests(ClusterTestCase):
    """Tests of TTLs in a cluster whose clocks differ."""

    def last_of(self, cluster: Cluster, key: str) -> float:
        """Returns how many seconds it takes until a key is gone everywhere."""
        began = cluster.clock.seconds()
        cluster.advance_until(lambda: not any(_has(machine, key) for machine in cluster.running), most_seconds=700.0)
        return cluster.clock.seconds() - began

    def write(self, cluster: Cluster, ttl: int) -> None:
        leader = cluster.leader
        cluster.result_of(leader.set("/a", "", leader.replica.now() + ttl * SECOND))
        cluster.settle()

    def test_new_leader_that_is_an_hour_ahead_changes_no_ttl(self) -> None:
        """A TTL of 120 s ends after 120 s, and a TTL of 30 s after 30 s when the machine is an hour behind."""
        for ahead, ttl in ((HOUR, 120), (-HOUR, 30)):
            cluster = self.cluster()
            cluster.start(3)
            leader = cluster.leader
            for follower in cluster.followers:
                follower.wall_ahead = ahead
            cluster.advance(2)
            self.write(cluster, ttl)
            leader.crash()
            self.assertEqual(cluster.await_leader().wall_ahead, ahead)
            self.assertApproximates(self.last_of(cluster, "/a"), float(ttl), 1.5)

    def test_leaders_clock_that_is_set_changes_no_ttl(self) -> None:
        """TTLs are the same when the clock is set back or forward, and every machine says how much is left."""
        for ahead in (HOUR, -HOUR):
            cluster = self.cluster()
            cluster.start(3)
            cluster.advance(2)
            self.write(cluster, 40)
            cluster.leader.wall_ahead = ahead
            cluster.advance(10)
            node = cluster.leader.replica.get("/a")
            assert node.expires is not None
            for machine in cluster.machines.values():
                self.assertApproximates((node.expires - machine.replica.now()) / SECOND, 30.0, 1.5)
            self.assertApproximates(self.last_of(cluster, "/a"), 30.0, 1.5)

    def test_new_machine_that_leads_changes_no_ttl(self) -> None:
        """The machine has asked those that were there."""
        cluster = self.cluster()
        first, second, third = cluster.start(3)
        cluster.advance(2)
        self.write(cluster, 30)
        self.assertIs(cluster.leader, first)
        third.wall_ahead = HOUR
        third.stop()
        cluster.result_of(third.launch())
        first.crash()
        second.raft._timer.due = float("inf")  # the other one stands for election
        cluster.advance_until(lambda: third.leads)
        self.assertApproximates(self.last_of(cluster, "/a"), 30.0, 1.5)

    def test_unapplied_ttl_keeps_the_time_from_being_set_forward(self) -> None:
        """A TTL that the machine does not know of yet also keeps it from setting the time forward."""
        cluster = self.cluster()
        cluster.start(3)
        leader = cluster.leader
        for follower in cluster.followers:
            follower.wall_ahead = HOUR
        cluster.advance(2)
        leader.set("/a", "", leader.replica.now() + 30 * SECOND).addErrback(lambda _: None)
        written = leader.raft.log.last_index
        for follower in cluster.followers:
            cluster.advance_until(lambda core=follower.raft: core.log.last_index == written)
        leader.crash()
        cluster.advance_until(lambda: any(each.raft.leadership is not None for each in cluster.running))
        (heir,) = (each for each in cluster.running if each.raft.leadership is not None)
        self.assertLess(heir.member.state_machine.applied_index, written)
        heir.member._clock_watch.compare()
        cluster.advance_until(lambda: all(_has(each, "/a") for each in cluster.running))
        self.assertApproximates(self.last_of(cluster, "/a"), 30.0, 1.5)

    def test_leaders_snapshot_has_the_time(self) -> None:
        """A machine that installs the snapshot does not go back behind the time when it was taken."""
        cluster = self.cluster()
        (machine,) = cluster.start(1)
        newest = machine.replica.now() + int(HOUR) * SECOND
        index, keyspace = machine.replica.raft_index, machine.replica.keyspace
        snapshot = SnapshotMetadata(
            index, machine.replica.term, machine.member.state_machine.configuration, time=newest
        )
        machine.member.state_machine.restore(keyspace.state(), ExpirySchedule(), snapshot)
        self.assertGreater(machine.replica.now(), newest)

    def test_snapshot_of_a_machine_without_the_time_has_none(self) -> None:
        """
        The clock of the machine, which is an hour ahead, is not in its snapshot; it would make keys expire early after
        a restart.
        """
        cluster = self.cluster(snapshot_count=20)
        cluster.start(3)
        leader, stranger = cluster.leader, cluster.followers[0]
        cluster.network.older = {each.name for each in cluster.machines.values()}
        stranger.crash()
        stranger.wall_ahead = HOUR
        cluster.result_of(stranger.launch())
        for number in range(30):
            cluster.result_of(leader.set(f"/{number}"))
        cluster.settle()
        self.assertIsNone(stranger.replica.measurements().cluster_time_error_seconds)
        reader = stranger.storage.snapshots.latest()
        assert reader is not None
        with closing(reader):
            self.assertTrue(0 < reader.metadata.time <= leader.replica.now(), reader.metadata.time)

    def test_time_continues_after_a_restart_of_all_machines(self) -> None:
        """The clocks were set back meanwhile, and the previous time continues, as far as the log knows it."""
        cluster = self.cluster()
        machines = cluster.start(3)
        cluster.advance(2)
        self.write(cluster, 30)
        for machine in machines:
            machine.crash()
            machine.wall_ahead = -HOUR
        for machine in machines:
            machine.launch()
        cluster.await_leader()
        self.assertApproximates(self.last_of(cluster, "/a"), 30.0, 2.5)

    def test_difference_from_the_leaders_time_is_measured(self) -> None:
        """Every machine measures how far the leader's time is ahead of its own clock."""
        cluster = self.cluster()
        cluster.start(3)
        leader = cluster.leader
        for follower in cluster.followers:
            follower.wall_ahead = -HOUR
        cluster.advance(3)
        for machine in cluster.machines.values():
            measured = machine.replica.measurements()
            error = measured.cluster_time_error_seconds
            assert error is not None
            expected = 0.0 if machine is leader else HOUR
            self.assertApproximates(measured.cluster_time_ahead_seconds, expected, 0.01)
            self.assertEqual(error == 0, machine is leader)


def _has(machine: ClusterMachine, key: str) -> bool:
    try:
        machine.replica.get(key)
    except EtcdError:
        return False
    return True


class Others:
    """Machines whose clocks the test sets."""

    def __init__(self, statuses: dict[str, MachineStatus]) -> None:
        self._statuses = statuses

    def statuses(self) -> dict[str, MachineStatus]:
        return self._statuses


class WarningTests(ClusterTestCase):
    """Tests of what the log says about clocks."""

    def test_difference_of_another_machines_clock_is_logged(self) -> None:
        """
        The warning says which machine differs, by how much, and what to do; it is not repeated at once, and its end is
        logged.
        """
        cluster = self.cluster()
        first, second = cluster.start(2)
        log = Log(self)
        second.wall_ahead = HOUR
        cluster.advance(5)
        ours = [line for line in log.warnings if line.startswith("The clock of machine")]
        self.assertEqual(len(ours), 2, log.warnings)
        self.assertTrue(any("machine2 is 3600.0 s ahead of" in line for line in ours), ours)
        self.assertTrue(any("machine1 is 3600.0 s behind" in line for line in ours), ours)
        self.assertTrue(all("NTP" in line for line in ours))
        statuses = first.replica.health().statuses
        self.assertEqual((statuses[second.id].clock_differs, statuses[first.id].clock_differs), (True, False))
        log.events.clear()
        cluster.advance(100)
        self.assertEqual(log.warnings, [])
        second.wall_ahead = 2 * HOUR
        cluster.advance(3)
        self.assertTrue(any("7200.0 s ahead" in line for line in log.warnings), log.warnings)
        second.wall_ahead = 0.3
        cluster.advance(3)
        self.assertFalse(first.replica.health().statuses[second.id].clock_differs)
        said = [formatEvent(event) for event in log.events]
        self.assertTrue(any("machine2 agrees" in line for line in said), said)

    def test_difference_is_logged_again_after_half_an_hour(self) -> None:
        """The warning is repeated after half an hour, or when the difference has grown or shrunk by much."""
        log, clock = Log(self), Clock()
        status = MachineStatus("b", "machine2", True, 0, 0.0, clock_ahead_seconds=20.0, clock_error_seconds=0.1)
        statuses = {"b": status}
        watch = ClockWatch(Clocks.of(clock, clock.seconds), Others(statuses))
        watch.start()
        for seconds, ahead, expected in (
            (1, 20.0, 1),
            (1_700, 21.9, 1),
            (101, 21.9, 2),
            (1, 24.2, 3),
            (1, 24.0, 3),
            (1, -24.0, 4),
            (1, -1.2, 5),
            (1, -0.9, 5),
            (1, -1.2, 5),
        ):
            statuses["b"] = attrs.evolve(status, clock_ahead_seconds=ahead)
            clock.pump([1.0] * seconds)
            self.assertEqual(len(log.warnings), expected, (ahead, log.warnings))
        statuses["b"] = attrs.evolve(status, clock_ahead_seconds=0.2)
        clock.advance(1)
        statuses["b"] = status
        clock.advance(1)
        self.assertEqual(len(log.warnings), 6, log.warnings)
        watch.stop()
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_own_clock_that_is_set_is_logged(self) -> None:
        """A clock that is set is also noticed without others; small corrections are not reported."""
        cluster = self.cluster()
        (machine,) = cluster.start(1)
        log = Log(self)
        machine.wall_ahead = 0.9
        cluster.advance(2)
        self.assertEqual((log.warnings, machine.replica.measurements().clock_jumps), ([], 0))
        machine.wall_ahead -= 3600.5
        cluster.advance(1.1)
        (line,) = log.warnings
        self.assertIn("The clock of this machine was set back by 3600.5 s", line)
        measured = machine.replica.measurements()
        self.assertEqual((measured.clock_jumps, round(measured.clock_jump_seconds, 3)), (1, -3600.5))
