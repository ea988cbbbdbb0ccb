"""
How long to wait before the next attempt to reach a machine: almost no time at first, then longer, and never so that
all machines try at the same moment.

This module must never wait so long that a machine that is back gets no messages.
"""

from collections.abc import Callable

FIRST_PAUSE_SECONDS = 0.02
"""The longest pause before the second attempt."""

LONGEST_PAUSE_SECONDS = 1.0
"""The longest pause between any two attempts."""


class Backoff:
    """The pauses between attempts to reach one machine."""

    def __init__(self, chance: Callable[[], float]) -> None:
        """
        @param chance: returns a random number from 0 to 1.
        """
        self._chance = chance
        self._next = FIRST_PAUSE_SECONDS

    def next(self) -> float:
        """Returns how long to wait now, in seconds; it grows with each call."""
        pause = self._next * (0.5 + 0.5 * self._chance())
        self._next = min(LONGEST_PAUSE_SECONDS, 2 * self._next)
        return pause

    def reset(self) -> None:
        """An attempt succeeded: begin with short pauses again."""
        self._next = FIRST_PAUSE_SECONDS
