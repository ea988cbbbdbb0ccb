"""
What C{-o json} prints is as C{docs/txetcdctl.schema.json} says, for every command.
"""

import json
from typing import Any

import click
from jsonschema import Draft202012Validator

from etcd_twisted.ctl.main import cli
from tests.ctl.commands import CommandTest
from tests.processes.child import SOURCE

SCHEMA = json.loads((SOURCE / "docs" / "txetcdctl.schema.json").read_text())
COMMANDS = SCHEMA["$defs"]["command"]

PRINT_NO_JSON = {"exec-watch", "completion", "export", "import", "mirror", "backup", "restore", "check"}
"""Commands that print something else, or whose pages have their formats."""

SCRIPT = (
    "set /dir/key x",
    "set --ttl 60 /dir/key y",
    "get /dir/key",
    "update /dir/key z",
    "mk /other x",
    "mkdir /empty",
    "setdir --ttl 60 /empty",
    "updatedir /empty",
    "ls --recursive /",
    "tree /",
    "watch --after-index 1 /dir/key",
    "rmdir /empty",
    "rm --recursive /dir",
    "health",
    "top --count 2",
    "member list",
    "member leader",
    "machines list",
    "machines show {name}",
    "machines forbidden",
    "config get",
    "config set --active-size 5 --remove-delay 60 --sync-interval 2",
    "stats self",
    "stats store",
    "stats leader",
    "user add root:secret",
    "user add alice:secret",
    "role add reader",
    "role grant reader --path /dir/* --readwrite",
    "role revoke reader --path /dir/* --write",
    "role get reader",
    "role list",
    "user grant alice --roles reader",
    "user get alice",
    "user revoke alice --roles reader",
    "user passwd alice",
    "user list",
    "user remove alice",
    "role remove reader",
    "auth status",
    "auth enable",
    "--username root:secret auth disable",
)
"""Commands that a lone machine carries out. The others are in L{tests.ctl.test_holding} and the large tests."""

ELSEWHERE = {
    *("lock", "elect", "member add", "member remove", "member update"),
    *("machines remove", "machines forbid", "machines allow"),
}


def names_of(group: click.Group, before: str = "") -> set[str]:
    """Returns the names of all commands, with those of the groups that they are in."""
    found = set()
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            found |= names_of(command, f"{before}{name} ")
        else:
            found.add(before + name)
    return found


def check(command: str, document: Any) -> None:
    """
    Checks a document.

    @raise jsonschema.ValidationError: it is not what the command should print.
    """
    Draft202012Validator({**SCHEMA, **COMMANDS[command]}).validate(document)


class SchemaTests(CommandTest):
    """Each command is run, or is named with the reason."""

    def test_schema_is_one(self) -> None:
        for schema in COMMANDS.values():
            Draft202012Validator.check_schema({**SCHEMA, **schema})

    def test_every_command_has_a_schema(self) -> None:
        self.assertEqual(names_of(cli) - PRINT_NO_JSON, set(COMMANDS))

    def test_every_document_is_as_its_schema_says(self) -> None:
        seen = set(ELSEWHERE)
        (machine,) = self.machine.result_of(self.machine.client().members())
        for line in SCRIPT:
            arguments = line.format(name=machine.name).split()
            printed = self.printed("-o", "json", *arguments, stdin=b"secret\n")
            words = arguments[2:] if arguments[0] == "--username" else arguments
            command = next(name for name in (words[0], " ".join(words[:2])) if name in COMMANDS)
            seen.add(command)
            for document in printed.splitlines():
                check(command, json.loads(document))
        self.assertEqual(seen, set(COMMANDS))

    def test_extended_has_the_same_fields(self) -> None:
        """Of what is no key."""
        self.assertEqual(self.printed("-o", "extended", "auth", "status"), "enabled: false\n")
        self.assertIn("members.0.isLeader: true\n", self.printed("-o", "extended", "member", "list"))
        self.assertIn("members.0.peerURLs: http://", self.printed("-o", "extended", "member", "list"))
