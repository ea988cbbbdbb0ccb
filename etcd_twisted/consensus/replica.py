"""
The replica as the doors see it: everything that they may ask for, passed on to the part of this machine that answers.

It must never answer a read from a copy that is older than what this machine has shown before, or report that a change
was made before it was.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredLock, ensureDeferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from etcd_twisted.auth.state import AuthState, CurrentAuth
from etcd_twisted.consensus.availability import Availability
from etcd_twisted.consensus.clocks.cluster_time import ClusterTime
from etcd_twisted.consensus.cluster_keys import CONFIG_KEY, forbidden_machines
from etcd_twisted.consensus.cluster_state import ClusterState
from etcd_twisted.consensus.local_member import LocalMember
from etcd_twisted.consensus.node import Node as RaftNode
from etcd_twisted.consensus.proposals.proposer import Proposer
from etcd_twisted.consensus.raft.errors import NotLeaderError
from etcd_twisted.consensus.raft.leader import Timing
from etcd_twisted.consensus.raft.state import RaftState
from etcd_twisted.consensus.raft_peer import RaftPeer
from etcd_twisted.consensus.reconfiguration.changes import MembershipChanges
from etcd_twisted.consensus.reconfiguration.forbidden import check_name
from etcd_twisted.consensus.state_machine import StateMachine
from etcd_twisted.errors import CannotForwardError, EtcdError, RequestDroppedError
from etcd_twisted.interfaces import AnswerQuestion, ConfirmationCallback, IReplica, OutcomeCallback
from etcd_twisted.interfaces.cluster import (
    Forbidden,
    Health,
    Machine,
    MachineStatus,
    forbidden_key,
)
from etcd_twisted.interfaces.cluster_config import ClusterConfig, config_json
from etcd_twisted.interfaces.statistics import Measurements, Traffic
from etcd_twisted.keyspace.commands import Change, Delete, Set
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.nodes import Node
from etcd_twisted.keyspace.space import KeySpace
from etcd_twisted.keyspace.statistics import StoreStatistics
from etcd_twisted.keyspace.watchers import Watcher
from etcd_twisted.waiters import Observers

_T = TypeVar("_T")

_MOST_SHIFT_SECONDS = 0.1
"""The most that the cluster time may have been corrected between the making of a command and its proposal."""


@implementer(IReplica)
class Replica:
    """
    See L{IReplica}. It has a method for each of the many things that doors ask for, which is why there are so many.

    @ivar keyspace: this machine's copy of the key space. Its owner, L{etcd_twisted.consensus.participation}, replaces
        it when this machine becomes a standby.
    """

    _log = Logger()

    def __init__(
        self,
        keyspace: KeySpace,
        timing: Timing,
        time: ClusterTime,
        cluster: ClusterState,
        availability: Availability,
        peer: RaftPeer,
    ) -> None:
        """
        @param time: the time by which keys expire.
        @param cluster: knows which machines are in the cluster.
        @param availability: knows whether this machine serves, and which machine leads.
        @param peer: the side of the replica that the peer port sees.
        """
        self.name = ""
        self.keyspace = keyspace
        self.timing = timing
        self.traffic = Traffic()
        self.configuring = DeferredLock()
        self.peer = peer
        self._auth = CurrentAuth(self._auth_unreadable)
        self.now = time.now
        self._time = time
        self._cluster = cluster
        self._availability = availability
        self._member: LocalMember | None = None
        """This machine as a member of its group; C{None} while it is not a member."""
        self._raft: RaftState | None = None
        """The Raft state of that member."""
        self._state_machine: StateMachine | None = None
        """The state machine of that member."""
        self._proposer: Proposer | None = None
        """What proposes changes for that member."""
        self._driver: RaftNode | None = None
        """What drives the Raft core of that member."""

    def begin(self, member: LocalMember) -> None:
        """Answer as this member from here on."""
        self._member = member
        self._raft = member.raft
        self._state_machine = member.state_machine
        self._proposer = member.proposer
        self._driver = member.node

    def end(self) -> None:
        """Answer without a member from here on."""
        self._member = self._raft = self._state_machine = self._proposer = self._driver = None

    # State

    @property
    def serving(self) -> bool:
        """See L{IReplica}."""
        return self._availability.serving

    @property
    def standby(self) -> bool:
        """See L{IReplica}."""
        return self._cluster.standby

    @property
    def cluster_id(self) -> str:
        """See L{IReplica}."""
        return self._cluster.cluster_id

    @property
    def on_cluster_id(self) -> Observers:
        """See L{IReplica}."""
        return self._cluster.on_cluster_id

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
        return self._state_machine.applied_index if self._state_machine is not None else 0

    @property
    def term(self) -> int:
        """See L{IReplica}."""
        return self._raft.term if self._raft is not None else 0

    def indexes(self) -> tuple[int, int, int]:
        """See L{IReplica}."""
        state_machine, raft = self._state_machine, self._raft
        if state_machine is None or raft is None:
            return self.keyspace.index, 0, 0
        return self.keyspace.index, state_machine.applied_index, raft.term

    @property
    def is_leader(self) -> bool:
        """See L{IReplica}."""
        return self._raft is not None and self._raft.accepts_proposals

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
        return self._cluster.leader()

    def machines(self) -> list[Machine]:
        """See L{IReplica}."""
        return self._cluster.machines()

    def members(self) -> dict[str, Machine]:
        """See L{IReplica}."""
        return self._cluster.members()

    def shown_members(self) -> dict[str, Machine]:
        """See L{IReplica}."""
        return self._cluster.shown_members()

    def was_removed(self, member_id: str) -> bool:
        """See L{IReplica}."""
        return any(record.removed and record.id == member_id for record in self._cluster.records())

    def statuses(self) -> dict[str, MachineStatus]:
        """See L{IReplica}."""
        return self._cluster.statuses()

    def health(self) -> Health:
        """See L{IReplica}."""
        return self._cluster.health()

    def get(self, key: str) -> Node:
        """See L{IReplica}."""
        return self.keyspace.get(key)

    def in_order_name(self, index: int) -> str:
        """See L{IReplica}."""
        return self.keyspace.in_order_name(index)

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
        counted: bool = True,
    ) -> Watcher:
        """See L{IReplica}."""
        return self.keyspace.watch(key, recursive, stream, since, deliver, end, counted)

    def confirm_reads(self) -> "Deferred[None]":
        """See L{IReplica}."""
        driver = self._driver
        if driver is None or not self._answers_as_leader:
            return self._when_leading(self.confirm_reads)
        return driver.confirm_read().addErrback(self._unconfirmed)

    def _unconfirmed(self, failure: Failure) -> None:
        failure.trap(NotLeaderError)
        raise self._availability.closed or RequestDroppedError("this machine no longer leads")

    def submit_read(self, recent: bool, on_confirmed: ConfirmationCallback) -> bool:
        """See L{IReplica}."""
        member, driver, raft, availability = self._member, self._driver, self._raft, self._availability
        if member is None or driver is None or raft is None or availability.closed is not None:
            return False
        if not raft.accepts_proposals:
            member.forwarder.submit_read(recent, on_confirmed)
            return True

        def tell(error: NotLeaderError | None) -> None:
            on_confirmed(error and (availability.closed or RequestDroppedError("this machine no longer leads")))

        if recent and driver.holds_lease():
            on_confirmed(None)
        else:
            driver.submit_read(tell)
        return True

    def confirm_recent(self) -> "Deferred[None]":
        """See L{IReplica}."""
        driver = self._driver
        if driver is not None and self._availability.closed is None and driver.holds_lease():
            return succeed(None)
        return self.confirm_reads()

    # Changes

    @property
    def _answers_as_leader(self) -> bool:
        """Whether this machine leads and still answers."""
        return self._raft is not None and self._availability.closed is None and self._raft.accepts_proposals

    def submit(
        self,
        command: Change,
        on_outcome: OutcomeCallback,
        user: str | None = None,  # noqa: ARG002  # what the caller has checked is the leader's own copy
    ) -> bool:
        """See L{IReplica}."""
        proposer = self._proposer
        if proposer is None or self._availability.closed is not None:
            return False
        return proposer.submit(command, on_outcome)

    def propose(self, command: Change) -> "Deferred[Event]":
        """See L{IReplica}."""
        return self._propose(command, always=False)

    def _propose(self, command: Change, always: bool) -> "Deferred[Event]":
        """
        Propose a command.

        @param always: whether the change may exceed the quota.
        """
        proposer = self._proposer
        if proposer is None or not self._answers_as_leader:
            ahead_seconds = self._time.ahead_seconds
            return self._when_leading(lambda: self._propose_after_wait(command, always, ahead_seconds))
        return proposer.propose(command, always)

    def _propose_after_wait(self, command: Change, always: bool, ahead_seconds: float) -> "Deferred[Event]":
        """
        Propose a command that was made before this machine led.

        @param ahead_seconds: how far the cluster time was ahead of the clock then. If that was wrong, the times in the
            command are wrong too, and its caller has to make it again.
        """
        if abs(self._time.ahead_seconds - ahead_seconds) > _MOST_SHIFT_SECONDS:
            return fail(RequestDroppedError("this machine did not know the time by which keys expire; ask again"))
        return self._propose(command, always)

    def _when_leading(self, go_on: Callable[[], "Deferred[_T]"]) -> "Deferred[_T]":
        """Wait for a leader, and then call C{go_on} if this machine is the leader."""

        def led(_: None) -> "Deferred[_T]":
            if not self.is_leader:
                raise RequestDroppedError("another machine leads")
            return go_on()

        return self.when_led().addCallback(led)

    # Requests that are the leader's

    def forward(self, command: Change, user: str | None = None) -> "Deferred[Event]":
        """See L{IReplica}."""
        if self.is_leader:
            return self.propose(command)
        member = self._forwarding_member()
        return member if isinstance(member, Deferred) else member.forwarder.forward(command, user)

    def confirm_at_leader(self, recent: bool) -> "Deferred[None]":
        """See L{IReplica}."""
        if self.is_leader:
            return self.confirm_recent() if recent else self.confirm_reads()
        member = self._forwarding_member()
        return member if isinstance(member, Deferred) else member.forwarder.confirm(recent)

    def ask_leader(self, question: bytes, user: str) -> "Deferred[bytes]":
        """See L{IReplica}."""
        member = self._forwarding_member()
        return member if isinstance(member, Deferred) else member.forwarder.ask(question, user)

    def answer_questions(self, answer: AnswerQuestion | None) -> None:
        """See L{IReplica}."""
        self.peer.answer_question = answer

    def _forwarding_member(self) -> "LocalMember | Deferred[Any]":
        """Returns this machine as a member, or a Deferred that has failed if it can't forward anything."""
        if self._availability.closed is not None:
            return fail(self._availability.closed)
        return fail(CannotForwardError("this machine is not a member")) if self._member is None else self._member

    def cluster_config(self) -> ClusterConfig:
        """See L{IReplica}."""
        return self._cluster.config()

    def configure(self, config: ClusterConfig) -> "Deferred[None]":
        """See L{IReplica}."""
        changed = self._propose(Set(CONFIG_KEY, self.now(), config_json(config)), always=True)
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

    def await_machine(self, peer_url: str) -> "Deferred[str]":
        """See L{IReplica}."""
        return ensureDeferred(self._change_group(lambda changes: changes.await_machine(peer_url)))

    def dismiss(self, member_id: str, for_good: bool) -> "Deferred[None]":
        """See L{IReplica}."""
        return ensureDeferred(self._change_group(lambda changes: changes.dismiss(member_id, for_good)))

    def move(self, machine_id: str, peer_url: str) -> "Deferred[None]":
        """See L{IReplica}."""
        return ensureDeferred(self._change_group(lambda changes: changes.move(machine_id, peer_url)))

    async def _change_group(self, change: Callable[[MembershipChanges], Awaitable[_T]]) -> _T:
        member = self._member
        if member is None or not self.is_leader:
            raise RequestDroppedError("another machine leads")
        try:
            return await change(member.changes)
        except NotLeaderError:
            raise RequestDroppedError("another machine leads") from None
