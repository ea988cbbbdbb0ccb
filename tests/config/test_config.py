"""
Tests of the defaults of the configuration, and of the names of its settings in errors.
"""

from pathlib import Path

from hypothesis import given
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.config import Config
from etcd_twisted.config.addresses import Address
from etcd_twisted.config.loading import load_config
from etcd_twisted.errors import ConfigError
from tests.values import CLIENTS, HOSTS, PEERS, Sources


class DefaultTests(SynchronousTestCase):
    """Tests of what holds when little or nothing is set."""

    def test_defaults(self) -> None:
        """The defaults are those of the reference (api, "Running a Single Machine Cluster")."""
        config = load_config({}, {})
        self.assertEqual(config, Config())
        self.assertEqual(config.name, None)
        self.assertEqual(config.data_dir, Path("default.etcd"))
        self.assertEqual(config.addr, Address("127.0.0.1", 4001))
        self.assertEqual(config.bind_addr, config.addr)
        self.assertEqual(config.peer_addr, Address("127.0.0.1", 7001))
        self.assertEqual(config.peer_bind_addr, config.peer_addr)
        self.assertEqual((config.snapshot, config.snapshot_count, config.watch_history), (True, 10000, 1000))
        self.assertEqual(config.max_request_bytes, 10 * 1024 * 1024)
        self.assertEqual((config.http_read_timeout, config.http_write_timeout, config.frontends), (10, 10, ()))
        self.assertEqual((config.peers, config.peers_file, config.discovery, config.force), ((), None, None, False))
        self.assertEqual((config.cert_file, config.key_file, config.ca_file), (None, None, None))
        self.assertEqual((config.peer_cert_file, config.peer_key_file, config.peer_ca_file), (None, None, None))
        self.assertEqual((config.peer_heartbeat_interval, config.peer_election_timeout), (50, 200))
        self.assertEqual((config.max_retry_attempts, config.cluster_active_size), (3, 9))
        self.assertEqual((config.cluster_remove_delay, config.cluster_sync_interval), (1800, 5))

    def test_directory_follows_name(self) -> None:
        self.assertEqual(load_config({"name": "machine0"}, {}).data_dir, Path("machine0.etcd"))
        self.assertEqual(Config(name="machine0").data_dir, Path("machine0.etcd"))

    @given(advertised=CLIENTS, peers=PEERS)
    def test_listens_where_advertised(self, advertised: Address, peers: Address) -> None:
        config = load_config({"addr": str(advertised), "peer-addr": str(peers)}, {})
        self.assertEqual((config.bind_addr, config.peer_bind_addr), (advertised, peers))
        self.assertEqual(config, Config(addr=advertised, peer_addr=peers))

    def test_urls_say_whether_ports_speak_tls(self) -> None:
        """The URLs given to clients and machines say whether the port speaks TLS."""
        config = Config(addr=Address("a", 1), peer_addr=Address("::1", 2), bind_addr=Address("b", 3))
        self.assertEqual((config.client_url, config.peer_url), ("http://a:1", "http://[::1]:2"))
        flags = {"cert-file": "c", "key-file": "k"}
        config = load_config(flags, {})
        self.assertEqual((config.client_url, config.peer_url), ("https://127.0.0.1:4001", "http://127.0.0.1:7001"))
        config = load_config({f"peer-{name}": file for name, file in flags.items()}, {})
        self.assertEqual((config.client_url, config.peer_url), ("http://127.0.0.1:4001", "https://127.0.0.1:7001"))

    @given(advertised=CLIENTS, host=HOSTS)
    def test_listens_on_advertised_port(self, advertised: Address, host: str) -> None:
        """An address without a port takes the advertised port, even if the two are given in different ways."""
        alone = f"[{host}]" if ":" in host else host
        config = load_config({"addr": str(advertised)}, {"ETCD_BIND_ADDR": alone, "ETCD_PEER_BIND_ADDR": alone})
        self.assertEqual(config.bind_addr, Address(host, advertised.port))
        self.assertEqual(config.peer_bind_addr, Address(host, 7001))

    def test_unreachable_address_is_refused(self) -> None:
        """A program that embeds a machine gets the same error."""
        for field, option in (("addr", "--addr"), ("peer_addr", "--peer-addr")):
            error = self.assertRaises(ConfigError, Config, **{field: Address("::", 4001)})
            self.assertTrue(str(error).startswith(f"{option} [::]:4001: should be an address that others can "), error)


class SourceTests(SynchronousTestCase):
    """Tests of L{Config.given_as}: how an error names the way in which a value was given."""

    def test_each_way_to_give_a_value_is_named(self) -> None:
        file = Sources(self).file("data-dir = 'd'\nwatch_history = 7\nsnapshot-count = 8")
        config = load_config(
            {"name": "machine0", "config": file, "snapshot-count": "9"},
            {"ETCD_FRONTEND": "dns", "ETCD_NAME": "machine1", "ETCD_WATCH_HISTORY": "10"},
        )
        for option, source in [
            ("name", "--name"),
            ("frontend", "ETCD_FRONTEND"),
            ("data-dir", f"{file}: data-dir"),
            ("watch-history", "ETCD_WATCH_HISTORY"),
            ("snapshot-count", "--snapshot-count"),
            ("max-request-bytes", "--max-request-bytes"),
        ]:
            self.assertEqual(config.given_as(option), source)

    def test_listening_follows_advertised(self) -> None:
        for flags, environment, sources in [
            ({}, {}, ("--addr", "--peer-addr")),
            ({"addr": "h:1"}, {}, ("--addr", "--peer-addr")),
            ({"peer-addr": "h:1"}, {"ETCD_ADDR": "h:2"}, ("ETCD_ADDR", "--peer-addr")),
            ({"peer-bind-addr": "h"}, {"ETCD_BIND_ADDR": "h:2"}, ("ETCD_BIND_ADDR", "--peer-bind-addr")),
            ({"addr": "h:2"}, {"ETCD_BIND_ADDR": "h"}, ("ETCD_BIND_ADDR", "--peer-addr")),
        ]:
            config = load_config(flags, environment)
            self.assertEqual((config.given_as("bind-addr"), config.given_as("peer-bind-addr")), sources)

    def test_flags_are_named_without_sources(self) -> None:
        """If a program makes its own L{Config}, the error names the flags that would have set the value."""
        config = Config(bind_addr=Address("h", 1), peer_bind_addr=Address("h", 2))
        self.assertEqual(config.given_as("bind-addr"), "--bind-addr")
        self.assertEqual(config.given_as("peer-bind-addr"), "--peer-bind-addr")
        self.assertEqual(config.given_as("addr"), "--addr")

    def test_value_is_given_on_one_line(self) -> None:
        """The value is on one line, whatever it contains."""
        config = load_config({"data-dir": "a\nb"}, {"ETCD_ADDR": "h:1"})
        self.assertEqual(config.given("addr"), "ETCD_ADDR h:1")
        self.assertEqual(config.given("bind-addr"), "ETCD_ADDR h:1")
        self.assertEqual(config.given("data-dir"), "--data-dir 'a\\nb'")

    def test_sources_have_no_part_in_comparisons(self) -> None:
        given, made = load_config({"watch-history": "7"}, {}), Config(watch_history=7)
        self.assertEqual((given, hash(given), repr(given)), (made, hash(made), repr(made)))
