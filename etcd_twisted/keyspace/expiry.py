"""
TTLs: which key expires next, and which TTLs are void because their keys went with a directory.

This module must never know more than times and keys, nor keep void entries for long: to skip many of them at once
would hold the reactor. When a directory is removed, the keys below it stay in the schedule at first. So whoever reads
a key from the schedule looks it up in the tree before relying on it, and takes it out of the schedule when it is gone;
and the nodes of the directory are walked bit by bit for the TTLs that they had.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator

from etcd_twisted.keyspace.nodes import Directory, Node

_Entry = tuple[int, str]
"""When a TTL ends, and the key."""


class ExpirySchedule:
    """
    Keys in the order in which their TTLs end. Times are microseconds since the epoch.

    A sorted list in runs, so that a change moves about a bounded number of keys, however many there are.

    @ivar times: when the TTL of each key ends. For reading only.
    """

    _MAX_RUN_LENGTH = 1_024

    def __init__(self) -> None:
        self.times: dict[str, int] = {}
        # All entries in order, in runs. No run is empty, and _lasts holds the last entry of each, to find it by.
        self._runs: list[list[_Entry]] = []
        self._lasts: list[_Entry] = []

    def __len__(self) -> int:
        return len(self.times)

    def set(self, key: str, expires: int | None) -> None:
        """
        Replace the TTL of C{key}.

        @param expires: when it ends; C{None} for a key without a TTL.
        """
        known = self.times.get(key)
        if known == expires:
            return
        if known is not None:
            self._remove((known, key))
        if expires is None:
            del self.times[key]
        else:
            self.times[key] = expires
            self._add((expires, key))

    def _add(self, entry: _Entry) -> None:
        if not self._runs:
            self._runs.append([entry])
            self._lasts.append(entry)
            return
        position = min(bisect_left(self._lasts, entry), len(self._lasts) - 1)
        run = self._runs[position]
        insort(run, entry)
        self._lasts[position] = run[-1]
        if len(run) > self._MAX_RUN_LENGTH:
            half = len(run) // 2
            self._runs.insert(position, run[:half])
            self._lasts.insert(position, run[half - 1])
            del run[:half]

    def _remove(self, entry: _Entry) -> None:
        position = bisect_left(self._lasts, entry)
        run = self._runs[position]
        del run[bisect_left(run, entry)]
        if run:
            self._lasts[position] = run[-1]
        else:
            del self._runs[position], self._lasts[position]

    def first(self) -> tuple[int, str] | None:
        """
        Returns when the next key expires, and the key; of several keys that expire at once, the one that sorts first.
        Returns C{None} when no key has a TTL.
        """
        return self._runs[0][0] if self._runs else None

    def get(self, key: str) -> int | None:
        """Returns when the TTL of C{key} ends, or C{None} for a key without one."""
        return self.times.get(key)


class RemovedDirectories:
    """
    Directories that were removed from the tree, and the nodes below them that have not been walked yet. False when
    there are none.

    @ivar roots: the key and the remaining nodes of each removed directory; empty when all have been walked. For
        reading only.

    It must never walk many nodes at once: a directory may have held 100,000. It must never hold the whole key of each
    level either: a tree may be as deep as the longest key has characters.
    """

    def __init__(self) -> None:
        self.roots: deque[tuple[str, Iterator[tuple[str, Node]]]] = deque()
        # The name and the remaining nodes of each directory on the path down from the first of those.
        self._open: list[tuple[str, Iterator[tuple[str, Node]]]] = []

    def __bool__(self) -> bool:
        return bool(self.roots)

    def add(self, key: str, directory: Directory) -> None:
        """Walk this directory too, which was removed from the tree with everything below it."""
        self.roots.append((key, iter(directory.children.items())))

    def walk(self, max_steps: int) -> Iterator[tuple[str, int]]:
        """
        Walk on. Yields each key that had a TTL, and when it would have ended.

        @param max_steps: the most steps to take; each one enters a node or leaves a directory.
        """
        for _ in range(max_steps):
            if not self.roots:
                return
            name, node = next(self._open[-1][1] if self._open else self.roots[0][1], ("", None))
            if node is None:
                if self._open:
                    self._open.pop()
                else:
                    self.roots.popleft()
                continue
            if node.expires is not None:
                above = [self.roots[0][0], *(each for each, _ in self._open)]
                yield "/".join([*above, name]), node.expires
            if isinstance(node, Directory):
                self._open.append((name, iter(node.children.items())))
