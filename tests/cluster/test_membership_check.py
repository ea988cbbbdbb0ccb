"""
Tests of L{etcd_twisted.cluster.membership_check}: which machines are asked about an unknown one, and how often.
"""

from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.cluster.membership_check import MAX_ASKED_PER_ROUND, ROUND_INTERVAL_SECONDS, MembershipCheck
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.interfaces import IRaftPeer
from etcd_twisted.interfaces.cluster import ClusterView, Machine
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from etcd_twisted.peer.client import UnreachableError
from tests.logs.lines import Log


def view_of(index: int, *urls: str) -> ClusterView:
    """Returns the view of a machine that knows a configuration with machines at these peer URLs."""
    machines = [Machine(url, f"client {url}", url) for url in urls]
    return ClusterView("c" * 16, machines, "", ClusterConfig(), index)


class Others:
    """
    Machines that are asked, and this machine's Raft member, which learns from their answers.

    @ivar views: what each machine answers; a machine that is not here does not answer.
    @ivar held: the machines whose answers are delayed.
    @ivar in_doubt: whether there still is an unconfirmed machine.
    """

    def __init__(self) -> None:
        self.views: dict[str, ClusterView | Exception] = {}
        self.held: dict[str, Deferred[None]] = {}
        self.asked: list[str] = []
        self.told: list[ClusterView] = []
        self.in_doubt = True

    async def describe(self, peer_url: str) -> ClusterView:
        self.asked.append(peer_url)
        if peer_url in self.held:
            await self.held[peer_url]
        view = self.views.get(peer_url, UnreachableError("nobody"))
        if isinstance(view, Exception):
            raise view
        return view

    def learn_members(self, view: ClusterView) -> bool:
        self.told.append(view)
        return view.configuration_index > 10

    def has_unconfirmed(self) -> bool:
        return self.in_doubt


class MembershipCheckTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.log = Log(self)
        self.clock = Clock()
        self.others = Others()
        self.known = ["a", "b"]
        group = cast(IRaftPeer, self.others)
        self.membership_check = MembershipCheck(self.clock, self.others, group, "own", lambda: self.known)
        self.addCleanup(self.bury)

    def bury(self) -> None:
        self.membership_check.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_known_machines_are_asked_at_once(self) -> None:
        """No machine has to wait for one that does not answer."""
        self.others.held["a"] = Deferred()
        self.others.views["b"] = view_of(11)
        self.membership_check.ask()
        self.assertEqual(self.others.asked, ["a", "b"])
        self.assertEqual(self.others.told, [view_of(11)])
        self.others.held["a"].callback(None)
        self.assertEqual(self.others.told, [view_of(11)])

    def test_new_members_are_asked_too(self) -> None:
        """
        This machine itself is not asked, no machine is asked twice, and neither are those that a machine names whose
        view is older.
        """
        self.known = ["a", "b", "own"]
        self.others.views = {"a": view_of(11, "b", "c", "own"), "b": view_of(10, "x"), "c": view_of(12, "a", "d", "e")}
        self.others.views["e"] = EtcdError(ErrorCode.RAFT_INTERNAL, "no")
        self.membership_check.ask()
        self.assertEqual(self.others.asked, ["a", "b", "c", "d", "e"])
        self.assertEqual([view.configuration_index for view in self.others.told], [11, 10, 12])
        self.assertEqual(self.log.warnings, [])

    def test_number_of_asked_machines_is_bounded(self) -> None:
        """The number is bounded even if each machine names another one."""
        self.known = ["0"]
        self.others.views = {str(number): view_of(11, str(number + 1)) for number in range(1_000)}
        self.membership_check.ask()
        self.assertLessEqual(len(self.others.asked), MAX_ASKED_PER_ROUND)

    def test_rounds_have_an_interval(self) -> None:
        for _ in range(100):
            self.membership_check.ask()
        self.assertEqual(self.others.asked, ["a", "b"])
        self.clock.advance(ROUND_INTERVAL_SECONDS)
        self.assertEqual(self.others.asked, ["a", "b"] * 2)
        self.clock.advance(ROUND_INTERVAL_SECONDS)
        self.assertEqual(self.others.asked, ["a", "b"] * 2)
        self.membership_check.ask()
        self.assertEqual(self.others.asked, ["a", "b"] * 3)
        self.clock.advance(ROUND_INTERVAL_SECONDS)

    def test_unconfirmed_machine_is_logged(self) -> None:
        """The doubt is logged once with the remedy, and not a thousand times."""
        self.others.views["a"] = view_of(10)
        for _ in range(100):
            self.membership_check.ask()
            self.clock.advance(ROUND_INTERVAL_SECONDS)
        self.assertIn("no other confirms it (asked a, b); if it is, start this", self.log.warnings[0])
        self.assertLess(len(self.log.warnings), 30)
        self.known = []
        self.clock.advance(60)
        self.membership_check.ask()
        self.assertIn("(asked nobody, as none is known)", self.log.warnings[-1])
        self.clock.advance(ROUND_INTERVAL_SECONDS)

    def test_machine_that_is_known_meanwhile_is_not_logged(self) -> None:
        """The machine has learned of the one in doubt by itself, so nothing is logged."""
        self.others.in_doubt = False
        self.membership_check.ask()
        self.clock.advance(ROUND_INTERVAL_SECONDS)
        self.assertEqual(self.log.warnings, [])

    def test_internal_error_is_logged_and_others_are_asked_again(self) -> None:
        """The error is logged, and others are asked next time."""
        self.others.views["a"] = ZeroDivisionError("broken")
        self.membership_check.ask()
        self.assertEqual(len(self.flushLoggedErrors()), 1)
        self.others.views["a"] = view_of(11)
        self.membership_check.ask()
        self.assertEqual(self.others.told, [view_of(11)])
        self.clock.advance(ROUND_INTERVAL_SECONDS)

    def test_membership_check_is_stopped_while_it_asks(self) -> None:
        given_up: list[str] = []
        self.others.held = {each: Deferred(lambda _: given_up.append("")) for each in "ab"}
        self.membership_check.ask()
        self.membership_check.stop()
        self.assertEqual(len(given_up), 2)
        self.membership_check.ask()
        self.assertEqual(self.others.asked, ["a", "b"])
