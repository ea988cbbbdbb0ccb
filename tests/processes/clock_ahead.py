"""
C{twistd} as it is, on a computer whose clock is an hour ahead.

To be run as C{python -m tests.processes.clock_ahead} and what C{twistd} takes.
"""

import time

from twisted.scripts.twistd import run

AHEAD = 3600
"""Seconds."""


def install() -> None:
    """Replace the time of day; the reactor has taken it already, and is given a time of its own."""
    right = time.time
    time.time = lambda: right() + AHEAD


if __name__ == "__main__":
    install()
    run()
