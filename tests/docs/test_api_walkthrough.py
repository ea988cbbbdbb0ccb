"""
The specification's page about a single machine, from its beginning to its end: its commands in a shell, in order,
against one machine, and its answers.

C{api_walkthrough.json} holds the commands. Of a step,

  - C{run} is a command, and C{answer} the JSON that it must print, C{matches} a pattern of what it must print, or
    C{shape} JSON with the same fields as what it must print, of the same types;
  - C{prepare} is a command that the page leaves to its reader;
  - C{start} is a command in another terminal, which waits for an event, and C{read} what it must have printed.

In an C{exact} section the indexes are those of the page as well.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from tests.docs.normal import normal
from tests.processes.child import ChildProcess, spawn
from tests.processes.machine import Machine

SECTIONS = json.loads(Path(__file__).with_name("api_walkthrough.json").read_text())


def shape(value: Any) -> Any:
    """Returns the fields and types of some JSON."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    return type(value).__name__


class WalkthroughTests(TestCase):
    """The walkthrough takes one section after another."""

    timeout = 240

    if shutil.which("curl") is None:
        skip = "curl is not installed (apt-get install curl)"

    async def setUp(self) -> None:
        """Starts the machine of the page, on other ports."""
        self.machine = Machine(self)
        await self.machine.start("--name", "machine0")
        self.other_terminal: ChildProcess | None = None

    def shell(self, command: str) -> ChildProcess:
        """Starts a command as typed."""
        command = command.replace("127.0.0.1:4001", f"127.0.0.1:{self.machine.port}")
        return spawn(self, ["/bin/sh", "-c", command], self.machine.directory)

    async def printed(self, command: str) -> str:
        """Returns what a command printed, which has to succeed."""
        child = self.shell(command)
        self.assertEqual(await child.when_ended(), 0, f"{command}\n{child.errors}")
        return child.output

    async def test_every_section_is_right(self) -> None:
        """Every answer of the page comes true."""
        for section in SECTIONS:
            for step in section["steps"]:
                await self._take(step, section.get("exact", False), f"{section['section']}: {step}")

    async def _take(self, step: dict[str, Any], exact: bool, name: str) -> None:
        if "start" in step:
            self.other_terminal = self.shell(step["start"])
            await self.machine.when_watched(1)
        elif "read" in step:
            assert self.other_terminal is not None
            self.assertEqual(await self.other_terminal.when_ended(), 0, name)
            self._compare(step["read"], self.other_terminal.output, exact, name)
        elif "prepare" in step:
            self.assertNotIn("errorCode", await self.printed(step["prepare"]), name)
        elif "matches" in step:
            output = await self.printed(step["run"])
            self.assertIsNotNone(re.search(step["matches"], output), f"{name}\n{output}")
        elif "shape" in step:
            self.assertEqual(shape(json.loads(await self.printed(step["run"]))), shape(step["shape"]), name)
        else:
            self._compare(step["answer"], await self.printed(step["run"]), exact, name)

    def _compare(self, expected: Any, output: str, exact: bool, name: str) -> None:
        self.assertEqual(normal(json.loads(output), exact), normal(expected, exact), f"{name}\n{output}")
