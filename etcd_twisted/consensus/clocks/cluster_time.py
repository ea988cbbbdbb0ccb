"""
The cluster time, by which TTLs end on every machine.

A TTL ends at a moment of the cluster time. The leader keeps it, and it advances with the leader's monotonic clock,
even if its wall clock is set. The other machines learn it from the leader's answers, advance it with their own
monotonic clocks, and continue from there when they take the lead. So neither a difference between wall clocks nor a
wall clock that is set ends a TTL early or late. C{docs/clocks.md} says what is guaranteed.

A machine that has heard of no leader's time, as after a restart of the whole cluster, begins with its wall clock, but
not before the newest time that it finds in the log and the snapshot.

The cluster time must never fall behind a time that the log holds, nor jump while any key has a TTL.
"""

from collections.abc import Callable

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from etcd_twisted.consensus.clocks.offsets import Offset
from etcd_twisted.interfaces.cluster import StatusReport

SLEW = 0.0005
"""How fast a leader's cluster time approaches its wall clock, in seconds per second: as fast as NTP slews a clock."""

STEP_SECONDS = 1.0
"""The difference from which on a leader sets the cluster time forward at once, while nothing has a TTL."""

_UNKNOWN = -1


@attrs.frozen
class Inheritance:
    """
    What a machine knows of the cluster time, or knew when it took the lead.

    @ivar term: the term of the leader whose time it is; below 0 if none is known.
    @ivar error_seconds: by how much the time may differ from that leader's; C{None} if none is known.
    @ivar age_seconds: how long ago the reading was made that this follows from.
    """

    term: int = _UNKNOWN
    error_seconds: float | None = None
    age_seconds: float = 0.0


class ClusterTime:
    """
    The cluster time as one machine knows it.

    @ivar term: the term of the leader whose time this is. It is negative while no leader's time is known, and the
        time is then this machine's wall clock.
    @ivar ahead_seconds: how many seconds the cluster time is ahead of the monotonic clock.
    @ivar inherited: what this machine knew of the leader's time when it took the lead the last time.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, wall_clock: Callable[[], float]) -> None:
        """
        @param clock: a monotonic clock, which may count from anywhere.
        @param wall_clock: returns seconds since the epoch. It may be set.
        """
        self.term = _UNKNOWN
        self.inherited = Inheritance()
        self._clock = clock
        self._seconds = clock.seconds  # bound once, as every change calls L{now}
        self._wall_clock = wall_clock
        self.ahead_seconds = self._wall_ahead_seconds()
        self._leads = False
        self._readings = Offset()
        self._newest = 0
        self._least_ahead_seconds = float("-inf")
        self._adjusted = clock.seconds()

    def _wall_ahead_seconds(self) -> float:
        return self._wall_clock() - self._clock.seconds()

    def now(self) -> int:
        """Returns the cluster time in microseconds since the epoch."""
        return int((self._seconds() + self.ahead_seconds) * 1e6)

    @property
    def least(self) -> int:
        """
        The time that a machine which knows what this one knows must not fall behind, in microseconds since the epoch.
        It leaves out the wall clock of this machine, which may be far ahead.
        """
        return self._newest if self.term == _UNKNOWN else self.now()

    @property
    def error_seconds(self) -> float | None:
        """By how many seconds it may differ from the leader's time; C{None} while no leader's time is known."""
        if self.term == _UNKNOWN:
            return None
        best = None if self._leads else self._readings.best(self._clock.seconds())
        return 0.0 if best is None else max(best[1], 1e-6)

    @property
    def known(self) -> Inheritance:
        """What this machine would inherit if it took the lead now."""
        age_seconds = 0.0 if self._leads else self._readings.age_seconds(self._clock.seconds())
        return Inheritance(self.term, self.error_seconds, age_seconds)

    @property
    def ahead_of_wall_seconds(self) -> float:
        """How many seconds it is ahead of this machine's wall clock."""
        return self.ahead_seconds - self._wall_ahead_seconds()

    def _set(self, ahead_seconds: float) -> None:
        """Set how far the cluster time is ahead of the monotonic clock, but never behind what the log holds."""
        self.ahead_seconds = max(ahead_seconds, (self._newest + 1) / 1e6 - self._clock.seconds())

    # Learning it

    def observe(self, time: int) -> None:
        """
        Take into account the time of a command in the log, in microseconds since the epoch: the leader's time had
        reached it.
        """
        if time > self._newest:
            self._newest = time
            self._least_ahead_seconds = max(self._least_ahead_seconds, time / 1e6 - self._clock.seconds())
            self._set(self.ahead_seconds)

    def heard(self, report: StatusReport, asked: float, answered: float) -> None:
        """
        Learn from the report of another machine. The leader's own report counts, and what others know of a later
        leader.

        @param asked: when the machine was asked, in seconds of the monotonic clock.
        @param answered: when the answer came, in seconds of the same clock.
        """
        error = report.cluster_time_error_microseconds
        if self._leads or error is None or report.cluster_term < self.term:
            return
        if report.cluster_term > self.term:
            self.term = report.cluster_term
            self._readings.clear()
        elif error > 0:
            return
        self._readings.add(report.cluster_time_microseconds / 1e6, asked, answered, error / 1e6)
        best = self._readings.best(answered)
        if best is not None:
            self._set(best[0])

    def adopt(self, ahead_seconds: float) -> None:
        """
        Take over how far the cluster time is ahead, from another process on this machine.
        """
        self._set(ahead_seconds)

    # Keeping it

    def lead(self, term: int) -> None:
        """Make this machine's time the cluster's, as this machine leads from here on."""
        if self._leads and term == self.term:
            return
        self.inherited = inherited = self.known
        if self.term == _UNKNOWN:
            self._log.debug("No machine has told this one the cluster time: it begins with this machine's clock")
            self._follow_wall()
        else:
            self._log.debug(
                "This machine continues the cluster time of term {term}, which it read {age:.1f} s ago, and which may"
                " be wrong by {error:.3f} s",
                term=inherited.term,
                age=inherited.age_seconds,
                error=inherited.error_seconds,
            )
        self._leads = True
        self.term = term
        self._readings.clear()
        self._adjusted = self._clock.seconds()

    def follow(self) -> None:
        """Keep the time that this machine knows, as it does not lead, until the leader reports a better one."""
        if self._leads:
            self._leads = False
            now = self._clock.seconds()
            self._readings.add(now + self.ahead_seconds, now, now)

    def _follow_wall(self) -> None:
        """
        Follow the wall clock while no better time is known. If that is behind what the log holds, the time advances
        from there instead of standing still.
        """
        self._set(max(self._wall_ahead_seconds(), self._least_ahead_seconds))

    def adjust(self, is_free: bool) -> None:
        """
        Approach the wall clock. This is called about once a second.

        @param is_free: whether no key has a TTL or is about to have one.
        """
        now = self._clock.seconds()
        elapsed, self._adjusted = now - self._adjusted, now
        if self.term == _UNKNOWN:
            self._follow_wall()
        elif self._leads:
            behind = self._wall_ahead_seconds() - self.ahead_seconds
            if is_free and behind >= STEP_SECONDS:
                self._log.info(
                    "The cluster time, by which keys expire, is set forward by {seconds:.1f} s to this machine's"
                    " clock. No key has a TTL now, so none expires early",
                    seconds=behind,
                )
                self._set(self.ahead_seconds + behind)
            else:
                most = SLEW * elapsed
                self._set(self.ahead_seconds + max(-most, min(most, behind)))


@attrs.frozen
class Clocks:
    """
    The clocks of a machine.

    @ivar monotonic: the clock for delayed calls. It may count from anywhere, and is never set.
    @ivar wall: returns this machine's time of day, in seconds since the epoch. It may be set.
    @ivar cluster: the time by which keys expire.
    """

    monotonic: IReactorTime
    wall: Callable[[], float]
    cluster: ClusterTime

    @classmethod
    def of(cls, monotonic: IReactorTime, wall: Callable[[], float]) -> "Clocks":
        """Returns these two clocks with a cluster time that begins with C{wall}."""
        return cls(monotonic, wall, ClusterTime(monotonic, wall))
