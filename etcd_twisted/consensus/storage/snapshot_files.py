"""
The snapshots on disk: each holds the state machine as it was at one index, in place of the log up to there.

A snapshot is one file of checked frames (L{etcd_twisted.consensus.storage.framing}): its metadata, its chunks, and an
end that counts them. The file is written under another name, and older snapshots are deleted only once it is whole,
synced and renamed.

This module must never return a snapshot that is not whole, nor fall back to an older one when the newest is damaged:
the log after the older one may be gone. It blocks, and knows neither the reactor nor what the chunks mean.
"""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from etcd_twisted.consensus.raft.entries import SnapshotMetadata
from etcd_twisted.consensus.storage.files import files_in, naming, open_file, sync_directory, write_all
from etcd_twisted.consensus.storage.framing import (
    BadFrameError,
    Frame,
    FrameKind,
    FrameReader,
    damage,
    encode_file_header,
    encode_frame,
)
from etcd_twisted.consensus.storage.removed_files import RemovedFiles
from etcd_twisted.errors import StorageError

SNAPSHOT_MAGIC = b"etcdsnap"
SYNC_BYTES = 1 << 20
"""How much is written between syncs. Each takes about 1 ms, while a single one at the end would hold up the log."""

_NAME = re.compile(r"([0-9]{20})-([0-9]{20})\.snapshot")
_UNFINISHED_SUFFIX = ".tmp"
_INCOMING = ".incoming"
"""Marks the file of another machine's snapshot, as this machine may take one at the same index meanwhile."""
_UNFINISHED_NAME = re.compile(r".*\.snapshot\.tmp")
_T = TypeVar("_T")


class SnapshotStore:
    """
    The snapshots of one machine, in one directory.

    @ivar cluster_id: the id of their cluster, which new snapshots record; empty while it is not known.
    @ivar size: the size in bytes of the newest snapshot that was opened or finished; 0 if there is none.
    @ivar removed: older snapshots that are not freed yet.
    """

    def __init__(self, directory: Path) -> None:
        """
        Nothing on the disk is touched yet.

        @param directory: the directory, which is locked for this process and exists before anything is written.
        """
        self.cluster_id = ""
        self.size = 0
        self.removed = RemovedFiles()
        self._directory = directory

    def _replace_older(self, size: int) -> None:
        """Note the size of a snapshot that has its final name durably, and remove the older ones."""
        self.size = size
        for older in files_in(self._directory, _NAME)[:-1]:
            self.removed.remove(older)

    def unfinished(self) -> list[Path]:
        """
        Returns the unfinished files that a process has left which was killed.

        @raise StorageError: one of them is not a regular file, or the directory can't be read.
        """
        return files_in(self._directory, _UNFINISHED_NAME)

    def remove_unfinished(self) -> None:
        """
        Remove the L{unfinished} files.

        The caller does this once, before the first L{create}, and only when the machine is certain to start: a refused
        start changes nothing.

        @raise StorageError: the directory can't be read or written.
        """
        unfinished = self.unfinished()
        with naming(self._directory):
            for path in unfinished:
                path.unlink()
            if unfinished:
                sync_directory(self._directory)

    def create(self, metadata: SnapshotMetadata) -> "SnapshotWriter":
        """
        Begin a snapshot, which L{latest} does not return before L{SnapshotWriter.finish}.

        @raise OSError: the file can't be created, for example because the same snapshot is being written already.
        """
        metadata = msgspec.structs.replace(metadata, cluster_id=self.cluster_id)
        return SnapshotWriter(self._directory, metadata, self._replace_older)

    def receive(self, metadata: SnapshotMetadata) -> "IncomingSnapshot":
        """
        Begin to receive the file of a snapshot that another machine has finished.

        @raise OSError: the file can't be created.
        """
        return IncomingSnapshot(self._directory, metadata, self._replace_older)

    def latest(self) -> "SnapshotReader | None":
        """
        Returns the newest snapshot, opened, or C{None} if there is none. The caller closes it.

        @raise StorageError: it is damaged as far as it has been read, or can't be read.
        """
        paths = files_in(self._directory, _NAME)
        if not paths:
            return None
        reader = SnapshotReader(paths[-1])
        self.size = reader.size
        return reader


class _UnfinishedFile:
    """
    A file that gets its final name only when it is finished.

    @ivar path: the path of the file until then.
    @ivar length: how many bytes it has.
    """

    def __init__(self, finished: Path, mark: str, flags: int, on_finished: Callable[[int], None]) -> None:
        """
        @param finished: its final path.
        @param mark: distinguishes it from another unfinished file with the same final path.
        @param on_finished: called with its size in bytes when it has its final name, durably.
        """
        self.path = finished.with_name(f"{finished.stem}{mark}{finished.suffix}{_UNFINISHED_SUFFIX}")
        self.length = 0
        self._finished = finished
        self._on_finished = on_finished
        self._synced = 0
        self._over = False
        self._descriptor = open_file(self.path, os.O_RDWR | os.O_CREAT | flags)

    def write(self, data: bytes) -> None:
        """Append data. The file is synced every L{SYNC_BYTES}."""
        write_all(self._descriptor, data, self.length)
        self.length += len(data)
        if self.length - self._synced >= SYNC_BYTES:
            os.fdatasync(self._descriptor)
            self._synced = self.length

    def finish(self) -> None:
        """Make the file durable under its final name."""
        os.fsync(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = -1
        self.path.rename(self._finished)
        self._over = True
        sync_directory(self._finished.parent)
        self._on_finished(self.length)

    def abort(self) -> None:
        """Remove the file. Once it has its final name, or was removed, do nothing."""
        if self._over:
            return
        self._over = True
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self.path.unlink(missing_ok=True)


class SnapshotWriter:
    """A snapshot that is being written. Call L{abort} after an error, or if it is not to be finished."""

    def __init__(self, directory: Path, metadata: SnapshotMetadata, on_finished: Callable[[int], None]) -> None:
        """Use L{SnapshotStore.create}."""
        self._file = _UnfinishedFile(snapshot_path(directory, metadata), "", os.O_EXCL, on_finished)
        self._salt = int.from_bytes(os.urandom(4), "little")
        self._chunks = 0
        try:
            self._file.write(encode_file_header(SNAPSHOT_MAGIC, self._salt))
            self._write_frame(FrameKind.SNAPSHOT_METADATA, msgspec.msgpack.encode(metadata))
        except BaseException:
            self.abort()
            raise

    def write(self, chunk: bytes) -> None:
        """
        Append one chunk, which L{SnapshotReader} returns unchanged.

        @raise OSError: the disk failed or is full.
        @raise ValueError: the chunk is more than a frame can hold.
        """
        self._write_frame(FrameKind.SNAPSHOT_CHUNK, chunk)
        self._chunks += 1

    def finish(self) -> None:
        """
        Make the snapshot durable under its final name, and remove older ones.

        @raise OSError: the disk failed or is full. If the snapshot has its final name by then, only a removal
            failed.
        """
        self._write_frame(FrameKind.SNAPSHOT_END, msgspec.msgpack.encode(self._chunks))
        self._file.finish()

    def abort(self) -> None:
        """Give up the snapshot and remove its file. Once it has its final name, or was given up, do nothing."""
        self._file.abort()

    def _write_frame(self, kind: FrameKind, payload: bytes) -> None:
        self._file.write(encode_frame(kind, payload, self._salt, self._file.length))


class IncomingSnapshot:
    """
    The file of another machine's snapshot, while it is received. Call L{abort} if it is not to be finished.

    @ivar metadata: the metadata that the snapshot should have.
    """

    def __init__(self, directory: Path, metadata: SnapshotMetadata, on_finished: Callable[[int], None]) -> None:
        """Use L{SnapshotStore.receive}."""
        self.metadata = metadata
        self._file = _UnfinishedFile(snapshot_path(directory, metadata), _INCOMING, os.O_TRUNC, on_finished)

    @property
    def length(self) -> int:
        """How many bytes were received."""
        return self._file.length

    def write(self, data: bytes) -> None:
        """
        Append the next data.

        @raise OSError: the disk failed or is full.
        """
        self._file.write(data)

    def reader(self) -> "SnapshotReader":
        """
        Returns the received snapshot, opened, once all of it is there. The caller closes it.

        @raise StorageError: it is damaged as far as it has been read, or is another snapshot than it should be.
        """
        reader = SnapshotReader(self._file.path)
        if reader.metadata != self.metadata:
            reader.close()
            raise StorageError(f"{self._file.path} is the snapshot of index {reader.metadata.index}")
        return reader

    def finish(self) -> None:
        """
        Make the snapshot durable under its final name, and remove older ones.

        @raise OSError: the disk failed or is full.
        """
        self._file.finish()

    def abort(self) -> None:
        """Remove the file, unless it is finished or was removed before."""
        self._file.abort()


class SnapshotReader:
    """
    A finished snapshot, open for reading. Each iteration yields its chunks from the first one on.

    No newer one may replace it meanwhile; see L{keep_readable} for a descriptor that this does not matter to.

    @ivar path: the path of its file.
    @ivar metadata: what the snapshot covers.
    """

    def __init__(self, path: Path, is_named: bool = True) -> None:
        """
        Use L{SnapshotStore.latest}.

        @param is_named: whether the name of the file has to be that of the snapshot.
        """
        self.path = path
        self._reader = FrameReader(path, SNAPSHOT_MAGIC)
        try:
            frame = self._next()
            if frame.kind is not FrameKind.SNAPSHOT_METADATA:
                raise damage(path, frame.offset, f"a {frame.kind.name} stands where the metadata should be")
            self.metadata = self._decode(frame, SnapshotMetadata)
            self._first = frame.end
            if is_named and _position(path) != (self.metadata.term, self.metadata.index):
                raise damage(
                    path, frame.offset, f"it is the snapshot of term {self.metadata.term}, index {self.metadata.index}"
                )
        except BaseException:
            self._reader.close()
            raise

    def __iter__(self) -> Iterator[bytes]:
        """
        Yields the chunks as they were written, each read and checked when it is due. Only one iteration may run at a
        time.

        @raise StorageError: the file is damaged. Each chunk that was yielded is right, but only the end of the
            iteration shows that there are no more.
        """
        self._reader.seek(self._first)
        chunks = 0
        while (frame := self._next()).kind is FrameKind.SNAPSHOT_CHUNK:
            chunks += 1
            yield frame.payload
        if frame.kind is not FrameKind.SNAPSHOT_END:
            raise damage(self.path, frame.offset, f"a {frame.kind.name} stands where a chunk should be")
        if self._decode(frame, int) != chunks:
            raise damage(self.path, frame.offset, f"{chunks} chunks are there, and the end counts otherwise")
        if frame.end != self._reader.size:
            raise damage(self.path, frame.end, "the file continues after the end of the snapshot")

    @property
    def size(self) -> int:
        """How many bytes the file has."""
        return self._reader.size

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def _next(self) -> Frame:
        try:
            frame = self._reader.next()
        except BadFrameError as bad:
            raise bad.as_damage() from None
        if frame is None:
            raise damage(self.path, self._reader.offset, "the file ends before the snapshot does")
        return frame

    def _decode(self, frame: Frame, shape: type[_T]) -> _T:
        try:
            return msgspec.msgpack.decode(frame.payload, type=shape)
        except msgspec.MsgspecError as error:
            raise damage(self.path, frame.offset, f"the {frame.kind.name} can't be decoded ({error})") from error


def snapshot_path(directory: Path, metadata: SnapshotMetadata) -> Path:
    """Returns the final path of a snapshot."""
    return directory / f"{metadata.term:020}-{metadata.index:020}.snapshot"


def _position(path: Path) -> tuple[int, int] | None:
    """Returns the term and the index in the name of a snapshot, finished or not."""
    name = _NAME.fullmatch(path.name.removesuffix(_UNFINISHED_SUFFIX).replace(_INCOMING, ""))
    return (int(name[1]), int(name[2])) if name else None
