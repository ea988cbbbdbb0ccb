"""
What each test of a cluster of real processes checks.
"""

from twisted.trial.unittest import TestCase

from tests.processes.child import ChildProcess
from tests.processes.cluster import Cluster, Member, until


class ClusterTest(TestCase):
    """The base class of tests of a cluster of real processes."""

    timeout = 240

    async def assert_refused(self, child: ChildProcess, *words: str) -> None:
        """Asserts that a process ends by itself, and gives the reason in one line."""
        self.assertEqual(await child.when_ended(), 1, child.output)
        self.assertEqual(len(child.errors.splitlines()), 1, child.errors)
        for each in ("twistd etcd: ", *words):
            self.assertIn(each, child.errors)

    async def assert_standby(self, machine: Member, cluster: Cluster) -> None:
        """
        Asserts that a machine without a copy has the leader answer every client, except requests about the machine
        itself, and has no pages for administrators.
        """

        async def stands_by() -> bool:
            answer = await machine.connect(machine.peer_url).request("GET", "/v2/admin/machines")
            self.assertEqual(answer.status, 404, answer)
            return True

        await until(stands_by, f"{machine.name} is a standby")
        leader = await cluster.leader()
        for method, path, status in (
            ("GET", "/v2/keys/?recursive=true", 200),
            ("PUT", "/v2/keys/none?prevExist=true&value=x", 404),
            ("GET", "/v2/members", 200),
        ):
            self.assertEqual((await machine.client.request(method, path)).status, status)
        self.assertEqual((await machine.client.request("GET", "/v2/leader")).body, leader.peer_url.encode())
        answer = await machine.client.request("GET", "/v2/stats/self")
        self.assertEqual((answer.status, answer.location), (307, leader.url + "/v2/stats/self"), answer)
        for path in ("/version", "/health"):
            self.assertEqual((await machine.client.request("GET", path)).status, 200)
        await machine.child.when_printed("is a standby")

    async def configure(self, machine: Member, **settings: float) -> None:
        """Sets a field of the cluster's configuration, through any member."""
        wanted = {"activeSize": 9, "removeDelay": 1800, "syncInterval": 1, **settings}
        answer = await machine.administer("PUT", "config", wanted)
        self.assertEqual((answer.status, answer.json()), (200, wanted), answer)

    def assert_clean_end(self, machine: Member) -> None:
        """Asserts that a process that was asked to end logged no problem."""
        self.assertEqual(machine.child.errors, "")
        self.assertNotIn("Traceback", machine.child.output)
