"""
Tests of the table of options, and of the page about it.
"""

import os
import re
from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.config import Config
from etcd_twisted.config.addresses import Address
from etcd_twisted.config.config import OPTIONS
from etcd_twisted.config.loading import load_config
from etcd_twisted.config.option import Option
from etcd_twisted.config.value_types import Form
from etcd_twisted.errors import ConfigError
from tests.values import SETTABLE, VALUES, Sources

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


class TableTests(SynchronousTestCase):
    """The table and L{Config} fit together."""

    def test_every_field_has_its_option(self) -> None:
        fields = [option.field for option in OPTIONS if option.field is not None]
        about_them = {"sources", "without_effect", "contents"}
        self.assertEqual(fields, [field.name for field in attrs.fields(Config) if field.name not in about_them])

    def test_names_are_derived(self) -> None:
        option = SETTABLE["data-dir"]
        self.assertEqual((option.flag, option.variable, option.key), ("--data-dir", "ETCD_DATA_DIR", "data_dir"))

    def test_defaults_can_be_parsed(self) -> None:
        """A default that the help shows as a value means just that value when it is given."""
        for option in SETTABLE.values():
            if option.has_literal_default:
                self.assertEqual(load_config({option.name: option.default}, {}), Config(), option.name)

    def test_defaults_of_profiles_can_be_parsed(self) -> None:
        """What a profile sets means the same when it is given."""
        for option in SETTABLE.values():
            for profile, default in option.profile_defaults.items():
                given = load_config({"profile": profile, option.name: default}, {})
                self.assertEqual(given, Config(profile=profile), option.name)
                self.assertNotEqual(default, option.default, option.name)

    def test_every_option_is_tried(self) -> None:
        self.assertEqual(set(VALUES), set(SETTABLE))


class DocumentTests(SynchronousTestCase):
    """C{docs/configuration.md} says what the table says."""

    def test_page_has_every_option(self) -> None:
        rows = [
            [cell.strip() for cell in line.replace("`", "").strip("|").split("|")]
            for line in DOCUMENT.read_text().splitlines()
            if line.startswith("| `--")
        ]
        expected = [
            [
                self.flags(option),
                option.variable,
                option.key if option.field else "",
                option.defaults,
            ]
            for option in OPTIONS
        ]
        self.assertEqual([row[:4] for row in rows], expected)
        for row, option in zip(rows, OPTIONS, strict=True):
            self.assertTrue(row[4].startswith(re.split("[;:.]|, as", option.help)[0]), f"{row[4]} / {option.help}")

    def flags(self, option: Option) -> str:
        """Returns all ways to give the option on the command line."""
        if option.letter:
            return f"{option.flag}, -{option.letter}, -{option.letter * 2}"
        return f"{option.flag}, --no-{option.name}" if option.form is Form.SWITCH else option.flag

    def test_example_on_the_page(self) -> None:
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

    def test_refusal_on_the_page(self) -> None:
        error = self.assertRaises(ConfigError, load_config, {"snapshot-count": "abc"}, {})
        self.assertIn(f"twistd etcd: {error}{os.linesep}", DOCUMENT.read_text())
