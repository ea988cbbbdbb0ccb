"""
Carries out many commands in one go, where nobody looks at the tree between two of them nor waits for their outcomes:
on machines that apply what others have proposed, and when the log is replayed.

A change of the tree copies the directories on the path to one key. Here each directory is copied once for all changes
of a batch. Only the most common command is carried out like that: one that sets a file without a TTL. What it does
must be exactly what L{etcd_twisted.keyspace.space.KeySpace.apply} does, and this module must never change a node that
is in a tree.
"""

from collections.abc import Container, Sequence
from itertools import islice

import immutables

from etcd_twisted.keyspace.commands import Command, Set
from etcd_twisted.keyspace.events import ActionResult, Event, NodeView
from etcd_twisted.keyspace.nodes import Directory, File, Node
from etcd_twisted.keyspace.sizes import EVENT_BYTES, NODE_BYTES, text_bytes


class OpenDirectory:
    """
    A directory that is being changed.

    @ivar children: its children after the changes.
    @ivar size: by how much they change its size. C{files} is the change in the number of files.
    @ivar opened: those directories in it that are being changed too, by name.
    """

    __slots__ = ("before", "children", "files", "name", "opened", "parent", "size")

    def __init__(self, directory: Directory, name: str, parent: "OpenDirectory | None") -> None:
        """
        @param directory: the directory before the changes.
        @param parent: the directory that holds it under C{name}; C{None} for the root.
        """
        self.before = directory
        self.children: immutables.MapMutation[str, Node] = directory.children.mutate()
        self.size = self.files = 0
        self.opened: dict[str, OpenDirectory] = {}
        self.name = name
        self.parent = parent

    def close(self) -> Directory:
        """Returns the directory after the changes, and passes it and them on to its parent."""
        before, parent = self.before, self.parent
        changed = Directory(
            self.children.finish(),
            before.created,
            before.modified,
            before.expires,
            before.size + self.size,
            before.files + self.files,
            before.directories,
        )
        if parent is not None:
            parent.children[self.name] = changed
            parent.size += self.size
            parent.files += self.files
        return changed


class TreeEdit:
    """
    Changes of one tree that end in one new tree.

    @ivar opened: the directories that were opened, by key, without the last slash.
    """

    def __init__(self, root: Directory) -> None:
        self._root = root
        self._order = [OpenDirectory(root, "", None)]
        self.opened = {"": self._order[0]}

    def open(self, key: str) -> OpenDirectory | None:
        """
        Open a directory, to change what it holds.

        @param key: its key; empty for the root.
        @return: C{None} if no directory is there.
        """
        directory = self._order[0]
        for name in key[1:].split("/"):
            below = directory.opened.get(name)
            if below is None:
                node = directory.children.get(name)
                if not isinstance(node, Directory):
                    return None
                below = directory.opened[name] = OpenDirectory(node, name, directory)
                self._order.append(below)
            directory = below
        self.opened[key] = directory
        return directory

    def finish(self) -> Directory:
        """Returns the root after all changes. Nothing can be changed any more."""
        for directory in reversed(self._order):  # each after those that it holds
            root = directory.close()
        return root


def put_files(
    root: Directory, index: int, ttls: Container[str], commands: Sequence[Command], start: int
) -> tuple[Directory, list[Event], list[int]]:
    """
    Carry out those commands from position C{start} on that set files without a TTL, up to the first other one.

    @param index: the index of the key space.
    @param ttls: the keys that have a TTL, or whose TTL is not forgotten yet.
    @return: the new root; one event for each command that was carried out; and the size of each event, see
        L{etcd_twisted.keyspace.history.event_bytes}.
    """
    events: list[Event] = []
    sizes: list[int] = []
    edit = TreeEdit(root)
    opened, new_event, new_size = edit.opened, events.append, sizes.append
    for command in islice(commands, start, None):
        if type(command) is not Set or command.directory or command.expires is not None:
            break
        key, value = command.key, command.value
        parent, _, name = key.rpartition("/")
        directory = opened.get(parent) or edit.open(parent)
        if directory is None or not name or key in ttls:
            break
        before = directory.children.get(name)
        size = len(value) if value.isascii() else text_bytes(value)
        key_size = len(key) if key.isascii() else text_bytes(key)
        index += 1
        if type(before) is File:
            old = before.value
            old_size = len(old) if old.isascii() else text_bytes(old)
            directory.size += size - old_size
            previous = NodeView(key, old, False, None, 0, before.modified, before.created)
            new_size(EVENT_BYTES + key_size + size + old_size)
        elif before is None:
            directory.size += NODE_BYTES + text_bytes(name) + size
            directory.files += 1
            previous = None
            new_size(EVENT_BYTES + key_size + size)
        else:
            break
        directory.children[name] = File(value, index, index)
        new_event(Event(ActionResult("set", NodeView(key, value, False, None, 0, index, index), previous)))
    return edit.finish() if events else root, events, sizes
