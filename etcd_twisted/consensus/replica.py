"""
The replica: one machine's copy of the key space, kept in step with the log, as the doors see it.

Everything here runs on the reactor. What it must never do: answer a read from a copy that is older than what this
machine has shown before, or say that a change was made before it was.
"""

import math
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec
from twisted.internet import defer
from twisted.internet.defer import Deferred, DeferredLock, ensureDeferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from etcd_twisted import __version__
from etcd_twisted.consensus.cluster_keys import CONFIG_KEY, forbidden_machines, stored_config
from etcd_twisted.consensus.cluster_time import ClusterTime
from etcd_twisted.consensus.delivery import Delivery
from etcd_twisted.consensus.forbidding import check_name
from etcd_twisted.consensus.members import Members
from etcd_twisted.consensus.participant import Participant, in_order, members_of
from etcd_twisted.consensus.peering import Peering
from etcd_twisted.consensus.proposals import encoded
from etcd_twisted.consensus.quota import QUOTA_BYTES
from etcd_twisted.consensus.raft.core import NotLeaderError
from etcd_twisted.consensus.raft.leader import Timing
from etcd_twisted.consensus.recovery import Recovered, Storage
from etcd_twisted.consensus.storage.disk_thread import LogWriter
from etcd_twisted.consensus.storage.files import remedy
from etcd_twisted.consensus.surroundings import Surroundings
from etcd_twisted.errors import ErrorCode, EtcdError, NotDoneError
from etcd_twisted.interfaces import IReplica, ITransport, Told
from etcd_twisted.interfaces.cluster import (
    ClusterView,
    Forbidden,
    Health,
    Machine,
    MachineStatus,
    StatusReport,
    fingerprinted,
    forbidden_key,
)
from etcd_twisted.interfaces.cluster_config import ClusterConfig, written
from etcd_twisted.interfaces.statistics import Measurements, Traffic
from etcd_twisted.keyspace.commands import Change, Delete, Set
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.history import HISTORY_BYTES
from etcd_twisted.keyspace.nodes import Node
from etcd_twisted.keyspace.space import KeySpace
from etcd_twisted.keyspace.statistics import StoreStatistics
from etcd_twisted.keyspace.watchers import Watcher
from etcd_twisted.waiters import Waiting

_T = TypeVar("_T")

_PATIENCE = 5.0
"""How many election timeouts one who proposed is kept waiting when the leader is lost."""

DOUBT = 5.0
"""After how many seconds without a leader a machine asks whether it is in the cluster at all."""

_LEAST_PATIENCE = 1.0
"""The same in seconds, at the least."""

_MOST_SHIFT_SECONDS = 0.1
"""By how much the cluster time may have changed its course since a command was made that is proposed."""


@implementer(IReplica)
class Replica:
    """
    See L{IReplica} for what the doors use. It serves nobody until it has a leader and all that was committed.

    @ivar keyspace: to be recovered into before L{start}.
    @ivar peer: what the peer port sees.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        wall_clock: Callable[[], float],
        history_capacity: int,
        snapshot_count: int | None,
        fatal: Callable[[str], None],
        timing: Timing = Timing(),  # noqa: B008  # it is frozen
        defaults: ClusterConfig = ClusterConfig(),  # noqa: B008  # it is frozen
        excluded: Callable[[], None] = lambda: None,
        claimed: Callable[[], None] = lambda: None,
        seed: int = 0,
        history_bytes: int = HISTORY_BYTES,
        quota_bytes: int = QUOTA_BYTES,
    ) -> None:
        """
        @param clock: for what is to be done later; it may count from anywhere, and should never be set.
        @param wall_clock: where the time by which keys expire begins, and what it comes nearer to; seconds since the
            epoch. It may be set.
        @param snapshot_count: how many entries are applied from one snapshot to the next, if they hold no more than
            L{SNAPSHOT_BYTES}; C{None} for no snapshots.
        @param fatal: called once, with one line, when the replica can't go on: the process must end.
        @param defaults: what is set for the cluster as long as nobody has set it.
        @param excluded: called when this machine may have been taken out of the cluster, maybe more than once.
        @param claimed: called when a machine says to be of the cluster that this one does not know, see
            L{etcd_twisted.interfaces.IRaftPeer.vouch}.
        @param seed: for what is left to chance; another one on each machine.
        @param history_bytes: how large the events may be together that are kept.
        @param quota_bytes: how large the key space may get; 0 for any size.
        """
        self.name = ""
        self.serving = False
        self.standby = False
        self.traffic = Traffic()
        self.timing = timing
        self._clock = clock
        self._wall_clock = wall_clock
        self._time = ClusterTime(clock, wall_clock)
        self.now = self._time.now
        self._history_capacity = history_capacity
        self._history_bytes = history_bytes
        self._quota_bytes = quota_bytes
        self._snapshot_count = snapshot_count
        self._fatal = fatal
        self._defaults = defaults
        self._seed = seed
        self._participant: Participant | None = None
        self._view: ClusterView | None = None
        self._recalled: dict[str, Machine] = {}
        self._recalled_cluster_id = ""
        self._leader: Machine | None = None
        self._leader_seen = ("", 0)
        self._leader_changes = 0
        self._led_since = clock.seconds()
        self._serving = Waiting()
        self._led = Waiting()
        self._deposed = Waiting()
        self._closed: EtcdError | None = None
        self.peer = Peering(self._describe, self._report, excluded, claimed)
        self._excluded = excluded
        self._was_member = False
        self._is_ending = False
        self._doubt: IDelayedCall | None = None
        self._ended = Waiting()
        self._standing_by = DeferredLock()
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._delivery = Delivery(self._clock)
        self.keyspace = KeySpace(
            self._history_capacity, lambda: self._delivery.soon(self.keyspace.hub), self._history_bytes
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
        identity = recovered.identity
        if identity is None:
            raise ValueError("a machine has to know who it is")
        self.name = machine.name
        self.standby = False
        around = Surroundings(
            self._clock,
            self._time,
            self._wall_clock,
            self.turn,
            self.keyspace,
            storage,
            writer,
            transport,
            self.traffic,
            self.timing,
            self.cluster_config,
            self._report,
            self._snapshot_count,
            self._quota_bytes,
            max(_LEAST_PATIENCE, _PATIENCE * self.timing.election),
            self._changed,
            self._applied,
            lambda failure: self._failed(storage.directory.path, failure),
        )
        self._was_member = False
        self._participant = participant = Participant(around, identity, recovered, machine, self._seed)
        self.peer.begin(identity.machine_id, identity.cluster_id, participant)
        participant.start()

    def recall(self, cluster_id: str, members: Mapping[str, Machine]) -> None:
        """
        Tell of these machines as long as this one does not take part, or takes part and has no group in its log.

        @param members: by their fingerprints.
        """
        self._recalled_cluster_id = cluster_id
        self._recalled = dict(members)

    async def hand_over(self) -> None:
        """
        Have another machine lead, if this one does and another can. Return when one does, or none will, and those who
        wait for this one are answered.
        """
        participant = self._participant
        if participant is None:
            return
        if participant.leads and participant.driver.transfer():
            self._log.info("{name} hands the lead over", name=self.name)
            await self._await_another()
        if not participant.leads:
            await participant.settle()

    async def _await_another(self) -> None:
        handed_over = self.when_led()
        handed_over.addTimeout(2 * self.timing.election, self._clock)
        try:
            await handed_over
        except (defer.TimeoutError, EtcdError):
            self._log.warn("No other machine took over")

    async def stop(self) -> None:
        """Take no more requests, and return when those under way are done."""
        self._close(EtcdError(ErrorCode.RAFT_INTERNAL, "this machine is stopping", self.index))
        await self._end_participation()
        self._delivery.stop()  # not before: while much waits to be delivered, nothing is applied

    async def _end_participation(self) -> None:
        """Return when it has ended, which goes on though whoever waits is cancelled."""
        participant, self._participant = self._participant, None
        self._doubt_no_more()
        if participant is not None:
            self._is_ending = True
            ensureDeferred(self._end(participant)).addBoth(self._has_ended)
        if self._is_ending:
            await self._ended.wait()

    async def _end(self, participant: Participant) -> None:
        await participant.settle()
        self.peer.end()
        await participant.stop()

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
        self._view = view
        await self._standing_by.run(lambda: ensureDeferred(self._stand_by()))
        self._note_leader()

    async def lose_leader(self) -> None:
        """Forget the leader, as a standby, but not the machines."""
        if self._view is not None:
            await self.stand_by(msgspec.structs.replace(self._view, leader=""))

    async def _stand_by(self) -> None:
        if self.standby:
            return
        self.standby = True
        self.serving = False
        ended = ensureDeferred(self._end_participation())
        self._note_leader()  # who waits for one need not wait for the last answers
        await ended
        while self.keyspace.hub.backlog and self._closed is None:
            await self.turn()  # until all are told what happened before
        self._delivery.stop()
        self.keyspace.hub.end_all()
        self._begin_anew()
        self._serving.fire()  # who waits is served by others

    def turn(self) -> "Deferred[None]":
        """Fires in the next turn of the reactor."""
        return deferLater(self._clock, 0, lambda: None)

    def _failed(self, path: Path, failure: Failure) -> EtcdError:
        self._log.failure("This machine can't go on", failure)
        reason = f"this machine can't go on: {failure.getErrorMessage()}; its log says more"
        if isinstance(failure.value, OSError):
            problem = failure.value.strerror
            reason = f"--data-dir {path} failed: {problem}; {remedy(failure.value)}, then start this machine again"
        error = EtcdError(ErrorCode.RAFT_INTERNAL, f"{reason}; whether the write was done is unknown", self.index)
        self._fatal(reason)
        self._close(error)
        return error

    def _close(self, error: EtcdError) -> None:
        self.serving = False
        self._closed = self._closed or error
        self._serving.fail(error)
        self._led.fail(error)
        self._deposed.fail(error)

    def _applied(self) -> None:
        """The key space has changed; what else may have is told apart. Called for each batch: it has to be short."""
        if not self.serving:
            self._changed()

    def _changed(self) -> None:
        """The leader or the group may have changed, or this machine may have caught up."""
        participant = self._participant
        if participant is None or self._closed is not None:
            return
        self._note_leader()
        if not self.serving and participant.is_caught_up and participant.has_vote:
            self.serving = True
            self._serving.fire()
        core = participant.driver.core
        if core.machine_id in core.configuration:
            self._was_member = True
        elif self._was_member and core.configuration_index <= core.commit_index:
            self._was_member = False
            self._excluded()

    def _note_leader(self) -> None:
        leader = self.leader()
        if leader != self._leader:
            if leader is None and self._leader is not None and self._leader.name != self.name:
                self._log.info("{leader} no longer leads, and no other machine leads yet", leader=self._leader.name)
            self._leader = leader
            self._led_since = self._clock.seconds()
        if leader is not None:
            if self._participant is not None:  # a standby knows of no term
                self._note_change(leader.name)
            self._doubt_no_more()
            self._led.fire()
        elif self._doubt is None and self._participant is not None:
            self._doubt = self._clock.callLater(DOUBT, self._doubts)
        if not self.is_leader:
            self._deposed.fire()

    def _note_change(self, leader: str) -> None:
        """Say so when another machine leads, or the same one in another term."""
        if self._leader_seen != (leader, self.term):
            self._leader_seen = (leader, self.term)
            self._leader_changes += 1
            self._log.info("{leader} leads in term {term}", leader=leader, term=self.term)

    def _doubts(self) -> None:
        """No leader was heard for long: maybe the others have one, of which this machine will never be told."""
        self._doubt = self._clock.callLater(DOUBT, self._doubts)
        self._excluded()

    def _doubt_no_more(self) -> None:
        if self._doubt is not None:
            self._doubt.cancel()
            self._doubt = None

    # What doors see

    @property
    def cluster_id(self) -> str:
        """See L{IReplica}."""
        if self.peer.cluster_id:
            return self.peer.cluster_id
        return self._view.cluster_id if self.standby and self._view is not None else self._recalled_cluster_id

    @property
    def index(self) -> int:
        """See L{IReplica}."""
        return self.keyspace.index

    @property
    def raft_index(self) -> int:
        """See L{IReplica}."""
        return self._participant.driver.applied if self._participant is not None else 0

    @property
    def term(self) -> int:
        """See L{IReplica}."""
        return self._participant.driver.core.term if self._participant is not None else 0

    @property
    def is_leader(self) -> bool:
        """See L{IReplica}."""
        return self._participant is not None and self._participant.leads

    @property
    def led_seconds(self) -> float:
        """See L{IReplica}."""
        return self._clock.seconds() - self._led_since

    def when_serving(self) -> "Deferred[None]":
        """See L{IReplica}."""
        if self._closed is not None:
            return fail(self._closed)
        return succeed(None) if self.serving else self._serving.wait()

    def when_led(self) -> "Deferred[None]":
        """See L{IReplica}."""
        if self._closed is not None:
            return fail(self._closed)
        return succeed(None) if self.leader() is not None else self._led.wait()

    def when_deposed(self) -> "Deferred[None]":
        """See L{IReplica}."""
        if self._closed is not None:
            return fail(self._closed)
        return self._deposed.wait() if self.is_leader else succeed(None)

    def leader(self) -> Machine | None:
        """See L{IReplica}."""
        if self._participant is not None:
            return self._participant.leader()
        if self._view is None:
            return None
        return next((each for each in self._view.machines if each.name == self._view.leader), None)

    def machines(self) -> list[Machine]:
        """See L{IReplica}."""
        if self.standby and self._view is not None:
            return self._view.machines
        return in_order(self.members() or self._recalled)

    def members(self) -> dict[str, Machine]:
        """See L{IReplica}."""
        return {} if self._participant is None else members_of(self._participant.known_configuration)

    def fingerprints(self) -> dict[str, Machine]:
        """See L{IReplica}."""
        if self.standby and self._view is not None:
            return self._view.members()
        members = self.members()
        return fingerprinted(self.cluster_id, members) if members else self._recalled

    def _describe(self) -> ClusterView:
        if self.standby and self._view is not None:
            return self._view
        leader, peer = self.leader(), self.peer
        return ClusterView(
            peer.cluster_id,
            self.machines(),
            "" if leader is None else leader.name,
            self.cluster_config(),
            peer.configuration_index,
            peer.fingerprints,
            {machine.name: each for each, machine in self.fingerprints().items()},
        )

    def _report(self) -> StatusReport:
        """Returns what this machine tells others about itself."""
        participant, error = self._participant, self._time.error
        return StatusReport(
            int(self._wall_clock() * 1e6),
            self.now(),
            None if error is None else math.ceil(error * 1e6),
            "" if participant is None else participant.role,
            self.term,
            self.raft_index,
            __version__,
            0 if participant is None else int(participant.uptime_seconds * 1e6),
            self._time.term,
        )

    def statuses(self) -> dict[str, MachineStatus]:
        """See L{IReplica}."""
        return {} if self._participant is None else self._participant.statuses()

    def health(self) -> Health:
        """See L{IReplica}."""
        if self._participant is not None:
            return self._participant.health()
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
        if self._participant is None:
            return Measurements(leader_changes=self._leader_changes)
        return self._participant.measurements(self._leader_changes)

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
        if self._closed is not None or self._participant is None or not self.is_leader:
            return self._when_leading(self.confirm_reads)
        return self._participant.driver.confirm_read().addErrback(self._unconfirmed)

    def _unconfirmed(self, failure: Failure) -> None:
        failure.trap(NotLeaderError)
        raise self._closed or NotDoneError("this machine no longer leads")

    def confirm_recent(self) -> "Deferred[None]":
        """See L{IReplica}."""
        participant = self._participant
        if self._closed is None and participant is not None and participant.driver.holds_lease():
            return succeed(None)
        return self.confirm_reads()

    # Changing

    def submit(self, command: Change, told: Told) -> bool:
        """See L{IReplica}."""
        participant = self._participant
        if self._closed is not None or participant is None or not participant.leads:
            return False
        command = participant.understood(command)
        return participant.submit(command, encoded(command), told)

    def propose(self, command: Change) -> "Deferred[Event]":
        """See L{IReplica}."""
        return self._propose(command, always=False)

    def _propose(self, command: Change, always: bool) -> "Deferred[Event]":
        """
        Propose.

        @param always: whether the change is made even beyond the quota.
        """
        participant = self._participant
        if self._closed is not None or participant is None or not participant.leads:
            ahead = self._time.ahead
            return self._when_leading(lambda: self._propose_after_wait(command, always, ahead))
        command = participant.understood(command)
        try:
            data = encoded(command)
        except EtcdError as error:
            error.index = self.index
            return fail(error)
        return participant.propose(command, data, always)

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
        if self.standby and self._view is not None:
            return self._view.config
        return stored_config(self.keyspace.root) or self._defaults

    def configure(self, config: ClusterConfig) -> "Deferred[None]":
        """See L{IReplica}."""
        changed = self._propose(Set(CONFIG_KEY, self.now(), written(config)), always=True)
        return changed.addCallback(lambda _: None)

    def remove(self, name: str, forbidden_by: str | None = None) -> "Deferred[None]":
        """See L{IReplica}."""
        if forbidden_by is not None:
            return ensureDeferred(self._change_group(lambda members: members.forbid(name, forbidden_by)))
        return ensureDeferred(self._change_group(lambda members: members.remove(name)))

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
        return ensureDeferred(self._change_group(lambda members: members.move(machine_id, peer_url)))

    async def _change_group(self, change: Callable[[Members], Awaitable[None]]) -> None:
        participant = self._participant
        if participant is None or not participant.leads:
            raise NotDoneError("another machine leads")
        try:
            await change(participant.members)
        except NotLeaderError:
            raise NotDoneError("another machine leads") from None
