"""
The client port at several addresses: everything is served at each of them, and all are closed together.
"""

import socket
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IStreamClientEndpoint

from etcd_twisted.config import Config
from etcd_twisted.config.addresses import Address
from etcd_twisted.errors import StartError
from etcd_twisted.httpd.handler import ParsedRequest
from etcd_twisted.httpd.responses import AnyResponse
from etcd_twisted.keyspace.commands import Set
from etcd_twisted.keyspace.nodes import File
from etcd_twisted.testing.ports import free_ports
from etcd_twisted.web.frontend import HttpFrontend
from etcd_twisted.web.keys import KeyEndpoint
from tests.web.test_secure import SecureTest
from tests.wires import GET, RawClient, ServedTest


class ListenersTests(ServedTest):
    """One port number is free, and another listener is a Unix socket."""

    async def setUp(self) -> None:
        (self.other_port,) = free_ports(1)
        self.path = Path(self.mktemp())
        also = [f"127.0.0.1:{self.other_port}", f"unix:{self.path}"]
        self.settings = {"also_bind_addr": also}
        await super().setUp()

    def endpoints(self) -> list[IStreamClientEndpoint]:
        ports = [TCP4ClientEndpoint(reactor, "127.0.0.1", port) for port in (self.port, self.other_port)]
        return [*ports, UNIXClientEndpoint(reactor, str(self.path))]

    async def test_each_serves_the_same(self) -> None:
        for number, endpoint in enumerate(self.endpoints()):
            self.replica.propose(Set("/k", 0, str(number)))
            client = await connectProtocol(endpoint, RawClient())
            client.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            await client.when_closed()
            self.assertIn(b'"value":"%d"' % number, client.data)

    async def test_all_are_closed_together(self) -> None:
        """An idle connection at any of them is closed, too."""
        clients = [await connectProtocol(endpoint, RawClient()) for endpoint in self.endpoints()]
        await self.service.stopService()
        for client in clients:
            await client.when_closed()
        for endpoint in self.endpoints():
            with self.assertRaises(ConnectError):
                await connectProtocol(endpoint, RawClient())

    async def test_taken_address_is_named(self) -> None:
        """The others are closed by the stop that follows a failed start."""
        config = Config(bind_addr=Address("127.0.0.1", 0), also_bind_addr=f"127.0.0.1:{self.other_port}")
        service = HttpFrontend().service(reactor, config, {}, self.replica)
        with self.assertRaises(StartError) as caught:
            await service.startService()
        expected = f"--also-bind-addr 127.0.0.1:{self.other_port} can't be listened on: another program uses it: "
        self.assertTrue(str(caught.exception).startswith(expected), caught.exception)
        port = service.getHost().port
        await service.stopService()
        with socket.socket() as one:
            self.assertNotEqual(one.connect_ex(("127.0.0.1", port)), 0)


class PlainBesideSecureTests(SecureTest):
    """A port with a certificate also listens at an C{http} URL."""

    async def setUp(self) -> None:
        (self.plain_port,) = free_ports(1)
        self.settings = {"also_bind_addr": [f"http://127.0.0.1:{self.plain_port}"]}
        await super().setUp()

    async def test_plain_client_is_served_there_alone(self) -> None:
        client = await self.connect()
        client.send(GET)
        await client.when_ends_with(b"\n")
        self.tls, self.port = None, self.plain_port
        plain = await self.connect()
        plain.send(GET)
        await plain.when_ends_with(b"\n")
        self.assertEqual(_without_date(plain.data), _without_date(client.data))

    async def test_plain_client_has_no_name(self) -> None:
        """Only a certificate that was checked says who a client is."""
        seen: list[str | None] = []
        handle = KeyEndpoint.handle

        def note(endpoint: KeyEndpoint, request: ParsedRequest) -> AnyResponse:
            seen.append(request.common_name)
            return handle(endpoint, request)

        self.patch(KeyEndpoint, "handle", note)
        for tls, port in ((self.tls, self.port), (None, self.plain_port)):
            self.tls, self.port = tls, port
            client = await self.connect()
            client.send(GET)
            await client.when_ends_with(b"\n")
        self.assertEqual(seen, ["client", None])


class MetricsTests(ServedTest):
    """An address is for metrics and health alone."""

    async def setUp(self) -> None:
        (self.metrics_port,) = free_ports(1)
        self.settings = {"metrics_bind_addr": f"127.0.0.1:{self.metrics_port}"}
        await super().setUp()

    async def status(self, method: str, path: str) -> int:
        """Returns the status of an answer there."""
        client = await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", self.metrics_port), RawClient())
        client.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        await client.when_closed()
        return int(client.data.split()[1])

    async def test_only_two_pages_are_served(self) -> None:
        self.replica.propose(Set("/k", 0, "1"))
        for path in ("/metrics", "/health", "/health?x"):
            self.assertEqual(await self.status("GET", path), 200)
        for path in (
            "/v2/keys/k",
            "/v2/keys",
            "/",
            "/version",
            "//v2/keys/k",
            "/metrics/../v2/keys/k",
            "/mod/dashboard/",
        ):
            self.assertEqual(await self.status("GET", path), 404, path)
        self.assertEqual(await self.status("PUT", "/v2/keys/k?value=2"), 404)
        self.assertEqual(self.replica.get("/k"), File("1", 2, 2))
        idle = await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", self.metrics_port), RawClient())
        await self.service.stopService()
        await idle.when_closed()


def _without_date(answer: bytes) -> list[bytes]:
    return [line for line in answer.split(b"\r\n") if not line.startswith(b"Date: ")]
