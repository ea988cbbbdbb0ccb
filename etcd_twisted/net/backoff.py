"""
How long to wait before a machine is tried again: at once-ish, then longer, never all machines at the same moment.

Must never wait so long that a machine that is back stays without news.
"""

from collections.abc import Callable

FIRST = 0.02
"""Seconds until the second attempt, at the most."""

LONGEST = 1.0
"""Seconds between attempts, at the most."""


class Backoff:
    """The pauses between attempts to reach one machine."""

    def __init__(self, chance: Callable[[], float]) -> None:
        """
        @param chance: a number from 0 to 1, another one each time.
        """
        self._chance = chance
        self._next = FIRST

    def next(self) -> float:
        """How long to wait now, in seconds; longer each time."""
        pause = self._next * (0.5 + 0.5 * self._chance())
        self._next = min(LONGEST, 2 * self._next)
        return pause

    def reset(self) -> None:
        """An attempt was a success: begin anew."""
        self._next = FIRST
