"""
Starting and stopping the client port.
"""

import gc
import socket
import weakref

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from etcd_twisted.frontends import IFrontend
from etcd_twisted.httpd.channel import Channel
from etcd_twisted.keyspace.commands import Set
from etcd_twisted.net.port import GRACE_SECONDS
from etcd_twisted.web.frontend import HttpFrontend
from tests.wires import GET, STREAM, WATCH, ServedTest, Wire, put, read_answers


class FrontendTests(SynchronousTestCase):
    """The frontend itself."""

    def test_interface(self) -> None:
        """It is one."""
        verifyObject(IFrontend, HttpFrontend())


class StreamTests(ServedTest):
    """A client that reads as fast as it can is never cut off, however much it has missed."""

    async def test_much_of_the_past(self) -> None:
        for number in range(60):
            self.replica.keyspace.apply(Set(f"/d/k{number}", 0, "x" * 50_000))
        client = await self.connect()
        path = b"/v2/keys/d?wait=true&stream=true&recursive=true&waitIndex=1"
        client.send(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        await client.when(lambda: client.data.count(b'"action":"set"') == 60)
        self.assertFalse(client.closed)

    async def test_much_at_once(self) -> None:
        client = await self.connect()
        client.send(STREAM)
        await client.when_ends_with(b"\r\n\r\n")
        for _ in range(60):
            self.replica.keyspace.apply(Set("/k", 0, "x" * 50_000))
        await client.when(lambda: client.data.count(b'"action":"set"') == 60)
        self.assertFalse(client.closed)

    async def test_nothing_is_kept_of_one_who_goes(self) -> None:
        client = await self.connect()
        client.send(STREAM)
        await client.when_ends_with(b"\r\n\r\n")
        gc.disable()
        self.addCleanup(gc.enable)
        (gone,) = [weakref.ref(channel) for channel in self.service._factory.channels]
        client.transport.abortConnection()
        await self.service.stopService()
        await deferLater(reactor, 0)  # the last to be told that it is gone is still on the stack before
        self.assertIsNone(gone(), "a cycle keeps it until the next collection")


class StopTests(ServedTest):
    """What becomes of those who are connected."""

    async def test_waiting(self) -> None:
        """Empty bodies, closed connections, no event; nobody is left (spec, "Watch")."""
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
        self.replica.release()
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
        stopped = self.wire.site.stop(GRACE_SECONDS)
        self.wire.clock.advance(GRACE_SECONDS - 0.1)
        self.assertNoResult(stopped)
        self.wire.clock.advance(0.2)
        self.successResultOf(stopped)
        self.assertEqual(transport.how_lost, "aborted")
        self.assertEqual(self.wire.clock.getDelayedCalls(), [])

    def test_nobody_there(self) -> None:
        """Nothing to wait for, and nothing left in the reactor."""
        self.successResultOf(self.wire.site.stop(GRACE_SECONDS))
        self.assertEqual(self.wire.clock.getDelayedCalls(), [])

    def test_stuck_client(self) -> None:
        """Somebody who takes nothing can't keep the service from stopping."""
        channel, transport = self.wire.connect()
        self.patch(transport, "loseConnection", lambda: None)
        self.assertIsInstance(channel, Channel)
        stopped = self.wire.site.stop(GRACE_SECONDS)
        self.wire.pass_time(int(GRACE_SECONDS) + 1)
        self.successResultOf(stopped)
        self.assertEqual(transport.how_lost, "aborted")
