"""
Stand-ins for whole rooms: a replica that is a key space and nothing more.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from etcd_twisted.consensus.cluster_keys import CONFIG_KEY, forbidden_machines, stored_config
from etcd_twisted.consensus.proposals.proposer import encoded
from etcd_twisted.errors import ErrorCode, EtcdError, NotDoneError
from etcd_twisted.interfaces import IReplica, Told
from etcd_twisted.interfaces.cluster import Forbidden, Health, Machine, MachineStatus, fingerprinted, forbidden_key
from etcd_twisted.interfaces.cluster_config import ClusterConfig, written
from etcd_twisted.interfaces.statistics import Measurements, Traffic
from etcd_twisted.keyspace.commands import Change, Delete, Expire, Set
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.nodes import Node
from etcd_twisted.keyspace.space import KeySpace
from etcd_twisted.keyspace.statistics import StoreStatistics
from etcd_twisted.keyspace.watchers import Watcher
from etcd_twisted.waiters import Waiters
from tests.registered import registered_machines

CLUSTER_ID = "c" * 16
MACHINE = Machine("machine0", "http://127.0.0.1:4001", "http://127.0.0.1:7001")
OTHER = Machine("machine1", "http://127.0.0.1:4002", "http://127.0.0.1:7002")


@implementer(IReplica)
class FakeReplica:
    """
    A machine that is its own quorum and has no disk: what is proposed is applied at once, or when it is let go on.

    It leads; L{follow}, L{lead}, L{lose_leader} and L{stand_by} have it be something else.

    @ivar full: whether changes have to wait for room, and L{submit} takes none.
    @ivar holding: whether changes and confirmations wait for L{go_on} or L{fail_held}.
    @ivar leased: whether the leader holds a lease, so that L{confirm_recent} need not wait.
    @ivar proposed: every command, in order.
    @ivar removed: the names of the machines that were to be taken out, in order.
    @ivar moved: the ids of machines that others were to look for elsewhere, and where, in order.
    @ivar measured: what it says that it measures.
    @ivar known_statuses: what it says that it knows of each machine.
    """

    def __init__(self, clock: Any, history_capacity: int = 1_000) -> None:
        self.clock = clock
        self.name = MACHINE.name
        self.serving = True
        self.standby = False
        self.term = 1
        self.raft_index = 1
        self.is_leader = True
        self._led_since = clock.seconds()
        self.traffic = Traffic()
        self.measured = Measurements()
        self.known_statuses: dict[str, MachineStatus] = {}
        self.cluster_id = CLUSTER_ID
        self.peer: Any = None  # a subclass that the peer port is tested with has one
        self.known_leader: Machine | None = MACHINE
        self.holding = False
        self.full = False
        self.leased = True
        self.proposed: list[Change] = []
        self.removed: list[str] = []
        self.moved: list[tuple[str, str]] = []
        self.keyspace = KeySpace(history_capacity, self._deliver_soon)
        self._expected: list[tuple[int, Deferred[None]]] = []
        self._held: list[tuple[Callable[[], None], Deferred[Any]]] = []
        self._serving = Waiters()
        self._led = Waiters()
        self._deposed = Waiters()
        self._delivery: Any = None
        self._expiry: Any = None
        self.keyspace.apply(Set(MACHINE.key, self.now(), MACHINE.value))

    # Its place in the cluster

    def lead(self) -> None:
        """Lead."""
        self.is_leader = True
        self._is_led_by(MACHINE)

    def follow(self, leader: Machine = OTHER) -> None:
        """Follow a leader. What waits for this machine as a leader waits on, see L{fail_held}."""
        self.is_leader = False
        self._is_led_by(leader)

    def lose_leader(self) -> None:
        """Know of no leader, itself included."""
        self.is_leader = False
        self.known_leader = None
        self._deposed.fire()

    def stand_by(self, leader: Machine | None = OTHER) -> None:
        """Have no copy."""
        self.standby = True
        self.serving = False
        self.lose_leader()
        if leader is not None:
            self._is_led_by(leader)

    def _is_led_by(self, leader: Machine) -> None:
        self.known_leader = leader
        self._led_since = self.clock.seconds()
        self._led.fire()
        if not self.is_leader:
            self._deposed.fire()

    def register(self, *machines: Machine) -> None:
        """Have more machines in the cluster."""
        for machine in machines:
            self.keyspace.apply(Set(machine.key, self.now(), machine.value))

    def overhear(self, *commands: Change) -> None:
        """Apply what others have proposed, and tell those who wait for it."""
        for command in commands:
            self.keyspace.apply(command)
        self._deliver_soon()
        self._expire_in_time()

    @property
    def index(self) -> int:
        return self.keyspace.index

    @property
    def led_seconds(self) -> float:
        return float(self.clock.seconds() - self._led_since)

    def now(self) -> int:
        return int(self.clock.seconds() * 1e6)

    def when_serving(self) -> "Deferred[None]":
        return succeed(None) if self.serving else self._serving.wait()

    def begin_to_serve(self) -> None:
        self.serving = True
        self._serving.fire()

    def when_led(self) -> "Deferred[None]":
        return succeed(None) if self.known_leader is not None else self._led.wait()

    def stop_serving(self, error: Exception) -> None:
        """Have everyone who waits fail."""
        self.serving = False
        self._serving.fail(error)
        self._led.fail(error)
        self._deposed.fail(error)

    def when_deposed(self) -> "Deferred[None]":
        return self._deposed.wait() if self.is_leader else succeed(None)

    def leader(self) -> Machine | None:
        return self.known_leader

    def machines(self) -> list[Machine]:
        return registered_machines(self.keyspace.root)

    def members(self) -> dict[str, Machine]:
        return {f"{number:016x}": machine for number, machine in enumerate(self.machines(), 1)}

    def fingerprints(self) -> dict[str, Machine]:
        return fingerprinted(CLUSTER_ID, self.members())

    def measurements(self) -> Measurements:
        return self.measured

    def statuses(self) -> dict[str, MachineStatus]:
        return self.known_statuses

    def health(self) -> Health:
        leader = "" if self.known_leader is None else self.known_leader.name
        return Health(self.known_statuses, frozenset(self.known_statuses), leader)

    def get(self, key: str) -> Node:
        return self.keyspace.get(key)

    def confirm_reads(self) -> "Deferred[None]":
        return self._when_leading(lambda: succeed(None))

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
    ) -> Watcher:
        return self.keyspace.watch(key, recursive, stream, since, deliver, end)

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

    def submit(self, command: Change, told: Told) -> bool:
        if not self.is_leader or self.full:
            return False
        self.propose(command).addCallbacks(told, lambda failure: told(failure.value))
        return True

    def _when_leading(self, go_on: Callable[[], "Deferred[Any]"]) -> "Deferred[Any]":
        """Do what only a leader can; at once, or when it is let go on."""
        if not self.is_leader:
            return fail(NotDoneError("another machine leads"))
        if not self.holding:
            return go_on()
        done: Deferred[Any] = Deferred()
        self._held.append((lambda: go_on().chainDeferred(done), done))
        return done

    def when_proposed(self, count: int) -> "Deferred[None]":
        """Fires when so many commands were proposed in all."""
        if len(self.proposed) >= count:
            return succeed(None)
        met: Deferred[None] = Deferred()
        self._expected.append((count, met))
        return met

    def go_on(self) -> None:
        """Let everything held go on, in order."""
        self.holding = False
        self.go_on_once()

    def go_on_once(self) -> None:
        """Let what is held now go on; what comes then is held too."""
        held, self._held = self._held, []
        for go_on, _ in held:
            go_on()

    def fail_held(self, error: Exception) -> None:
        """Let everything held fail, in order."""
        self.holding = False
        held, self._held = self._held, []
        for _, done in held:
            done.errback(error)

    def cluster_config(self) -> ClusterConfig:
        return stored_config(self.keyspace.root) or ClusterConfig()

    def configure(self, config: ClusterConfig) -> "Deferred[None]":
        changed = self.propose(Set(CONFIG_KEY, self.now(), written(config)))
        return changed.addCallback(lambda _: None)

    def remove(self, name: str, forbidden_by: str | None = None) -> "Deferred[None]":
        if forbidden_by is not None:
            record = Forbidden(name, forbidden_by, self.now())
            self.keyspace.apply(Set(record.key, self.now(), record.value))
        return self._when_leading(lambda: self._take_out(name))

    def forbidden(self) -> list[Forbidden]:
        return forbidden_machines(self.keyspace.root)

    def allow(self, name: str) -> "Deferred[None]":
        return self.propose(Delete(forbidden_key(name), self.now())).addCallback(lambda _: None)

    def move(self, machine_id: str, peer_url: str) -> "Deferred[None]":
        return self._when_leading(lambda: self._move(machine_id, peer_url))

    def _move(self, machine_id: str, peer_url: str) -> "Deferred[None]":
        self.moved.append((machine_id, peer_url))
        before = self.members()[machine_id]
        after = Machine(before.name, before.client_url, peer_url)
        return self._apply(Set(after.key, self.now(), after.value)).addCallback(lambda _: None)

    def _take_out(self, name: str) -> "Deferred[None]":
        self.removed.append(name)
        for machine in self.machines():
            if machine.name == name:
                return self._apply(Delete(machine.key, self.now())).addCallback(lambda _: None)
        return fail(EtcdError(ErrorCode.KEY_NOT_FOUND, f"no machine {name} is in the cluster", self.index))

    def statistics(self) -> StoreStatistics:
        return self.keyspace.statistics()

    def _apply(self, command: Change) -> "Deferred[Event]":
        self.raft_index += 1
        try:
            event = self.keyspace.apply(command)
        except EtcdError as error:
            return fail(error)
        self._expire_in_time()
        assert event is not None
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

    def stop(self) -> None:
        """Leave nothing in the reactor."""
        for call in (self._delivery, self._expiry):
            if call is not None:
                call.cancel()
        self._delivery = self._expiry = None
