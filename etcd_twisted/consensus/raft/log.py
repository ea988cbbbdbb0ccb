"""
The log in memory: its entries, how far they are durable, committed and applied, and the configurations among them.

It is the only owner of all of these. Entries go to the disk in order, one record after the other, and count as durable
once their record is. An entry that is replaced while its record is being written does not count (Raft paper, section
5.3). The log must never hand anything out twice, nor replace a committed entry; it decides nothing about terms or
other machines.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate, count, repeat

from etcd_twisted.consensus.raft.configurations import Configurations
from etcd_twisted.consensus.raft.entries import (
    Configuration,
    Entry,
    EntryKind,
    SnapshotMetadata,
    are_commands,
    data_of,
    term_of,
)
from etcd_twisted.consensus.raft.limits import DEFAULT_LIMITS, RaftLimits

_COMMAND = EntryKind.COMMAND  # once: to look up a member of an enumeration takes as long as two calls


class RaftLog:
    """
    The entries by index. Those before C{first_index} are no longer in memory, except for the term of the last of them.

    @ivar first_index: the index of the first entry in memory, or of the next one while there is none.
    @ivar last_index: the index of the last entry, durable or not; C{first_index - 1} while there is none.
    @ivar snapshot_index: the index up to which the newest snapshot covers the log. Entries up to there may still be in
        memory. It never decreases.
    @ivar commit_index: the index of the last entry that is known to be committed. It never decreases, and never
        exceeds C{last_index}.
    @ivar handed_out_index: the index up to which entries were handed out to be made durable.
    @ivar durable_index: the index up to which the log is on disk. It decreases only when entries are replaced.
    @ivar applying_index: the index up to which entries were handed to the state machine. It never exceeds
        C{commit_index} or C{durable_index}.
    @ivar configurations: the configurations in the log.
    """

    def __init__(
        self,
        snapshot_index: int = 0,
        snapshot_term: int = 0,
        configuration: Configuration = Configuration(()),  # noqa: B008  # it is frozen
    ) -> None:
        """
        @param configuration: the group as of the snapshot that this log continues from.
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
        """The term of the last entry, or of the snapshot when there is no entry."""
        return self._entries[-1].term if self._entries else self._snapshot_term

    def term(self, index: int) -> int:
        """
        Returns the term of the entry at C{index}, which may be the last one that the snapshot covers.

        @raise IndexError: the entry is not in memory.
        """
        if index == self.first_index - 1:
            return self._snapshot_term
        if self.first_index <= index <= self.last_index:
            return self._entries[index - self.first_index].term
        return self._at(index).term  # which says what is wrong

    def has(self, index: int, term: int) -> bool:
        """Returns whether the entry at C{index} is of C{term}. It may be the last one that the snapshot covers."""
        return self.first_index - 1 <= index <= self.last_index and self.term(index) == term

    def last_of_term(self, index: int, term: int) -> int:
        """
        Returns the last index, not above C{index}, whose entry has a term not above C{term}. There a log that has
        C{term} at C{index} may agree with this one. The result is never below C{first_index - 1}.
        """
        stop = max(min(index, self.last_index) - self.first_index + 1, 0)
        return self.first_index - 1 + bisect_right(self._entries, term, 0, stop, key=term_of)

    def _at(self, index: int) -> Entry:
        if not self.first_index <= index <= self.last_index:
            raise IndexError(f"entry {index} is not in the log, which has {self.first_index} to {self.last_index}")
        return self._entries[index - self.first_index]

    def between(self, start: int, stop: int) -> tuple[Entry, ...]:
        """Returns the entries from index C{start} up to, but not including, C{stop}, as far as they are in memory."""
        first = self.first_index
        return tuple(self._entries[max(start - first, 0) : max(stop - first, 0)])

    # Growing

    def extend(self, entries: Iterable[Entry]) -> None:
        """
        Add entries that are on disk already. An entry whose index is taken replaces the one there and all after it.

        @raise IndexError: there is a gap before an entry.
        """
        for entry in entries:
            if entry.index != self.last_index + 1:
                if entry.index < self.first_index:
                    self._truncate(self.first_index - 1)
                    continue  # the snapshot holds it
                self._at(entry.index)
                self._truncate(entry.index - 1)
            self._push((entry,))
        self.durable_index = self.handed_out_index = self.last_index

    def append(self, term: int, kind: EntryKind, data: bytes) -> int:
        """Add an entry after the last one. Returns its index."""
        self._push((Entry(self.last_index + 1, term, kind, data),))
        return self.last_index

    def append_commands(self, term: int, commands: Sequence[bytes]) -> int:
        """Add an entry for each command after the last one. Returns the index of the first of them."""
        first = self.last_index + 1
        self._entries += map(Entry, count(first), repeat(term), repeat(_COMMAND), commands)
        self.last_index += len(commands)
        return first

    def merge(self, entries: tuple[Entry, ...]) -> None:
        """
        Add those of a leader's entries that this log lacks. An entry that conflicts replaces the one here and all
        after it. Committed entries never conflict.
        """
        for position, entry in enumerate(entries):
            if entry.index > self.commit_index and not self.has(entry.index, entry.term):
                self._truncate(entry.index - 1)
                self._push(entries[position:])
                return

    def _push(self, entries: tuple[Entry, ...]) -> None:
        """Add entries that follow the last one."""
        self._entries += entries
        self.last_index = entries[-1].index
        if not are_commands(entries):
            self.configurations.adopt(entries)

    def _truncate(self, index: int) -> None:
        """Forget the entries after C{index}."""
        if index < self.last_index:
            del self._entries[index + 1 - self.first_index :]
            self.last_index = index
            self.handed_out_index = min(self.handed_out_index, index)
            self.durable_index = min(self.durable_index, index)
            self.configurations.replaced_after(index)

    # The disk

    def to_persist(self, most_bytes: int = DEFAULT_LIMITS.record_bytes) -> tuple[Entry, ...]:
        """
        Returns the next entries to make durable, which hold at most C{most_bytes} of data. A single one may hold more.
        """
        entries = fitting(tuple(self._entries[self.handed_out_index + 1 - self.first_index :]), most_bytes)
        self.handed_out_index += len(entries)
        return entries

    def persisted(self, entries: tuple[Entry, ...]) -> None:
        """Note that what L{to_persist} returned last is durable. Entries that were replaced meanwhile do not count."""
        if entries:
            self.durable_index = max(self.durable_index, min(entries[-1].index, self.handed_out_index))

    # The state machine

    def to_apply(self, most_entries: int) -> tuple[Entry, ...]:
        """Returns the next entries that are committed and durable, at most C{most_entries} of them."""
        start = self.applying_index + 1
        stop = min(self.commit_index + 1, self.durable_index + 1, start + most_entries)
        if stop <= start:
            return ()
        self.applying_index = stop - 1
        first = self.first_index
        return tuple(self._entries[start - first : stop - first])

    # Snapshots

    def compact(self, index: int, needed: int | None = None, limits: RaftLimits = DEFAULT_LIMITS) -> None:
        """
        Forget most of the entries up to C{index}, which are applied and covered by a durable snapshot.

        @param needed: the first entry that a machine needs to catch up; C{None} if no machine does.
        @param limits: how much of the log stays.
        """
        if index < self.first_index:
            return  # another machine's snapshot, which covers more, was installed meanwhile
        self.snapshot_index = index
        kept = self._before_last(index, limits.trailing_entries, limits.trailing_bytes)
        if needed is not None and needed <= kept:
            kept = max(needed - 1, self._before_last(index, limits.needed_entries, limits.needed_bytes))
        self._forget(kept)
        self.configurations.compacted(index)

    def _forget(self, index: int) -> None:
        """Forget the entries up to and including C{index}."""
        self._snapshot_term = self.term(index)
        del self._entries[: index + 1 - self.first_index]
        self.first_index = index + 1

    def _before_last(self, index: int, most: int, length: int) -> int:
        """
        Returns the index before the last C{most} entries up to C{index}, or before fewer of them if they would hold
        more than C{length} bytes of data.
        """
        total = 0
        for entry in reversed(self.between(index + 1 - most, index + 1)):
            total += len(entry.data)
            if total > length:
                return entry.index
        return max(index - most, self.first_index - 1)

    def install(self, snapshot: SnapshotMetadata) -> bool:
        """
        Continue from a durable snapshot that covers more than what is committed here, and that the state machine was
        restored from.

        @return: whether the log agrees with the snapshot, so that the entries after it stay.
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
        """Forget every entry. The next one follows a snapshot that covers the log up to C{index}."""
        self.configurations.replaced_after(self.applying_index)
        self._entries.clear()
        self._snapshot_term = term
        self.first_index = index + 1
        self.last_index = self.snapshot_index = self.durable_index = self.handed_out_index = index


def fitting(entries: tuple[Entry, ...], length: int) -> tuple[Entry, ...]:
    """
    Returns as many of the first entries as hold at most C{length} bytes of data, and at least one if there is one.
    """
    stop = bisect_right(list(accumulate(map(len, map(data_of, entries)))), length)
    return entries[: max(stop, 1)]
