"""
The log in memory: its entries, how far it is durable, committed and applied, and the configurations in it.

The one owner of all of these. Entries go to the disk in order, one record after the other, and count as durable when
that record is. Those that are replaced while their record is under way do not (Raft paper, section 5.3). Must never
hand anything out twice, nor replace an entry that is committed; it decides nothing about terms or other machines.
"""

from bisect import bisect_right
from collections.abc import Iterable
from operator import attrgetter

from etcd_twisted.consensus.raft.configurations import Configurations
from etcd_twisted.consensus.raft.entries import Configuration, Entry, EntryKind, SnapshotMetadata

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

_term_of = attrgetter("term")


class RaftLog:
    """
    Entries by index. Those before C{first_index} are not there any more, but for the last one's term.

    @ivar first_index: of the first entry that is there, or would be.
    @ivar last_index: of the last entry, durable or not; the one before C{first_index} when there is none.
    @ivar snapshot_index: up to which index the newest snapshot stands for the log; entries up to there may be there
        still. It never goes back.
    @ivar commit_index: of the last entry that is known to be committed. It never goes back, and is never beyond
        C{last_index}.
    @ivar handed_out_index: up to which index entries were handed out to be made durable.
    @ivar durable_index: up to which index the log is on disk. It goes back only when entries are replaced.
    @ivar applying_index: up to which index entries were handed to the state machine; never beyond what is both
        committed and durable.
    @ivar configurations: those in the log.
    """

    def __init__(
        self,
        snapshot_index: int = 0,
        snapshot_term: int = 0,
        configuration: Configuration = Configuration(()),  # noqa: B008  # it is frozen
    ) -> None:
        """
        @param configuration: the group as of the snapshot that the log follows.
        """
        self._snapshot_term = snapshot_term
        self._entries: list[Entry] = []
        self.first_index = snapshot_index + 1
        self.last_index = self.snapshot_index = self.commit_index = self.durable_index = snapshot_index
        self.applying_index = snapshot_index
        self.handed_out_index = snapshot_index
        self.configurations = Configurations(snapshot_index, configuration)

    # Looking

    @property
    def last_term(self) -> int:
        """The term of the last entry, the snapshot's when there is none."""
        return self._entries[-1].term if self._entries else self._snapshot_term

    def term(self, index: int) -> int:
        """
        Returns the term of the entry at C{index}; the snapshot's last entry counts.

        @raise IndexError: it is not there.
        """
        if index == self.first_index - 1:
            return self._snapshot_term
        return self._at(index).term

    def has(self, index: int, term: int) -> bool:
        """Returns whether the entry at C{index} is there and of that term; the snapshot's last entry counts."""
        return self.first_index - 1 <= index <= self.last_index and self.term(index) == term

    def last_of_term(self, index: int, term: int) -> int:
        """
        Returns the last index, not above C{index}, whose entry's term is not above C{term}: where another log that
        has C{term} at C{index} may agree with this one. At the least it is the last index that is not there any more.
        """
        stop = max(min(index, self.last_index) - self.first_index + 1, 0)
        return self.first_index - 1 + bisect_right(self._entries, term, 0, stop, key=_term_of)

    def _at(self, index: int) -> Entry:
        if not self.first_index <= index <= self.last_index:
            raise IndexError(f"entry {index} is not in the log, which has {self.first_index} to {self.last_index}")
        return self._entries[index - self.first_index]

    def between(self, start: int, stop: int) -> tuple[Entry, ...]:
        """Returns the entries from index C{start} up to, but not with, C{stop}, as far as they are there."""
        first = self.first_index
        return tuple(self._entries[max(start - first, 0) : max(stop - first, 0)])

    # Growing

    def extend(self, entries: Iterable[Entry]) -> None:
        """
        Add entries that are on disk already. One that is there already is replaced, and what follows it dropped.

        @raise IndexError: there is a gap before an entry.
        """
        for entry in entries:
            if entry.index != self.last_index + 1:
                if entry.index < self.first_index:
                    self._truncate(self.first_index - 1)
                    continue  # the snapshot holds it
                self._at(entry.index)
                self._truncate(entry.index - 1)
            self._push(entry)
        self.durable_index = self.handed_out_index = self.last_index

    def append(self, term: int, kind: EntryKind, data: bytes) -> int:
        """Add an entry behind the last one; returns its index."""
        index = self.last_index = self.last_index + 1
        entry = Entry(index, term, kind, data)
        self._entries.append(entry)
        if kind is EntryKind.CONFIGURATION:
            self.configurations.adopt((entry,))
        return index

    def merge(self, entries: tuple[Entry, ...]) -> None:
        """
        Add those of a leader's entries that are not there; one that contradicts replaces what is there, and all
        behind it. What is committed is the same everywhere.
        """
        for position, entry in enumerate(entries):
            if entry.index > self.commit_index and not self.has(entry.index, entry.term):
                self._truncate(entry.index - 1)
                for each in entries[position:]:
                    self._push(each)
                return

    def _push(self, entry: Entry) -> None:
        """Add the entry that follows the last one."""
        self._entries.append(entry)
        self.last_index = entry.index
        if entry.kind is EntryKind.CONFIGURATION:
            self.configurations.adopt((entry,))

    def _truncate(self, index: int) -> None:
        """Forget the entries behind C{index}."""
        if index < self.last_index:
            del self._entries[index + 1 - self.first_index :]
            self.last_index = index
            self.handed_out_index = min(self.handed_out_index, index)
            self.durable_index = min(self.durable_index, index)
            self.configurations.replaced_after(index)

    # The disk

    def to_persist(self) -> tuple[Entry, ...]:
        """Returns the next entries that are to be made durable."""
        entries = tuple(self._entries[self.handed_out_index + 1 - self.first_index :])
        if len(entries) > 1:
            entries = fitting(entries, RECORD_BYTES)
        self.handed_out_index += len(entries)
        return entries

    def persisted(self, entries: tuple[Entry, ...]) -> None:
        """What L{to_persist} returned last is durable; what of it was replaced meanwhile does not count."""
        if entries:
            self.durable_index = max(self.durable_index, min(entries[-1].index, self.handed_out_index))

    # The state machine

    def to_apply(self, most: int) -> tuple[Entry, ...]:
        """Returns the next of the entries that are committed and durable, C{most} at the most."""
        start = self.applying_index + 1
        stop = min(self.commit_index + 1, self.durable_index + 1, start + most)
        if stop <= start:
            return ()
        self.applying_index = stop - 1
        first = self.first_index
        return tuple(self._entries[start - first : stop - first])

    # Snapshots

    def compact(self, index: int, needed: int | None = None) -> None:
        """
        Forget most of the entries up to C{index}, which were applied: a durable snapshot stands for them.

        @param needed: the first entry that a machine needs which is about to catch up; C{None} for none.
        """
        if index < self.first_index:
            return  # another machine's snapshot, which goes further, came in between
        self.snapshot_index = index
        kept = self._before_last(index, TRAILING_ENTRIES, TRAILING_BYTES)
        if needed is not None and needed <= kept:
            kept = max(needed - 1, self._before_last(index, NEEDED_ENTRIES, NEEDED_BYTES))
        self._forget(kept)
        self.configurations.compacted(index)

    def _forget(self, index: int) -> None:
        """Forget the entries up to and with C{index}."""
        self._snapshot_term = self.term(index)
        del self._entries[: index + 1 - self.first_index]
        self.first_index = index + 1

    def _before_last(self, index: int, most: int, length: int) -> int:
        """
        Returns the index before the last C{most} entries up to C{index}, or fewer with no more than C{length} bytes
        of data.
        """
        total = 0
        for entry in reversed(self.between(index + 1 - most, index + 1)):
            total += len(entry.data)
            if total > length:
                return entry.index
        return max(index - most, self.first_index - 1)

    def install(self, snapshot: SnapshotMetadata) -> bool:
        """
        Go on from a durable snapshot, which goes further than what is committed here and has become the state machine.

        @return: whether the log agrees with it, and the part behind it stays.
        """
        agrees = self.has(snapshot.index, snapshot.term)
        if agrees:
            self.snapshot_index = snapshot.index
            self.handed_out_index = max(self.handed_out_index, snapshot.index)
            self.durable_index = max(self.durable_index, snapshot.index)
        else:
            self.begin_after(snapshot.index, snapshot.term)
        self.configurations.installed(snapshot.index, snapshot.configuration)
        self.commit_index = self.applying_index = snapshot.index
        return agrees

    def begin_after(self, index: int, term: int) -> None:
        """Forget every entry; the next one follows a snapshot that ends at C{index}."""
        self.configurations.replaced_after(self.applying_index)
        self._entries.clear()
        self._snapshot_term = term
        self.first_index = index + 1
        self.last_index = self.snapshot_index = self.durable_index = self.handed_out_index = index


def fitting(entries: tuple[Entry, ...], length: int) -> tuple[Entry, ...]:
    """
    Returns as many of the first entries as have no more than C{length} bytes of data; at least one, if there is one.
    """
    total = 0
    for count, entry in enumerate(entries):
        total += len(entry.data)
        if total > length and count:
            return entries[:count]
    return entries
