"""
The file that C{export} writes and C{import} reads: JSON, one object a line.

Rule 1. The first line is the header: what the file is, what was exported, and the index at which it was so.
Rule 2. Each further line is a record: roles, then users, then whether they are enabled, then nodes. A directory comes
        before what is in it, and all of it comes together. The prefix itself is a record, unless it is the root.
Rule 3. The last line has the number of the records and the SHA-256 of all lines before it. A file without it is cut
        off.

A line tells what it is by its fields, and a reader passes over fields that it does not know. The page
C{docs/txetcdctl.md} has an example. This module must never hold more than one line in memory, nor take a damaged line
for a good one.
"""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import BinaryIO

import attrs
import msgspec

FORMAT = "txetcdctl-export"
VERSION = 1

LONGEST_LINE_BYTES = 64 * 2**20
"""No server of this API takes a value of this size."""


class DamagedExportError(ValueError):
    """The file can't be used. The text names the file, the line, and what is wrong with it."""


@attrs.frozen
class Header:
    """
    What a file is about.

    @ivar prefix: the directory, or the key, that was exported.
    @ivar index: the index of the key space at which the nodes were so.
    @ivar time: when they were read, in seconds since the epoch.
    @ivar server: the software that they come from, for people.
    @ivar cluster: the id of its cluster, or an empty text.
    @ivar origin: where they were read: URLs, or a path; for people.
    """

    prefix: str
    index: int
    time: float
    server: str = ""
    cluster: str = ""
    origin: str = ""


@attrs.frozen
class NodeRecord:
    """
    A key with a value, or a directory.

    @ivar key: the whole key.
    @ivar value: the value; C{None} for a directory.
    @ivar expires_at: when it expires, in seconds since the epoch by the clock of its cluster; C{None} for never.
    @ivar created_index: the index at which it was made.
    @ivar modified_index: the index at which it was last changed.
    """

    key: str
    value: str | None
    expires_at: float | None = None
    created_index: int = 0
    modified_index: int = 0

    @property
    def directory(self) -> bool:
        """Whether this is a directory."""
        return self.value is None


@attrs.frozen
class RoleRecord:
    """
    A role.

    @ivar name: its name.
    @ivar read: patterns of the keys that its users may read.
    @ivar write: patterns of those that they may write.
    """

    name: str
    read: tuple[str, ...]
    write: tuple[str, ...]


@attrs.frozen
class UserRecord:
    """
    A user.

    @ivar name: the user's name.
    @ivar roles: the names of the user's roles.
    @ivar password_hash: the bcrypt hash of the password, or C{None} where it was not readable, as through the API.
    """

    name: str
    roles: tuple[str, ...]
    password_hash: str | None = None


@attrs.frozen
class AuthRecord:
    """
    Whether users and roles are enabled.

    @ivar enabled: whether they are.
    """

    enabled: bool


Record = NodeRecord | RoleRecord | UserRecord | AuthRecord


class _WireSource(msgspec.Struct, omit_defaults=True):
    server: str = ""
    cluster: str = ""
    origin: str = msgspec.field(default="", name="from")


class _WireHeader(msgspec.Struct):
    format: str
    version: int
    prefix: str = "/"
    index: int = 0
    time: datetime | None = None
    source: _WireSource = msgspec.field(default_factory=_WireSource)


class _WireRecord(msgspec.Struct, rename="camel", omit_defaults=True):
    """Any line but the header. Which fields it has tells which one."""

    key: str | None = None
    value: str | None = None
    dir: bool = False
    expiration: datetime | None = None
    created_index: int = 0
    modified_index: int = 0
    role: str | None = None
    read: tuple[str, ...] | None = None
    write: tuple[str, ...] | None = None
    user: str | None = None
    roles: tuple[str, ...] | None = None
    hash: str | None = None
    auth: bool | None = None
    end: bool = False
    records: int = 0
    sha256: str = ""


_encode = msgspec.json.Encoder().encode
_decode_header = msgspec.json.Decoder(_WireHeader).decode
_decode_record = msgspec.json.Decoder(_WireRecord).decode


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _wire_of(record: Record) -> _WireRecord:
    if isinstance(record, NodeRecord):
        return _WireRecord(
            key=record.key,
            value=record.value,
            dir=record.directory,
            expiration=None if record.expires_at is None else _moment(record.expires_at),
            created_index=record.created_index,
            modified_index=record.modified_index,
        )
    if isinstance(record, RoleRecord):
        return _WireRecord(role=record.name, read=record.read, write=record.write)
    if isinstance(record, UserRecord):
        return _WireRecord(user=record.name, roles=record.roles, hash=record.password_hash)
    return _WireRecord(auth=record.enabled)


def _record_of(wire: _WireRecord) -> Record:
    """
    Returns what a line says.

    @raise ValueError: it is no record.
    """
    if wire.key is not None:
        if not wire.key.startswith("/") or (wire.value is None) is not wire.dir:
            raise ValueError(f"{wire.key!r} is neither a key with a value nor a directory")
        expires_at = None if wire.expiration is None else wire.expiration.timestamp()
        return NodeRecord(wire.key, wire.value, expires_at, wire.created_index, wire.modified_index)
    if wire.role is not None:
        return RoleRecord(wire.role, wire.read or (), wire.write or ())
    if wire.user is not None:
        return UserRecord(wire.user, wire.roles or (), wire.hash)
    if wire.auth is not None:
        return AuthRecord(wire.auth)
    raise ValueError("it has none of the fields of a record")


def _trailer(count: int, digest: str) -> bytes:
    return _encode(_WireRecord(end=True, records=count, sha256=digest))


class ExportWriter:
    """
    Writes a file.

    @ivar count: how many records it has so far.
    """

    def __init__(self, file: BinaryIO, header: Header) -> None:
        """Write the header."""
        self.count = 0
        self._file = file
        self._digest = hashlib.sha256()
        source = _WireSource(header.server, header.cluster, header.origin)
        wire = _WireHeader(FORMAT, VERSION, header.prefix, header.index, _moment(header.time), source)
        self._write_line(_encode(wire))

    def write(self, record: Record) -> None:
        """Write a record."""
        self._write_line(_encode(_wire_of(record)))
        self.count += 1

    def finish(self) -> None:
        """Write the last line. What becomes of the file is up to the caller."""
        self._write_line(_trailer(self.count, self._digest.hexdigest()))

    def _write_line(self, line: bytes) -> None:
        line += b"\n"
        self._digest.update(line)
        self._file.write(line)


def is_export(beginning: bytes) -> bool:
    """Returns whether a file that begins so is one of this format."""
    return beginning.startswith(b'{"format":"' + FORMAT.encode() + b'"')


class ExportReader:
    """
    Reads a file, once, from its first line to its last.

    @ivar header: what it is about.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        """
        Read the header.

        @param name: what to call the file.
        @raise DamagedExportError: it has none.
        """
        self._file = file
        self._name = name
        self._line = 0
        self._digest = hashlib.sha256()
        line = self._next_line()
        try:
            wire = _decode_header(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._damaged(f"this is no file of txetcdctl export: {error}") from error
        if wire.format != FORMAT:
            raise self._damaged(f"its format is {wire.format!r}, not {FORMAT!r}")
        if wire.version > VERSION:
            raise self._damaged(f"it has version {wire.version} of the format: use a newer txetcdctl")
        time = 0.0 if wire.time is None else wire.time.timestamp()
        source = wire.source
        self.header = Header(wire.prefix, wire.index, time, source.server, source.cluster, source.origin)

    def __iter__(self) -> Iterator[Record]:
        """
        Returns the records.

        @raise DamagedExportError: a line is damaged, or missing.
        """
        count = 0
        while True:
            line = self._file.readline(LONGEST_LINE_BYTES)
            self._line += 1
            wire = self._decoded(line)
            if wire.end:
                self._check_end(line, wire, count)
                return
            self._digest.update(line)
            count += 1
            try:
                yield _record_of(wire)
            except ValueError as error:
                raise self._damaged(str(error)) from error

    def _decoded(self, line: bytes) -> _WireRecord:
        if not line.endswith(b"\n"):
            raise self._damaged("the file is cut off here: export it again")
        try:
            return _decode_record(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._damaged(str(error)) from error

    def _check_end(self, line: bytes, wire: _WireRecord, count: int) -> None:
        if line != _trailer(count, self._digest.hexdigest()) + b"\n":
            text = f"the file was changed since it was written: it has {count} records of {wire.records}"
            raise self._damaged(f"{text}, or one of them is another")
        if self._file.read(1):
            raise self._damaged("something follows what should be the last line")

    def _next_line(self) -> bytes:
        line = self._file.readline(LONGEST_LINE_BYTES)
        self._line += 1
        self._digest.update(line)
        return line

    def _damaged(self, text: str) -> DamagedExportError:
        return DamagedExportError(f"{self._name}, line {self._line}: {text}")
