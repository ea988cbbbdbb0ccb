"""
Takes snapshots of the key space and shortens the log.

The key space is held as it was when the snapshot began, which costs nothing, and written chunk by chunk while the
reactor turns in between. The log goes on in a new segment. An entry that was appended but not applied when the
snapshot began keeps its segment for one snapshot more.

Must never shorten the log before the snapshot that stands for it is durable.
"""

import functools
from collections.abc import Awaitable, Callable

from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from etcd_twisted.consensus.raft.entries import SnapshotMetadata
from etcd_twisted.consensus.recovery import Storage
from etcd_twisted.consensus.storage.disk_thread import LogWriter
from etcd_twisted.consensus.storage.snapshot_files import SnapshotWriter
from etcd_twisted.keyspace.snapshot import dump
from etcd_twisted.keyspace.space import Content

_log = Logger()


class Snapshotter:
    """
    One snapshot at a time.

    @ivar index: the log index of the last snapshot.
    """

    def __init__(
        self,
        storage: Storage,
        writer: LogWriter,
        index: int,
        turn: Callable[[], Awaitable[None]],
        fail: Callable[[Failure], None],
    ) -> None:
        """
        @param writer: runs what is done to the storage.
        @param index: the log index of the snapshot on disk, 0 for none.
        @param turn: awaited between slices of work.
        @param fail: called when the disk fails.
        """
        self.index = index
        self._storage = storage
        self._writer = writer
        self._wait_a_turn = turn
        self._fail = fail
        self._running: Deferred[None] | None = None
        self._stopping = False

    @property
    def busy(self) -> bool:
        """Whether a snapshot is being taken."""
        return self._running is not None

    def take(self, metadata: SnapshotMetadata, content: Content, taken: Callable[[int], None]) -> None:
        """
        Begin a snapshot.

        @param content: the key space at the log index that the metadata names.
        @param taken: called with that index when the snapshot is durable and the log on disk may be shortened.
        """
        self._running = ensureDeferred(self._take(metadata, content, taken))
        self._running.addErrback(self._fail)
        self._running.addCallback(self._ended)

    def _ended(self, _: None) -> None:
        self._running = None

    async def _take(self, metadata: SnapshotMetadata, content: Content, taken: Callable[[int], None]) -> None:
        await self._writer.submit(self._storage.log.roll)
        file = await self._writer.submit(functools.partial(self._storage.snapshots.create, metadata))
        try:
            whole = await self._write(file, content)
            await self._writer.submit(file.finish if whole else file.abort)
        except Exception:
            await self._writer.submit(file.abort)
            raise
        if not whole:
            return
        await self._writer.submit(functools.partial(self._storage.log.compact, metadata.index))
        if metadata.index < self.index:
            return  # the leader's newer one came meanwhile
        self.index = metadata.index
        taken(metadata.index)
        _log.info("Took a snapshot at log index {index}", index=metadata.index)

    async def _write(self, file: SnapshotWriter, content: Content) -> bool:
        """Write the chunks; whether they were all written before L{stop} was called."""
        for chunk in dump(content):
            if self._stopping:
                return False
            if chunk:
                await self._writer.submit(functools.partial(file.write, chunk))
            else:
                await self._wait_a_turn()
        return True

    def stop(self) -> "Deferred[None]":
        """Give a running snapshot up; fires when nothing is left of it."""
        self._stopping = True
        if self._running is None:
            return succeed(None)
        ended: Deferred[None] = Deferred()
        self._running.addCallback(ended.callback)
        return ended
