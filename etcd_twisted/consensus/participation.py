"""
How this machine takes part in its group: it begins, hands over the lead, stands by, or stops. It owns the replica that
doors see and the member below it.

Everything here runs on the reactor. It must never end before those who wait for an answer have it or the time for it
is over.
"""

from collections.abc import Callable, Mapping

import msgspec
from twisted.internet import defer
from twisted.internet.defer import Deferred, DeferredLock, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from etcd_twisted.consensus.availability import Availability
from etcd_twisted.consensus.background.delivery import Delivery
from etcd_twisted.consensus.clocks.cluster_time import Clocks
from etcd_twisted.consensus.cluster_state import ClusterState
from etcd_twisted.consensus.local_member import Environment, LocalMember
from etcd_twisted.consensus.raft_peer import RaftPeer
from etcd_twisted.consensus.recovery import Recovered
from etcd_twisted.consensus.replica import Replica
from etcd_twisted.consensus.settings import ReplicaSettings
from etcd_twisted.consensus.storage.disk_thread import AsyncStorage, DiskThread
from etcd_twisted.consensus.storage.files import remedy
from etcd_twisted.consensus.storage.storage import Storage
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.interfaces import ITransport
from etcd_twisted.interfaces.cluster import (
    ClusterView,
    Machine,
)
from etcd_twisted.keyspace.space import KeySpace
from etcd_twisted.waiters import Observers, Waiters, next_turn


class Participation:
    """
    The participation of one machine; see the module.

    @ivar replica: what the doors see. It serves nobody before this machine has a leader and all committed entries. Its
        key space is recovered by the caller before L{start}.
    @ivar on_failure: called with the reason, in one line, when this machine can't go on. The process must end then.
    @ivar on_member: called when this machine has become a member, before it takes part in anything.
    @ivar member: this machine as a member of its group; C{None} while it is not a member.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, wall_clock: Callable[[], float], settings: ReplicaSettings) -> None:
        """
        @param clock: the clock for delayed calls. It may count from anywhere, and must never be set.
        @param wall_clock: returns the time of day in seconds since the epoch, from which the cluster time begins and
            which it approaches. It may be set.
        """
        self.on_failure: list[Callable[[str], None]] = []
        self.on_member: Observers = []
        self._clock = clock
        self._clocks = clocks = Clocks.of(clock, wall_clock)
        self._settings = settings
        self._is_ending = False
        self._ended = Waiters()
        self._standing_by = DeferredLock()
        self.member: LocalMember | None = None
        keyspace = self._new_keyspace()
        self._cluster = cluster = ClusterState(keyspace, settings.defaults)
        self._availability = availability = Availability(clock)
        self._peer = peer = RaftPeer(clocks, cluster, availability)
        self.replica = Replica(keyspace, settings.timing, clocks.cluster, cluster, availability, peer)

    @property
    def on_change(self) -> Observers:
        """Called when this machine may have begun or ceased to serve, or another one to lead."""
        return self._availability.on_change

    @property
    def led_since(self) -> float:
        """Since when there has been this leader, or none, by the monotonic clock."""
        return self._availability.led_since

    @property
    def ahead_seconds(self) -> float:
        """How far the cluster time is ahead of the monotonic clock."""
        return self._clocks.cluster.ahead_seconds

    @property
    def closed(self) -> EtcdError | None:
        """Why this machine no longer answers anybody; C{None} while it answers."""
        return self._availability.closed

    @property
    def on_exclusion(self) -> Observers:
        """Called when this machine may have been taken out of the cluster, possibly more than once."""
        return self._availability.on_exclusion

    def _new_keyspace(self) -> KeySpace:
        """
        Returns an empty key space, whose events L{_delivery} delivers from here on. That of an earlier key space must
        have been stopped.
        """
        settings = self._settings
        self._delivery = delivery = Delivery(self._clock)
        keyspace = KeySpace(settings.history_capacity, lambda: delivery.soon(keyspace.hub), settings.history_bytes)
        return keyspace

    # Its life

    def start(
        self, machine: Machine, storage: Storage, disk_thread: DiskThread, recovered: Recovered, transport: ITransport
    ) -> None:
        """
        Begin to take part in consensus, from what was recovered.

        @param machine: the name and the addresses of this machine.
        @param disk_thread: the thread that does all further work on the storage.
        """
        replica = self.replica
        replica.name = machine.name
        disk = AsyncStorage(self._clock, storage, disk_thread)
        environment = Environment(self._clocks, disk, transport, replica.traffic)
        self.member = member = LocalMember(
            environment, replica.keyspace, self._settings, self._availability, recovered, machine
        )
        member.failed.addErrback(self._failed, storage, member).addErrback(self._log_unexpected)
        self._availability.begin()
        self._cluster.enter_group(member.group)
        replica.begin(member)
        self._peer.begin(member)
        for tell in self.on_member:
            tell()
        member.start()

    def remember(self, cluster_id: str, members: Mapping[str, Machine], waits: bool = False) -> None:
        """
        Name these as the cluster's machines while this one is not a member, or has no group in its log.

        @param members: the machines by fingerprint.
        @param waits: whether this machine waits for these to begin a cluster with.
        """
        self._cluster.remember(cluster_id, members, waits)

    async def hand_over(self) -> None:
        """
        Have another machine lead, if this one does and another can. Return when one does, or none will, and those who
        wait for this one are answered.
        """
        member = self.member
        if member is None:
            return
        raft = member.raft
        if raft.accepts_proposals and member.hand_over():
            self._log.info("{name} hands the lead over", name=self.replica.name)
            await self._await_another()
        if not raft.accepts_proposals:
            await member.settle()

    async def _await_another(self) -> None:
        handed_over = self.replica.when_led()
        handed_over.addTimeout(2 * self._settings.timing.election_timeout_seconds, self._clock)
        try:
            await handed_over
        except (defer.TimeoutError, EtcdError):
            self._log.warn("No other machine took over")

    async def stop(self) -> None:
        """Refuse new requests, and return when those under way are done."""
        self._availability.close(EtcdError(ErrorCode.RAFT_INTERNAL, "this machine is stopping", self.replica.index))
        await self._end_membership()
        self._delivery.stop()  # not before: while much waits to be delivered, nothing is applied

    async def _end_membership(self) -> None:
        """End the membership, and return when it has ended. It ends even if the caller is cancelled."""
        member, self.member = self.member, None
        self._availability.end()
        if member is not None:
            self.replica.end()
            member.end()
            self._cluster.leave_group()
            self._is_ending = True
            ensureDeferred(self._end(member)).addBoth(self._has_ended)
        if self._is_ending:
            await self._ended.wait()

    async def _end(self, member: LocalMember) -> None:
        await member.settle()
        self._peer.end()
        self._cluster.forget_cluster()
        await member.stop()

    def _has_ended(self, result: Failure | None) -> None:
        self._is_ending = False
        if result is not None:
            self._log.failure("This machine's part in consensus did not end in order", result)
        self._ended.fire()

    async def stand_by(self, view: ClusterView) -> None:
        """
        Take part no longer and drop the copy, as others serve. Watchers are told that no more events will come.

        @param view: the cluster as others describe it. Each call replaces it.
        """
        self._cluster.update_view(view)
        await self._standing_by.run(lambda: ensureDeferred(self._stand_by()))
        self._update_without_group()

    async def lose_leader(self) -> None:
        """As a standby, forget which machine leads, but not the machines."""
        view = self._cluster.view
        if view is not None:
            await self.stand_by(msgspec.structs.replace(view, leader=""))

    async def _stand_by(self) -> None:
        cluster, availability, replica = self._cluster, self._availability, self.replica
        if cluster.standby:
            return
        cluster.standby = True
        availability.stand_by()
        ended = ensureDeferred(self._end_membership())
        self._update_without_group()  # those who wait for a leader need not wait for the last answers
        await ended
        hub = replica.keyspace.hub
        while hub.backlog and availability.closed is None:
            await self.turn()  # until all watchers have the events from before
        self._delivery.stop()
        hub.end_all()
        replica.keyspace = cluster.keyspace = self._new_keyspace()
        availability.served_by_others()

    def _update_without_group(self) -> None:
        self._availability.update_without_group(self.replica.leader(), self.replica.name)

    def turn(self) -> "Deferred[None]":
        """Returns a Deferred that fires in the next turn of the reactor."""
        return next_turn(self._clock)

    def _failed(self, failure: Failure, storage: Storage, member: LocalMember) -> None:
        self._log.failure("This machine can't go on", failure)
        reason = f"this machine can't go on: {failure.getErrorMessage()}; its log says more"
        if isinstance(failure.value, OSError):
            path, problem = storage.directory.path, failure.value.strerror
            reason = f"--data-dir {path} failed: {problem}; {remedy(failure.value)}, then start this machine again"
        cause = f"{reason}; whether the write was done is unknown"
        error = EtcdError(ErrorCode.RAFT_INTERNAL, cause, self.replica.index)
        for tell in self.on_failure:
            try:
                tell(reason)
            except Exception as problem:  # the others, and the clients that wait, have to be told all the same
                self._log_unexpected(Failure(problem))
        self._availability.close(error)
        member.fail(error)

    def _log_unexpected(self, failure: Failure) -> None:
        self._log.failure("Not everybody could be told that this machine can't go on", failure)
