"""
Stand-ins for whole rooms: a replica that is a key space and nothing more.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from etcd_twisted.errors import EtcdError
from etcd_twisted.interfaces import IReplica
from etcd_twisted.keyspace.commands import Change, Expire, Set
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.nodes import Node
from etcd_twisted.keyspace.space import KeySpace
from etcd_twisted.keyspace.statistics import StoreStatistics
from etcd_twisted.keyspace.watchers import Watcher
from etcd_twisted.machines import Machine, registered_machines

MACHINE = Machine("machine0", "http://127.0.0.1:4001", "http://127.0.0.1:7001")
OTHER = Machine("machine1", "http://127.0.0.1:4002", "http://127.0.0.1:7002")


@implementer(IReplica)
class FakeReplica:
    """
    A machine that is its own quorum and has no disk: what is proposed is applied at once, or when it is let go on.

    @ivar holding: whether changes and confirmations wait for L{go_on}.
    @ivar proposed: every command, in order.
    """

    def __init__(self, clock: Any, history_capacity: int = 1_000) -> None:
        self.clock = clock
        self.name = MACHINE.name
        self.serving = True
        self.term = 1
        self.raft_index = 1
        self.is_leader = True
        self.led_since = self.now()
        self.known_leader: Machine | None = MACHINE
        self.holding = False
        self.proposed: list[Change] = []
        self.keyspace = KeySpace(history_capacity, self._deliver_soon)
        self._expected: list[tuple[int, Deferred[None]]] = []
        self._held: list[Callable[[], None]] = []
        self._waiting: list[Deferred[None]] = []
        self._delivery: Any = None
        self._expiry: Any = None
        self.keyspace.apply(Set(MACHINE.key, self.now(), MACHINE.value))

    @property
    def index(self) -> int:
        return self.keyspace.index

    def now(self) -> int:
        return int(self.clock.seconds() * 1e6)

    def when_serving(self) -> "Deferred[None]":
        if self.serving:
            return succeed(None)
        waiting: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        return waiting

    def begin_to_serve(self) -> None:
        self.serving = True
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)

    def leader(self) -> Machine | None:
        return self.known_leader

    def machines(self) -> list[Machine]:
        return registered_machines(self.keyspace.root)

    def get(self, key: str) -> Node:
        return self.keyspace.get(key)

    def confirm_reads(self) -> "Deferred[None]":
        if not self.holding:
            return succeed(None)
        confirmed: Deferred[None] = Deferred()
        self._held.append(lambda: confirmed.callback(None))
        return confirmed

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
        self.proposed.append(command)
        for wanted, met in [each for each in self._expected if each[0] <= len(self.proposed)]:
            self._expected.remove((wanted, met))
            met.callback(None)
        if not self.holding:
            return self._apply(command)
        changed: Deferred[Event] = Deferred()
        self._held.append(lambda: self._apply(command).chainDeferred(changed))
        return changed

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
        held, self._held = self._held, []
        for each in held:
            each()

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
