"""
Starting and stopping the client port.
"""

import socket

from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from etcd_twisted.addresses import Address
from etcd_twisted.config import Config
from etcd_twisted.errors import ConfigError, StartError
from etcd_twisted.http.service import GRACE
from etcd_twisted.http.site import Channel
from etcd_twisted.interfaces import IFrontend
from etcd_twisted.web.frontend import HttpFrontend
from tests.fakes import FakeReplica
from tests.http.test_site import GET, STREAM, WATCH, put
from tests.web.wires import ServedTest, Wire, read_answers


class FrontendTests(SynchronousTestCase):
    """The frontend itself."""

    def test_interface(self) -> None:
        """It is one."""
        verifyObject(IFrontend, HttpFrontend())

    def test_options(self) -> None:
        """It has none, and says so."""
        clock = Clock()
        error = self.assertRaises(
            ConfigError, HttpFrontend().service, clock, Config(), {"speed": "11"}, FakeReplica(clock)
        )
        self.assertIn("'speed'", str(error))


class StartTests(TestCase):
    """What can be in the way."""

    async def start(self, address: Address) -> None:
        replica = FakeReplica(reactor)
        service = HttpFrontend().service(reactor, Config(bind_addr=address), {}, replica)
        self.addCleanup(service.stopService)
        await service.startService()

    async def refused(self, address: Address) -> str:
        with self.assertRaises(StartError) as caught:
            await self.start(address)
        return str(caught.exception)

    async def test_port_taken(self) -> None:
        """One line: the option, the address, the remedy."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            text = await self.refused(Address("127.0.0.1", port))
        self.assertIn(f"--bind-addr 127.0.0.1:{port}", text)
        self.assertIn("choose another port", text)
        self.assertNotIn("\n", text)

    async def test_not_this_machines(self) -> None:
        """Likewise."""
        text = await self.refused(Address("192.0.2.1", 4001))
        self.assertIn("--bind-addr 192.0.2.1:4001", text)
        self.assertIn("no address of this machine", text)

    async def test_ipv6(self) -> None:
        """Addresses of six."""
        if not socket.has_ipv6:
            self.skipTest("this machine has no IPv6")
        replica = FakeReplica(reactor)
        service = HttpFrontend().service(reactor, Config(bind_addr=Address("::1", 0)), {}, replica)
        self.addCleanup(service.stopService)
        await service.startService()
        self.assertEqual(service.getHost().host, "::1")
        with socket.create_connection(("::1", service.getHost().port)):
            pass


class StopTests(ServedTest):
    """What becomes of those who are connected."""

    async def test_waiting(self) -> None:
        """Empty bodies, closed connections, no event; nobody is left."""
        clients = [await self.connect() for _ in range(4)]
        idle, half, watcher, stream = clients
        idle.send(GET)
        half.send(GET[:20])
        watcher.send(WATCH)
        stream.send(STREAM)
        for client in (watcher, stream):
            await client.when_ends_with(b"\r\n\r\n")
        await idle.when_ends_with(b"\n")
        await self.service.stopService()
        for client in clients:
            await client.when_closed()
        self.assertEqual(half.data, b"")
        for client in (watcher, stream):
            (answer,) = read_answers(client.data, "GET")
            self.assertEqual((answer.status, answer.body), (200, b""))
        self.assertEqual(self.replica.keyspace.hub.count, 0)

    async def test_listens_no_longer(self) -> None:
        """The port is free at once."""
        await self.service.stopService()
        with socket.create_server(("127.0.0.1", self.port)):
            pass

    async def test_under_way(self) -> None:
        """A write that was taken is answered, and then the connection is closed."""
        self.replica.holding = True
        client = await self.connect()
        client.send(put("v") + GET)
        await self.replica.when_proposed(1)
        stopped = self.service.stopService()
        self.replica.go_on()
        await stopped
        await client.when_closed()
        (answer,) = read_answers(client.data, "PUT")
        self.assertEqual(answer.status, 201)


class LateTests(SynchronousTestCase):
    """Stopping is bounded."""

    def setUp(self) -> None:
        self.wire = Wire()
        self.addCleanup(self.wire.stop)

    def test_too_late(self) -> None:
        """What takes longer than the grace is cut off."""
        channel, transport = self.wire.connect()
        self.wire.replica.holding = True
        channel.dataReceived(put("v"))
        stopped = self.wire.site.stop(GRACE)
        self.wire.clock.advance(GRACE - 0.1)
        self.assertNoResult(stopped)
        self.wire.clock.advance(0.2)
        self.successResultOf(stopped)
        self.assertEqual(transport.how_lost, "aborted")
        self.assertEqual(self.wire.clock.getDelayedCalls(), [])

    def test_nobody_there(self) -> None:
        """Nothing to wait for, and nothing left in the reactor."""
        self.successResultOf(self.wire.site.stop(GRACE))
        self.assertEqual(self.wire.clock.getDelayedCalls(), [])

    def test_stuck_client(self) -> None:
        """Somebody who takes nothing can't keep the service from stopping."""
        channel, transport = self.wire.connect()
        self.patch(transport, "loseConnection", lambda: None)
        self.assertIsInstance(channel, Channel)
        stopped = self.wire.site.stop(GRACE)
        self.wire.pass_time(int(GRACE) + 1)
        self.successResultOf(stopped)
        self.assertEqual(transport.how_lost, "aborted")
