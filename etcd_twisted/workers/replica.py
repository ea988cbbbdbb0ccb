"""
The replica of a worker, as the doors see it: it reads the worker's own copy, and has the machine do everything else.

It must never serve from a copy that is not fed any more, nor report that a change was made before it is in the copy.
"""

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from etcd_twisted.auth.state import AuthState, CurrentAuth
from etcd_twisted.config import Config
from etcd_twisted.consensus.background.delivery import Delivery
from etcd_twisted.consensus.clocks.cluster_time import ClusterTime
from etcd_twisted.consensus.cluster_keys import forbidden_machines, member_records, stored_config
from etcd_twisted.consensus.forwarding.forwarder import Forwarder, RequestCarrier
from etcd_twisted.consensus.machines import in_order, members_of
from etcd_twisted.consensus.raft.entries import Entry, SnapshotMetadata
from etcd_twisted.consensus.raft.leader import Timing
from etcd_twisted.consensus.settings import ReplicaSettings
from etcd_twisted.errors import ErrorCode, EtcdError, RequestDroppedError
from etcd_twisted.interfaces import AnswerQuestion, ConfirmationCallback, IRaftPeer, IReplica, OutcomeCallback
from etcd_twisted.interfaces.cluster import Forbidden, Health, Machine, MachineStatus, fingerprinted
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from etcd_twisted.interfaces.member_records import shown_members
from etcd_twisted.interfaces.statistics import Measurements, Traffic
from etcd_twisted.keyspace.commands import Change
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.expiry import ExpirySchedule
from etcd_twisted.keyspace.nodes import Node
from etcd_twisted.keyspace.space import KeySpace
from etcd_twisted.keyspace.state import KeySpaceState
from etcd_twisted.keyspace.statistics import StoreStatistics
from etcd_twisted.keyspace.watchers import Watcher
from etcd_twisted.waiters import Observers, Waiters
from etcd_twisted.workers.copy import Copy, KnownLeader
from etcd_twisted.workers.frames import State

_NOTHING = State("", "", 0, None, None, False, 0.0, 0.0, False, False, None)
"""What a worker knows at first."""


@implementer(IReplica)
class WorkerReplica:
    """
    See L{IReplica}. What only the machine itself can know is as on a standby, and what only the leader's pages do is
    refused: pages are the machine's.

    @ivar keyspace: this worker's copy of the key space. It is replaced when the machine becomes a standby.
    @ivar copy: applies entries to it; C{None} while the machine has no copy.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, config: Config, carrier: RequestCarrier) -> None:
        """
        @param clock: the monotonic clock that the machine uses.
        @param carrier: takes requests to the machine.
        """
        self.name = ""
        self.cluster_id = ""
        self.term = 0
        self.is_leader = self.standby = self.serving = False
        self.on_cluster_id: Observers = []
        self.configuring = DeferredLock()
        self.traffic = Traffic()
        self.timing = Timing(config.peer_heartbeat_interval / 1e3, config.peer_election_timeout / 1e3)
        self.copy: Copy | None = None
        self._clock = clock
        self._config = config
        self._carrier = carrier
        self._timeout_seconds = ReplicaSettings(timing=self.timing).proposal_timeout_seconds
        self._time = ClusterTime(clock, clock.seconds)
        self.now = self._time.now
        self._auth = CurrentAuth(self._auth_unreadable)
        self._leadership = KnownLeader()
        self._leader: Machine | None = None
        self._state = _NOTHING
        self._closed: EtcdError | None = None
        self._serving, self._led, self._deposed = Waiters(), Waiters(), Waiters()
        self.keyspace = self._new_keyspace()

    def _new_keyspace(self) -> KeySpace:
        """Returns an empty key space, whose events L{_delivery} delivers from here on."""
        config = self._config
        self._delivery = delivery = Delivery(self._clock)
        keyspace = KeySpace(config.watch_history, lambda: delivery.soon(keyspace.hub), config.watch_history_bytes)
        return keyspace

    # What the feed brings

    def restore(self, content: KeySpaceState, schedule: ExpirySchedule, snapshot: SnapshotMetadata) -> None:
        """Take over the machine's key space."""
        if self.copy is None:
            self.copy = Copy(
                self._clock, self.keyspace, self._time, self._leadership, self._carrier, self._timeout_seconds
            )
        self.copy.restore(content, schedule, snapshot)
        self._follow(self.copy)

    def room(self) -> int:
        """Returns how many entries may be applied in this turn of the reactor."""
        return 1 if self.copy is None else self.copy.state_machine.room()

    def apply(self, entries: tuple[Entry, ...]) -> None:
        """Apply the next entries."""
        if self.copy is None:
            raise ValueError("entries have come before the key space that they are for")
        self.copy.apply(entries)

    def unload(self) -> None:
        """Drop the copy, as the machine has. Watchers are told that no more events will come."""
        self.serving = False
        copy, self.copy = self.copy, None
        if copy is not None:
            copy.stop(RequestDroppedError("this machine is not a member any more"))
        self._delivery.stop()
        self.keyspace.hub.end_all()
        self.keyspace = self._new_keyspace()

    def update(self, state: State) -> None:
        """Take over what the machine knows beside its key space."""
        before, self._state = self._state, state
        self._time.adopt(state.ahead_seconds)
        self.name, self.term = state.name, state.term
        self.standby, self.serving, self.is_leader = state.standby, state.serving, state.leads
        self._leader = None if state.leader is None else Machine(*state.leader)
        self._leadership.leader = state.leader_id
        if state.closed is not None:
            self.close(EtcdError(ErrorCode.RAFT_INTERNAL, state.closed, self.keyspace.index))
            return
        if self.copy is not None and _who_leads(before) != _who_leads(state):
            self._follow(self.copy)
        if self._leader is not None:
            self._led.fire()
        if not self.is_leader:
            self._deposed.fire()
        if self.serving or self.standby:
            self._serving.fire()
        if self.cluster_id != state.cluster_id:
            self.cluster_id = state.cluster_id
            for tell in self.on_cluster_id:
                tell()

    def _follow(self, copy: Copy) -> None:
        copy.changed(0 if self._leadership.leader is None else self.term)

    def close(self, error: EtcdError) -> None:
        """Answer nobody any more: fail all who wait, with C{error} unless somebody has to know more."""
        self.serving = False
        if self._closed is not None:
            return
        self._closed = error
        for waiters in (self._serving, self._led, self._deposed):
            waiters.fail(error)

    def end(self) -> None:
        """Apply nothing more, as nothing more comes. The outcome of what was asked of the machine is unknown."""
        self.close(EtcdError(ErrorCode.RAFT_INTERNAL, "this machine is stopping", self.keyspace.index))
        if self.copy is not None and self._closed is not None:
            self.copy.stop(self._closed)
        self.keyspace.hub.end_all()
        self._delivery.stop()

    # State

    def when_applied(self, index: int) -> "Deferred[None]":
        """
        Returns a Deferred that fires when the copy has what the machine had applied at a log index, or when it is
        uncertain whether that comes.
        """
        applied: Deferred[None] = Deferred()
        if self.copy is None:
            applied.callback(None)
        else:
            self.copy.forwarder.once_applied(index, [lambda _error: applied.callback(None)])
        return applied

    @property
    def peer(self) -> IRaftPeer:
        """See L{IReplica}."""
        raise RuntimeError("a worker has no part in the Raft group: its machine has")

    @property
    def index(self) -> int:
        """See L{IReplica}."""
        return self.keyspace.index

    @property
    def auth(self) -> AuthState:
        """See L{IReplica}. Every request about keys asks for it, so the common case is here and takes no call."""
        keyspace, current = self.keyspace, self._auth
        if keyspace.cluster_keys_mark is current.mark:
            return current.state
        return current.of(keyspace)

    def _auth_unreadable(self, problem: str) -> None:
        self._log.critical("/_etcd/_auth can't be read, so nobody may do anything: {problem}", problem=problem)

    @property
    def raft_index(self) -> int:
        """See L{IReplica}."""
        return 0 if self.copy is None else self.copy.state_machine.applied_index

    def indexes(self) -> tuple[int, int, int]:
        """See L{IReplica}."""
        copy = self.copy
        if copy is None:
            return self.keyspace.index, 0, 0
        return self.keyspace.index, copy.state_machine.applied_index, self.term

    @property
    def led_seconds(self) -> float:
        """See L{IReplica}."""
        return self._clock.seconds() - self._state.led_since

    def when_serving(self) -> "Deferred[None]":
        """See L{IReplica}."""
        return self._until(self.serving or self.standby, self._serving)

    def when_led(self) -> "Deferred[None]":
        """See L{IReplica}."""
        return self._until(self._leader is not None, self._led)

    def when_deposed(self) -> "Deferred[None]":
        """See L{IReplica}."""
        return self._until(not self.is_leader, self._deposed)

    def _until(self, is_so: bool, waiters: Waiters) -> "Deferred[None]":
        if self._closed is not None:
            return fail(self._closed)
        return succeed(None) if is_so else waiters.wait()

    def leader(self) -> Machine | None:
        """See L{IReplica}."""
        return self._leader

    def members(self) -> dict[str, Machine]:
        """See L{IReplica}."""
        return {} if self.copy is None else members_of(self.copy.state_machine.configuration)

    def machines(self) -> list[Machine]:
        """See L{IReplica}."""
        if self.standby:
            return [] if self._leader is None else [self._leader]
        return in_order(self.members())

    def shown_members(self) -> Mapping[str, Machine]:
        """See L{IReplica}."""
        return shown_members(fingerprinted(self.cluster_id, self.members()), member_records(self.keyspace.root))

    def was_removed(self, member_id: str) -> bool:
        """See L{IReplica}."""
        return any(record.removed and record.id == member_id for record in member_records(self.keyspace.root))

    def statuses(self) -> dict[str, MachineStatus]:
        """See L{IReplica}."""
        return {}

    def health(self) -> Health:
        """See L{IReplica}."""
        return Health({}, frozenset(), "" if self._leader is None else self._leader.name)

    def statistics(self) -> StoreStatistics:
        """See L{IReplica}."""
        return self.keyspace.statistics()

    def measurements(self) -> Measurements:
        """See L{IReplica}."""
        return Measurements()

    # Reading

    def get(self, key: str) -> Node:
        """See L{IReplica}."""
        return self.keyspace.get(key)

    def in_order_name(self, index: int) -> str:
        """See L{IReplica}."""
        return self.keyspace.in_order_name(index)

    def watch(
        self,
        key: str,
        recursive: bool,
        stream: bool,
        since: int | None,
        deliver: Callable[[Event], None],
        end: Callable[[], None] | None = None,
        counted: bool = True,
    ) -> Watcher:
        """See L{IReplica}."""
        return self.keyspace.watch(key, recursive, stream, since, deliver, end, counted)

    # What only the leader can do

    def submit(self, command: Change, on_outcome: OutcomeCallback, user: str | None = None) -> bool:
        """See L{IReplica}."""
        copy = self.copy
        if copy is None or self._closed is not None or not self.is_leader or self._leadership.leader is None:
            return False
        copy.forwarder.submit(command, user, on_outcome)
        return True

    def submit_read(self, recent: bool, on_confirmed: ConfirmationCallback) -> bool:
        """See L{IReplica}."""
        copy = self.copy
        if copy is None or self._closed is not None or self._leadership.leader is None:
            return False
        copy.forwarder.submit_read(recent, on_confirmed)
        return True

    def propose(self, command: Change) -> "Deferred[Event]":
        """See L{IReplica}."""
        return self.forward(command)

    def forward(self, command: Change, user: str | None = None) -> "Deferred[Event]":
        """See L{IReplica}."""
        forwarder = self._forwarder()
        return forwarder if isinstance(forwarder, Deferred) else forwarder.forward(command, user)

    def confirm_reads(self) -> "Deferred[None]":
        """See L{IReplica}."""
        return self.confirm_at_leader(recent=False)

    def confirm_recent(self) -> "Deferred[None]":
        """See L{IReplica}."""
        return self.confirm_at_leader(recent=True)

    def confirm_at_leader(self, recent: bool) -> "Deferred[None]":
        """See L{IReplica}."""
        forwarder = self._forwarder()
        return forwarder if isinstance(forwarder, Deferred) else forwarder.confirm(recent)

    def ask_leader(self, question: bytes, user: str) -> "Deferred[bytes]":
        """See L{IReplica}."""
        forwarder = self._forwarder()
        return forwarder if isinstance(forwarder, Deferred) else forwarder.ask(question, user)

    def answer_questions(self, answer: AnswerQuestion | None) -> None:
        """See L{IReplica}. Nobody asks a worker: its machine answers."""

    def _forwarder(self) -> "Forwarder | Deferred[Any]":
        """Returns what takes requests to the leader, or a Deferred that has failed if nothing does."""
        if self._closed is not None:
            return fail(self._closed)
        if self.copy is None:
            return fail(RequestDroppedError("this machine is not a member"))
        return self.copy.forwarder

    # What is the machine's

    def cluster_config(self) -> ClusterConfig:
        """See L{IReplica}."""
        config = self._config
        defaults = config.cluster_active_size, config.cluster_remove_delay, config.cluster_sync_interval
        return stored_config(self.keyspace.root) or ClusterConfig(*defaults)

    def forbidden(self) -> list[Forbidden]:
        """See L{IReplica}."""
        return forbidden_machines(self.keyspace.root)

    def configure(self, config: ClusterConfig) -> "Deferred[None]":
        """See L{IReplica}."""
        return self._refuse(config)

    def remove(self, name: str, forbidden_by: str | None = None) -> "Deferred[None]":
        """See L{IReplica}."""
        return self._refuse(name, forbidden_by)

    def allow(self, name: str) -> "Deferred[None]":
        """See L{IReplica}."""
        return self._refuse(name)

    def await_machine(self, peer_url: str) -> "Deferred[str]":
        """See L{IReplica}."""
        return self._refuse(peer_url)

    def dismiss(self, member_id: str, for_good: bool) -> "Deferred[None]":
        """See L{IReplica}."""
        return self._refuse(member_id, for_good)

    def move(self, machine_id: str, peer_url: str) -> "Deferred[None]":
        """See L{IReplica}."""
        return self._refuse(machine_id, peer_url)

    def _refuse(self, *_asked: object) -> "Deferred[Any]":
        cause = "a worker does not change the cluster: its machine does"
        return fail(EtcdError(ErrorCode.RAFT_INTERNAL, cause, self.keyspace.index))


def _who_leads(state: State) -> tuple[object, ...]:
    return state.leader_id, state.term, state.leads
