"""
python-etcd on a cluster of three, of which it is given one machine that does not lead.

tests/clients has its requests for keys, on one machine.
"""

from collections.abc import Callable
from typing import Any

import etcd
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.processes.cluster import Cluster, Member, until

READ_TIMEOUT_SECONDS = 60


def call(function: Callable[..., Any], *arguments: Any, **named: Any) -> "Deferred[Any]":
    """Calls one of its functions, which block, in a thread."""
    return deferToThread(function, *arguments, **named)


class PythonEtcdTest(TestCase):
    """
    @ivar follower: the machine that it is given.
    """

    timeout = 120

    async def start(self, profile: str) -> Any:
        """Starts a cluster with a profile. Returns a client."""
        self.cluster = Cluster(self, 3, "--profile", profile)
        await self.cluster.start()
        self.follower, _ = await self.cluster.followers()
        return await self.connect(self.follower)

    async def connect(self, machine: Member, **credentials: str) -> Any:
        """Returns a client that is given a machine, and that turns to the others when it does not answer."""
        return await call(
            etcd.Client, port=machine.port, allow_reconnect=True, read_timeout=READ_TIMEOUT_SECONDS, **credentials
        )


class ClusterTests(PythonEtcdTest):
    """Each test is made for each profile."""

    async def assert_leader(self, client: Any) -> None:
        """Waits until the client shows the leader that the cluster has."""

        async def shown() -> bool:
            leader = await self.cluster.leader()
            found = await call(lambda: client.leader)
            urls = ([leader.url], [leader.peer_url])
            self.assertEqual((found["name"], found["clientURLs"], found["peerURLs"]), (leader.name, *urls))
            return True

        await until(shown, "the client shows the leader")

    async def assert_follows(self, profile: str) -> None:
        """
        Asserts that a client finds the members and the leader, and goes on when the leader dies, and when the machine
        dies to which it is connected.
        """
        with self.assertNoLogs("etcd", "WARNING"):
            client = await self.start(profile)
            await self.assert_leader(client)
            members = await call(lambda: client.members)
            self.assertEqual({key: member["id"] for key, member in members.items()}, {key: key for key in members})
            names = sorted(member["name"] for member in members.values())
            self.assertEqual(names, [machine.name for machine in self.cluster.machines])
            urls = {machine.url for machine in self.cluster.machines}
            self.assertEqual(set(await call(lambda: client.machines)), urls)
            await call(client.write, "/key", "1")
            leader = await self.cluster.leader()
            await leader.kill()
            await call(client.write, "/key", "2", prevValue="1")
            await self.assert_leader(client)
        await leader.start()
        await self.follower.kill()
        await call(client.write, "/key", "3", prevValue="2")
        self.assertEqual((await call(client.read, "/key", quorum=True)).value, "3")
        await self.assert_leader(client)

    async def test_members_with_the_default_profile(self) -> None:
        """The leader is found among the members by its name."""
        await self.assert_follows("etcd04")

    async def test_members_with_the_profile_of_etcd_2(self) -> None:
        """The leader is found among the members by 16 hex digits."""
        await self.assert_follows("etcd2")
