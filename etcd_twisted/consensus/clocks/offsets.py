"""
How far another machine's clock is ahead of this one's, from questions and answers, as NTP measures it.

The other machine read its clock at some moment between question and answer. Taking it for the middle is wrong by half
of the round trip at most. Of the recent readings the one that may be least wrong counts.

Must never mix readings that can't all be true: when the other clock was set, older readings say nothing any more.
"""

from typing import Self

import attrs

MOST_READINGS = 8
"""How many readings are kept."""

DRIFT = 0.001
"""
By how many seconds a second two clocks may drift apart, with a margin: crystals are good to 0.0001, and clocks that
are being corrected run up to 0.0005 faster or slower.
"""


@attrs.frozen
class _Reading:
    """
    @ivar ahead: how far the other clock was ahead, in seconds.
    @ivar error: by how much that may be wrong, in seconds.
    @ivar at: when it was read, by this machine's clock, in seconds.
    """

    ahead: float
    error: float
    at: float

    def error_at(self, now: float) -> float:
        """By how much the reading may be wrong by now."""
        return self.error + DRIFT * (now - self.at)

    def agrees(self, earlier: Self) -> bool:
        """Whether both readings can be true."""
        return abs(self.ahead - earlier.ahead) <= self.error + earlier.error_at(self.at)


class Offset:
    """Compares another clock with one of this machine's that is never set."""

    def __init__(self) -> None:
        self._readings: list[_Reading] = []

    def add(self, shown: float, asked: float, answered: float, error: float = 0.0) -> None:
        """
        Take a reading. All times are in seconds.

        @param shown: what the other machine said that its clock shows.
        @param asked: when it was asked, by this machine's clock.
        @param answered: when the answer came, likewise.
        @param error: by how much what it said may be wrong.
        """
        took = answered - asked
        reading = _Reading(shown - (asked + answered) / 2, took / 2 + DRIFT * took + error, answered)
        agreeing = [each for each in self._readings if reading.agrees(each)]
        self._readings = [*agreeing[1 - MOST_READINGS :], reading]

    def best(self, now: float) -> tuple[float, float] | None:
        """How far the other clock is ahead, and by how much that may be wrong; C{None} before the first reading."""
        if not self._readings:
            return None
        reading = min(self._readings, key=lambda each: each.error_at(now))
        return reading.ahead, reading.error_at(now)

    def clear(self) -> None:
        """Forget all readings."""
        self._readings.clear()
