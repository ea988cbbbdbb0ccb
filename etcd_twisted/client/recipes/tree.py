"""
What a mirror holds: the keys below a directory, changed by events and by listings.

Directories count only in L{Tree.node}: a change is one of a key with a value. This module must never wait for
anything, nor know where events come from.
"""

import attrs

from etcd_twisted.client import Event, Node
from etcd_twisted.client.recipes.paths import is_at_or_below, is_hidden, parent


@attrs.frozen
class Change:
    """
    What has become of one key.

    @ivar key: the key.
    @ivar old: the key before, or C{None} if it did not exist.
    @ivar new: the key now, or C{None} if it does not exist any more.
    """

    key: str
    old: Node | None
    new: Node | None


class Tree:
    """
    The nodes at and below a key.

    @ivar key: the key of the directory.
    @ivar files: the keys that have a value.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        self.files: dict[str, Node] = {}
        self._directories: dict[str, Node] = {}
        self._children: dict[str, dict[str, None]] = {}

    def node(self, key: str) -> Node | None:
        """Returns a node with everything below it."""
        if key not in self._directories:
            return self.files.get(key)
        keys = [key]
        for each in keys:
            keys.extend(self._children.get(each, ()))
        built: dict[str, Node] = {}
        for each in reversed(keys):
            directory = self._directories.get(each)
            if directory is None:
                built[each] = self.files[each]
            else:
                built[each] = attrs.evolve(directory, nodes=tuple(built[child] for child in self._children[each]))
        return built[key]

    def replace(self, node: Node | None) -> list[Change]:
        """
        Take over a listing in place of everything. Returns the keys that differ from before: in their value, or in
        that they were made again.

        @param node: the directory; C{None} if it does not exist.
        """
        before = self.files
        self.files, self._directories, self._children = {}, {}, {}
        if node is not None:
            self._add(attrs.evolve(node, key=self.key))
            for each in list(node.walk())[1:]:
                self._add(each)
        removed = [Change(key, old, None) for key, old in before.items() if key not in self.files]
        pairs = [(before.get(key), new) for key, new in self.files.items()]
        return removed + [Change(new.key, old, new) for old, new in pairs if old is None or not _is_same(old, new)]

    def apply(self, event: Event) -> list[Change]:
        """Take over an event. Returns what it has done to each key."""
        node = event.node
        if event.is_removal:
            return self._remove(node.key)
        if not is_at_or_below(node.key, self.key) or is_hidden(node.key, self.key):
            return []
        if not node.directory:
            old = self.files.get(node.key)
            changes = self._remove(node.key) if old is None else []
            changes += self._make_parents(node)
            self._add(node)
            return [*changes, Change(node.key, old, node)]
        known = self._directories.get(node.key)
        if known is not None:  # its TTL has changed; listings show that in nothing else
            self._directories[node.key] = attrs.evolve(node, nodes=(), modified_index=known.modified_index)
            return []
        changes = self._remove(node.key) + self._make_parents(node)
        self._add(node)
        return changes

    def _add(self, node: Node) -> None:
        if node.key != self.key:
            self._children.setdefault(parent(node.key), {})[node.key] = None
        if node.directory:
            self._directories[node.key] = attrs.evolve(node, nodes=())
            self._children.setdefault(node.key, {})
        else:
            self.files[node.key] = node

    def _make_parents(self, node: Node) -> list[Change]:
        """Make the directories that the server has made for a node."""
        missing = []
        key = node.key
        while key != self.key:
            key = parent(key)
            if key in self._directories:
                break
            missing.append(key)
        changes = []
        for key in reversed(missing):
            changes += self._remove(key)
            self._add(Node(key, None, True, (), node.modified_index, node.modified_index))
        return changes

    def _remove(self, key: str) -> list[Change]:
        """Remove a node, with everything below it."""
        if is_at_or_below(self.key, key):
            return self.replace(None)
        keys = [key]
        for each in keys:
            keys.extend(self._children.pop(each, ()))
            self._directories.pop(each, None)
        self._children.get(parent(key), {}).pop(key, None)
        return [Change(each, self.files.pop(each), None) for each in keys if each in self.files]


def _is_same(old: Node, new: Node) -> bool:
    return old.value == new.value and old.created_index == new.created_index
