"""
The segments of the write-ahead log: how each begins, and which of those in a directory are in use.

This module only reads. It must never mistake damage for a segment whose creation was interrupted, nor skip a gap.
"""

import re
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import attrs
import msgspec

from etcd_twisted.consensus.raft.entries import HardState
from etcd_twisted.consensus.storage.files import REMEDY, files_in, naming, open_to_read
from etcd_twisted.consensus.storage.framing import (
    FILE_HEADER_LENGTH,
    FRAME_HEADER_LENGTH,
    MAX_FRAME_PAYLOAD_BYTES,
    BadFrameError,
    Frame,
    FrameKind,
    FrameReader,
    damage,
    end_of_data,
)
from etcd_twisted.errors import StorageError

SEGMENT_MAGIC = b"etcd-wal"
MAX_SEGMENT_BYTES = MAX_FRAME_PAYLOAD_BYTES + (1 << 20)
"""The size in bytes of the largest segment: one with a single record that is as long as a frame can be."""

_NAME = re.compile(r"[0-9]{20}\.log")


class SegmentHead(msgspec.Struct, array_like=True, frozen=True):
    """The first frame of a segment: the state of the log when the segment was begun."""

    hard_state: HardState
    base: int
    """The index of the last entry before the first one of this segment."""
    fresh: bool
    """Whether the log starts again here, so that older segments are void."""
    machine_id: str = ""
    """The machine whose log it is; C{""} in a segment by a version that did not record it."""


_T = TypeVar("_T")
_HEAD = msgspec.msgpack.Decoder(SegmentHead)


@attrs.define(slots=True)
class Segment:
    """
    A segment in use.

    @ivar start: the offset after its head, where its first record begins.
    @ivar highest: the highest index of any entry in it; 0 if there is none.
    @ivar size: its size in bytes, once another segment follows it.
    """

    sequence: int
    path: Path
    head: SegmentHead
    start: int
    highest: int = 0
    size: int = 0


@attrs.frozen(slots=True)
class TornTail:
    """
    The torn end of the log, which recovery cuts off.

    @ivar offset: the offset in the file at which it begins; 0 if the creation of the file itself was interrupted, and
        the file is removed.
    @ivar length: how many bytes are cut off, without the zeros that were allocated ahead.
    """

    path: Path
    offset: int
    length: int


@attrs.frozen
class Survey:
    """
    The content of a log's directory.

    @ivar segments: the segments in use, in order.
    @ivar void: the paths of older segments, which a fresh one made void.
    @ivar torn: the last segment, if its creation was interrupted.
    """

    segments: list[Segment]
    void: list[Path]
    torn: TornTail | None


def segment_path(directory: Path, sequence: int) -> Path:
    """Returns the path of a segment."""
    return directory / f"{sequence:020}.log"


def survey(directory: Path) -> Survey:
    """
    Read the heads of the segments in a directory.

    @raise StorageError: a head is damaged or missing, a segment is missing, or something is no file or can't be read.
    """
    found = {int(path.stem): path for path in files_in(directory, _NAME)}
    for path in found.values():
        _check_size(path)
    sequences = sorted(found)
    torn = None
    # Older segments are deleted only once a new one is whole, so a segment that is alone was created completely.
    if sequences and (sequences[-1] == 1 or sequences[-1] - 1 in found):
        torn = _torn_creation(found[sequences[-1]])
        if torn is not None:
            del found[sequences.pop()]
    segments: list[Segment] = []
    while sequences:
        sequence = sequences.pop()
        segments.append(_read_head(sequence, found.pop(sequence)))
        if segments[-1].head.fresh:
            break
        if sequences and sequences[-1] != sequence - 1:
            missing = segment_path(directory, sequence - 1)
            raise StorageError(f"{missing} is missing, although there are segments before and behind it; {REMEDY}")
    segments.reverse()
    return Survey(segments, [found[sequence] for sequence in sequences], torn)


def _check_size(path: Path) -> None:
    with naming(path):
        size = path.lstat().st_size
    if size > MAX_SEGMENT_BYTES:
        reason = f"it has {size} bytes, and no segment has more than {MAX_SEGMENT_BYTES}"
        raise StorageError(f"{path} is damaged: {reason}; {REMEDY}")


def _torn_creation(path: Path) -> TornTail | None:
    """Returns what is torn if the last segment never held its whole head, and so no record; otherwise C{None}."""
    with naming(path), open_to_read(path) as file:
        file.seek(FILE_HEADER_LENGTH)
        begun = any(file.read(FRAME_HEADER_LENGTH))
    if not begun and (end := end_of_data(path, 0)) <= FILE_HEADER_LENGTH:
        return TornTail(path, 0, end)
    with closing(FrameReader(path, SEGMENT_MAGIC)) as reader:
        try:
            reader.next()
        except BadFrameError:
            if reader.find_header(FILE_HEADER_LENGTH) is None:
                return TornTail(path, 0, end_of_data(path, 0))
        return None


def _read_head(sequence: int, path: Path) -> Segment:
    with closing(FrameReader(path, SEGMENT_MAGIC)) as reader:
        try:
            frame = reader.next()
        except BadFrameError as bad:
            raise bad.as_damage() from None
        if frame is None:
            raise damage(path, FILE_HEADER_LENGTH, "the segment's head is missing")
        head = decode_frame(path, frame, FrameKind.SEGMENT_HEAD, _HEAD)
        return Segment(sequence, path, head, frame.end)


def decode_frame(path: Path, frame: Frame, kind: FrameKind, decoder: msgspec.msgpack.Decoder[_T]) -> _T:
    """
    Returns what a frame of a segment holds.

    @param kind: the kind that the frame should have.
    @raise StorageError: the frame is of another kind, or can't be decoded.
    """
    if frame.kind is not kind:
        raise damage(path, frame.offset, f"the frame is a {frame.kind.name} and should be a {kind.name}")
    try:
        return decoder.decode(frame.payload)
    except msgspec.MsgspecError as error:
        raise damage(path, frame.offset, f"the {kind.name} can't be decoded ({error})") from error
