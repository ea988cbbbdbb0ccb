"""aio_etcd on a cluster of three, of which it is given one machine that does not lead."""

from unittest import skipIf

from twisted.trial.unittest import TestCase

from tests.foreign.programs import MISSING, run_script
from tests.processes.cluster import Cluster


@skipIf(MISSING is not None, MISSING or "")
class AioEtcdTests(TestCase):
    timeout = 120

    async def test_members_and_users(self) -> None:
        """It finds the members and the leader, and a user gets what its role allows."""
        cluster = Cluster(self, 3, "--profile", "etcd2")
        await cluster.start()
        leader = await cluster.leader()
        follower, _ = await cluster.followers()
        told = await run_script(self, "aio_etcd_users.py", str(follower.port))
        self.assertEqual((told.pop("leader"), len(told.pop("members"))), (leader.name, 3))
        self.assertEqual(set(told.pop("machines")), {machine.url for machine in cluster.machines})
        refused = "EtcdInsufficientPermissions"
        self.assertEqual(told.pop("write"), "1")
        reads = {"ann reads": "1", "ann writes": refused, "guest reads": refused, "root writes": "3"}
        self.assertEqual(told, reads)
