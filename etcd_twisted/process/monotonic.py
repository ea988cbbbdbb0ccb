"""
The time of a reactor that does not follow the system's clock.

Twisted's reactors follow the system's clock: if that is set back, all timers are late by as much. This module must
never be used in a program that embeds the service.
"""

import time
from typing import Any


def use_monotonic_time(reactor: Any, ahead_seconds: float | None = None) -> None:
    """
    Make a reactor's time go on evenly from now, even if the system's clock is set. This has to be called before
    anything is scheduled.

    @param ahead_seconds: how far that time is ahead of the system's monotonic clock; C{None} if it begins as the time
        of day.
    """
    ahead = time.time() - time.monotonic() if ahead_seconds is None else ahead_seconds
    reactor.seconds = lambda: time.monotonic() + ahead
