"""
Keeps this machine's log: how far it is on disk, how far the state machine has it, and the configurations in it.

Entries go to the disk in order, one record after the other, and count as durable when that record is. Those that are
replaced while their record is under way do not (Raft paper, section 5.3). Must never hand anything out twice, nor give
up an entry that is committed.
"""

from etcd_twisted.consensus.raft.configurations import Configurations
from etcd_twisted.consensus.raft.entries import Entry, EntryKind, SnapshotMetadata
from etcd_twisted.consensus.raft.log import RaftLog, fitting

RECORD_BYTES = 64 << 20
"""How many bytes of commands go into one record, unless one alone has more: it must fit into a frame of the log."""

TRAILING_ENTRIES = 5_000
"""How many entries that a snapshot stands for are kept all the same, for machines that are a little behind."""

TRAILING_BYTES = 16 << 20
"""The most that these may have of data."""

NEEDED_ENTRIES = 100_000
"""
How many are kept for a machine that is catching up: it would have to begin anew, and might never be done, if what
follows the snapshot that it gets were gone each time.
"""

NEEDED_BYTES = 64 << 20
"""The most that these may have of data."""


class LogKeeper:
    """
    See the module.

    @ivar configurations: those in the log.
    @ivar durable: up to which index the log is on disk.
    @ivar taken: up to which index the state machine has what is committed.
    """

    def __init__(self, snapshot: SnapshotMetadata, log: RaftLog) -> None:
        """
        @param snapshot: what the log follows.
        @param log: as it was last made durable; only to be changed through this.
        """
        self.configurations = Configurations(snapshot.index, snapshot.configuration)
        self.configurations.adopt(log.between(log.first_index, log.last_index + 1))
        self.durable = log.last_index
        self.taken = snapshot.index
        self._handed_out = log.last_index
        self._log = log

    # Growing

    def add(self, term: int, kind: EntryKind, data: bytes) -> int:
        """Add an entry behind the last one; returns its index."""
        entry = Entry(self._log.last_index + 1, term, kind, data)
        self._log.append(entry)
        if kind is EntryKind.CONFIGURATION:
            self.configurations.adopt((entry,))
        return entry.index

    def merge(self, entries: tuple[Entry, ...], commit: int) -> None:
        """
        Add those of a leader's entries that are not there; one that contradicts replaces what is there, and all
        behind it.

        @param commit: the commit index; what is up to there is the same everywhere.
        """
        for position, entry in enumerate(entries):
            if entry.index > commit and not self._log.has(entry.index, entry.term):
                self._replaced_after(entry.index - 1)
                self._log.extend(entries[position:])
                self.configurations.adopt(entries[position:])
                return

    def _replaced_after(self, index: int) -> None:
        self._handed_out = min(self._handed_out, index)
        self.durable = min(self.durable, index)
        self.configurations.replaced_after(index)

    # The disk

    @property
    def is_handed_out(self) -> bool:
        """Whether L{to_persist} has nothing."""
        return self._handed_out == self._log.last_index

    def to_persist(self) -> tuple[Entry, ...]:
        """The next entries that are to be made durable."""
        entries = fitting(self._log.between(self._handed_out + 1, self._log.last_index + 1), RECORD_BYTES)
        self._handed_out += len(entries)
        return entries

    def persisted(self, entries: tuple[Entry, ...]) -> None:
        """What L{to_persist} gave last is durable; what of it was replaced meanwhile does not count."""
        if entries:
            self.durable = max(self.durable, min(entries[-1].index, self._handed_out))

    # The state machine

    def to_apply(self, commit: int, most: int) -> tuple[Entry, ...]:
        """The next of the entries up to C{commit}, C{most} at the most, that are durable."""
        stop = min(commit, self.durable, self.taken + most)
        if stop <= self.taken:
            return ()
        entries = self._log.between(self.taken + 1, stop + 1)
        self.taken = stop
        return entries

    # Snapshots

    def compacted(self, index: int, needed: int | None) -> None:
        """
        A durable snapshot stands for the log up to C{index}, which was applied.

        @param needed: the first entry that a machine needs which is about to catch up; C{None} for none.
        """
        if index < self._log.first_index:
            return  # another machine's, which goes further, came in between
        self._log.covered = index
        kept = self._before_last(index, TRAILING_ENTRIES, TRAILING_BYTES)
        if needed is not None and needed <= kept:
            kept = max(needed - 1, self._before_last(index, NEEDED_ENTRIES, NEEDED_BYTES))
        self._log.compact(kept)
        self.configurations.compacted(index)

    def _before_last(self, index: int, most: int, length: int) -> int:
        """The index before the last C{most} entries up to C{index}, or fewer with no more than C{length} of data."""
        total = 0
        for entry in reversed(self._log.between(index + 1 - most, index + 1)):
            total += len(entry.data)
            if total > length:
                return entry.index
        return max(index - most, self._log.first_index - 1)

    def installed(self, snapshot: SnapshotMetadata) -> bool:
        """
        A durable snapshot, which goes further than what is committed here, was put in the place of the state machine.

        @return: whether the log agrees with it, and the part behind it stays.
        """
        agrees = self._log.has(snapshot.index, snapshot.term)
        if agrees:
            self._log.covered = snapshot.index
            self._handed_out = max(self._handed_out, snapshot.index)
            self.durable = max(self.durable, snapshot.index)
        else:
            self._replaced_after(self.taken)
            self._log.begin_after(snapshot.index, snapshot.term)
            self._handed_out = self.durable = snapshot.index
        self.configurations.installed(snapshot.index, snapshot.configuration)
        self.taken = snapshot.index
        return agrees
