"""Users and roles of etcd, by the client."""

from etcd_twisted.client import Client, User
from tests.client import user_requests
from tests.etcd.machine import MISSING, EtcdMachine
from tests.etcd.test_client import connect


class UserTests(user_requests.UserRequests):
    timeout = 120
    skip = MISSING

    async def setUp(self) -> None:
        self.machine = EtcdMachine(self, "machine0")
        await self.machine.start()
        self.client = connect(self, self.machine)

    def connect(self, user: str, password: str = user_requests.PASSWORD) -> Client:
        return connect(self, self.machine, credentials=(user, password))

    async def test_a_user_whose_role_was_removed(self) -> None:
        """etcd can't show such a user alone. It is not taken for missing, so that its password stays."""
        await self.client.auth.add_role("web")
        await self.client.auth.add_user("ben", "secret", ["web"])
        await self.client.auth.remove_role("web")
        self.assertEqual(await self.client.auth.users(), (User("ben", ()),))
        await self.refused(404, self.client.auth.user("ben"))
        await self.refused(409, self.client.auth.add_user("ben", "another"))
