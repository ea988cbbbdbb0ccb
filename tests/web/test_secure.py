"""
The client port over TLS: which clients may connect, and that everything else is the same as without TLS.
"""

import json
import socket
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.x509.oid import NameOID
from OpenSSL.SSL import Error as TlsError
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.config import Config
from etcd_twisted.errors import ConfigError
from etcd_twisted.httpd.handler import ParsedRequest
from etcd_twisted.httpd.ordinary.channel import Channel
from etcd_twisted.httpd.responses import AnyResponse
from etcd_twisted.keyspace.commands import Set
from etcd_twisted.net.port import GRACE_SECONDS
from etcd_twisted.net.secure import SecureFactory
from etcd_twisted.net.tls import client_port_tls, tls_for_peers
from etcd_twisted.net.tls_failures import tls_reason
from etcd_twisted.testing.replica import FakeReplica
from etcd_twisted.web.frontend import HttpFrontend
from etcd_twisted.web.keys import KeyEndpoint
from tests import certificates
from tests.certificates import Authority
from tests.httpd import test_site
from tests.logs.lines import Log
from tests.web import test_frontend
from tests.wires import GET, ServedTest, Transport, Wire, read_answers


class SecureTest(ServedTest):
    """
    A test with a client port over TLS for clients that have certificates.

    @ivar authority: the authority that signs the certificates.
    """

    async def setUp(self) -> None:
        self.authority = Authority(Path(self.mktemp()))
        certificate, key = self.authority.certificate("machine0")
        files = {"cert_file": certificate, "key_file": key, "ca_file": self.authority.path}
        self.settings = {**self.settings, **files}
        self.tls = self.client(self.authority)
        await super().setUp()

    def when_gone(self) -> "Deferred[None]":
        """Returns a Deferred that fires when the server has forgotten the next connection that ends."""
        site, gone = self.service._factory, Deferred()
        close = site.closed

        def closed(channel: Channel) -> None:
            close(channel)
            gone.callback(None)

        self.patch(site, "closed", closed)
        return gone

    def client(self, authority: Authority, expired: bool = False) -> IOpenSSLClientConnectionCreator:
        """Returns a client that has a certificate of C{authority} and knows the server's."""
        certificate, key = authority.certificate("client", expired=expired)
        speak = tls_for_peers(Config(peer_cert_file=certificate, peer_key_file=key, peer_ca_file=self.authority.path))
        assert speak is not None
        return speak("127.0.0.1")


class SocketTests(SecureTest, test_site.SocketTests):
    """These tests send long bodies, watches and refusals."""


class StreamTests(SecureTest, test_frontend.StreamTests):
    """These tests are about streams."""


class StopTests(SecureTest, test_frontend.StopTests):
    """These tests stop the server."""

    async def test_idle_client_does_not_delay_the_stop(self) -> None:
        """Nobody waits for a client that keeps its connection for later and does not answer the end of TLS."""
        client = await self.connect()
        client.send(GET)
        await client.when_ends_with(b"\n")
        client.transport.pauseProducing()
        before = reactor.seconds()
        await self.service.stopService()
        self.assertLess(reactor.seconds() - before, GRACE_SECONDS / 2)

    async def test_client_in_a_handshake_does_not_delay_the_stop(self) -> None:
        """Nobody waits for a client that has not sent its first message."""
        self.tls = None
        await self.connect()
        await self.connect()
        await self.until_connected(2)
        before = reactor.seconds()
        await self.service.stopService()
        self.assertLess(reactor.seconds() - before, GRACE_SECONDS / 2)

    async def until_connected(self, number: int) -> None:
        """Returns when the server has accepted so many connections."""
        site, taken = self.service._factory, Deferred()
        if len(site.channels) >= number:
            return
        build = site.buildProtocol

        def built(address: object) -> object:
            channel = build(address)
            if len(site.channels) + 1 >= number:
                reactor.callLater(0, taken.callback, None)
            return channel

        self.patch(site, "buildProtocol", built)
        await taken


class HandshakeTests(SecureTest):
    """These tests show which clients may connect."""

    async def setUp(self) -> None:
        await super().setUp()
        self.log = Log(self)
        self.heard: list[bytes] = []
        heard, received = self.heard, Channel.dataReceived

        def listen(channel: object, data: bytes) -> None:
            heard.append(data)
            received(channel, data)

        self.patch(Channel, "dataReceived", listen)

    async def refused(self, tls: IOpenSSLClientConnectionCreator | None) -> str:
        """Tries to connect. Returns the only line in the log and the client's error."""
        said = self.log.when_said("TLS with ")
        self.tls = tls
        client = await self.connect()
        port = client.transport.getHost().port
        client.send(GET)
        address, _, reason = (await said).removeprefix("TLS with ").partition(" failed: ")
        await client.when_closed()
        self.assertEqual(address, f"127.0.0.1:{port}")
        self.assertEqual(self.heard, [])
        self.assertEqual(len(self.log.warnings), 1, self.log.warnings)
        self.assertEqual(self.flushLoggedErrors(), [])
        self.client_reason = client.reason.value
        self.data = client.data
        return reason

    async def test_client_with_a_good_certificate_connects(self) -> None:
        client = await self.connect()
        client.send(GET)
        await client.when_ends_with(b"\n")
        (answer,) = read_answers(client.data, "GET")
        self.assertEqual(answer.status, 404)
        self.assertEqual(self.log.warnings, [])

    async def test_client_without_a_certificate_is_refused(self) -> None:
        without = CertificateOptions(raiseMinimumTo=TLSVersion.TLSv1_2)
        self.assertIn("the other side shows no certificate", await self.refused(without))
        self.assertIsInstance(self.client_reason, TlsError)

    async def test_certificate_of_another_authority_is_refused(self) -> None:
        other = Authority(self.authority.directory / "other")
        told = await self.refused(self.client(other))
        self.assertIn("certificate of CN=client is from CN=authority, which is not an authority", told)
        self.assertIn("does not know its authority", tls_reason(self.client_reason))

    async def test_expired_certificate_is_refused(self) -> None:
        told = await self.refused(self.client(self.authority, expired=True))
        self.assertIn("the other side's certificate of CN=client expired at ", told)
        self.assertIn("says that it has expired", tls_reason(self.client_reason))

    async def test_tls_1_1_is_refused(self) -> None:
        old = CertificateOptions(
            insecurelyLowerMinimumTo=TLSVersion.TLSv1_1, lowerMaximumSecurityTo=TLSVersion.TLSv1_1
        )
        old.getContext().set_cipher_list(b"ALL:@SECLEVEL=0")
        self.assertIn("unsupported protocol", await self.refused(old))
        self.assertIn("protocol version", tls_reason(self.client_reason))

    async def test_tls_1_2_is_accepted(self) -> None:
        certificate, key = self.authority.certificate("client")
        config = Config(cert_file=certificate, key_file=key)
        options = client_port_tls(config)
        assert options is not None
        self.tls = CertificateOptions(
            privateKey=options.privateKey, certificate=options.certificate, lowerMaximumSecurityTo=TLSVersion.TLSv1_2
        )
        client = await self.connect()
        client.send(GET)
        await client.when_ends_with(b"\n")
        self.assertEqual(client.transport.getHandle().get_protocol_version_name(), "TLSv1.2")

    async def test_client_without_tls_is_refused(self) -> None:
        self.assertIn("http request", await self.refused(None))
        self.assertNotIn(b"HTTP", self.data)

    async def test_garbage_is_refused(self) -> None:
        said = self.log.when_said("TLS with ")
        self.tls = None
        client = await self.connect()
        client.send(b"\0" * 100)
        await said
        await client.when_closed()
        self.assertEqual(len(self.log.warnings), 1, self.log.warnings)

    async def test_connection_without_a_byte_is_not_logged(self) -> None:
        """A client that only checks that the port is open leaves no line."""
        gone = self.when_gone()
        with socket.create_connection(("127.0.0.1", self.port)):
            pass
        await gone
        self.assertEqual(self.log.warnings, [])

    async def test_server_without_an_authority_accepts_every_client(self) -> None:
        certificate, key = self.authority.certificate("machine0")
        config = Config(bind_addr=self.service._openings[0].address.address, cert_file=certificate, key_file=key)
        await self.service.stopService()
        self.service = HttpFrontend().service(reactor, config, {}, self.replica)
        await self.service.startService()
        self.port = self.service.getHost().port
        self.tls = CertificateOptions(raiseMinimumTo=TLSVersion.TLSv1_2)
        client = await self.connect()
        client.send(GET)
        await client.when_ends_with(b"\n")
        self.assertTrue(client.data.startswith(b"HTTP/1.1 404 "))


class CommonNameTests(SecureTest):
    """These tests show whom the port takes a client for."""

    REQUEST = GET

    async def seen(self, tls: IOpenSSLClientConnectionCreator | None) -> list[str | None]:
        """Returns the common names that the endpoint sees in two requests on one connection."""
        seen: list[str | None] = []
        handle = KeyEndpoint.handle

        def note(endpoint: KeyEndpoint, request: ParsedRequest) -> AnyResponse:
            seen.append(request.common_name)
            return handle(endpoint, request)

        self.patch(KeyEndpoint, "handle", note)
        self.tls = tls
        client = await self.connect()
        client.send(self.REQUEST + self.REQUEST)
        await client.when(lambda: client.data.count(b"HTTP/1.1 404") == 2)
        return seen

    async def test_certificate_of_a_standby_is_none_of_its_clients(self) -> None:
        """The standby makes their requests with its own."""
        self.patch(self, "REQUEST", GET[:-2] + b"X-Etcd-Relayed: 1\r\n\r\n")
        self.assertEqual(await self.seen(self.tls), [None] * 2)

    async def test_common_name_of_a_required_certificate(self) -> None:
        self.assertEqual(await self.seen(self.tls), ["client"] * 2)

    async def test_certificate_that_is_not_required_says_nothing(self) -> None:
        """The port does not ask for one, so nobody has checked who issued it."""
        certificate, key = self.authority.certificate("machine0")
        config = Config(bind_addr=self.service._openings[0].address.address, cert_file=certificate, key_file=key)
        await self.service.stopService()
        self.service = HttpFrontend().service(reactor, config, {}, self.replica)
        await self.service.startService()
        self.port = self.service.getHost().port
        self.assertEqual(await self.seen(self.tls), [None] * 2)

    async def test_certificate_without_one_common_name(self) -> None:
        """Of several names, none is meant more than the others."""
        for names in ([], ["root", "root"], ["client", "root"]):
            name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each) for each in names])
            self.patch(certificates, "_name", lambda _, name=name: name)
            self.assertEqual(await self.seen(self.client(self.authority)), [None] * 2, names)


class SlowReaderTest(SecureTest):
    """A client that asks for much and does not read it."""

    async def setUp(self) -> None:
        await super().setUp()
        for number in range(40):
            self.replica.keyspace.apply(Set(f"/d/k{number}", 0, "x" * 500_000))
        self.client = await self.connect()
        self.client.send(GET)
        await self.client.when_ends_with(b"\n")
        self.client.data = bytearray()  # otherwise each piece would have all the earlier ones copied

    def ask_for_much(self) -> None:
        self.client.transport.pauseProducing()
        self.client.send(b"GET /v2/keys/d?recursive=true HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")


class SlowReaderTests(SlowReaderTest):
    """A slow client makes the server hold no more memory than it would without TLS."""

    def when_stalled(self) -> "Deferred[None]":
        stalled: Deferred[None] = Deferred()
        paused = Channel.pauseProducing

        def pause(channel: Channel) -> None:
            paused(channel)
            if not stalled.called:
                stalled.callback(None)

        self.patch(Channel, "pauseProducing", pause)
        return stalled

    async def test_long_response_is_bounded_and_complete(self) -> None:
        """The backlog is bounded, and the client gets all of it when it reads."""
        stalled = self.when_stalled()
        self.ask_for_much()
        await stalled
        (channel,) = self.service._factory.channels
        below = channel.transport.transport
        self.assertLess(len(below.dataBuffer) + below._tempDataLen, 1_000_000)
        self.client.transport.resumeProducing()
        await self.client.when_closed()
        (answer,) = read_answers(self.client.data, "GET")
        self.assertEqual(len(json.loads(answer.body)["node"]["nodes"]), 40)


class StuckReaderTests(SlowReaderTest):
    """The server waits for a stuck client no longer than the write timeout."""

    settings = {"http_write_timeout": 0.5}  # noqa: RUF012

    async def test_client_that_takes_nothing_is_cut_off(self) -> None:
        gone = self.when_gone()
        self.ask_for_much()
        await gone
        self.assertEqual(self.service._factory.channels, {})


class TcpTransport(Transport):
    """A transport with a socket, so that it can be below TLS."""

    def __init__(self, protocol: Protocol, handle: socket.socket) -> None:
        super().__init__(protocol)
        self._handle = handle

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 5)

    def getHandle(self) -> socket.socket:
        return self._handle

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Sends nothing."""


class TimeTests(SynchronousTestCase):
    """These tests are about unfinished handshakes, on a fake clock."""

    def setUp(self) -> None:
        authority = Authority(Path(self.mktemp()))
        certificate, key = authority.certificate("machine0")
        tls = client_port_tls(Config(cert_file=certificate, key_file=key))
        assert tls is not None
        self.handle = socket.socket()
        self.addCleanup(self.handle.close)
        self.wire = Wire()
        self.addCleanup(self.wire.stop)
        self.factory = SecureFactory(tls, self.wire.site, self.wire.clock)
        self.log = Log(self)

    def connect(self) -> Transport:
        self.connection = connection = self.factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 5))
        assert connection is not None
        transport = TcpTransport(connection, self.handle)
        connection.makeConnection(transport)
        return transport

    def test_handshake_that_never_begins_is_closed(self) -> None:
        """It is closed at the read timeout and not before, with one line in the log."""
        transport = self.connect()
        self.wire.pass_time(9)
        self.assertIsNone(transport.how_lost)
        self.wire.pass_time(2)
        self.assertEqual(transport.how_lost, "aborted")
        self.assertEqual(self.wire.site.channels, {})
        self.assertEqual(self.log.warnings, ["TLS with 127.0.0.1:5 failed: no handshake within 10 seconds"])

    def test_trickling_handshake_is_closed(self) -> None:
        """More bytes do not prolong the timeout."""
        transport = self.connect()
        for _ in range(9):
            self.connection.dataReceived(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03"[:1])
            self.wire.pass_time(1)
            if transport.how_lost:
                break
        self.wire.pass_time(2)
        self.assertIsNotNone(transport.how_lost)
        self.assertEqual(len(self.log.warnings), 1, self.log.warnings)

    def test_many_unfinished_handshakes_do_not_fill_the_log(self) -> None:
        for _ in range(100):
            self.connect()
        self.wire.pass_time(12)
        self.assertLess(len(self.log.warnings), 30)

    def test_keep_alive_is_set_below_tls(self) -> None:
        """The system looks for clients that are gone."""
        self.connect()
        self.assertEqual(self.handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), 1)

    def test_full_port_closes_connections(self) -> None:
        """A connection above the limit has no TLS either."""
        self.wire.site.limits = attrs.evolve(self.wire.site.limits, connections=1)
        self.connect()
        self.assertIsNone(self.factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 6)))


class ConfigurationTests(SynchronousTestCase):
    """The frontend checks the files before it opens the port."""

    def test_missing_file_is_an_error(self) -> None:
        config = Config(cert_file=Path("missing.pem"), key_file=Path("missing.key"))
        replica = FakeReplica(reactor)
        self.addCleanup(replica.stop)
        error = self.assertRaises(ConfigError, HttpFrontend().service, reactor, config, {}, replica)
        self.assertTrue(str(error).startswith("--cert-file missing.pem: can't be read: "), error)
