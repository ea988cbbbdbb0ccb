"""
Goes into the background, and tells the person who gave the command how the start ends.

C{twistd}'s own way prints no more than 100 bytes of a refusal, in Python's notation, and nothing of one that comes
while a machine looks for its cluster. Must never be taken once a thread runs: a fork takes none along.
"""

import os
import sys
from typing import NoReturn

_STARTED = b"\0"
"""Instead of a reason why it did not."""

_KILLED = "twistd etcd: the process in the background ended without a word: it was killed, or its log says more\n"
_INTERRUPTED = "twistd etcd: nobody waits any more, but the start goes on in the background: its log says more\n"
_LARGEST_READ = 65_536


class Background:
    """A process that leaves the terminal; the one that was started there waits, and tells how it went."""

    def __init__(self) -> None:
        self._starter: int | None = None

    def enter(self) -> None:
        """
        Go on in the background. Does not return in the process that was started in the foreground: that ends with
        status 0 after L{started}, and with status 1 and a line on standard error after L{refused}.
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
        self._tell(_STARTED)

    def refused(self, line: str) -> None:
        """Report that this process ends, with the reason."""
        self._tell(line.encode(errors="backslashreplace"))

    def _tell(self, what: bytes) -> None:
        """Report once. A later report, or one of a process that was never detached, has no reader."""
        starter, self._starter = self._starter, None
        if starter is not None:
            try:
                os.write(starter, what)
            except BrokenPipeError:
                pass  # whoever gave the command did not wait
            finally:
                os.close(starter)


def _wait(reading: int) -> NoReturn:
    """Wait until the process in the background reports or is gone, and end with the same status."""
    told = b""
    try:
        while piece := os.read(reading, _LARGEST_READ):
            told += piece
    except KeyboardInterrupt:
        told = _INTERRUPTED.encode()
    if told == _STARTED:
        os._exit(0)
    if sys.__stderr__ is not None:
        sys.__stderr__.write(told.decode(errors="replace") or _KILLED)
        sys.__stderr__.flush()
    os._exit(1)
