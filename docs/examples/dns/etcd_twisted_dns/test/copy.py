"""
A machine's copy of the keys without the machine: as much of an L{IReplica} as a frontend needs that only reads.
"""

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from etcd_twisted.keyspace import Change, Delete, ExpirySchedule, KeySpace, Node, Set, Watcher


class Copy:
    """
    A key space on a clock of its own. Who watches is told in the clock's next turn, as in a machine.

    @ivar clock: advanced by the test.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.serving = True
        self.keyspace = KeySpace(2, self._deliver_soon)
        self._waiting: list[Deferred[None]] = []

    # What a frontend sees, see IReplica

    @property
    def index(self) -> int:
        return self.keyspace.index

    def now(self) -> int:
        return int(self.clock.seconds() * 1e6)

    def get(self, key: str) -> Node:
        return self.keyspace.get(key)

    def when_serving(self) -> "Deferred[None]":
        if self.serving:
            return succeed(None)
        waiting: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        return waiting

    def watch(self, *arguments: Any) -> Watcher:
        return self.keyspace.watch(*arguments)

    # What happens to it

    def apply(self, command: Change) -> None:
        """Change something, and have it told."""
        self.keyspace.apply(command)
        self.turn()

    def put(self, key: str, value: str, ttl: int | None = None) -> None:
        """Set a key, with a TTL in seconds."""
        expires = None if ttl is None else self.now() + ttl * 1_000_000
        self.apply(Set(key, self.now(), value, expires=expires))

    def delete(self, key: str) -> None:
        """Delete a key and all below."""
        self.apply(Delete(key, self.now(), recursive=True))

    def turn(self) -> None:
        """Let a turn of the reactor pass."""
        self.clock.advance(0)

    def stand_by(self) -> None:
        """Have no copy any more."""
        self.serving = False
        hub = self.keyspace.hub
        self.keyspace = KeySpace(2, self._deliver_soon)
        hub.end_all()
        self._tell_waiting()

    def serve(self) -> None:
        """Have one."""
        self.serving = True
        self._tell_waiting()

    def receive_snapshot_of(self, other: "Copy") -> None:
        """Become what another copy is."""
        self.keyspace.restore(other.keyspace.content(), ExpirySchedule())

    def _tell_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)

    def _deliver_soon(self) -> None:
        self.clock.callLater(0, self.keyspace.hub.deliver, 1_000)
