"""
What is said in the log about strangers, and about what may go wrong again and again: a line each, but not thousands.

Must never let anybody fill the disk with lines.
"""

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

PERIOD = 60.0
"""Seconds."""

MOST = 20
"""How many lines a period may have for one cause."""


@attrs.define
class _Period:
    """The lines for one cause, since when."""

    since: float
    lines: int = 0


class Complaints:
    """Warnings, as many as are useful."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._periods: dict[str, _Period] = {}

    def say(self, cause: str, text: str) -> None:
        """
        Log a line, unless there were many for the same cause; the last one says so.

        @param cause: one of a few.
        """
        now = self._clock.seconds()
        period = self._periods.get(cause)
        if period is None or now >= period.since + PERIOD:
            period = self._periods[cause] = _Period(now)
        period.lines += 1
        if period.lines < MOST:
            self._log.warn("{text}", text=text)
        elif period.lines == MOST:
            self._log.warn("{text}; more like this are not logged for a minute", text=text)
