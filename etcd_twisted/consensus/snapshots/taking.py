"""
Takes snapshots of the key space and shortens the log.

A snapshot holds the key space as it was when the snapshot began, which costs nothing, and is written chunk by chunk
while the reactor turns in between. The log continues in a new segment. A segment with entries that were not applied
when the snapshot began is kept until the next snapshot.

This module must never shorten the log before the snapshot that covers it is durable.
"""

from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from etcd_twisted.consensus.node import Node
from etcd_twisted.consensus.raft.entries import SnapshotMetadata
from etcd_twisted.consensus.raft.state import RaftState
from etcd_twisted.consensus.state_machine import StateMachine
from etcd_twisted.consensus.storage.disk_thread import AsyncStorage
from etcd_twisted.consensus.storage.snapshot_files import SnapshotWriter
from etcd_twisted.keyspace.snapshot import dump
from etcd_twisted.keyspace.space import KeySpaceState
from etcd_twisted.waiters import next_turn

SNAPSHOT_BYTES = 64 << 20
"""A snapshot is due when the entries applied since the last one hold more data, as they are all in memory."""

_log = Logger()


class Snapshotter:
    """
    Takes snapshots, one at a time.

    @ivar due_index: the applied index at which the next snapshot may be due.
    @ivar due_bytes: how much data the entries applied since the last snapshot may hold before one is due.
    """

    def __init__(
        self,
        clock: IReactorTime,
        disk: AsyncStorage,
        raft: RaftState,
        node: Node,
        state_machine: StateMachine,
        count: int | None,
        most_bytes: int = SNAPSHOT_BYTES,
    ) -> None:
        """
        @param count: after how many entries a snapshot is due, unless they hold more than C{most_bytes}; C{None} for
            no snapshots.
        """
        self._clock = clock
        self._disk = disk
        self._log = raft.log
        self._node = node
        self._state_machine = state_machine
        self._count = count
        self.due_index = float("inf") if count is None else self._log.snapshot_index + count
        self.due_bytes = float("inf") if count is None else most_bytes
        self._running: Deferred[None] | None = None
        self._stopping = False

    def take_if_due(self) -> None:
        """Begin a snapshot if one is due and none is being taken."""
        if self._running is not None or self._count is None:
            return
        state_machine = self._state_machine
        self.due_index = self._log.snapshot_index + self._count
        if state_machine.applied_index >= self.due_index or state_machine.bytes_since_snapshot > self.due_bytes:
            self._running = ensureDeferred(self._take(*state_machine.snapshot()))
            self._running.addErrback(self._node.fail)
            self._running.addCallback(self._ended)

    def _ended(self, _: None) -> None:
        self._running = None

    async def _take(self, metadata: SnapshotMetadata, content: KeySpaceState) -> None:
        disk = self._disk
        await disk.begin_segment()
        file = await disk.create_snapshot(metadata)
        try:
            whole = await self._write(file, content)
            await disk.run(file.finish if whole else file.abort)
        except Exception:
            await disk.run(file.abort)
            raise
        if not whole:
            return
        await disk.compact_log(metadata.index)
        if metadata.index < self._log.snapshot_index:
            return  # a newer snapshot of the leader was installed meanwhile
        self._node.compacted(metadata.index)
        _log.info("Took a snapshot at log index {index}", index=metadata.index)

    async def _write(self, file: SnapshotWriter, content: KeySpaceState) -> bool:
        """Write the chunks. Returns whether all of them were written before L{stop} was called."""
        for chunk in dump(content):
            if self._stopping:
                return False
            if chunk:
                await self._disk.run(file.write, chunk)
            else:
                await next_turn(self._clock)
        return True

    def stop(self) -> "Deferred[None]":
        """Give up a running snapshot. Returns a Deferred that fires when nothing is left of it."""
        self._stopping = True
        if self._running is None:
            return succeed(None)
        ended: Deferred[None] = Deferred()
        self._running.addCallback(ended.callback)
        return ended
