"""
A program that embeds a machine uses the client library with it, without a socket: L{EtcdService.client}.
"""

from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater
from twisted.logger import LogEvent, LogLevel, globalLogPublisher
from twisted.web.client import readBody

from etcd_twisted.client import (
    Client,
    ClientClosed,
    ConnectionFailed,
    Event,
    KeyNotFound,
    OutcomeUnknown,
    Timeouts,
    Tls,
)
from etcd_twisted.client.recipes import Lock
from etcd_twisted.config.addresses import Address
from etcd_twisted.testing import free_ports
from tests.certificates import Authority
from tests.test_in_process import InProcessTest


class EmbeddedClientTests(InProcessTest):
    """The machine listens on other ports than its URLs say, so no request gets there by a socket."""

    async def test_embedded_client_makes_requests(self) -> None:
        service = await self.start()
        client = service.client()
        self.assertIsInstance(client, Client)
        event = await client.set("/a/b", "1")
        self.assertEqual((await client.get("/a/b", quorum=True)).node, event.node)
        with self.assertRaises(KeyNotFound):
            await client.delete("/c")
        self.assertEqual(await client.machines(), ("http://127.0.0.1:4001",))
        self.assertEqual((await client.admin.config()).active_size, 9)

    async def test_url_may_have_an_ipv6_address(self) -> None:
        """A URL may have the address of an IPv6 host."""
        service = await self.start(addr=Address("::1", 4001))
        client = service.client()
        await client.set("/ü", "1")
        self.assertEqual((await client.get("/ü")).value, "1")
        self.assertEqual(await client.machines(), ("http://[::1]:4001",))

    async def test_embedded_client_watches(self) -> None:
        service = await self.start()
        client = service.client()
        watch = client.watch("/a", recursive=True, after_index=(await client.get("/")).index.etcd_index)
        for number in range(300):
            await client.set("/a/b", str(number))
        for number in range(300):
            item = await watch.next()
            assert isinstance(item, Event)
            self.assertEqual(item.node.value, str(number))

    async def test_embedded_lock_excludes_clients_on_the_network(self) -> None:
        """A lock of this client excludes those of clients on the network."""
        (port,) = free_ports(1)
        service = await self.start(addr=Address("127.0.0.1", port), bind_addr=Address("127.0.0.1", port))
        on_the_network = Client(f"http://127.0.0.1:{port}")
        self.addCleanup(on_the_network.close)
        hold = await Lock(service.client(), "/lock").acquire()
        waiting = Lock(on_the_network, "/lock").acquire()
        await deferLater(reactor, 0.05)
        self.assertNoResult(waiting)
        await hold.release()
        await (await waiting).release()

    async def test_connections_are_not_logged(self) -> None:
        """Twisted would log the beginning and the end of each, here and on the network."""
        (port,) = free_ports(1)
        service = await self.start(addr=Address("127.0.0.1", port), bind_addr=Address("127.0.0.1", port))
        logged: list[LogEvent] = []
        globalLogPublisher.addObserver(logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, logged.append)
        on_the_network = Client(f"http://127.0.0.1:{port}")
        for client in (on_the_network, service.client()):
            await client.set("/a", "1")
            await client.close()
        self.assertEqual([event for event in logged if event["log_level"] >= LogLevel.info], [])

    async def test_embedded_client_takes_options(self) -> None:
        """Credentials and timeouts are those of the client, and certificates are for other machines."""
        service = self.machine()
        with self.assertRaises(ValueError):
            service.client(tls=Tls(ca_file="no such file"))
        authority = Authority(self.mktemp())
        client = service.client(
            credentials=("somebody", "secret"), timeouts=Timeouts(total_seconds=0.05), tls=Tls(authority.path)
        )
        with self.assertRaises(ConnectionFailed):
            await client.get("/a")
        service.startService()
        await service.started
        await client.set("/a", "1")
        await service.stopService()

    async def test_writes_to_a_follower_reach_the_leader(self) -> None:
        """Writes reach the leader over the network, and so do reads while this machine does not answer."""
        ports = free_ports(4)
        addresses = [Address("127.0.0.1", port) for port in ports]
        await self.start(
            addr=addresses[0], bind_addr=addresses[0], peer_addr=addresses[1], peer_bind_addr=addresses[1]
        )
        follower = await self.start(
            addr=addresses[2],
            bind_addr=Address("127.0.0.1", 0),
            peer_addr=addresses[3],
            peer_bind_addr=addresses[3],
            peers=(addresses[1],),
        )
        self.assertFalse(follower.replica.is_leader)
        client = follower.client()
        event = await client.set("/a", "1")
        self.assertEqual((await client.get("/a", consistent=True)).node, event.node)
        self.assertEqual({each.name for each in await client.members()}, {"machine0", "machine1"})
        self.assertEqual((await client.leader()).name, "machine0")


class ClosingTests(InProcessTest):
    """The client ends with its machine at the latest."""

    async def test_it_ends_with_the_machine(self) -> None:
        """Nothing is left of it, whatever it was doing."""
        await deferLater(reactor, 0)  # trial schedules the end of the test's time meanwhile
        before = set(reactor.getDelayedCalls())
        service = await self.start()
        clients = [service.client() for _ in range(3)]
        await gatherResults([client.set("/a", "1") for client in clients])
        watches = [client.watch("/a").next() for client in clients]
        hold = await Lock(clients[0], "/lock").acquire()
        waiting = Lock(clients[1], "/lock").acquire()
        await deferLater(reactor, 0.05)
        await service.stopService()
        for watch in watches:
            self.failureResultOf(watch, ClientClosed)
        self.failureResultOf(waiting, ClientClosed)
        self.assertFalse(hold.is_held)
        self.failureResultOf(clients[0].get("/a"), ClientClosed)
        self.assertEqual(set(reactor.getDelayedCalls()) - before, set())

    async def test_a_write_that_is_cut_off(self) -> None:
        """Its outcome is unknown, as it is on the network."""
        service = await self.start()
        client = service.client()
        await client.set("/a", "1")
        setting = client.set("/a", "2")
        await service.stopService()
        self.failureResultOf(setting, OutcomeUnknown)

    async def test_it_is_closed_earlier(self) -> None:
        """The machine goes on, and forgets the client."""
        service = await self.start()
        for _ in range(2):
            client = service.client()
            await client.set("/a", "1")
            await client.close()
            self.failureResultOf(client.get("/a"), ClientClosed)
        self.assertEqual(service._clients, set())
        response = await service.agent().request(b"GET", b"http://127.0.0.1:4001/v2/keys/a")
        self.assertIn(b'"value":"1"', await readBody(response))

    async def test_it_is_made_too_late(self) -> None:
        service = await self.start()
        await service.stopService()
        self.failureResultOf(service.client().get("/a"), ClientClosed)
        self.assertEqual(service._clients, set())
