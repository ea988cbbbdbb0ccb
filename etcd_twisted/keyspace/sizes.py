"""
What counts as the size of things in the key space, of its nodes and of the events that are kept, and how many nodes a
directory holds.

A size is the text in something and a fixed amount for what holds it: about what it takes in memory. It follows from
the text alone, so that it is the same on every machine, and takes the same time to compute however long the text is.

The tree does not change while it is counted, and the count can be taken in steps: must never do more than a bounded
amount of work in one of them, nor recurse.
"""

from collections.abc import Iterator

import attrs

from etcd_twisted.keyspace.nodes import RUN, Directory, File, Node

NODE_BYTES = 256
"""For a node, besides its name and its value."""

EVENT_BYTES = 512
"""For an event, besides its key and its values."""

_CHARACTER_BYTES = 4
"""What a character may take in memory when a text has others than ASCII's; in UTF-8 it is no more."""


def text_bytes(text: str) -> int:
    """The size of a text: its length in ASCII, and four bytes a character if it has any other one."""
    return len(text) if text.isascii() else _CHARACTER_BYTES * len(text)


def weigh(name: str, node: Node) -> tuple[int, int, int]:
    """What a node adds to the directory that it is in: size, files and directories, with all that is below it."""
    size = NODE_BYTES + text_bytes(name)
    if isinstance(node, File):
        return size + text_bytes(node.value), 1, 0
    return size + node.size, node.files, node.directories + 1


@attrs.frozen
class Count:
    """
    What was counted.

    @ivar keys: the keys with a value.
    @ivar directories: the directories, without the one that holds them all.
    @ivar hidden: how many of both together no listing of that one shows.
    """

    keys: int = 0
    directories: int = 0
    hidden: int = 0


def counts(directory: Directory) -> Iterator[Count]:
    """What was counted so far, after each step; at the end, all that is in C{directory}."""
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
            if (keys + directories) % RUN == 0:
                yield Count(keys, directories, hidden)
    yield Count(keys, directories, hidden)
