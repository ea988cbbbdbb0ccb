"""
Tests of L{etcd_twisted.consensus.availability}: what is waited for, and when waiting ends.
"""

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.availability import LEADERLESS_SECONDS, Availability
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.interfaces.cluster import Machine

OWN, OTHER = (Machine(f"machine{each}", f"http://clients:400{each}", f"http://peers:700{each}") for each in (1, 2))
CLOSED = EtcdError(ErrorCode.RAFT_INTERNAL, "this machine is stopping", 0)


class Group:
    """A group that the test plays."""

    name = OWN.name

    def __init__(self) -> None:
        self.known_leader: Machine | None = None
        self.term = 1
        self.accepts_proposals = self.is_caught_up = self.has_vote = self.is_reconfiguring = False
        self.has_own_entry = True

    def leader(self) -> Machine | None:
        return self.known_leader


class AvailabilityTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.group = Group()
        self.excluded: list[float] = []
        self.availability = Availability(self.clock)
        self.availability.on_exclusion.append(lambda: self.excluded.append(self.clock.seconds()))

    def look(self, **changes: Any) -> None:
        """Changes something, and has the availability updated."""
        for name, value in changes.items():
            setattr(self.group, name, value)
        self.availability.update(self.group)  # type: ignore[arg-type]  # all of it that is used

    def test_machine_serves_once_it_is_caught_up_and_has_a_vote(self) -> None:
        serving = self.availability.when_serving()
        for changes in ({"known_leader": OTHER}, {"is_caught_up": True}):
            self.look(**changes)
            self.assertNoResult(serving)
            self.assertFalse(self.availability.serving)
        self.look(has_vote=True)
        self.successResultOf(serving)
        self.look(is_caught_up=False)
        self.assertTrue(self.availability.serving)

    def test_waiting_for_a_leader_ends_with_one(self) -> None:
        led = self.availability.when_led(False)
        self.look()
        self.assertNoResult(led)
        self.look(known_leader=OTHER)
        self.successResultOf(led)
        self.successResultOf(self.availability.when_led(True))

    def test_waiting_for_the_end_of_a_leadership_ends_with_it(self) -> None:
        self.look(known_leader=OWN, accepts_proposals=True)
        deposed = self.availability.when_deposed(True)
        self.look()
        self.assertNoResult(deposed)
        self.look(known_leader=None, accepts_proposals=False)
        self.successResultOf(deposed)

    def test_each_leader_of_each_term_is_counted_once(self) -> None:
        for leader, term in ((OTHER, 1), (OTHER, 1), (None, 2), (OTHER, 2), (OWN, 3), (OWN, 3)):
            self.look(known_leader=leader, term=term)
        self.assertEqual(self.availability.leader_changes, 3)

    def test_machine_without_a_leader_doubts_that_it_is_a_member(self) -> None:
        self.look()
        self.clock.advance(LEADERLESS_SECONDS)
        self.clock.advance(LEADERLESS_SECONDS)
        self.assertEqual(self.excluded, [LEADERLESS_SECONDS, 2 * LEADERLESS_SECONDS])
        self.look(known_leader=OTHER)
        self.clock.advance(10 * LEADERLESS_SECONDS)
        self.assertEqual(len(self.excluded), 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_removal_is_reported_once_and_when_it_is_certain(self) -> None:
        self.look(known_leader=OTHER)
        self.look(has_own_entry=False, is_reconfiguring=True)
        self.assertEqual(self.excluded, [])
        self.look(is_reconfiguring=False)
        self.look()
        self.assertEqual(len(self.excluded), 1)

    def test_waiting_ends_when_it_is_closed(self) -> None:
        availability = self.availability
        waiting = [availability.when_serving(), availability.when_led(False), availability.when_deposed(True)]
        availability.close(CLOSED)
        waiting += [availability.when_serving(), availability.when_led(True), availability.when_deposed(False)]
        for each in waiting:
            self.assertIs(self.failureResultOf(each, EtcdError).value, CLOSED)
        self.look(known_leader=OTHER, is_caught_up=True, has_vote=True)
        self.assertFalse(availability.serving)
