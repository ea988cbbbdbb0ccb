"""
The key space as a sequence of chunks of bytes, and back.

The same content gives the same bytes on every machine. Both ways go chunk by chunk, each a bounded amount of work,
so that the reactor can turn in between. The layout is described in C{docs/storage.md}.
"""

from collections.abc import Iterator

import immutables
import msgspec

from etcd_twisted.errors import StorageError
from etcd_twisted.keyspace.events import Answer, Event
from etcd_twisted.keyspace.expiry import ExpirySchedule
from etcd_twisted.keyspace.nodes import Child, Directory, File, Node, in_order
from etcd_twisted.keyspace.paths import ROOT, join
from etcd_twisted.keyspace.space import Content
from etcd_twisted.keyspace.statistics import CommandCounts

_CHUNK_NODES = 512
_CHUNK_BYTES = 1 << 18


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


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Head | _Events | _Nodes).decode


def dump(content: Content) -> Iterator[bytes]:
    """The chunks of a snapshot. An empty one is a pause in a longer piece of work and need not be kept."""
    yield _encode(_Head(content.index, content.cleared, content.counts))
    events = content.history
    for start in range(0, len(events), _CHUNK_NODES):
        yield _encode(_Events([event.answer for event in events[start : start + _CHUNK_NODES]]))
    records: list[_Record | None] = []
    size = 0
    for step in _walk(content.root):
        if not step:
            yield b""
            continue
        record = step[0]
        records.append(record)
        size += len(record.value or "") if record else 0
        if len(records) >= _CHUNK_NODES or size >= _CHUNK_BYTES:
            yield _encode(_Nodes(records))
            records, size = [], 0
    yield _encode(_Nodes(records))


def _walk(root: Directory) -> Iterator[tuple[_Record | None] | tuple[()]]:
    """Every record below the root, each in a tuple of its own; an empty tuple is a pause."""
    way = [_by_name(root)]
    while way:
        for child in way[-1]:
            if child is None:
                yield ()
                continue
            name, node = child
            if isinstance(node, File):
                yield (_Record(name, node.created, node.modified, node.expires, node.value),)
            else:
                yield (_Record(name, node.created, node.modified, node.expires, None),)
                way.append(_by_name(node))
                break
        else:
            way.pop()
            if way:
                yield (None,)


def _by_name(directory: Directory) -> Iterator[Child | None]:
    return in_order(iter(directory.children.items()), lambda child: child[0])


class SnapshotLoader:
    """Takes the chunks of L{dump} one by one and gives the content back."""

    def __init__(self) -> None:
        self.schedule = ExpirySchedule()
        self._head: _Head | None = None
        self._events: list[Event] = []
        self._way: list[tuple[str, _Record, immutables.MapMutation[str, Node]]] = []
        self._path = ROOT
        self._children: immutables.MapMutation[str, Node] = immutables.Map[str, Node]().mutate()

    def feed(self, chunk: bytes) -> None:
        """
        Take the next chunk.

        @raise StorageError: this is no snapshot of a key space.
        """
        try:
            part = _decode(chunk)
        except msgspec.DecodeError as error:
            raise StorageError(f"the snapshot holds something else than a key space: {error}") from error
        if isinstance(part, _Head):
            self._head = part
        elif isinstance(part, _Events):
            self._events.extend(Event(answer) for answer in part.answers)
        else:
            for record in part.records:
                self._take(record)

    def _take(self, record: _Record | None) -> None:
        if record is None:
            children = self._children.finish()
            path, record, self._children = self._way.pop()
            self._children[record.name] = Directory(children, record.created, record.modified, record.expires)
            self._path = path
            return
        path = join(self._path, record.name)
        if record.expires is not None:
            self.schedule.note(path, record.expires)
        if record.value is None:
            self._way.append((self._path, record, self._children))
            self._path = path
            self._children = immutables.Map[str, Node]().mutate()
        else:
            self._children[record.name] = File(record.value, record.created, record.modified, record.expires)

    def finish(self) -> Content:
        """
        The content, when all chunks have been taken.

        @raise StorageError: chunks are missing.
        """
        if self._head is None or self._way:
            raise StorageError("the snapshot ends before the key space in it does")
        root = Directory(self._children.finish())
        return Content(root, self._head.index, self._head.counts, tuple(self._events), self._head.cleared)
