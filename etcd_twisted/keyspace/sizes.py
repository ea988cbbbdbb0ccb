"""
How much the key space holds: the size of nodes and events in bytes, and the number of nodes in a directory.

A size is the length of all text, and a fixed amount for each node or event: about what they take in memory. It depends
on the text alone, so that it is the same on every machine, and it takes constant time however long the text is.

Nodes are counted in steps, in a tree that does not change meanwhile. A step must never do more than a bounded amount
of work, nor recurse.
"""

from collections.abc import Iterator

import attrs

from etcd_twisted.keyspace.nodes import MAX_BATCH_NAMES, Directory, File, Node

NODE_BYTES = 256
"""The size of a node without its name and its value."""

EVENT_BYTES = 512
"""The size of an event without its key and its values."""

_CHARACTER_BYTES = 4
"""What a character may take in memory, in a text that is not ASCII. In UTF-8 it takes no more."""


def text_bytes(text: str) -> int:
    """Returns the size of a text: a byte for each character in ASCII, and four bytes for each in any other text."""
    return len(text) if text.isascii() else _CHARACTER_BYTES * len(text)


def weigh(name: str, node: Node) -> tuple[int, int, int]:
    """Returns the size, files and directories that a node, with all nodes below it, adds to its parent."""
    size = NODE_BYTES + text_bytes(name)
    if isinstance(node, File):
        return size + text_bytes(node.value), 1, 0
    return size + node.size, node.files, node.directories + 1


@attrs.frozen
class NodeCount:
    """
    How many nodes a directory holds, at any depth.

    @ivar keys: the number of keys that have a value.
    @ivar directories: the number of directories, without the directory itself.
    @ivar hidden: how many of all these a listing of the directory does not show.
    """

    keys: int = 0
    directories: int = 0
    hidden: int = 0


def count_nodes(directory: Directory) -> Iterator[NodeCount]:
    """Yields the count so far after each step, and the whole count at the end."""
    keys = directories = hidden = 0
    uncounted = [(directory, False)]
    while uncounted:
        each, is_hidden = uncounted.pop()
        for name, node in each.children.items():
            below_hidden = is_hidden or name[:1] == "_"
            hidden += below_hidden
            if isinstance(node, Directory):
                directories += 1
                uncounted.append((node, below_hidden))
            else:
                keys += 1
            if (keys + directories) % MAX_BATCH_NAMES == 0:
                yield NodeCount(keys, directories, hidden)
    yield NodeCount(keys, directories, hidden)
