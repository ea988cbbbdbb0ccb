"""
What a leader knows of another machine's log (Raft paper, figure 2: nextIndex and matchIndex; the phases are those of
etcd's raft).

Must never know what a term is, nor decide what is committed.
"""

import enum
from collections import deque

import attrs

MOST_IN_FLIGHT = 256
"""How many batches may be on their way to one machine."""

MOST_BYTES_IN_FLIGHT = 4 << 20
"""How many bytes of commands may be on their way to one machine, unless one batch alone has more."""


@enum.unique
class Phase(enum.Enum):
    """How a machine is sent what it has not."""

    PROBE = "probe"
    """One question at a time, until it is known where its log agrees."""

    REPLICATE = "replicate"
    """Batch after batch, without waiting for answers."""

    SNAPSHOT = "snapshot"
    """A snapshot is on its way, and nothing else but heartbeats."""


@attrs.define
class Progress:
    """
    One machine's.

    @ivar next: the index of the entry that it is sent next.
    @ivar match: the index up to which it has the leader's log, durably.
    @ivar heard: when it was heard last.
    @ivar round: the newest of the leader's rounds that it has confirmed.
    @ivar commit: the commit index that it was told last.
    @ivar asking: whether a probe is due, heartbeat or not.
    """

    next: int
    heard: float
    match: int = 0
    phase: Phase = Phase.PROBE
    round: int = 0
    commit: int = 0
    asking: bool = True
    _in_flight: deque[tuple[int, int]] = attrs.field(factory=deque)
    """The last index and the bytes of each batch on its way."""
    _bytes: int = 0
    _snapshot: int = 0

    @property
    def is_waiting(self) -> bool:
        """Whether entries are on their way that it has not said to have."""
        return bool(self._in_flight)

    @property
    def has_room(self) -> bool:
        """Whether another batch may be sent."""
        return self.phase is Phase.REPLICATE and len(self._in_flight) < MOST_IN_FLIGHT and self.room > 0

    @property
    def room(self) -> int:
        """How many bytes more may be on their way."""
        return MOST_BYTES_IN_FLIGHT - self._bytes

    def sent(self, last_index: int, length: int) -> None:
        """A batch is on its way."""
        self.next = last_index + 1
        self._in_flight.append((last_index, length))
        self._bytes += length

    def matched(self, index: int) -> bool:
        """It has the log up to C{index}; whether that is news."""
        while self._in_flight and self._in_flight[0][0] <= index:
            self._bytes -= self._in_flight.popleft()[1]
        if index <= self.match:
            return False
        self.match = index
        self.next = max(self.next, index + 1)
        return True

    def probe(self, next_index: int) -> None:
        """Find out where its log agrees, from before C{next_index} on."""
        self._turn_to(Phase.PROBE)
        self.next = max(self.match + 1, next_index)
        self.asking = True

    def replicate(self) -> None:
        """It is known where its log agrees: at C{next - 1}."""
        self._turn_to(Phase.REPLICATE)

    def await_snapshot(self, index: int) -> None:
        """A snapshot is being sent that stands for the log up to C{index}."""
        self._turn_to(Phase.SNAPSHOT)
        self._snapshot = index

    @property
    def needed(self) -> int:
        """The first entry that it may yet have to be sent."""
        return (max(self._snapshot, self.match) if self.phase is Phase.SNAPSHOT else self.match) + 1

    def _turn_to(self, phase: Phase) -> None:
        self.phase = phase
        self.asking = False
        self.commit = 0
        self._in_flight.clear()
        self._bytes = 0
