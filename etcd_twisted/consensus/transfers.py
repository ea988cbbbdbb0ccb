"""
Snapshots on their way between machines (Raft paper, section 7).

The file goes as it is on the disk, in pieces, so that neither side holds it in memory and what came in part goes on
where it ended. The receiver reads the whole of it, checked, before it takes the place of anything.

Must never put a snapshot in the place of a key space that is newer, or of one while a part is missing.
"""

import functools
import os
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import attrs
import msgspec
from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from etcd_twisted.consensus.driver import Driver
from etcd_twisted.consensus.entries import SnapshotMetadata
from etcd_twisted.consensus.recovery import Storage
from etcd_twisted.consensus.snapshots import IncomingSnapshot
from etcd_twisted.consensus.writer import LogWriter
from etcd_twisted.interfaces import ISnapshotFile
from etcd_twisted.keyspace.expiry import ExpirySchedule
from etcd_twisted.keyspace.snapshot import SnapshotLoader
from etcd_twisted.keyspace.space import Content

_HEAD_LENGTH = 64
"""Bytes by which a file is known again: its salt is among them."""

_log = Logger()


class Offer(msgspec.Struct, array_like=True, frozen=True):
    """
    What is said of a snapshot before it is sent.

    @ivar term: the leader's.
    """

    term: int
    snapshot: SnapshotMetadata


_encode = msgspec.msgpack.Encoder().encode
_decode_offer = msgspec.msgpack.Decoder(Offer).decode


@implementer(ISnapshotFile)
class SnapshotFile:
    """
    The newest snapshot, as it is on disk; it stays readable when a newer one takes its place.

    All reading is done by the writer's thread, to which the disk belongs.
    """

    def __init__(self, path: Path, snapshot: SnapshotMetadata, term: int, writer: LogWriter) -> None:
        """
        @raise OSError: it can't be opened.
        """
        self._writer = writer
        self._descriptor = os.open(path, os.O_RDONLY)
        self.metadata = _encode(Offer(term, snapshot))
        self.size = os.fstat(self._descriptor).st_size
        self.head = os.pread(self._descriptor, _HEAD_LENGTH, 0)

    def read(self, offset: int, length: int) -> "Deferred[bytes]":
        """See L{ISnapshotFile}."""
        return self._writer.submit(functools.partial(os.pread, self._descriptor, length, offset))

    def close(self) -> None:
        """See L{ISnapshotFile}."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


@attrs.define
class _Incoming:
    """A file that is coming, and what it was offered as."""

    offer: Offer
    head: bytes
    size: int
    file: IncomingSnapshot


class SnapshotReceiver:
    """
    Takes the leader's snapshots, one at a time.

    @ivar installing: whether the key space is about to be replaced, so that no snapshot of it should be taken.
    """

    def __init__(
        self,
        storage: Storage,
        writer: LogWriter,
        driver: Driver,
        turn: Callable[[], Awaitable[None]],
        restore: Callable[[Content, ExpirySchedule, SnapshotMetadata], None],
    ) -> None:
        """
        @param turn: awaited between slices of work.
        @param restore: puts what was loaded in the place of the key space.
        """
        self.installing = False
        self._storage = storage
        self._writer = writer
        self._driver = driver
        self._wait_a_turn = turn
        self._restore = restore
        self._incoming: _Incoming | None = None
        self._stopped = False
        self._taking = False
        self._taken: Deferred[None] | None = None

    def offered(self, sender: str, metadata: bytes, head: bytes, size: int) -> "Deferred[int]":
        """See L{etcd_twisted.interfaces.IRaftPeer.snapshot_offered}."""
        try:
            offer = _decode_offer(metadata)
        except msgspec.MsgspecError as error:
            return fail(ValueError(f"no snapshot's metadata: {error}"))
        if not self._driver.wants_snapshot(sender, offer.term, offer.snapshot.index):
            return succeed(size)  # as if all of it were here
        if self._taking or self._stopped:
            return fail(ValueError("another snapshot is being taken"))
        incoming = self._incoming
        if incoming is not None and (incoming.offer.snapshot, incoming.head) == (offer.snapshot, head):
            incoming.offer = offer
            return succeed(incoming.file.length)
        return ensureDeferred(self._begin(offer, head, size))

    async def _begin(self, offer: Offer, head: bytes, size: int) -> int:
        await self._drop()
        file = await self._writer.submit(functools.partial(self._storage.snapshots.receive, offer.snapshot))
        self._incoming = _Incoming(offer, head, size, file)
        _log.info("The leader sends its snapshot of log index {index}", index=offer.snapshot.index)
        return 0

    async def _drop(self) -> None:
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            await self._writer.submit(incoming.file.abort)

    def piece(self, offset: int, data: bytes) -> "Deferred[None]":
        """See L{etcd_twisted.interfaces.IRaftPeer.snapshot_piece}."""
        incoming = self._incoming
        if incoming is None or self._taking or offset != incoming.file.length:
            return fail(ValueError(f"no snapshot goes on at {offset}"))
        self._taking = True
        return ensureDeferred(self._take(incoming, data)).addBoth(self._end)

    def _end(self, result: Failure | None) -> Failure | None:
        self._taking = False
        if self._taken is not None:
            taken, self._taken = self._taken, None
            taken.callback(None)
        if isinstance(result, Failure) and result.check(OSError):
            self._driver.fail(result)
        return result

    async def _take(self, incoming: _Incoming, data: bytes) -> None:
        await self._writer.submit(functools.partial(incoming.file.write, data))
        if incoming.file.length >= incoming.size:
            self.installing = True
            try:
                await self._install(incoming.file)
            finally:
                self._incoming = None
                self.installing = False

    async def _install(self, file: IncomingSnapshot) -> None:
        """Read what came, make it durable, and become it, unless the log has brought as much meanwhile."""
        loader = SnapshotLoader()
        try:
            with closing(file.reader()) as reader:
                for chunk in reader:
                    loader.feed(chunk)
                    await self._wait_a_turn()
            content = loader.finish()
        except Exception:
            await self._writer.submit(file.abort)
            raise
        await self._writer.submit(file.finish)
        snapshot = file.metadata
        if self._stopped or self._driver.core.commit_index >= snapshot.index:
            return
        self._restore(content, loader.schedule, snapshot)
        agrees = self._driver.install(snapshot)
        log = self._storage.log
        shorten = log.compact if agrees else log.restart_after
        await self._writer.submit(functools.partial(shorten, snapshot.index))
        _log.info("Went on from the leader's snapshot of log index {index}", index=snapshot.index)

    async def stop(self) -> None:
        """Give up what is coming; return when nothing is left of it."""
        self._stopped = True
        if self._taking:
            self._taken = Deferred()
            await self._taken
        await self._drop()
