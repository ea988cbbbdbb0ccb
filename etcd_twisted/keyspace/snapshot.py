"""
The state of the key space as a sequence of chunks of bytes, and back.

The same state gives the same bytes on every machine. Both directions go chunk by chunk, each a bounded amount of work,
so that the reactor can turn in between. C{docs/storage.md} describes the layout. This module must never load a key
space of which a part is missing.
"""

import bisect
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import attrs
import immutables
import msgspec

from etcd_twisted.errors import StorageError
from etcd_twisted.keyspace.events import ActionResult, Event
from etcd_twisted.keyspace.expiry import ExpirySchedule
from etcd_twisted.keyspace.nodes import Batch, Directory, File, Node, sorted_node_batches
from etcd_twisted.keyspace.sizes import NODE_BYTES, text_bytes, weigh
from etcd_twisted.keyspace.state import KeySpaceState
from etcd_twisted.keyspace.statistics import CommandCounts

_CHUNK_BYTES = 1 << 19
"""How much goes into a chunk. Each character of a string counts as 1."""
_ITEM_BYTES = 512
"""How much a node or an event counts without its strings. A name that is sorted for later counts as much."""


class _Head(msgspec.Struct, array_like=True, tag="head"):
    """The first chunk."""

    index: int
    cleared_index: int
    counts: CommandCounts


class _LaterHead(_Head, array_like=True, tag="head2"):
    """
    The first chunk of a key space that an earlier version would change in another way: such a version refuses it.
    """

    pads_in_order_keys: bool = False


class _Events(msgspec.Struct, array_like=True, tag="events"):
    """Events of the history, oldest first."""

    results: list[ActionResult]


class _Record(msgspec.Struct, array_like=True, gc=False):
    """A file; or, without a value, the beginning of a directory, whose nodes follow."""

    name: str
    created: int
    modified: int
    expires: int | None
    value: str | None


class _Nodes(msgspec.Struct, array_like=True, tag="nodes"):
    """Nodes in depth-first order, siblings sorted by name. C{None} ends a directory."""

    records: list[_Record | None]


class _End(msgspec.Struct, array_like=True, tag="end"):
    """The last chunk: how many events and records the others hold, so that a missing one is noticed."""

    events: int
    records: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Head | _LaterHead | _Events | _Nodes | _End).decode


def dump(state: KeySpaceState) -> Iterator[bytes]:
    """
    Yields the chunks of a snapshot. An empty chunk is a pause in a longer computation and need not be kept.

    The iterator holds no more of the state than it has still to yield. So what no later state shares is freed in as
    small steps, if its caller does not hold the state either.
    """
    yield _encode(_head(state))
    for results in _results(state.history):
        yield _encode(_Events(results))
    events, records_left = len(state.history), _records(state.root)
    del state
    count = 0
    for records in records_left:
        count += len(records)
        yield _encode(_Nodes(records)) if records else b""
    yield _encode(_End(events, count))


def _head(state: KeySpaceState) -> _Head:
    if state.pads_in_order_keys:
        return _LaterHead(state.index, state.cleared_index, state.counts, True)
    return _Head(state.index, state.cleared_index, state.counts)


def _results(history: Iterable[Event]) -> Iterator[list[ActionResult]]:
    """Yields the events, as many at a time as go into one chunk."""
    chunk: list[ActionResult] = []
    room = _CHUNK_BYTES
    for event in history:
        result = event.result
        chunk.append(result)
        strings = sum(len(node.key) + len(node.value or "") for node in (result.node, result.prev_node) if node)
        room -= _ITEM_BYTES + strings
        if room <= 0:
            yield chunk
            chunk, room = [], _CHUNK_BYTES
    if chunk:
        yield chunk


@attrs.define
class _DirectoryWalk:
    """
    A directory that is being walked.

    @ivar holds_files_only: whether no node in it is a directory.
    @ivar batches: the batches after the current one, see L{sorted_node_batches}.
    @ivar names: the names that are left of the current batch, and C{nodes} the nodes.
    """

    holds_files_only: bool
    batches: Iterator[Batch | int]
    names: list[str] = attrs.field(factory=list)
    nodes: list[Node] = attrs.field(factory=list)

    def next_batch(self) -> int | None:
        """Begin the next batch. Returns how many names that step has processed, or C{None} if there is none."""
        batch = next(self.batches, None)
        if batch is None or isinstance(batch, int):
            return batch
        self.names, self.nodes = batch
        return 0

    def take_files(self, room: int) -> tuple[list[_Record], int]:
        """
        Returns the records of the next files, as many as there is room for, but at least one, and their size. Where a
        batch ends must make no difference: that is not the same on every machine.

        This is most of the work for a snapshot, and so has no loop of its own.
        """
        most = 1 + room // _ITEM_BYTES
        names, files = self.names[:most], cast("list[File]", self.nodes[:most])
        sizes = [_ITEM_BYTES + len(name) + len(file.value) for name, file in zip(names, files, strict=True)]
        sizes = list(itertools.accumulate(sizes))
        count = min(bisect.bisect_left(sizes, room) + 1, len(files))
        if count < len(files):
            names, files = names[:count], files[:count]
        del self.names[:count], self.nodes[:count]
        records = [
            _Record(name, file.created, file.modified, file.expires, file.value)
            for name, file in zip(names, files, strict=True)
        ]
        return records, sizes[count - 1]


def _walk(directory: Directory) -> _DirectoryWalk:
    return _DirectoryWalk(directory.directories == 0, sorted_node_batches(directory))


def _records(root: Directory) -> Iterator[list[_Record | None]]:
    """Yields the records of all nodes below the root, a chunk's worth at a time; an empty list is a pause."""
    chunk: list[_Record | None] = []
    room = _CHUNK_BYTES
    stack = [_walk(root)]
    del root
    while stack:
        here = stack[-1]
        if not here.names:
            processed = here.next_batch()
            if processed is None:
                stack.pop()
                if stack:
                    chunk.append(None)
                processed = 1
            room -= _ITEM_BYTES * processed
        elif here.holds_files_only:
            files, size = here.take_files(room)
            chunk += files
            room -= size
        else:
            name, node = here.names.pop(0), here.nodes.pop(0)
            value = node.value if isinstance(node, File) else None
            chunk.append(_Record(name, node.created, node.modified, node.expires, value))
            room -= _ITEM_BYTES + len(name) + len(value or "")
            if isinstance(node, Directory):
                stack.append(_walk(node))
            del node
        if room <= 0:
            yield chunk
            chunk, room = [], _CHUNK_BYTES
    if chunk:
        yield chunk


class _PartialDirectory:
    """
    A directory that is being loaded.

    @ivar name: its name; empty for the root.
    @ivar last_name: the name of the last node in it that was begun.
    """

    __slots__ = ("_children", "_directories", "_files", "_record", "_size", "last_name", "name")

    def __init__(self, name: str = "", record: _Record | None = None) -> None:
        """
        @param record: the record of the directory; C{None} for the root.
        """
        self.name = name
        self.last_name = ""
        self._record = record
        self._children = immutables.Map[str, Node]().mutate()
        self._size = self._files = self._directories = 0

    def add(self, name: str, node: Node) -> None:
        """Add the next node, which is complete."""
        self._children[name] = node
        size, files, directories = weigh(name, node)
        self._size += size
        self._files += files
        self._directories += directories

    def add_files(self, records: Sequence[_Record | None], start: int) -> int:
        """
        Add the files from C{start} on, up to the first record that is something else, or has a TTL. This is most of
        the work for loading a snapshot, and so has few calls.

        @return: the position of that record.
        """
        children, last_name, size = self._children, self.last_name, 0
        position = start
        for position in range(start, len(records)):
            record = records[position]
            if record is None or record.value is None or record.expires is not None:
                break
            name, value, created, modified = record.name, record.value, record.created, record.modified
            if name <= last_name:
                raise _out_of_order()
            last_name = name
            # As the key space has one number for both when it creates a node, so that they take less memory.
            children[name] = File(value, created, created if modified == created else modified)
            if name.isascii() and value.isascii():  # as text_bytes counts, without the calls
                size += len(name) + len(value)
            else:
                size += text_bytes(name) + text_bytes(value)
        else:
            position = len(records)
        self.last_name = last_name
        self._files += position - start
        self._size += size + NODE_BYTES * (position - start)
        return position

    def finish(self) -> Directory:
        """Returns the directory. All nodes have to be added before."""
        children, record = self._children.finish(), self._record
        created, modified, expires = (record.created, record.modified, record.expires) if record else (0, 0, None)
        return Directory(children, created, modified, expires, self._size, self._files, self._directories)


class SnapshotLoader:
    """
    Takes the chunks of L{dump} one by one and gives the state back. Empty chunks are ignored.

    Each chunk has to be intact: whoever stores chunks checks them. The loader notices a snapshot of something else,
    and chunks that are missing or out of order.

    @ivar schedule: the TTLs of the nodes that were loaded.
    """

    def __init__(self) -> None:
        self.schedule = ExpirySchedule()
        self._head: _Head | None = None
        self._end: _End | None = None
        self._events: list[Event] = []
        self._records = 0
        self._parents: list[_PartialDirectory] = []
        self._current = _PartialDirectory()

    def feed(self, chunk: bytes) -> None:
        """
        Take the next chunk.

        @raise StorageError: this is not a snapshot of a key space.
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
            self._events.extend(Event(result) for result in part.results)
        elif isinstance(part, _Nodes):
            self._records += len(part.records)
            self._take_all(part.records)
        else:
            self._end = part

    def _take_all(self, records: Sequence[_Record | None]) -> None:
        position = 0
        while (position := self._current.add_files(records, position)) < len(records):
            self._take(records[position])
            position += 1

    def _take(self, record: _Record | None) -> None:
        if record is None:
            self._close_directory()
            return
        if record.name <= self._current.last_name:
            raise _out_of_order()
        self._current.last_name = record.name
        if record.expires is not None:
            names = [each.name for each in (*self._parents, self._current)]
            self.schedule.set("/".join([*names, record.name]), record.expires)
        if record.value is None:
            self._parents.append(self._current)
            self._current = _PartialDirectory(record.name, record)
        else:
            node = File(record.value, record.created, record.modified, record.expires)
            self._current.add(record.name, node)

    def _close_directory(self) -> None:
        if not self._parents:
            raise _damage("it ends more directories than it begins")
        finished, self._current = self._current, self._parents.pop()
        self._current.add(finished.name, finished.finish())

    def finish(self) -> KeySpaceState:
        """
        Returns the state. All chunks have to be taken before.

        @raise StorageError: chunks are missing.
        """
        if self._head is None or self._end != _End(len(self._events), self._records) or self._parents:
            raise _damage("chunks of it are missing")
        root, head, events = self._current.finish(), self._head, tuple(self._events)
        pads = isinstance(head, _LaterHead) and head.pads_in_order_keys
        return KeySpaceState(root, head.index, head.counts, events, head.cleared_index, pads)


def _damage(what: str) -> StorageError:
    return StorageError(f"the snapshot is not one of a whole key space: {what}")


def _out_of_order() -> StorageError:
    return _damage("its nodes are out of order")
