"""
A child process of a test, watched by the reactor.

This module must never leave a process behind: whoever spawns one calls L{ChildProcess.stop} at the end, whatever
happens.
"""

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessTerminated
from twisted.internet.interfaces import IProcessTransport, IReactorProcess
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

import etcd_twisted

_PACKAGES = Path(etcd_twisted.__file__).resolve().parent.parent
"""The directory that this C{etcd_twisted} is in, so that the child runs the same."""


class ChildEndedError(Exception):
    """A child ended before it wrote what was waited for. The text is all that it wrote."""


class ChildProcess(ProcessProtocol):
    """
    One process, from its start to its end.

    @ivar status: its exit status, or the negative number of the signal that killed it; C{None} while it runs.
    """

    transport: IProcessTransport

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
        """The process id."""
        pid: int = self.transport.pid
        return pid

    def when_printed(self, *texts: str) -> "Deferred[None]":
        """
        Returns a Deferred that fires when its standard output or its standard error contains one of C{texts}. It fails
        with L{ChildEndedError} when the process ends before.
        """
        said: Deferred[None] = Deferred()
        self._expected.append((tuple(text.encode() for text in texts), said))
        self._look()
        if self.status is not None:
            self._give_up()
        return said

    def when_ended(self) -> "Deferred[int]":
        """Returns a Deferred that fires with its status when it has ended."""
        if self.status is not None:
            return succeed(self.status)
        ending: Deferred[int] = Deferred()
        self._ending.append(ending)
        return ending

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        self.transport.signalProcess(number.name.removeprefix("SIG"))

    def outReceived(self, data: bytes) -> None:
        """See L{ProcessProtocol}."""
        self._output += data
        self._look()

    def errReceived(self, data: bytes) -> None:
        """See L{ProcessProtocol}."""
        self._errors += data
        self._look()

    def processEnded(self, reason: Failure) -> None:
        """See L{ProcessProtocol}."""
        ended = reason.value
        if isinstance(ended, ProcessTerminated):
            self.status = ended.exitCode if ended.signal is None else -ended.signal
        else:
            self.status = 0
        self._give_up()
        ending, self._ending = self._ending, []
        for each in ending:
            each.callback(self.status)

    def _look(self) -> None:
        waiting, self._expected = self._expected, []
        for texts, said in waiting:
            if any(text in self._output or text in self._errors for text in texts):
                said.callback(None)
            else:
                self._expected.append((texts, said))

    def _give_up(self) -> None:
        waiting, self._expected = self._expected, []
        for texts, said in waiting:
            story = f"status {self.status} before it said one of {texts}\n{self.output}\n{self.errors}"
            said.errback(ChildEndedError(story))

    def stop(self) -> "Deferred[int]":
        """Kill the process if it runs. Returns a Deferred that fires with its status when it has ended."""
        if self.status is None:
            self.signal(signal.SIGKILL)
        return self.when_ended()


def clean_environment() -> dict[str, str]:
    """Returns this process's environment without the variables that would configure a machine or a tool."""
    prefixes = ("ETCD_", "ETCDCTL_", "TXETCDCTL_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    return inherited | {"PYTHONPATH": str(_PACKAGES)}


def spawn(
    reactor: IReactorProcess,
    command: Sequence[str | Path],
    directory: Path,
    environment: Mapping[str, str] | None = None,
    descriptors: Mapping[int, int] | None = None,
) -> ChildProcess:
    """
    Start a process.

    @param directory: where it runs.
    @param environment: the variables that it has beside those of L{clean_environment}.
    @param descriptors: the open files of this process that it has beside its standard streams, by their numbers there.
    """
    child = ChildProcess()
    arguments = [str(each) for each in command]
    reactor.spawnProcess(
        child,
        arguments[0],
        arguments,
        env=clean_environment() | dict(environment or {}),
        path=str(directory),
        childFDs={0: "w", 1: "r", 2: "r"} | dict(descriptors or {}),
    )
    return child
