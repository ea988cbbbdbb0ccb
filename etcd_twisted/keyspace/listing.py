"""
Directories as JSON, in pieces.

A listing may have 100,000 keys in it: it is written piece by piece, each a bounded amount of work, from a tree that
does not change meanwhile. Must never let a piece take longer than a few milliseconds, nor show a hidden node.
"""

from collections.abc import Iterator

import attrs
import msgspec

from etcd_twisted.keyspace.events import NodeView, encode_json, view
from etcd_twisted.keyspace.nodes import RUN, Directory, in_order, in_runs
from etcd_twisted.keyspace.paths import join, parent


class _Indexes(msgspec.Struct, omit_defaults=True, rename="camel"):
    """The fields of a directory that come after its nodes."""

    modified_index: int = 0
    created_index: int = 0


def order(name: str) -> tuple[bool, int, str, str]:
    """The sort key of C{sorted=true}: whole numbers first, by value, then the rest by code point."""
    if name.isascii() and name.isdigit():
        digits = name.lstrip("0")
        return False, len(digits), digits, name
    return True, 0, name, ""


@attrs.frozen
class Listing:
    """
    How a directory is to be listed.

    @ivar recursive: whether to list what the directories in it hold, too.
    @ivar ordered: whether to sort every level.
    @ivar now: microseconds since the epoch, for the remaining TTLs.
    """

    recursive: bool
    ordered: bool
    now: int

    PIECE = 256
    """How many nodes go into one piece."""

    PIECE_BYTES = 1 << 18
    """A piece that has this many bytes is finished."""

    def pieces(self, key: str, directory: Directory) -> Iterator[bytes]:
        """
        The JSON object of C{directory}, whose key is C{key}, with the nodes it shows.

        An empty piece is a pause in a longer piece of work.
        """
        parts: list[bytes] = []
        size = looked_at = 0
        for part in self._parts(key, directory):
            if isinstance(part, int):
                looked_at += part
            else:
                parts.append(part)
                size += len(part)
            if len(parts) >= self.PIECE or size >= self.PIECE_BYTES or looked_at >= RUN:
                yield b"".join(parts)
                parts.clear()
                size = looked_at = 0
        yield b"".join(parts)

    def _parts(self, key: str, directory: Directory) -> Iterator[bytes | int]:
        """The JSON, node by node; a number says how many nodes were looked at besides."""
        head, tail = self._ends(key, directory)
        yield head
        opened = False
        open_directories = [(directory, tail, self._names(directory))]
        while open_directories:
            directory, tail, names = open_directories[-1]
            for name in names:
                if isinstance(name, int):
                    yield name
                    continue
                node = directory.children[name]
                before = b"," if opened else b',"nodes":['
                path = join(key, name)
                if isinstance(node, Directory) and self.recursive:
                    head, tail = self._ends(path, node)
                    yield before + head
                    opened = False
                    open_directories.append((node, tail, self._names(node)))
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
        """What stands before and behind a directory's nodes."""
        shown = view(key, directory, self.now)
        head = encode_json(NodeView(key, None, True, shown.expiration, shown.ttl))
        indexes = encode_json(_Indexes(directory.modified, directory.created))
        return head[:-1], (b"," + indexes[1:]) if len(indexes) > 2 else b"}"

    def _names(self, directory: Directory) -> Iterator[str | int]:
        """The names that a directory shows; a number among them says how many were looked at."""
        for run in in_order(directory, order) if self.ordered else in_runs(directory):
            if isinstance(run, int):
                yield run
                continue
            if not self.ordered:
                yield len(run)
            yield from [name for name in run if name[:1] != "_"]
