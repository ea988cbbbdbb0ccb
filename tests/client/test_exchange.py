"""One request to one machine: which failures leave it open whether the machine has carried it out."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import cast

from OpenSSL import SSL
from treq.client import HTTPClient
from twisted.internet import error as internet_error
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost, DNSLookupError
from twisted.internet.interfaces import (
    IHostnameResolver,
    IHostResolution,
    IListeningPort,
    IReactorPluggableNameResolver,
    IReactorTime,
    IResolutionReceiver,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import Certificate, CertificateOptions, PrivateCertificate
from twisted.internet.task import deferLater
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import (
    RequestGenerationFailed,
    RequestNotSent,
    RequestTransmissionFailed,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.error import SchemeNotSupported
from twisted.web.iweb import IResponse
from zope.interface import implementer

from etcd_twisted.client.body import BytesBody
from etcd_twisted.client.connecting import KEEP_ALIVE_SECONDS, Connections, Tls
from etcd_twisted.client.exchange import Answer, Exchanges, NoAnswer, NotSent, Request, discard, whole
from tests.certificates import CLIENTS, Authority
from tests.client.stubs import A, Outcome, Reply, StubAgent

READ = Request("GET", "/v2/keys/key")
WRITE = Request("PUT", "/v2/keys/key", {"value": "1"}, changes=True)


def in_one(kind: type[Exception], reason: Exception) -> Exception:
    """Returns a failure of the agent with a reason in it."""
    return kind([Failure(reason)])


class ClassificationTests(SynchronousTestCase):
    """Each kind of failure of Twisted's agent."""

    def outcome(self, outcome: Outcome, request: Request = WRITE) -> Failure:
        exchanges = Exchanges(HTTPClient(StubAgent(a=outcome), data_to_body_producer=BytesBody), None)
        return self.failureResultOf(Deferred.fromCoroutine(exchanges.exchange(A, request, whole)))

    def test_nothing_was_sent(self) -> None:
        address = IPv4Address("TCP", "10.0.0.1", 4001)
        for problem in (
            internet_error.ConnectionRefusedError(),
            internet_error.TimeoutError(),
            internet_error.TCPTimedOutError(),
            internet_error.NoRouteError(),
            internet_error.ConnectBindError(),
            internet_error.UnknownHostError(),
            internet_error.ConnectingCancelledError(address),
            DNSLookupError("no such host"),
            SchemeNotSupported("unix"),
            RequestNotSent(),
        ):
            self.outcome(problem).trap(NotSent)

    def test_the_handshake_failed(self) -> None:
        for reason in (
            "certificate verify failed",
            "tlsv13 alert certificate required",
            "tlsv1 alert unknown ca",
            "sslv3 alert bad certificate",
            "sslv3 alert handshake failure",
            "wrong version number",
            "packet length too long",
            "tlsv1 alert protocol version",
            "unsupported protocol",
        ):
            failed = self.outcome(in_one(ResponseNeverReceived, SSL.Error([("SSL routines", "", reason)])))
            failed.trap(NotSent)
            self.assertIn(reason, failed.getErrorMessage())

    def test_nobody_knows(self) -> None:
        for problem in (
            in_one(ResponseFailed, ConnectionLost()),
            in_one(ResponseNeverReceived, ConnectionDone()),
            in_one(RequestTransmissionFailed, ConnectionLost()),
            in_one(RequestGenerationFailed, ConnectionLost()),
            in_one(ResponseNeverReceived, SSL.Error([("SSL routines", "", "decryption failed or bad record mac")])),
            in_one(ResponseNeverReceived, SSL.Error([("SSL routines", "", "unexpected eof while reading")])),
            in_one(ResponseNeverReceived, SSL.Error(-1, "Unexpected EOF")),
            in_one(ResponseNeverReceived, SSL.Error()),
            in_one(ResponseFailed, CancelledError()),
            CancelledError(),
            ConnectionLost(),
            ConnectionDone(),
            Reply(end=in_one(ResponseFailed, ConnectionLost())),
        ):
            self.outcome(problem).trap(NoAnswer)

    def test_the_reasons_are_named_in_one_line(self) -> None:
        problem = ResponseFailed(
            [Failure(in_one(ResponseFailed, ConnectionLost("cable\ncut"))), Failure(ConnectionDone())]
        )
        text = self.outcome(problem).getErrorMessage()
        self.assertIn("cable cut", text)
        self.assertIn("closed cleanly", text)
        self.assertNotIn("\n", text)

    def test_a_fault_of_the_reader_is_no_failure_of_the_connection(self) -> None:
        async def read(_: str, __: IResponse) -> None:
            raise ZeroDivisionError

        exchanges = Exchanges(HTTPClient(StubAgent(a=Reply()), data_to_body_producer=BytesBody), None)
        self.failureResultOf(Deferred.fromCoroutine(exchanges.exchange(A, READ, read)), ZeroDivisionError)

    def test_a_body_that_nobody_wants(self) -> None:
        async def read(_: str, response: IResponse) -> None:
            discard(response)

        for reply, closed in ((Reply(end=None), True), (Reply(), False)):
            agent = StubAgent(a=reply)
            exchanges = Exchanges(HTTPClient(agent, data_to_body_producer=BytesBody), None)
            self.successResultOf(Deferred.fromCoroutine(exchanges.exchange(A, READ, read)))
            response = agent.sent[0].response
            assert response is not None
            self.assertEqual((response.delivered, response.closed), (True, closed))


class RequestTests(SynchronousTestCase):
    def sent(self, request: Request, credentials: tuple[str, str] | None = None) -> StubAgent:
        agent = StubAgent(a=Reply())
        exchanges = Exchanges(HTTPClient(agent, data_to_body_producer=BytesBody), credentials)
        self.successResultOf(Deferred.fromCoroutine(exchanges.exchange(A, request, whole)))
        return agent

    def test_a_form(self) -> None:
        (sent,) = self.sent(Request("PUT", "/v2/keys/a%2Fb?x=%20", {"value": "ü &=+%", "dir": "true"})).sent
        self.assertEqual((sent.method, sent.target), ("PUT", "/v2/keys/a%2Fb?x=%20"))
        self.assertEqual(sent.body, b"value=%C3%BC+%26%3D%2B%25&dir=true")
        self.assertEqual(sent.header("Content-Type"), "application/x-www-form-urlencoded")

    def test_json(self) -> None:
        (sent,) = self.sent(Request("POST", "/v2/members", json=b"{}")).sent
        self.assertEqual((sent.body, sent.header("Content-Type")), (b"{}", "application/json"))

    def test_no_body(self) -> None:
        (sent,) = self.sent(READ).sent
        self.assertEqual((sent.body, sent.header("Content-Type"), sent.header("Authorization")), (b"", None, None))

    def test_credentials(self) -> None:
        (sent,) = self.sent(READ, ("root", "a:b")).sent
        self.assertEqual(sent.header("Authorization"), "Basic cm9vdDphOmI=")
        with self.assertRaises(ValueError) as caught:
            Exchanges(HTTPClient(StubAgent(), data_to_body_producer=BytesBody), ("a:b", "secret"))
        self.assertIn("credentials", str(caught.exception))
        self.assertNotIn("secret", str(caught.exception))


@implementer(IHostnameResolver)
class Names:
    """A resolver that knows what a test tells it, or takes for ever."""

    def __init__(self, addresses: list[str] | None) -> None:
        self._addresses = addresses

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,  # noqa: ARG002
        portNumber: int = 0,
        *_: object,
        **__: object,
    ) -> IHostResolution:
        resolution = cast(IHostResolution, object())
        resolutionReceiver.resolutionBegan(resolution)
        if self._addresses is not None:
            for address in self._addresses:
                resolutionReceiver.addressResolved(IPv4Address("TCP", address, portNumber))
            resolutionReceiver.resolutionComplete()
        return resolution


@implementer(IReactorPluggableNameResolver)
class StillReactor(MemoryReactorClock):
    """No connection is ever made."""

    def __init__(self, addresses: list[str] | None) -> None:
        super().__init__()
        self.nameResolver = Names(addresses)


class ConnectTests(SynchronousTestCase):
    def begin(self, reactor: StillReactor, request: Request = WRITE) -> "Deferred[Answer]":
        exchanges = Exchanges(HTTPClient(Connections(reactor, None, 1.0).agent, data_to_body_producer=BytesBody), None)
        return Deferred.fromCoroutine(exchanges.exchange("http://machine:4001", request, whole))

    def test_no_such_host(self) -> None:
        self.failureResultOf(self.begin(StillReactor([])), NotSent)

    def test_no_connection_in_time(self) -> None:
        for addresses in (["10.0.0.1"], ["10.0.0.1", "10.0.0.2", "10.0.0.3"], None):
            still = StillReactor(addresses)
            sending = self.begin(still)
            still.pump([0.1] * 9)
            self.assertNoResult(sending)
            still.advance(0.2)
            self.assertIn("within 1 seconds", self.failureResultOf(sending, NotSent).getErrorMessage())
            self.assertEqual(still.getDelayedCalls(), [])

    def test_cancelled_before_there_is_a_connection(self) -> None:
        for addresses in (["10.0.0.1"], None):
            still = StillReactor(addresses)
            sending = self.begin(still)
            sending.cancel()
            self.failureResultOf(sending, NotSent)
            self.assertEqual(still.getDelayedCalls(), [])


class Server(Protocol):
    """
    A server that answers as a test says.

    @ivar received: what it got.
    @ivar lost: fires when the connection is lost.
    """

    def __init__(self, reply: "Callable[[Server], None]") -> None:
        self.received = b""
        self.lost: Deferred[None] = Deferred()
        self._reply = reply

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if b"\r\n\r\n" in self.received:
            self._reply(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        self.lost.callback(None)

    def write(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)

    def end(self) -> None:
        assert self.transport is not None
        self.transport.loseConnection()


class LoopbackTestCase(TestCase):
    def setUp(self) -> None:
        self.servers: list[Server] = []
        self.authority = Authority(Path(self.mktemp()))

    def listen(self, reply: Callable[[Server], None], tls: object = None) -> int:
        """Returns the port of a server."""

        def build(_: object = None) -> Server:
            self.servers.append(Server(reply))
            return self.servers[-1]

        factory = Factory.forProtocol(build)  # type: ignore[arg-type]  # it takes any callable
        factory.noisy = False
        if tls is None:
            port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        else:
            port = reactor.listenSSL(0, factory, tls, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        number: int = cast(IListeningPort, port).getHost().port
        return number

    def connect(self, tls: Tls | None = None) -> Connections:
        connections = Connections(cast(IReactorTime, reactor), tls, 5.0)
        self.addCleanup(connections.close)
        return connections

    def exchange(self, url: str, connections: Connections, request: Request = WRITE) -> "Deferred[Answer]":
        exchanges = Exchanges(HTTPClient(connections.agent, data_to_body_producer=BytesBody), None)
        return Deferred.fromCoroutine(exchanges.exchange(url, request, whole))


def answer(server: Server) -> None:
    """Answer with a short body."""
    server.received = b""
    server.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


class LoopbackTests(LoopbackTestCase):
    async def test_refused(self) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            with self.assertRaises(NotSent):
                await self.exchange(f"http://127.0.0.1:{closed.getsockname()[1]}", self.connect())

    async def test_broken(self) -> None:
        def half(server: Server) -> None:
            server.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
            server.end()

        def garbage(server: Server) -> None:
            server.write(b"SSH-2.0-x\r\n\r\n")
            server.end()

        for reply in (Server.end, half, garbage):
            port = self.listen(reply)
            with self.assertRaises(NoAnswer):
                await self.exchange(f"http://127.0.0.1:{port}", self.connect())

    async def test_a_body_without_a_length(self) -> None:
        def until_the_end(server: Server) -> None:
            server.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nwhole")
            server.end()

        port = self.listen(until_the_end)
        self.assertEqual((await self.exchange(f"http://127.0.0.1:{port}", self.connect())).body, b"whole")

    async def test_a_connection_is_used_again(self) -> None:
        port, connections = self.listen(answer), self.connect()
        for _ in range(3):
            await self.exchange(f"http://127.0.0.1:{port}", connections)
        self.assertEqual(len(self.servers), 1)

    async def test_a_connection_that_was_closed_is_not_used_again(self) -> None:
        port, connections = self.listen(answer), self.connect()
        await self.exchange(f"http://127.0.0.1:{port}", connections)
        self.servers[0].end()
        (transport,) = connections._endpoints.transports
        while transport.connected:
            await deferLater(reactor, 0)
        await self.exchange(f"http://127.0.0.1:{port}", connections)
        self.assertEqual(len(self.servers), 2)

    async def test_nothing_is_sent_twice_over_a_connection_that_breaks(self) -> None:
        def first_only(server: Server) -> None:
            if server.received.startswith(b"GET"):
                answer(server)
            else:
                server.end()

        for method in ("PUT", "POST", "DELETE"):
            self.servers.clear()
            port, connections = self.listen(first_only), self.connect()
            await self.exchange(f"http://127.0.0.1:{port}", connections, READ)
            with self.assertRaises(NoAnswer):
                await self.exchange(f"http://127.0.0.1:{port}", connections, Request(method, "/", changes=True))
            self.assertEqual(len(self.servers), 1)

    async def test_cancelling_closes_the_connection(self) -> None:
        def nothing(_: Server) -> None:
            arrived.callback(None)

        def half(server: Server) -> None:
            server.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
            reactor.callLater(0, arrived.callback, None)

        for reply in (nothing, half):
            self.servers.clear()
            arrived: Deferred[None] = Deferred()
            port = self.listen(reply)
            sending = self.exchange(f"http://127.0.0.1:{port}", self.connect())
            await arrived
            sending.cancel()
            self.failureResultOf(sending, NoAnswer)
            await self.servers[0].lost

    async def test_the_system_looks_after_connections(self) -> None:
        port, connections = self.listen(answer), self.connect()
        await self.exchange(f"http://127.0.0.1:{port}", connections)
        (transport,) = connections._endpoints.transports
        handle = cast(socket.socket, transport.getHandle())
        self.assertTrue(handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
        if hasattr(socket, "TCP_KEEPIDLE"):
            self.assertEqual(handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE), KEEP_ALIVE_SECONDS)

    async def test_closing_leaves_nothing(self) -> None:
        certificate, key = self.authority.certificate("server")
        options = PrivateCertificate.loadPEM(certificate.read_bytes() + key.read_bytes()).options()
        for tls, scheme in ((None, "http"), (options, "https")):
            self.servers.clear()
            arrived: Deferred[None] = Deferred()
            port = self.listen(lambda _, arrived=arrived: arrived.callback(None), tls)
            connections = self.connect(Tls(ca_file=self.authority.path))
            sending = self.exchange(f"{scheme}://127.0.0.1:{port}", connections)
            await arrived
            await connections.close()
            self.failureResultOf(sending, NoAnswer)
            self.assertEqual([each for each in connections._endpoints.transports if each.connected], [])
            await self.servers[0].lost


class TlsTests(LoopbackTestCase):
    """Certificates that one side does not accept: the text says so, and nothing was carried out."""

    def server(self, ask_for_certificate: bool = False, expired: bool = False, host: str = "127.0.0.1") -> str:
        """Returns the URL of a server."""
        certificate, key = self.authority.certificate("server", (host,), expired)
        own = PrivateCertificate.loadPEM(certificate.read_bytes() + key.read_bytes())
        root = Certificate.loadPEM(self.authority.path.read_bytes()).original
        options = CertificateOptions(
            privateKey=own.privateKey.original,
            certificate=own.original,
            verify=ask_for_certificate,
            caCerts=[root] if ask_for_certificate else None,
        )
        return f"https://127.0.0.1:{self.listen(answer, options)}"

    def client_certificate(self, authority: Authority) -> Tls:
        certificate, key = authority.certificate("client", (), usages=CLIENTS)
        return Tls(self.authority.path, certificate, key)

    async def refused(self, url: str, tls: Tls | None) -> str:
        """Returns why a request can't be sent."""
        with self.assertRaises(NotSent) as caught:
            await self.exchange(url, self.connect(tls))
        self.assertEqual([each.received for each in self.servers], [b""] * len(self.servers))
        return str(caught.exception)

    async def test_accepted(self) -> None:
        url = self.server()
        self.assertEqual((await self.exchange(url, self.connect(Tls(self.authority.path)))).body, b"ok")

    async def test_with_a_certificate_of_the_client(self) -> None:
        url = self.server(ask_for_certificate=True)
        connections = self.connect(self.client_certificate(self.authority))
        self.assertEqual((await self.exchange(url, connections)).body, b"ok")

    async def test_with_a_certificate_of_an_authority_below(self) -> None:
        below = Authority(self.authority.directory, "below", issuer=self.authority)
        url = self.server(ask_for_certificate=True)
        self.assertEqual((await self.exchange(url, self.connect(self.client_certificate(below)))).body, b"ok")

    async def test_an_authority_that_is_not_trusted(self) -> None:
        for tls in (None, Tls(Authority(Path(self.mktemp())).path)):
            self.assertIn("certificate verify failed", await self.refused(self.server(), tls))

    async def test_an_old_certificate(self) -> None:
        text = await self.refused(self.server(expired=True), Tls(self.authority.path))
        self.assertIn("certificate verify failed", text)

    async def test_a_certificate_for_another_host(self) -> None:
        text = await self.refused(self.server(host="10.0.0.1"), Tls(self.authority.path))
        self.assertIn("not for this host", text)

    async def test_a_server_that_misses_a_certificate(self) -> None:
        text = await self.refused(self.server(ask_for_certificate=True), Tls(self.authority.path))
        self.assertIn("certificate", text)

    async def test_a_server_that_does_not_accept_a_certificate(self) -> None:
        stranger = self.client_certificate(Authority(Path(self.mktemp()), "stranger"))
        text = await self.refused(self.server(ask_for_certificate=True), stranger)
        self.assertIn("unknown ca", text)

    async def test_a_server_without_tls(self) -> None:
        url = f"https://127.0.0.1:{self.listen_plainly()}"
        self.assertIn("wrong version", await self.refused(url, Tls(self.authority.path)))

    def listen_plainly(self) -> int:
        """Returns the port of a server that speaks at once, and without TLS."""

        class Plain(Protocol):
            def dataReceived(self, data: bytes) -> None:  # noqa: ARG002
                assert self.transport is not None
                self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                self.transport.loseConnection()

        factory = Factory.forProtocol(Plain)
        factory.noisy = False
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    def test_files_that_can_not_be_used(self) -> None:
        certificate, key = self.authority.certificate("client")
        _, other_key = self.authority.certificate("other")
        nothing = Path(self.mktemp())
        nothing.write_bytes(b"")
        missing = Path(self.mktemp())
        for tls, named in (
            (Tls(missing), ("ca_file", str(missing), "No such file")),
            (Tls(nothing), ("ca_file", str(nothing))),
            (Tls(cert_file=missing), ("cert_file", str(missing))),
            (Tls(cert_file=certificate), ("cert_file", str(certificate))),
            (Tls(cert_file=certificate, key_file=missing), ("key_file", str(missing))),
            (Tls(cert_file=certificate, key_file=other_key), ("cert_file", str(certificate), str(other_key))),
            (Tls(cert_file=nothing, key_file=key), ("cert_file", str(nothing))),
            (Tls(key_file=key), ("key_file", str(key), "cert_file")),
        ):
            with self.assertRaises(ValueError) as caught:
                Connections(cast(IReactorTime, reactor), tls, 1.0)
            for text in named:
                self.assertIn(text, str(caught.exception))
