"""
Tests of the defaults of the configuration, and of the names of its settings in errors.
"""

from pathlib import Path
from typing import Any, cast

import attrs
import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.config import Config
from etcd_twisted.config.addresses import Address, Endpoint
from etcd_twisted.config.loading import load_config
from etcd_twisted.errors import ConfigError
from tests.config.test_loading import BAD_VALUES
from tests.values import CLIENTS, HOSTS, PEERS, SETTABLE, TOGETHER, VALUES, Sources, as_flag, as_text


class DefaultTests(SynchronousTestCase):
    """Tests of what holds when little or nothing is set."""

    def test_defaults_are_those_of_the_reference(self) -> None:
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


class TextTests(SynchronousTestCase):
    """A program that embeds a machine writes texts or values, and learns what is wrong with them."""

    def refused(self, **fields: Any) -> str:
        text = str(self.assertRaises(ConfigError, Config, **fields))
        self.assertTrue(text.isprintable(), text)
        return text

    def test_fields_take_values_and_texts(self) -> None:
        config = Config(
            addr="machine0.example.com:4001",
            bind_addr="0.0.0.0",
            peer_bind_addr="systemd:domain=INET:name=peers",
            peers=["a:7001", Address("b", 7002)],
            data_dir="machine0",
            snapshot="false",
            quota_bytes="1000000",
            http_read_timeout="2.5",
            cors="https://a.example.com",
            allowed_hosts=["a.example.com", "b.example.com"],
        )
        self.assertEqual(config.addr, Address("machine0.example.com", 4001))
        self.assertEqual(config.bind_addr, Address("0.0.0.0", 4001))
        self.assertEqual(config.peer_bind_addr, Endpoint("systemd:domain=INET:name=peers"))
        self.assertEqual(config.peers, (Address("a", 7001), Address("b", 7002)))
        self.assertEqual(config.data_dir, Path("machine0"))
        self.assertEqual((config.snapshot, config.quota_bytes, config.http_read_timeout), (False, 1_000_000, 2.5))
        self.assertEqual(config.cors, ("https://a.example.com",))
        self.assertEqual(config.allowed_hosts, ("a.example.com", "b.example.com"))

    @given(data=st.data())
    def test_text_means_what_its_flag_means(self, data: st.DataObject) -> None:
        """A text means what the flag of the same text means, and the value that it stands for means the same."""
        option = data.draw(st.sampled_from(list(SETTABLE.values())))
        names = next((group for group in TOGETHER if option.name in group), [option.name])
        values = {name: data.draw(VALUES[name], label=name) for name in names}
        texts = {
            str(SETTABLE[name].field): value if isinstance(value, list) else as_text(value)
            for name, value in values.items()
        }
        config = load_config({name: as_flag(value) for name, value in values.items()}, {})
        self.assertEqual(Config(**cast(Any, texts)), config)
        self.assertEqual(attrs.evolve(config), config)
        sent = msgspec.msgpack.decode(msgspec.msgpack.encode(config.texts()))
        self.assertEqual(Config(**sent), config)

    def test_bad_texts_name_the_field(self) -> None:
        """The error names the field, has the text and says what it should be."""
        for name, option in SETTABLE.items():
            for text in BAD_VALUES[name]:
                self.assertIn(f"{option.field} {text!r}: should ", self.refused(**{str(option.field): text}))

    def test_bad_values_name_the_field(self) -> None:
        for fields, error in [
            ({"watch_history": 0}, "watch_history 0: should be a whole number from 1"),
            ({"watch_history": 1.5}, "watch_history 1.5: should be a whole number from 1"),
            ({"watch_history": True}, "watch_history True: should be a whole number from 1"),
            ({"http_read_timeout": -1.0}, "http_read_timeout -1.0: should be a number of seconds above 0"),
            ({"snapshot": 1}, "snapshot 1: should be true or false"),
            ({"addr": 4001}, "addr 4001: should be an Address, or its text"),
            ({"addr": None}, "addr None: should be an Address, or its text"),
            ({"bind_addr": 4001}, "bind_addr 4001: should be an Address or an Endpoint, or its text"),
            ({"peers": ["a:1", "b"]}, "peers ['a:1', 'b']: should have a port, "),
            ({"cors": ["https://a", "b"]}, "cors 'b': should be * or origins"),
            ({"data_dir": 5}, "data_dir 5: "),
            ({"verbosity": None}, "verbosity None: should be a whole number"),
        ]:
            self.assertTrue(self.refused(**fields).startswith(error), self.refused(**fields))

    def test_passwords_are_not_repeated(self) -> None:
        self.assertIn("discovery 'http://u:***@h", self.refused(discovery="http://u:secret@h/d"))

    def test_what_does_not_go_together(self) -> None:
        """What flags are refused for, programs are too."""
        for fields, error in [
            ({"addr": "a:1", "peer_addr": "a:1"}, "--addr a:1 and --peer-addr a:1 take the same port"),
            ({"bind_addr": "[::]:7001", "peer_bind_addr": "[::1]:7001"}, "--bind-addr [::]:7001 and "),
            ({"peer_heartbeat_interval": 100}, "--peer-election-timeout 200 should be at least 3 times"),
            ({"cert_file": "c"}, "--cert-file c needs --key-file too"),
        ]:
            self.assertTrue(self.refused(**fields).startswith(error), self.refused(**fields))

    def test_both_ports_may_be_any_that_is_free(self) -> None:
        """Both ports may be any that is free."""
        anywhere = Address("127.0.0.1", 0)
        config = Config(bind_addr=anywhere, peer_bind_addr=anywhere)
        self.assertEqual((config.bind_addr, config.peer_bind_addr), (anywhere, anywhere))


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
