"""
Directories as JSON, in pieces.

A listing may have 100,000 keys. So it is written piece by piece, each a bounded amount of work, from a tree that does
not change meanwhile. This module must never let a piece take longer than a few milliseconds, nor show a hidden node.
"""

from collections.abc import Callable, Iterator

import attrs
import msgspec

from etcd_twisted.keyspace.events import NodeView, encode_json, view
from etcd_twisted.keyspace.nodes import MAX_BATCH_NAMES, Directory, Node, node_batches, sorted_node_batches
from etcd_twisted.keyspace.paths import join, parent


class _Indexes(msgspec.Struct, omit_defaults=True, rename="camel"):
    """The fields of a directory that come after its nodes."""

    modified_index: int = 0
    created_index: int = 0


def sort_key(name: str) -> tuple[bool, int, str, str]:
    """Returns the sort key of C{sorted=true}: whole numbers come first, by value, then other names by code point."""
    if name.isascii() and name.isdigit():
        digits = name.lstrip("0")
        return False, len(digits), digits, name
    return True, 0, name, ""


@attrs.frozen
class Listing:
    """
    How to list a directory.

    @ivar recursive: whether to list the nodes of the directories in it, too.
    @ivar ordered: whether to sort every level.
    @ivar now: the time for the remaining TTLs, in microseconds since the epoch.
    @ivar piece_nodes: how many nodes go into one piece at most.
    @ivar piece_bytes: a piece that has this many bytes is finished.
    @ivar shows: tells by its key whether to show a node, in a listing that is not recursive; C{None} to show all.
    """

    recursive: bool
    ordered: bool
    now: int
    piece_nodes: int = 256
    piece_bytes: int = 1 << 18
    shows: Callable[[str], bool] | None = None

    def pieces(self, key: str, directory: Directory) -> Iterator[bytes]:
        """
        Yields the JSON object of C{directory}, whose key is C{key}, with the nodes that it shows.

        An empty piece is a pause in a longer computation.
        """
        parts: list[bytes] = []
        size = skipped = 0
        for part in self._parts(key, directory):
            if isinstance(part, int):
                skipped += part
            else:
                parts.append(part)
                size += len(part)
            if len(parts) >= self.piece_nodes or size >= self.piece_bytes or skipped >= MAX_BATCH_NAMES:
                yield b"".join(parts)
                parts.clear()
                size = skipped = 0
        yield b"".join(parts)

    def _parts(self, key: str, directory: Directory) -> Iterator[bytes | int]:
        """Yields the JSON node by node. A number says how many names were processed without a node to show for it."""
        head, tail = self._ends(key, directory)
        yield head
        opened = False
        open_directories = [(tail, self._nodes(directory))]
        while open_directories:
            tail, shown = open_directories[-1]
            for item in shown:
                if isinstance(item, int):
                    yield item
                    continue
                name, node = item
                before = b"," if opened else b',"nodes":['
                path = join(key, name)
                if not (self.recursive or self.shows is None or self.shows(path)):
                    yield 1
                    continue
                if isinstance(node, Directory) and self.recursive:
                    head, tail = self._ends(path, node)
                    yield before + head
                    opened = False
                    open_directories.append((tail, self._nodes(node)))
                    key = path
                    break
                yield before + encode_json(view(path, node, self.now))
                opened = True
            else:
                open_directories.pop()
                yield b"]" + tail if opened else tail
                opened = True
                key = parent(key)

    def _ends(self, key: str, directory: Directory) -> tuple[bytes, bytes]:
        """Returns the JSON before and after the nodes of a directory."""
        shown = view(key, directory, self.now)
        head = encode_json(NodeView(key, None, True, shown.expiration, shown.ttl))
        indexes = encode_json(_Indexes(directory.modified, directory.created))
        return head[:-1], (b"," + indexes[1:]) if len(indexes) > 2 else b"}"

    def _nodes(self, directory: Directory) -> Iterator[tuple[str, Node] | int]:
        """Yields the nodes that a directory shows, by name. A number in between says how many were processed."""
        for batch in sorted_node_batches(directory, sort_key) if self.ordered else node_batches(directory):
            if isinstance(batch, int):
                yield batch
                continue
            if not self.ordered:
                yield len(batch[0])
            yield from [(name, node) for name, node in zip(*batch, strict=True) if name[:1] != "_"]
