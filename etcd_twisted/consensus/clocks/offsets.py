"""
Measures how far another machine's clock is ahead of this one's, from requests and answers, as NTP does.

The other machine reads its clock at some moment between the request and the answer. Assuming the middle is wrong by at
most half of the round trip. Among the recent readings, the one with the smallest possible error is used.

It must never mix readings that can't all be true: once the other clock was set, older readings mean nothing.
"""

from typing import Self

import attrs

MOST_READINGS = 8
"""The most readings that are kept."""

DRIFT = 0.001
"""
How fast two clocks may drift apart, in seconds per second, with a margin. Crystals are accurate to 0.0001, and clocks
that are being corrected run up to 0.0005 faster or slower.
"""


@attrs.frozen
class _Reading:
    """
    One comparison of the two clocks.

    @ivar ahead_seconds: how many seconds the other clock was ahead.
    @ivar error_seconds: by how many seconds that may be wrong.
    @ivar at: when the answer came, in seconds of this machine's clock.
    """

    ahead_seconds: float
    error_seconds: float
    at: float

    def error_seconds_at(self, now: float) -> float:
        """Returns by how many seconds the reading may be wrong by now."""
        return self.error_seconds + DRIFT * (now - self.at)

    def agrees(self, earlier: Self) -> bool:
        """Returns whether both readings can be true."""
        apart_seconds = abs(self.ahead_seconds - earlier.ahead_seconds)
        return apart_seconds <= self.error_seconds + earlier.error_seconds_at(self.at)


class Offset:
    """The offset of another clock from a clock of this machine that is never set."""

    def __init__(self) -> None:
        self._readings: list[_Reading] = []

    def add(self, shown: float, asked: float, answered: float, error_seconds: float = 0.0) -> None:
        """
        Add a reading. All times are in seconds.

        @param shown: the time that the other machine has reported.
        @param asked: when it was asked, by this machine's clock.
        @param answered: when the answer came, by this machine's clock.
        @param error_seconds: by how much the reported time may be wrong.
        """
        took = answered - asked
        reading = _Reading(shown - (asked + answered) / 2, took / 2 + DRIFT * took + error_seconds, answered)
        agreeing = [each for each in self._readings if reading.agrees(each)]
        self._readings = [*agreeing[1 - MOST_READINGS :], reading]

    def best(self, now: float) -> tuple[float, float] | None:
        """
        Returns how many seconds the other clock is ahead and by how much that may be wrong, or C{None} without
        readings.
        """
        reading = self._best(now)
        return None if reading is None else (reading.ahead_seconds, reading.error_seconds_at(now))

    def age_seconds(self, now: float) -> float:
        """Returns how many seconds ago the best reading was made, or 0 before the first one."""
        reading = self._best(now)
        return 0.0 if reading is None else now - reading.at

    def _best(self, now: float) -> _Reading | None:
        return min(self._readings, key=lambda each: each.error_seconds_at(now), default=None)

    def clear(self) -> None:
        """Forget all readings."""
        self._readings.clear()
