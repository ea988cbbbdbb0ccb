"""
A machine's copy of the keys without the machine; its watchers are notified at once.
"""

from twisted.internet.task import Clock

from etcd_twisted.keyspace import Change
from etcd_twisted.testing import FakeReplica


class Copy(FakeReplica):
    """A replica on a clock of its own that remembers only two events."""

    def __init__(self) -> None:
        super().__init__(Clock(), history_capacity=2)

    def apply(self, *commands: Change) -> None:
        """Applies commands, and lets a turn of the reactor pass."""
        super().apply(*commands)
        self.turn()

    def turn(self) -> None:
        """Lets a turn of the reactor pass."""
        self.clock.advance(0)
