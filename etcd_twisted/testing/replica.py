"""
A stand-in for the replica of a machine: a key space on a clock, without a log, a disk or other machines.

It is for unit tests of what serves from a replica, such as a frontend. What the test proposes is applied at once; the
test can have it wait or fail, and can have the machine lead, follow, stand by or know no leader. This module must
never apply a command in another way than a real machine does.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import Clock
from zope.interface import implementer

from etcd_twisted.auth.state import AUTH_KEY, AuthState, CurrentAuth, encode
from etcd_twisted.consensus.proposals.proposer import encoded
from etcd_twisted.errors import EtcdError, RequestDroppedError
from etcd_twisted.interfaces import AnswerQuestion, ConfirmationCallback, IReplica, OutcomeCallback
from etcd_twisted.interfaces.cluster import Health, Machine, MachineStatus
from etcd_twisted.interfaces.statistics import Measurements, Traffic
from etcd_twisted.keyspace.commands import Change, Delete, Expire, Set
from etcd_twisted.keyspace.events import MICROSECONDS_PER_SECOND, Event
from etcd_twisted.keyspace.nodes import Node
from etcd_twisted.keyspace.snapshot import SnapshotLoader, dump
from etcd_twisted.keyspace.space import KeySpace
from etcd_twisted.keyspace.statistics import StoreStatistics
from etcd_twisted.keyspace.watchers import Watcher
from etcd_twisted.testing.fake_membership import CLUSTER_ID, FakeMembership, registered_machines
from etcd_twisted.waiters import Observers, Waiters

MACHINE = Machine("machine0", "http://127.0.0.1:4001", "http://127.0.0.1:7001")
"""The machine that a L{FakeReplica} is the replica of."""

OTHER = Machine("machine1", "http://127.0.0.1:4002", "http://127.0.0.1:7002")
"""The machine that a L{FakeReplica} follows when it does not lead."""


@implementer(IReplica)
class FakeReplica(FakeMembership):
    """
    A replica that is its own quorum and has no disk.

    It leads at first; L{follow}, L{lead}, L{lose_leader} and L{stand_by} change that. Watchers learn of a change in
    the clock's next turn, and keys expire when the clock comes to their time, as on a real machine.

    @ivar clock: the clock that keys expire by and that watchers are notified on.
    @ivar keyspace: this machine's copy of the keys.
    @ivar full: whether proposals wait for room behind others, so that L{submit} takes none.
    @ivar holding: whether proposals and confirmations of reads wait for L{release} or L{fail_held}.
    @ivar leased: whether the leader holds a lease, so that L{confirm_recent} need not wait.
    @ivar proposed: every command that was proposed, in order.
    @ivar submitted_for: the user who wanted each command that was given to L{submit}, in order.
    @ivar forwarded: every command that was put into the leader's log for this machine, in order.
    @ivar forwarded_for: the user who wanted each of them; C{None} for this machine itself.
    @ivar unforwarded: the error that requests to the leader fail with; C{None} while the leader can be asked.
    @ivar answers: how the leader answers L{ask_leader}.
    @ivar answer_question: see L{answer_questions}.
    @ivar measured: what L{measurements} returns.
    @ivar known_statuses: what L{statuses} returns.
    @ivar known_leader: what L{leader} returns.
    """

    def __init__(self, clock: IReactorTime | None = None, history_capacity: int = 1_000) -> None:
        """
        @param clock: the clock to go by; a new L{Clock} unless it is given.
        @param history_capacity: how many events to keep for watchers that begin in the past.
        """
        super().__init__()
        self.clock: Any = Clock() if clock is None else clock
        self.name = MACHINE.name
        self.serving = True
        self.standby = False
        self.term = 1
        self.raft_index = 1
        self.is_leader = True
        self._led_since = self.clock.seconds()
        self.traffic = Traffic()
        self.configuring = DeferredLock()
        self.measured = Measurements()
        self.known_statuses: dict[str, MachineStatus] = {}
        self.cluster_id = CLUSTER_ID
        self.on_cluster_id: Observers = []
        self.peer: Any = None  # a subclass that the peer port is tested with has one
        self.known_leader: Machine | None = MACHINE
        self.holding = False
        self.full = False
        self.leased = True
        self.proposed: list[Change] = []
        self.submitted_for: list[str | None] = []
        self.forwarded: list[Change] = []
        self.forwarded_for: list[str | None] = []
        self.unforwarded: Exception | None = None
        self.answers: AnswerQuestion = lambda question, _: succeed(question)
        self.answer_question: AnswerQuestion | None = None
        self.keyspace = KeySpace(history_capacity, self._deliver_soon)
        self._history_capacity = history_capacity
        self._auth = CurrentAuth()
        self._known_machines: list[Machine] = []
        self._expected: list[tuple[int, Deferred[None]]] = []
        self._held: list[tuple[Callable[[], None], Deferred[Any]]] = []
        self._serving = Waiters()
        self._led = Waiters()
        self._deposed = Waiters()
        self._delivery: IDelayedCall | None = None
        self._expiry: IDelayedCall | None = None
        self.keyspace.apply(Set(MACHINE.key, self.now(), MACHINE.value))

    # What the test has happen to the machine

    def enter_cluster(self, cluster_id: str) -> None:
        """Become a machine of another cluster."""
        self.cluster_id = cluster_id
        for tell in self.on_cluster_id:
            tell()

    def lead(self) -> None:
        """Become the leader."""
        self.is_leader = True
        self._is_led_by(MACHINE)

    def follow(self, leader: Machine = OTHER) -> None:
        """Become a follower. Proposals that are held stay held, see L{fail_held}."""
        self.is_leader = False
        self._is_led_by(leader)

    def lose_leader(self) -> None:
        """Know no leader: neither another machine nor itself."""
        self.is_leader = False
        self.known_leader = None
        self._deposed.fire()

    def stand_by(self, leader: Machine | None = OTHER) -> None:
        """Become a standby: drop the copy of the keys and end all watches. Others serve, see L{serve}."""
        self._known_machines = self.machines()
        self.standby = True
        self.serving = False
        self.lose_leader()
        if leader is not None:
            self._is_led_by(leader)
        hub = self.keyspace.hub
        self.keyspace = KeySpace(self._history_capacity, self._deliver_soon)
        hub.end_all()
        self._serving.fire()

    def serve(self) -> None:
        """Begin to serve: after C{serving} was set to false, or after L{stand_by}."""
        self.standby = False
        self.serving = True
        self._serving.fire()

    def receive_snapshot_of(self, other: "FakeReplica") -> None:
        """Replace this copy with another one's, as a follower does that the leader sends a snapshot to."""
        loader = SnapshotLoader()
        for chunk in dump(other.keyspace.state()):
            loader.feed(chunk)
        self.keyspace.restore(loader.finish(), loader.schedule)
        self._expire_in_time()

    def _is_led_by(self, leader: Machine) -> None:
        self.known_leader = leader
        self._led_since = self.clock.seconds()
        self._led.fire()
        if not self.is_leader:
            self._deposed.fire()

    def register(self, *machines: Machine) -> None:
        """Add machines to the cluster."""
        for machine in machines:
            self.keyspace.apply(Set(machine.key, self.now(), machine.value))

    def apply(self, *commands: Change) -> None:
        """Apply commands that other machines have proposed, and notify the watchers in the next turn."""
        for command in commands:
            self.keyspace.apply(command)
        self._deliver_soon()
        self._expire_in_time()

    def put(self, key: str, value: str, ttl_seconds: int | None = None) -> None:
        """Set a key, as another machine's client would."""
        expires = None if ttl_seconds is None else self.now() + ttl_seconds * MICROSECONDS_PER_SECOND
        self.apply(Set(key, self.now(), value, expires=expires))

    def set_auth(self, state: AuthState) -> None:
        """Replace the users, the roles and the switch of authentication, as another machine's administrator would."""
        self.put(AUTH_KEY, encode(state))

    def delete(self, key: str) -> None:
        """Delete a key and all that is below it, as another machine's client would."""
        self.apply(Delete(key, self.now(), recursive=True))

    def when_proposed(self, count: int) -> "Deferred[None]":
        """Returns a Deferred that fires when this many commands have been proposed in all."""
        if len(self.proposed) >= count:
            return succeed(None)
        met: Deferred[None] = Deferred()
        self._expected.append((count, met))
        return met

    def release(self) -> None:
        """Carry out everything that is held, in order, and hold nothing from now on."""
        self.holding = False
        self.release_once()

    def release_once(self) -> None:
        """Carry out everything that is held now, in order, and hold what comes after it."""
        held, self._held = self._held, []
        for go_on, _ in held:
            go_on()

    def fail_held(self, error: Exception) -> None:
        """Have everything fail that is held, in order, and hold nothing from now on."""
        self.holding = False
        held, self._held = self._held, []
        for _, done in held:
            done.errback(error)

    def stop_serving(self, error: Exception) -> None:
        """Stop, as a service that ends does: whoever waits for this machine gets the error."""
        self.serving = False
        self._serving.fail(error)
        self._led.fail(error)
        self._deposed.fail(error)

    def stop(self) -> None:
        """Cancel what this replica has scheduled on its clock."""
        for call in (self._delivery, self._expiry):
            if call is not None:
                call.cancel()
        self._delivery = self._expiry = None

    @property
    def waiting_to_be_served(self) -> int:
        """How many wait for L{when_serving}."""
        return len(self._serving)

    # What a door sees, see IReplica

    @property
    def index(self) -> int:
        return self.keyspace.index

    @property
    def auth(self) -> AuthState:
        return self._auth.of(self.keyspace)

    @property
    def led_seconds(self) -> float:
        return float(self.clock.seconds() - self._led_since)

    def indexes(self) -> tuple[int, int, int]:
        """See L{IReplica}."""
        return self.index, self.raft_index, self.term

    def now(self) -> int:
        return int(self.clock.seconds() * 1e6)

    def when_serving(self) -> "Deferred[None]":
        return succeed(None) if self.serving else self._serving.wait()

    def when_led(self) -> "Deferred[None]":
        return succeed(None) if self.known_leader is not None else self._led.wait()

    def when_deposed(self) -> "Deferred[None]":
        return self._deposed.wait() if self.is_leader else succeed(None)

    def leader(self) -> Machine | None:
        return self.known_leader

    def machines(self) -> list[Machine]:
        return self._known_machines if self.standby else registered_machines(self.keyspace.root)

    def measurements(self) -> Measurements:
        return self.measured

    def statuses(self) -> dict[str, MachineStatus]:
        return self.known_statuses

    def health(self) -> Health:
        leader = "" if self.known_leader is None else self.known_leader.name
        return Health(self.known_statuses, frozenset(self.known_statuses), leader)

    def get(self, key: str) -> Node:
        return self.keyspace.get(key)

    def in_order_name(self, index: int) -> str:
        return self.keyspace.in_order_name(index)

    def confirm_reads(self) -> "Deferred[None]":
        return self._when_leading(lambda: succeed(None))

    def submit_read(self, recent: bool, on_confirmed: ConfirmationCallback) -> bool:
        confirmed = self.confirm_at_leader(recent)
        confirmed.addCallbacks(lambda _: on_confirmed(None), lambda failure: on_confirmed(failure.value))
        return True

    def confirm_recent(self) -> "Deferred[None]":
        return succeed(None) if self.is_leader and self.leased else self.confirm_reads()

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
        return self.keyspace.watch(key, recursive, stream, since, deliver, end, counted)

    def propose(self, command: Change) -> "Deferred[Event]":
        try:
            encoded(command)
        except EtcdError as error:
            return fail(error)
        self.proposed.append(command)
        for wanted, met in [each for each in self._expected if each[0] <= len(self.proposed)]:
            self._expected.remove((wanted, met))
            met.callback(None)
        return self._when_leading(lambda: self._apply(command))

    def submit(self, command: Change, on_outcome: OutcomeCallback, user: str | None = None) -> bool:
        if not self.is_leader or self.full:
            return False
        self.submitted_for.append(user)
        self.propose(command).addCallbacks(on_outcome, lambda failure: on_outcome(failure.value))
        return True

    def forward(self, command: Change, user: str | None = None) -> "Deferred[Event]":
        if self.is_leader:
            return self.propose(command)
        try:
            encoded(command)
        except EtcdError as error:
            return fail(error)
        return self._at_leader(lambda: self._note_forwarded(command, user))

    def _note_forwarded(self, command: Change, user: str | None) -> "Deferred[Event]":
        self.forwarded.append(command)
        self.forwarded_for.append(user)
        return self._apply(command)

    def confirm_at_leader(self, recent: bool) -> "Deferred[None]":
        if self.is_leader:
            return self.confirm_recent() if recent else self.confirm_reads()
        return self._at_leader(lambda: succeed(None))

    def ask_leader(self, question: bytes, user: str) -> "Deferred[bytes]":
        return self._at_leader(lambda: self.answers(question, user))

    def answer_questions(self, answer: AnswerQuestion | None) -> None:
        self.answer_question = answer

    def _at_leader(self, go_on: Callable[[], "Deferred[Any]"]) -> "Deferred[Any]":
        """Do what the leader would do for this machine: at once, or when it is released."""
        if self.unforwarded is not None:
            return fail(self.unforwarded)
        if self.is_leader or self.known_leader is None:
            return fail(RequestDroppedError("no other machine is known to lead"))
        return self._unless_held(go_on)

    def _when_leading(self, go_on: Callable[[], "Deferred[Any]"]) -> "Deferred[Any]":
        """Do what only a leader can: at once, or when it is released."""
        if not self.is_leader:
            return fail(RequestDroppedError("another machine leads"))
        return self._unless_held(go_on)

    def _unless_held(self, go_on: Callable[[], "Deferred[Any]"]) -> "Deferred[Any]":
        if not self.holding:
            return go_on()
        done: Deferred[Any] = Deferred()

        def carry_out() -> None:
            go_on().chainDeferred(done)

        self._held.append((carry_out, done))
        return done

    def statistics(self) -> StoreStatistics:
        return self.keyspace.statistics()

    def _apply(self, command: Change) -> "Deferred[Event]":
        self.raft_index += 1
        try:
            event = self.keyspace.apply(command)
        except EtcdError as error:
            return fail(error)
        self._expire_in_time()
        if event is None:
            raise RuntimeError(f"{command} is no change")
        return succeed(event)

    def _deliver_soon(self) -> None:
        if self._delivery is None:
            self._delivery = self.clock.callLater(0, self._deliver)

    def _deliver(self) -> None:
        self._delivery = None
        if self.keyspace.hub.deliver(128):
            self._deliver_soon()

    def _expire_in_time(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        due = self.keyspace.next_expiry()
        if due is not None:
            self._expiry = self.clock.callLater(max(0.0, (due - self.now()) / 1e6), self._expire)

    def _expire(self) -> None:
        self._expiry = None
        self.raft_index += 1
        self.keyspace.apply(Expire(self.now(), 1_000))
        self._expire_in_time()
