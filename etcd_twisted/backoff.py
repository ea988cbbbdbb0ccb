"""
How long to wait before the next attempt: almost no time at first, then longer, and never so that all who wait try at
the same moment.

This module must never wait itself, nor import anything of this project, so that servers and clients can share it.
"""

from collections.abc import Callable

FIRST_PAUSE_SECONDS = 0.02
"""The longest pause before the second attempt."""

LONGEST_PAUSE_SECONDS = 1.0
"""The longest pause between any two attempts, unless another is given."""


class Backoff:
    """The pauses between attempts to do one thing."""

    def __init__(self, chance: Callable[[], float], longest_seconds: float = LONGEST_PAUSE_SECONDS) -> None:
        """
        @param chance: returns a random number from 0 to 1.
        @param longest_seconds: the longest pause.
        """
        self._chance = chance
        self._longest_seconds = longest_seconds
        self._next = FIRST_PAUSE_SECONDS

    def next(self) -> float:
        """Returns how long to wait now, in seconds; it grows with each call."""
        pause = self._next * (0.5 + 0.5 * self._chance())
        self._next = min(self._longest_seconds, 2 * self._next)
        return pause

    def reset(self) -> None:
        """An attempt succeeded: begin with short pauses again."""
        self._next = FIRST_PAUSE_SECONDS
