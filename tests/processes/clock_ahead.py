"""
Runs C{twistd} unchanged, on a computer whose clock is an hour ahead.

It is run as C{python -m tests.processes.clock_ahead} with the arguments of C{twistd}.
"""

import time

from twisted.scripts.twistd import run

AHEAD = 3600
"""How many seconds the clock is ahead."""


def install() -> None:
    """Replaces the time of day; the reactor has a reference to the old one already, and gets the new one too."""
    right = time.time
    time.time = lambda: right() + AHEAD


if __name__ == "__main__":
    install()
    run()
