"""
python-etcd with users: the same with a machine of etcd, with one of this project, and through a follower.

The library blocks, so each call is made in a thread.
"""

from collections.abc import Callable
from typing import Any

import etcd
from etcd.auth import Auth, EtcdRole, EtcdUser
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.etcd.machine import MISSING, EtcdMachine
from tests.processes.cluster import Cluster


async def call(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Calls a function of the library."""
    return await deferToThread(function, *arguments, **named)


class EtcdTests(TestCase):
    """A machine of etcd is asked."""

    timeout = 240
    skip = MISSING

    async def setUp(self) -> None:
        self.port = await self.start()
        self.guest = await self.connect()

    async def start(self) -> int:
        """Starts what is asked, and returns its port."""
        machine = EtcdMachine(self, "machine0")
        await machine.start()
        return int(machine.url.rpartition(":")[2])

    async def connect(self, name: str | None = None, password: str | None = None) -> Any:
        """Returns a client with the credentials of a user, or with none."""
        return await call(etcd.Client, port=self.port, read_timeout=60, username=name, password=password)

    async def write_user(self, client: Any, name: str, password: str, *roles: str) -> None:
        user = EtcdUser(client, name)
        user.password, user.roles = password, roles
        await call(user.write)

    async def write_role(self, client: Any, name: str, **patterns: str) -> None:
        """Makes a role of patterns that it may read or write, C{R} or C{W} in the library."""
        role = EtcdRole(client, name)
        for permission, pattern in patterns.items():
            role.grant(pattern, permission)
        await call(role.write)

    async def assertDenied(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        await self.assertFailure(deferToThread(function, *arguments, **named), etcd.EtcdInsufficientPermissions)

    async def enable(self) -> Any:
        """Makes C{root}, enables users and roles, takes all rights from guests, and returns root's client."""
        await self.write_user(self.guest, "root", "pw")
        await call(setattr, Auth(self.guest), "active", True)
        root = await self.connect("root", "pw")
        guest = EtcdRole(root, "guest")
        await call(guest.read)
        self.assertEqual(guest.acls, {"/*": "RW"})
        guest.revoke("/*", "RW")
        await call(guest.write)
        return root

    async def test_guests_are_denied(self) -> None:
        root = await self.enable()
        self.assertTrue(await call(lambda: Auth(self.guest).active))
        await call(root.write, "/shared/key", "one")
        await self.assertDenied(self.guest.read, "/shared/key")
        await self.assertDenied(self.guest.write, "/shared/key", "two")
        await self.assertDenied(self.guest.write, "/shared", "two", append=True)
        await self.assertDenied(self.guest.delete, "/shared/key")
        await self.assertDenied(self.guest.read, "/", recursive=True)
        await self.assertDenied(self.guest.watch, "/shared/key")
        await self.assertDenied(lambda: EtcdUser(self.guest, "root").names)
        await self.assertDenied(EtcdUser(self.guest, "root").read)
        self.assertEqual((await call(root.read, "/shared/key")).value, "one")

    async def test_users_have_the_rights_of_their_roles(self) -> None:
        await self.write_role(self.guest, "reader", R="/shared/*")
        await self.write_role(self.guest, "writer", R="/shared/*", W="/shared/*")
        await self.write_user(self.guest, "alice", "a", "reader")
        await self.write_user(self.guest, "bob", "b", "writer")
        root = await self.enable()
        self.assertEqual(
            await call(lambda: sorted(each["user"] for each in EtcdUser(root, "root").names)),
            [
                "alice",
                "bob",
                "root",
            ],
        )
        alice, bob = await self.connect("alice", "a"), await self.connect("bob", "b")
        await call(bob.write, "/shared/key", "one")
        self.assertEqual((await call(alice.read, "/shared/key")).value, "one")
        await self.assertDenied(alice.write, "/shared/key", "two")
        await self.assertDenied(bob.write, "/other", "two")
        await self.assertDenied(bob.read, "/other")
        await self.assertDenied((await self.connect("bob", "a")).read, "/shared/key")
        await self.assertDenied((await self.connect("carol", "a")).read, "/shared/key")
        appended = await call(bob.write, "/shared/queue", "job", append=True)
        self.assertEqual((await call(alice.read, appended.key)).value, "job")
        swapped = await call(bob.test_and_set, "/shared/key", "two", "one")
        watched = await call(alice.watch, "/shared/key", index=swapped.modifiedIndex)
        self.assertEqual((watched.action, watched.value), ("compareAndSwap", "two"))
        await call(bob.delete, "/shared/key")
        await self.assertFailure(deferToThread(alice.read, "/shared/key"), etcd.EtcdKeyNotFound)

    async def test_rights_change(self) -> None:
        """A right that a role loses is lost at once, and a user that is deleted has none."""
        await self.write_role(self.guest, "writer", R="/shared/*", W="/shared/*")
        await self.write_user(self.guest, "bob", "b", "writer")
        root = await self.enable()
        bob = await self.connect("bob", "b")
        await call(bob.write, "/shared/key", "one")
        role = EtcdRole(root, "writer")
        await call(role.read)
        self.assertEqual(role.acls, {"/shared/*": "RW"})
        role.revoke("/shared/*", "W")
        await call(role.write)
        await self.assertDenied(bob.write, "/shared/key", "two")
        self.assertEqual((await call(bob.read, "/shared/key")).value, "one")
        await call(EtcdUser(root, "bob").delete)
        await self.assertDenied(bob.read, "/shared/key")
        await self.assertDenied(setattr, Auth(bob), "active", False)
        await call(setattr, Auth(root), "active", False)
        self.assertEqual((await call(self.guest.read, "/shared/key")).value, "one")


class MachineTests(EtcdTests):
    """A machine of this project is asked."""

    skip = None
    size = 1

    async def start(self) -> int:
        """Starts a cluster, and returns the port of its last machine, which follows if there are others."""
        cluster = Cluster(self, self.size, "--profile", "etcd2")
        await cluster.start()
        leader = await cluster.leader()
        (*_, asked) = [each for each in cluster.machines if each is not leader] or [leader]
        return int(asked.port)


class FollowerTests(MachineTests):
    """A machine of this project is asked that follows."""

    size = 3
