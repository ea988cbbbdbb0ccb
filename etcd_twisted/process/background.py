"""
Moves the process into the background, and tells the person who gave the command how the start ends.

When C{twistd} does this itself, it prints at most 100 bytes of the reason why a start fails, in Python's notation, and
nothing when the start fails while the machine looks for its cluster. This module must never be done while another
thread runs: a fork does not copy threads.
"""

import os
import sys
from typing import NoReturn

_STARTED = b"\0"
"""The message to the starter in place of a reason for failure."""

_KILLED = "twistd etcd: the process in the background ended without a reason: it was killed, or its log says more\n"
_INTERRUPTED = "twistd etcd: this command no longer waits, but the start goes on in the background; see its log\n"
_LONGEST_READ_BYTES = 65_536


class Background:
    """
    A process that leaves the terminal. The process that was started there waits, and prints how the start went.

    @ivar _starter: the pipe to the process that waits; C{None} where none waits, or it has its message.
    """

    def __init__(self) -> None:
        self._starter: int | None = None

    def enter(self) -> None:
        """
        Continue in the background. Never returns in the process that was started in the foreground: that process
        ends with status 0 after L{started}, or with status 1 and a line on standard error after L{refused}.
        """
        reading, writing = os.pipe()
        if os.fork():
            os.close(writing)
            _wait(reading)
        os.close(reading)
        os.setsid()
        if os.fork():
            os._exit(0)
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(nothing, standard)
        os.close(nothing)
        self._starter = writing

    def started(self, _: object = None) -> None:
        """Report that this process has started."""
        self._report(_STARTED)

    def refused(self, line: str) -> None:
        """Report that this process ends, and why."""
        self._report(line.encode(errors="backslashreplace"))

    def _report(self, report: bytes) -> None:
        """Report once. Nobody reads a later report, or that of a process that never left the terminal."""
        starter, self._starter = self._starter, None
        if starter is not None:
            try:
                os.write(starter, report)
            except BrokenPipeError:
                pass  # the person who gave the command did not wait
            finally:
                os.close(starter)


def _wait(reading: int) -> NoReturn:
    """Wait until the process in the background reports or is gone, and end with the status that this means."""
    report = b""
    try:
        while piece := os.read(reading, _LONGEST_READ_BYTES):
            report += piece
    except KeyboardInterrupt:
        report = _INTERRUPTED.encode()
    if report == _STARTED:
        os._exit(0)
    if sys.__stderr__ is not None:
        sys.__stderr__.write(report.decode(errors="replace") or _KILLED)
        sys.__stderr__.flush()
    os._exit(1)
