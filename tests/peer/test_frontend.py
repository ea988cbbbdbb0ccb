"""
Tests of the peer port as it is served: both protocols on one real socket.
"""

import json
import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from etcd_twisted.config import Config
from etcd_twisted.config.addresses import Address
from etcd_twisted.errors import StartError
from etcd_twisted.frontends import IFrontend
from etcd_twisted.peer.client import PeerClient
from etcd_twisted.peer.commands import Hello
from etcd_twisted.peer.connected_machines import ConnectedMachines
from etcd_twisted.peer.frontend import PeerFrontend
from etcd_twisted.testing.raft_peer import VIEW, PeerReplica
from etcd_twisted.web.admin_site import admin_site
from tests.logs.lines import Log
from tests.peer.machines import MachinesTest
from tests.peer.wires import HELLO, question
from tests.wires import Answer, read_answers

MACHINES = b"GET /v2/admin/machines HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class FrontendTests(TestCase):
    """Tests of the frontend itself."""

    def test_peer_frontend_provides_its_interface(self) -> None:
        verifyObject(IFrontend, PeerFrontend(ConnectedMachines(), admin_site))

    async def test_peer_port_listens_where_configured(self) -> None:
        """The peer port does not listen where clients are served, and the error says so if it can't listen."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            config = Config(peer_bind_addr=Address("127.0.0.1", taken.getsockname()[1]))
            service = PeerFrontend(ConnectedMachines(), admin_site).service(reactor, config, {}, PeerReplica(Clock()))
            self.addCleanup(service.stopService)
            with self.assertRaises(StartError) as caught:
                await service.startService()
        self.assertTrue(str(caught.exception).startswith(f"--peer-bind-addr {config.peer_bind_addr} "))


class ServedTests(MachinesTest):
    """Tests over a real socket."""

    async def ask(self, request: bytes) -> Answer:
        visitor = await self.raw(self.first)
        visitor.send(request)
        await visitor.when_closed()
        (answer,) = read_answers(visitor.data, "GET")
        return answer

    async def test_peer_port_serves_both_protocols_side_by_side(self) -> None:
        answer = await self.ask(MACHINES)
        self.assertEqual([each["name"] for each in json.loads(answer.body)], ["machine0"])
        self.assertEqual(await PeerClient(reactor, None).describe(self.first.url), VIEW)

    async def test_standby_serves_machines_but_no_administrators(self) -> None:
        """A standby has no pages for administrators, but tells machines where the others are."""
        self.first.replica.stand_by()
        self.assertEqual((await self.ask(MACHINES)).status, 404)
        self.assertEqual(await PeerClient(reactor, None).describe(self.first.url), VIEW)

    async def test_administrators_may_use_browsers(self) -> None:
        """
        Browsers may use the machine's own names, but a stranger's page may not use the port (spec, "Other client
        endpoints").
        """
        for lines, status in (
            (b"Host: 127.0.0.1\r\nAccept-Language: de", 200),
            (b"Host: stranger.example\r\nAccept-Language: de", 403),
            (b"Host: any.example\r\nUser-Agent: curl", 200),
        ):
            answer = await self.ask(MACHINES.replace(b"Host: x", lines))
            self.assertEqual((answer.status, answer.headers["X-Content-Type-Options"]), (status, "nosniff"))
        changes = (b"DELETE /v2/admin/machines/machine0", b"PUT /v2/admin/config")
        for change in changes:
            for origin in (b"http://stranger.example", b"null"):
                lines = b"Host: 127.0.0.1\r\nConnection: close\r\nOrigin: " + origin
                answer = await self.ask(b"%s HTTP/1.1\r\n%s\r\n\r\n" % (change, lines))
                self.assertEqual((answer.status, list(json.loads(answer.body))), (403, ["message"]))
        self.assertEqual((self.first.replica.removed, self.first.replica.proposed), ([], []))
        lines = b"Host: localhost\r\nOrigin: http://localhost\r\nConnection: close"
        answer = await self.ask(b"%s HTTP/1.1\r\n%s\r\n\r\n" % (changes[0], lines))
        self.assertEqual(self.first.replica.removed, ["machine0"])

    async def lines_about(self, *pieces: bytes) -> list[str]:
        """Returns what is logged about a stranger that sends something and waits until it is disconnected."""
        log = Log(self)
        visitor = await self.raw(self.first)
        host: Any = visitor.transport.getHost()
        for piece in pieces:
            visitor.send(piece)
        await visitor.when_closed()
        for line in log.warnings:
            self.assertIn(f"the connection from 127.0.0.1:{host.port}: ", line)
        return [line.partition(f":{host.port}: ")[2] for line in log.warnings]

    async def test_garbage_is_logged_and_others_do_not_notice(self) -> None:
        """The stranger is disconnected with a log line, and other connections go on."""
        self.connect()
        await self.when_it_comes(b"before")
        tls = await self.lines_about(b"\x16\x03\x01\x02\x00\x01")
        said = "it speaks TLS, and this machine does not: give all machines --peer-cert-file, or none"
        self.assertEqual(tls, [said])
        first_byte = await self.lines_about(b"\x17\x03\x01\x02\x00\x01")
        self.assertEqual(first_byte, ["it begins with the byte 0x17, which is neither AMP nor HTTP"])
        self.assertEqual(await self.lines_about(b"\x00" * 1_000), ["a box without a command"])
        self.assertEqual(await self.lines_about(b"\x00\x01" + b"\xff" * 70_000), ["a box of more than 16384 bytes"])
        await self.when_it_comes(b"after")
        self.assertEqual(len(self.first.raft.lost), 1)  # reported before the connection was made

    async def test_strangers_are_refused_with_a_line(self) -> None:
        """A machine of another cluster and one with a later protocol are refused."""
        lines = await self.lines_about(question(Hello, **{**HELLO, "cluster_id": "d" * 16}))
        self.assertEqual(lines, [f"this machine is not in the cluster '{'d' * 16}'"])
        lines = await self.lines_about(question(Hello, **{**HELLO, "version": 1_000_000}))
        self.assertEqual(lines, ["version 1 of the protocol is spoken here, not 1000000"])

    async def test_half_a_box_is_logged_if_the_rest_is_late(self) -> None:
        lines = await self.lines_about(question(Hello, **HELLO)[:-10])
        self.assertEqual(lines, ["half a box, and not the rest of it within 1 s"])

    async def test_silent_connection_is_closed_without_a_line(self) -> None:
        self.assertEqual(await self.lines_about(), [])

    async def test_port_that_stops_closes_its_connections(self) -> None:
        visitors = [await self.raw(self.first) for _ in range(3)]
        visitors[1].send(question(Hello, **HELLO))
        visitors[2].send(b"GET /")
        await visitors[1].when(lambda: bool(visitors[1].data))
        await self.first.close_port()
        for visitor in visitors:
            await visitor.when_closed()
