"""
L{etcd_twisted_dns.frontend}: options, and real ports.
"""

import socket

from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.names import client, dns
from twisted.plugin import getPlugins
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from etcd_twisted.config import Config
from etcd_twisted.errors import ConfigError, StartError
from etcd_twisted.frontends import IFrontend
from etcd_twisted_dns.frontend import DnsFrontend, DnsService, Settings
from etcd_twisted_dns.test.copy import Copy


class SettingsTests(SynchronousTestCase):
    def read(self, **options: str) -> Settings:
        config = Config(sources={"frontend": "ETCD_FRONTEND"})
        return DnsFrontend().service(Clock(), config, options, Copy()).settings

    def test_default_options(self) -> None:
        self.assertEqual(self.read(), Settings(53, "127.0.0.1", "cluster.internal", "/dns", 60))

    def test_all_options(self) -> None:
        given = self.read(port="5353", interface="::1", zone="Example.COM.", directory="//names/dns/", ttl="5")
        self.assertEqual(given, Settings(5353, "::1", "example.com", "/names/dns", 5))

    def test_options_that_can_not_be_used(self) -> None:
        """The error has one line that names the option as it was given, and says what it should be."""
        for option, text, words in (
            ("port", "0", "should be a whole number from 1 to 65535"),
            ("port", "65536", "should be a whole number from 1 to 65535"),
            ("ttl", "-1", "should be a whole number from 1 to 86400"),
            ("interface", "localhost", "should be an IP address"),
            ("zone", "", "should be a domain name"),
            ("zone", "a..b", "should be a domain name"),
            ("directory", "dns", "should be the key of a directory"),
            ("directory", "/", "should be the key of a directory"),
        ):
            error = str(self.assertRaises(ConfigError, self.read, **{option: text}))
            self.assertTrue(error.startswith(f"ETCD_FRONTEND dns: {option}={text}: {words}"), error)

    def test_unknown_options_are_refused(self) -> None:
        error = str(self.assertRaises(ConfigError, self.read, prot="53"))
        self.assertEqual(error, "ETCD_FRONTEND dns: there is no option 'prot'; "
                                "the options are port, interface, zone, directory, ttl")  # fmt: skip


class PluginTests(SynchronousTestCase):
    def test_plugin_is_found(self) -> None:
        """C{--frontend} finds it, and it implements its interface."""
        (found,) = [each for each in getPlugins(IFrontend) if each.name == "dns"]
        self.assertIsInstance(found, DnsFrontend)
        self.assertTrue(verifyObject(IFrontend, found))


class ServiceTests(TestCase):
    """These tests use real ports on the loopback address."""

    def setUp(self) -> None:
        self.copy = Copy()
        self.copy.put("/dns/internal.cluster.www/A", "192.0.2.1")

    def service(self, port: int) -> DnsService:
        service = DnsFrontend().service(reactor, Config(), {"port": str(port)}, self.copy)
        self.addCleanup(lambda: service.stopService() if service.running else None)
        return service

    def free_port(self) -> int:
        """Returns a port that was free a moment ago, for UDP and TCP."""
        with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            port = tcp.getsockname()[1]
            udp.bind(("127.0.0.1", port))
            return port

    async def test_both_protocols(self) -> None:
        """Twisted's own resolver gets answers, and nothing is left afterwards."""
        port = self.free_port()
        service = self.service(port)
        service.startService()
        resolver = client.Resolver(servers=[("127.0.0.1", port)])
        answers, _, _ = await resolver.lookupAddress("www.cluster.internal")
        self.assertEqual(answers[0].payload.dottedQuad(), "192.0.2.1")
        response = await resolver.queryTCP([dns.Query("www.cluster.internal", dns.A)])
        self.assertEqual(response.answers[0].payload.dottedQuad(), "192.0.2.1")
        await service.stopService()
        self.assertEqual(self.copy.keyspace.hub.count, 0)

    async def test_port_taken(self) -> None:
        """The port may be taken by either protocol. The other one's port is closed again when the start fails."""
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            port = self.free_port()
            with socket.socket(type=kind) as taken:
                taken.bind(("127.0.0.1", port))
                if kind == socket.SOCK_STREAM:
                    taken.listen()
                service = self.service(port)
                error = str(self.assertRaises(StartError, service.startService))
                address = f"port={port} of interface=127.0.0.1"
                self.assertEqual(error, f"--frontend dns: {address} can't be listened on: Address already in use")
                await service.stopService()
