"""
Tests of L{etcd_twisted.consensus.cluster_state}: which source decides who is in the cluster.
"""

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.cluster_state import ClusterState
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
    """A group that the test plays, as a cluster state sees it: one machine that leads."""

    cluster_id = "d" * 16
    machine = Machine("machine3", "http://clients:4003", "http://peers:7003")

    def members(self) -> dict[str, Machine]:
        return {"3": self.machine}

    def leader(self) -> Machine:
        return self.machine


class ClusterStateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = ClusterState(KeySpace(), DEFAULTS)

    def remember(self) -> None:
        self.cluster.remember(CLUSTER_ID, fingerprinted(CLUSTER_ID, {"1": RECALLED}))

    def test_nothing_is_known_at_first(self) -> None:
        cluster = self.cluster
        self.assertEqual((cluster.cluster_id, cluster.machines(), cluster.leader()), ("", [], None))
        self.assertEqual(cluster.config(), DEFAULTS)

    def test_recalled_machines_count_before_anything_else_is_known(self) -> None:
        self.remember()
        self.assertEqual((self.cluster.cluster_id, self.cluster.machines()), (CLUSTER_ID, [RECALLED]))
        self.assertEqual(self.cluster.fingerprints(), {fingerprint(CLUSTER_ID, "1"): RECALLED})
        self.assertEqual((self.cluster.members(), self.cluster.leader()), ({}, None))

    def test_member_uses_its_own_log(self) -> None:
        self.remember()
        self.cluster.update_view(VIEW)
        self.cluster.enter_group(Group())  # type: ignore[arg-type]  # all of it that is used
        cluster = self.cluster
        self.assertEqual((cluster.cluster_id, cluster.machines()), (Group.cluster_id, [Group.machine]))
        self.assertEqual((cluster.leader(), cluster.view), (Group.machine, None))
        self.assertEqual(cluster.fingerprints(), {fingerprint(Group.cluster_id, "3"): Group.machine})

    def test_standby_uses_the_views_of_others(self) -> None:
        self.remember()
        self.cluster.update_view(VIEW)
        self.cluster.standby = True
        cluster = self.cluster
        self.assertEqual((cluster.cluster_id, cluster.machines(), cluster.leader()), (CLUSTER_ID, [SEEN], SEEN))
        self.assertEqual((cluster.config(), cluster.members()), (SET, {}))

    def test_each_other_cluster_is_told(self) -> None:
        told = list[str]()
        self.cluster.on_cluster_id.append(lambda: told.append(self.cluster.cluster_id))
        self.remember()
        self.remember()
        self.cluster.update_view(VIEW)
        self.assertEqual(told, [CLUSTER_ID])
        self.cluster.enter_group(Group())  # type: ignore[arg-type]  # all of it that is used
        self.cluster.leave_group()
        self.assertEqual(told, [CLUSTER_ID, Group.cluster_id])
        self.cluster.standby = True
        self.cluster.forget_cluster()
        self.assertEqual(told, [CLUSTER_ID, Group.cluster_id, CLUSTER_ID])

    def test_leaving_member_keeps_its_cluster_until_it_has_left(self) -> None:
        self.cluster.enter_group(Group())  # type: ignore[arg-type]  # all of it that is used
        self.cluster.leave_group()
        self.assertEqual((self.cluster.cluster_id, self.cluster.members()), (Group.cluster_id, {}))
        self.cluster.forget_cluster()
        self.assertEqual(self.cluster.cluster_id, "")
