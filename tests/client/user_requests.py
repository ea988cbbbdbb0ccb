"""
Tests of users and roles, for whatever server there is.
"""

from functools import partial

from twisted.trial.unittest import TestCase

from etcd_twisted.client import Client, InsufficientCredentials, RequestRefused, Role, User
from etcd_twisted.client.recipes import Lock, Mirror

PASSWORD = "sécret: 世界"


class UserRequests(TestCase):
    """
    To be inherited by a test case that has a server without users.

    @ivar client: a client of it without credentials.
    """

    client: Client

    def connect(self, user: str, password: str = PASSWORD) -> Client:
        """Returns a client with a user's credentials, which is closed at the end of the test."""
        raise NotImplementedError

    async def enable(self) -> Client:
        """Enable users, take all rights from guests, and return a client of the user C{root}."""
        await self.client.auth.add_user("root", PASSWORD)
        await self.client.auth.enable()
        root = self.connect("root")
        await root.auth.revoke("guest", read="/*", write="/*")
        return root

    async def refused(self, status: int, request: object) -> None:
        """Check that the server refuses a request about users or roles with this status."""
        with self.assertRaises(RequestRefused) as caught:
            await request  # type: ignore[misc]  # it is a Deferred
        self.assertEqual(caught.exception.status, status)

    async def test_roles(self) -> None:
        auth = self.client.auth
        everything = Role("root", ("/*",), ("/*",))
        self.assertEqual(await auth.roles(), (everything,))
        await auth.add_role("empty")
        await auth.add_role("web", read=["/web/*", "/all"], write="/web/*")
        await auth.grant("web", read="/more")
        await auth.revoke("web", read=["/all", "/never"])
        web = Role("web", ("/more", "/web/*"), ("/web/*",))
        self.assertEqual(await auth.role("web"), web)
        self.assertEqual(await auth.roles(), (Role("empty", (), ()), everything, web))
        await auth.remove_role("empty")
        self.assertEqual(await auth.roles(), (everything, web))

    async def test_refused_changes_of_roles(self) -> None:
        auth = self.client.auth
        await auth.add_role("web", read="/web/*")
        await self.refused(409, auth.add_role("web"))
        await self.refused(409, auth.grant("web", read="/web/*"))
        await self.refused(400, auth.revoke("web", read="/other"))
        await self.refused(403, auth.grant("root", read="/web/*"))
        await self.refused(403, auth.remove_role("root"))
        await self.refused(404, auth.role("none"))
        await self.refused(404, auth.remove_role("none"))
        await self.refused(404, auth.grant("none", read="/a"))

    async def test_users(self) -> None:
        auth = self.client.auth
        self.assertEqual(await auth.users(), ())
        for role in ("reader", "writer", "other"):
            await auth.add_role(role, read=f"/{role}/*")
        await auth.add_user("root", PASSWORD)
        await auth.add_user("ben", PASSWORD, ["writer", "reader"])
        await auth.add_user("ada € b?", PASSWORD)
        ben = User("ben", ("reader", "writer"))
        self.assertEqual(await auth.users(), (User("ada € b?", ()), ben, User("root", ("root",))))
        await auth.grant_roles("ben", "other")
        await auth.revoke_roles("ben", ["reader", "writer"])
        self.assertEqual(await auth.user("ben"), User("ben", ("other",)))
        await auth.remove_user("ada € b?")
        self.assertEqual([user.name for user in await auth.users()], ["ben", "root"])

    async def test_refused_changes_of_users(self) -> None:
        auth = self.client.auth
        await auth.add_role("web", read="/web/*")
        await auth.add_user("ben", PASSWORD, ["web"])
        await self.refused(409, auth.add_user("ben", PASSWORD))
        await self.refused(409, auth.add_user("ben", PASSWORD, ["web"]))
        await self.refused(400, auth.add_user("ada", ""))
        await self.refused(409, auth.grant_roles("ben", ["web"]))
        await self.refused(409, auth.revoke_roles("ben", ["other"]))
        await self.refused(404, auth.user("none"))
        await self.refused(404, auth.remove_user("none"))
        await self.refused(404, auth.set_password("none", PASSWORD))
        self.assertEqual([user.name for user in await auth.users()], ["ben"])

    async def test_switch(self) -> None:
        auth = self.client.auth
        await self.refused(409, auth.enable())
        await auth.add_user("root", PASSWORD)
        self.assertIs(await auth.is_enabled(), False)
        await auth.enable()
        self.assertIs(await auth.is_enabled(), True)
        with self.assertRaises(InsufficientCredentials):
            await auth.disable()
        root = self.connect("root").auth
        self.assertIn(Role("guest", ("/*",), ("/*",)), await root.roles())
        await self.refused(409, root.enable())
        await self.refused(403, root.remove_user("root"))
        await root.disable()
        await self.refused(409, root.disable())
        self.assertIs(await auth.is_enabled(), False)

    async def test_rights(self) -> None:
        """Users do what their roles allow, with the right password alone; the rest is refused."""
        root = await self.enable()
        await root.auth.add_role("web", read="/web/*", write="/web/*")
        await root.auth.add_user("ben", PASSWORD, ["web"])
        ben = self.connect("ben")
        await ben.set("/web/a", "1")
        self.assertEqual((await ben.get("/web/a", quorum=True)).value, "1")
        strangers = [self.client, self.connect("ben", "wrong"), self.connect("nobody"), self.connect("root", "")]
        for client, key in [(ben, "/other"), *((stranger, "/web/a") for stranger in strangers)]:
            set_it, get_it = partial(client.set, key, "2"), partial(client.get, key)
            for ask in (set_it, get_it, client.auth.users, client.auth.enable):
                with self.assertRaises(InsufficientCredentials) as caught:
                    await ask()
                self.assertEqual(caught.exception.code, 110)
        self.assertEqual((await root.get("/web/a")).value, "1")
        await root.auth.set_password("ben", "another")
        self.assertEqual((await self.connect("ben", "another").get("/web/a")).value, "1")
        with self.assertRaises(InsufficientCredentials):
            await ben.get("/web/a")

    async def test_a_watch_without_the_right(self) -> None:
        root = await self.enable()
        index = (await root.set("/secret/a", "1")).node.modified_index
        watch = self.client.watch("/secret", recursive=True, after_index=index - 1)
        with self.assertRaises(InsufficientCredentials):
            await watch.next()
        with self.assertRaises(InsufficientCredentials):
            await watch.connected()

    async def test_recipes(self) -> None:
        """They need to read and write what begins with their directory, and no more; without that they fail."""
        root = await self.enable()
        await root.auth.add_role("printing", read="/locks/printer*", write="/locks/printer*")
        await root.auth.add_user("ben", PASSWORD, ["printing"])
        ben = self.connect("ben")
        async with Lock(ben, "/locks/printer") as hold:
            self.assertTrue(hold.is_held)
        async with Mirror(ben, "/locks/printer") as mirror:
            self.assertEqual(list(mirror), [])
        for client, directory in ((ben, "/locks/other"), (self.client, "/locks/printer")):
            with self.assertRaises(InsufficientCredentials):
                await Lock(client, directory).acquire()
            with self.assertRaises(InsufficientCredentials):
                await Mirror(client, directory).when_current()
