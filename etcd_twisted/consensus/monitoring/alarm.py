"""
Warns in the log while the cluster refuses writes: which machines are missing, since when, and what that means.

It must never be silent for long while writes are refused, nor fill the log: there is one line at once, one every half
minute, and one when a machine leads again.
"""

from datetime import UTC, datetime
from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from etcd_twisted.interfaces.cluster import Health, MachineStatus

QUORUM_CHECK_INTERVAL_SECONDS = 1.0
"""How often the state of the cluster is checked."""

REPEAT_SECONDS = 30.0
"""How long after a warning the next one comes, while the problem lasts."""

START_SECONDS = 3.0
"""How long after this machine starts it waits for the others before it warns."""

ELECTION_SECONDS = 3.0
"""How long a majority that answers may have no leader before there is a warning. An election takes less time."""


class WatchedGroup(Protocol):
    """The group whose majority is watched."""

    def health(self) -> Health:
        """Returns what is known of the cluster's health."""

    def label(self, machine_id: str) -> str:
        """Returns what log lines call a machine."""


class QuorumAlarm:
    """
    The alarm of one machine; see the module.

    @ivar _quiet_until: before this time there is no warning, as the machines may still be starting.
    @ivar _warned: when the last warning was logged; C{None} if there was none since a machine led.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, group: WatchedGroup) -> None:
        self._clock = clock
        self._group = group
        self._loop = LoopingCall(self.check)
        self._loop.clock = clock
        self._leaderless_since: float | None = clock.seconds()
        self._quiet_until = clock.seconds() + START_SECONDS
        self._warned: float | None = None

    def start(self) -> None:
        """Begin to check the cluster."""
        if not self._loop.running:
            self._loop.start(QUORUM_CHECK_INTERVAL_SECONDS, now=False).addErrback(self._broken)

    def stop(self) -> None:
        """Check no more."""
        if self._loop.running:
            self._loop.stop()

    def _broken(self, failure: Failure) -> None:
        self._log.failure("The cluster is no longer checked for a majority", failure)

    def check(self) -> None:
        """Log the problem, or its end, if a line is due. This is also called when the leader may have changed."""
        if not self._loop.running:
            return
        health, now = self._group.health(), self._clock.seconds()
        if health.leader:
            self._led(health, now)
        elif health.voters:  # a machine that has just joined knows no voters yet
            self._not_led(health, now)

    def _not_led(self, health: Health, now: float) -> None:
        if self._leaderless_since is None:
            self._leaderless_since = now
        if self._warned is not None:
            due = self._warned + REPEAT_SECONDS
        elif health.has_majority:
            due = max(self._quiet_until, self._leaderless_since + ELECTION_SECONDS)
        else:
            due = self._quiet_until
        if now >= due:
            self._warned = now
            self._warn(health, now - self._leaderless_since)

    def _led(self, health: Health, now: float) -> None:
        if self._warned is not None and self._leaderless_since is not None:
            self._log.info(
                "The cluster has a leader again after {seconds:.0f} s: {leader} leads, {count}; writes are accepted",
                seconds=now - self._leaderless_since,
                leader=health.leader,
                count=health.count,
            )
        self._warned = self._leaderless_since = None
        self._quiet_until = now

    def _warn(self, health: Health, seconds: float) -> None:
        if health.has_majority:
            problem = f"No machine has led for {seconds:.0f} s, although a majority answers"
        else:
            problem = "There is no majority"
        self._log.warn(
            "{problem}: {count}; writes are refused{missing}",
            problem=problem,
            count=health.count,
            missing="".join(f"; missing: {self._lacking(each)}" for each in health.missing),
        )

    def _lacking(self, status: MachineStatus) -> str:
        since = datetime.fromtimestamp(status.since / 1e6, UTC)
        return f"{self._group.label(status.machine_id)} since {since:%Y-%m-%d %H:%M:%S} UTC ({status.problem})"
