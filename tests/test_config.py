"""The table of options, and what becomes of flags, variables and a TOML file."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.addresses import Address, BindAddress
from etcd_twisted.config import Config
from etcd_twisted.errors import ConfigError
from etcd_twisted.loading import load_config
from etcd_twisted.settings import OPTIONS, Form, Option

unhurried = settings(deadline=None)

DOCUMENT = Path(__file__).parent.parent / "docs" / "configuration.md"

HOSTS = st.ip_addresses().map(str) | st.sampled_from(["localhost", "machine0.example.com"])
# Clients and machines have ports of their own; the defaults are among them.
CLIENTS = st.builds(Address, HOSTS, st.integers(1, 5000))
PEERS = st.builds(Address, HOSTS, st.integers(5001, 65535))
COUNTS = st.integers(1, 2**63 - 1)
TIMEOUTS = st.floats(0.001, 86400) | st.integers(1, 86400)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
FRONTENDS = st.from_regex(r"[a-z]{1,8}(:[a-z]{1,5}=[!-~]{1,9}){0,2}", fullmatch=True)

# For each option, values as a TOML file has them. What differs from them in text is in `as_text`.
VALUES: dict[str, st.SearchStrategy[object]] = {
    "name": st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True),
    "data-dir": TEXTS,
    "addr": CLIENTS.map(str),
    "bind-addr": CLIENTS.map(str),
    "peer-addr": PEERS.map(str),
    "peer-bind-addr": PEERS.map(str),
    "snapshot": st.booleans(),
    "snapshot-count": COUNTS,
    "watch-history": COUNTS,
    "max-request-bytes": st.integers(1, 512 * 1024 * 1024),
    "http-read-timeout": TIMEOUTS,
    "http-write-timeout": TIMEOUTS,
    "frontend": st.lists(FRONTENDS, min_size=1, max_size=3),
}
SETTABLE = {option.name: option for option in OPTIONS if option.field is not None}


def as_text(value: object) -> str:
    """A value as an environment variable has it."""
    if isinstance(value, list):
        return " ".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def as_flag(value: object) -> str | tuple[str, ...]:
    """A value as L{load_config} takes it for a flag."""
    return tuple(value) if isinstance(value, list) else as_text(value)


def as_toml(value: object) -> str:
    """A value as a TOML file has it. JSON's strings, numbers, booleans and lists are TOML's, but for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def as_field(option: Option, value: object) -> object:
    """A value as L{Config} has it."""
    texts = value if isinstance(value, list) else [as_text(value)]
    parsed = tuple(option.parse(text) for text in texts)
    if option.form is Form.LIST:
        return parsed
    return parsed[0].complete() if isinstance(parsed[0], BindAddress) else parsed[0]


class Sources:
    """
    Somewhere to write TOML files to.

    @ivar test: the test that they are for.
    """

    def __init__(self, test: SynchronousTestCase) -> None:
        self.path = Path(test.mktemp())
        self.path.mkdir(parents=True)

    def file(self, content: str | bytes) -> str:
        """The path of a file with that content."""
        path = self.path / "etcd.toml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)


class TableTests(SynchronousTestCase):
    """The table and L{Config} fit together."""

    def test_everyFieldHasItsOption(self) -> None:
        fields = [option.field for option in OPTIONS if option.field is not None]
        self.assertEqual(fields, [field.name for field in attrs.fields(Config) if field.name != "sources"])

    def test_namesAreDerived(self) -> None:
        option = SETTABLE["data-dir"]
        self.assertEqual((option.flag, option.variable, option.key), ("--data-dir", "ETCD_DATA_DIR", "data_dir"))

    def test_defaultsCanBeParsed(self) -> None:
        """A default that the help shows as a value means just that value, when it is given."""
        for option in SETTABLE.values():
            if option.depends is None and option.default != "none":
                self.assertEqual(load_config({option.name: option.default}, {}), Config(), option.name)

    def test_everyOptionIsTried(self) -> None:
        self.assertEqual(set(VALUES), set(SETTABLE))


class DefaultTests(SynchronousTestCase):
    """What holds when little or nothing is set."""

    def test_nothing(self) -> None:
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

    def test_directoryFollowsName(self) -> None:
        self.assertEqual(load_config({"name": "machine0"}, {}).data_dir, Path("machine0.etcd"))
        self.assertEqual(Config(name="machine0").data_dir, Path("machine0.etcd"))

    @unhurried
    @given(advertised=CLIENTS, peers=PEERS)
    def test_listensWhereAdvertised(self, advertised: Address, peers: Address) -> None:
        config = load_config({"addr": str(advertised), "peer-addr": str(peers)}, {})
        self.assertEqual((config.bind_addr, config.peer_bind_addr), (advertised, peers))
        self.assertEqual(config, Config(addr=advertised, peer_addr=peers))

    @unhurried
    @given(advertised=CLIENTS, host=HOSTS)
    def test_listensOnAdvertisedPort(self, advertised: Address, host: str) -> None:
        """An address alone takes the advertised port, also where the two are given in different ways."""
        alone = f"[{host}]" if ":" in host else host
        config = load_config({"addr": str(advertised)}, {"ETCD_BIND_ADDR": alone, "ETCD_PEER_BIND_ADDR": alone})
        self.assertEqual(config.bind_addr, Address(host, advertised.port))
        self.assertEqual(config.peer_bind_addr, Address(host, 7001))


class PrecedenceTests(SynchronousTestCase):
    """Flags over environment over file over defaults, for every option."""

    @unhurried
    @given(data=st.data())
    def test_precedence(self, data: st.DataObject) -> None:
        sources = Sources(self)
        flags: dict[str, str | tuple[str, ...]] = {}
        environment = {}
        lines = []
        expected: dict[str, tuple[int, object]] = {}
        for option in SETTABLE.values():
            for source in data.draw(st.sets(st.sampled_from(["file", "environment", "flag"])), label=option.name):
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

    def test_fileNamedByVariable(self) -> None:
        sources = Sources(self)
        config = load_config({}, {"ETCD_CONFIG": sources.file("watch_history = 7")})
        self.assertEqual(config.watch_history, 7)

    def test_fileNamedByFlagWins(self) -> None:
        first, second = Sources(self), Sources(self)
        config = load_config(
            {"config": first.file("watch_history = 7")}, {"ETCD_CONFIG": second.file("snapshot_count = 8")}
        )
        self.assertEqual((config.watch_history, config.snapshot_count), (7, 10000))

    def test_emptyAndUnknownVariables(self) -> None:
        self.assertEqual(load_config({}, {"ETCD_NAME": "", "ETCD_FLY": "high", "SNAPSHOT_COUNT": "3"}), Config())


class SourceTests(SynchronousTestCase):
    """L{Config.given_as}: how a value was given, as an error has to call it."""

    def test_everyWay(self) -> None:
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

    def test_listeningFollowsAdvertised(self) -> None:
        for flags, environment, sources in [
            ({}, {}, ("--addr", "--peer-addr")),
            ({"addr": "h:1"}, {}, ("--addr", "--peer-addr")),
            ({"peer-addr": "h:1"}, {"ETCD_ADDR": "h:2"}, ("ETCD_ADDR", "--peer-addr")),
            ({"peer-bind-addr": "h"}, {"ETCD_BIND_ADDR": "h:2"}, ("ETCD_BIND_ADDR", "--peer-bind-addr")),
            ({"addr": "h:2"}, {"ETCD_BIND_ADDR": "h"}, ("ETCD_BIND_ADDR", "--peer-addr")),
        ]:
            config = load_config(flags, environment)
            self.assertEqual((config.given_as("bind-addr"), config.given_as("peer-bind-addr")), sources)

    def test_withoutSources(self) -> None:
        """A program that makes its own L{Config} is told the flags that would have set it."""
        config = Config(bind_addr=Address("h", 1), peer_bind_addr=Address("h", 2))
        self.assertEqual(config.given_as("bind-addr"), "--bind-addr")
        self.assertEqual(config.given_as("peer-bind-addr"), "--peer-bind-addr")
        self.assertEqual(config.given_as("addr"), "--addr")

    def test_noPartInComparisons(self) -> None:
        given, made = load_config({"watch-history": "7"}, {}), Config(watch_history=7)
        self.assertEqual((given, hash(given), repr(given)), (made, hash(made), repr(made)))


BAD_VALUES: dict[str, tuple[str, ...]] = {
    "config": ("\0",),
    "name": (".hidden", "-dash", "two words", "a/b", "å", "x" * 256, "line\nbreak"),
    "data-dir": ("a\0b",),
    "addr": ("127.0.0.1", "4001", ":4001", "h:0", "h:65536", "h:+1", "h:x", "::1:4001", "[::1]", "[1.2.3.4]:1"),
    "bind-addr": ("::", "[::", "h:0", "h:", "1.2.3.4.5:1", "256.0.0.1", "[fe80::1%eth0]:1", "http://h:1", "[::1]4001"),
    "peer-addr": ("127.0.0.1", "http://127.0.0.1:7001", "-h:1", "h-:1", "a..b:1", "a b:1", "h:٣"),
    "peer-bind-addr": ("h:99999", "x" * 64, ".".join(["x" * 60] * 5)),
    "snapshot": ("yes", "1", "truth"),
    "snapshot-count": ("0", "-1", "abc", "1.5", "1_000", " 1", "٣", "9" * 20, "9" * 5000),
    "watch-history": ("0", "1e3"),
    "max-request-bytes": ("10MB", "0x10", "536870913"),
    "http-read-timeout": ("0", "-1", "nan", "inf", "1s", ".", "1e9", "0.0", "86401"),
    "http-write-timeout": ("soon", "1_0"),
    "frontend": (":port=1",),
}


class BadValueTests(SynchronousTestCase):
    """A value that can't be used: one line, naming the setting as it was given, the value, and what it should be."""

    def refused(self, flags: Mapping[str, str | tuple[str, ...]], environment: Mapping[str, str]) -> str:
        text = str(self.assertRaises(ConfigError, load_config, flags, environment))
        self.assertTrue(text.isprintable(), text)
        return text

    def test_everyOptionIsTried(self) -> None:
        self.assertEqual(set(BAD_VALUES), {option.name for option in OPTIONS})

    def test_flags(self) -> None:
        for name, values in BAD_VALUES.items():
            for value in ("", *values):
                self.assertIn(f"--{name} {value!r}: should ", self.refused({name: value}, {}))

    def test_variables(self) -> None:
        for option in OPTIONS:
            for value in BAD_VALUES[option.name]:
                first = value.split()[0] if option.form is Form.LIST else value
                self.assertIn(f"{option.variable} {first!r}: should ", self.refused({}, {option.variable: value}))

    def test_toml(self) -> None:
        sources = Sources(self)
        texts = {name for name, option in SETTABLE.items() if option.form is Form.TEXT}
        for name in texts:
            for value in ("", *BAD_VALUES[name]):
                file = sources.file(f"{name} = {as_toml(value)}")
                self.assertIn(f"{file}: {name} {value!r}: should ", self.refused({"config": file}, {}))

    def test_tomlNumbersAndLists(self) -> None:
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

    def test_overriddenValueIsCheckedToo(self) -> None:
        sources = Sources(self)
        file = sources.file("snapshot_count = 0")
        flags = {"snapshot-count": "5", "config": file}
        self.assertIn(f"{file}: snapshot_count", self.refused(flags, {}))
        self.assertIn("ETCD_SNAPSHOT_COUNT 'x'", self.refused(flags, {"ETCD_SNAPSHOT_COUNT": "x"}))

    def test_repeatedValuesAreAllChecked(self) -> None:
        for values in (("abc", "5"), ("5", "abc"), ("5", "abc", "6")):
            text = self.refused({"snapshot-count": values}, {})
            self.assertIn("--snapshot-count 'abc': should be a whole number", text)
        self.assertEqual(load_config({"snapshot-count": ("5", "6")}, {}).snapshot_count, 6)

    def test_largestBody(self) -> None:
        """512 MiB can be had, a byte more is refused with the reason."""
        self.assertEqual(load_config({"max-request-bytes": "536870912"}, {}).max_request_bytes, 536870912)
        self.assertIn(
            "from 1 to 536870912 (512 MiB), as a request has to fit into one record of the log",
            self.refused({"max-request-bytes": "536870913"}, {}),
        )

    def test_sharedPort(self) -> None:
        """Clients and machines can't be given one address; the two settings are named as they were given."""
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
        ]:
            text = self.refused(flags, environment)
            self.assertEqual(text, f"{message} take the same port; give one of them another")

    def test_unknownFlag(self) -> None:
        self.assertEqual(self.refused({"snapshot_count": "5"}, {}), "--snapshot_count: there is no such option")

    @unhurried
    @given(
        name=st.sampled_from([option.name for option in OPTIONS if option.field]),
        value=st.text(st.characters(exclude_categories=[])),
    )
    def test_anyText(self, name: str, value: str) -> None:
        """Whatever the text, it is taken or refused in one line."""
        try:
            load_config({name: value}, {})
        except ConfigError as e:
            self.assertTrue(str(e).isprintable())
            self.assertIn(f"--{name} {value!r}: should ", str(e))


class FileTests(SynchronousTestCase):
    """A TOML file that can't be used."""

    def setUp(self) -> None:
        self.sources = Sources(self)

    def refused(self, content: str | bytes) -> str:
        """What is said of a file with that content, less the file's name."""
        file = self.sources.file(content)
        text = str(self.assertRaises(ConfigError, load_config, {"config": file}, {}))
        self.assertTrue(text.isprintable(), text)
        name, _, rest = text.removeprefix("--config ").partition(": ")
        self.assertEqual(name, file)
        return rest

    def test_types(self) -> None:
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

    def test_unknownKey(self) -> None:
        for line, message in [
            ("snapshot_cuont = 5", "'snapshot_cuont' is not a setting; did you mean snapshot_count?"),
            ('"snap\\nshot" = 5', "'snap\\nshot' is not a setting; did you mean snapshot?"),
            ("[peer]\naddr = 5", "'peer' is not a setting; did you mean peer_addr?"),
        ]:
            self.assertEqual(self.refused(line), message)
        self.assertIn("'zzz' is not a setting; the keys are name, data_dir, addr", self.refused("zzz = 5"))

    def test_fileNamesNoFile(self) -> None:
        self.assertIn("'config' is not a setting", self.refused('config = "other.toml"'))

    def test_bothSpellings(self) -> None:
        self.assertEqual(
            self.refused("snapshot_count = 5\nsnapshot-count = 6"),
            "snapshot_count and snapshot-count are the same setting; leave one of them out",
        )

    def test_broken(self) -> None:
        said = self.refused('name = "machine0"\nsnapshot_count 5')
        self.assertTrue(said.startswith("is not TOML: "))
        self.assertIn("line 2, column 16", said)

    def test_notUTF8(self) -> None:
        self.assertEqual(self.refused(b'name = "\xff"'), "is not UTF-8 text, at byte 8; save it as UTF-8")

    def test_tooDeep(self) -> None:
        self.assertIn("is not TOML: ", self.refused("name = " + "[" * 100_000))

    def test_hugeNumbers(self) -> None:
        """More digits than Python turns into a number or back."""
        self.assertIn("is not TOML: ", self.refused("snapshot_count = 1" + "0" * 5000))
        self.assertIn("should be a whole number", self.refused("snapshot_count = 0x1" + "0" * 5000))

    def test_unreadable(self) -> None:
        """How the file was given is said, and what to do."""
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

    def test_oddFileName(self) -> None:
        error = self.assertRaises(ConfigError, load_config, {"config": "no\nfile"}, {})
        self.assertTrue(str(error).startswith("--config 'no\\nfile': can't be read"))

    @unhurried
    @given(content=st.binary(max_size=60))
    def test_anyBytes(self, content: bytes) -> None:
        """Whatever the file holds, it is taken or refused in one line that begins with its name."""
        file = self.sources.file(content)
        try:
            load_config({"config": file}, {})
        except ConfigError as e:
            self.assertTrue(str(e).isprintable())
            self.assertTrue(str(e).removeprefix("--config ").startswith(f"{file}: "))


class DocumentTests(SynchronousTestCase):
    """C{docs/configuration.md} says what the table says."""

    def test_options(self) -> None:
        rows = [
            [cell.strip() for cell in line.replace("`", "").strip("|").split("|")]
            for line in DOCUMENT.read_text().splitlines()
            if line.startswith("| `--")
        ]
        expected = [
            [
                f"{option.flag}, --no-{option.name}" if option.form is Form.SWITCH else option.flag,
                option.variable,
                option.key if option.field else "",
                option.default,
            ]
            for option in OPTIONS
        ]
        self.assertEqual([row[:4] for row in rows], expected)
        for row, option in zip(rows, OPTIONS, strict=True):
            self.assertTrue(row[4].startswith(re.split("[;:.]|, as", option.help)[0]), f"{row[4]} / {option.help}")

    def test_example(self) -> None:
        (example,) = re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
        config = load_config({"config": Sources(self).file(example)}, {})
        self.assertEqual(
            config,
            Config(
                name="machine0",
                data_dir=Path("/var/lib/etcd/machine0"),
                addr=Address("machine0.example.com", 4001),
                bind_addr=Address("0.0.0.0", 4001),
                peer_addr=Address("machine0.example.com", 7001),
                peer_bind_addr=Address("0.0.0.0", 7001),
                snapshot_count=20000,
                watch_history=5000,
                max_request_bytes=1048576,
                http_read_timeout=5,
                http_write_timeout=2.5,
            ),
        )

    def test_exampleOfARefusal(self) -> None:
        error = self.assertRaises(ConfigError, load_config, {"snapshot-count": "abc"}, {})
        self.assertIn(f"twistd etcd: {error}{os.linesep}", DOCUMENT.read_text())
