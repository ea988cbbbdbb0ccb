"""
Where an import takes its records from: a file of C{export}, or a recursive listing as a server answers with it.

A file is read twice: first to see that all of it is sound, and what there is in it, and then to write its records
somewhere. So nothing is written of a damaged file. A pipe can be read only once. This module must never hold more than
a piece of a file in memory.
"""

import hashlib
import io
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import attrs

from etcd_twisted.ctl.export_format import (
    DamagedExportError,
    ExportReader,
    Header,
    NodeRecord,
    Record,
    RoleRecord,
    UserRecord,
    is_export,
)
from etcd_twisted.ctl.subtree import parents_of

if TYPE_CHECKING:
    from etcd_twisted.client import Node

_PIECE_BYTES = 65_536
_STANDARD_INPUT = "-"


class Expiry:
    """
    Tells which nodes have expired, if only with a directory that they are in, which comes before them. Hidden nodes
    come last, so that all directories that have expired are kept, but for those in one that has.
    """

    def __init__(self) -> None:
        self._directories: set[str] = set()

    def is_over(self, record: NodeRecord, now: float) -> bool:
        """Returns whether a node has expired."""
        if self._directories and any(parent in self._directories for parent in parents_of(record.key)):
            return True
        is_over = record.expires_at is not None and record.expires_at <= now
        if is_over and record.directory:
            self._directories.add(record.key)
        return is_over


@attrs.define
class Survey:
    """
    What there is in a source.

    @ivar header: what it is about.
    @ivar records: how many records it has.
    @ivar keys: how many keys with values.
    @ivar directories: how many directories.
    @ivar leased: how many of both expire at some time.
    @ivar expired: how many have expired already, by themselves or with a directory that they are in.
    @ivar roles: how many roles.
    @ivar users: the names of its users.
    @ivar identity: a text that another source does not have.
    """

    header: Header
    records: int = 0
    keys: int = 0
    directories: int = 0
    leased: int = 0
    expired: int = 0
    roles: int = 0
    users: list[str] = attrs.field(factory=list)
    identity: str = ""
    _expiry: "Expiry" = attrs.field(factory=Expiry)

    def add(self, record: Record, now: float) -> None:
        """Count a record."""
        self.records += 1
        if isinstance(record, NodeRecord):
            self.directories += record.directory
            self.keys += not record.directory
            self.leased += record.expires_at is not None
            self.expired += self._expiry.is_over(record, now)
        elif isinstance(record, RoleRecord):
            self.roles += 1
        elif isinstance(record, UserRecord):
            self.users.append(record.name)


class Source(Protocol):
    """A source of records."""

    @property
    def name(self) -> str:
        """What to call it."""

    @property
    def header(self) -> Header:
        """What it is about."""

    def survey(self) -> Survey | None:
        """Returns what there is in it, or C{None} if that can't be known before it is read."""

    def records(self) -> Iterator[Record]:
        """Returns the records, from the first one on."""


class _Hashed(io.RawIOBase):
    """A file that notes the SHA-256 of what is read."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self.digest = hashlib.sha256()
        self._file = file

    def readable(self) -> bool:
        """See L{io.RawIOBase}."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # as io calls it
        """See L{io.RawIOBase}."""
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self.digest.update(data)
        return len(data)


def _listed_records(file: BinaryIO, name: str) -> Iterator[Record]:
    """Returns the nodes of a listing, as records."""
    from etcd_twisted.client.listing import ListingError, ListingParser

    nodes: list[Node] = []
    parser = ListingParser(nodes.append)
    try:
        while piece := file.read(_PIECE_BYTES):
            parser.feed(piece)
            yield from _records_of(nodes)
        parser.close()
        yield from _records_of(nodes)
    except ListingError as error:
        text = f"{name}: it is neither a file of txetcdctl export nor a listing of a server: {error}"
        raise DamagedExportError(text) from error


def _records_of(nodes: "list[Node]") -> Iterator[Record]:
    for node in nodes:
        if node.key != "/":
            value = None if node.directory else node.value
            yield NodeRecord(node.key, value, node.expires_at, node.created_index, node.modified_index)
    nodes.clear()


def _open(file: Any, name: str) -> tuple[Header, Iterator[Record]]:
    """Returns what a file is about, and its records."""
    reader: Any = file if isinstance(file, io.BufferedReader) else io.BufferedReader(file, _PIECE_BYTES)
    if is_export(reader.peek(64)):
        export = ExportReader(reader, name)
        return export.header, iter(export)
    return Header("/", 0, 0.0), _listed_records(reader, name)


@attrs.frozen
class FileSource:
    """
    A file, which can be read again and again.

    @ivar path: where it is.
    @ivar header: what it is about.
    """

    path: Path
    header: Header

    @property
    def name(self) -> str:
        """What to call it."""
        return str(self.path)

    def survey(self) -> Survey:
        """
        Returns what there is in it.

        @raise DamagedExportError: it is damaged.
        """
        with self.path.open("rb") as file:
            hashed = _Hashed(file)
            header, records = _open(hashed, self.name)
            found = Survey(header)
            now = time.time()
            for record in records:
                found.add(record, now)
            found.identity = hashed.digest.hexdigest()
        return found

    def records(self) -> Iterator[Record]:
        """Returns the records."""
        with self.path.open("rb") as file:
            yield from _open(file, self.name)[1]


@attrs.frozen
class PipeSource:
    """
    The standard input, which can be read once.

    @ivar header: what it is about.
    """

    name = "the standard input"
    header: Header
    _records: Iterator[Record]

    def survey(self) -> None:
        """Returns C{None}."""

    def records(self) -> Iterator[Record]:
        """Returns the records."""
        return self._records


def source_of(path: str) -> Source:
    """
    Returns what is at a path, or the standard input for C{-}.

    @raise DamagedExportError: it is none of what can be imported.
    """
    if path == _STANDARD_INPUT:
        return PipeSource(*_open(sys.stdin.buffer, PipeSource.name))
    try:
        with open(path, "rb") as file:
            if not os.path.isfile(path):
                raise DamagedExportError(f"{path} is no file: write - for the standard input")
            return FileSource(Path(path), _open(file, path)[0])
    except OSError as error:
        raise DamagedExportError(f"can't read {path}: {error.strerror}") from error
