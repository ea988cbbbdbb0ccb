"""
What the log says while the cluster can't go on: who is missing, since when, and what that means.

Must never be silent for long while writes are refused, nor fill the log: one line at once, one now and then, and one
when it is over.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from etcd_twisted.measurements import Health, MachineStatus

LOOK_SECONDS = 1.0
"""How often the cluster is looked at."""

REPEAT_SECONDS = 30.0
"""How long after a line about it the next one comes, while the same goes on."""

START_SECONDS = 3.0
"""How long after the start of this machine the others may be started too before that is worth a line."""

ELECTION_SECONDS = 3.0
"""How long a majority that answers may be without a leader before that is worth a line: an election takes less."""


class QuorumAlarm:
    """One machine's."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, health: Callable[[], Health], called: Callable[[str], str]) -> None:
        """
        @param health: asked now and then, and whenever the leader may have changed.
        @param called: how the log calls the machine of an id.
        """
        self._clock = clock
        self._health = health
        self._called = called
        self._looking = LoopingCall(self.look)
        self._looking.clock = clock
        self._leaderless_since: float | None = clock.seconds()
        self._patient_until = clock.seconds() + START_SECONDS
        self._said: float | None = None

    def start(self) -> None:
        """Look from here on."""
        if not self._looking.running:
            self._looking.start(LOOK_SECONDS, now=False).addErrback(self._broken)

    def stop(self) -> None:
        """Look no more."""
        if self._looking.running:
            self._looking.stop()

    def _broken(self, failure: Failure) -> None:
        self._log.failure("Nobody looks any more whether the cluster has a majority", failure)

    def look(self) -> None:
        """Say what is wrong, or that it is over, if that is due."""
        if not self._looking.running:
            return
        health, now = self._health(), self._clock.seconds()
        if health.leader:
            self._led(health, now)
        elif health.voters:  # who was just taken in knows of none yet
            self._not_led(health, now)

    def _not_led(self, health: Health, now: float) -> None:
        if self._leaderless_since is None:
            self._leaderless_since = now
        if self._said is not None:
            due = self._said + REPEAT_SECONDS
        elif health.has_majority:
            due = max(self._patient_until, self._leaderless_since + ELECTION_SECONDS)
        else:
            due = self._patient_until
        if now >= due:
            self._said = now
            self._warn(health, now - self._leaderless_since)

    def _led(self, health: Health, now: float) -> None:
        if self._said is not None and self._leaderless_since is not None:
            self._log.info(
                "The cluster has a leader again after {seconds:.0f} s: {leader} leads, {count}; writes are taken",
                seconds=now - self._leaderless_since,
                leader=health.leader,
                count=health.count,
            )
        self._said = self._leaderless_since = None
        self._patient_until = now

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
        return f"{self._called(status.machine_id)} since {since:%Y-%m-%d %H:%M:%S} UTC ({status.problem})"
