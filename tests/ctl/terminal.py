"""
Commands in a pseudo-terminal, within the process of the test.
"""

import fcntl
import os
import pty
import struct
import termios
import threading
from unittest import mock

from tests.ctl.commands import CommandTest, captured

COLUMNS = 100
LINES = 12


class TerminalTest(CommandTest):
    """A test that types commands in a terminal."""

    def shown(self, *arguments: str, status: int = 0, errors: bool = False, **environment: str) -> str:
        """
        Returns what a command writes to a terminal, without the carriage returns.

        @param status: the status with which it has to end.
        @param errors: whether the terminal is its error output, and not its output.
        """
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        read: list[bytes] = []
        reading = threading.Thread(target=_read, args=(ours, read))
        reading.start()
        variables = {"TERM": "xterm", "COLUMNS": str(COLUMNS), "LINES": str(LINES), **environment}
        with mock.patch.dict(os.environ, variables), os.fdopen(theirs, "w", encoding="utf-8") as terminal:
            streams = {"stderr" if errors else "stdout": terminal}
            outcome = captured(self, arguments, b"", variables, self.run_action, lambda *_: (None, 0.0), **streams)
        reading.join()
        os.close(ours)
        self.assertEqual((outcome.status, outcome.errors), (status, ""), arguments)
        return b"".join(read).decode().replace("\r\n", "\n")


def _read(terminal: int, read: list[bytes]) -> None:
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # the other end is closed
            return
        read.append(piece)
