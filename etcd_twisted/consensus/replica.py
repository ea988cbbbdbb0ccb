"""
The replica: one machine's copy of the key space, kept in step with the log, as the doors see it.

Everything here runs on the reactor. What it must never do: answer a read from a copy that is older than what this
machine has shown before, or say that a change was made before it was.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import msgspec
from twisted.internet import defer
from twisted.internet.defer import Deferred, DeferredLock, ensureDeferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from etcd_twisted.consensus.availability import Availability
from etcd_twisted.consensus.clocks.cluster_time import Clocks
from etcd_twisted.consensus.cluster_keys import CONFIG_KEY, forbidden_machines
from etcd_twisted.consensus.delivery import Delivery
from etcd_twisted.consensus.disk import Disk
from etcd_twisted.consensus.member import LocalMember, Settings
from etcd_twisted.consensus.peer import RaftPeer
from etcd_twisted.consensus.raft.core import NotLeaderError
from etcd_twisted.consensus.reconfiguration.changes import MembershipChanges
from etcd_twisted.consensus.reconfiguration.forbidden import check_name
from etcd_twisted.consensus.recovery import Recovered, Storage
from etcd_twisted.consensus.roster import Roster
from etcd_twisted.consensus.storage.disk_thread import LogWriter
from etcd_twisted.consensus.storage.files import remedy
from etcd_twisted.errors import ErrorCode, EtcdError, NotDoneError
from etcd_twisted.interfaces import IReplica, ITransport, OutcomeCallback
from etcd_twisted.interfaces.cluster import (
    ClusterView,
    Forbidden,
    Health,
    Machine,
    MachineStatus,
    forbidden_key,
)
from etcd_twisted.interfaces.cluster_config import ClusterConfig, written
from etcd_twisted.interfaces.statistics import Measurements, Traffic
from etcd_twisted.keyspace.commands import Change, Delete, Set
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.nodes import Node
from etcd_twisted.keyspace.space import KeySpace
from etcd_twisted.keyspace.statistics import StoreStatistics
from etcd_twisted.keyspace.watchers import Watcher
from etcd_twisted.waiters import Observers, Waiters, next_turn

_T = TypeVar("_T")

_MOST_SHIFT_SECONDS = 0.1
"""By how much the cluster time may have changed its course since a command was made that is proposed."""


@implementer(IReplica)
class Replica:
    """
    See L{IReplica} for what the doors use. It serves nobody until it has a leader and all that was committed.

    It has a method for each of the many things that doors ask for; what is asked of a member is done by the member's
    parts.

    @ivar keyspace: to be recovered into before L{start}.
    @ivar peer: what the peer port sees.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        wall_clock: Callable[[], float],
        settings: Settings,
        fatal: Callable[[str], None],
    ) -> None:
        """
        @param clock: for what is to be done later; it may count from anywhere, and should never be set.
        @param wall_clock: where the time by which keys expire begins, and what it comes nearer to; seconds since the
            epoch. It may be set.
        @param fatal: called once, with one line, when the replica can't go on: the process must end.
        """
        self.name = ""
        self.traffic = Traffic()
        self.timing = settings.timing
        self._clock = clock
        self._clocks = Clocks.of(clock, wall_clock)
        self._time = self._clocks.cluster
        self.now = self._time.now
        self._settings = settings
        self._fatal = fatal
        self._member: LocalMember | None = None
        self._is_ending = False
        self._ended = Waiters()
        self._standing_by = DeferredLock()
        self._begin_anew()
        self._roster = Roster(self.keyspace, settings.defaults)
        self._availability = Availability(clock)
        self.peer = RaftPeer(self._clocks, self._roster, self._availability)

    @property
    def on_exclusion(self) -> Observers:
        """Called when this machine may have been taken out of the cluster, maybe more than once."""
        return self._availability.on_exclusion

    def _begin_anew(self) -> None:
        self._delivery = Delivery(self._clock)
        self.keyspace = KeySpace(
            self._settings.history_capacity,
            lambda: self._delivery.soon(self.keyspace.hub),
            self._settings.history_bytes,
        )

    # Its life

    def start(
        self, machine: Machine, storage: Storage, writer: LogWriter, recovered: Recovered, transport: ITransport
    ) -> None:
        """
        Take part in consensus, from what was recovered on.

        @param machine: how this machine is to be called and reached.
        @param writer: runs what is done to the storage from here on.
        """
        self.name = machine.name
        disk = Disk(self._clock, storage, writer)
        self._member = member = LocalMember(
            self._clocks,
            self.keyspace,
            disk,
            transport,
            self.traffic,
            self._settings,
            self._availability,
            recovered,
            machine,
        )
        member.node.failed.addErrback(self._failed, storage, member)
        self._availability.begin()
        self._roster.enter(member.group)
        self.peer.begin(member)
        member.start()

    def recall(self, cluster_id: str, members: Mapping[str, Machine]) -> None:
        """
        Tell of these machines as long as this one does not take part, or takes part and has no group in its log.

        @param members: by their fingerprints.
        """
        self._roster.recall(cluster_id, members)

    async def hand_over(self) -> None:
        """
        Have another machine lead, if this one does and another can. Return when one does, or none will, and those who
        wait for this one are answered.
        """
        member = self._member
        if member is None:
            return
        if member.raft.leads_on and member.node.transfer():
            self._log.info("{name} hands the lead over", name=self.name)
            await self._await_another()
        if not member.raft.leads_on:
            await member.settle()

    async def _await_another(self) -> None:
        handed_over = self.when_led()
        handed_over.addTimeout(2 * self.timing.election, self._clock)
        try:
            await handed_over
        except (defer.TimeoutError, EtcdError):
            self._log.warn("No other machine took over")

    async def stop(self) -> None:
        """Take no more requests, and return when those under way are done."""
        self._availability.close(EtcdError(ErrorCode.RAFT_INTERNAL, "this machine is stopping", self.index))
        await self._end_membership()
        self._delivery.stop()  # not before: while much waits to be delivered, nothing is applied

    async def _end_membership(self) -> None:
        """Return when it has ended, which goes on though whoever waits is cancelled."""
        member, self._member = self._member, None
        self._availability.end()
        if member is not None:
            member.end()
            self._roster.leave()
            self._is_ending = True
            ensureDeferred(self._end(member)).addBoth(self._has_ended)
        if self._is_ending:
            await self._ended.wait()

    async def _end(self, member: LocalMember) -> None:
        await member.settle()
        self.peer.end()
        self._roster.left()
        await member.stop()

    def _has_ended(self, result: Failure | None) -> None:
        self._is_ending = False
        if result is not None:
            self._log.failure("This machine's part in consensus did not end in order", result)
        self._ended.fire()

    async def stand_by(self, view: ClusterView) -> None:
        """
        Take part no longer, and have no copy: others serve. Watchers are told that no more will come.

        @param view: who is in the cluster; to be renewed with each call.
        """
        self._roster.see(view)
        await self._standing_by.run(lambda: ensureDeferred(self._stand_by()))
        self._look_from_outside()

    async def lose_leader(self) -> None:
        """Forget the leader, as a standby, but not the machines."""
        view = self._roster.view
        if view is not None:
            await self.stand_by(msgspec.structs.replace(view, leader=""))

    async def _stand_by(self) -> None:
        roster, availability = self._roster, self._availability
        if roster.standby:
            return
        roster.standby = True
        availability.stand_by()
        ended = ensureDeferred(self._end_membership())
        self._look_from_outside()  # who waits for a leader need not wait for the last answers
        await ended
        while self.keyspace.hub.backlog and availability.closed is None:
            await self.turn()  # until all are told what happened before
        self._delivery.stop()
        self.keyspace.hub.end_all()
        self._begin_anew()
        roster.keyspace = self.keyspace
        availability.served_by_others()

    def _look_from_outside(self) -> None:
        self._availability.look_from_outside(self.leader(), self.name)

    def turn(self) -> "Deferred[None]":
        """Returns a Deferred that fires in the next turn of the reactor."""
        return next_turn(self._clock)

    def _failed(self, failure: Failure, storage: Storage, member: LocalMember) -> None:
        self._log.failure("This machine can't go on", failure)
        reason = f"this machine can't go on: {failure.getErrorMessage()}; its log says more"
        if isinstance(failure.value, OSError):
            path, problem = storage.directory.path, failure.value.strerror
            reason = f"--data-dir {path} failed: {problem}; {remedy(failure.value)}, then start this machine again"
        error = EtcdError(ErrorCode.RAFT_INTERNAL, f"{reason}; whether the write was done is unknown", self.index)
        self._fatal(reason)
        self._availability.close(error)
        member.fail(error)

    # What doors see

    @property
    def serving(self) -> bool:
        """See L{IReplica}."""
        return self._availability.serving

    @property
    def standby(self) -> bool:
        """See L{IReplica}."""
        return self._roster.standby

    @property
    def cluster_id(self) -> str:
        """See L{IReplica}."""
        return self._roster.cluster_id

    @property
    def index(self) -> int:
        """See L{IReplica}."""
        return self.keyspace.index

    @property
    def raft_index(self) -> int:
        """See L{IReplica}."""
        return self._member.machine.applied_index if self._member is not None else 0

    @property
    def term(self) -> int:
        """See L{IReplica}."""
        return self._member.raft.term if self._member is not None else 0

    @property
    def is_leader(self) -> bool:
        """See L{IReplica}."""
        return self._member is not None and self._member.raft.leads_on

    @property
    def led_seconds(self) -> float:
        """See L{IReplica}."""
        return self._availability.led_seconds

    def when_serving(self) -> "Deferred[None]":
        """See L{IReplica}."""
        return self._availability.when_serving()

    def when_led(self) -> "Deferred[None]":
        """See L{IReplica}."""
        return self._availability.when_led(self.leader() is not None)

    def when_deposed(self) -> "Deferred[None]":
        """See L{IReplica}."""
        return self._availability.when_deposed(self.is_leader)

    def leader(self) -> Machine | None:
        """See L{IReplica}."""
        return self._roster.leader()

    def machines(self) -> list[Machine]:
        """See L{IReplica}."""
        return self._roster.machines()

    def members(self) -> dict[str, Machine]:
        """See L{IReplica}."""
        return self._roster.members()

    def fingerprints(self) -> dict[str, Machine]:
        """See L{IReplica}."""
        return self._roster.fingerprints()

    def statuses(self) -> dict[str, MachineStatus]:
        """See L{IReplica}."""
        return {} if self._member is None else self._member.group.statuses()

    def health(self) -> Health:
        """See L{IReplica}."""
        if self._member is not None:
            return self._member.group.health()
        leader = self.leader()
        return Health({}, frozenset(), "" if leader is None else leader.name)

    def get(self, key: str) -> Node:
        """See L{IReplica}."""
        return self.keyspace.get(key)

    def statistics(self) -> StoreStatistics:
        """See L{IReplica}."""
        return self.keyspace.statistics()

    def measurements(self) -> Measurements:
        """See L{IReplica}."""
        leader_changes = self._availability.leader_changes
        if self._member is None:
            return Measurements(leader_changes=leader_changes)
        return self._member.measurements(leader_changes)

    def watch(
        self,
        key: str,
        recursive: bool,
        stream: bool,
        since: int | None,
        deliver: Callable[[Event], None],
        end: Callable[[], None] | None = None,
    ) -> Watcher:
        """See L{IReplica}."""
        return self.keyspace.watch(key, recursive, stream, since, deliver, end)

    def confirm_reads(self) -> "Deferred[None]":
        """See L{IReplica}."""
        member = self._leading_member
        if member is None:
            return self._when_leading(self.confirm_reads)
        return member.node.confirm_read().addErrback(self._unconfirmed)

    def _unconfirmed(self, failure: Failure) -> None:
        failure.trap(NotLeaderError)
        raise self._availability.closed or NotDoneError("this machine no longer leads")

    def confirm_recent(self) -> "Deferred[None]":
        """See L{IReplica}."""
        member = self._member
        if member is not None and self._availability.closed is None and member.node.holds_lease():
            return succeed(None)
        return self.confirm_reads()

    # Changing

    @property
    def _leading_member(self) -> LocalMember | None:
        """This machine's member, if that leads and may be asked."""
        member = self._member
        if member is None or self._availability.closed is not None or not member.raft.leads_on:
            return None
        return member

    def submit(self, command: Change, told: OutcomeCallback) -> bool:
        """See L{IReplica}."""
        member = self._member
        if member is None or self._availability.closed is not None:
            return False
        return member.proposer.submit(command, told)

    def propose(self, command: Change) -> "Deferred[Event]":
        """See L{IReplica}."""
        return self._propose(command, always=False)

    def _propose(self, command: Change, always: bool) -> "Deferred[Event]":
        """
        Propose.

        @param always: whether the change is made even beyond the quota.
        """
        member = self._leading_member
        if member is None:
            ahead = self._time.ahead
            return self._when_leading(lambda: self._propose_after_wait(command, always, ahead))
        return member.proposer.propose(command, always)

    def _propose_after_wait(self, command: Change, always: bool, ahead: float) -> "Deferred[Event]":
        """
        Propose what was made before this machine led.

        @param ahead: how far the cluster time was ahead of the clock then. If that was wrong, so is what the command
            says of times: it has to be made anew.
        """
        if abs(self._time.ahead - ahead) > _MOST_SHIFT_SECONDS:
            return fail(NotDoneError("this machine did not know the time by which keys expire; ask again"))
        return self._propose(command, always)

    def _when_leading(self, go_on: Callable[[], "Deferred[_T]"]) -> "Deferred[_T]":
        """Wait for a leader, and go on if that is this machine."""

        def led(_: None) -> "Deferred[_T]":
            if not self.is_leader:
                raise NotDoneError("another machine leads")
            return go_on()

        return self.when_led().addCallback(led)

    def cluster_config(self) -> ClusterConfig:
        """See L{IReplica}."""
        return self._roster.config()

    def configure(self, config: ClusterConfig) -> "Deferred[None]":
        """See L{IReplica}."""
        changed = self._propose(Set(CONFIG_KEY, self.now(), written(config)), always=True)
        return changed.addCallback(lambda _: None)

    def remove(self, name: str, forbidden_by: str | None = None) -> "Deferred[None]":
        """See L{IReplica}."""
        if forbidden_by is not None:
            return ensureDeferred(self._change_group(lambda changes: changes.forbid(name, forbidden_by)))
        return ensureDeferred(self._change_group(lambda changes: changes.remove(name)))

    def forbidden(self) -> list[Forbidden]:
        """See L{IReplica}."""
        return forbidden_machines(self.keyspace.root)

    def allow(self, name: str) -> "Deferred[None]":
        """See L{IReplica}."""
        try:
            check_name(name)
        except EtcdError as error:
            return fail(error)
        return self.propose(Delete(forbidden_key(name), self.now())).addCallback(lambda _: None)

    def move(self, machine_id: str, peer_url: str) -> "Deferred[None]":
        """See L{IReplica}."""
        return ensureDeferred(self._change_group(lambda changes: changes.move(machine_id, peer_url)))

    async def _change_group(self, change: Callable[[MembershipChanges], Awaitable[None]]) -> None:
        member = self._member
        if member is None or not member.raft.leads_on:
            raise NotDoneError("another machine leads")
        try:
            await change(member.changes)
        except NotLeaderError:
            raise NotDoneError("another machine leads") from None
