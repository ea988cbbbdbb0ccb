"""
What the README says, and its commands.
"""

import shutil
import sys

from twisted.trial.unittest import TestCase

from tests.docs.pages import blocks, planned
from tests.docs.typed_pages import README, TypedPageTestCase, typing
from tests.processes.child import spawn
from tests.processes.machine import Machine


class CommandTests(TypedPageTestCase):
    test_commands = typing(README)


class ReadmeTests(TestCase):
    """These tests run everything in it that can be run."""

    timeout = 240

    if shutil.which("make") is None:
        skip = "make is not installed (apt-get install make)"

    def setUp(self) -> None:
        """Makes a directory, and finds free ports."""
        self.machine = Machine(self)

    async def test_make_run_starts_a_machine(self) -> None:
        """The command does what the README says."""
        (command,) = [line for line in "".join(blocks(README, "sh")).splitlines() if "/etcd-twisted " in line]
        self.assertEqual((await planned(self, "make run")).splitlines()[-1], command)

    async def test_client_example_runs(self) -> None:
        (program,) = [block for block in blocks(README, "python") if "EtcdService" not in block]
        await self.machine.embed()
        path = self.machine.directory / "hello.py"
        path.write_text(program.replace("127.0.0.1:4001", f"127.0.0.1:{self.machine.port}"))
        child = spawn(self, [sys.executable, path], self.machine.directory)
        self.assertEqual((await child.when_ended(), child.errors, child.output), (0, "", "Hello world\n"))

    async def test_embedding_example_runs(self) -> None:
        """The example is a service inside another program."""
        (program,) = [block for block in blocks(README, "python") if "EtcdService" in block]
        addresses = f'addr="127.0.0.1:{self.machine.port}", peer_addr="127.0.0.1:{self.machine.peer_port}"'
        self.assertIn("Config()", program)
        program = program.replace("Config()", f"Config({addresses})")
        path = self.machine.directory / "embedding.py"
        path.write_text(program)
        child = spawn(self, [sys.executable, path], self.machine.directory)
        self.assertEqual((await child.when_ended(), child.errors, child.output), (0, "", "2 Hello world\n"))
