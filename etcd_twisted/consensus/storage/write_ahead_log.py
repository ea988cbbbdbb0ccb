"""
The write-ahead log: what a machine must find again after it has stopped, however it stopped.

It is a directory of segments, each of which is a file of checked frames
(L{etcd_twisted.consensus.storage.framing}). One frame holds one L{Record}, which one append writes and one sync makes
durable. The log keeps these rules:

  - An append begins only after the one before it was synced. So a bad frame with anything valid after it is damage,
    which is refused. Only a bad frame with nothing after it is the torn end of an append that was never
    acknowledged, and is cut off.
  - After a failed write or sync the log accepts nothing more, as the content of the page cache can't be trusted.
  - A segment depends on no older one: it begins with the hard state, so that older ones can be deleted.

The log must never acknowledge what is not on the disk, skip damage, or cut off a whole record. It blocks, is used by
one thread at a time, and knows no reactor. It resolves no conflicts: it returns the records as they were appended.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec

from etcd_twisted.consensus.raft.entries import HardState, Record
from etcd_twisted.consensus.storage.files import FailureLatch, naming, sync_directory
from etcd_twisted.consensus.storage.framing import (
    FILE_HEADER_LENGTH,
    BadFrameError,
    Frame,
    FrameKind,
    FrameReader,
    damage,
    encode_frame,
    end_of_data,
    foreign,
)
from etcd_twisted.consensus.storage.hard_state import State, StateFile
from etcd_twisted.consensus.storage.removed_files import RemovedFiles
from etcd_twisted.consensus.storage.segment_file import SegmentFile
from etcd_twisted.consensus.storage.segments import (
    SEGMENT_MAGIC,
    Segment,
    SegmentHead,
    Survey,
    TornTail,
    decode_frame,
    segment_path,
    survey,
)
from etcd_twisted.errors import StorageError
from etcd_twisted.interfaces.statistics import Durations

SEGMENT_BYTES = 64 << 20
_RECORD = msgspec.msgpack.Decoder(Record)


class WriteAheadLog:
    """
    The log of one machine in one directory.

    The caller first runs L{recover} to its end, and then calls L{resume}. After that it may call L{append} and
    L{compact}, and finally L{close}.

    @ivar segment_bytes: the most bytes in a segment, unless one record alone is larger.
    @ivar machine_id: the machine whose log it is; empty while that is not known. L{recover} refuses a segment of
        another machine, and new segments record it.
    @ivar torn: what L{resume} cuts off, if anything.
    @ivar base: the index of the last entry that is no longer in the log. A snapshot must reach at least as far. It is
        valid once L{recover} has begun.
    @ivar last_index: the index of the last entry, or C{base} if there is none.
    @ivar hard_state: the hard state that was appended last.
    @ivar syncs: how long each sync took.
    @ivar removed: segments that were deleted and are not freed yet.
    """

    def __init__(
        self, directory: Path, segment_bytes: int = SEGMENT_BYTES, state_file: StateFile | None = None
    ) -> None:
        """
        Nothing on the disk is touched yet.

        @param directory: the directory, which is locked for this process and exists before L{resume} is called.
        @param segment_bytes: the most bytes in a segment, unless one record alone is larger.
        @param state_file: the file with what must be known even if this log is lost; C{None} for a log without one.
        """
        self.segment_bytes = segment_bytes
        self.machine_id = ""
        self.torn: TornTail | None = None
        self.base = 0
        self.last_index = 0
        self.hard_state = HardState()
        self.syncs = Durations()
        self.removed = RemovedFiles()
        self._directory = directory
        self._state_file = state_file
        self._found = Survey([], [], None)
        self._last: Frame | None = None
        self._segments: list[Segment] = []
        self._file = SegmentFile()
        self._ready = False
        self._writing = FailureLatch()
        self._encode = msgspec.msgpack.Encoder().encode

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever appended. This is valid once L{recover} has ended."""
        return not self._segments

    @property
    def newest_segment(self) -> int:
        """The number of the newest segment; 0 if there is none. This is valid once L{recover} has ended."""
        return self._segments[-1].sequence if self._segments else 0

    @property
    def segment_count(self) -> int:
        """How many segments are in use. This is valid once L{recover} has ended."""
        return len(self._segments)

    @property
    def is_foreign(self) -> bool:
        """Whether a segment belongs to a machine other than C{machine_id}."""
        return any(segment.head.machine_id not in ("", self.machine_id) for segment in self._segments)

    @property
    def size(self) -> int:
        """
        How many bytes the log takes on the disk, without what is allocated ahead. Other threads may ask; an append
        that is under way may or may not be included.
        """
        return sum(segment.size for segment in self._segments[:-1]) + self._file.position

    # Recovery.

    def recover(self) -> Iterator[Record]:
        """
        Read and check the whole log, and yield its records in order. Nothing on the disk is changed.

        The records come lazily, so that the caller can take them in slices; the log is read completely when the
        iterator ends. They come as they were appended: a record whose first entry is not above the last one so far
        replaces the entry at that index and all after it, and entries that a snapshot covers may come too. The hard
        state that compaction has left comes as a record of its own.

        @raise StorageError: damage, a segment of another machine, or something that can't be read.
        """
        self._found = found = survey(self._directory)
        segments = found.segments
        self.torn = found.torn
        if segments:
            head = segments[0].head
            self.base = self.last_index = head.base
            self.hard_state = head.hard_state
            if head.hard_state != HardState():
                yield Record(hard_state=head.hard_state, entries=())
        for segment in segments:
            self._check_ours(segment)
            self._check_continues(segment)
            self._last = None
            final = segment is segments[-1] and found.torn is None
            for frame, record in self._read_segment(segment, final):
                self._last = frame
                yield record
            segment.size = segment.start if self._last is None else self._last.end
        self._segments = segments

    def resume(self) -> None:
        """
        Prepare the end of the log that L{recover} has read for L{append}, and cut off what is torn.

        @raise StorageError: something can't be written.
        """
        with naming(self._directory):
            if self._segments:
                newest, last = self._segments[-1], self._last
                last_offset, end = (0, newest.start) if last is None else (last.offset, last.end)
                self._file.reopen(newest, last_offset, end, self.segment_bytes)
            sync_directory(self._directory)
            # These are removed only now that the segments which replace them are certain to be on the disk.
            for path in self._found.void:
                path.unlink()
            if self._found.torn is not None:
                self._found.torn.path.unlink()
            sync_directory(self._directory)
        self._ready = True

    def _check_ours(self, segment: Segment) -> None:
        owner = segment.head.machine_id
        if self.machine_id and owner not in ("", self.machine_id):
            raise foreign(segment.path, "machine", owner, self.machine_id)

    def _check_continues(self, segment: Segment) -> None:
        head = segment.head
        if head.base != self.last_index or head.hard_state != self.hard_state:
            raise damage(
                segment.path,
                FILE_HEADER_LENGTH,
                f"the segment continues from entry {head.base} in term {head.hard_state.term}, but the one before ends"
                f" with entry {self.last_index} in term {self.hard_state.term}",
            )

    def _read_segment(self, segment: Segment, final: bool) -> Iterator[tuple[Frame, Record]]:
        """Yields the records of a segment, each with its frame, and notes what is torn at the end of the final one."""
        with closing(FrameReader(segment.path, SEGMENT_MAGIC)) as reader:
            reader.seek(segment.start)
            try:
                while (frame := reader.next()) is not None:
                    record = decode_frame(segment.path, frame, FrameKind.RECORD, _RECORD)
                    self._check_contiguous(segment.path, frame.offset, record)
                    self._note(segment, record)
                    yield frame, record
            except BadFrameError as bad:
                if not final or reader.find_header(bad.offset) is not None:
                    raise bad.as_damage() from None
                end = end_of_data(segment.path, bad.offset)
                if end > bad.offset:
                    self.torn = TornTail(segment.path, bad.offset, end - bad.offset)

    def _check_contiguous(self, path: Path, offset: int, record: Record) -> None:
        if not _contiguous(record, self.last_index):
            raise damage(
                path,
                offset,
                f"entries {record.entries[0].index} to {record.entries[-1].index} in {len(record.entries)}"
                f" do not follow entry {self.last_index}",
            )

    # Appending.

    def append(self, record: Record) -> None:
        """
        Append one record. It is on the disk when this returns.

        @raise ValueError: the record's entries leave a gap, or are more than a frame can hold; nothing was written.
        @raise OSError: the disk failed or is full. Only a restart shows whether the record was written.
        @raise StorageError: the disk failed before, and the log accepts nothing more.
        """
        self._check_usable()
        if not _contiguous(record, self.last_index):
            raise ValueError(f"entries from {record.entries[0].index} on do not follow entry {self.last_index}")
        payload, file = self._encode(record), self._file
        frame = encode_frame(FrameKind.RECORD, payload, file.salt, file.position)
        try:
            is_first, position = not self._segments, file.position
            if is_first or (position + len(frame) > self.segment_bytes and position > self._segments[-1].start):
                self._begin_segment(self.last_index, fresh=is_first)
                frame = encode_frame(FrameKind.RECORD, payload, file.salt, file.position)
            if record.hard_state is not None:
                self._save_state(record.hard_state)
            self.syncs.add(file.append(frame))
        except OSError as error:  # as the latch does, without its two calls
            self._writing.failure = error
            raise
        self._note(self._segments[-1], record)

    def roll(self) -> None:
        """
        Continue in a new segment, so that a later L{compact} can delete all before it.

        @raise OSError: the disk failed or is full; the log takes nothing more.
        @raise StorageError: the disk failed before.
        """
        self._check_usable()
        if self._segments and self._file.position > self._segments[-1].start:
            with self._writing:
                self._begin_segment(self.last_index, fresh=False)

    def compact(self, index: int) -> None:
        """
        Delete the segments that hold only entries up to C{index}, oldest first, but never the one being written.

        A durable snapshot must cover C{index}. An index above L{last_index} is that of another machine's snapshot, and
        the log starts again after it, as with L{restart_after}.

        @raise OSError: the disk failed; the log takes nothing more.
        @raise StorageError: the disk failed before.
        """
        self._check_usable()
        if index > self.last_index:
            self.restart_after(index)
            return
        with self._writing:
            while len(self._segments) > 1 and self._segments[0].highest <= index:
                self._delete_oldest()

    def restart_after(self, index: int) -> None:
        """
        Forget every entry, keep the hard state, and continue with the entry after C{index}.

        This is for a snapshot of the leader with which the log does not agree (Raft paper, figure 13, step 7).

        @raise OSError: the disk failed or is full; the log takes nothing more.
        @raise StorageError: the disk failed before.
        """
        self._check_usable()
        with self._writing:
            self._begin_segment(index, fresh=True)
            self.base = self.last_index = index
            while len(self._segments) > 1:
                self._delete_oldest()

    def save_state(self) -> None:
        """
        Update the state file if it differs from this log.

        @raise OSError: the disk failed or is full; the log takes nothing more.
        @raise StorageError: the disk failed before.
        """
        self._check_usable()
        with self._writing:
            self._save_state(self.hard_state)

    def close(self) -> None:
        """
        Free what was allocated ahead, and close the file. Everything appended is on the disk already.

        @raise OSError: freeing failed; the file is closed nevertheless.
        """
        self._ready = False
        try:
            self.removed.close()
        finally:
            self._file.close(free=self._writing.failure is None)

    def _check_usable(self) -> None:
        if self._writing.failure is not None:
            raise StorageError(
                f"the log in {self._directory} takes nothing more after a failed write ({self._writing.failure});"
                " see to the disk, then restart this machine"
            ) from self._writing.failure
        if not self._ready:
            raise StorageError(f"the log in {self._directory} has not been recovered to its end, or is closed")

    def _note(self, segment: Segment, record: Record) -> None:
        if record.hard_state is not None:
            self.hard_state = record.hard_state
        if record.entries:
            self.last_index = record.entries[-1].index
            segment.highest = max(segment.highest, self.last_index)

    def _begin_segment(self, base: int, *, fresh: bool) -> None:
        """
        Write the head of a new segment, and continue in it once the file and its name are known to be durable.

        The segment before is cut to its records first, as only the last segment may end with zeros.
        """
        file = self._file
        if file.is_open:
            file.finish()
            self._segments[-1].size = file.position
        head = SegmentHead(self.hard_state, base, fresh, self.machine_id)
        sequence = self.newest_segment + 1
        path = segment_path(self._directory, sequence)
        file.create(path, self._encode(head), self.segment_bytes)
        self._segments.append(Segment(sequence, path, head, file.position))
        self._save_state(self.hard_state)

    def _save_state(self, hard_state: HardState) -> None:
        if self._state_file is not None and self._segments:
            self._state_file.save(State(self.machine_id, hard_state, self.newest_segment))

    def _delete_oldest(self) -> None:
        self.removed.remove(self._segments[0].path)  # durably before the next, so that a crash leaves no gap
        del self._segments[0]
        self.base = self._segments[0].head.base


def _contiguous(record: Record, last_index: int) -> bool:
    """Returns whether the record's entries are contiguous and leave no gap after C{last_index}."""
    if not record.entries:
        return True
    first, last = record.entries[0].index, record.entries[-1].index
    return 0 < first <= last_index + 1 and last - first == len(record.entries) - 1
