"""
The write-ahead log of etcd: files of records, each with its length before it and a checksum that goes on from the
record before.

The log keeps etcd's rules for its end, but for one. In the last file, a record that is not whole is cut off, if the
file ends within it or if it lacks a whole sector; but not if a whole record stands anywhere behind it, which etcd cuts
off too: it may as well be damage. This module must never skip damage, nor change a file.
"""

import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs

from etcd_twisted.consensus.storage.files import files_in, naming, open_to_read
from etcd_twisted.datadir.etcd import messages
from etcd_twisted.datadir.etcd.checksums import crc32c
from etcd_twisted.datadir.etcd.messages import (
    Entry,
    EntryType,
    HardState,
    Metadata,
    Record,
    RecordType,
    SnapshotMark,
)
from etcd_twisted.datadir.etcd.wire import WireError
from etcd_twisted.errors import StorageError

NAME = re.compile(r"([0-9a-f]{16})-([0-9a-f]{16})\.wal")

_LENGTH = struct.Struct("<Q")
_MASK = (1 << 56) - 1
_PADDED = 0x80
_MOST_PADDING_BYTES = 7
_SECTOR_BYTES = 512
_RECORD_BEGINS = re.compile(rb"\x08[\x01-\x05]\x10")

_Content = Metadata | Entry | HardState | SnapshotMark

_NOBODY = Metadata(0, 0)
_NO_STATE = HardState(0, 0, 0)

_DECODERS: dict[RecordType, Callable[[bytes], _Content]] = {
    RecordType.METADATA: messages.metadata,
    RecordType.ENTRY: messages.entry,
    RecordType.STATE: messages.hard_state,
    RecordType.SNAPSHOT: messages.snapshot_mark,
}


def damage(path: Path, offset: int, what: str) -> StorageError:
    """Returns the error for a file of etcd that is not as etcd has written it."""
    return StorageError(
        f"{path} is damaged at byte {offset}: {what}; take the data directory of another member, or a backup"
    )


class NotInLogError(Exception):
    """The log does not know of a snapshot, or does not reach back to it."""


@attrs.frozen(slots=True)
class TornTail:
    """What etcd would cut off the log when it starts."""

    path: Path
    offset: int


@attrs.define
class Log:
    """
    What the log holds behind a snapshot.

    @ivar entries: the entries after the snapshot's index, without those that others have replaced.
    @ivar torn: what was cut off at its end, if anything.
    @ivar is_padded: whether records are padded, as etcd 2.3 and later do it.
    """

    start: SnapshotMark
    metadata: Metadata = _NOBODY
    state: HardState = _NO_STATE
    entries: list[Entry] = attrs.Factory(list)
    torn: TornTail | None = None
    is_padded: bool = False
    _last_index: int | None = None
    _is_marked: bool = False

    @property
    def last_index(self) -> int:
        """The index of the last entry."""
        return self.start.index + len(self.entries)

    def add(self, value: _Content) -> None:
        """
        Add what a record holds.

        @raise WireError: it does not go on from those before.
        """
        if isinstance(value, Entry):
            self._add_entry(value)
        elif isinstance(value, HardState):
            before = self.state
            if value.term < max(before.term, 1) or value.commit < before.commit:
                raise WireError(f"term {value.term}, commit {value.commit} after {before.term}, {before.commit}")
            self.state = value
        elif isinstance(value, SnapshotMark):
            if value.index == self.start.index:
                if value.term != self.start.term:
                    raise WireError(f"it says term {value.term} of a snapshot that has term {self.start.term}")
                self._is_marked = True
            if self._last_index is None or value.index > self._last_index:
                self._last_index = value.index
        elif self.metadata not in (_NOBODY, value):
            raise WireError("it belongs to another member or cluster")
        else:
            self.metadata = value

    def _add_entry(self, entry: Entry) -> None:
        if self._last_index is not None and entry.index > self._last_index + 1:
            raise WireError(f"entry {entry.index} does not follow entry {self._last_index}")
        if entry.type is EntryType.CONF_CHANGE:
            messages.conf_change(entry.data)
        self._last_index = entry.index
        position = entry.index - self.start.index - 1
        if position < 0:
            return
        if position > len(self.entries):
            raise NotInLogError(f"the log has entry {entry.index}, but not entry {self.last_index + 1}")
        before = self.entries[position - 1].term if position else self.start.term
        if entry.term < max(before, 1):
            raise WireError(f"entry {entry.index} has term {entry.term}, after term {before}")
        del self.entries[position:]
        self.entries.append(entry)

    def check(self, path: Path) -> None:
        """
        Check the log as a whole.

        @param path: the last file.
        @raise NotInLogError: the snapshot is not one that this log knows.
        """
        if not self._is_marked:
            raise NotInLogError(f"the log has no record of the snapshot at index {self.start.index}")
        if self.start.index > self.state.commit:
            raise NotInLogError(f"the log does not say that index {self.start.index} is committed")
        if self.metadata == _NOBODY:
            raise damage(path, 0, "no record says whose log this is")
        if self.state.commit > self.last_index:
            raise damage(
                path, 0, f"the log ends at index {self.last_index}, but is committed up to index {self.state.commit}"
            )


def log_files(directory: Path) -> list[Path]:
    """Returns the files of a log, in their order."""
    return files_in(directory, NAME)


def read_log(directory: Path, start: SnapshotMark) -> Log:
    """
    Read the log behind a snapshot.

    @param start: the snapshot; its index is 0 if there is none.
    @raise NotInLogError: the log does not go on from it.
    @raise StorageError: the log is damaged, or can't be read.
    """
    log = Log(start)
    files = _files_from(directory, start.index)
    checksum: int | None = None
    for path in files:
        with naming(path), open_to_read(path) as file:
            data = file.read()
        reader = _FileReader(path, data, path is files[-1], checksum)
        for offset, record in reader:
            try:
                log.add(_DECODERS[record.type](record.data))
            except WireError as error:
                raise damage(path, offset, f"a record of type {record.type.name}: {error}") from None
        checksum, log.torn = reader.checksum, reader.torn
        log.is_padded |= reader.is_padded
    log.check(files[-1])
    return log


def _files_from(directory: Path, index: int) -> list[Path]:
    """Returns the files with all entries after an index."""
    files = log_files(directory)
    if not files:
        raise StorageError(f"{directory} has no file of a log; name the directory that has with --wal-dir")
    numbers = [tuple(int(part, 16) for part in path.stem.split("-")) for path in files]
    first = max((place for place, (_, begins) in enumerate(numbers) if begins <= index), default=None)
    if first is None:
        raise NotInLogError(f"the log begins at index {numbers[0][1]}, behind index {index}")
    for place in range(first + 1, len(files)):
        (before, _), (number, _) = numbers[place - 1 : place + 1]
        if number != before + 1:
            raise StorageError(f"{files[place]} has number {number}, but the file before it {before}: one is missing")
    return files[first:]


class _FileReader:
    """
    The records of one file. Records of type CRC are checked, and left out.

    @ivar checksum: that of all data up to here; C{None} before the first record of the first file.
    @ivar torn: what was cut off at the end of the file.
    """

    def __init__(self, path: Path, data: bytes, is_last: bool, checksum: int | None) -> None:
        self.checksum = checksum
        self.torn: TornTail | None = None
        self.is_padded = False
        self._path = path
        self._data = data
        self._end = len(data.rstrip(b"\0"))
        self._is_last = is_last
        self._is_first_record = True

    def __iter__(self) -> Iterator[tuple[int, Record]]:
        offset = 0
        while offset < self._end:
            try:
                record, after = self._record(offset)
            except _BadRecordError as error:
                self._end_at(offset, error)
                return
            if record.type is not RecordType.CRC:
                yield offset, record
            offset = after
        if self._is_first_record:
            raise damage(self._path, 0, "the file has no record")

    def _record(self, offset: int) -> tuple[Record, int]:
        """Returns the record at an offset, and the offset behind it."""
        start = offset + _LENGTH.size
        if start > len(self._data):
            raise _BadRecordError("the file ends within the length of a record", True)
        length, padding = _lengths(self._data, offset)
        if length == 0:
            raise _BadRecordError("there is no record, but something behind it", self._is_zero_sector(offset))
        end = start + length
        after = end + padding
        if after > len(self._data):
            raise _BadRecordError(f"a record of {length} bytes is cut off", True)
        try:
            record = messages.record(self._data[start:end])
            self._check(record)
        except WireError as error:
            raise _BadRecordError(str(error), self._has_zero_sector(start, after)) from None
        if padding:
            self.is_padded = True
        self._is_first_record = False
        return record, after

    def _check(self, record: Record) -> None:
        """Check the checksum of a record, with which that of the next one goes on."""
        if record.type is RecordType.CRC:
            if self.checksum not in (None, record.checksum):
                raise WireError("the file does not go on from the file before")
            self.checksum = record.checksum
            return
        if self.checksum is None or self._is_first_record:
            raise WireError("the first record of the file is not one of type CRC")
        checksum = crc32c(record.data, self.checksum)
        if checksum != record.checksum:
            raise WireError("the checksum of a record is wrong")
        self.checksum = checksum

    def _end_at(self, offset: int, error: "_BadRecordError") -> None:
        """End the file before a bad record, if that can be one that was never written to its end."""
        if not self._is_last or not error.is_torn or self._is_first_record:
            raise damage(self._path, offset, error.reason)
        if (behind := self._whole_record(offset + 1)) is not None:
            raise damage(
                self._path,
                offset,
                f"{error.reason}, although there is a whole record behind it, at byte {behind}."
                " If etcd still starts with this directory, start it once and stop it, which cuts the log off here",
            )
        self.torn = TornTail(self._path, offset)

    def _whole_record(self, start: int) -> int | None:
        """Returns the offset of the first whole record at or behind an offset."""
        for found in _RECORD_BEGINS.finditer(self._data, start, self._end):
            offset = found.start() - _LENGTH.size
            if offset < start:
                continue
            length, padding = _lengths(self._data, offset)
            if found.start() + length + padding > len(self._data):
                continue
            try:
                record = messages.record(self._data[found.start() : found.start() + length])
                if record.type is not RecordType.CRC:
                    _DECODERS[record.type](record.data)
            except WireError:
                continue
            return offset
        return None

    def _is_zero_sector(self, offset: int) -> bool:
        """Returns whether there are only zeros from an offset to the end of its sector."""
        return not any(self._data[offset : offset - offset % _SECTOR_BYTES + _SECTOR_BYTES])

    def _has_zero_sector(self, start: int, end: int) -> bool:
        """Returns whether what is of one sector between two offsets is nothing but zeros, for any sector."""
        return any(
            not any(self._data[max(start, sector) : min(end, sector + _SECTOR_BYTES)])
            for sector in range(start - start % _SECTOR_BYTES, end, _SECTOR_BYTES)
        )


def _lengths(data: bytes, offset: int) -> tuple[int, int]:
    """Returns the length of the record at an offset, and that of the padding behind it."""
    (field,) = _LENGTH.unpack_from(data, offset)
    top = field >> 56
    padding = top - _PADDED if top & _PADDED else top
    if padding > _MOST_PADDING_BYTES or (padding and not top & _PADDED):
        return len(data), 0
    return field & _MASK, padding


@attrs.define(slots=True, auto_exc=True, eq=False)
class _BadRecordError(Exception):
    """
    There is no whole record.

    @ivar is_torn: whether it can be the end of a write that was interrupted, by etcd's rules.
    """

    reason: str
    is_torn: bool
