"""
What C{docs/debugging.md} shows beside the commands that L{tests.docs.test_pages} types: lines of a log, and stacks.
"""

import os
import re
import signal

from twisted.trial.unittest import TestCase

from tests.processes.child import SOURCE
from tests.processes.machine import TWISTD, Machine

PAGE = SOURCE / "docs" / "debugging.md"


def indented() -> list[str]:
    """The lines that the page indents, as it can't show a command that prints them."""
    return [line.strip() for line in PAGE.read_text().splitlines() if line.startswith("    ")]


class DebuggingPageTests(TestCase):
    """A machine that is looked into."""

    timeout = 120

    def setUp(self) -> None:
        """A directory, and free ports."""
        self.machine = Machine(self)

    async def test_requests(self) -> None:
        """With the verbosity that the page names, the log has its lines about requests."""
        shown = [line for line in indented() if "etcd_twisted.requests" in line]
        self.assertEqual(len(shown), 2)
        await self.machine.start("-vv")
        for line in shown:
            method, path = re.findall(r"\] ([A-Z]+) (\S+):", line)[0]
            await self.machine.client.request(method, path, {"value": "x"} if method == "PUT" else None)
        await self.machine.terminate()
        for line in shown:
            self.assertRegex(self.machine.child.output, re.escape(line).replace(r"0\.9", ".*").replace(r"0\.1", ".*"))

    async def test_stacks(self) -> None:
        """A machine that is aborted as the page says prints the stacks of both of its threads."""
        start, abort = (line for line in indented() if "twistd" in line or "kill" in line)
        variable, _, value = start.split()[0].partition("=")
        self.assertEqual(abort.split()[:2], ["kill", "-ABRT"])
        await self.machine.start(program=("/usr/bin/env", f"{variable}={value}", *TWISTD))
        os.kill(self.machine.child.pid, signal.SIGABRT)
        self.assertEqual(await self.machine.child.ended(), -signal.SIGABRT)
        self.assertIn("disk_thread.py", self.machine.child.errors)
        self.assertIn("in mainLoop", self.machine.child.errors)
