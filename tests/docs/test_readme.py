"""
What the README says beside its commands, which L{tests.docs.test_pages} types.
"""

import shutil
import sys

from twisted.trial.unittest import TestCase

from tests.docs.pages import blocks, planned
from tests.processes.child import SOURCE, spawn
from tests.processes.machine import Machine

README = SOURCE / "README.md"


class ReadmeTests(TestCase):
    """Everything in it that can be run."""

    timeout = 240

    if shutil.which("make") is None:
        skip = "make is not installed (apt-get install make)"

    def setUp(self) -> None:
        """A directory, and free ports."""
        self.machine = Machine(self)

    async def test_make_run(self) -> None:
        """C{make run} does what the README says it does."""
        (command,) = [line for line in "".join(blocks(README, "sh")).splitlines() if "/twistd " in line]
        self.assertEqual((await planned(self, "make run")).splitlines()[-1], command)

    async def test_embedding(self) -> None:
        """The example of a service inside another program."""
        (program,) = blocks(README, "python")
        addresses = f'{{"addr": "127.0.0.1:{self.machine.port}", "peer-addr": "127.0.0.1:{self.machine.peer_port}"}}'
        program = program.replace("config import Config\n", "config import load_config\n")
        program = program.replace("Config()", f"load_config({addresses}, {{}})")
        path = self.machine.directory / "embedding.py"
        path.write_text(program)
        child = spawn(self, [sys.executable, path], self.machine.directory)
        self.assertEqual((await child.when_ended(), child.errors, child.output), (0, "", "2 Hello world\n"))
