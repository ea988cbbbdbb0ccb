"""
Files made of checked frames: what the write-ahead log and the snapshots have in common on disk.

A file begins with a header that identifies it, and continues with frames. C{docs/storage.md} describes both byte by
byte. This module keeps these rules:

  - Nothing read from a file is trusted before its checksum is verified, a frame's length least of all: a flipped
    bit in it must look like damage, never like the end of the file.
  - A frame is valid only in the file and at the offset that it was written to. A frame's bytes inside a client's
    value, or a block that the disk put in the wrong place, are not taken for a frame.

It must never decide what a bad frame means: the log may cut it off, a snapshot may not. It blocks, and knows no
reactor.
"""

import enum
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import attrs
import msgspec

from etcd_twisted.consensus.storage.files import REMEDY, naming, open_to_read, unusable
from etcd_twisted.errors import StorageError

FORMAT_VERSION = 1
"""The format version of every file in the data directory; C{docs/storage.md} describes it."""

MAGIC_LENGTH = 8
FRAME_MAGIC = b"\xe7\xcd\x92"
MAX_FRAME_PAYLOAD_BYTES = 1 << 30
"""The most bytes in a payload. An unsigned 32-bit length could be four times as large."""

_FILE_HEADER = struct.Struct(f"<{MAGIC_LENGTH}sIII")
_FRAME_HEADER = struct.Struct("<3sBIII")
_CHECKSUM = struct.Struct("<I")
FILE_HEADER_LENGTH = _FILE_HEADER.size
FRAME_HEADER_LENGTH = _FRAME_HEADER.size
_FRAME_HEADER_CHECKED = FRAME_HEADER_LENGTH - _CHECKSUM.size
_WINDOW_BYTES = 1 << 20
_MAX_SEED = 0xFFFFFFFF


@enum.unique
class FrameKind(enum.IntEnum):
    """What the payload of a frame holds."""

    SEGMENT_HEAD = 1
    RECORD = 2
    SNAPSHOT_METADATA = 3
    SNAPSHOT_CHUNK = 4
    SNAPSHOT_END = 5


_KINDS = {kind.value: kind for kind in FrameKind}


class Frame(msgspec.Struct, frozen=True, gc=False):
    """
    One whole frame, whose checksums are right. It is a C{msgspec.Struct}, as a start makes one for each record.

    @ivar offset: the offset of the frame in its file.
    @ivar end: the offset of the next frame.
    """

    kind: FrameKind
    payload: bytes
    offset: int
    end: int


@attrs.define(slots=True, auto_exc=True, eq=False)
class BadFrameError(Exception):
    """There is no whole frame at C{offset}; C{reason} says why."""

    path: Path
    offset: int
    reason: str

    def as_damage(self) -> StorageError:
        """Returns the same as an error for people, where a bad frame can only be damage."""
        return damage(self.path, self.offset, self.reason)


def damage(path: Path, offset: int, what: str) -> StorageError:
    """Returns the error for data that was written whole and is no longer whole."""
    return StorageError(f"{path} is damaged at byte {offset}: {what}; {REMEDY}")


def wrong_version(path: Path, version: int) -> StorageError:
    """Returns the error for a file that another version of this program wrote."""
    return StorageError(
        f"{path} has format version {version}, and this program reads version {FORMAT_VERSION};"
        " start the version of etcd_twisted that wrote it, or a later one"
    )


def foreign(path: Path, kind: str, owner: str, expected: str) -> StorageError:
    """Returns the error for a file and an identity that are from different data directories."""
    return StorageError(
        f"{path} belongs to the {kind} {owner}, and identity.json to the {kind} {expected}: one of them is from"
        f" another data directory; put back the one that was here, or {REMEDY}"
    )


def encode_file_header(magic: bytes, salt: int) -> bytes:
    """
    Returns the header of a new file.

    @param magic: L{MAGIC_LENGTH} bytes that identify the kind of the file.
    @param salt: a random unsigned 32-bit number, from which the checksums of the file's frames start.
    """
    header = _FILE_HEADER.pack(magic, FORMAT_VERSION, salt, 0)[: -_CHECKSUM.size]
    return header + _CHECKSUM.pack(zlib.crc32(header))


def decode_file_header(header: bytes, magic: bytes, path: Path) -> int:
    """
    Check the header of a file, and return its salt.

    @raise StorageError: it is damaged, of another kind, or of a format that this program does not read.
    """
    if len(header) < FILE_HEADER_LENGTH:
        raise damage(path, 0, f"the file's header has {len(header)} bytes of {FILE_HEADER_LENGTH}")
    found, version, salt, checksum = _FILE_HEADER.unpack(header)
    if zlib.crc32(header[: -_CHECKSUM.size]) != checksum:
        raise damage(path, 0, "the checksum of the file's header is wrong")
    if found != magic:
        raise damage(path, 0, f"the file begins with {found!r} and not with {magic!r}")
    if version != FORMAT_VERSION:
        raise wrong_version(path, version)
    return int(salt)


def encode_frame(kind: FrameKind, payload: bytes, salt: int, offset: int) -> bytes:
    """
    Returns a frame to be written at C{offset} of the file with this C{salt}.

    @raise ValueError: the payload is longer than L{MAX_FRAME_PAYLOAD_BYTES}.
    """
    if len(payload) > MAX_FRAME_PAYLOAD_BYTES:
        raise ValueError(f"a payload of {len(payload)} bytes is more than a frame's {MAX_FRAME_PAYLOAD_BYTES}")
    header = _FRAME_HEADER.pack(FRAME_MAGIC, kind, len(payload), zlib.crc32(payload), 0)[:_FRAME_HEADER_CHECKED]
    return header + _CHECKSUM.pack(zlib.crc32(header, (salt + offset) & _MAX_SEED)) + payload


def end_of_data(path: Path, start: int) -> int:
    """Returns the offset after the last byte from C{start} on that is not zero, or C{start} if all are zero."""
    end = position = start
    zeros = bytes(_WINDOW_BYTES)
    with naming(path), open_to_read(path) as file:
        file.seek(start)
        while window := file.read(_WINDOW_BYTES):
            if window != zeros[: len(window)]:
                end = position + len(window.rstrip(b"\0"))
            position += len(window)
    return end


class FrameReader:
    """
    Reads the frames of one file, in order. The caller closes it.

    @ivar size: the size of the file in bytes when it was opened.
    @ivar offset: where the next frame is expected.
    @ivar salt: the file's salt.
    """

    def __init__(self, path: Path, magic: bytes) -> None:
        """
        Open the file and check its header.

        @raise StorageError: it can't be read, or L{decode_file_header} refuses it.
        """
        self.path = path
        with naming(path):
            self._file: BinaryIO = open_to_read(path)
        try:
            with naming(path):
                self.size = os.fstat(self._file.fileno()).st_size
                header = self._file.read(FILE_HEADER_LENGTH)
            self.salt = decode_file_header(header, magic, path)
        except BaseException:
            self._file.close()
            raise
        self.offset = FILE_HEADER_LENGTH

    def close(self) -> None:
        """Close the file; nothing can be read after it."""
        self._file.close()

    def seek(self, offset: int) -> None:
        """Read the frame at C{offset} next, which is the L{Frame.offset} or L{Frame.end} of a frame."""
        with naming(self.path):
            self._file.seek(offset)
        self.offset = offset

    def next(self) -> Frame | None:
        """
        Returns the next frame, or C{None} exactly at the end of the file.

        @raise BadFrameError: there is something else than a whole frame. L{offset} stays before it.
        """
        offset = self.offset
        if offset == self.size:
            return None
        start = offset + FRAME_HEADER_LENGTH
        try:  # and not L{naming}, as this runs once for each record
            kind, length, checksum = self._check_header(self._file.read(FRAME_HEADER_LENGTH), offset)
            if length > min(self.size - start, MAX_FRAME_PAYLOAD_BYTES):
                raise BadFrameError(self.path, offset, f"{self.size - start} bytes of {length} are there")
            payload = self._file.read(length)
        except OSError as error:
            raise unusable(self.path, error) from error
        if zlib.crc32(payload) != checksum or len(payload) < length:
            raise BadFrameError(self.path, offset, "the checksum of the frame's payload is wrong")
        self.offset = start + length
        return Frame(kind, payload, offset, self.offset)

    def _check_header(self, header: bytes, offset: int) -> tuple[FrameKind, int, int]:
        if len(header) < FRAME_HEADER_LENGTH:
            raise BadFrameError(self.path, offset, f"{len(header)} bytes of a frame's header are there")
        magic, kind, length, checksum, own = _FRAME_HEADER.unpack(header)
        if magic != FRAME_MAGIC:
            raise BadFrameError(self.path, offset, "no frame begins here")
        if zlib.crc32(header[:_FRAME_HEADER_CHECKED], (self.salt + offset) & _MAX_SEED) != own:
            raise BadFrameError(self.path, offset, "the checksum of the frame's header is wrong")
        known = _KINDS.get(kind)
        if known is None:
            raise BadFrameError(self.path, offset, f"there is no frame of kind {kind}")
        return known, length, checksum

    def find_header(self, after: int) -> int | None:
        """
        Returns the offset of the first valid frame header after C{after}, however little of its payload is there.

        A header is enough to show that the writing of the frame was begun.
        """
        start = after + 1
        held = b""
        with naming(self.path):
            self._file.seek(start)
            while window := self._file.read(_WINDOW_BYTES):
                held += window
                found = self._good_header(held, start)
                if found is not None:
                    return found
                gone = max(len(held) - FRAME_HEADER_LENGTH + 1, 0)  # a header may continue in the next window
                held, start = held[gone:], start + gone
        return None

    def _good_header(self, data: bytes, start: int) -> int | None:
        """Returns the offset of the first valid header that is whole in C{data}, which is at C{start} in the file."""
        found = data.find(FRAME_MAGIC)
        while found >= 0:
            try:
                self._check_header(data[found : found + FRAME_HEADER_LENGTH], start + found)
            except BadFrameError:
                found = data.find(FRAME_MAGIC, found + 1)
            else:
                return start + found
        return None
