"""
The version 2 store of etcd: its JSON in a snapshot, and what it amounts to in a key space.

It has the keys of clients below C{/1}, the members and the version of the cluster below C{/0}, and users and roles
below C{/2}. While the log is replayed, a key space holds all of it with etcd's times, which are in nanoseconds: two
TTLs that end in one microsecond must not expire together.
"""

import calendar
import re
from collections.abc import Iterator, Mapping

import msgspec

from etcd_twisted.datadir.trees import bare_directory, build, walk
from etcd_twisted.errors import StorageError
from etcd_twisted.keyspace import tree
from etcd_twisted.keyspace.expiry import ExpirySchedule
from etcd_twisted.keyspace.nodes import EMPTY_ROOT, Directory, File, Node, empty_directory
from etcd_twisted.keyspace.paths import ROOT, join
from etcd_twisted.keyspace.space import KeySpace
from etcd_twisted.keyspace.state import KeySpaceState
from etcd_twisted.keyspace.statistics import CommandCounts

MEMBERS, KEYS, USERS = "/0", "/1", "/2"
READ_ONLY = frozenset({ROOT, MEMBERS, KEYS})
"""Directories that no request changes."""

NANOSECONDS_PER_SECOND = 1_000_000_000
_FOREVER = "0001-01-01T00:00:00Z"
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))")


class _Node(msgspec.Struct, rename="pascal", gc=False):
    """A node in the JSON. One without children is a file."""

    created_index: int
    modified_index: int
    expire_time: str
    value: str
    children: "dict[str, _Node] | None"


class _Store(msgspec.Struct, rename="pascal"):
    root: _Node
    current_index: int
    stats: CommandCounts


_decode = msgspec.json.Decoder(_Store).decode


def new_store() -> KeySpace:
    """Returns the store of a new cluster."""
    return _key_space(KeySpaceState(_with_fixed_directories(EMPTY_ROOT), 0, CommandCounts(), (), 0), ExpirySchedule())


def load_store(data: bytes) -> KeySpace:
    """
    Returns the store in a snapshot.

    @raise StorageError: this is no such JSON. The text does not name the file.
    """
    try:
        store = _decode(data)
        root = _root(store.root)
    except RecursionError:
        raise StorageError("its directories are nested too deep to be read") from None
    except ValueError as error:  # msgspec's are ValueErrors
        raise StorageError(f"it does not hold etcd's version 2 store: {error}") from None
    schedule = ExpirySchedule()
    for key, node in walk(root):
        schedule.set(key, node.expires)
    return _key_space(KeySpaceState(_with_fixed_directories(root), store.current_index, store.stats, (), 0), schedule)


def _key_space(state: KeySpaceState, schedule: ExpirySchedule) -> KeySpace:
    keyspace = KeySpace(history_capacity=1)
    keyspace.restore(state, schedule)
    return keyspace


def _with_fixed_directories(root: Directory) -> Directory:
    for key in (MEMBERS, KEYS):
        if key[1:] not in root.entries:
            root = tree.put(tree.look_up(root, key), empty_directory(0), 0, object())
    return root


def _root(stored: _Node) -> Directory:
    def nodes(parent: str, children: Mapping[str, _Node]) -> Iterator[tuple[str, Node]]:
        for name, child in children.items():
            key, expires = join(parent, name), _time(child.expire_time)
            if not name or "/" in name:
                raise ValueError(f"{name!r} can't be a name")
            if child.children is None:
                yield key, File(child.value, child.created_index, child.modified_index, expires)
            else:
                yield key, bare_directory(child.created_index, child.modified_index, expires)
                yield from nodes(key, child.children)

    return build(nodes(ROOT, stored.children or {}))


def _time(text: str) -> int | None:
    """Returns a time in nanoseconds since the epoch, or C{None} for that of a node without a TTL."""
    if text == _FOREVER:
        return None
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no time")
    seconds = calendar.timegm(tuple(int(part) for part in found.groups()[:6]))
    if found[8]:
        offset = int(found[9]) * 3600 + int(found[10]) * 60
        seconds -= -offset if found[8] == "-" else offset
    return seconds * NANOSECONDS_PER_SECOND + int((found[7] or "").ljust(9, "0"))
