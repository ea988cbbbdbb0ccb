"""
Tests of L{etcd_twisted.consensus.monitoring.statuses}: what a machine knows of the others.
"""

from typing import Any, cast

import attrs
import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.clocks.cluster_time import Clocks, ClusterTime
from etcd_twisted.consensus.monitoring.statuses import Statuses
from etcd_twisted.consensus.raft.entries import Member
from etcd_twisted.interfaces import ITransport
from etcd_twisted.interfaces.cluster import MachineStatus, StatusReport
from tests.consensus.cluster import Cluster, ClusterMachine, ClusterTestCase

WALL = 1_700_000_000.0
REPORT = StatusReport(int(WALL * 1e6), int(WALL * 1e6), None, "follower", 3, 40, "1.0", 5_000_000)


class Transport:
    """
    Other machines that answer when the test decides.

    @ivar asked: the requests that are not answered, in order.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, Deferred[StatusReport | None]]] = []

    def ask_status(self, machine_id: str) -> "Deferred[StatusReport | None]":
        """See L{ITransport}."""
        question: Deferred[StatusReport | None] = Deferred()
        self.asked.append((machine_id, question))
        return question

    def answer(self, result: Any) -> None:
        """Answers the oldest request."""
        _, question = self.asked.pop(0)
        question.callback(Failure(result) if isinstance(result, Exception) else result)


class StatusesTests(SynchronousTestCase):
    """One machine, C{a}, and others that the test plays."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.transport = Transport()
        self.wall_ahead = WALL
        clocks = Clocks.of(self.clock, lambda: self.clock.seconds() + self.wall_ahead)
        self.statuses = Statuses(clocks, cast(ITransport, self.transport), 0.2)

    def know(self, *others: str) -> None:
        """Sets the other machines, and has them asked."""
        self.statuses.keep(set(others))
        self.pass_time(0.25)

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds * 100)):
            self.clock.advance(0.01)

    def of(self, machine_id: str) -> MachineStatus:
        """Returns what is known of a machine."""
        members = {each: Member(f"machine {each}", "", "") for each in "abc"}
        return self.statuses.all("a", members, REPORT)[machine_id]

    def asked(self) -> list[str]:
        return [machine_id for machine_id, _ in self.transport.asked]

    def test_machine_reaches_itself(self) -> None:
        """The machine itself is reachable, and its clock is right."""
        self.pass_time(3)
        expected = MachineStatus("a", "machine a", True, int(WALL * 1e6), 3.0, "", REPORT, 0.0, 0.0, 0.0)
        self.assertEqual(attrs.evolve(self.of("a"), lasted_seconds=3.0, since=int(WALL * 1e6)), expected)
        self.assertAlmostEqual(self.of("a").lasted_seconds, 3.0)

    def test_single_machine_asks_nobody(self) -> None:
        """A single machine asks nobody, and nothing waits in the reactor."""
        self.know()
        self.assertEqual((self.clock.getDelayedCalls(), self.asked()), ([], []))

    def test_machine_is_unreachable_before_it_answers(self) -> None:
        """A machine is listed from the beginning, and not reachable before it answers."""
        self.know("b")
        self.pass_time(1)
        status = self.of("b")
        self.assertEqual((status.reachable, status.report, status.clock_ahead_seconds), (False, None, None))
        self.assertIn("not answered", status.problem)
        self.assertAlmostEqual(status.lasted_seconds, 1.25)
        self.assertAlmostEqual(status.since / 1e6, WALL, places=3)

    def test_answer_is_the_status(self) -> None:
        """The status has the answer, how long it took, and how far ahead the clock is."""
        self.know("b")
        self.pass_time(0.1)
        wall = WALL + 0.3 + 3600
        self.transport.answer(msgspec.structs.replace(REPORT, wall_time_microseconds=int(wall * 1e6)))
        status = self.of("b")
        self.assertEqual((status.name, status.reachable, status.problem), ("machine b", True, ""))
        assert status.report is not None
        self.assertEqual((status.report.applied, status.report.role), (40, "follower"))
        self.assertAlmostEqual(status.round_trip_seconds or 0, 0.1)
        self.assertAlmostEqual(status.clock_ahead_seconds or 0, 3600, places=3)
        self.assertAlmostEqual(status.clock_error_seconds or 0, 0.05, places=3)

    def test_own_clock_that_is_set_changes_the_difference(self) -> None:
        """The difference between the clocks is corrected, and nothing else has changed."""
        self.know("b")
        self.transport.answer(msgspec.structs.replace(REPORT, wall_time_microseconds=int((WALL + 0.25) * 1e6)))
        self.wall_ahead += 100
        status = self.of("b")
        self.assertAlmostEqual(status.clock_ahead_seconds or 0, -100, places=3)
        self.assertEqual(status.lasted_seconds, 0.0)
        self.assertAlmostEqual(status.since / 1e6, WALL + 100.25, places=3)

    def test_machines_are_asked_about_once_a_second(self) -> None:
        """Requests are sent about once a second, and not all the time."""
        self.know("b", "c")
        asked = 0
        for _ in range(100):
            asked += len(self.asked())
            while self.transport.asked:
                self.transport.answer(REPORT)
            self.pass_time(0.1)
        self.assertGreaterEqual(asked, 16)
        self.assertLessEqual(asked, 20)

    def test_one_question_at_a_time(self) -> None:
        """There is one request at a time, however long there is no answer; a late answer counts."""
        self.know("b")
        self.transport.answer(REPORT)
        self.pass_time(10)
        self.assertEqual(self.asked(), ["b"])
        status = self.of("b")
        self.assertFalse(status.reachable)
        self.assertIn("connected", status.problem)
        self.assertApproximates(status.lasted_seconds, 8, 0.3)
        self.assertEqual(status.report, REPORT)
        self.transport.answer(REPORT)
        self.assertTrue(self.of("b").reachable)

    def test_silent_machine_is_missed_within_two_seconds(self) -> None:
        """A machine that stops in the middle of everything is missed within two seconds."""
        self.know("b")
        self.transport.answer(REPORT)
        self.pass_time(1.9)
        self.assertTrue(self.of("b").reachable)
        self.pass_time(0.4)
        self.assertFalse(self.of("b").reachable)

    def test_late_reading_of_an_answer_is_in_time(self) -> None:
        """An answer that could not be read before its time was over is in time."""
        self.know("b")
        self.clock.advance(5)
        self.transport.answer(REPORT)
        self.assertTrue(self.of("b").reachable)
        self.pass_time(0.5)
        self.assertTrue(self.of("b").reachable)

    def test_lost_machine_is_asked_again(self) -> None:
        """The machine is not reachable, the status has the reason, and the machine is asked again before long."""
        self.know("b")
        self.transport.answer(REPORT)
        self.pass_time(1.25)
        self.transport.answer(ConnectionError("it hung up"))
        status = self.of("b")
        self.assertEqual((status.reachable, status.problem, status.lasted_seconds), (False, "it hung up", 0.0))
        self.assertEqual((status.report, status.clock_ahead_seconds), (REPORT, None))
        self.pass_time(0.3)
        self.assertEqual(self.asked(), ["b"])

    def test_internal_error_is_logged(self) -> None:
        """The error is logged, and does not end the requests."""
        self.know("b")
        self.transport.answer(ValueError("no report"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertFalse(self.of("b").reachable)
        self.pass_time(0.3)
        self.assertEqual(self.asked(), ["b"])

    def test_older_version_is_reachable(self) -> None:
        """An older machine is reachable, and has no status."""
        self.know("b")
        self.transport.answer(None)
        status = self.of("b")
        self.assertEqual((status.reachable, status.report, status.clock_ahead_seconds), (True, None, None))

    def test_removed_machines_are_not_waited_for(self) -> None:
        """A machine that is no longer a member is not waited for, nor is any machine when all is stopped."""
        self.know("b", "c")
        self.statuses.keep({"c"})
        self.assertFalse(self.of("b").reachable)
        self.transport.asked.pop(0)
        self.transport.answer(REPORT)
        self.assertTrue(self.of("c").reachable)
        self.pass_time(1.25)
        self.statuses.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_reports_go_to_the_cluster_time(self) -> None:
        """The cluster time gets each report, with the times of the request and of the answer."""
        told: list[Any] = []
        self.patch(ClusterTime, "heard", lambda _, *report: told.append(report))
        self.know("b")
        self.pass_time(0.5)
        self.transport.answer(REPORT)
        ((report, asked, answered),) = told
        self.assertEqual(report, REPORT)
        self.assertAlmostEqual(answered - asked, 0.5)

    def test_machine_is_asked_on_demand(self) -> None:
        """A machine is asked at once on demand, unless it is being asked."""
        self.know("b")
        self.transport.answer(REPORT)
        for _ in range(2):
            self.statuses.ask("b")
            self.statuses.ask("nobody")
        self.assertEqual(self.asked(), ["b"])


class ClusterStatusesTests(ClusterTestCase):
    """Tests of whole machines, and a network in memory."""

    def reachable(self, machine: ClusterMachine, other: ClusterMachine) -> bool:
        return machine.replica.statuses()[other.id].reachable

    def all_reach_each_other(self, cluster: Cluster) -> bool:
        return all(self.reachable(each, other) for each in cluster.running for other in cluster.machines.values())

    def test_every_machine_knows_of_every_other(self) -> None:
        """Followers know of each other too."""
        cluster = self.cluster()
        cluster.start(3)
        cluster.advance_until(lambda: self.all_reach_each_other(cluster))
        for machine in cluster.machines.values():
            machine.wall_ahead = 10.0 * machine.number
        cluster.advance(2)
        leader = cluster.leader
        for machine in cluster.machines.values():
            for other in cluster.machines.values():
                status = machine.replica.statuses()[other.id]
                report = status.report
                assert report is not None
                self.assertEqual(status.name, other.machine.name)
                self.assertEqual(report.role, "leader" if other is leader else "follower")
                self.assertEqual((report.applied, report.term), (other.replica.raft_index, other.replica.term))
                ahead = 10.0 * (other.number - machine.number)
                self.assertApproximates(status.clock_ahead_seconds, ahead, 0.01)

    def test_killed_machine_is_missed_and_found_again(self) -> None:
        """The machine is missed within two seconds, and found again."""
        cluster = self.cluster()
        cluster.start(3)
        cluster.advance_until(lambda: self.all_reach_each_other(cluster))
        victim = cluster.followers[0]
        others = [each for each in cluster.machines.values() if each is not victim]
        victim.crash()
        cluster.advance(2)
        for machine in others:
            status = machine.replica.statuses()[victim.id]
            self.assertEqual((status.reachable, status.report is None), (False, False))
            self.assertLess(status.lasted_seconds, 2.0)
        victim.launch()
        cluster.advance_until(lambda: self.all_reach_each_other(cluster))

    def test_machine_that_is_left_alone_knows_it(self) -> None:
        """A machine that is left alone knows that, and which machines it misses, also after a restart."""
        cluster = self.cluster()
        cluster.start(3)
        survivor, *others = cluster.machines.values()
        for machine in cluster.machines.values():
            machine.crash()
        survivor.launch()
        cluster.advance(3)
        statuses = survivor.replica.statuses()
        self.assertEqual({each.id for each in cluster.machines.values()}, set(statuses))
        self.assertTrue(statuses[survivor.id].reachable)
        for other in others:
            status = statuses[other.id]
            self.assertEqual((status.reachable, status.report, bool(status.problem)), (False, None, True))

    def test_machine_of_an_older_version_is_known(self) -> None:
        """The machine is known to be there."""
        cluster = self.cluster()
        first, second, third = cluster.start(3)
        cluster.network.older = {second.name}
        cluster.advance(2)
        self.assertEqual([self.reachable(first, each) for each in cluster.machines.values()], [True] * 3)
        second.crash()
        cluster.advance(2)
        self.assertEqual(
            [(self.reachable(each, second), self.reachable(each, first)) for each in (first, third)],
            [(False, True)] * 2,
        )

    def test_standby_asks_nobody(self) -> None:
        """A standby asks nobody."""
        cluster = self.cluster()
        (machine,) = cluster.start(1)
        self.assertTrue(self.reachable(machine, machine))
        cluster.result_of(_stand_by(machine))
        self.assertEqual(machine.replica.statuses(), {})


def _stand_by(machine: ClusterMachine) -> "Deferred[None]":
    return Deferred.fromCoroutine(machine.participation.stand_by(machine.replica.peer.describe()))
