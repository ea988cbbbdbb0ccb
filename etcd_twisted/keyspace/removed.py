"""
What went with a directory that was removed, until each node of it was looked at for the TTL that it had.

Must never look at many nodes in one go: a directory may have had 100,000.
"""

from collections.abc import Iterator

from etcd_twisted.keyspace.nodes import Directory, Node
from etcd_twisted.keyspace.paths import join


class Removed:
    """Directories that are gone from the tree. It is true while there is something to look at."""

    def __init__(self) -> None:
        self._open: list[tuple[str, Iterator[tuple[str, Node]]]] = []

    def __bool__(self) -> bool:
        return bool(self._open)

    def add(self, key: str, directory: Directory) -> None:
        """A directory was removed, and all that was in it."""
        self._open.append((key, iter(directory.children.items())))

    def look(self, most: int) -> Iterator[tuple[str, int]]:
        """
        Keys that had a TTL, each with when it was to end.

        @param most: how many steps are taken, to a node or back.
        """
        for _ in range(most):
            if not self._open:
                return
            above, nodes = self._open[-1]
            name, node = next(nodes, ("", None))
            if node is None:
                self._open.pop()
                continue
            key = join(above, name)
            if isinstance(node, Directory):
                self.add(key, node)
            if node.expires is not None:
                yield key, node.expires
