"""The client's requests to etcd: the same as to this project's server, and what etcd does in its own way."""

from pathlib import Path
from typing import cast

from twisted.internet import reactor
from twisted.internet.interfaces import IReactorTime
from twisted.trial.unittest import TestCase

from etcd_twisted.client import (
    Client,
    ClusterChanged,
    ConnectionFailed,
    RequestRefused,
    Timeouts,
    Tls,
    UnexpectedAnswer,
)
from tests.certificates import Authority
from tests.client import key_requests
from tests.client.outages import kill_leaders, read_through_outages
from tests.client.test_srv import Names
from tests.etcd.machine import MISSING, EtcdMachine, start_cluster


def connect(test: TestCase, *machines: EtcdMachine, **settings: object) -> Client:
    """Returns a client that is given these machines."""
    client = Client([each.url for each in machines], reactor=cast(IReactorTime, reactor), **settings)  # type: ignore[arg-type]
    test.addCleanup(client.close)
    return client


class KeyTests(key_requests.KeyRequests):
    timeout = 120
    skip = MISSING

    async def setUp(self) -> None:
        machine = EtcdMachine(self, "machine0")
        await machine.start()
        self.client = connect(self, machine)


class MachineTests(TestCase):
    timeout = 120
    skip = MISSING

    async def setUp(self) -> None:
        self.machine = EtcdMachine(self, "machine0")
        await self.machine.start()
        self.client = connect(self, self.machine)

    async def test_client_describes_a_cluster_of_etcd(self) -> None:
        self.assertEqual(await self.client.machines(), (self.machine.url,))
        (member,) = await self.client.members()
        self.assertEqual((member.name, member.client_urls), ("machine0", (self.machine.url,)))
        self.assertEqual(member.peer_urls, (self.machine.peer_url,))
        self.assertEqual(await self.client.leader(), member)
        version = await self.client.version(member)
        self.assertRegex(version.server, r"^3\.[0-5]\.\d+$")
        self.assertRegex(version.cluster, r"^3\.[0-5]\.0$")
        self.assertIs(await self.client.health(), True)

    async def test_client_reads_statistics_of_etcd(self) -> None:
        (member,) = await self.client.members()
        await self.client.set("/key", "1")
        statistics = await self.client.statistics.machine()
        self.assertEqual((statistics.name, statistics.state, statistics.leader), ("machine0", "leader", member.id))
        self.assertIsNotNone(statistics.leader_uptime_seconds)
        store = await self.client.statistics.store()
        self.assertGreaterEqual(store.sets_success or 0, 1)
        self.assertEqual((await self.client.statistics.leader()).followers, {})

    async def test_there_is_no_resource_for_administrators(self) -> None:
        with self.assertRaises(UnexpectedAnswer):
            await self.client.admin.config()

    async def test_the_store_is_replaced(self) -> None:
        await self.client.set("/key", "1")
        first = self.client.cluster_id
        self.assertIsNotNone(first)
        await self.machine.kill()
        await self.machine.start_afresh("another")
        for ask in (lambda: self.client.get("/key"), lambda: self.client.set("/key", "2")):
            with self.assertRaises(ClusterChanged) as caught:
                await ask()
            self.assertEqual(caught.exception.expected, first)
        other = connect(self, self.machine)
        await other.set("/key", "3")
        self.assertEqual(other.cluster_id, caught.exception.found)

    async def test_records_of_its_peer_port(self) -> None:
        port = int(self.machine.peer_url.rpartition(":")[2])
        names = Names({"_etcd-server._tcp": [(0, 0, "127.0.0.1", port)]})
        client = await Client.from_srv("example.com", reactor=cast(IReactorTime, reactor), resolver=names)  # type: ignore[arg-type]
        self.addCleanup(client.close)
        self.assertEqual((await client.set("/key", "1")).node.value, "1")


class ClusterTests(TestCase):
    timeout = 300
    skip = MISSING

    async def test_leaders_are_killed(self) -> None:
        machines = await start_cluster(self, 3)
        ledger = await kill_leaders(self, connect(self, machines[0]), machines, 3)
        self.assertGreater(len(ledger.acknowledged), 100)

    async def test_reads_while_machines_are_killed(self) -> None:
        machines = await start_cluster(self, 3)
        await read_through_outages(self, connect(self, *machines), machines)

    async def test_members_come_and_go(self) -> None:
        machines = await start_cluster(self, 3)
        client = connect(self, machines[0])
        added = await client.admin.add_member(["http://127.0.0.1:1"])
        self.assertEqual((added.name, added.peer_urls), ("", ("http://127.0.0.1:1",)))
        with self.assertRaises(RequestRefused):
            await client.admin.add_member(["http://127.0.0.1:1"])
        await client.admin.update_member(added.id, ["http://127.0.0.1:2"])
        (listed,) = [each for each in await client.members() if each.id == added.id]
        self.assertEqual((listed.peer_urls, listed.client_urls), (("http://127.0.0.1:2",), ()))
        await client.admin.remove_member(added.id)
        self.assertEqual(len(await client.members()), 3)
        with self.assertRaises(RequestRefused):
            await client.admin.remove_member(added.id)
        statistics = await client.statistics.leader()
        self.assertEqual(len(statistics.followers), 2)

    async def test_client_shows_its_certificate_to_etcd(self) -> None:
        authority = Authority(Path(self.mktemp()).resolve())
        machines = await start_cluster(self, 3, authority)
        certificate, key = authority.certificate("client", ())
        client = connect(self, machines[0], tls=Tls(authority.path, certificate, key))
        await kill_leaders(self, client, machines, 1)
        stranger = connect(self, machines[0], tls=Tls(authority.path), timeouts=Timeouts(total_seconds=0.5))
        with self.assertRaises(ConnectionFailed) as caught:
            await stranger.set("/key", "1")
        self.assertIn("certificate", str(caught.exception))
