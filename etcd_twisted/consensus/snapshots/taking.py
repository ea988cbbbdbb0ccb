"""
Takes snapshots of the key space and shortens the log.

A snapshot holds the key space as it was when the snapshot began, which costs nothing, and is written chunk by chunk
while the reactor turns in between. The log continues in a new segment. A segment with entries that were not applied
when the snapshot began is kept until the next snapshot.

This module must never shorten the log before the snapshot that covers it is durable.
"""

from collections.abc import Iterator

from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from etcd_twisted.consensus.node import Node
from etcd_twisted.consensus.raft.entries import Entry, SnapshotMetadata
from etcd_twisted.consensus.raft.state import RaftState
from etcd_twisted.consensus.state_machine import StateMachine
from etcd_twisted.consensus.storage.disk_thread import AsyncStorage
from etcd_twisted.consensus.storage.snapshot_files import SnapshotWriter
from etcd_twisted.keyspace.snapshot import dump
from etcd_twisted.waiters import next_turn

SNAPSHOT_BYTES = 64 << 20
"""A snapshot is due when the entries applied since the last one hold more data, as they are all in memory."""

MOST_ENTRIES = 500_000
"""
A snapshot is due after so many entries in any case: a machine that starts applies them in about 7 s. Only with more
than 800,000 small keys are these fewer than L{ENTRY_BYTES_PER_SNAPSHOT_BYTE} asks for.
"""

FREE_BYTES = 1 << 20
"""A snapshot of this size costs so little that it may come after any number of entries."""

ENTRY_BYTES_PER_SNAPSHOT_BYTE = 0.75
"""
How much data the entries hold, at the least, for each byte of the last snapshot beyond L{FREE_BYTES}. A snapshot is
thus paid for by a number of writes that grows as it does, and its cost for each write does not depend on the number of
keys: two keys are written to a snapshot for each write, which takes about a third of what applying the write does.
With more, snapshots would be rarer, and starts longer: to read and apply an entry takes six to eight times as long as
to load a key, so that at this value a machine with small keys takes up to five times as long for the entries as for
the snapshot.
"""

_CHECKS_PER_COUNT = 10
"""How often to look, in the time of L{Snapshotter}'s count, whether a large snapshot is due by now."""

_ENTRIES_FREED_A_TURN = 1_000
"""How many entries that a snapshot covers are freed in one turn of the reactor."""

_log = Logger()


class Snapshotter:
    """
    Takes snapshots, one at a time.

    @ivar due_index: the applied index at which to call L{take_if_due} next.
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
        @param count: after how many entries a snapshot may be due; it is if the last one was small enough, see
            L{ENTRY_BYTES_PER_SNAPSHOT_BYTE}. C{None} for no snapshots.
        @param most_bytes: how much data in entries makes a snapshot due, whatever their number.
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
        self.due_index = self._next_due_index(self._count)
        if state_machine.applied_index >= self.due_index or state_machine.bytes_since_snapshot > self.due_bytes:
            metadata, content = state_machine.snapshot()
            self._running = ensureDeferred(self._take(metadata, dump(content)))
            self._running.addErrback(self._node.fail)
            self._running.addCallback(self._ended)

    def _next_due_index(self, count: int) -> int:
        """Returns the applied index from which on a snapshot is due, or at which to ask again."""
        state_machine = self._state_machine
        earliest = self._log.snapshot_index + count
        latest = self._log.snapshot_index + max(count, MOST_ENTRIES)
        large_bytes = self._disk.storage.snapshots.size - FREE_BYTES
        if state_machine.bytes_since_snapshot >= large_bytes * ENTRY_BYTES_PER_SNAPSHOT_BYTE:
            return earliest
        again = state_machine.applied_index + max(count // _CHECKS_PER_COUNT, 1)
        return min(max(earliest, again), latest)

    def _ended(self, _: None) -> None:
        self._running = None

    async def _take(self, metadata: SnapshotMetadata, chunks: Iterator[bytes]) -> None:
        """
        @param chunks: see L{dump}. Nobody else holds the key space as it was, so that it is freed in small steps.
        """
        disk = self._disk
        await disk.begin_segment()
        file = await disk.create_snapshot(metadata)
        try:
            whole = await self._write(file, chunks)
            await disk.run(file.finish if whole else file.abort)
        except Exception:
            await disk.run(file.abort)
            raise
        if not whole:
            return
        await disk.compact_log(metadata.index)
        covered: list[Entry] = []
        if metadata.index >= self._log.snapshot_index:  # else a newer snapshot of the leader was installed meanwhile
            covered = list(self._log.between(self._log.first_index, metadata.index + 1))
            self._node.compacted(metadata.index)
            _log.info("Took a snapshot at log index {index}", index=metadata.index)
        await disk.free_removed()
        while covered and not self._stopping:
            del covered[-_ENTRIES_FREED_A_TURN:]  # all of them at once would take longer than a turn may
            await disk.when_reached()

    async def _write(self, file: SnapshotWriter, chunks: Iterator[bytes]) -> bool:
        """Write the chunks. Returns whether all of them were written before L{stop} was called."""
        for chunk in chunks:
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
