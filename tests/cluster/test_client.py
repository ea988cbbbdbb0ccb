"""L{etcd_twisted.cluster.client}: explains why no machine answers."""

from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred

from etcd_twisted.cluster.client import ClusterClient
from etcd_twisted.interfaces.cluster import Machine
from etcd_twisted.peer.client import UnreachableError
from etcd_twisted.testing.replica import OTHER
from tests.peer.scripted import networked
from tests.wires import ServedTest


class ClientPortTests(ServedTest):
    """Tests of the explanation when a machine answers at the URL, but with its port for clients."""

    async def explained(self, url: str) -> str:
        peers = ClusterClient(reactor, None, networked(), describe_timeout_seconds=0.5)
        error = await self.assertFailure(ensureDeferred(peers.describe(url)), UnreachableError)
        self.assertEqual(str(error), f"{url} can't be asked: no answer in time")  # no more is asked for this
        return await peers.explain(url, error)

    async def test_client_port_names_its_peer_port(self) -> None:
        """The explanation names the peer port of the machine that has the port."""
        url = f"http://127.0.0.1:{self.port}"
        self.replica.register(Machine("machine5", url, "http://127.0.0.1:7005"))
        expected = f"{url} is a port for clients: the peer port of machine5 is http://127.0.0.1:7005"
        self.assertEqual(await self.explained(url), expected)

    async def test_client_port_under_another_name_lists_all_peer_ports(self) -> None:
        """The port may belong to any of the machines, so the explanation names all of them."""
        self.replica.register(OTHER)
        url = f"http://0.0.0.0:{self.port}"  # this computer too, and other than a name, it takes no lookup
        expected, _, peers = (await self.explained(url)).partition("; the peer ports are ")
        self.assertEqual(expected, f"{url} is a port for clients")
        self.assertEqual(set(peers.split(", ")), {machine.peer_url for machine in self.replica.machines()})
