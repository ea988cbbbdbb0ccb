"""
The log in memory: the entries behind the last snapshot, and some before it for machines that are a little behind.

Knows nothing of terms' meaning, of disks or of other machines.
"""

from bisect import bisect_right
from collections.abc import Iterable
from operator import attrgetter

from etcd_twisted.consensus.raft.entries import Entry

_term_of = attrgetter("term")


class RaftLog:
    """
    Entries by index. Those before C{first_index} are not there any more, but for the last one's term.

    @ivar first_index: of the first entry that is there, or would be.
    @ivar covered: up to which index the newest snapshot stands for the log; entries up to there may be there still.
    """

    def __init__(self, snapshot_index: int = 0, snapshot_term: int = 0) -> None:
        self._snapshot_term = snapshot_term
        self.first_index = snapshot_index + 1
        self.covered = snapshot_index
        self._entries: list[Entry] = []

    @property
    def last_index(self) -> int:
        """The index of the last entry, the snapshot's when there is none."""
        return self.first_index + len(self._entries) - 1

    @property
    def last_term(self) -> int:
        """The term of the last entry, the snapshot's when there is none."""
        return self._entries[-1].term if self._entries else self._snapshot_term

    def term(self, index: int) -> int:
        """
        The term of the entry at C{index}; the snapshot's last entry counts.

        @raise IndexError: it is not there.
        """
        if index == self.first_index - 1:
            return self._snapshot_term
        return self._at(index).term

    def has(self, index: int, term: int) -> bool:
        """Whether the entry at C{index} is there and of that term; the snapshot's last entry counts."""
        return self.first_index - 1 <= index <= self.last_index and self.term(index) == term

    def last_of_term(self, index: int, term: int) -> int:
        """
        The last index, not above C{index}, whose entry's term is not above C{term}: where another log that has
        C{term} at C{index} may agree with this one. At the least the last index that is not there any more.
        """
        stop = max(min(index, self.last_index) - self.first_index + 1, 0)
        return self.first_index - 1 + bisect_right(self._entries, term, 0, stop, key=_term_of)

    def _at(self, index: int) -> Entry:
        if not self.first_index <= index <= self.last_index:
            raise IndexError(f"entry {index} is not in the log, which has {self.first_index} to {self.last_index}")
        return self._entries[index - self.first_index]

    def append(self, entry: Entry) -> None:
        """Add the entry that follows the last one."""
        self._entries.append(entry)

    def extend(self, entries: Iterable[Entry]) -> None:
        """
        Add entries. One that is there already is replaced, and what follows it dropped (Raft paper, section 5.3).

        @raise IndexError: there is a gap before an entry.
        """
        for entry in entries:
            if entry.index != self.last_index + 1:
                if entry.index < self.first_index:
                    self._entries.clear()
                    continue  # the snapshot holds it
                self._at(entry.index)
                del self._entries[entry.index - self.first_index :]
            self._entries.append(entry)

    def between(self, start: int, stop: int) -> tuple[Entry, ...]:
        """The entries from index C{start} up to, but not with, C{stop}, as far as they are there."""
        first = self.first_index
        return tuple(self._entries[max(start - first, 0) : max(stop - first, 0)])

    def compact(self, index: int) -> None:
        """Forget the entries up to and with C{index}, which a snapshot holds."""
        self._snapshot_term = self.term(index)
        del self._entries[: index + 1 - self.first_index]
        self.first_index = index + 1

    def begin_after(self, index: int, term: int) -> None:
        """Forget every entry; the next one follows a snapshot that ends at C{index}."""
        self._entries.clear()
        self._snapshot_term = term
        self.first_index = index + 1
        self.covered = index


def fitting(entries: tuple[Entry, ...], length: int) -> tuple[Entry, ...]:
    """As many of the first entries as have no more than C{length} bytes of data; at least one, if there is one."""
    total = 0
    for count, entry in enumerate(entries):
        total += len(entry.data)
        if total > length and count:
            return entries[:count]
    return entries
