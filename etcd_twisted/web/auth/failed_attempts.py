"""
How attempts to log in under one name are slowed down when they fail again and again.

Each attempt waits for its turn: the pause before it doubles with each failure. An attempt that is being checked counts
as a failure, so that making many at once is no way around it. A name that no user has is treated like any other. This
module must never remember more names than a bound, nor take more memory for a long one.
"""

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import Interface, implementer

FREE_ATTEMPTS = 3
"""How many attempts may fail without a pause."""

FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 4.0

LONGEST_WAIT_SECONDS = 15.0
"""How long an attempt waits for its turn. With more in front of it, it is refused."""

FORGET_SECONDS = 300.0
"""How long after the last attempt a name is forgotten."""

MOST_NAMES = 10_000
"""How many names are remembered."""


class IAttempts(Interface):
    """
    The failed attempts, in this process or in another one. What is returned at once by L{FailedAttempts} is a Deferred
    where it comes from another process.
    """

    def begin(name: str) -> "float | Deferred[float | None] | None":  # noqa: N805  # see L{Interface}
        """Begin an attempt; see L{FailedAttempts.begin}."""

    def failed(name: str) -> "bool | Deferred[bool]":  # noqa: N805
        """Note that an attempt has failed; see L{FailedAttempts.failed}."""

    def succeeded(name: str) -> None:  # noqa: N805
        """Note that an attempt has succeeded."""

    def given_up(name: str) -> None:  # noqa: N805
        """Note that an attempt ended without a result."""


@attrs.define
class _Name:
    """
    The attempts under one name.

    @ivar last: when the last attempt began or ended.
    @ivar free: when the next attempt may begin.
    """

    last: float
    free: float = 0.0
    failed: int = 0
    under_way: int = 0


@implementer(IAttempts)
class FailedAttempts:
    """Counts failed attempts, by name."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._names: dict[int, _Name] = {}
        """The attempts by the hash of the name, which may be long. Names of the same hash wait for each other."""

    def begin(self, name: str) -> float | None:
        """
        Begin an attempt. Returns how many seconds it has to wait, or C{None} if it is refused. Unless it is refused,
        one of L{failed}, L{succeeded} and L{given_up} has to be called once.
        """
        now = self._clock.seconds()
        entry = self._entry(name, now)
        start = max(now, entry.free)
        if start - now > LONGEST_WAIT_SECONDS:
            return None
        entry.under_way += 1
        entry.free = start + pause_seconds(entry.failed + entry.under_way)
        return start - now

    def failed(self, name: str) -> bool:
        """Note that an attempt has failed. Returns whether it is the first one that makes others wait."""
        now = self._clock.seconds()
        entry = self._entry(name, now)
        entry.under_way -= 1
        entry.failed += 1
        entry.free = max(entry.free, now + pause_seconds(entry.failed))
        return entry.failed == FREE_ATTEMPTS

    def succeeded(self, name: str) -> None:
        """Note that an attempt has succeeded, and forget those that have failed."""
        self._names.pop(hash(name), None)

    def given_up(self, name: str) -> None:
        """Note that an attempt ended without a result."""
        self._entry(name, self._clock.seconds()).under_way -= 1

    def _entry(self, name: str, now: float) -> _Name:
        key = hash(name)
        entry = self._names.pop(key, None)
        if entry is None or (now > entry.last + FORGET_SECONDS and now > entry.free):
            entry = _Name(now)
        entry.last = now
        entry.under_way = max(0, entry.under_way)  # it may have been forgotten while an attempt was under way
        self._names[key] = entry
        if len(self._names) > MOST_NAMES:
            del self._names[next(iter(self._names))]  # the one whose last attempt is the longest ago
        return entry


def pause_seconds(failures: int) -> float:
    """Returns the pause after so many failures."""
    if failures < FREE_ATTEMPTS:
        return 0.0
    return min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(failures - FREE_ATTEMPTS, 10))
