"""
Carries out many commands in one go: the path to a directory is walked once for all changes of a batch that are made in
it. Only the most common command is carried out like that: one that sets a file without a TTL.

What it does must be exactly what L{etcd_twisted.keyspace.space.KeySpace} does with one command after the other.
"""

from collections.abc import Container, Sequence
from itertools import islice

from etcd_twisted.keyspace import tree
from etcd_twisted.keyspace.commands import Command, Set
from etcd_twisted.keyspace.events import ActionResult, Event, NodeView
from etcd_twisted.keyspace.nodes import Directory, File
from etcd_twisted.keyspace.paths import CLUSTER_KEYS
from etcd_twisted.keyspace.sizes import EVENT_BYTES, NODE_BYTES, text_bytes


def put_files(
    root: Directory, owner: object, index: int, ttls: Container[str], commands: Sequence[Command], start: int
) -> tuple[Directory, list[Event], list[int]]:
    """
    Carry out those commands from position C{start} on that set files without a TTL, up to the first other one, or one
    with a key below L{CLUSTER_KEYS}.

    @param owner: the owner of the tree, see L{tree}.
    @param index: the index of the key space.
    @param ttls: the keys that have a TTL, or whose TTL is not forgotten yet.
    @return: the root of the tree; one event for each command that was carried out; and the size of each event, see
        L{etcd_twisted.keyspace.history.event_bytes}.
    """
    events: list[Event] = []
    sizes: list[int] = []
    opened: dict[str, list[Directory]] = {}
    for command in islice(commands, start, None):
        if type(command) is not Set or command.directory or command.expires is not None:
            break
        key, value = command.key, command.value
        parent, _, name = key.rpartition("/")
        if not name or key in ttls:
            break
        path = opened.get(parent)
        if path is None:
            if parent.startswith(CLUSTER_KEYS) or (path := tree.opened(root, parent, name, owner)) is None:
                break
            root, opened[parent] = path[0], path
        entries = path[-1].entries
        before = entries.get(name)
        size = len(value) if value.isascii() else text_bytes(value)
        event_size = EVENT_BYTES + size + (len(key) if key.isascii() else text_bytes(key))
        if type(before) is File:
            old = before.value
            old_size = len(old) if old.isascii() else text_bytes(old)
            event_size += old_size
            size -= old_size
            previous = NodeView(key, old, False, None, 0, before.modified, before.created)
        elif before is None:
            size += NODE_BYTES + text_bytes(name)
            previous = None
        else:
            break
        index += 1
        entries[name] = File(value, index, index)  # type: ignore[index]  # it is a mutation
        if size or previous is None:
            for directory in path:
                directory.size += size
                directory.files += previous is None
        sizes.append(event_size)
        events.append(Event(ActionResult("set", NodeView(key, value, False, None, 0, index, index), previous)))
    return root, events, sizes
