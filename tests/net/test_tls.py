"""
Tests of the use of certificate files for TLS, and of the errors about files that can't be used.
"""

import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport
from twisted.test.iosim import connect as connect_in_memory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from etcd_twisted.config import Config
from etcd_twisted.config.addresses import Address
from etcd_twisted.config.loading import load_config
from etcd_twisted.errors import ConfigError
from etcd_twisted.net.tls import (
    check_peer_certificate,
    client_port_tls,
    peer_port_tls,
    tls_for_client_ports,
    tls_for_peers,
    with_contents,
)
from etcd_twisted.net.tls_failures import tls_reason
from tests.certificates import CLIENTS, SERVERS, Authority


class _End(Protocol):
    """
    One end of a connection, which notes what it receives and why the connection ended.

    @ivar told: the reason for the end, as text.
    """

    transport: Any
    told = ""

    def __init__(self) -> None:
        self.data = b""
        self.reason: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason
        self.told = tls_reason(reason.value, self.transport)


def connect(server_tls: Any, client_tls: Any) -> tuple[_End, _End]:
    """Connects a client to a server and has each of them send something, if the handshake succeeds."""
    ends = []
    protocols = []
    for tls, is_client in ((server_tls, False), (client_tls, True)):
        end = _End()
        clock = Clock()
        factory = TLSMemoryBIOFactory(tls, is_client, Factory.forProtocol(lambda end=end: end), clock)
        ends.append(end)
        protocols.append((factory.buildProtocol(None), clock))
    (server, server_clock), (client, client_clock) = protocols
    pump = connect_in_memory(server, FakeTransport(server, True), client, FakeTransport(client, False))
    for end in ends:
        end.transport.write(b"hello")
    for clock in (server_clock, client_clock):
        clock.advance(0)
    pump.flush()
    return ends[0], ends[1]


class TlsTest(SynchronousTestCase):
    """A test case with a certificate authority."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.authority = Authority(self.directory)

    def files(self, name: str = "machine0", authority: Authority | None = None, **more: Any) -> dict[str, Path]:
        """Returns the peer port's files, as fields of a configuration."""
        authority = authority or self.authority
        certificate, key = authority.certificate(name, **more)
        return {"peer_cert_file": certificate, "peer_key_file": key, "peer_ca_file": authority.path}

    def machines(self, server: dict[str, Path], client: dict[str, Path], host: str = "127.0.0.1") -> tuple[_End, _End]:
        """Connects one machine to another."""
        port, speak = peer_port_tls(Config(**server)), tls_for_peers(Config(**client))
        assert port is not None
        assert speak is not None
        return connect(port, speak(host))


class NoneTests(SynchronousTestCase):
    """Tests without certificates."""

    def test_there_is_no_tls_without_files(self) -> None:
        self.assertIsNone(client_port_tls(Config()))
        self.assertIsNone(peer_port_tls(Config()))
        self.assertIsNone(tls_for_peers(Config()))


class MachineTests(TlsTest):
    """Tests of connections between machines."""

    def assert_talked(self, ends: tuple[_End, _End]) -> None:
        self.assertEqual([(end.data, end.reason) for end in ends], [(b"hello", None)] * 2)

    def assert_refused(self, ends: tuple[_End, _End]) -> list[str]:
        """Asserts why each end was closed, and that neither has received anything from the other."""
        for end in ends:
            self.assertIsNotNone(end.reason)
            self.assertEqual(end.data, b"")
        return [end.told for end in ends]

    def test_machines_of_one_authority_talk(self) -> None:
        self.assert_talked(self.machines(self.files(), self.files("machine1")))

    def test_the_newest_version_is_used(self) -> None:
        server, _ = self.machines(self.files(), self.files("machine1"))
        self.assertEqual(server.transport.getHandle().get_protocol_version_name(), "TLSv1.3")

    def test_a_certificate_may_have_several_hosts(self) -> None:
        hosts = ["machine0.example.com", "::1", "192.0.2.1"]
        for host in (*hosts, "machine0.example.com.", "MACHINE0.example.com"):
            self.assert_talked(self.machines(self.files(hosts=hosts), self.files("machine1"), host))

    def test_a_certificate_for_another_host_is_refused(self) -> None:
        for host in ("127.0.0.2", "::1", "machine0.example.com", "localhost"):
            server, client = self.machines(self.files(), self.files("machine1"), host)
            self.assertEqual((server.data, client.data), (b"", b""))
            remedy = "have one made for the host of its address, or correct the address"
            self.assertEqual(client.told, f"the certificate of CN=machine0 is for another host, 127.0.0.1: {remedy}")
            self.assertIn("was shown the certificate of CN=machine0, and ended the handshake, as it", server.told)

    def test_a_chain_of_certificates_is_accepted(self) -> None:
        """The certificates between a machine's own and its authority's are sent too, in both directions."""
        middle = Authority(self.directory, "middle", self.authority)
        ends = [{**self.files(name, middle), "peer_ca_file": self.authority.path} for name in ("m0", "m1")]
        self.assert_talked(self.machines(*ends))

    def test_several_authorities_may_be_in_one_file(self) -> None:
        other = Authority(self.directory, "other")
        both = self.directory / "both.pem"
        both.write_bytes(self.authority.path.read_bytes() + other.path.read_bytes())
        mine, theirs = self.files(), self.files("machine1", other)
        self.assert_talked(self.machines({**mine, "peer_ca_file": both}, {**theirs, "peer_ca_file": both}))

    def test_certificate_and_key_may_be_in_one_file(self) -> None:
        files = self.files()
        both = self.directory / "both.pem"
        both.write_bytes(files["peer_key_file"].read_bytes() + files["peer_cert_file"].read_bytes())
        self.assert_talked(self.machines({**files, "peer_cert_file": both, "peer_key_file": both}, self.files("m1")))

    def test_a_client_of_another_authority_is_refused(self) -> None:
        """A client is refused whichever authority it trusts, and both sides learn the reason."""
        other = self.files("machine1", Authority(self.directory, "other"))
        self.assert_refused(self.machines(self.files(), other))
        server, client = self.assert_refused(
            self.machines(self.files(), {**other, "peer_ca_file": self.authority.path})
        )
        self.assertEqual(
            server,
            "the other side's certificate of CN=machine1 is from CN=other, which is not an authority that is trusted "
            "here: have one made by one that is",
        )
        self.assertEqual(
            client,
            "the other side was shown the certificate of CN=machine1, and does not know its authority: give both "
            "certificates of authorities that the other trusts",
        )

    def test_a_server_of_another_authority_is_refused(self) -> None:
        other = {**self.files("machine0", Authority(self.directory, "other")), "peer_ca_file": self.authority.path}
        server, client = self.machines(other, self.files("machine1"))
        self.assertIn("the other side's certificate of CN=machine0 is from CN=other, which is no", client.told)
        self.assertIn("was shown the certificate of CN=machine0, and does not know its authority", server.told)
        self.assertEqual((server.data, client.data), (b"", b""))

    def test_an_expired_certificate_is_refused(self) -> None:
        """The expired certificate may be on either side."""
        old = self.files("old", expired=True)
        for ends in (self.machines(self.files(), old), reversed(self.machines(old, self.files("m1")))):
            refusing, refused = self.assert_refused(tuple(ends))
            self.assertRegex(
                refusing,
                r"^the other side's certificate of CN=old expired at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC: "
                "have a new one made, and compare the clocks of both$",
            )
            self.assertIn("shown the certificate of CN=old, and says that it has expired: have a new one", refused)

    def test_a_certificate_for_another_use_is_refused(self) -> None:
        """Machines are both servers and clients, so a certificate for only one of these uses is not enough."""
        for usages, ends in (
            (SERVERS, lambda files: self.machines(self.files(), files)),
            (CLIENTS, lambda files: reversed(self.machines(files, self.files("m1")))),
        ):
            refusing, refused = self.assert_refused(tuple(ends(self.files("half", usages=usages))))
            self.assertIn("certificate of CN=half is not for this use (extended key usage): have one made", refusing)
            self.assertIn("shown the certificate of CN=half, and says that it is not for this use", refused)

    def test_a_client_without_a_certificate_is_refused(self) -> None:
        """The client is refused under TLS 1.2 and under TLS 1.3."""
        for version, told in (
            (TLSVersion.TLSv1_3, "the other side was shown no certificate, and requires one: give this side one"),
            (TLSVersion.TLSv1_2, "the other side was shown no certificate, and requires one: give this side one"),
        ):
            port = peer_port_tls(Config(**self.files()))
            options = CertificateOptions(lowerMaximumSecurityTo=version, insecurelyLowerMinimumTo=version)
            server, client = self.assert_refused(connect(port, _Anything(options.getContext())))
            self.assertEqual(
                server, "the other side shows no certificate: give it one of an authority that is trusted here"
            )
            self.assertIn(told, client)

    def test_the_system_is_trusted_without_an_authority(self) -> None:
        """Other machines need certificates that the system trusts, and anybody may connect."""
        without = {name: path for name, path in self.files("machine1").items() if name != "peer_ca_file"}
        _, client = self.machines(self.files(), without)
        self.assertIn("is not an authority that is trusted here", client.told)
        port = peer_port_tls(Config(**without))
        assert port is not None
        self.assert_talked(connect(port, tls_for_peers(Config(**self.files()))("127.0.0.1")))

    def test_connections_to_one_host_share_their_settings(self) -> None:
        speak = tls_for_peers(Config(**self.files()))
        self.assertIs(speak("127.0.0.1"), speak("127.0.0.1"))


class PortTests(TlsTest):
    """Tests of the files of each port."""

    def test_each_port_has_its_own_files(self) -> None:
        config = Config(**self.files())
        self.assertIsNone(client_port_tls(config))
        self.assertIsNotNone(peer_port_tls(config))
        config = Config(**{name.removeprefix("peer_"): path for name, path in self.files().items()})
        self.assertIsNotNone(client_port_tls(config))
        self.assertIsNone(peer_port_tls(config))


class KeptContentsTests(TlsTest):
    """Files that are read once."""

    def test_replaced_files_are_not_read(self) -> None:
        """Not the certificate, nor its key, nor the authorities: nothing of them is looked at again."""
        authority = Authority(Path(self.mktemp()))
        certificate, key = authority.certificate("machine0")
        files = {"cert_file": certificate, "key_file": key, "ca_file": authority.path, "peer_ca_file": authority.path}
        peer = {"peer_cert_file": certificate, "peer_key_file": key}
        config = with_contents(Config(addr="127.0.0.1:4001", **files, **peer))
        served = certificate.read_bytes()
        for each in (certificate, key, authority.path):
            each.write_text("replaced")
        own = client_port_tls(config)
        assert own is not None
        expected = x509.load_pem_x509_certificates(served)[0]
        self.assertEqual(own.certificate.to_cryptography(), expected)
        tls_for_client_ports(config)
        self.assertRaises(ConfigError, client_port_tls, Config(addr="127.0.0.1:4001", **files, **peer))
        self.assertNotIn("PRIVATE", repr(config))
        self.assertEqual(dict(with_contents(Config()).contents), {})

    def test_file_that_can_not_be_read(self) -> None:
        self.assertRaises(ConfigError, with_contents, Config(cert_file="none", key_file="none"))


class RefusalTests(TlsTest):
    """Each error is one line with the setting, the name of the file, what is wrong, and the remedy."""

    def setUp(self) -> None:
        super().setUp()
        self.certificate, self.key = self.authority.certificate("machine0")
        self.flags = {
            "cert-file": str(self.certificate),
            "key-file": str(self.key),
            "ca-file": str(self.authority.path),
        }
        self.made = self.directory / "made.pem"

    def refused(self, **changed: Path) -> str:
        """Returns the error about these files, which is the same for both ports and for the client side."""
        flags = {**self.flags, **{name.replace("_", "-"): str(path) for name, path in changed.items()}}
        text = str(self.assertRaises(ConfigError, client_port_tls, load_config(flags, {})))
        self.assertTrue(text.isprintable(), text)
        environment = {f"ETCD_PEER_{name.replace('-', '_').upper()}": path for name, path in flags.items()}
        for make in (peer_port_tls, tls_for_peers):
            peers = str(self.assertRaises(ConfigError, make, load_config({}, environment)))
            for name in ("CERT", "KEY", "CA"):
                peers = peers.replace(f"ETCD_PEER_{name}_FILE", f"--{name.lower()}-file")
            self.assertEqual(peers.replace("--peer-", "--"), text)
        return text

    def file(self, content: bytes) -> Path:
        self.made.write_bytes(content)
        return self.made

    def test_a_missing_file_is_refused(self) -> None:
        for name in ("cert_file", "key_file", "ca_file"):
            flag = f"--{name.replace('_', '-')}"
            path = self.directory / "missing.pem"
            text = self.refused(**{name: path})
            self.assertTrue(text.startswith(f"{flag} {path}: can't be read: No such file or directory; "), text)
            text = self.refused(**{name: self.directory})
            self.assertTrue(text.startswith(f"{flag} {self.directory}: can't be read: Is a directory; "), text)

    def test_an_odd_file_name_is_printable(self) -> None:
        text = self.refused(cert_file=Path("no\nfile"))
        self.assertTrue(text.startswith("--cert-file 'no\\nfile': can't be read: "), text)

    def test_a_file_without_a_certificate_is_refused(self) -> None:
        broken = self.certificate.read_bytes().replace(b"M", b"!", 3)
        for content in (b"", b"\xff\x00", b"hello\n", self.key.read_bytes(), broken):
            for name, what in (("cert_file", "certificate"), ("ca_file", "authority's certificate")):
                text = self.refused(**{name: self.file(content)})
                given = f"--{name.replace('_', '-')} {self.made}"
                self.assertEqual(text, f"{given}: has no certificate in PEM in it; name a file with the {what}")

    def test_a_file_without_a_key_is_refused(self) -> None:
        for content in (b"", b"\xff\x00", b"hello\n", self.certificate.read_bytes()):
            text = self.refused(key_file=self.file(content))
            self.assertEqual(
                text,
                f"--key-file {self.made}: has no private key in PEM in it; name a file with the certificate's key",
            )

    def test_a_key_with_a_passphrase_is_refused(self) -> None:
        key: Any = serialization.load_pem_private_key(self.key.read_bytes(), None)
        self.made.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"secret"),
            )
        )
        self.assertEqual(
            self.refused(key_file=self.made),
            f"--key-file {self.made}: has a passphrase, which nobody can type here; name a file without one",
        )

    def test_the_key_of_another_certificate_is_refused(self) -> None:
        _, other = self.authority.certificate("machine1")
        self.assertEqual(
            self.refused(key_file=other),
            f"--key-file {other} is not the key of --cert-file {self.certificate}; name the one that belongs to it",
        )

    def test_the_machines_certificate_has_to_come_first(self) -> None:
        """The key is compared with the first certificate in the file."""
        middle = Authority(self.directory, "middle", self.authority)
        certificate, key = middle.certificate("machine2")
        first, second, third = (
            certificate.read_bytes()
            .partition(b"-----BEGIN CERTIFICATE-----\n")[2]
            .partition(b"-----BEGIN CERTIFICATE-----\n")
        )
        turned = self.file(second + third + b"-----BEGIN CERTIFICATE-----\n" + first)
        self.assertIn(f"--key-file {key} is not the key of ", self.refused(cert_file=turned, key_file=key))

    def test_a_weak_certificate_is_refused(self) -> None:
        """The error contains OpenSSL's reason."""
        certificate, key = self.authority.certificate("weak", weak=True)
        text = self.refused(cert_file=certificate, key_file=key)
        self.assertTrue(text.startswith(f"--cert-file {certificate}: can't be used: "), text)
        self.assertIn("too small", text)

    def test_a_host_that_no_certificate_can_name_is_refused(self) -> None:
        """The host is refused before others fail to connect to it."""
        files = self.files()
        config = Config(peer_addr=Address("machine_0", 7001), **files)
        text = str(self.assertRaises(ConfigError, tls_for_peers, config))
        self.assertEqual(
            text,
            "--peer-addr machine_0:7001: no certificate can be for a host of that name; "
            "give a name of letters, digits and '-', or an IP address",
        )

    def for_hosts(self, address: str, *hosts: str) -> str | None:
        """
        Returns the error about a certificate for these hosts when a machine is at that address, which is the same for
        both ports.
        """
        certificate, key = self.authority.certificate("other", hosts)
        said = set[str | None]()
        for make, port in ((client_port_tls, ""), (tls_for_peers, "peer-")):
            flags = {f"{port}cert-file": str(certificate), f"{port}key-file": str(key), f"{port}addr": f"{address}:1"}
            config = load_config(flags, {})
            try:
                make(config)
            except ConfigError as error:
                said.add(str(error).replace("--peer-", "--").replace(str(certificate), "FILE"))
            else:
                said.add(None)
        (text,) = said
        return text

    def test_a_certificate_for_another_advertised_host_is_refused(self) -> None:
        """Nobody who connects to the advertised host would accept such a certificate."""
        for address, host, hosts, named in (
            ("127.0.0.1", "127.0.0.1", ("127.0.0.2", "localhost"), "localhost, 127.0.0.2"),
            ("[::1]", "::1", ("127.0.0.1",), "127.0.0.1"),
            ("localhost", "localhost", ("127.0.0.1",), "127.0.0.1"),
            ("a.b.example.com", "a.b.example.com", ("*.example.com",), "*.example.com"),
            ("example.com", "example.com", ("*.example.com",), "*.example.com"),
            ("example.com", "example.com", ("*.com",), "*.com"),
            ("other", "other", (), "no host at all"),
            ("x", "x", tuple(map(str, range(10))), "0, 1, 2, 3, 4, 5, 6, 7, 2 more"),
            ("x", "x", ("a\nb",), "'a\\nb'"),
        ):
            self.assertEqual(
                self.for_hosts(address, *hosts),
                f"--cert-file FILE is not for the host {host} of --addr {address}:1: it is for {named};"
                f" have one made for {host}, or give an address that it is for",
            )

    def test_a_certificate_for_the_advertised_host_is_accepted(self) -> None:
        """The hosts are compared as clients compare them."""
        for address, *hosts in (
            ("127.0.0.1", "localhost", "127.0.0.1"),
            ("[::1]", "::1"),
            ("[0:0::1]", "::1"),
            ("machine0.example.com", "*.example.com"),
            ("machine0.example.com.", "machine0.example.com"),
            ("MACHINE0.example.com", "machine0.EXAMPLE.com"),
        ):
            self.assertIsNone(self.for_hosts(address, *hosts))

    def test_files_have_to_be_given_together(self) -> None:
        """This also holds for a configuration that a program makes itself."""
        for fields, text in (
            ({"cert_file": self.certificate}, f"--cert-file {self.certificate} needs --key-file too"),
            (
                {"peer_ca_file": self.authority.path},
                f"--peer-ca-file {self.authority.path} needs --peer-cert-file too",
            ),
        ):
            self.assertEqual(str(self.assertRaises(ConfigError, Config, **fields)), text)

    def test_nothing_is_opened_before_the_files_are_checked(self) -> None:
        self.patch(socket, "socket", None)
        self.refused(key_file=self.directory / "missing.pem")


class ReasonTests(SynchronousTestCase):
    """Tests of the descriptions of TLS errors."""

    def test_reasons_of_openssl_are_on_one_line(self) -> None:
        error = SSL.Error([("SSL routines", "", "no shared cipher"), ("", "", "other")])
        self.assertEqual(tls_reason(error), "no shared cipher, other")
        for reason in ("wrong version number", "packet length too long", "http request", "https proxy request"):
            said = f"the other side does not use TLS: give certificates to both, or to neither ({reason})"
            self.assertEqual(tls_reason(SSL.Error([("SSL routines", "", reason)])), said)

    def test_other_errors_are_on_one_line(self) -> None:
        for error, text in ((SSL.Error(), "Error"), (SSL.SysCallError(-1, "Unexpected EOF"), "Unexpected EOF"),
                            (ValueError("a\nb"), "a b"), (SSL.Error([]), "Error")):  # fmt: skip
            self.assertEqual(tls_reason(error), text)


class StartTests(TlsTest):
    """L{check_peer_certificate} finds what other machines would refuse."""

    def refusal(self, files: dict[str, Path], days: float = 0.0) -> str:
        """Returns what is wrong with a certificate that many days from now."""
        config = Config(**files, sources={"peer-cert-file": "--peer-cert-file"})
        with self.assertRaises(ConfigError) as caught:
            check_peer_certificate(config, datetime.now(UTC) + timedelta(days=days))
        beginning, _, told = str(caught.exception).partition(f"{files['peer_cert_file']} ")
        self.assertEqual(beginning, "--peer-cert-file ")
        self.assertEqual(len(told.splitlines()), 1)
        return told

    def test_a_good_certificate_is_accepted(self) -> None:
        """Having no certificate is accepted too."""
        check_peer_certificate(Config(**self.files()))
        check_peer_certificate(Config())

    def test_an_expired_or_future_certificate_is_refused(self) -> None:
        remedy = "UTC; have a new one made, or set this computer's clock right"
        for days, beginning in ((2.0, "expired at "), (-4.0, "is not valid before ")):
            told = self.refusal(self.files(), days)
            self.assertTrue(told.startswith(beginning) and told.endswith(remedy), told)
        self.assertIn("expired at ", self.refusal(self.files(expired=True)))

    def test_a_certificate_has_to_be_for_both_uses(self) -> None:
        """One use is enough only where no machine asks others for certificates."""
        remedy = "machines connect to each other, so have one made with serverAuth and clientAuth"
        for usages, role in ((SERVERS, "client"), (CLIENTS, "server")):
            told = self.refusal(self.files(usages=usages))
            self.assertEqual(told, f"can't be used as a {role}'s: its extended key usage has no {role}Auth; {remedy}")
        alone = {name: path for name, path in self.files(usages=SERVERS).items() if name != "peer_ca_file"}
        check_peer_certificate(Config(**alone))


@implementer(IOpenSSLClientConnectionCreator)
class _Anything:
    """A client that accepts whatever certificate the server has."""

    def __init__(self, context: SSL.Context) -> None:
        self._context = context

    def clientConnectionForTLS(self, _: object) -> SSL.Connection:
        return SSL.Connection(self._context, None)
