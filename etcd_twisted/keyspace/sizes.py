"""
What counts as the size of things in the key space: of its nodes, and of the events that are kept.

A size is the text in something and a fixed amount for what holds it: about what it takes in memory. It follows from
the text alone, so that it is the same on every machine, and takes the same time to compute however long the text is.
"""

from etcd_twisted.keyspace.nodes import File, Node

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
