"""
Proposes to remove keys when they expire.

Only the leader does so (spec, section 1, "TTL"). It must never propose anything when nothing has expired.
"""

import contextlib

from twisted.internet.interfaces import IDelayedCall

from etcd_twisted.consensus.clocks.cluster_time import Clocks
from etcd_twisted.consensus.node import Node
from etcd_twisted.consensus.raft.errors import NotLeaderError
from etcd_twisted.consensus.state_machine import StateMachine
from etcd_twisted.keyspace.commands import Expire, encode_command

_KEYS_A_COMMAND = 1_000
_LONGEST_TIMER_SECONDS = 1.0
"""How long the timer runs at most: the cluster time may have been adjusted meanwhile."""


class Expirer:
    """
    Waits for the key that expires next.

    @ivar timer: the call at that time; C{None} while no key has a TTL.
    """

    def __init__(self, clocks: Clocks, node: Node, state_machine: StateMachine) -> None:
        self._clock = clocks.monotonic
        self._now = clocks.cluster.now
        self._node = node
        self._state_machine = state_machine
        self.timer: IDelayedCall | None = None
        self._proposed = 0
        """The index of the command that was proposed last. It may not be applied yet."""

    def schedule(self) -> None:
        """Wait for the key that expires next, as the key space may have changed."""
        if self._proposed > self._state_machine.applied_index:
            return
        expires = self._state_machine.keyspace.next_expiry()
        if expires is None:
            if self.timer is not None:
                self._cancel()
            return
        delay = min(max(0, expires - self._now()) / 1e6, _LONGEST_TIMER_SECONDS)
        if self.timer is None:
            self.timer = self._clock.callLater(delay, self._expire)
        elif self.timer.getTime() - self._clock.seconds() > delay:
            self.timer.reset(delay)

    def _expire(self) -> None:
        self.timer = None
        now = self._now()
        expires = self._state_machine.keyspace.next_expiry()
        if expires is None or expires > now:
            self.schedule()
            return
        with contextlib.suppress(NotLeaderError):  # the next leader proposes it
            self._proposed = self._node.propose(encode_command(Expire(now, _KEYS_A_COMMAND)))
            self._node.proposed()

    def stop(self) -> None:
        """Wait no more, not even for the last proposal, which may be lost."""
        self._proposed = 0
        self._cancel()

    def _cancel(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
