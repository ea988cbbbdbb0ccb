"""
Proposes that what has expired be removed, when its time has come.

Only the leader does so (spec, section 1, "TTL"). Must never propose anything when nothing has expired.
"""

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from etcd_twisted.keyspace.commands import Expire

_KEYS_A_COMMAND = 1_000
_LONGEST_WAIT = 1.0
"""Seconds after which the time is looked at again: it may have been adjusted meanwhile."""


class Expirer:
    """A timer for the key that expires next."""

    def __init__(
        self,
        clock: IReactorTime,
        now: Callable[[], int],
        next_expiry: Callable[[], int | None],
        propose: Callable[[Expire], None],
    ) -> None:
        """
        @param clock: for the timer; it may count from anywhere.
        @param now: the time by which keys expire, in microseconds since the epoch.
        @param next_expiry: when the next key expires, in microseconds since the epoch, or C{None}.
        @param propose: has a command logged; L{applied} is called when it is applied.
        """
        self._clock = clock
        self._now = now
        self._next_expiry = next_expiry
        self._propose = propose
        self._timer: IDelayedCall | None = None
        self._proposed = False

    def applied(self) -> None:
        """The command that was proposed has had its effect."""
        self._proposed = False

    def look(self) -> None:
        """The key space may have changed: wait for what expires next now."""
        if not self._proposed:
            self._wait()

    def _wait(self) -> None:
        expires = self._next_expiry()
        if expires is None:
            self._cancel()
            return
        delay = min(max(0, expires - self._now()) / 1e6, _LONGEST_WAIT)
        if self._timer is None:
            self._timer = self._clock.callLater(delay, self._ring)
        elif self._timer.getTime() - self._clock.seconds() > delay:
            self._timer.reset(delay)

    def _ring(self) -> None:
        self._timer = None
        now = self._now()
        expires = self._next_expiry()
        if expires is not None and expires <= now:
            self._proposed = True
            self._propose(Expire(now, _KEYS_A_COMMAND))
        else:
            self._wait()

    def stop(self) -> None:
        """Wait no more, nor for what was proposed: it may be lost."""
        self._proposed = False
        self._cancel()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
