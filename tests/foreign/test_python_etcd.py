"""
python-etcd on a cluster of three, of which it is given one machine that does not lead.

tests/clients has its requests for keys, on one machine.
"""

from collections.abc import Callable
from typing import Any

import etcd
from etcd import auth
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

        async def shown() -> bool | None:
            leader = await self.cluster.leader()
            try:
                found = await call(lambda: client.leader)
            except etcd.EtcdException:  # the machine that it asks has no leader again
                return None
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


class UserTests(PythonEtcdTest):
    """Users and roles, as its module C{auth} writes them."""

    async def test_users_and_roles(self) -> None:
        """A user gets what its role allows, through any machine, until that is revoked."""
        client = await self.start("etcd2")
        root = auth.EtcdUser(client, "root")
        root.password = "root's"
        await call(root.write)
        await call(setattr, auth.Auth(client), "active", True)
        client = await self.connect(self.follower, username="root", password="root's")
        await call(auth.EtcdRole(client, "guest").delete)
        role = auth.EtcdRole(client, "web")
        role.grant("/web/*", "RW")
        role.grant("/open/*", "R")
        await call(role.write)
        user = auth.EtcdUser(client, "ann")
        user.password, user.roles = "ann's", ["web"]
        await call(user.write)
        self.assertEqual([each["user"] for each in await call(lambda: user.names)], ["ann", "root"])
        self.assertEqual([each["role"] for each in await call(lambda: role.names)], ["root", "web"])
        await call(client.write, "/open/key", "1")
        leader = await self.cluster.leader()
        for machine in (leader, self.follower):
            ann = await self.connect(machine, username="ann", password="ann's")
            await call(ann.write, "/web/key", "1")
            self.assertEqual((await call(ann.read, "/open/key")).value, "1")
            for refused in (
                call(ann.write, "/open/key", "2"),
                call(ann.read, "/other"),
                call(auth.EtcdUser(ann, "root").read),
            ):
                await self.assertFailure(refused, etcd.EtcdInsufficientPermissions)
            guest = await self.connect(machine)
            await self.assertFailure(call(guest.read, "/web/key"), etcd.EtcdInsufficientPermissions)
            stranger = await self.connect(machine, username="ann", password="wrong")
            await self.assertFailure(call(stranger.read, "/web/key"), etcd.EtcdInsufficientPermissions)
        await call(role.read)
        role.revoke("/web/*", "W")
        await call(role.write)
        ann = await self.connect(self.follower, username="ann", password="ann's")
        await self.assertFailure(call(ann.write, "/web/key", "2"), etcd.EtcdInsufficientPermissions)
        self.assertEqual((await call(ann.read, "/web/key")).value, "1")
        await call(user.delete)
        await self.assertFailure(call(user.read), etcd.EtcdKeyNotFound)
        await call(setattr, auth.Auth(client), "active", False)
        self.assertFalse(await call(lambda: auth.Auth(client).active))
        await call((await self.connect(leader)).write, "/web/key", "3")
