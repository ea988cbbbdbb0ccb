"""Users and roles, against a machine on a real port."""

from twisted.internet import reactor
from twisted.internet.interfaces import IReactorTime

from etcd_twisted.client import Client, Event, InsufficientCredentials
from etcd_twisted.web.auth import passwords
from tests.client import user_requests
from tests.processes.machine import Machine


class UserTests(user_requests.UserRequests):
    async def setUp(self) -> None:
        self.patch(passwords, "DEFAULT_COST", 4)
        self.machine = Machine(self)
        await self.machine.embed()
        self.client = self._connect(None)

    def _connect(self, credentials: tuple[str, str] | None) -> Client:
        assert IReactorTime.providedBy(reactor)
        client = Client(self.machine.url, reactor=reactor, credentials=credentials)
        self.addCleanup(client.close)
        return client

    def connect(self, user: str, password: str = user_requests.PASSWORD) -> Client:
        return self._connect((user, password))

    async def test_a_watch_whose_right_is_revoked(self) -> None:
        """It ends at once, although nothing happens at its key."""
        root = await self.enable()
        await root.auth.add_role("web", read="/web*", write="/web*")
        await root.auth.add_user("ben", user_requests.PASSWORD, ["web"])
        ben = self.connect("ben")
        index = (await ben.set("/web/a", "1")).node.modified_index
        watch = ben.watch("/web", recursive=True, after_index=index - 1)
        self.assertIsInstance(await watch.next(), Event)
        await watch.connected()
        await root.auth.revoke_roles("ben", "web")
        with self.assertRaises(InsufficientCredentials):
            await watch.next()
