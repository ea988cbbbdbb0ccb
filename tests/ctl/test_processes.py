"""
The tool as a process, and what only a process has: a terminal, signals, pipes, children.
"""

import os
import signal
import sys
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.processes.child import ChildProcess, spawn
from tests.processes.machine import Machine

TXETCDCTL = Path(sys.executable).with_name("txetcdctl")


class ProcessTests(TestCase):
    """One machine is asked."""

    timeout = 120

    async def setUp(self) -> None:
        """Starts the machine."""
        self.machine = Machine(self)
        await self.machine.embed()

    def start(self, *arguments: str, **environment: str) -> ChildProcess:
        """Starts a command."""
        settings = {"TXETCDCTL_ENDPOINTS": self.machine.url, "TXETCDCTL_TOTAL_TIMEOUT": "60s"} | environment
        return spawn(self, [TXETCDCTL, *arguments], self.machine.directory, settings)

    async def test_set(self) -> None:
        """The value comes from a pipe, and nothing else is printed."""
        child = self.start("set", "/key")
        child.transport.write(b"Hello world")
        child.transport.closeStdin()
        self.assertEqual((await child.when_ended(), child.output, child.errors), (0, "Hello world\n", ""))
        self.assertEqual((await self.machine.client.get("/key")).json()["node"]["value"], "Hello world")

    async def test_single_requests_without_twisted(self) -> None:
        """Its import would take longer than the rest of the command, as rich's would."""
        program = (
            "import sys; from etcd_twisted.ctl.main import status_of\n"
            "for arguments in ('set /key x', 'get /key', 'ls', 'rm /key', 'auth status', 'user list', 'role list',"
            " 'role get root', 'member leader', 'member list'): status_of(arguments.split())\n"
            "print([each for each in ('twisted', 'treq', 'rich', 'OpenSSL') if each in sys.modules])"
        )
        settings = {"TXETCDCTL_ENDPOINTS": self.machine.url}
        child = spawn(self, [sys.executable, "-c", program], self.machine.directory, settings)
        status = await child.when_ended()
        self.assertEqual((status, child.errors), (0, ""))
        self.assertRegex(
            child.output,
            r"\Ax\nx\n/key\nPrevNode.Value: x\nAuthentication Disabled\nroot\n"
            r"Role: root\nKV Read:\n\t/\*\nKV Write:\n\t/\*\n(\S+: name=.* isLeader=true\n){2}\[\]\n\Z",
        )

    async def test_hardly_any_passes_of_the_collector(self) -> None:
        """Imported modules stay, so a pass during the imports frees nothing, nor does one at the end."""
        program = (
            "import atexit, gc; from etcd_twisted.ctl.main import main\n"
            "passes = []; atexit.register(lambda: print(len(passes) // 2, gc.get_freeze_count() > 10_000))\n"
            "gc.callbacks.append(lambda *_: passes.append(1)); main()"
        )
        settings = {"TXETCDCTL_ENDPOINTS": self.machine.url}
        arguments = [sys.executable, "-c", program, "health"]
        child = spawn(self, arguments, self.machine.directory, settings)
        self.assertEqual((await child.when_ended(), child.errors), (0, ""))
        passes, frozen = child.output.split("\n")[-2].split()
        self.assertLess(int(passes), 10, "at the usual thresholds there are hundreds")
        self.assertEqual(frozen, "True")

    async def test_interrupted_watch(self) -> None:
        """Ctrl-C ends it with status 130, and C{SIGTERM} with 143. Neither prints anything."""
        for number in (signal.SIGINT, signal.SIGTERM):
            watching = self.start("watch", "--forever", "/key")
            await self.machine.when_watched(1)
            await self.machine.client.put("/key", value="x")
            await watching.when_printed("x\n")
            watching.signal(number)
            self.assertEqual(
                (await watching.when_ended(), watching.output, watching.errors), (128 + number, "x\n", "")
            )
            await self.machine.when_watched(0)

    async def test_exec_watch(self) -> None:
        """The command runs for each change, one after the other, and may fail."""
        program = "echo $ETCD_WATCH_ACTION $ETCD_WATCH_KEY $ETCD_WATCH_MODIFIED_INDEX $ETCD_WATCH_VALUE.; exit 3"
        watching = self.start("exec-watch", "--recursive", "/dir", "--", "sh", "-c", program)
        await self.machine.when_watched(1)
        await self.machine.client.put("/dir/key", value="one")
        await self.machine.client.delete("/dir/key")
        await watching.when_printed("delete /dir/key 3 .\n")
        self.assertEqual(watching.output, "set /dir/key 2 one.\ndelete /dir/key 3 .\n")
        watching.signal(signal.SIGINT)
        self.assertEqual(await watching.when_ended(), 130)
        self.assertEqual(set(watching.errors.splitlines()), {"sh has ended with status 3"})

    async def test_closed_pipe(self) -> None:
        """Nothing is printed about it."""
        await self.machine.client.put("/key", value="x")
        for command in ("ls", "tree"):
            reading, writing = os.pipe()
            os.close(reading)
            settings = {"TXETCDCTL_ENDPOINTS": self.machine.url, "TXETCDCTL_TOTAL_TIMEOUT": "60s"}
            command_line = [TXETCDCTL, command]
            child = spawn(self, command_line, self.machine.directory, settings, {1: writing})
            os.close(writing)
            self.assertEqual((await child.when_ended(), child.errors), (1, ""))

    async def test_colors(self) -> None:
        """They are for terminals alone, unless C{NO_COLOR} is set."""
        await self.machine.client.put("/dir/key", value="x")
        for environment, colored in (({}, True), ({"NO_COLOR": "1"}, False)):
            for arguments in (("ls",), ("tree",), ("get", "/none")):
                command = f"import pty, sys; sys.exit(pty.spawn({[str(TXETCDCTL), *arguments]}) >> 8)"
                settings = {"TXETCDCTL_ENDPOINTS": self.machine.url, "TERM": "xterm", **environment}
                child = spawn(self, [sys.executable, "-c", command], self.machine.directory, settings)
                self.assertEqual(await child.when_ended(), 4 if "get" in arguments else 0, child.errors)
                self.assertEqual("\x1b[" in child.output, colored, child.output)
