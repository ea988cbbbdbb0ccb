"""
What a leader knows of the log of another machine (Raft paper, figure 2: nextIndex and matchIndex). The phases are
those of etcd's raft.

This module must never deal with terms, nor decide what is committed.
"""

import enum
from collections import deque

import attrs

from etcd_twisted.consensus.raft.limits import DEFAULT_LIMITS, RaftLimits


@enum.unique
class Phase(enum.Enum):
    """How a machine is sent the entries that it lacks."""

    PROBE = "probe"
    """The leader sends one question at a time, until it knows where the logs agree."""

    REPLICATE = "replicate"
    """The leader sends batch after batch without waiting for answers."""

    SNAPSHOT = "snapshot"
    """The leader sends a snapshot, and nothing else but heartbeats."""


@attrs.define
class Progress:
    """
    The progress of one machine.

    @ivar next: the index of the next entry to send. It is always above C{match}.
    @ivar limits: how much may be in flight to it.
    @ivar match: the index up to which the machine is known to have the leader's log on disk. It never decreases.
    @ivar heard: when the leader heard from it last, in seconds.
    @ivar round: the newest round of the leader that it has confirmed.
    @ivar commit: the commit index that it was sent last.
    @ivar asking: whether a probe is due, even if no heartbeat is.
    """

    next: int
    heard: float
    limits: RaftLimits = DEFAULT_LIMITS
    match: int = 0
    phase: Phase = Phase.PROBE
    round: int = 0
    commit: int = 0
    asking: bool = True
    _in_flight: deque[tuple[int, int]] = attrs.field(factory=deque)
    """The last index and the length in bytes of each batch in flight."""
    _bytes: int = 0
    _snapshot: int = 0

    @property
    def is_waiting(self) -> bool:
        """Whether entries are in flight that the machine has not acknowledged."""
        return bool(self._in_flight)

    @property
    def has_room(self) -> bool:
        """Whether another batch may be sent."""
        may_send = self.phase is Phase.REPLICATE and len(self._in_flight) < self.limits.in_flight_batches
        return may_send and self.room > 0

    @property
    def room(self) -> int:
        """How many more bytes may be sent."""
        return self.limits.in_flight_bytes - self._bytes

    def sent(self, last_index: int, length: int) -> None:
        """Note that a batch was sent."""
        self.next = last_index + 1
        self._in_flight.append((last_index, length))
        self._bytes += length

    def matched(self, index: int) -> None:
        """Note that the machine has the log up to C{index}."""
        while self._in_flight and self._in_flight[0][0] <= index:
            self._bytes -= self._in_flight.popleft()[1]
        if index > self.match:
            self.match = index
            self.next = max(self.next, index + 1)

    def probe(self, next_index: int) -> None:
        """Find out where the logs agree, beginning with the entry before C{next_index}."""
        self._turn_to(Phase.PROBE)
        self.next = max(self.match + 1, next_index)
        self.asking = True

    def replicate(self) -> None:
        """Send batch after batch: the logs are known to agree at C{next - 1}."""
        self._turn_to(Phase.REPLICATE)

    def await_snapshot(self, index: int) -> None:
        """Send only heartbeats while a snapshot is on its way that covers the log up to C{index}."""
        self._turn_to(Phase.SNAPSHOT)
        self._snapshot = index

    @property
    def needed(self) -> int:
        """The index of the first entry that the machine may still have to be sent."""
        return (max(self._snapshot, self.match) if self.phase is Phase.SNAPSHOT else self.match) + 1

    def _turn_to(self, phase: Phase) -> None:
        self.phase = phase
        self.asking = False
        self.commit = 0
        self._in_flight.clear()
        self._bytes = 0
