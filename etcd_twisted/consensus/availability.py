"""
Whether this machine serves and which machine leads, and the callers who wait for either to change.

This module must never leave anybody waiting for an event that can no longer come, nor let clients read a copy that is
older than one they have seen on this machine before.
"""

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from etcd_twisted.consensus.group_state import GroupState
from etcd_twisted.errors import EtcdError
from etcd_twisted.interfaces.cluster import Machine
from etcd_twisted.waiters import Observers, Waiters

LEADERLESS_SECONDS = 5.0
"""How long a machine is without a leader before it asks whether it is in the cluster at all."""


class Availability:
    """
    Tells whether one machine serves and which machine leads; see the module.

    @ivar serving: whether clients may read this machine's copy.
    @ivar closed: why this machine no longer answers anybody; C{None} while it answers. It never becomes C{None} again.
    @ivar leader_changes: how often this machine saw a machine begin to lead.
    @ivar led_since: since when there has been this leader, or no leader, by the clock.
    @ivar on_exclusion: called when this machine may have been taken out of the cluster, possibly more than once.
    @ivar on_change: called when this machine may have begun or ceased to serve, or another one to lead.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self.serving = False
        self.closed: EtcdError | None = None
        self.leader_changes = 0
        self.on_exclusion: Observers = []
        self.on_change: Observers = []
        self._clock = clock
        self._leader: Machine | None = None
        self._leader_seen = ("", 0)
        self.led_since = clock.seconds()
        self._was_member = False
        self._serving = Waiters()
        self._led = Waiters()
        self._deposed = Waiters()
        self._exclusion_check: IDelayedCall | None = None

    # Events

    def begin(self) -> None:
        """Begin to follow a group, as this machine is a member from here on."""
        self._was_member = False

    def end(self) -> None:
        """Ask no more whether this machine is in the cluster, as it is no longer a member."""
        self._cancel_exclusion_check()

    def stand_by(self) -> None:
        """Stop serving, as others serve from here on."""
        self.serving = False
        self._tell()

    def served_by_others(self) -> None:
        """Release those who wait until this machine serves: others serve in its place."""
        self._serving.fire()
        self._tell()

    def _tell(self) -> None:
        for tell in self.on_change:
            tell()

    def close(self, error: EtcdError) -> None:
        """Answer nobody any more: fail all who wait, with C{error}."""
        self.serving = False
        self.closed = self.closed or error
        self._serving.fail(error)
        self._led.fail(error)
        self._deposed.fail(error)
        self._tell()

    def update(self, group: GroupState) -> None:
        """Follow the group: the leader or the group may have changed, or this machine may have caught up."""
        if self.closed is not None:
            return
        leader = group.leader()
        self._note_leader(leader, group.name, group.term)
        if leader is None and self._exclusion_check is None:
            self._exclusion_check = self._clock.callLater(LEADERLESS_SECONDS, self._check_exclusion)
        if not group.accepts_proposals:
            self._deposed.fire()
        if not self.serving and group.is_caught_up and group.has_vote:
            self.serving = True
            self._serving.fire()
        if group.has_own_entry:
            self._was_member = True
        elif self._was_member and not group.is_reconfiguring:
            self._was_member = False
            self.exclude()
        self._tell()

    def update_without_group(self, leader: Machine | None, name: str) -> None:
        """
        Note the leader, which may have changed, of a cluster of which this machine is not a member.

        @param name: the name of this machine.
        """
        self._note_leader(leader, name, None)
        self._deposed.fire()
        self._tell()

    def exclude(self) -> None:
        """Tell the observers that this machine may have been taken out of the cluster."""
        for tell in self.on_exclusion:
            tell()

    def _note_leader(self, leader: Machine | None, name: str, term: int | None) -> None:
        if leader != self._leader:
            if leader is None and self._leader is not None and self._leader.name != name:
                self._log.info("{leader} no longer leads, and no other machine leads yet", leader=self._leader.name)
            self._leader = leader
            self.led_since = self._clock.seconds()
        if leader is not None:
            if term is not None:  # a machine that is no member knows no term
                self._note_change(leader.name, term)
            self._cancel_exclusion_check()
            self._led.fire()

    def _note_change(self, leader: str, term: int) -> None:
        """Log that another machine leads, or the same one in another term."""
        if self._leader_seen != (leader, term):
            self._leader_seen = (leader, term)
            self.leader_changes += 1
            self._log.info("{leader} leads in term {term}", leader=leader, term=term)

    def _check_exclusion(self) -> None:
        """No leader was heard from for long: the others may have one, and no longer count this machine as a member."""
        self._exclusion_check = self._clock.callLater(LEADERLESS_SECONDS, self._check_exclusion)
        self.exclude()

    def _cancel_exclusion_check(self) -> None:
        if self._exclusion_check is not None:
            self._exclusion_check.cancel()
            self._exclusion_check = None

    # Questions

    @property
    def led_seconds(self) -> float:
        """How many seconds there has been this leader, or no leader."""
        return self._clock.seconds() - self.led_since

    def when_serving(self) -> "Deferred[None]":
        """Returns a Deferred that fires when this machine serves, or stands by for others that do."""
        return self._until(self.serving, self._serving)

    def when_led(self, now: bool) -> "Deferred[None]":
        """
        Returns a Deferred that fires as soon as a leader is known.

        @param now: whether a leader is known now.
        """
        return self._until(now, self._led)

    def when_deposed(self, leads: bool) -> "Deferred[None]":
        """
        Returns a Deferred that fires as soon as this machine does not lead.

        @param leads: whether it leads now.
        """
        return self._until(not leads, self._deposed)

    def _until(self, is_so: bool, waiters: Waiters) -> "Deferred[None]":
        if self.closed is not None:
            return fail(self.closed)
        return succeed(None) if is_so else waiters.wait()
