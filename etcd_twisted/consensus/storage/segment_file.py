"""
The file of the segment that is being written: frames are added at its end, each durable when the call returns.

The file is allocated ahead, and zeros are written ahead, since syncs are shorter where neither the size of the file
nor the state of its blocks changes. This module must never decide what a frame holds. After a failure its caller must
not append to the file any more. It blocks, and knows no reactor.
"""

import errno
import os
import time
from contextlib import closing
from pathlib import Path

from etcd_twisted.consensus.storage.files import open_file, sync_directory, write_all
from etcd_twisted.consensus.storage.framing import (
    FILE_HEADER_LENGTH,
    FrameKind,
    FrameReader,
    encode_file_header,
    encode_frame,
)
from etcd_twisted.consensus.storage.segments import SEGMENT_MAGIC, Segment

ALLOCATION_BYTES = 4 << 20
"""How far a segment is allocated ahead: a sync that does not change the file's size takes two thirds of the time."""
ZEROED_BYTES = 256 << 10
"""
How far zeros are written ahead. On ext4, a sync after overwriting takes half the time of one after writing to space
that is only allocated, as nothing has to go into the journal.
"""

_UNSUPPORTED = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


class SegmentFile:
    """
    The open file of a segment; none at first, and after L{finish} or L{close}.

    @ivar salt: the salt of the file.
    @ivar position: where the next frame begins.
    """

    def __init__(self) -> None:
        self.salt = 0
        self.position = 0
        self._descriptor = -1
        self._most_bytes = 0
        self._allocated = 0
        self._zeroed = 0
        self._allocate_ahead = True

    @property
    def is_open(self) -> bool:
        """Whether there is a file."""
        return self._descriptor >= 0

    def create(self, path: Path, head: bytes, most_bytes: int) -> None:
        """
        Make a new file, which begins with the head of a segment. Both the file and its name are durable after this.

        @param head: what the first frame holds.
        @param most_bytes: the most bytes that are allocated ahead.
        @raise OSError: the disk failed or is full.
        """
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        self._most_bytes = most_bytes
        self.salt = int.from_bytes(os.urandom(4), "little")
        frame = encode_frame(FrameKind.SEGMENT_HEAD, head, self.salt, FILE_HEADER_LENGTH)
        data = encode_file_header(SEGMENT_MAGIC, self.salt) + frame
        self._allocated = self._zeroed = 0
        self._allocate(len(data))
        write_all(self._descriptor, data, 0)
        os.fsync(self._descriptor)
        sync_directory(path.parent)
        self.position = len(data)

    def reopen(self, segment: Segment, last_offset: int, end: int, most_bytes: int) -> None:
        """
        Open the last segment for writing after its last frame, and make certain that everything before is on the disk.

        The process before may have ended between a write and its sync, or because a sync failed. After a failed
        sync the page cache may show what the disk does not have, and count it as clean; so the last record is
        written again before it is synced. All records before it were synced successfully.

        @param last_offset: the offset of the last record, or 0 for none, so that the head is written again.
        @param end: the offset after it.
        @param most_bytes: the most bytes that are allocated ahead.
        @raise OSError: the disk failed or is full.
        """
        descriptor = open_file(segment.path, os.O_RDWR)
        try:
            with closing(FrameReader(segment.path, SEGMENT_MAGIC)) as reader:
                self.salt = reader.salt
            write_all(descriptor, os.pread(descriptor, end - last_offset, last_offset), last_offset)
            os.ftruncate(descriptor, end)
            os.fsync(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        self._most_bytes = most_bytes
        self.position = self._allocated = self._zeroed = end

    def append(self, frame: bytes) -> float:
        """
        Write a frame at L{position}. It is on the disk when this returns.

        @return: how many seconds the sync took.
        @raise OSError: the disk failed or is full.
        """
        end = self.position + len(frame)
        if end > self._zeroed:  # so many zeros are written ahead only where the file is allocated
            self._allocate(end)
            frame = self._with_zeros(frame, end)
        write_all(self._descriptor, frame, self.position)
        began = time.perf_counter()
        os.fdatasync(self._descriptor)
        self.position = end
        return time.perf_counter() - began

    def finish(self) -> None:
        """Cut the file to its frames, durably, and close it. Without a file this does nothing."""
        if self.is_open:
            os.ftruncate(self._descriptor, self.position)
            os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def close(self, free: bool) -> None:
        """
        Close the file. Without a file this does nothing.

        @param free: whether to free what was allocated ahead.
        @raise OSError: freeing failed; the file is closed nevertheless.
        """
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        try:
            if free:
                os.ftruncate(descriptor, self.position)
        finally:
            os.close(descriptor)

    def _allocate(self, end: int) -> None:
        """Allocate the file at least up to C{end}, in large steps, where the file system can."""
        if end <= self._allocated or not self._allocate_ahead:
            return
        ahead = max(end, min(self._allocated + ALLOCATION_BYTES, self._most_bytes))
        try:
            os.posix_fallocate(self._descriptor, self._allocated, ahead - self._allocated)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            self._allocate_ahead = False
        else:
            self._allocated = ahead

    def _with_zeros(self, frame: bytes, end: int) -> bytes:
        """
        Returns a frame that ends at C{end} and uses up the zeros that were written ahead, followed by others. A long
        frame gets none, as it would use them up at once.
        """
        if len(frame) > ZEROED_BYTES // 8:
            return frame
        self._zeroed = max(end, min(end + ZEROED_BYTES, self._allocated))
        return frame + bytes(self._zeroed - end)
