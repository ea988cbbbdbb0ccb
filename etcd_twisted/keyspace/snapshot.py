"""
The key space as a sequence of chunks of bytes, and back.

The same content gives the same bytes on every machine. Both ways go chunk by chunk, each a bounded amount of work,
so that the reactor can turn in between. The layout is described in C{docs/storage.md}. Must never give a key space
back of which a part is missing.
"""

from collections.abc import Iterable, Iterator

import attrs
import immutables
import msgspec

from etcd_twisted.errors import StorageError
from etcd_twisted.keyspace.events import Answer, Event
from etcd_twisted.keyspace.expiry import ExpirySchedule
from etcd_twisted.keyspace.nodes import Directory, File, Node, in_order
from etcd_twisted.keyspace.sizes import weigh
from etcd_twisted.keyspace.space import Content
from etcd_twisted.keyspace.statistics import CommandCounts

_ROOM = 1 << 19
"""How much goes into a chunk: each character of a string takes one of it."""
_PART = 512
"""How much a node or an event takes besides, and a look at a name, which is put in its order for later."""


class _Head(msgspec.Struct, array_like=True, tag="head"):
    """The first chunk."""

    index: int
    cleared: int
    counts: CommandCounts


class _Events(msgspec.Struct, array_like=True, tag="events"):
    """Events of the history, oldest first."""

    answers: list[Answer]


class _Record(msgspec.Struct, array_like=True, gc=False):
    """A file, or without a value the beginning of a directory, whose nodes follow."""

    name: str
    created: int
    modified: int
    expires: int | None
    value: str | None


class _Nodes(msgspec.Struct, array_like=True, tag="nodes"):
    """Nodes in depth-first order, siblings by name; C{None} ends a directory."""

    records: list[_Record | None]


class _End(msgspec.Struct, array_like=True, tag="end"):
    """The last chunk: what all others held, so that a missing one is missed."""

    events: int
    records: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Head | _Events | _Nodes | _End).decode


def dump(content: Content) -> Iterator[bytes]:
    """The chunks of a snapshot. An empty one is a pause in a longer piece of work and need not be kept."""
    yield _encode(_Head(content.index, content.cleared, content.counts))
    for answers in _answers(content.history):
        yield _encode(_Events(answers))
    count = 0
    for records in _records(content.root):
        count += len(records)
        yield _encode(_Nodes(records)) if records else b""
    yield _encode(_End(len(content.history), count))


def _answers(history: Iterable[Event]) -> Iterator[list[Answer]]:
    """What clients were answered, as much as goes into one chunk each."""
    chunk: list[Answer] = []
    room = _ROOM
    for event in history:
        answer = event.answer
        chunk.append(answer)
        room -= _PART + sum(len(node.key) + len(node.value or "") for node in (answer.node, answer.prev_node) if node)
        if room <= 0:
            yield chunk
            chunk, room = [], _ROOM
    if chunk:
        yield chunk


@attrs.define
class _Open:
    """
    A directory of which a part was walked over.

    @ivar names: those of the rest of the run that was taken last.
    @ivar runs: what L{in_order} gives after that.
    """

    children: immutables.Map[str, Node]
    runs: Iterator[list[str] | int]
    names: Iterator[str]


def _open(directory: Directory) -> _Open:
    return _Open(directory.children, in_order(directory), iter(()))


def _records(root: Directory) -> Iterator[list[_Record | None]]:
    """The records of all that is below the root, as many as go into one chunk each; an empty list is a pause."""
    chunk: list[_Record | None] = []
    room = _ROOM
    way = [_open(root)]
    while way:
        here = way[-1]
        children = here.children
        for name in here.names:
            node = children[name]
            value = node.value if isinstance(node, File) else None
            chunk.append(_Record(name, node.created, node.modified, node.expires, value))
            room -= _PART + len(name)
            if isinstance(node, Directory):
                way.append(_open(node))
                break
            room -= len(node.value)
            if room <= 0:
                break
        else:
            run = next(here.runs, None)
            if isinstance(run, int):
                room -= _PART * run
            elif run is not None:
                here.names = iter(run)
            else:
                way.pop()
                if way:
                    chunk.append(None)
                room -= _PART
        if room <= 0:
            yield chunk
            chunk, room = [], _ROOM
    if chunk:
        yield chunk


class _Begun:
    """
    A directory of which a part was loaded.

    @ivar name: its own; empty for the root.
    @ivar last_name: of the last node in it that was begun.
    """

    __slots__ = ("_children", "_directories", "_files", "_record", "_size", "last_name", "name")

    def __init__(self, name: str = "", record: _Record | None = None) -> None:
        """
        @param record: what was stored of the directory; C{None} for the root.
        """
        self.name = name
        self.last_name = ""
        self._record = record
        self._children = immutables.Map[str, Node]().mutate()
        self._size = self._files = self._directories = 0

    def add(self, name: str, node: Node) -> None:
        """The next node in it, whole."""
        self._children[name] = node
        size, files, directories = weigh(name, node)
        self._size += size
        self._files += files
        self._directories += directories

    def finish(self) -> Directory:
        """The directory, when all nodes have been added."""
        children, record = self._children.finish(), self._record
        created, modified, expires = (record.created, record.modified, record.expires) if record else (0, 0, None)
        return Directory(children, created, modified, expires, self._size, self._files, self._directories)


class SnapshotLoader:
    """
    Takes the chunks of L{dump} one by one and gives the content back. Empty ones are passed over.

    Chunks are expected to be whole: whoever stores them checks them. What is found here is a snapshot of something
    else, and chunks that are missing or out of order.

    @ivar schedule: the TTLs of what was loaded.
    """

    def __init__(self) -> None:
        self.schedule = ExpirySchedule()
        self._head: _Head | None = None
        self._end: _End | None = None
        self._events: list[Event] = []
        self._records = 0
        self._way: list[_Begun] = []
        self._begun = _Begun()

    def feed(self, chunk: bytes) -> None:
        """
        Take the next chunk.

        @raise StorageError: this is no snapshot of a key space.
        """
        if not chunk:
            return
        try:
            part = _decode(chunk)
        except ValueError as error:  # msgspec's, or a UnicodeDecodeError
            raise _damage(str(error)) from error
        if self._end is not None or (self._head is None) is not isinstance(part, _Head):
            raise _damage("its chunks are out of order")
        if isinstance(part, _Head):
            self._head = part
        elif isinstance(part, _Events):
            self._events.extend(Event(answer) for answer in part.answers)
        elif isinstance(part, _Nodes):
            self._records += len(part.records)
            for record in part.records:
                self._take(record)
        else:
            self._end = part

    def _take(self, record: _Record | None) -> None:
        if record is None:
            self._close_directory()
            return
        if record.name <= self._begun.last_name:
            raise _damage("its nodes are out of order")
        self._begun.last_name = record.name
        if record.expires is not None:
            names = [begun.name for begun in (*self._way, self._begun)]
            self.schedule.note("/".join([*names, record.name]), record.expires)
        if record.value is None:
            self._way.append(self._begun)
            self._begun = _Begun(record.name, record)
        else:
            node = File(record.value, record.created, record.modified, record.expires)
            self._begun.add(record.name, node)

    def _close_directory(self) -> None:
        if not self._way:
            raise _damage("it ends more directories than it begins")
        begun, self._begun = self._begun, self._way.pop()
        self._begun.add(begun.name, begun.finish())

    def finish(self) -> Content:
        """
        The content, when all chunks have been taken.

        @raise StorageError: chunks are missing.
        """
        if self._head is None or self._end != _End(len(self._events), self._records) or self._way:
            raise _damage("chunks of it are missing")
        root = self._begun.finish()
        return Content(root, self._head.index, self._head.counts, tuple(self._events), self._head.cleared)


def _damage(what: str) -> StorageError:
    return StorageError(f"the snapshot is not one of a whole key space: {what}")
