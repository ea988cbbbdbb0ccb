"""
Runs C{twistd} unchanged, but sets the system's clock back by a minute at the worst time: when something was just
delayed to the next turn of the reactor, for the first time after a C{SIGUSR1}.

It is run as C{python -m tests.processes.clock_set_back} with the arguments of C{twistd}.
"""

import os
import signal
import time
from typing import Any

from twisted.internet.base import ReactorBase
from twisted.scripts.twistd import run

STEP = 60
"""By how many seconds the clock is set back."""

READY = "The clock is about to be set back"
"""What the process writes when it has received the signal."""

DONE = "The clock was set back"
"""What the process writes when the clock was set back."""


def say(text: str) -> None:
    """Writes a line, from wherever this is called."""
    os.write(1, f"{text}\n".encode())


class Clock:
    """Stands in for the system's clock."""

    def __init__(self) -> None:
        self._time = time.time
        self._call_later = ReactorBase.callLater
        self._behind = 0
        self._ready = False

    def install(self) -> None:
        """Replaces the time of day, also in Twisted's reactors, which have a reference to the old one already."""
        time.time = self.time
        ReactorBase.seconds = staticmethod(self.time)
        ReactorBase.callLater = lambda *arguments, **named: self.call_later(*arguments, **named)  # noqa: PLW0108 - it binds the reactor
        signal.signal(signal.SIGUSR1, self.get_ready)

    def time(self) -> float:
        """Returns the time of day."""
        return self._time() - self._behind

    def get_ready(self, _signal: int, _frame: object) -> None:
        """Marks the next delayed call as the worst time."""
        self._ready = True
        say(READY)

    def call_later(self, reactor: Any, delay: float, *arguments: Any, **named: Any) -> Any:
        """Delays a call, and sets the clock back if this is the worst time."""
        call = self._call_later(reactor, delay, *arguments, **named)
        if self._ready and delay == 0:
            self._ready = False
            self._behind = STEP
            say(DONE)
        return call


if __name__ == "__main__":
    Clock().install()
    run()
