"""
The line before a lock, as the key space holds it (api, "Lock Module"; spec, section 2).

Each place in line is a file below C{/_etcd/mod/lock/KEY}, named by the index it was made at: the lowest has the lock.
Whatever else is there is nobody's place. Must never change the key space, nor know who waits.
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
"""The directory of all locks."""


def directory_of(name: str) -> str | None:
    """
    The key of the directory that a lock's line is in; C{None} if this is no name of a lock.

    @param name: decoded, but not clean.
    """
    key = clean(name)
    return PREFIX + key if key != ROOT else None


def name_of(directory: str) -> str:
    """What the lock is called whose line is there, for people."""
    return directory.removeprefix(PREFIX)


def place_key(directory: str, index: int) -> str:
    """The key of a place."""
    return join(directory, str(index))


def index_named(name: str) -> int | None:
    """The index of the place that is called that, C{None} for what is no name of a place."""
    index = unsigned(name)
    return index if index is not None and str(index) == name else None


def value_at(replica: IReplica, directory: str, index: int) -> str | None:
    """The value of a place on this machine's copy; C{None} if there is no such place."""
    try:
        node = replica.get(place_key(directory, index))
    except EtcdError as error:
        if error.code not in (ErrorCode.KEY_NOT_FOUND, ErrorCode.NOT_A_DIRECTORY):
            raise
        return None
    return node.value if isinstance(node, File) else None


class Line:
    """
    The places in line, the first one first.

    @ivar first: the index of the first one, C{None} for an empty line.
    """

    def __init__(self) -> None:
        self._indexes: list[int] = []
        self._values: dict[int, str] = {}
        self._called: dict[str, list[int]] = {}

    def __contains__(self, index: object) -> bool:
        return index in self._values

    def __iter__(self) -> Iterator[int]:
        return iter(self._indexes)

    @property
    def first(self) -> int | None:
        """See the class."""
        return self._indexes[0] if self._indexes else None

    def called(self, value: str) -> list[int]:
        """The places with that value, which is not empty, the first one first."""
        return sorted(self._called.get(value, ()))

    def add(self, index: int, value: str) -> None:
        """There is a place, maybe one that was there with another value."""
        self.remove(index)
        bisect.insort(self._indexes, index)
        self._values[index] = value
        if value:
            self._called.setdefault(value, []).append(index)

    def remove(self, index: int) -> None:
        """There is no such place, and maybe never was."""
        value = self._values.pop(index, None)
        if value is None:
            return
        del self._indexes[bisect.bisect_left(self._indexes, index)]
        if value:
            called = self._called[value]
            called.remove(index)
            if not called:
                del self._called[value]

    def take(self, directory: str, event: Event) -> list[int]:
        """
        Something has happened in C{directory}, or to what it is in.

        @return: the places that are gone.
        """
        key = event.node.key
        if key != directory and parent(key) == directory:
            index = index_named(key.rpartition("/")[2])
            if index is None:
                return []
            if event.node.value is not None:
                self.add(index, event.node.value)
                return []
            gone = [index] if index in self else []
        elif event.removed_directory and not key.startswith(f"{directory}/"):
            gone = list(self)
        else:
            return []
        for each in gone:
            self.remove(each)
        return gone


def read_line(replica: IReplica, directory: str) -> Line | None:
    """The line on this machine's copy; C{None} if nobody has ever asked for this lock."""
    try:
        node = replica.get(directory)
    except EtcdError as error:
        if error.code not in (ErrorCode.KEY_NOT_FOUND, ErrorCode.NOT_A_DIRECTORY):
            raise
        return None
    if not isinstance(node, Directory):
        return None
    line = Line()
    for name, child in node.children.items():
        index = index_named(name)
        if index is not None and isinstance(child, File):
            line.add(index, child.value)
    return line
