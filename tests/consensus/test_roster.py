"""
L{etcd_twisted.consensus.roster}: whose word counts for who is in the cluster.
"""

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.roster import Roster
from etcd_twisted.interfaces.cluster import ClusterView, Machine, fingerprint, fingerprinted
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from etcd_twisted.keyspace.space import KeySpace

CLUSTER_ID = "c" * 16
RECALLED = Machine("machine1", "http://clients:4001", "http://peers:7001")
SEEN = Machine("machine2", "http://clients:4002", "http://peers:7002")
DEFAULTS = ClusterConfig(active_size=5)
SET = ClusterConfig(active_size=7)
VIEW = ClusterView(CLUSTER_ID, [SEEN], SEEN.name, SET, 3, (), {SEEN.name: fingerprint(CLUSTER_ID, "2")})


class Group:
    """A group that the test plays, as a roster sees it: one machine that leads."""

    cluster_id = "d" * 16
    machine = Machine("machine3", "http://clients:4003", "http://peers:7003")

    def members(self) -> dict[str, Machine]:
        return {"3": self.machine}

    def leader(self) -> Machine:
        return self.machine


class RosterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.roster = Roster(KeySpace(), DEFAULTS)

    def recall(self) -> None:
        self.roster.recall(CLUSTER_ID, fingerprinted(CLUSTER_ID, {"1": RECALLED}))

    def test_nothing_is_known_at_first(self) -> None:
        roster = self.roster
        self.assertEqual((roster.cluster_id, roster.machines(), roster.leader()), ("", [], None))
        self.assertEqual(roster.config(), DEFAULTS)

    def test_what_is_recalled_counts_before_anything_else_is_known(self) -> None:
        self.recall()
        self.assertEqual((self.roster.cluster_id, self.roster.machines()), (CLUSTER_ID, [RECALLED]))
        self.assertEqual(self.roster.fingerprints(), {fingerprint(CLUSTER_ID, "1"): RECALLED})
        self.assertEqual((self.roster.members(), self.roster.leader()), ({}, None))

    def test_a_member_goes_by_its_own_log(self) -> None:
        self.recall()
        self.roster.see(VIEW)
        self.roster.enter(Group())  # type: ignore[arg-type]  # all of it that is used
        roster = self.roster
        self.assertEqual((roster.cluster_id, roster.machines()), (Group.cluster_id, [Group.machine]))
        self.assertEqual((roster.leader(), roster.view), (Group.machine, None))
        self.assertEqual(roster.fingerprints(), {fingerprint(Group.cluster_id, "3"): Group.machine})

    def test_a_standby_goes_by_what_others_say(self) -> None:
        self.recall()
        self.roster.see(VIEW)
        self.roster.standby = True
        roster = self.roster
        self.assertEqual((roster.cluster_id, roster.machines(), roster.leader()), (CLUSTER_ID, [SEEN], SEEN))
        self.assertEqual((roster.config(), roster.members()), (SET, {}))

    def test_who_leaves_says_of_which_cluster_until_it_has_left(self) -> None:
        self.roster.enter(Group())  # type: ignore[arg-type]  # all of it that is used
        self.roster.leave()
        self.assertEqual((self.roster.cluster_id, self.roster.members()), (Group.cluster_id, {}))
        self.roster.left()
        self.assertEqual(self.roster.cluster_id, "")
