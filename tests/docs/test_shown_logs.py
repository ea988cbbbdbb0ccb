"""
What pages show of logs, and of the stacks of a process, which no command of a page can print.
"""

import json
import os
import re
import signal
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.processes.child import SOURCE
from tests.processes.machine import TWISTD, Machine

CONFIGURATION = SOURCE / "docs" / "configuration.md"
DEBUGGING = SOURCE / "docs" / "debugging.md"


def indented(page: Path, mark: str) -> list[str]:
    """Returns the lines that a page indents and that have a mark in them."""
    return [line.strip() for line in page.read_text().splitlines() if line.startswith("    ") and mark in line]


class ShownLogTests(TestCase):
    """These tests look into the log of a machine."""

    timeout = 120

    def setUp(self) -> None:
        """Makes a directory, and finds free ports."""
        self.machine = Machine(self)

    async def test_log_lines_of_requests(self) -> None:
        """With the verbosity that the page about debugging names, the log has its lines about requests."""
        shown = indented(DEBUGGING, "etcd_twisted.requests")
        self.assertEqual(len(shown), 2)
        await self.machine.start("-vv")
        for line in shown:
            method, path = re.findall(r"\] ([A-Z]+) (\S+):", line)[0]
            await self.machine.client.request(method, path, {"value": "x"} if method == "PUT" else None)
        await self.machine.terminate()
        for line in shown:
            self.assertRegex(self.machine.child.output, re.sub(r"\d+\\\.\d+", r"[\\d.]+", re.escape(line)))

    async def test_log_line_in_json(self) -> None:
        """
        With C{--log-format json} the log has the line that the page about configuration shows, except for the time.
        """
        (shown,) = map(json.loads, indented(CONFIGURATION, '"logger"'))
        await self.machine.start("--name", "machine0", "--log-format", "json")
        await self.machine.terminate()
        logged = [json.loads(line) for line in self.machine.child.output.splitlines()]
        self.assertIn(shown | {"time": ""}, [line | {"time": ""} for line in logged])

    async def test_stacks_after_abort(self) -> None:
        """A machine that is aborted as the page about debugging says prints the stacks of both of its threads."""
        (start,), (abort,) = indented(DEBUGGING, "twistd -n"), indented(DEBUGGING, "kill")
        variable = start.split()[0]
        self.assertEqual(abort.split()[:2], ["kill", "-ABRT"])
        await self.machine.start(program=("/usr/bin/env", variable, *TWISTD))
        os.kill(self.machine.child.pid, signal.SIGABRT)
        self.assertEqual(await self.machine.child.when_ended(), -signal.SIGABRT)
        self.assertIn("disk_thread.py", self.machine.child.errors)
        self.assertIn("in mainLoop", self.machine.child.errors)
