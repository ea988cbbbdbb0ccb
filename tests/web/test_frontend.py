"""
Starting and stopping the client port.
"""

import gc
import json
import socket
import weakref
from typing import cast

from twisted.internet import reactor
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from etcd_twisted.config import Config
from etcd_twisted.frontends import IFrontend
from etcd_twisted.httpd.ordinary.channel import Channel
from etcd_twisted.httpd.site import Site
from etcd_twisted.interfaces import IReactor
from etcd_twisted.keyspace.commands import Set
from etcd_twisted.net.port import GRACE_SECONDS
from etcd_twisted.testing.replica import FakeReplica
from etcd_twisted.web.frontend import HttpFrontend
from tests.wires import GET, STREAM, WATCH, ServedTest, Wire, ask, put, read_answers


class FrontendTests(SynchronousTestCase):
    """These tests are about the frontend itself."""

    def test_frontend_implements_its_interface(self) -> None:
        verifyObject(IFrontend, HttpFrontend())

    def test_pages_tell_when_the_machine_was_started(self) -> None:
        """It was before they were made, as a machine may wait for its cluster first."""
        clock = Clock()
        clock.advance(10)
        frontend, replica = HttpFrontend(), FakeReplica(clock)
        site = cast(Site, frontend.service(cast(IReactor, clock), Config(), {}, replica)._factory)
        self.addCleanup(replica.stop)
        self.addCleanup(site.doStop)
        site.doStart()
        clock.advance(3_600)
        self.assertIs(frontend.pages.made, None)
        statistics = json.loads(ask(site, "/v2/stats/self").body)
        self.assertEqual(statistics["startTime"], "1970-01-01T00:00:10.000000Z")
        self.assertEqual(json.loads(ask(site, "/mod/dashboard/status").body)["uptime"], 3_600)


class StreamTests(ServedTest):
    """A client that reads as fast as it can is never cut off, however far behind it is."""

    async def test_stream_of_many_past_events_is_not_cut_off(self) -> None:
        for number in range(60):
            self.replica.keyspace.apply(Set(f"/d/k{number}", 0, "x" * 50_000))
        client = await self.connect()
        path = b"/v2/keys/d?wait=true&stream=true&recursive=true&waitIndex=1"
        client.send(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        await client.when(lambda: client.data.count(b'"action":"set"') == 60)
        self.assertFalse(client.closed)

    async def test_stream_of_many_events_at_once_is_not_cut_off(self) -> None:
        client = await self.connect()
        client.send(STREAM)
        await client.when_ends_with(b"\r\n\r\n")
        for _ in range(60):
            self.replica.keyspace.apply(Set("/k", 0, "x" * 50_000))
        await client.when(lambda: client.data.count(b'"action":"set"') == 60)
        self.assertFalse(client.closed)

    async def test_nothing_is_kept_of_a_client_that_goes(self) -> None:
        client = await self.connect()
        client.send(STREAM)
        await client.when_ends_with(b"\r\n\r\n")
        gc.disable()
        self.addCleanup(gc.enable)
        (gone,) = [weakref.ref(channel) for channel in self.service._factory.channels]
        client.transport.abortConnection()
        await self.service.stopService()
        await deferLater(reactor, 0)  # the last client that goes is still on the stack before
        self.assertIsNone(gone(), "a cycle keeps it until the next collection")


class StopTests(ServedTest):
    """These tests are about what happens to connected clients."""

    async def test_waiting_watchers_are_ended(self) -> None:
        """They get empty bodies, closed connections and no event, and no watcher is left (spec, "Watch")."""
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

    async def test_port_is_free_at_once(self) -> None:
        await self.service.stopService()
        with socket.create_server(("127.0.0.1", self.port)):
            pass

    async def test_writes_under_way_are_answered(self) -> None:
        """The connection is closed after the answer."""
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
    """These tests show that stopping takes a bounded time."""

    def setUp(self) -> None:
        self.wire = Wire()
        self.addCleanup(self.wire.stop)

    def test_requests_that_take_too_long_are_cut_off(self) -> None:
        """The grace period is the bound."""
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

    def test_stop_without_clients(self) -> None:
        """There is nothing to wait for, and nothing is left in the reactor."""
        self.successResultOf(self.wire.site.stop(GRACE_SECONDS))
        self.assertEqual(self.wire.clock.getDelayedCalls(), [])

    def test_stuck_client_does_not_prevent_the_stop(self) -> None:
        channel, transport = self.wire.connect()
        self.patch(transport, "loseConnection", lambda: None)
        self.assertIsInstance(channel, Channel)
        stopped = self.wire.site.stop(GRACE_SECONDS)
        self.wire.pass_time(int(GRACE_SECONDS) + 1)
        self.successResultOf(stopped)
        self.assertEqual(transport.how_lost, "aborted")
