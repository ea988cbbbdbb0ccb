"""
The queue of a lock, as the key space holds it (api, "Lock Module"; spec, section 2).

Each entry in the queue is a file below C{/_etcd/mod/lock/KEY}, named by the index at which it was created. The entry
with the lowest index holds the lock. Any other node there is not an entry. This module must never change the key
space, nor know who waits.
"""

import bisect
from collections.abc import Iterator

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.interfaces import IReplica
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.nodes import Directory, File
from etcd_twisted.keyspace.paths import ROOT, clean, join, parent
from etcd_twisted.web.forms import unsigned

PREFIX = "/_etcd/mod/lock"
"""The key of the directory of all locks."""


def lock_directory(name: str) -> str | None:
    """
    Returns the key of the directory that holds the queue of a lock, or C{None} if no lock can have this name.

    @param name: decoded, but not clean.
    """
    key = clean(name)
    return PREFIX + key if key != ROOT else None


def lock_name(directory: str) -> str:
    """Returns the name of the lock whose queue is in C{directory}, as people are shown it."""
    return directory.removeprefix(PREFIX)


def entry_key(replica: IReplica, directory: str, index: int) -> str:
    """Returns the key of an entry."""
    return join(directory, replica.in_order_name(index))


def entry_index(replica: IReplica, name: str) -> int | None:
    """Returns the index of the entry whose key ends with C{name}, or C{None} if no entry has such a name."""
    index = unsigned(name)
    return index if index is not None and replica.in_order_name(index) == name else None


def entry_value(replica: IReplica, directory: str, index: int) -> str | None:
    """Returns the value of an entry in this machine's copy, or C{None} if there is no such entry."""
    try:
        node = replica.get(entry_key(replica, directory, index))
    except EtcdError as error:
        if error.code not in (ErrorCode.KEY_NOT_FOUND, ErrorCode.NOT_A_DIRECTORY):
            raise
        return None
    return node.value if isinstance(node, File) else None


class LockQueue:
    """The entries of one lock's queue, in order. Iterating it yields their indexes."""

    def __init__(self, replica: IReplica) -> None:
        """
        @param replica: knows how entries are named.
        """
        self._replica = replica
        self._indexes: list[int] = []  # sorted
        self._values: dict[int, str] = {}
        self._by_value: dict[str, list[int]] = {}

    def __contains__(self, index: object) -> bool:
        return index in self._values

    def __iter__(self) -> Iterator[int]:
        return iter(self._indexes)

    @property
    def first(self) -> int | None:
        """The index of the entry that holds the lock; C{None} while the queue is empty."""
        return self._indexes[0] if self._indexes else None

    def with_value(self, value: str) -> list[int]:
        """Returns the indexes of all entries that have this value, which must not be empty, in order."""
        return sorted(self._by_value.get(value, ()))

    def add(self, index: int, value: str) -> None:
        """Add an entry, or change the value of one that is there."""
        self.remove(index)
        bisect.insort(self._indexes, index)
        self._values[index] = value
        if value:
            self._by_value.setdefault(value, []).append(index)

    def remove(self, index: int) -> None:
        """Remove an entry, if it is there."""
        value = self._values.pop(index, None)
        if value is None:
            return
        del self._indexes[bisect.bisect_left(self._indexes, index)]
        if value:
            same = self._by_value[value]
            same.remove(index)
            if not same:
                del self._by_value[value]

    def apply(self, directory: str, event: Event) -> list[int]:
        """
        Follow an event on C{directory}, below it, or on a directory that holds it.

        @return: the indexes of the entries that were removed.
        """
        key = event.node.key
        if key != directory and parent(key) == directory:
            index = entry_index(self._replica, key.rpartition("/")[2])
            if index is None:
                return []
            if event.node.value is not None:
                self.add(index, event.node.value)
                return []
            removed = [index] if index in self else []
        elif event.removed_directory and not key.startswith(f"{directory}/"):
            removed = list(self)
        else:
            return []
        for each in removed:
            self.remove(each)
        return removed


def read_queue(replica: IReplica, directory: str) -> LockQueue | None:
    """Returns the queue in this machine's copy, or C{None} if nobody has ever asked for this lock."""
    try:
        node = replica.get(directory)
    except EtcdError as error:
        if error.code not in (ErrorCode.KEY_NOT_FOUND, ErrorCode.NOT_A_DIRECTORY):
            raise
        return None
    if not isinstance(node, Directory):
        return None
    queue = LockQueue(replica)
    for name, child in node.children.items():
        index = entry_index(replica, name)
        if index is not None and isinstance(child, File):
            queue.add(index, child.value)
    return queue
