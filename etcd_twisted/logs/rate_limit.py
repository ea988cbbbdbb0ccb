"""
Warnings about strangers, and about what may go wrong again and again: each is a line in the log, but there are never
thousands of them.

This module must never let anybody fill the disk with lines.
"""

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

PERIOD_SECONDS = 60.0
"""The period that the number of lines is limited for. The last line of a period calls it a minute."""

MOST_LINES_PER_PERIOD = 20
"""How many lines one cause may have in a period."""


@attrs.define
class _Period:
    """
    The current period of one cause.

    @ivar since: when it began, in the clock's seconds.
    @ivar lines: how many lines there would be without the limit.
    """

    since: float
    lines: int = 0


class RateLimitedLog:
    """Logs as many warnings as are useful."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._periods: dict[str, _Period] = {}

    def warn(self, cause: str, text: str) -> None:
        """
        Log a line, unless there were many for the same cause. The last line says that it is the last.

        @param cause: one of a few: causes are remembered for ever.
        """
        now = self._clock.seconds()
        period = self._periods.get(cause)
        if period is None or now >= period.since + PERIOD_SECONDS:
            period = self._periods[cause] = _Period(now)
        period.lines += 1
        if period.lines < MOST_LINES_PER_PERIOD:
            self._log.warn("{text}", text=text)
        elif period.lines == MOST_LINES_PER_PERIOD:
            self._log.warn("{text}; more like this are not logged for a minute", text=text)
