"""
Watches the clocks: notices when this machine's clock is set, and logs when another machine's differs from it.

It must never set a clock, nor fill the log: a difference is logged again only if it has changed much, or every half
hour.
"""

from collections.abc import Mapping
from typing import Protocol

import attrs
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from etcd_twisted.consensus.clocks.cluster_time import Clocks
from etcd_twisted.interfaces.cluster import CLOCK_BOUND_SECONDS, MachineStatus
from etcd_twisted.waiters import Observers

COMPARISON_INTERVAL_SECONDS = 1.0
"""How often the clocks are compared."""

REMIND_SECONDS = 1800.0
"""How often a difference that lasts is logged again."""

_OVER_SECONDS = CLOCK_BOUND_SECONDS / 2
"""A difference below this ends the warning. It is lower than the bound, so that the warning does not come and go."""

_MUCH_FRACTION = 0.1
"""By which fraction a difference has to change to count as changed much."""


@attrs.frozen
class _Warning:
    """
    A warning that was logged.

    @ivar ahead_seconds: the difference in it.
    @ivar at: when it was logged, in seconds.
    """

    ahead_seconds: float
    at: float

    def is_old(self, ahead_seconds: float, now: float) -> bool:
        """Returns whether the difference, now C{ahead_seconds}, should be logged again."""
        much_seconds = max(CLOCK_BOUND_SECONDS, _MUCH_FRACTION * abs(self.ahead_seconds))
        return now - self.at >= REMIND_SECONDS or abs(ahead_seconds - self.ahead_seconds) > much_seconds


class MachineStatuses(Protocol):
    """The machines whose clocks are compared."""

    def statuses(self) -> Mapping[str, MachineStatus]:
        """Returns what is known of each machine, by id."""


class ClockWatch:
    """
    Watches the clocks for one machine.

    @ivar jumps: how often this machine's clock was set by more than the bound.
    @ivar last_jump_seconds: by how much it was set the last time; negative if it was set back, 0 if it never was set.
    @ivar on_compared: called each time the clocks are compared, about once a second.
    """

    _log = Logger()

    def __init__(self, clocks: Clocks, group: MachineStatuses) -> None:
        self.jumps = 0
        self.last_jump_seconds = 0.0
        self.on_compared: Observers = []
        self._clock = clock = clocks.monotonic
        self._wall_clock = clocks.wall
        self._group = group
        self._ahead_seconds = self._wall_ahead_seconds()
        self._warnings: dict[str, _Warning] = {}
        self._loop = LoopingCall(self.compare)
        self._loop.clock = clock

    def start(self) -> None:
        """Begin to compare the clocks."""
        self._loop.start(COMPARISON_INTERVAL_SECONDS, now=False).addErrback(self._broken)

    def stop(self) -> None:
        """Compare the clocks no more."""
        if self._loop.running:
            self._loop.stop()

    def _broken(self, failure: Failure) -> None:
        self._log.failure("The clocks are no longer compared", failure)

    def _wall_ahead_seconds(self) -> float:
        return self._wall_clock() - self._clock.seconds()

    def compare(self) -> None:
        """Compare all clocks."""
        self._check_own()
        for tell in self.on_compared:
            tell()
        statuses = self._group.statuses()
        for gone in self._warnings.keys() - statuses.keys():
            del self._warnings[gone]
        for machine_id, status in statuses.items():
            self._check(machine_id, status)

    def _check_own(self) -> None:
        before, self._ahead_seconds = self._ahead_seconds, self._wall_ahead_seconds()
        jump = self._ahead_seconds - before
        if abs(jump) > CLOCK_BOUND_SECONDS:
            self.jumps += 1
            self.last_jump_seconds = jump
            self._log.warn(
                "The clock of this machine was set {direction} by {seconds:.1f} s. This does not change when keys"
                " expire. Have NTP keep the clock, so that nobody has to set it",
                direction="forward" if jump > 0 else "back",
                seconds=abs(jump),
            )

    def _check(self, machine_id: str, status: MachineStatus) -> None:
        ahead = status.clock_ahead_seconds
        if ahead is None:
            return
        warning, now = self._warnings.get(machine_id), self._clock.seconds()
        if status.clock_differs:
            if warning is None or warning.is_old(ahead, now):
                self._warnings[machine_id] = _Warning(ahead, now)
                self._log.warn(
                    "The clock of {name} is {seconds:.1f} s {direction} this machine's. Have NTP keep the clocks of"
                    " both (timedatectl says whether it does)",
                    name=status.name,
                    seconds=abs(ahead),
                    direction="ahead of" if ahead > 0 else "behind",
                )
        elif warning is not None and abs(ahead) < _OVER_SECONDS:
            del self._warnings[machine_id]
            self._log.info("The clock of {name} agrees with this machine's again", name=status.name)
