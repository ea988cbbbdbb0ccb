"""
A child process of a test, watched by the reactor.

Never leaves one behind: whatever becomes of the test, its cleanup kills the child and waits until it is gone.
"""

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

SOURCE = Path(__file__).resolve().parent.parent.parent
"""The source tree that is tested."""


class ChildEndedError(Exception):
    """A child ended before it said what was waited for; the text is all that it said."""


class Child(ProcessProtocol):
    """
    One process, from its start to its end.

    @ivar status: its exit status, or the negative number of the signal that killed it; C{None} while it runs.
    """

    def __init__(self) -> None:
        self.status: int | None = None
        self._output = bytearray()
        self._errors = bytearray()
        self._expected: list[tuple[tuple[bytes, ...], Deferred[None]]] = []
        self._ending: list[Deferred[int]] = []

    @property
    def output(self) -> str:
        """What it has written to its standard output."""
        return self._output.decode(errors="replace")

    @property
    def errors(self) -> str:
        """What it has written to its standard error."""
        return self._errors.decode(errors="replace")

    @property
    def pid(self) -> int:
        """Its process id."""
        pid: int = self.transport.pid
        return pid

    def said(self, *texts: str) -> "Deferred[None]":
        """Fires when its standard output has one of C{texts} in it; errbacks when it ends without."""
        said: Deferred[None] = Deferred()
        self._expected.append((tuple(text.encode() for text in texts), said))
        self._look()
        if self.status is not None:
            self._give_up()
        return said

    def ended(self) -> "Deferred[int]":
        """Fires with its status when it has ended."""
        if self.status is not None:
            return succeed(self.status)
        ending: Deferred[int] = Deferred()
        self._ending.append(ending)
        return ending

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.transport.signalProcess(number.name.removeprefix("SIG"))

    def outReceived(self, data: bytes) -> None:
        """It wrote to its standard output."""
        self._output += data
        self._look()

    def errReceived(self, data: bytes) -> None:
        """It wrote to its standard error."""
        self._errors += data

    def processEnded(self, reason: Failure) -> None:
        """It has ended, and all that it wrote is here."""
        if reason.check(ProcessTerminated) is None:
            self.status = 0
        else:
            self.status = reason.value.exitCode if reason.value.signal is None else -reason.value.signal
        self._give_up()
        ending, self._ending = self._ending, []
        for each in ending:
            each.callback(self.status)

    def _look(self) -> None:
        waiting, self._expected = self._expected, []
        for texts, said in waiting:
            if any(text in self._output for text in texts):
                said.callback(None)
            else:
                self._expected.append((texts, said))

    def _give_up(self) -> None:
        waiting, self._expected = self._expected, []
        for texts, said in waiting:
            story = f"status {self.status} before it said one of {texts}\n{self.output}\n{self.errors}"
            said.errback(ChildEndedError(story))

    def stop(self) -> "Deferred[int]":
        """Kill it if it still runs; fires when it has ended."""
        if self.status is None:
            self.signal(signal.SIGKILL)
        return self.ended()


def clean_environment() -> dict[str, str]:
    """This process's environment without what would configure an etcd or an etcdctl."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ETCD_", "ETCDCTL_"))}
    return inherited | {"PYTHONPATH": str(SOURCE)}


def spawn(
    test: TestCase,
    command: Sequence[str | Path],
    directory: Path,
    environment: Mapping[str, str] | None = None,
    descriptors: Mapping[int, int] | None = None,
) -> Child:
    """
    Start a process, which the end of the test ends.

    @param environment: what it has in its environment beside L{clean_environment}.
    @param descriptors: which open files it has beside the usual three: this process's, by their number there.
    """
    child = Child()
    arguments = [str(each) for each in command]
    reactor.spawnProcess(
        child,
        arguments[0],
        arguments,
        env=clean_environment() | dict(environment or {}),
        path=str(directory),
        childFDs={0: "w", 1: "r", 2: "r"} | dict(descriptors or {}),
    )
    test.addCleanup(child.stop)
    return child
