"""A client of three machines that are killed under it, and of machines with certificates."""

from functools import partial
from pathlib import Path
from typing import cast

from twisted.internet import reactor
from twisted.internet.interfaces import IReactorTime
from twisted.trial.unittest import TestCase

from etcd_twisted.client import AdminMachine, Client, ConnectionFailed, Timeouts, Tls
from tests.certificates import Authority
from tests.client.outages import kill_leaders, read_through_outages
from tests.processes.cluster import Cluster, Member, until


class ClusterTestCase(TestCase):
    timeout = 300

    def connect(self, *machines: Member, tls: Tls | None = None, **settings: object) -> Client:
        """Returns a client that is given these machines."""
        client = Client(
            [machine.url for machine in machines],
            reactor=cast(IReactorTime, reactor),
            tls=tls,
            **settings,  # type: ignore[arg-type]
        )
        self.addCleanup(client.close)
        return client


class OutageTests(ClusterTestCase):
    async def test_leaders_are_killed(self) -> None:
        cluster = Cluster(self, 3)
        await cluster.start()
        ledger = await kill_leaders(self, self.connect(cluster.machines[0]), cluster.machines, 3)
        self.assertGreater(len(ledger.acknowledged), 100)

    async def test_reads_while_machines_are_killed(self) -> None:
        cluster = Cluster(self, 3)
        await cluster.start()
        await read_through_outages(self, self.connect(*cluster.machines), cluster.machines)

    async def test_one_machine_leads_to_all(self) -> None:
        cluster = Cluster(self, 3)
        await cluster.start()
        leader = await cluster.leader()
        follower, other = await cluster.followers()
        client = self.connect(follower)
        await client.set("/key", "1")
        known = client._sender.machines
        await until(lambda: _is_known(known.known(), cluster.machines), "the client knows all machines")
        await self.check_statistics(client, leader, [follower, other])
        await self.check_administration(client, other)
        await follower.kill()
        self.assertEqual((await client.get("/key", quorum=True, timeout_seconds=60)).value, "1")

    async def check_statistics(self, client: Client, leader: Member, followers: list[Member]) -> None:
        """Check what the leader says of its followers, and each machine of itself."""
        self.assertEqual((await client.leader()).client_urls, (leader.url,))
        statistics = await client.statistics.leader()
        self.assertEqual(statistics.leader, leader.name)
        self.assertEqual(set(statistics.followers), {machine.name for machine in followers})
        for machine in (leader, *followers):
            said = await client.statistics.machine(machine.url)
            self.assertEqual((said.name, said.state), (machine.name, "leader" if machine is leader else "follower"))

    async def check_administration(self, client: Client, other: Member) -> None:
        """Check what an administrator does through a follower, and reads of another one."""
        config = await client.admin.configure(sync_interval_seconds=3)
        self.assertEqual(config.sync_interval_seconds, 3)
        name = str(other.name)
        self.assertEqual(await client.admin.machine(name), AdminMachine(name, "follower", other.url, other.peer_url))
        await client.admin.remove_machine(name, forbid=True)
        self.assertEqual(len(await client.admin.machines()), 2)
        (forbidden,) = await client.admin.forbidden_machines()
        self.assertEqual((forbidden.name, forbidden.by), (name, "127.0.0.1"))
        await client.admin.allow_machine(name)
        self.assertEqual(await client.admin.forbidden_machines(), ())
        await until(lambda: _is_back(client), f"{name} joins again")


async def _is_back(client: Client) -> bool | None:
    return True if len(await client.admin.machines()) == 3 else None


async def _is_known(known: tuple[str, ...], machines: list[Member]) -> bool | None:
    return True if set(known) == {machine.url for machine in machines} else None


class CertificateTests(ClusterTestCase):
    """Machines that want a certificate of whoever connects."""

    async def test_a_cluster(self) -> None:
        authority = Authority(Path(self.mktemp()).resolve())
        cluster = Cluster(self, 3)
        for machine in cluster.machines:
            machine.secure(authority)
        await cluster.start()
        certificate, key = authority.certificate("client", ())
        tls = Tls(authority.path, certificate, key)
        follower, _ = await cluster.followers()
        client = self.connect(follower, tls=tls)
        await client.set("/key", "1")  # by a redirect
        config = await client.admin.configure(sync_interval_seconds=3)  # on the peer port
        self.assertEqual(config.sync_interval_seconds, 3)
        await kill_leaders(self, client, cluster.machines, 1)

    async def test_without_a_certificate(self) -> None:
        authority = Authority(Path(self.mktemp()).resolve())
        machine = Member(self, "machine0")
        machine.secure(authority)
        await machine.start()
        stranger = Authority(Path(self.mktemp()).resolve(), "stranger")
        certificate, key = stranger.certificate("client", ())
        for tls, reason in (
            (Tls(authority.path), "certificate required"),
            (Tls(authority.path, certificate, key), "unknown ca"),
            (Tls(stranger.path), "certificate verify failed"),
        ):
            client = self.connect(machine, tls=tls, refresh_seconds=None, timeouts=Timeouts(total_seconds=0.5))
            # On a busy computer the time may be over in the middle of a handshake: then the reason is another one.
            await until(partial(self.check_refusal, client, reason), reason)

    async def check_refusal(self, client: Client, reason: str) -> bool:
        """Check why a request fails."""
        with self.assertRaises(ConnectionFailed) as caught:
            await client.get("/key")
        self.assertIn(reason, str(caught.exception))
        return True
