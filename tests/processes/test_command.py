"""
C{etcd-twisted} and C{python -m etcd_twisted}: a machine in the foreground, without C{twistd}.
"""

import contextlib
import json
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path
from unittest import skipIf

from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from etcd_twisted import __version__
from tests.processes.child import ChildProcess, spawn
from tests.processes.client import GONE
from tests.processes.machine import SERVES, Machine

SCRIPT = (str(Path(sysconfig.get_path("scripts")) / "etcd-twisted"),)
MODULE = (sys.executable, "-m", "etcd_twisted")
INTERRUPTED = """
import os, sys

class Interruption:
    def find_spec(self, name, *_):
        if name == "etcd_twisted.tap":
            os.kill(os.getpid(), int(sys.argv.pop(1)))

sys.meta_path.insert(0, Interruption())
from etcd_twisted.__main__ import main
main()
"""
"""Runs the command, which gets a signal in the midst of what it imports."""

CONTAINER = ("unshare", "--user", "--map-current-user", "--pid", "--fork", "--kill-child")
"""The command behind it is process 1, and ends when this one does."""


class CommandTest(TestCase):
    """A test case with a machine that is run by the command."""

    timeout = 120

    def setUp(self) -> None:
        self.machine = Machine(self, "machine0")

    def launch(self, *flags: str, program: tuple[str, ...] = SCRIPT) -> ChildProcess:
        """Starts the command in the machine's directory."""
        child = spawn(self, [*program, *self.machine.arguments(), *flags], self.machine.directory)
        self.machine.child = child
        return child

    async def start(self, *flags: str, program: tuple[str, ...] = SCRIPT) -> ChildProcess:
        """Starts the command, and returns its process when it serves."""
        child = self.launch(*flags, program=program)
        await child.when_printed(SERVES)
        self.machine.client = self.machine.connect(self.machine.url)
        return child

    def files(self) -> set[str]:
        """Returns the names of what is in the directory that the command runs in."""
        return {path.name for path in self.machine.directory.iterdir()}


class LifeTests(CommandTest):
    """Tests of a machine from its start to its end."""

    async def test_sigterm_stops_it_with_status_0(self) -> None:
        """The log is on standard error, and nothing is left in the directory but the data."""
        child = await self.start()
        self.assertEqual((await self.machine.client.put("/message", value="Hello")).status, 201)
        self.assertEqual(await self.machine.terminate(), 0)
        self.assertIn("machine0 stops", child.errors)
        self.assertNotIn("Traceback", child.errors)
        self.assertEqual(child.output, "")
        self.assertEqual(self.files(), {"data"})

    async def test_signal_stops_it_while_it_starts(self) -> None:
        """It ends at once, prints nothing, and leaves nothing behind."""
        for number in (signal.SIGTERM, signal.SIGINT):
            child = self.launch(program=(sys.executable, "-c", INTERRUPTED, str(int(number))))
            self.assertEqual(await child.when_ended(), 0)
            self.assertEqual((child.output, child.errors), ("", ""))
            self.assertEqual(self.files(), set())

    async def test_ignored_interrupt_does_not_stop_it(self) -> None:
        """A shell has its jobs in the background ignore Control-C, while they start and later."""
        ignoring = ("/bin/sh", "-c", "trap '' INT; exec \"$@\"", "sh")
        child = await self.start(program=(*ignoring, sys.executable, "-c", INTERRUPTED, str(int(signal.SIGINT))))
        child.signal(signal.SIGINT)
        self.assertEqual((await self.machine.client.put("/message", value="Hello")).status, 201)
        self.assertEqual(await self.machine.terminate(), 0)

    async def test_killed_machine_starts_again(self) -> None:
        """
        A container that was killed has its files and its process ids again. The pid file that a C{twistd} has left
        does no harm, and stays as it is.
        """
        pid_file = self.machine.directory / "twistd.pid"
        pid_file.write_text("1")
        killed = (await self.start(program=MODULE)).pid
        await self.machine.client.put("/message", value="kept")
        await self.machine.kill()
        self.assertEqual(pid_file.read_text(), "1")
        pid_file.write_text(str(killed))
        await self.start(program=MODULE)
        self.assertEqual((await self.machine.client.get("/message")).json()["node"]["value"], "kept")
        self.machine.child.signal(signal.SIGINT)
        self.assertEqual(await self.machine.child.when_ended(), 0)
        self.assertEqual(self.files(), {"data", "twistd.pid"})
        self.assertEqual(pid_file.read_text(), str(killed))

    @skipIf(subprocess.run([*CONTAINER, "true"], check=False).returncode != 0, "PID namespaces are not allowed here")
    async def test_process_1_of_a_container_starts_again(self) -> None:
        """As process 1 it has the process id of the one before, which was killed and left its files."""
        pid_file = self.machine.directory / "twistd.pid"
        pid_file.write_text("1")
        container = (*CONTAINER, "sh", "-c", 'test $$ = 1 && exec "$@"', "sh", *SCRIPT)
        await self.start(program=container)
        await self.machine.client.put("/message", value="kept")
        await self.machine.kill()
        await self.start(program=container)
        self.assertEqual((await self.machine.client.get("/message")).json()["node"]["value"], "kept")
        self.assertEqual((self.files(), pid_file.read_text()), ({"data", "twistd.pid"}, "1"))

    async def test_hangup_ends_it_at_once(self) -> None:
        """As with C{twistd}, nothing handles SIGHUP. The log may be JSON."""
        child = await self.start("--log-format", "json")
        child.signal(signal.SIGHUP)
        self.assertEqual(await child.when_ended(), -signal.SIGHUP)
        messages = [json.loads(line)["message"] for line in child.errors.splitlines()]
        self.assertTrue(any(SERVES in message for message in messages), messages)

    async def test_machine_that_can_not_go_on_ends_with_status_1(self) -> None:
        """The log has the reason why nothing more can be written, and so has the last line."""
        child = await self.start(program=(sys.executable, "-m", "tests.processes.failing_sync", "8", "etcd-twisted"))
        while child.status is None:
            with contextlib.suppress(*GONE):
                await self.machine.client.put("/message", value="Hello")
        line = child.errors.splitlines()[-1]
        self.assertEqual((child.status, line.partition(": ")[0]), (1, "etcd-twisted"))
        self.assertIn("Input/output error", line)


class RefusalTests(CommandTest):
    """A start that is impossible ends with status 1 and one line beside the log."""

    async def assertRefused(self, child: ChildProcess, reason: str) -> None:
        """Asserts that the last line is the reason, and that it is there once."""
        self.assertEqual(await child.when_ended(), 1)
        self.assertTrue(child.errors.splitlines()[-1].startswith(f"etcd-twisted: {reason}"), child.errors)
        self.assertEqual((child.errors.count(reason), child.output), (1, ""))
        self.assertNotIn("Traceback", child.errors)
        self.assertEqual(self.files(), set())

    async def test_bad_options_are_one_line(self) -> None:
        for flags, reason in (
            (("--snapshot-count", "abc"), "--snapshot-count 'abc': should be a whole number from 1 to"),
            (("--nonsense",), "option --nonsense not recognized"),
            (("--pidfile=",), "option --pidfile not recognized"),
        ):
            child = self.launch(*flags)
            await self.assertRefused(child, reason)
            self.assertEqual(len(child.errors.splitlines()), 1, child.errors)

    async def test_bad_variable_is_refused(self) -> None:
        child = spawn(self, MODULE, self.machine.directory, {"ETCD_NAME": "two words"})
        await self.assertRefused(child, "ETCD_NAME 'two words': should be 1 to 255 letters")

    async def test_taken_port_is_refused(self) -> None:
        taken = reactor.listenTCP(self.machine.port, Factory.forProtocol(Protocol), interface="127.0.0.1")
        self.addCleanup(taken.stopListening)
        await self.assertRefused(self.launch(), f"--addr 127.0.0.1:{self.machine.port} can't be listened on")

    async def test_help_and_version(self) -> None:
        """They name the command, and need no machine."""
        for program in (SCRIPT, MODULE):
            for flag, begins in (
                ("--help", "Usage: etcd-twisted [options]\nOptions:\n"),
                ("--version", f"etcd_twisted {__version__} (Twisted "),
            ):
                child = spawn(self, [*program, flag], self.machine.directory)
                self.assertEqual((await child.when_ended(), child.errors), (0, ""))
                self.assertTrue(child.output.startswith(begins), child.output)
        self.assertEqual(self.files(), set())
