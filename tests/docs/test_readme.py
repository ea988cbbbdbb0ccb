"""
What the README tells people to type, typed: in its order, in a shell, from a directory of the test.

Only the ports are others, and what C{make} would do in the source tree is only asked for.
"""

import json
import re
import shutil
import sys
import sysconfig

from twisted.trial.unittest import TestCase

from tests.docs.pages import blocks, planned
from tests.processes.child import SOURCE, Child, spawn
from tests.processes.machine import SERVES, Machine

README = SOURCE / "README.md"


class ReadmeTests(TestCase):
    """Everything in it that can be run."""

    timeout = 60

    if missing := [tool for tool in ("curl", "make") if shutil.which(tool) is None]:
        skip = f"not installed: {' '.join(missing)} (apt-get install {' '.join(missing)})"

    def setUp(self) -> None:
        """A directory, and free ports."""
        self.machine = Machine(self)

    def shell(self, command: str) -> Child:
        """Start a command as typed, but for the ports and for where the tools are installed."""
        command = command.replace("127.0.0.1:4001", f"127.0.0.1:{self.machine.port}")
        command = command.replace(".venv/bin/", f"{sysconfig.get_path('scripts')}/")
        addresses = {
            "ETCD_ADDR": f"127.0.0.1:{self.machine.port}",
            "ETCD_PEER_ADDR": f"127.0.0.1:{self.machine.peer_port}",
        }
        return spawn(self, ["/bin/sh", "-c", f"exec {command}"], self.machine.directory, addresses)

    async def run_line(self, line: str) -> str:
        """Type one line; what it printed."""
        if line.startswith("make "):
            return await planned(self, line)
        child = self.shell(line)
        if "/twistd " in line:
            await child.said(SERVES)
            return ""
        self.assertEqual(await child.ended(), 0, f"{line}\n{child.errors}")
        return child.output

    async def test_shell(self) -> None:
        """Every line succeeds, and every request is answered without an error."""
        printed = {}
        for line in "".join(blocks(README, "sh")).splitlines():
            printed[line] = await self.run_line(line)
        requests = [line for line in printed if line.startswith("curl ")]
        self.assertGreater(len(requests), 0)
        for line in requests:
            self.assertNotEqual(printed[line], "", line)
            self.assertNotIn("errorCode", printed[line], line)
        (shown,) = blocks(README, "json")
        self.assertEqual(json.loads(printed[requests[0]]), json.loads(shown))

    async def test_makeRun(self) -> None:
        """C{make run} does what the README says it does."""
        (command,) = [line for line in "".join(blocks(README, "sh")).splitlines() if "/twistd " in line]
        self.assertEqual((await planned(self, "make run")).splitlines()[-1], command)

    async def test_embedding(self) -> None:
        """The example of a service inside another program."""
        (program,) = blocks(README, "python")
        addresses = f'{{"addr": "127.0.0.1:{self.machine.port}", "peer-addr": "127.0.0.1:{self.machine.peer_port}"}}'
        program = program.replace("config import Config\n", "loading import load_config\n")
        program = program.replace("Config()", f"load_config({addresses}, {{}})")
        path = self.machine.directory / "embedding.py"
        path.write_text(program)
        child = spawn(self, [sys.executable, path], self.machine.directory)
        self.assertEqual((await child.ended(), child.errors, child.output), (0, "", "2 Hello world\n"))

    def test_links(self) -> None:
        """Every file that it points to is there."""
        named = re.findall(r"\]\(([^):]+)\)|`((?:etcd_twisted|docs|tests|benchmarks)/[\w./]*)`", README.read_text())
        self.assertGreater(len(named), 0)
        for path in (link or file for link, file in named):
            self.assertTrue((SOURCE / path).exists(), path)
