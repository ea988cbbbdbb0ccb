"""
What went with a directory that was removed, until each node of it was looked at for the TTL that it had.

Must never look at many nodes in one go: a directory may have had 100,000. Nor hold a whole key for each level: a tree
may be as deep as the longest key has characters.
"""

from collections import deque
from collections.abc import Iterator

from etcd_twisted.keyspace.nodes import Directory, Node


class Removed:
    """
    Directories that are gone from the tree. It is true while there is something to look at.

    @ivar roots: key and nodes of each that was removed; empty while there is nothing to look at. To be looked at only.
    """

    def __init__(self) -> None:
        self.roots: deque[tuple[str, Iterator[tuple[str, Node]]]] = deque()
        # Name and nodes of each directory on the way down from the first of those.
        self._open: list[tuple[str, Iterator[tuple[str, Node]]]] = []

    def __bool__(self) -> bool:
        return bool(self.roots)

    def add(self, key: str, directory: Directory) -> None:
        """A directory was removed, and all that was in it."""
        self.roots.append((key, iter(directory.children.items())))

    def look(self, most: int) -> Iterator[tuple[str, int]]:
        """
        Keys that had a TTL, each with when it was to end.

        @param most: how many steps are taken, to a node or back.
        """
        for _ in range(most):
            if not self.roots:
                return
            name, node = next(self._open[-1][1] if self._open else self.roots[0][1], ("", None))
            if node is None:
                if self._open:
                    self._open.pop()
                else:
                    self.roots.popleft()
                continue
            if node.expires is not None:
                above = [self.roots[0][0], *(each for each, _ in self._open)]
                yield "/".join([*above, name]), node.expires
            if isinstance(node, Directory):
                self._open.append((name, iter(node.children.items())))
