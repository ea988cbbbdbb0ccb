"""
How many nodes a directory holds, at any depth.

The tree does not change while it is counted, and the count can be taken in steps: must never do more than a bounded
amount of work in one of them, nor recurse.
"""

from collections.abc import Iterator

import attrs

from etcd_twisted.keyspace.nodes import RUN, Directory


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
