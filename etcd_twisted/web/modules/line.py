"""
The line before a lock, as the key space holds it (api, "Lock Module"; spec, section 2).

Each place in line is a file below C{/_etcd/mod/lock/KEY}, named by the index it was made at: the lowest has the lock.
Whatever else is there is nobody's place. Must never change anything, nor know who waits.
"""

from collections.abc import Iterator

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.interfaces import IReplica
from etcd_twisted.keyspace.nodes import Directory, File
from etcd_twisted.keyspace.paths import ROOT, clean, join
from etcd_twisted.web.forms import unsigned

PREFIX = "/_etcd/mod/lock"
"""The directory of all locks."""


def line_of(name: str) -> str | None:
    """
    The key of the directory that a lock's line is in; C{None} if this is no name of a lock.

    @param name: decoded, but not clean.
    """
    key = clean(name)
    return PREFIX + key if key != ROOT else None


def name_of(line: str) -> str:
    """What the lock is called whose line this is, for people."""
    return line.removeprefix(PREFIX)


def place_key(line: str, index: int) -> str:
    """The key of a place."""
    return join(line, str(index))


def index_of(key: str) -> int:
    """The index that a place's key ends in."""
    return int(key.rpartition("/")[2])


def places(replica: IReplica, line: str) -> dict[int, str] | None:
    """
    The places in line on this machine's copy, in no order: their values by their indexes. C{None} if nobody has ever
    asked for this lock.
    """
    try:
        directory = replica.get(line)
    except EtcdError as error:
        if error.code not in (ErrorCode.KEY_NOT_FOUND, ErrorCode.NOT_A_DIRECTORY):
            raise
        return None
    return dict(_places(directory)) if isinstance(directory, Directory) else None


def _places(directory: Directory) -> Iterator[tuple[int, str]]:
    for name, node in directory.children.items():
        index = unsigned(name)
        if isinstance(node, File) and index is not None and str(index) == name:
            yield index, node.value


def with_value(line: dict[int, str], value: str) -> int | None:
    """The first place in line with that value."""
    return min((index for index, each in line.items() if each == value), default=None)


def before(line: dict[int, str], index: int) -> int | None:
    """The place before another one; C{None} for the first."""
    return max((each for each in line if each < index), default=None)
