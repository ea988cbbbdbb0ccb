"""
The process of a worker, as the consensus process has it.

The file descriptors that a worker inherits have fixed numbers. This module must never pass a secret on the command
line, nor leave a process behind: one whose consensus process is gone ends by itself.
"""

import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IProcessTransport, IProtocol, IReactorProcess, IReactorSocket
from twisted.internet.process import reapAllProcesses
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from etcd_twisted import __version__
from etcd_twisted.interfaces import IReactor

CONTROL, FEED, RELAY, FIRST_SOCKET = 3, 4, 5, 6
"""File descriptors of a worker. All from the last one on are listening sockets."""

IGNORED_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""A terminal and some service managers send these to all processes: the consensus process says when to stop."""

_REAP_SECONDS = 0.1
_LONGEST_LINE = 4_096


def adopt(reactor: IReactor, connected: socket.socket, protocol: IProtocol) -> None:
    """Connect a protocol to a connected Unix socket, which the reactor then has a descriptor of its own of."""
    factory: Any = Factory()
    factory.buildProtocol = lambda _: protocol
    connected.setblocking(False)
    cast(IReactorSocket, reactor).adoptStreamConnection(connected.fileno(), socket.AF_UNIX, factory)
    connected.close()


class WorkerProcess(ProcessProtocol):
    """
    The process of one worker.

    @ivar ended: fires with why the process has ended, in a few words, when it has.
    @ivar pid: the number of the process.
    """

    _log = Logger()

    def __init__(self, reactor: IReactor, number: int) -> None:
        self.ended: Deferred[str] = Deferred()
        self.pid: int | None = None
        self._reactor = reactor
        self._number = number
        self._lines = {1: b"", 2: b""}
        self._last_line = ""
        self._reaping = LoopingCall(reapAllProcesses)
        self._reaping.clock = reactor

    def start(self, control: IProtocol, feed: IProtocol, relay: socket.socket, sockets: Sequence[int]) -> None:
        """
        Start the process.

        @param control: the consensus process's end of what they tell each other; likewise C{feed}.
        @param relay: the worker's end of the relay.
        @param sockets: the descriptors of the listening sockets.
        """
        ours, theirs = zip(socket.socketpair(), socket.socketpair(), strict=True)
        nothing = os.open(os.devnull, os.O_RDWR)
        # The worker inherits that these are blocked, and ignores them when it runs: none can end it before.
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, IGNORED_SIGNALS)
        try:
            inherited = [*(each.fileno() for each in theirs), relay.fileno(), *sockets]
            descriptors: dict[int, int | str] = {0: nothing, 1: "r", 2: "r"}
            descriptors.update(enumerate(inherited, CONTROL))
            # What the worker imports is what this process does, whatever directory it is in.
            path = os.pathsep.join(each for each in sys.path if os.path.isabs(each))
            cast(IReactorProcess, self._reactor).spawnProcess(
                self,
                sys.executable,
                [sys.executable, "-P", "-m", "etcd_twisted.workers", str(self._number), __version__],
                {**os.environ, "PYTHONPATH": path},
                childFDs=cast(Any, descriptors),
            )
        except BaseException:
            for each in ours:
                each.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
            os.close(nothing)
            for each in (*theirs, relay):
                each.close()
        for end, protocol in zip(ours, (control, feed), strict=True):
            adopt(self._reactor, end, protocol)

    def connectionMade(self) -> None:
        """The process runs."""
        self.pid = cast(IProcessTransport, self.transport).pid

    def kill(self) -> None:
        """End the process at once."""
        if self.pid is not None and not self.ended.called:
            with suppress(ProcessExitedAlready):  # what it has written is still to be read
                cast(IProcessTransport, self.transport).signalProcess(signal.SIGKILL)

    def reap(self) -> None:
        """
        Look for the end of the process until it has ended, as a connection to it is lost. Programs that embed this may
        run a reactor that is not told when processes end.
        """
        if not self.ended.called and not self._reaping.running:
            self._reaping.start(_REAP_SECONDS, now=False).addErrback(
                lambda failure: self._log.failure("The end of a worker is not looked for", failure)
            )

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Log what the worker writes because it can't log it itself."""
        *lines, rest = (self._lines[childFD] + data).split(b"\n")
        self._lines[childFD] = rest[:_LONGEST_LINE]
        for line in lines:
            self._write(line)

    def _write(self, line: bytes) -> None:
        text = line[:_LONGEST_LINE].decode(errors="replace").rstrip()
        if text:
            self._last_line = text
            self._log.error("Worker {number} has written: {text}", number=self._number, text=text)

    def processEnded(self, reason: Failure) -> None:
        """The process has ended, and all that it has written is here."""
        if self._reaping.running:
            self._reaping.stop()
        for line in self._lines.values():
            self._write(line)
        error = cast(Any, reason.value)
        how = f"signal {error.signal}" if getattr(error, "signal", None) else f"status {error.exitCode}"
        self.ended.callback(f"{how}: {self._last_line}" if self._last_line else how)
