"""
A terminal in which the commands of a page are typed, in a directory of the test.

Only the ports are others; everything that is printed is shown with those of the page. Must never pass over a command,
nor touch anything outside the directory: what is not known to be harmless fails the test.
"""

import contextlib
import itertools
import re
import shlex
import signal
import sysconfig
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from benchmarks import __main__ as benchmarks
from etcd_twisted.testing.ports import free_ports
from tests.docs.pages import planned
from tests.docs.transcript import File, Step, agrees
from tests.processes.child import SOURCE, ChildEndedError, ChildProcess, spawn
from tests.processes.cluster import OFTEN, PATIENCE
from tests.processes.machine import SERVES, STANDS_BY

TYPED = {"curl", "openssl", "kill", "cp", "rm", "mkdir", "touch", "printf", "dd", "ulimit", "wait", "dig"}
"""Commands that do no more than a test may, as long as they keep to its directory; and all below C{.venv/bin}."""

_ADDRESS = re.compile(r"(?<=127\.0\.0\.1:)\d+|(?<=localhost:)\d+|(?<=\[::1\]:)\d+")
_OUTSIDE = re.compile(r"(?<![\w./:}])(/(?!dev/|CN=)|~|\.\./)")
_READ = re.compile(r"curl\b(?!.*(-X ?(PUT|POST|DELETE)|-d |--data|wait=true))")
_TOOL = re.compile(r"(?<![\w/.-])\.venv/bin/")
_ELECTION_TIMEOUT = "2000"
"""So that whoever leads on a page does so on a busy computer too."""

_PID_FILE = re.compile(r"\$\(cat ([\w./-]+)\)")


def _without_settings(words: list[str]) -> list[str]:
    """The command that C{env} runs, or the one that is typed."""
    return list(itertools.dropwhile(lambda word: word == "env" or "=" in word, words))


class Terminal:
    """
    Types commands, one after the other.

    A command with a C{&} behind it goes on while others are typed; C{wait} prints what it has printed. A machine that
    a page starts, and says nothing of its output, goes on until it is killed by its process id.
    """

    def __init__(
        self, test: TestCase, steps: Iterable[Step | File], environment: Mapping[str, str] | None = None
    ) -> None:
        """
        @param test: its cleanup ends whatever was started.
        @param steps: all that will be typed.
        @param environment: what there is in the environment beside what others have.
        """
        self._test = test
        self.directory = Path(test.mktemp()).resolve()
        self.directory.mkdir(parents=True)
        commands = [step.command for step in steps if isinstance(step, Step)]
        shown = {"4001", "7001"}.union(*map(_ADDRESS.findall, commands))
        self._ports = dict(zip(sorted(shown), map(str, free_ports(len(shown))), strict=True))
        self._environment = dict(environment or {})
        self._machines: dict[int, ChildProcess] = {}
        self._background: list[ChildProcess] = []

    async def take(self, step: Step | File) -> None:
        """Write a file, or type a command; the test fails when that does not do what the page says."""
        if isinstance(step, File):
            (self.directory / step.name).write_text(self._translated(step.content))
        else:
            await self._type(step)

    async def _type(self, step: Step) -> None:
        words = _without_settings(shlex.split(step.command))
        if words[0] == "make":
            await planned(self._test, step.command)
        elif words[:2] == ["apt-get", "install"]:
            self._check_installed(words[2:])
        elif words[1:3] == ["-m", "benchmarks"]:
            benchmarks.parser().parse_args(words[3:])
        elif not (words[0] in TYPED or words[0].startswith(".venv/bin/")) or _OUTSIDE.search(step.command):
            self._test.fail(f"nobody knows here whether this is harmless: {step.command}")
        elif "twistd" in step.command and step.answer in {None, ""}:
            await self._start(step.command)
        elif step.command.endswith("&"):
            self._background.append(self._shell(step.command.removesuffix("&")))
            await self._begun()
        elif words == ["wait"]:
            background, self._background = self._background, []
            self._compare(step, "".join([await self._printed(step.command, child) for child in background]))
        elif words[0] == "kill":
            await self._kill(step)
        else:
            await self._run(step)

    def _check_installed(self, packages: list[str]) -> None:
        """What a page has installed, the tests need too, and so it has been installed by that name."""
        installed = set(re.findall(r"[\w-]+:([\w-]+)", (SOURCE / ".ci" / "run").read_text()))
        self._test.assertLessEqual(set(packages), installed)

    def _shell(self, command: str) -> ChildProcess:
        """Start a command as typed, but for the ports and for where the tools are installed."""
        command = self._translated(command)
        tools = shlex.quote(sysconfig.get_path("scripts"))
        command = _TOOL.sub(lambda _: f"{tools}/", command)
        settings = {
            "ETCD_ADDR": f"127.0.0.1:{self._ports['4001']}",
            "ETCD_PEER_ADDR": f"127.0.0.1:{self._ports['7001']}",
            "ETCD_PEER_ELECTION_TIMEOUT": _ELECTION_TIMEOUT,
        } | self._environment
        return spawn(self._test, ["/bin/sh", "-c", command], self.directory, settings)

    def _translated(self, text: str) -> str:
        """With the ports of this test."""
        for shown, port in self._ports.items():
            text = re.sub(rf"(?<=:){shown}\b", port, text)
        return text

    async def _printed(self, command: str, child: ChildProcess) -> str:
        """What a command printed, that has to succeed."""
        self._test.assertEqual(await child.when_ended(), 0, f"{command}\n{child.output}\n{child.errors}")
        return self._shown(child.output)

    def _shown(self, output: str) -> str:
        """With the page's ports."""
        for shown, port in self._ports.items():
            output = re.sub(rf"\b{port}\b", shown, output)
        return output

    async def _start(self, command: str) -> None:
        """Start a machine that the page leaves to itself, and wait until it serves, or knows that it stands by."""
        child = self._shell(f"exec {command.removesuffix('&')}")
        with contextlib.suppress(ChildEndedError):
            await child.when_printed(SERVES, STANDS_BY)
        self._test.assertIsNone(child.status, f"{command}\n{child.output}\n{child.errors}")
        self._machines[child.pid] = child

    async def _begun(self) -> None:
        """Return when those in the background wait for events; nobody is told of that, so it is asked for."""
        wanted = f'"watchers":{len(self._background)}'
        address = f"http://127.0.0.1:{self._ports['4001']}/v2/stats/store"
        await self._repeat(f"curl -s {address}", lambda output: wanted in output)

    async def _kill(self, step: Step) -> None:
        """The command returns at once, but nobody goes on before the machine has ended."""
        found = _PID_FILE.search(step.command)
        self._test.assertIsNotNone(found, f"{step.command} does not say which machine it ends")
        assert found is not None
        child = self._machines.pop(int((self.directory / found[1]).read_text()))
        await self._run(step)
        self._test.assertIn(await child.when_ended(), {-signal.SIGTERM, -signal.SIGKILL})

    async def _run(self, step: Step) -> None:
        """
        Run a command to its end. A read is repeated until it shows what it should: what a cluster does by itself,
        nobody is told of.
        """
        if step.answer is not None and "twistd" in step.command:
            child = self._shell(step.command)
            self._test.assertEqual(await child.when_ended(), 1, f"{step.command}\n{child.output}\n{child.errors}")
            self._compare(step, self._shown(child.errors))
        elif step.answer is not None and _READ.match(step.command):
            answer = step.answer
            self._compare(step, await self._repeat(step.command, lambda output: agrees(answer, output)))
        else:
            self._compare(step, await self._printed(step.command, self._shell(step.command)))

    async def _repeat(self, command: str, satisfied: Callable[[str], bool]) -> str:
        """Run a command until it prints what it should, or has had the time to; what it printed at last."""
        latest = reactor.seconds() + PATIENCE
        while True:
            output = await self._printed(command, self._shell(command))
            if satisfied(output) or reactor.seconds() > latest:
                return output
            await deferLater(reactor, OFTEN, lambda: None)

    def _compare(self, step: Step, output: str) -> None:
        if step.answer is None:
            self._test.assertNotIn("errorCode", output, step.command)
        else:
            self._test.assertTrue(
                agrees(step.answer, output), f"{step.command}\nThe page:\n{step.answer}\nIt printed:\n{output}"
            )
