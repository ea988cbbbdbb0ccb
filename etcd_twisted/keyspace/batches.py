"""
Carries out many commands in one go, where nobody looks at the tree between two of them nor waits for their outcomes:
on machines that apply what others have proposed, and when the log is replayed.

The path to a directory is walked once for all changes of a batch that are made in it. Only the most common command is
carried out like that: one that sets a file without a TTL. What it does must be exactly what
L{etcd_twisted.keyspace.space.KeySpace.apply} does.
"""

from collections.abc import Container, Sequence
from itertools import islice

from etcd_twisted.keyspace import tree
from etcd_twisted.keyspace.commands import Command, Set
from etcd_twisted.keyspace.events import ActionResult, Event, NodeView
from etcd_twisted.keyspace.nodes import Directory, File
from etcd_twisted.keyspace.sizes import EVENT_BYTES, NODE_BYTES, text_bytes


class OpenDirectory:
    """
    A directory that is being changed.

    @ivar path: all directories from the root to this one.
    @ivar entries: what it holds.
    @ivar size: by how much its size has changed that the directories do not show yet. C{files} is the change in the
        number of files.
    """

    __slots__ = ("entries", "files", "path", "size")

    def __init__(self, path: list[Directory]) -> None:
        self.path = path
        self.entries = path[-1].entries
        self.size = self.files = 0

    def close(self) -> None:
        """Have the directories show the changes."""
        for directory in self.path:
            directory.size += self.size
            directory.files += self.files


def put_files(
    root: Directory, owner: object, index: int, ttls: Container[str], commands: Sequence[Command], start: int
) -> tuple[Directory, list[Event], list[int]]:
    """
    Carry out those commands from position C{start} on that set files without a TTL, up to the first other one.

    @param owner: the owner of the tree, see L{tree}.
    @param index: the index of the key space.
    @param ttls: the keys that have a TTL, or whose TTL is not forgotten yet.
    @return: the root of the tree; one event for each command that was carried out; and the size of each event, see
        L{etcd_twisted.keyspace.history.event_bytes}.
    """
    events: list[Event] = []
    sizes: list[int] = []
    opened: dict[str, OpenDirectory] = {}
    new_event, new_size = events.append, sizes.append
    for command in islice(commands, start, None):
        if type(command) is not Set or command.directory or command.expires is not None:
            break
        key, value = command.key, command.value
        parent, _, name = key.rpartition("/")
        if not name or key in ttls:
            break
        directory = opened.get(parent)
        if directory is None:
            path = tree.opened(root, parent, owner)
            if path is None:
                break
            root = path[0]
            directory = opened[parent] = OpenDirectory(path)
        before = directory.entries.get(name)
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
        directory.entries[name] = File(value, index, index)  # type: ignore[index]  # it is a mutation
        new_event(Event(ActionResult("set", NodeView(key, value, False, None, 0, index, index), previous)))
    for directory in opened.values():
        directory.close()
    return root, events, sizes
