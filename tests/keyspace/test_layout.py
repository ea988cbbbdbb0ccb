"""
Tests that the bytes on the disk are those that docs/storage.md shows.
"""

import json
import re
from pathlib import Path

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.raft.configurations import encode_configuration
from etcd_twisted.consensus.raft.entries import Configuration, Member
from etcd_twisted.keyspace import commands as c
from tests.keyspace.running import chunks_of, key_space

_PAGE = Path(__file__).parent.parent.parent / "docs" / "storage.md"

COMMANDS: tuple[c.Command, ...] = (
    c.Set("/a/b", 1_700_000_000_000_000, "x", False, 1_700_000_060_000_000),
    c.Create("/d", 1_700_000_000_000_000, "", True),
    c.CreateInOrder("/queue", 1_700_000_000_000_000, "x"),
    c.Update("/a/b", 1_700_000_000_000_000, "y"),
    c.Refresh("/a/b", 1_700_000_000_000_000, 1_700_000_060_000_000),
    c.SetTtl("/a/b", 1_700_000_000_000_000, 1_700_000_060_000_000),
    c.CompareAndSwap("/a/b", 1_700_000_000_000_000, "z", None, "y", 4),
    c.SetOrSwap("/a/b", 1_700_000_000_000_000, "z"),
    c.Delete("/d", 1_700_000_000_000_000, True),
    c.CompareAndDelete("/a/b", 1_700_000_000_000_000, None, 6),
    c.Expire(1_700_000_060_000_000, 100),
    c.PadInOrderKeys(1_700_000_000_000_000),
)


def section(title: str) -> str:
    """Returns the text of the page between this heading and the next one."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", _PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert found is not None, title
    return found[1]


def examples(title: str) -> list[bytes]:
    """Returns the lines of a section's example, as msgpack."""
    (block,) = re.findall(r"```json\n(.*?)```", section(title), re.DOTALL)
    return [msgspec.msgpack.encode(json.loads(line)) for line in block.splitlines()]


def row(command: type[c.Command]) -> str:
    """Returns a command's line in the table."""
    names, defaults = command.__struct_fields__, command.__struct_defaults__
    required = len(names) - len(defaults)
    fields = [f'"{command.__struct_config__.tag}"', *names[:required]]
    for name, default in zip(names[required:], defaults, strict=True):
        shown = "nil" if default is None else json.dumps(default)
        fields.append(f"{name} = {shown}")
    return f"| `{command.__name__}` | `[{', '.join(fields)}]` |\n"


class LayoutTests(SynchronousTestCase):
    def test_the_layout_of_commands_is_documented(self) -> None:
        """A log that was written once can be read for good, so a change here needs a new format version."""
        self.assertEqual(tuple(map(c.decode_command, examples("Commands"))), COMMANDS)
        self.assertEqual(examples("Commands"), [c.encode_command(command) for command in COMMANDS])

    def test_all_commands_are_documented(self) -> None:
        """The table has every command with its tag, its fields and their defaults, and no other."""
        rows = "".join(row(type(command)) for command in COMMANDS)
        self.assertEqual({type(command) for command in COMMANDS}, set(c.Command.__args__))
        self.assertIn(f"|---|---|\n{rows}\n", section("Commands"))

    def test_the_layout_of_configurations_is_documented(self) -> None:
        members = {
            "0123456789abcdef": Member("machine0", "http://127.0.0.1:4001", "http://127.0.0.1:7001"),
            "fedcba9876543210": Member("machine1", "http://127.0.0.1:4002", "http://127.0.0.1:7002"),
        }
        configuration = Configuration(("0123456789abcdef",), ("fedcba9876543210",), members)
        self.assertEqual(examples("Configurations"), [encode_configuration(configuration)])

    def test_the_layout_of_chunks_is_documented(self) -> None:
        space = key_space(
            c.Set("/a/b", 1_700_000_000_000_000, "x", False, 1_700_000_060_000_000),
            c.Set("/c", 1_700_000_000_000_000, "y"),
            c.Set("/c", 1_700_000_000_000_000, "z"),
        )
        plain = chunks_of(space)
        self.assertEqual(examples("Chunks"), plain)
        space.apply(c.PadInOrderKeys(1_700_000_000_000_000))
        head, *others = chunks_of(space)
        self.assertEqual(others, plain[1:])
        tag, *fields = msgspec.msgpack.decode(plain[0])
        self.assertEqual(msgspec.msgpack.decode(head), [f"{tag}2", *fields, True])
        self.assertIn('`["head2", index, cleared, counts, padded = false]`', section("Chunks"))
