"""
Tests of the settings of etcd 2 and later that have another name here, or no meaning.
"""

from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.config import Config
from etcd_twisted.config.addresses import Address, Endpoint, Listener
from etcd_twisted.config.config import OPTIONS
from etcd_twisted.config.etcd2 import FOREIGN_SETTINGS
from etcd_twisted.config.loading import load_config
from etcd_twisted.config.value_types import Form
from etcd_twisted.errors import ConfigError
from tests.config.test_command_line import configured
from tests.values import Sources, as_toml

FOREIGN = {setting.name: setting for setting in FOREIGN_SETTINGS}

TLS = {"cert-file": "c", "key-file": "k"}

MEANINGS: list[tuple[dict[str, str], dict[str, str], dict[str, Any]]] = [
    (
        {"heartbeat-interval": "90", "election-timeout": "900"},
        {},
        {"peer_heartbeat_interval": 90, "peer_election_timeout": 900},
    ),
    ({"trusted-ca-file": "a"}, TLS, {"ca_file": "a"}),
    ({"client-cert-auth": "true", "trusted-ca-file": "a"}, TLS, {"ca_file": "a"}),
    ({"client-cert-auth": "false"}, {}, {}),
    ({"quota-backend-bytes": "0"}, {}, {}),
    ({"quota-backend-bytes": "8589934592"}, {}, {"quota_bytes": 8589934592}),
    ({"host-whitelist": "*"}, {}, {"allowed_hosts": "*"}),
    ({"host-whitelist": "a.example,b.example"}, {}, {"allowed_hosts": "a.example,b.example"}),
    ({"debug": "true"}, {}, {"verbosity": 1}),
    ({"debug": "0"}, {}, {}),
    ({"log-level": "DEBUG"}, {}, {"verbosity": 1}),
    ({"log-level": "warn"}, {}, {}),
    ({"proxy": "off", "force-new-cluster": "false", "auto-tls": "F"}, {}, {}),
    ({"advertise-client-urls": "http://10.0.0.1:2379"}, {}, {"addr": "10.0.0.1:2379"}),
    ({"advertise-client-urls": "http://a:1/, http://b:2"}, {}, {"addr": "a:1"}),
    ({"initial-advertise-peer-urls": "http://[::1]:2380"}, {}, {"peer_addr": "[::1]:2380"}),
    # Without an address of its own, a port is told by the one that it listens on.
    ({"listen-client-urls": "http://10.0.0.1:2379"}, {}, {"addr": "10.0.0.1:2379"}),
    ({"listen-peer-urls": "http://10.0.0.1:2380"}, {}, {"peer_addr": "10.0.0.1:2380"}),
    ({"listen-client-urls": "http://10.0.0.1:5"}, {"addr": "a:6"}, {"addr": "a:6", "bind_addr": "10.0.0.1:5"}),
    (
        {"listen-client-urls": "http://0.0.0.0:2379,http://0.0.0.0:4001", "advertise-client-urls": "http://m:2379"},
        {},
        {"addr": "m:2379", "bind_addr": "0.0.0.0:2379", "also_bind_addr": "http://0.0.0.0:4001"},
    ),
    (
        {"listen-client-urls": "http://127.0.0.1:1,https://10.0.0.1:2,https://10.0.0.2:2,unix:///run/e:1.sock"},
        TLS,
        {
            "addr": "10.0.0.1:2",
            "also_bind_addr": [
                "http://127.0.0.1:1",
                "https://10.0.0.2:2",
                Listener(Endpoint(r"unix:address=/run/e\:1.sock")),
            ],
        },
    ),
    (
        {"listen-client-urls": "unix://localhost:2379", "advertise-client-urls": "http://m:2379"},
        {},
        {"addr": "m:2379", "bind_addr": Endpoint(r"unix:address=localhost\:2379")},
    ),
    (
        {"listen-metrics-urls": "http://127.0.0.1:2381,unix:///m.sock"},
        {},
        {"metrics_bind_addr": ["http://127.0.0.1:2381", "unix:address=/m.sock"]},
    ),
    ({"enable-v2": "true", "pre-vote": "1", "discovery-fallback": "exit"}, {}, {}),
    (
        {"listen-peer-urls": "http://a:2380,http://a:7001"},
        {},
        {"peer_addr": "a:2380", "also_peer_bind_addr": "http://a:7001"},
    ),
]
"""What is given by the names of etcd and by those of options, and which fields follow."""

REFUSALS: list[tuple[dict[str, str], str]] = [
    ({"proxy": "on"}, "--proxy 'on': should be off: any machine of a cluster answers for all"),
    ({"proxy": "readonly"}, "--proxy 'readonly': should be off: "),
    ({"force-new-cluster": "true"}, "--force-new-cluster 'true': should be false: docs/backup.md says"),
    ({"auto-tls": "1"}, "--auto-tls '1': should be false: give a certificate"),
    ({"peer-crl-file": "x"}, "--peer-crl-file 'x': should be left out: lists of revoked certificates are not read"),
    ({"peer-cert-allowed-cn": "x"}, "--peer-cert-allowed-cn 'x': should be left out: every machine with"),
    ({"config-file": "x"}, "--config-file 'x': should be left out: files of etcd are YAML; --config names"),
    ({"client-cert-auth": "yes"}, "--client-cert-auth 'yes': should be true or false"),
    ({"client-cert-auth": "true"}, "--client-cert-auth 'true' needs --trusted-ca-file too"),
    ({"peer-client-cert-auth": "true"}, "--peer-client-cert-auth 'true' needs --peer-trusted-ca-file too"),
    ({"trusted-ca-file": "a"}, "--trusted-ca-file a needs --cert-file too"),
    ({"quota-backend-bytes": "2GB"}, "--quota-backend-bytes '2GB': should be a whole number from 0 to"),
    ({"heartbeat-interval": "0"}, "--heartbeat-interval '0': should be a whole number from 1 to 60000 (a minute)"),
    ({"listen-client-urls": ""}, "--listen-client-urls '': should be URLs with commas between them, as in http://"),
    ({"listen-client-urls": "127.0.0.1:1"}, "--listen-client-urls '127.0.0.1:1': should be URLs with commas"),
    (
        {"listen-client-urls": "http://h:1,https://h:1", **TLS},
        "--listen-client-urls 'http://h:1,https://h:1': should have h:1 once: with https or with http",
    ),
    (
        {"listen-metrics-urls": "https://h:1,http://h:1", **TLS},
        "--listen-metrics-urls 'https://h:1,http://h:1': should have h:1 once: with https or with http",
    ),
    ({"listen-client-urls": "http://h"}, "--listen-client-urls 'http://h': should be URLs with commas"),
    ({"listen-client-urls": "http://0.0.0.0:1"}, "--listen-client-urls 'http://0.0.0.0:1' needs --advertise-client-u"),
    ({"listen-peer-urls": "http://[::]:1"}, "--listen-peer-urls 'http://[::]:1' needs --initial-advertise-peer-urls"),
    ({"listen-metrics-urls": "https://h:1"}, "--listen-metrics-urls https://h:1 needs --cert-file too"),
    ({"listen-client-urls": "https://h:1"}, "--listen-client-urls 'https://h:1' needs --cert-file too"),
    (
        {"advertise-client-urls": "http://h:1", **TLS},
        "--advertise-client-urls 'http://h:1' does not go with --cert-file: write https, or leave the certificate",
    ),
    ({"advertise-client-urls": "http://0.0.0.0:1"}, "--advertise-client-urls '0.0.0.0:1': should be an address that"),
    ({"advertise-client-urls": "unix://h"}, "--advertise-client-urls 'unix://h': should begin with an http or https"),
    (
        {"election-timeout": "1000", "peer-election-timeout": "500"},
        "--election-timeout 1000 and --peer-election-timeout 500 set the same; leave one of them out",
    ),
    (
        {"advertise-client-urls": "http://h:1", "addr": "h:2"},
        "--advertise-client-urls h:1 and --addr h:2 set the same; leave one of them out",
    ),
    ({"debug": "true", "verbosity": "2"}, "--debug 1 and --verbosity 2 set the same; leave one of them out"),
    (
        {"listen-client-urls": "http://h:1,http://h:2", "also-bind-addr": "h:3"},
        "--listen-client-urls http://h:2 and --also-bind-addr h:3 set the same; leave one of them out",
    ),
]


class MeaningTests(SynchronousTestCase):
    """What becomes of settings that have a meaning here."""

    def loaded(self, settings: Mapping[str, str], kind: str) -> Config:
        """Returns the configuration from flags, from variables or from a file."""
        if kind == "flag":
            return load_config(dict(settings), {})
        if kind == "variable":
            return load_config({}, {f"ETCD_{name.upper().replace('-', '_')}": each for name, each in settings.items()})
        lines = (f"{name} = {self.toml(name, value)}" for name, value in settings.items())
        return load_config({"config": Sources(self).file("\n".join(lines))}, {})

    def toml(self, name: str, value: str) -> str:
        form = FOREIGN[name].form if name in FOREIGN else Form.TEXT
        if form is Form.SWITCH:
            return "true" if value in ("true", "1") else "false"
        return value if form is Form.WHOLE else as_toml(value)

    def test_meanings(self) -> None:
        """They are the same for flags, variables and TOML keys, in every profile."""
        for foreign, beside, fields in MEANINGS:
            for profile in ("etcd04", "etcd2"):
                files = {"cert_file": "c", "key_file": "k"} if beside is TLS else {}
                expected = Config(profile=profile, **files, **fields)
                for kind in ("flag", "variable", "file"):
                    config = self.loaded({"profile": profile, **beside, **foreign}, kind)
                    self.assertEqual(config, expected, (kind, foreign))
                    self.assertEqual(config.without_effect, ())

    def test_refusals(self) -> None:
        """Each line names the setting as it was given, and says what to do."""
        for settings, line in REFUSALS:
            text = str(self.assertRaises(ConfigError, load_config, settings, {}))
            self.assertTrue(text.startswith(line), (text, line))
            self.assertTrue(text.isprintable(), text)

    def test_spellings_that_agree(self) -> None:
        """The same value may be given by both names; between flags, variables and the file there is precedence."""
        config = load_config({"election-timeout": "1000", "peer-election-timeout": "1000"}, {})
        self.assertEqual(config, Config(peer_election_timeout=1000))
        for name, other in (
            ("election-timeout", "peer-election-timeout"),
            ("peer-election-timeout", "election-timeout"),
        ):
            config = load_config({name: "1000"}, {f"ETCD_{other.upper().replace('-', '_')}": "500"})
            self.assertEqual(
                (config.peer_election_timeout, config.given_as("peer-election-timeout")), (1000, f"--{name}")
            )

    def test_what_took_another_place_has_no_further_effect(self) -> None:
        """A list of URLs of which nothing is left asks for nothing."""
        urls = {"ETCD_LISTEN_CLIENT_URLS": "https://10.0.0.1:5"}
        self.assertEqual(load_config({"bind-addr": "127.0.0.1:6"}, urls), Config(bind_addr="127.0.0.1:6"))
        error = self.assertRaises(
            ConfigError, load_config, {"bind-addr": "127.0.0.1:6"}, {"ETCD_LISTEN_PEER_URLS": "x"}
        )
        self.assertIn("ETCD_LISTEN_PEER_URLS 'x': should be URLs", str(error))

    def test_settings_without_effect_are_told(self) -> None:
        """They are named as they were given, whatever their value, and nothing follows from them."""
        names = [setting.name for setting in FOREIGN_SETTINGS if setting.becomes == "no effect"]
        self.assertGreater(len(names), 30)
        for name in names:
            for value in ("", "5", "true", "x y"):
                config = load_config({name: value}, {f"ETCD_{name.upper().replace('-', '_')}": "5"})
                self.assertEqual(config, Config())
                self.assertEqual(config.without_effect, (f"--{name}", f"ETCD_{name.upper().replace('-', '_')}"))

    def test_what_is_always_so_has_no_effect_otherwise(self) -> None:
        given = {"enable-v2": "false", "pre-vote": "f", "discovery-fallback": "proxy"}
        config = load_config(given, {})
        self.assertEqual(config, Config())
        self.assertEqual(config.without_effect, ("--enable-v2", "--pre-vote", "--discovery-fallback"))

    @given(name=st.sampled_from(sorted(FOREIGN)), value=st.text(st.characters(exclude_categories=[])))
    def test_any_text_is_accepted_or_refused(self, name: str, value: str) -> None:
        """Any text is either accepted or refused in one line that names the setting."""
        try:
            load_config({name: value}, {})
        except ConfigError as e:
            self.assertTrue(str(e).isprintable(), str(e))
            self.assertIn(f"--{name} ", str(e))


class CommandLineTests(SynchronousTestCase):
    """Flags as programs in Go take them."""

    def test_switches_with_and_without_a_value(self) -> None:
        secure = ("--cert-file", "c", "--key-file", "k", "--trusted-ca-file", "a")
        expected = Config(cert_file="c", key_file="k", ca_file="a")
        for switch in ("--client-cert-auth", "--client-cert-auth=true", "--client-cert-auth=false"):
            self.assertEqual(configured(switch, *secure), expected)
            self.assertEqual(configured(*secure, switch), expected)
        error = self.assertRaises(SystemExit, configured, "--client-cert-auth")
        self.assertEqual(error.code, "twistd etcd: --client-cert-auth 'true' needs --trusted-ca-file too")

    def test_value_that_looks_like_a_switch(self) -> None:
        self.assertEqual(configured("--cert-file", "--debug", "--key-file=--debug", "--debug").verbosity, 1)

    def test_last_value_counts_and_all_are_checked(self) -> None:
        self.assertEqual(
            configured("--listen-client-urls=http://h:1", "--listen-client-urls", "http://h:2").addr.port, 2
        )
        error = self.assertRaises(SystemExit, configured, "--log-level", "debug", "--proxy", "on", "--proxy", "off")
        self.assertIn("--proxy 'on': should be off", str(error.code))
        error = self.assertRaises(SystemExit, configured, "--heartbeat-interval=0", "--heartbeat-interval=50")
        self.assertIn("--heartbeat-interval '0': should be a whole number", str(error.code))


class TableTests(SynchronousTestCase):
    """The two tables fit together."""

    def test_names_are_different(self) -> None:
        names = [*(option.name for option in OPTIONS), *FOREIGN]
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual(len(FOREIGN), len(FOREIGN_SETTINGS))

    def test_address_of_a_setting_is_named_as_it_was_given(self) -> None:
        config = load_config({}, {"ETCD_LISTEN_CLIENT_URLS": "http://h:5"})
        self.assertEqual((config.addr, config.given("bind-addr")), (Address("h", 5), "ETCD_LISTEN_CLIENT_URLS h:5"))
