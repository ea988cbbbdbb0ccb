"""
A terminal that types the commands of a page in a directory of the test.

Only the ports differ, and the output is shown with the ports of the page. Must never skip a command, nor touch
anything outside the directory: a command that is not known to be harmless fails the test.
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
from tests.processes.cluster import LONGEST_WAIT_SECONDS, OFTEN
from tests.processes.machine import SERVES, STANDS_BY

TYPED = {"cat", "curl", "openssl", "kill", "cp", "rm", "mkdir", "touch", "printf", "dd", "ulimit", "wait", "dig"}
"""
Commands that are harmless as long as they stay in the test's directory. Every program below C{.venv/bin} is one too.
"""

_ADDRESS = re.compile(r"(?<=127\.0\.0\.1:)\d+|(?<=localhost:)\d+|(?<=\[::1\]:)\d+")
# A text in a list in JSON is a key, and no path.
_OUTSIDE = re.compile(r"(?<![\w./:}])(?<!\[\")(/(?!dev/|CN=)|~|\.\./)")
_KEYS = re.compile(r"(?<=\.venv/bin/txetcdctl )[^|;&<>]*")
"""The arguments of the command-line tool are keys, which look like paths."""

_READ = re.compile(r"cat\b|curl\b(?!.*(-X ?(PUT|POST|DELETE)|-d |--data|wait=true))")
_TOOL = re.compile(r"(?<![\w/.-])\.venv/bin/")
_ELECTION_TIMEOUT = "2000"
"""A timeout that lets the leader of a page keep its leadership on a busy computer."""

_STARTS_A_MACHINE = re.compile(r"twistd|/etcd-twisted\b|-m etcd_twisted\b")
_PID_FILE = re.compile(r"\$\(cat ([\w./-]+)\)")


def _without_settings(words: list[str]) -> list[str]:
    """Returns the command that C{env} runs, or the one that is typed."""
    return list(itertools.dropwhile(lambda word: word == "env" or "=" in word, words))


class Terminal:
    """
    Types commands, one after the other.

    A command that ends with a C{&} runs while others are typed; C{wait} prints its output. A machine that a page
    starts without showing its output runs until it is killed by its process id.
    """

    def __init__(
        self,
        test: TestCase,
        steps: Iterable[Step | File],
        environment: Mapping[str, str] | None = None,
        started: tuple[str, ...] = (SERVES, STANDS_BY),
    ) -> None:
        """
        @param test: its cleanup ends whatever was started.
        @param steps: all that will be typed.
        @param environment: variables beside those that every command has.
        @param started: what a program that goes on running prints when it has started, one of these.
        """
        self._test = test
        self.directory = Path(test.mktemp()).resolve()
        self.directory.mkdir(parents=True)
        commands = [step.command for step in steps if isinstance(step, Step)]
        shown = {"4001", "7001"}.union(*map(_ADDRESS.findall, commands))
        self._ports = dict(zip(sorted(shown), map(str, free_ports(len(shown))), strict=True))
        self._environment = dict(environment or {})
        self._started = started
        self._machines: dict[int, ChildProcess] = {}
        self._background: list[ChildProcess] = []

    async def take(self, step: Step | File) -> None:
        """Writes a file or types a command; the test fails if the outcome is not what the page says."""
        if isinstance(step, File):
            (self.directory / step.name).write_text(self.translated(step.content))
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
        elif not (words[0] in TYPED or words[0].startswith(".venv/bin/")) or _OUTSIDE.search(
            _KEYS.sub("", step.command)
        ):
            self._test.fail(f"nobody knows here whether this is harmless: {step.command}")
        elif _STARTS_A_MACHINE.search(step.command) and step.answer in {None, ""}:
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
        """Checks that the tests' own installation has these packages by the same names."""
        found = re.finditer(r"[\w-]+:([\w-]+)|\|\| echo ([\w-]+)", (SOURCE / ".ci" / "run").read_text())
        installed = {each[1] or each[2] for each in found}
        self._test.assertLessEqual(set(packages), installed)

    def _shell(self, command: str) -> ChildProcess:
        """Starts a command as typed, except for the ports and for where the tools are installed."""
        command = self.translated(command)
        tools = shlex.quote(sysconfig.get_path("scripts"))
        command = _TOOL.sub(lambda _: f"{tools}/", command)
        settings = {
            "ETCD_ADDR": f"127.0.0.1:{self._ports['4001']}",
            "ETCD_PEER_ADDR": f"127.0.0.1:{self._ports['7001']}",
            "ETCD_PEER_ELECTION_TIMEOUT": _ELECTION_TIMEOUT,
            "TXETCDCTL_ENDPOINTS": f"http://127.0.0.1:{self._ports['4001']}",
        } | self._environment
        return spawn(self._test, ["/bin/sh", "-c", command], self.directory, settings)

    def translated(self, text: str) -> str:
        """Returns a text with the ports of this test."""
        for shown, port in self._ports.items():
            text = re.sub(rf"(?<=:){shown}\b", port, text)
        return text

    async def _printed(self, command: str, child: ChildProcess) -> str:
        """Returns what a command printed, which has to succeed."""
        self._test.assertEqual(await child.when_ended(), 0, f"{command}\n{child.output}\n{child.errors}")
        return self._shown(child.output)

    def _shown(self, output: str) -> str:
        """Returns an output with the page's ports."""
        for shown, port in self._ports.items():
            output = re.sub(rf"\b{port}\b", shown, output)
        return output

    async def _start(self, command: str) -> None:
        """Starts a machine that the page leaves alone, and waits until it serves or knows that it is a standby."""
        child = self._shell(f"exec {command.removesuffix('&')}")
        with contextlib.suppress(ChildEndedError):
            await child.when_printed(*self._started)
        self._test.assertIsNone(child.status, f"{command}\n{child.output}\n{child.errors}")
        self._machines[child.pid] = child

    async def _begun(self) -> None:
        """
        Returns when every command in the background waits for events, which only a question to the machine can show.
        """
        wanted = f'"watchers":{len(self._background)}'
        address = f"http://127.0.0.1:{self._ports['4001']}/v2/stats/store"
        await self._repeat(f"curl -s {address}", lambda output: wanted in output)

    async def _kill(self, step: Step) -> None:
        """Kills a machine, and waits until it has ended, although the command returns at once."""
        found = _PID_FILE.search(step.command)
        self._test.assertIsNotNone(found, f"{step.command} does not say which machine it ends")
        assert found is not None
        child = self._machines.pop(int((self.directory / found[1]).read_text()))
        await self._run(step)
        self._test.assertIn(await child.when_ended(), {-signal.SIGTERM, -signal.SIGKILL})

    async def _run(self, step: Step) -> None:
        """
        Runs a command to its end. A read is repeated until it shows what it should, since a cluster announces nothing
        that it does by itself.
        """
        if step.answer is not None and _STARTS_A_MACHINE.search(step.command):
            child = self._shell(step.command)
            self._test.assertEqual(await child.when_ended(), 1, f"{step.command}\n{child.output}\n{child.errors}")
            self._compare(step, self._shown(child.errors))
        elif step.answer is not None and _READ.match(step.command):
            answer = step.answer
            self._compare(step, await self._repeat(step.command, lambda output: agrees(answer, output)))
        else:
            self._compare(step, await self._printed(step.command, self._shell(step.command)))

    async def _repeat(self, command: str, satisfied: Callable[[str], bool]) -> str:
        """Runs a command until it prints what it should or time is up. Returns the last output."""
        latest = reactor.seconds() + LONGEST_WAIT_SECONDS
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
