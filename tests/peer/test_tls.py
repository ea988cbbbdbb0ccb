"""
Tests of machines that use TLS with each other: both protocols are inside it, and nobody is admitted without a
certificate.
"""

from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import deferLater
from zope.interface import implementer

from etcd_twisted.config import Config
from etcd_twisted.config.addresses import Address
from etcd_twisted.net.tls import tls_for_peers
from etcd_twisted.peer.client import UnreachableError
from etcd_twisted.peer.commands import Describe
from etcd_twisted.testing.raft_peer import FIRST, SECOND, VIEW, FakeSnapshotFile
from tests.certificates import Authority
from tests.logs.lines import Log
from tests.peer.machines import MachineOnSockets, MachinesTest
from tests.peer.wires import question
from tests.wires import RawClient, read_answers

MACHINES = b"GET /v2/admin/machines HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class TlsTest(MachinesTest):
    async def setUp(self) -> None:
        self.authority = Authority(self.mktemp())
        self.log = Log(self)
        self.first = await self.machine(FIRST, "machine1", **self.files(self.authority, "machine1"))
        self.second = await self.machine(SECOND, "machine2", **self.files(self.authority, "machine2"))

    def files(self, authority: Authority, name: str, **kind: Any) -> dict[str, Path | None]:
        """Returns the files of a machine that trusts the authority."""
        certificate, key = authority.certificate(name, **kind)
        return {"peer_cert_file": certificate, "peer_key_file": key, "peer_ca_file": self.authority.path}

    async def secure(self, machine: MachineOnSockets, **files: Path | None) -> RawClient:
        """Returns a stranger's connection that uses TLS."""
        tls = tls_for_peers(Config(**files))
        creator = tls("127.0.0.1") if tls is not None else None
        endpoint = wrapClientTLS(creator, TCP4ClientEndpoint(reactor, "127.0.0.1", machine.address.port))
        client = await connectProtocol(endpoint, RawClient())
        self.addCleanup(self._hang_up, client)
        return client


class TogetherTests(TlsTest):
    """Tests of machines with good certificates."""

    async def test_messages_are_sent_over_tls(self) -> None:
        """Messages of any size are sent as without TLS."""
        self.connect()
        self.second.transport.connect({FIRST: self.first.url})
        await self.when_it_comes(b"hello")
        await self.when_it_comes(b"x" * 3_000_000)
        self.second.transport.send(FIRST, b"hello to you")
        await self.first.raft.when(lambda: (SECOND, b"hello to you") in self.first.raft.payloads)

    async def test_snapshot_is_sent_over_tls(self) -> None:
        """A snapshot is sent in pieces."""
        self.connect()
        await self.when_it_comes(b"hello")
        content = bytes(range(256)) * 4_000
        await self.first.transport.send_snapshot(SECOND, FakeSnapshotFile(content))
        self.assertTrue(self.second.raft.snapshot == content)

    async def test_requests_are_answered_over_tls(self) -> None:
        """The view says who is in the cluster."""
        self.assertEqual(await self.first.client.describe(self.second.url), VIEW)

    async def test_administrators_are_served_over_tls(self) -> None:
        """Administrators use TLS too (spec, "One port, two protocols")."""
        client = await self.secure(self.first, **self.files(self.authority, "administrator"))
        client.send(MACHINES)
        await client.when_closed()
        (answer,) = read_answers(client.data, "GET")
        self.assertEqual(answer.status, 200)

    async def test_alpn_offers_http(self) -> None:
        """Clients that offer protocols as curl and browsers do get HTTP/1.1."""
        tls = tls_for_peers(Config(**self.files(self.authority, "client")))
        assert tls is not None
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.first.address.port)
        client = await connectProtocol(wrapClientTLS(_Asking(tls("127.0.0.1")), endpoint), RawClient())
        self.addCleanup(self._hang_up, client)
        client.send(MACHINES)
        await client.when_closed()
        (answer,) = read_answers(client.data, "GET")
        self.assertEqual(answer.status, 200)

    async def test_machine_that_returns_is_found_over_tls(self) -> None:
        self.connect()
        await self.when_it_comes(b"before")
        await self.second.close_port()
        await self.second.start()
        await self.when_it_comes(b"after")


class RefusedTests(TlsTest):
    """Other connections are refused before a byte of either protocol is read."""

    async def unreachable(self, machine: MachineOnSockets) -> str:
        error = await self.assertFailure(ensureDeferred(machine.client.describe(self.first.url)), UnreachableError)
        return str(error)

    async def test_machine_without_tls_is_refused(self) -> None:
        """A machine that uses no TLS is refused."""
        said = self.log.when_said("TLS with 127.0.0.1:")
        plain = await self.raw(self.first)
        plain.send(question(Describe))
        await plain.when_closed()
        self.assertEqual(plain.data[:1] in (b"", b"\x15"), True)  # nothing, or an alert
        self.assertIn("failed: ", await said)

    async def test_machine_without_a_certificate_is_refused(self) -> None:
        said = self.log.when_said("TLS with 127.0.0.1:")
        options = CertificateOptions(verify=False)
        options.getContext().set_verify(SSL.VERIFY_NONE, lambda *_: True)
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.first.address.port)
        creator = _Anything(options.getContext())
        client = await connectProtocol(wrapClientTLS(creator, endpoint), RawClient())
        client.send(question(Describe))
        await client.when_closed()
        self.assertEqual(client.data, b"")
        self.assertIn("failed: the other side shows no certificate: give it one of", await said)

    async def test_certificate_of_another_authority_is_refused(self) -> None:
        """The machine can't send messages either."""
        other = Authority(self.mktemp())
        stranger = await self.machine(SECOND, "machine2", **self.files(other, "machine2"))
        said = self.log.when_said("TLS with 127.0.0.1:")
        told = await self.unreachable(stranger)
        self.assertIn("TLS: the other side was shown the certificate of CN=machine2, ", told)
        self.assertIn("failed: the other side's certificate of CN=machine2 is from ", await said)
        stranger.transport.connect({FIRST: self.first.url})
        warned = self.log.when_said("Can't connect to the one of id 1: TLS: ")
        await warned
        self.assertEqual(self.first.raft.payloads, [])

    async def test_expired_certificate_is_refused(self) -> None:
        stranger = await self.machine(SECOND, "machine2", **self.files(self.authority, "old", expired=True))
        said = self.log.when_said("TLS with 127.0.0.1:")
        await self.unreachable(stranger)
        self.assertIn("failed: the other side's certificate of CN=old expired at ", await said)

    async def test_certificate_of_another_host_is_refused(self) -> None:
        """Nothing is sent to a machine whose certificate is for another host."""
        files = self.files(self.authority, "other", hosts=("10.0.0.1",))
        stranger = await self.machine(SECOND, "machine2", **files, peer_addr=Address("10.0.0.1", 7001))
        error = await self.assertFailure(ensureDeferred(self.first.client.describe(stranger.url)), UnreachableError)
        self.assertIn("can't be asked: TLS: the certificate of CN=other is for another host, 10.0.0.1: ", str(error))

    async def test_machine_that_should_speak_tls_gets_nothing(self) -> None:
        """Nothing is sent to a machine that should use TLS, and does not."""
        plain = await self.machine(SECOND, "machine2")
        url = plain.address.url("https")
        error = await self.assertFailure(ensureDeferred(self.first.client.describe(url)), UnreachableError)
        self.assertIn("can't be asked: ", str(error))

    async def test_connection_without_a_handshake_is_closed_with_a_line(self) -> None:
        """A connection that sends nothing is closed with a log line."""
        said = self.log.when_said("TLS with 127.0.0.1:")
        silent = await self.raw(self.first)
        await silent.when_closed()
        self.assertTrue((await said).endswith("failed: no handshake within 1 s"))

    async def test_silent_connection_after_the_handshake_is_closed(self) -> None:
        """A connection that sends nothing after the handshake is closed without a log line."""
        client = await self.secure(self.first, **self.files(self.authority, "silent"))
        await client.when_closed()
        self.assertEqual(self.log.warnings, [])

    async def test_refused_machines_do_not_disturb_others(self) -> None:
        """Messages go on meanwhile."""
        self.connect()
        await self.when_it_comes(b"before")
        for _ in range(5):
            garbage = await self.raw(self.second)
            garbage.send(b"\x16\x03\x01" + b"garbage" * 100)
            await garbage.when_closed()
        await deferLater(reactor, 0, lambda: None)
        await self.when_it_comes(b"after")
        self.assertEqual(len(self.first.raft.lost), 1)  # reported before the connection was made


@implementer(IOpenSSLClientConnectionCreator)
class _Asking:
    """A client that offers HTTP/2, and HTTP/1.1 as the second choice."""

    def __init__(self, creator: IOpenSSLClientConnectionCreator) -> None:
        self._creator = creator

    def clientConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        connection = self._creator.clientConnectionForTLS(protocol)
        connection.set_alpn_protos([b"h2", b"http/1.1"])
        return connection


@implementer(IOpenSSLClientConnectionCreator)
class _Anything:
    """A client that accepts whatever certificate the server has."""

    def __init__(self, context: SSL.Context) -> None:
        self._context = context

    def clientConnectionForTLS(self, _: object) -> SSL.Connection:
        return SSL.Connection(self._context, None)
