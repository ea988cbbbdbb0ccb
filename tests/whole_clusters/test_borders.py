"""
Tests of whom a cluster of real processes keeps out: strangers, machines that it can't accept, and those without a
certificate.
"""

import json
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.protocols import amp

from etcd_twisted.consensus.raft.messages import Append, encode_messages
from etcd_twisted.interfaces.cluster import PROTOCOL_VERSION
from etcd_twisted.peer.commands import Deliver, Hello, IdleError
from etcd_twisted.testing.ports import free_ports
from tests.certificates import SERVERS, Authority
from tests.processes.child import ChildProcess
from tests.processes.client import GONE, Client
from tests.processes.cluster import Cluster, Credentials, Member, together
from tests.processes.clustered import ClusterTest


class StrangerTests(ClusterTest):
    """Tests of machines that others do not know, or not yet, on a peer port without C{--peer-ca-file}."""

    async def test_impostor_is_not_admitted(self) -> None:
        """The impostor knows the ids of cluster and machine, and claims to have a much newer configuration."""
        cluster = Cluster(self, 3)
        await cluster.start()
        leader = await cluster.leader()
        before = (await leader.user.put("/before", value="x")).term
        for machine in cluster.machines:
            identity = json.loads((machine.data / "identity.json").read_text())
            hello = {
                "version": PROTOCOL_VERSION,
                "cluster_id": identity["cluster_id"],
                "sender": "f" * 16,
                "name": "impostor",
                "configuration_index": 1 << 40,
                "receiver": identity["machine_id"],
            }
            endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", machine.peer_port)
            for _ in range(5):
                impostor = await connectProtocol(endpoint, amp.AMP())
                for _ in range(5):
                    await self.assertFailure(impostor.callRemote(Hello, **hello), IdleError)
                votes = encode_messages([Append(before + 1, 0, 0, 0, 0)])
                impostor.callRemote(Deliver, payload=votes)
                await self.assertFailure(impostor.callRemote(Hello, **hello), ConnectionDone, ConnectionLost)
        after = await leader.user.put("/after", value="x")
        self.assertEqual((after.status, after.term), (201, before))
        self.assertIs(await cluster.leader(), leader)
        for machine in cluster.machines:
            await machine.child.when_printed("no other confirms it")
            self.assertNotIn("Traceback", machine.child.output)

    async def test_machine_that_was_away_accepts_confirmed_members(self) -> None:
        """
        A machine comes back and knows none of the new members, which can't go on without it. The machines that it
        knows confirm them.
        """
        away, _, new = await self._exchange()
        away.others = []
        await self._come_back(away, new)
        await (await self.cluster.leader()).kill()
        self.assertIn(await self.cluster.leader(), (away, *new))
        await self.cluster.put("/voted", "x")

    async def test_machine_that_knows_nobody_left_asks_its_seeds(self) -> None:
        """The machines that it knows are gone for good, and it has moved: it asks the seeds that it is given."""
        away, gone, new = await self._exchange()
        await self.cluster.kill(*gone)
        away.others = [new[1]]
        away.move()
        await self._come_back(away, new)

    async def _exchange(self) -> tuple[Member, list[Member], list[Member]]:
        """
        Replaces the leader and another machine while one is away.

        @return: the one that is away, those that were removed, and those that were added.
        """
        self.cluster = cluster = Cluster(self, 3)
        await cluster.start()
        away, other = await cluster.followers()
        leader = await cluster.leader()
        await self.configure(leader, syncInterval=3600)
        await away.kill()
        new = [cluster.add(), cluster.add()]
        for machine in new:
            machine.others = [leader]
            await machine.start()
        for gone in (other, leader):
            asked = await cluster.leader()
            answer = await asked.administer("DELETE", f"machines/{gone.name}")
            self.assertEqual(answer.status, 200, answer)
            await self.assert_standby(gone, cluster)
        await cluster.put("/exchanged", "x")
        return away, [other, leader], new

    async def _come_back(self, away: Member, new: list[Member]) -> None:
        await away.start()
        await self.cluster.agree([away, *new])
        self.assertEqual((await self.cluster.converge(away, *new))["/exchanged"][0], "x")


class RefusalTests(ClusterTest):
    """A machine that a cluster can't accept says so in one line, and ends."""

    async def test_machines_are_refused_with_the_reason(self) -> None:
        """Each machine is refused for its own reason; the cluster goes on, and accepts the one that is corrected."""
        cluster = Cluster(self, 1)
        (first,) = cluster.machines
        await first.start()
        same_name, same_peer, same_client, lonely, lost = (cluster.add() for _ in range(5))
        for machine in (same_name, same_peer, same_client):
            machine.others = [first]
        nowhere, token = free_ports(2)
        lonely.others, lost.others = [], []
        own = f"127.0.0.1:{same_peer.peer_port}"
        same_peer.peer_port = first.peer_port
        clients = f"127.0.0.1:{same_client.port}"
        same_client.port = first.port
        await together(
            [
                self.assert_refused(
                    same_name.launch("--name", "machine0"), "--name machine0: ", "choose another name"
                ),
                self.assert_refused(
                    same_peer.launch("--peer-bind-addr", own), f"--peer-addr 127.0.0.1:{first.peer_port}: ", first.name
                ),
                self.assert_refused(
                    same_client.launch("--bind-addr", clients), f"--addr 127.0.0.1:{first.port}: ", first.name
                ),
                self.assert_refused(
                    lonely.launch("--peers", f"127.0.0.1:{nowhere}"), "--peers", f"127.0.0.1:{nowhere}"
                ),
                self.assert_refused(
                    lost.launch("--discovery", f"http://127.0.0.1:{token}/v2/keys/token"),
                    f"--discovery http://127.0.0.1:{token}/v2/keys/token can't be used: ",
                ),
            ]
        )
        self.assertEqual(await first.machines(), [first.url])
        same_peer.move()
        await same_peer.start()
        await cluster.agree([first, same_peer])
        self.assertEqual((await same_peer.user.put("/key", value="x")).status, 201)


class TlsTests(ClusterTest):
    """Both ports use TLS and accept only certificates of one authority."""

    async def setUp(self) -> None:
        """Creates two authorities, and a cluster of the first."""
        self.directory = Path(self.mktemp()).resolve()
        self.authority = Authority(self.directory / "good")
        self.other = Authority(self.directory / "other")
        self.cluster = Cluster(self, 3)
        for machine in self.cluster.machines:
            machine.secure(self.authority)
        await self.cluster.start()

    async def test_only_certificates_of_the_authority_are_accepted(self) -> None:
        """The steps depend on each other, so they run in order."""
        for step in (self._good, self._bad_clients, self._bad_server, self._bad_machines):
            await step()

    async def _good(self) -> None:
        """
        Clients and administrators with a certificate are served, and are redirected from machine to machine with TLS.
        """
        leader = await self.cluster.leader()
        for machine in self.cluster.machines:
            self.assertEqual((await machine.user.put(f"/{machine.name}", value="x")).status, 201)
            self.assertEqual((await machine.administer("GET", "machines")).status, 200)
            await self.configure(machine, activeSize=9)
        self.assertTrue(leader.url.startswith("https://") and leader.peer_url.startswith("https://"))
        self.assertEqual(len(await self.cluster.converge()), len(self.cluster.machines))

    async def _refused(self, url: str, credentials: Credentials | None) -> None:
        client = Client(url, tls=credentials)
        self.addCleanup(client.close)
        path = "/v2/keys/bad?value=x"
        await self.assertFailure(ensureDeferred(client.request("PUT", path)), *GONE)

    async def _bad_clients(self) -> None:
        """
        A client without a certificate, with one of another authority, with an expired one, or without TLS is refused.
        """
        leader = await self.cluster.leader()
        old = self.authority.certificate("old", expired=True)
        stranger = self.other.certificate("stranger")
        for url in (leader.url, leader.peer_url):
            for certificate in (None, stranger, old):
                await self._refused(url, Credentials(self.authority, certificate))
            await self._refused(url.replace("https", "http"), None)
        self.assertEqual((await leader.client.get("/bad")).status, 404)

    async def _bad_server(self) -> None:
        """A client that trusts another authority refuses all of the machines."""
        for url in (self.cluster.machines[0].url, self.cluster.machines[0].peer_url):
            await self._refused(url, Credentials(self.other, self.authority.certificate("client")))

    def _with_peer_files(self, machine: Member, certificate: Path, key: Path) -> ChildProcess:
        return machine.launch("--peer-cert-file", certificate, "--peer-key-file", key)

    async def _bad_machines(self) -> None:
        """
        A machine with a certificate of another authority, or without TLS between machines, can't join the cluster; one
        whose certificate can't be used does not start.
        """
        stranger, plain, lost = (self.cluster.add() for _ in range(3))
        stranger.secure(self.other)
        plain.secure(self.authority, peers=False)
        lost.secure(self.authority)
        nothing = self.directory / "nothing.pem"
        useless = (
            (self.authority.certificate("late", expired=True), "late.pem expired at "),
            (self.authority.certificate("half", usages=SERVERS), "half.pem can't be used as a client's: "),
        )
        await together(
            [
                self.assert_refused(stranger.launch(), "--peers"),
                self.assert_refused(plain.launch(), "--peers"),
                self.assert_refused(lost.launch("--peer-key-file", nothing), f"--peer-key-file {nothing}"),
                *(self.assert_refused(self._with_peer_files(lost, *files), told) for files, told in useless),
            ]
        )
        self.assertFalse(lost.data.exists())
        await self.cluster.agree(self.cluster.running)
