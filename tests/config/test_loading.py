"""
Tests of loading flags, variables and a TOML file.
"""

from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.config import Config
from etcd_twisted.config.addresses import Address
from etcd_twisted.config.config import OPTIONS
from etcd_twisted.config.etcd2 import FOREIGN_SETTINGS
from etcd_twisted.config.loading import load_config, unknown_variables
from etcd_twisted.config.option import written
from etcd_twisted.config.value_types import Form
from etcd_twisted.errors import ConfigError
from tests.values import (
    SETTABLE,
    SOURCES,
    TOGETHER,
    VALUES,
    Sources,
    as_field,
    as_flag,
    as_text,
    as_toml,
)


class PrecedenceTests(SynchronousTestCase):
    """
    For every option, flags take precedence over the environment, the environment over the file, and the file over
    defaults.
    """

    @given(data=st.data())
    def test_sources_have_their_order(self, data: st.DataObject) -> None:
        """Each source takes precedence over those below it (spec, "Flags")."""
        sources = Sources(self)
        flags: dict[str, str | tuple[str, ...]] = {}
        environment = {}
        lines = []
        expected: dict[str, tuple[int, object]] = {}
        chosen: dict[str, set[str]] = {}
        for option in SETTABLE.values():
            first = next((group[0] for group in TOGETHER if option.name in group), option.name)
            if first not in chosen:
                chosen[first] = data.draw(SOURCES, label=first)
            for source in chosen[first]:
                value = data.draw(VALUES[option.name], label=f"{option.name} {source}")
                if source == "file":
                    key = data.draw(st.sampled_from([option.name, option.key]))
                    lines.append(f"{key} = {as_toml(value)}")
                    weight = 0
                elif source == "environment":
                    environment[option.variable] = as_text(value)
                    weight = 1
                else:
                    flags[option.name] = as_flag(value)
                    weight = 2
                if weight >= expected.get(option.name, (0, None))[0]:
                    expected[option.name] = (weight, as_field(option, value))
        flags["config"] = sources.file("\n".join(lines))
        fields: dict[str, Any] = {str(SETTABLE[name].field): field for name, (_, field) in expected.items()}
        self.assertEqual(load_config(flags, environment), Config(**fields))

    @given(data=st.data())
    def test_profile_sets_only_what_is_not_given(self, data: st.DataObject) -> None:
        """A setting beats the profile, however either of them is given."""
        sources = Sources(self)
        differing = {option.name: option for option in SETTABLE.values() if option.profile_defaults}
        chosen = data.draw(st.sets(st.sampled_from(list(differing))))
        if "peer-election-timeout" in chosen:
            chosen.add("peer-heartbeat-interval")  # that of the profile is too long for it
        flags: dict[str, str | tuple[str, ...]] = {}
        environment, lines = {}, []
        values = {"profile": "etcd2", **{name: differing[name].default for name in sorted(chosen)}}
        for name, value in values.items():
            option = SETTABLE[name]
            source = data.draw(st.sampled_from(["file", "environment", "flag"]), label=option.name)
            if source == "file":
                lines.append(f"{option.key} = {value if option.form is Form.WHOLE else as_toml(value)}")
            elif source == "environment":
                environment[option.variable] = value
            else:
                flags[option.name] = value
        flags["config"] = sources.file("\n".join(lines))
        fields: dict[str, Any] = {str(differing[name].field): differing[name].default for name in chosen}
        config = load_config(flags, environment)
        self.assertEqual(config, Config(profile="etcd2", **fields))
        for name, option in differing.items():
            expected = option.default if name in chosen else option.profile_defaults["etcd2"]
            self.assertEqual(written(getattr(config, str(option.field))), expected)

    def test_file_named_by_variable(self) -> None:
        sources = Sources(self)
        config = load_config({}, {"ETCD_CONFIG": sources.file("watch_history = 7")})
        self.assertEqual(config.watch_history, 7)

    def test_file_named_by_flag_wins(self) -> None:
        first, second = Sources(self), Sources(self)
        config = load_config(
            {"config": first.file("watch_history = 7")}, {"ETCD_CONFIG": second.file("snapshot_count = 8")}
        )
        self.assertEqual((config.watch_history, config.snapshot_count), (7, 10000))

    def test_empty_and_unknown_variables(self) -> None:
        self.assertEqual(load_config({}, {"ETCD_NAME": "", "ETCD_FLY": "high", "SNAPSHOT_COUNT": "3"}), Config())


BAD_VALUES: dict[str, tuple[str, ...]] = {
    "config": ("\0",),
    "profile": ("etcd3", "2", "ETCD2"),
    "name": (".hidden", "-dash", "two words", "a/b", "å", "x" * 256, "line\nbreak"),
    "data-dir": ("a\0b",),
    "addr": (
        *("127.0.0.1", "4001", ":4001", "h:0", "h:65536", "h:+1", "h:x", "::1:4001", "[::1]", "[1.2.3.4]:1"),
        *("0.0.0.0:4001", "[::]:4001", "[0:0::0]:1", "[::ffff:0.0.0.0]:1"),
    ),
    "bind-addr": ("::", "[::", "h:0", "h:", "1.2.3.4.5:1", "256.0.0.1", "[fe80::1%eth0]:1", "http://h:1", "[::1]4001"),
    "also-bind-addr": ("h", "::1:1", "http://h", "ftp://h:1", "http://h:1/x", "h:0"),
    "metrics-bind-addr": ("h", "http://"),
    "peer-addr": ("127.0.0.1", "http://127.0.0.1:7001", "-h:1", "h-:1", "a..b:1", "a b:1", "h:٣", "0.0.0.0:7001"),
    "peer-bind-addr": ("h:99999", "x" * 64, ".".join(["x" * 60] * 5)),
    "also-peer-bind-addr": ("h", "https://h:0", "http://h:1?x"),
    "peers": (",", " , ", "a", "a:1,b", "http://a:1", "a:1 b:1", "::1:7001", "a:1,0.0.0.0:7001"),
    "peers-file": ("a\0b",),
    "discovery": (
        "h:1/v2/keys/d",
        "ftp://h/d",
        "http://",
        "http:///d",
        "http://h:0/d",
        "http://[/d",
        "http://h/d?x=1",
        "http://h/d#x",
        "http://h/a b",
        "http://user@h/d",
        "http://h/ü",
        "http://h\n/d",
    ),
    "initial-cluster": (
        *(",", "http://h:1", "m0", "m0=", "m0=h:1", "m0=http://h", "m0=http://h:1/x", "=http://h:1", "-m=http://h:1"),
        *("m0=ftp://h:1", "m0=http://0.0.0.0:1", "m0=http://h:1,m1=http://H.:1", "m0=http://h:1,m0=http://h:1"),
    ),
    "initial-cluster-state": ("old", "New"),
    "initial-cluster-token": ("a\nb",),
    "discovery-srv": ("a b", "http://example.com", "example.com:53", "[::1]", "1.2.3.4.5"),
    "force": ("yes", "0"),
    "cert-file": ("\0",),
    "key-file": ("\0",),
    "ca-file": ("\0",),
    "peer-cert-file": ("\0",),
    "peer-key-file": ("\0",),
    "peer-ca-file": ("\0",),
    "peer-heartbeat-interval": ("0", "-1", "0.5", "50ms", "60001"),
    "peer-election-timeout": ("0", "1e3", "60001", "9" * 5000),
    "max-retry-attempts": ("0", "-1", "many"),
    "cluster-active-size": ("0", "2", "3.0", "-3", "2147483648", "9" * 20),
    "cluster-remove-delay": ("0", "1.9", "nan", "inf", "-5", "2147483648", "1e19", "1h"),
    "cluster-sync-interval": ("0", "0.9", "nan", "86401", "5s"),
    "snapshot": ("yes", "1", "truth"),
    "snapshot-count": ("0", "-1", "abc", "1.5", "1_000", " 1", "٣", "9" * 20, "9" * 5000),
    "watch-history": ("0", "1e3"),
    "watch-history-bytes": ("0", "64MiB"),
    "quota-bytes": ("-1", "2GB"),
    "max-request-bytes": ("10MB", "0x10", "16777217"),
    "http-read-timeout": ("0", "-1", "nan", "inf", "1s", ".", "1e9", "0.0", "86401"),
    "http-write-timeout": ("soon", "1_0"),
    "cors": (
        "example.com",
        "http://",
        "http://a/x",
        "http://a/",
        "http://u@a",
        "http://a,",
        "null",
        "*.a",
        "http://å",
    ),
    "allowed-hosts": ("a:80", "http://a", "a,", "*.a", "å", "a/b", "256.0.0.1", "::1", "[::1]:1"),
    "verbosity": ("-1", "3", "loud"),
    "log-format": ("xml", "JSON"),
    "follower-requests": ("proxy", "Forward"),
    "in-order-keys": ("20", "Padded"),
    "member-ids": ("uuid", "Hex"),
    "zero-prev-index": ("0", "none"),
    "version-media-type": ("text", "JSON"),
    "workers": ("-1", "65", "two"),
    "frontend": (":port=1",),
}


class BadValueTests(SynchronousTestCase):
    """
    A value that can't be used is refused in one line, with the setting as it was given, the value, and what it should
    be.
    """

    def refused(self, flags: Mapping[str, str | tuple[str, ...]], environment: Mapping[str, str]) -> str:
        text = str(self.assertRaises(ConfigError, load_config, flags, environment))
        self.assertTrue(text.isprintable(), text)
        return text

    def test_every_option_is_tried(self) -> None:
        """Every option is tried with a bad value (spec, "Flags")."""
        self.assertEqual(set(BAD_VALUES), {option.name for option in OPTIONS})

    def test_bad_flags_are_refused(self) -> None:
        for name, values in BAD_VALUES.items():
            for value in ("", *values):
                self.assertIn(f"--{name} {value!r}: should ", self.refused({name: value}, {}))

    def test_passwords_are_not_repeated(self) -> None:
        """Passwords are not repeated in the error."""
        url = "http://u:secret@h/d"
        for error in (self.refused({"discovery": url}, {}), self.refused({}, {"ETCD_DISCOVERY": url})):
            self.assertNotIn("secret", error)
            self.assertIn("http://u:***@h", error)

    def test_bad_variables_are_refused(self) -> None:
        for option in OPTIONS:
            for value in BAD_VALUES[option.name]:
                first = value.split()[0] if option.form is Form.LIST else value
                self.assertIn(f"{option.variable} {first!r}: should ", self.refused({}, {option.variable: value}))

    def test_bad_toml_values_are_refused(self) -> None:
        sources = Sources(self)
        texts = {name for name, option in SETTABLE.items() if option.form is Form.TEXT}
        for name in texts:
            for value in ("", *BAD_VALUES[name]):
                file = sources.file(f"{name} = {as_toml(value)}")
                self.assertIn(f"{file}: {name} {value!r}: should ", self.refused({"config": file}, {}))

    def test_toml_numbers_and_lists(self) -> None:
        sources = Sources(self)
        for line, message in [
            ("snapshot_count = 0", "snapshot_count '0': should be a whole number from 1"),
            ("watch-history = -5", "watch-history '-5': should be a whole number from 1"),
            ("http_read_timeout = 0", "http_read_timeout '0': should be a number of seconds above 0"),
            ("http_read_timeout = nan", "http_read_timeout 'nan': should be a number of seconds above 0"),
            ("http_read_timeout = -inf", "http_read_timeout '-inf': should be a number of seconds above 0"),
            ('frontend = ["a", ":x"]', "frontend ':x': should be NAME"),
        ]:
            file = sources.file(line)
            self.assertIn(f"{file}: {message}", self.refused({"config": file}, {}))

    def test_overridden_value_is_checked_too(self) -> None:
        sources = Sources(self)
        file = sources.file("snapshot_count = 0")
        flags = {"snapshot-count": "5", "config": file}
        self.assertIn(f"{file}: snapshot_count", self.refused(flags, {}))
        self.assertIn("ETCD_SNAPSHOT_COUNT 'x'", self.refused(flags, {"ETCD_SNAPSHOT_COUNT": "x"}))

    def test_repeated_values_are_all_checked(self) -> None:
        for values in (("abc", "5"), ("5", "abc"), ("5", "abc", "6")):
            text = self.refused({"snapshot-count": values}, {})
            self.assertIn("--snapshot-count 'abc': should be a whole number", text)
        self.assertEqual(load_config({"snapshot-count": ("5", "6")}, {}).snapshot_count, 6)

    def test_largest_body_is_limited(self) -> None:
        """A limit of 16 MiB is accepted, and a byte more is refused with the reason."""
        self.assertEqual(load_config({"max-request-bytes": "16777216"}, {}).max_request_bytes, 16777216)
        self.assertIn(
            "from 1 to 16777216 (16 MiB): a longer one would hold up the leader",
            self.refused({"max-request-bytes": "16777217"}, {}),
        )

    def test_shared_port_is_refused(self) -> None:
        """Clients and machines can't have the same address; the error names both settings as they were given."""
        for flags, environment, message in [
            ({"addr": "h:1", "peer-addr": "h:1"}, {}, "--addr h:1 and --peer-addr h:1"),
            ({}, {"ETCD_ADDR": "127.0.0.1:7001"}, "ETCD_ADDR 127.0.0.1:7001 and --peer-addr 127.0.0.1:7001"),
            ({"bind-addr": "127.0.0.1:7001"}, {}, "--bind-addr 127.0.0.1:7001 and --peer-addr 127.0.0.1:7001"),
            (
                {"addr": "a:1", "bind-addr": "0.0.0.0", "peer-addr": "b:1"},
                {"ETCD_PEER_BIND_ADDR": "0.0.0.0"},
                "--bind-addr 0.0.0.0:1 and ETCD_PEER_BIND_ADDR 0.0.0.0:1",
            ),
            (
                {"addr": "h:1", "bind-addr": "h:2", "peer-addr": "h:1", "peer-bind-addr": "h:3"},
                {},
                "--addr h:1 and --peer-addr h:1",
            ),
            (
                {"addr": "h:1", "also-bind-addr": ("h:2", "http://h:3"), "also-peer-bind-addr": ("h:4", "h:3")},
                {},
                "--also-bind-addr h:3 and --also-peer-bind-addr h:3",
            ),
            (
                {"also-bind-addr": "127.0.0.1:4001"},
                {},
                "--addr 127.0.0.1:4001 and --also-bind-addr 127.0.0.1:4001",
            ),
        ]:
            text = self.refused(flags, environment)
            self.assertEqual(text, f"{message} take the same port; give one of them another")

    def test_further_addresses_need_the_certificate_of_their_port(self) -> None:
        """Clients may be served without TLS beside a port with it; machines may not."""
        peer_tls = {"peer-cert-file": "c", "peer-key-file": "k"}
        for flags, message in [
            ({"also-bind-addr": "https://h:1"}, "--also-bind-addr https://h:1 needs --cert-file too"),
            ({"also-peer-bind-addr": "https://h:1"}, "--also-peer-bind-addr https://h:1 needs --peer-cert-file too"),
            (
                {**peer_tls, "also-peer-bind-addr": "http://h:1"},
                "--also-peer-bind-addr http://h:1: machines use TLS with each other; write https",
            ),
        ]:
            self.assertEqual(self.refused(flags, {}), message)
        config = load_config({"cert-file": "c", "key-file": "k", "also-bind-addr": ("http://h:1", "h:2")}, {})
        self.assertEqual([each.tls for each in config.also_bind_addr], [False, None])

    def test_election_timeout_of_too_few_heartbeats_is_refused(self) -> None:
        """A single lost heartbeat should not cause an election; the error names both settings as they were given."""
        for flags, environment, message in [
            (
                {"peer-election-timeout": "149"},
                {},
                "--peer-election-timeout 149 should be at least 3 times --peer-heartbeat-interval 50",
            ),
            (
                {"peer-election-timeout": "500"},
                {"ETCD_PEER_HEARTBEAT_INTERVAL": "200"},
                "--peer-election-timeout 500 should be at least 3 times ETCD_PEER_HEARTBEAT_INTERVAL 200",
            ),
        ]:
            self.assertEqual(self.refused(flags, environment), message)
        config = load_config({"peer-election-timeout": "600"}, {"ETCD_PEER_HEARTBEAT_INTERVAL": "200"})
        self.assertEqual((config.peer_heartbeat_interval, config.peer_election_timeout), (200, 600))

    def test_certificates_need_their_keys(self) -> None:
        """A certificate needs its key, a key needs its certificate, and an authority needs both."""
        for flags, environment, message in [
            ({"cert-file": "c"}, {}, "--cert-file c needs --key-file too"),
            ({}, {"ETCD_KEY_FILE": "k\n"}, "ETCD_KEY_FILE 'k\\n' needs --cert-file too"),
            ({"ca-file": "a"}, {}, "--ca-file a needs --cert-file too"),
            ({"ca-file": "a", "cert-file": "c"}, {}, "--cert-file c needs --key-file too"),
            (
                {"peer-cert-file": "c", "key-file": "k", "cert-file": "c"},
                {},
                "--peer-cert-file c needs --peer-key-file too",
            ),
            ({"peer-key-file": "k"}, {}, "--peer-key-file k needs --peer-cert-file too"),
            ({}, {"ETCD_PEER_CA_FILE": "a"}, "ETCD_PEER_CA_FILE a needs --peer-cert-file too"),
        ]:
            self.assertEqual(self.refused(flags, environment), message)

    def test_bad_peer_address_is_named(self) -> None:
        """The error names the address that can't be used."""
        self.assertEqual(
            self.refused({"peers": "a:1, b"}, {}),
            "--peers 'a:1, b': should have a port, as in 127.0.0.1:4001, machine0.example.com:4001 or [::1]:4001,"
            " unlike 'b'",
        )
        self.assertEqual(load_config({"peers": " a:1,, [::1]:2 ,"}, {}).peers, (Address("a", 1), Address("::1", 2)))

    def test_unknown_flag_is_refused(self) -> None:
        self.assertEqual(self.refused({"snapshot_count": "5"}, {}), "--snapshot_count: there is no such option")

    @given(
        name=st.sampled_from([option.name for option in OPTIONS if option.field]),
        value=st.text(st.characters(exclude_categories=[])),
    )
    def test_any_text_is_accepted_or_refused(self, name: str, value: str) -> None:
        """Any text is either accepted or refused in one line."""
        beside = {other: "f" for group in TOGETHER if name in group for other in group if other != name}
        try:
            load_config({name: value, **beside}, {})
        except ConfigError as e:
            self.assertTrue(str(e).isprintable())
            self.assertIn(f"--{name} ", str(e))
            self.assertIn("should ", str(e))


class FileTests(SynchronousTestCase):
    """Tests of a TOML file that can't be used."""

    def setUp(self) -> None:
        self.sources = Sources(self)

    def refused(self, content: str | bytes) -> str:
        """Returns the error about a file with that content, without the file's name."""
        file = self.sources.file(content)
        text = str(self.assertRaises(ConfigError, load_config, {"config": file}, {}))
        self.assertTrue(text.isprintable(), text)
        name, _, rest = text.removeprefix("--config ").partition(": ")
        self.assertEqual(name, file)
        return rest

    def test_wrong_toml_types_are_refused(self) -> None:
        for line, message in [
            ("name = 5", "name 5: should be a string"),
            ("addr = true", "addr true: should be a string"),
            ('snapshot_count = "5"', "snapshot_count '5': should be a whole number"),
            ("snapshot_count = 5.0", "snapshot_count 5: should be a whole number"),
            ("snapshot-count = true", "snapshot-count true: should be a whole number"),
            ('http_read_timeout = "5"', "http_read_timeout '5': should be a number"),
            ('snapshot = "true"', "snapshot 'true': should be true or false"),
            ("snapshot = 1", "snapshot 1: should be true or false"),
            ('frontend = "amp"', "frontend 'amp': should be a list of strings"),
            ('frontend = ["amp", 5]', "frontend [...]: should be a list of strings"),
            ("data_dir = 2026-01-01", "data_dir 2026-01-01: should be a string"),
            ("[addr]", "addr {...}: should be a string"),
        ]:
            self.assertEqual(self.refused(line), message)

    def test_unknown_key_is_refused(self) -> None:
        for line, message in [
            ("snapshot_cuont = 5", "'snapshot_cuont' is not a setting; did you mean snapshot_count?"),
            ('"snap\\nshot" = 5', "'snap\\nshot' is not a setting; did you mean snapshot?"),
            ("snapshotcount = 5", "'snapshotcount' is not a setting; did you mean snapshot_count?"),
            (
                '[peer]\naddr = "h:1"\nzzz = 1',
                "'peer' is a table, but all keys are at the top level; write peer_addr for 'addr' in it",
            ),
            (
                "[cluster]\nactive_size = 5\nsync_interval = 1",
                "'cluster' is a table, but all keys are at the top level; write cluster_active_size for 'active_size'"
                " in it, cluster_sync_interval for 'sync_interval' in it",
            ),
        ]:
            self.assertEqual(self.refused(line), message)
        self.assertIn("'zzz' is a table, but all keys are at the top level; the keys are ", self.refused("[zzz]"))
        self.assertIn("'zzz' is not a setting; the keys are profile, name, data_dir, addr", self.refused("zzz = 5"))

    def test_file_names_no_file(self) -> None:
        self.assertIn("'config' is not a setting", self.refused('config = "other.toml"'))

    def test_both_spellings_of_a_key_are_refused(self) -> None:
        self.assertEqual(
            self.refused("snapshot_count = 5\nsnapshot-count = 6"),
            "snapshot_count and snapshot-count are the same setting; leave one of them out",
        )

    def test_broken_toml_is_refused(self) -> None:
        said = self.refused('name = "machine0"\nsnapshot_count 5')
        self.assertTrue(said.startswith("is not TOML: "))
        self.assertIn("line 2, column 16", said)

    def test_file_that_is_not_utf8(self) -> None:
        self.assertEqual(self.refused(b'name = "\xff"'), "is not UTF-8 text, at byte 8; save it as UTF-8")

    def test_toml_that_is_too_deep(self) -> None:
        self.assertIn("is not TOML: ", self.refused("name = " + "[" * 100_000))

    def test_huge_numbers_are_refused(self) -> None:
        """A number may have more digits than Python converts to a number or back."""
        self.assertIn("is not TOML: ", self.refused("snapshot_count = 1" + "0" * 5000))
        self.assertIn("should be a whole number", self.refused("snapshot_count = 0x1" + "0" * 5000))

    def test_unreadable_file_is_refused(self) -> None:
        """The error says how the file was given, and what to do."""
        missing = str(self.sources.path / "missing.toml")
        advice = "No such file or directory; give the path of a TOML file, or leave it out"
        for flags, environment, named in [
            ({"config": missing}, {}, f"--config {missing}: can't be read: {advice}"),
            ({}, {"ETCD_CONFIG": missing}, f"ETCD_CONFIG {missing}: can't be read: {advice}"),
            (
                {"config": str(self.sources.path)},
                {"ETCD_CONFIG": missing},
                f"--config {self.sources.path}: can't be read: Is a directory; name the file in it",
            ),
        ]:
            self.assertEqual(str(self.assertRaises(ConfigError, load_config, flags, environment)), named)

    def test_odd_file_name_is_printable(self) -> None:
        error = self.assertRaises(ConfigError, load_config, {"config": "no\nfile"}, {})
        self.assertTrue(str(error).startswith("--config 'no\\nfile': can't be read"))

    @given(content=st.binary(max_size=60))
    def test_any_bytes_are_accepted_or_refused(self, content: bytes) -> None:
        """Any content is either accepted or refused in one line that begins with the file's name."""
        file = self.sources.file(content)
        try:
            load_config({"config": file}, {})
        except ConfigError as e:
            self.assertTrue(str(e).isprintable())
            self.assertTrue(str(e).removeprefix("--config ").startswith(f"{file}: "))


class VariableTests(SynchronousTestCase):
    """Tests of environment variables that are not read."""

    def test_unknown_variables_are_found(self) -> None:
        """Each is found with the nearest variable, if one is near."""
        for name, meant in (
            ("ETCD_NMAE", "ETCD_NAME"),
            ("ETCD_DATADIR", "ETCD_DATA_DIR"),
            ("ETCD_PEER_ADDRS", "ETCD_PEER_ADDR"),
            ("ETCD_LISTEN_CLIENT_URL", "ETCD_LISTEN_CLIENT_URLS"),
            ("ETCD_ADVERTISED_CLIENT_URLS", "ETCD_ADVERTISE_CLIENT_URLS"),
            ("ETCD_VERSION", None),
            ("ETCD_PORT", None),
            ("ETCD_SERVICE_HOST", None),
            ("ETCD_PORT_4001_TCP_ADDR", None),
        ):
            self.assertEqual(unknown_variables({name: ""}), {name: meant})

    def test_other_variables_are_not_unknown(self) -> None:
        """They are read, or have another beginning."""
        known = {setting.variable: "" for setting in (*OPTIONS, *FOREIGN_SETTINGS)}
        others = ("ETCDCTL_API", "ETCDCTL_ENDPOINTS", "PATH", "NAME")
        self.assertEqual(unknown_variables(known | dict.fromkeys(others, "")), {})
