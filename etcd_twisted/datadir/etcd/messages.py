"""
The messages in etcd's files: C{walpb}, C{snappb}, C{raftpb} and C{etcdserverpb} of etcd 2.0 to 3.5.

This module must never take one message for another: a record's checksum does not cover its type.
"""

import enum
from typing import Any

import attrs

from etcd_twisted.datadir.etcd.wire import WireError, fields, message, signed, text


@enum.unique
class RecordType(enum.IntEnum):
    """What a record of the log holds."""

    METADATA = 1
    ENTRY = 2
    STATE = 3
    CRC = 4
    SNAPSHOT = 5


@attrs.frozen(slots=True)
class Record:
    """
    A record of the write-ahead log.

    @ivar checksum: the CRC-32C of the data of all records up to this one; of those before, in a record of type CRC.
    """

    type: RecordType
    checksum: int
    data: bytes


@attrs.frozen(slots=True)
class Metadata:
    """Whose log it is."""

    node_id: int
    cluster_id: int


@enum.unique
class EntryType(enum.IntEnum):
    """What an entry holds."""

    NORMAL = 0
    CONF_CHANGE = 1


@attrs.frozen(slots=True)
class Entry:
    """An entry of Raft's log."""

    type: EntryType
    term: int
    index: int
    data: bytes


@attrs.frozen(slots=True)
class HardState:
    """The term, the vote and the commit index of a member."""

    term: int
    vote: int
    commit: int


@attrs.frozen(slots=True)
class SnapshotMark:
    """The record in the log of a snapshot that was taken."""

    index: int
    term: int


@attrs.frozen(slots=True)
class Snapshot:
    """
    A snapshot.

    @ivar data: the version 2 store as JSON.
    @ivar voters: the ids of the members with a vote.
    """

    data: bytes
    index: int
    term: int
    voters: frozenset[int]


@enum.unique
class ConfChangeType(enum.IntEnum):
    """How a member changes."""

    ADD = 0
    REMOVE = 1
    UPDATE = 2
    ADD_LEARNER = 3


@attrs.frozen(slots=True)
class ConfChange:
    """
    A change of the members.

    @ivar context: the member, as JSON.
    """

    type: ConfChangeType
    node_id: int
    context: bytes


@attrs.frozen(slots=True)
class Request:
    """
    A request of version 2 of the API. Its fields are those of C{etcdserverpb.Request}; times are in nanoseconds.

    @ivar prev_exist: C{None} if the request does not say.
    @ivar expiration: when the TTL ends; 0 if there is none.
    """

    method: str
    path: str
    value: str
    directory: bool
    prev_value: str
    prev_index: int
    prev_exist: bool | None
    expiration: int
    recursive: bool
    time: int
    refresh: bool


@attrs.frozen(slots=True)
class ClusterVersion:
    """The version of the cluster is set, as etcd 3.5 does it."""

    version: str


@attrs.frozen(slots=True)
class MemberAttributes:
    """A member's name and client URLs are set, as etcd 3.5 does it."""

    member_id: int
    name: str
    client_urls: tuple[str, ...]


def _enum(kind: Any, value: int) -> Any:
    try:
        return kind(value)
    except ValueError:
        raise WireError(f"there is no {kind.__name__} {value!r}") from None


def _repeated(data: bytes, kind: type, number: int) -> list[Any]:
    return [value for each, value in fields(data) if each == number and isinstance(value, kind)]


_RECORD = {1: int, 2: int, 3: bytes}
_METADATA = {1: int, 2: int}
_ENTRY = {1: int, 2: int, 3: int, 4: bytes}
_STATE = {1: int, 2: int, 3: int}
_MARK = {1: int, 2: int, 3: bytes}
_SAVED = {1: int, 2: bytes}
_SNAPSHOT = {1: bytes, 2: bytes}
_SNAPSHOT_METADATA = {1: bytes, 2: int, 3: int}
_CHANGE = {1: int, 2: int, 3: int, 4: bytes}
_TEXTS, _NUMBERS = (2, 3, 4, 6), (1, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17)
_REQUEST = {**dict.fromkeys(_TEXTS, bytes), **dict.fromkeys(_NUMBERS, int)}
_REQUIRED_OF_REQUEST = frozenset({2, 3})


def record(data: bytes) -> Record:
    """Returns a record."""
    found = message(data, _RECORD, frozenset({1, 2}))
    kind = _enum(RecordType, found[1])
    if (kind is RecordType.CRC) is (3 in found):
        raise WireError(f"a record of type {kind.name} {'has' if 3 in found else 'lacks'} data")
    return Record(kind, found[2] & 0xFFFFFFFF, found.get(3, b""))


def metadata(data: bytes) -> Metadata:
    """Returns whose log it is."""
    found = message(data, _METADATA, frozenset(_METADATA))
    return Metadata(found[1], found[2])


def entry(data: bytes) -> Entry:
    """Returns an entry."""
    found = message(data, _ENTRY, frozenset({1, 2, 3}))
    kind = _enum(EntryType, found[1])
    return Entry(kind, found[2], found[3], found.get(4, b""))


def hard_state(data: bytes) -> HardState:
    """Returns a hard state."""
    found = message(data, _STATE, frozenset(_STATE))
    return HardState(found[1], found[2], found[3])


def snapshot_mark(data: bytes) -> SnapshotMark:
    """Returns the record of a snapshot."""
    found = message(data, _MARK, frozenset({1, 2}))
    return SnapshotMark(found[1], found[2])


def saved_snapshot(data: bytes) -> tuple[int, bytes]:
    """Returns the checksum and the data of a snapshot file."""
    found = message(data, _SAVED, frozenset(_SAVED))
    return found[1] & 0xFFFFFFFF, found[2]


def snapshot(data: bytes) -> Snapshot:
    """Returns the snapshot that a file holds."""
    found = message(data, _SNAPSHOT, frozenset(_SNAPSHOT))
    about = message(found[2], _SNAPSHOT_METADATA, frozenset(_SNAPSHOT_METADATA))
    voters = frozenset(_repeated(about[1], int, 1))
    return Snapshot(found[1], about[2], about[3], voters)


def conf_change(data: bytes) -> ConfChange:
    """Returns a change of the members."""
    found = message(data, _CHANGE, frozenset({2, 3}))
    return ConfChange(_enum(ConfChangeType, found[2]), found[3], found.get(4, b""))


def request(data: bytes) -> Request:
    """Returns a request of version 2 of the API."""
    found = message(data, _REQUEST, _REQUIRED_OF_REQUEST)
    return Request(
        method=text(found[2]),
        path=text(found[3]),
        value=text(found.get(4, b"")),
        directory=bool(found.get(5, 0)),
        prev_value=text(found.get(6, b"")),
        prev_index=found.get(7, 0),
        prev_exist=bool(found[8]) if 8 in found else None,
        expiration=signed(found.get(9, 0)),
        recursive=bool(found.get(12, 0)),
        time=signed(found.get(15, 0)),
        refresh=bool(found.get(17, 0)),
    )


_METHODS = (b"PUT", b"POST", b"DELETE", b"QGET", b"SYNC", b"GET", b"HEAD")
_V2, _VERSION_SET, _ATTRIBUTES_SET = 2, 1300, 1301

CLUSTER_VERSION_TAG = b"\xa2\x51"
"""What a proposal that sets the version of the cluster holds: the number and the type of that field."""


def proposal(data: bytes) -> Request | ClusterVersion | MemberAttributes | None:
    """
    Returns what a normal entry asks for; C{None} if it is nothing that version 2 of the API has, and changes no index.

    It is a C{Request} or an C{InternalRaftRequest}. Both have their second field as bytes: the method's name in the
    first, and a whole C{Request} in the second.
    """
    found: dict[int, int | bytes] = {}
    for number, value in fields(data):
        if number not in found:
            found[number] = value
    second = found.get(_V2)
    if isinstance(second, bytes):
        return request(data if second in _METHODS else second)
    if isinstance(version := found.get(_VERSION_SET), bytes):
        return ClusterVersion(text(message(version, {1: bytes}, frozenset({1}))[1]))
    if isinstance(attributes := found.get(_ATTRIBUTES_SET), bytes):
        return _member_attributes(attributes)
    return None


def _member_attributes(data: bytes) -> MemberAttributes:
    found = message(data, {1: int, 2: bytes}, frozenset({1}))
    about = found.get(2, b"")
    names, urls = _repeated(about, bytes, 1), _repeated(about, bytes, 2)
    return MemberAttributes(found[1], text(names[-1]) if names else "", tuple(map(text, urls)))
