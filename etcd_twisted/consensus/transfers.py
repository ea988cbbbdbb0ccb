"""
Snapshots on their way between machines (Raft paper, section 7).

The file goes as it is on the disk, in pieces, so that neither side holds it in memory and what came in part goes on
where it ended. The receiver reads the whole of it, checked, before it takes the place of anything.

Must never put a snapshot in the place of a key space that is newer, or of one while a part is missing; nor send one
machine two at a time.
"""

import contextlib
import functools
import os
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import attrs
import msgspec
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from etcd_twisted.consensus.driver import Driver
from etcd_twisted.consensus.raft.entries import SnapshotMetadata
from etcd_twisted.consensus.raft.messages import MOST_TERMS_AHEAD
from etcd_twisted.consensus.recovery import Storage
from etcd_twisted.consensus.storage.disk_thread import LogWriter
from etcd_twisted.consensus.storage.snapshot_files import IncomingSnapshot
from etcd_twisted.errors import StorageError
from etcd_twisted.interfaces import ISnapshotFile, ITransport
from etcd_twisted.keyspace.expiry import ExpirySchedule
from etcd_twisted.keyspace.snapshot import SnapshotLoader
from etcd_twisted.keyspace.space import Content
from etcd_twisted.waiters import Waiting

PAUSE = 0.5
"""Seconds until a machine that did not take a snapshot is sent one again."""

_HEAD_LENGTH = 64
"""Bytes by which a file is known again: its salt is among them."""

_T = TypeVar("_T")

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
    A finished snapshot, as it is on disk; it stays readable when a newer one takes its place.

    All reading is done by the writer's thread, to which the disk belongs.
    """

    def __init__(self, path: Path, snapshot: SnapshotMetadata, term: int, writer: LogWriter) -> None:
        """
        @raise OSError: it can't be opened.
        """
        self._writer = writer
        self._descriptor = os.open(path, os.O_RDONLY)
        self._reading = 0
        self.length_read = 0
        self._closed = False
        self.metadata = _encode(Offer(term, snapshot))
        self.size = os.fstat(self._descriptor).st_size
        self.head = os.pread(self._descriptor, _HEAD_LENGTH, 0)

    def read(self, offset: int, length: int) -> "Deferred[bytes]":
        """See L{ISnapshotFile}."""
        self._reading += 1
        data: Deferred[bytes] = Deferred()  # who cancels it does not cancel the reading
        job = self._writer.submit(functools.partial(os.pread, self._descriptor, length, offset))
        job.addBoth(self._has_read).chainDeferred(data)
        return data

    def _has_read(self, result: bytes | Failure) -> bytes | Failure:
        self._reading -= 1
        self.length_read += len(result) if isinstance(result, bytes) else 0
        self._close_if_unused()
        return result

    def close(self) -> None:
        """See L{ISnapshotFile}."""
        self._closed = True
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        """Close it, but not under the writer's hands: its number may be another file's before that has read."""
        if self._closed and self._descriptor >= 0 and not self._reading:
            os.close(self._descriptor)
            self._descriptor = -1


@attrs.define
class _Sending:
    """
    A snapshot on its way to one machine.

    @ivar step: what can be cancelled of it just now.
    """

    given_up: bool = False
    step: "Deferred[None] | None" = None

    def give_up(self) -> None:
        """Have it end."""
        self.given_up = True
        if self.step is not None:
            self.step.cancel()


class SnapshotSender:
    """Sends the newest snapshot to machines that need what is not in the log any more."""

    def __init__(
        self,
        clock: IReactorTime,
        storage: Storage,
        writer: LogWriter,
        transport: ITransport,
        ended: Callable[[str, int], None],
        called: Callable[[str], str],
    ) -> None:
        """
        @param ended: told of each machine to which a snapshot was sent, that it has arrived or was given up, and how
            many bytes were read for it.
        @param called: how the log calls the machine of an id.
        """
        self._called = called
        self._clock = clock
        self._storage = storage
        self._writer = writer
        self._transport = transport
        self._ended = ended
        self._sending: dict[str, _Sending] = {}
        self._none = Waiting()

    def send(self, machine_id: str, term: int) -> None:
        """
        Send it, unless one is on its way already.

        @param term: this leader's.
        """
        if machine_id not in self._sending:
            sending = self._sending[machine_id] = _Sending()
            ensureDeferred(self._send(machine_id, term, sending)).addErrback(self._not_sent, machine_id)

    async def _send(self, machine_id: str, term: int, sending: _Sending) -> None:
        file: SnapshotFile | None = None
        called = self._called(machine_id)
        try:
            file = await self._writer.submit(functools.partial(self._open, term))
            if sending.given_up:
                file.close()
            else:
                _log.info("Sending a snapshot of {size} bytes to {machine}", size=file.size, machine=called)
                sending.step = self._transport.send_snapshot(machine_id, file)
                await sending.step
                _log.info("Sent a snapshot to {machine}: {size} bytes of it", machine=called, size=file.length_read)
        except CancelledError:
            _log.debug("Gave up sending a snapshot to {machine}", machine=called)
        except Exception as error:
            _log.warn("The snapshot was not sent to {machine}: {reason}", machine=called, reason=str(error))
            await self._pause(sending)
        finally:
            del self._sending[machine_id]
            self._ended(machine_id, 0 if file is None else file.length_read)
            if not self._sending:
                self._none.fire()

    def _open(self, term: int) -> SnapshotFile:
        """Run by the writer, as only the writer puts one snapshot in the place of another."""
        reader = self._storage.snapshots.latest()
        if reader is None:
            raise StorageError(f"{self._storage.directory.snapshot_directory} is empty, though the log was shortened")
        reader.close()
        return SnapshotFile(reader.path, reader.metadata, term, self._writer)

    async def _pause(self, sending: _Sending) -> None:
        """Who refuses it would do so again if asked at once."""
        if not sending.given_up:
            sending.step = deferLater(self._clock, PAUSE, lambda: None)
            with contextlib.suppress(CancelledError):
                await sending.step

    def _not_sent(self, failure: Failure, machine_id: str) -> None:
        _log.failure("Sending a snapshot to {machine} failed", failure, machine=self._called(machine_id))

    def give_up(self) -> None:
        """This machine no longer leads."""
        for sending in list(self._sending.values()):
            sending.give_up()

    async def stop(self) -> None:
        """Return when nothing is on its way any more."""
        self.give_up()
        while self._sending:
            await self._none.wait()


@attrs.define
class _Incoming:
    """A file that is coming, and what it was offered as."""

    sender: str
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
        self._busy = False
        self._free = Waiting()

    def offered(self, sender: str, metadata: bytes, head: bytes, size: int) -> "Deferred[int]":
        """See L{etcd_twisted.interfaces.IRaftPeer.snapshot_offered}."""
        try:
            offer = _decode_offer(metadata)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return fail(ValueError(f"no snapshot's metadata: {error}"))
        if offer.term > self._driver.core.term + MOST_TERMS_AHEAD:
            return fail(ValueError("no snapshot's metadata: a term that no cluster gets to"))
        if not self._driver.wants_snapshot(sender, offer.term, offer.snapshot.index):
            return succeed(size)  # as if all of it were here
        if self._busy or self._stopped:
            return fail(ValueError("another snapshot is being taken"))
        incoming = self._incoming
        if incoming is not None and (incoming.offer.snapshot, incoming.head) == (offer.snapshot, head):
            incoming.sender = sender
            return succeed(incoming.file.length)
        return self._do(self._begin(sender, offer, head, size))

    async def _begin(self, sender: str, offer: Offer, head: bytes, size: int) -> int:
        await self._drop()
        file = await self._writer.submit(functools.partial(self._storage.snapshots.receive, offer.snapshot))
        self._incoming = _Incoming(sender, offer, head, size, file)
        _log.info("The leader sends its snapshot of log index {index}", index=offer.snapshot.index)
        return 0

    async def _drop(self) -> None:
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            await self._writer.submit(incoming.file.abort)

    def piece(self, sender: str, offset: int, data: bytes) -> "Deferred[None]":
        """See L{etcd_twisted.interfaces.IRaftPeer.snapshot_piece}."""
        incoming = self._incoming
        if incoming is None or self._busy or sender != incoming.sender or offset != incoming.file.length:
            return fail(ValueError(f"no snapshot goes on at {offset}"))
        return self._do(self._take(incoming, data))

    def passed(self, index: int) -> None:
        """The log has brought as much: what has come of a snapshot that is not newer is of no use."""
        incoming = self._incoming
        if incoming is not None and not self._busy and incoming.offer.snapshot.index <= index:
            self._do(self._drop()).addErrback(lambda failure: _log.failure("Dropping a snapshot failed", failure))

    def _do(self, work: Coroutine[Any, Any, _T]) -> "Deferred[_T]":
        """One thing at a time."""
        self._busy = True
        return ensureDeferred(work).addBoth(self._done)

    def _done(self, result: _T | Failure) -> _T | Failure:
        self._busy = False
        self._free.fire()
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
            content = await self._load(loader, file)
        except Exception as error:
            await self._writer.submit(file.abort)
            raise ValueError(f"the snapshot can't be used: {error}") from error
        await self._writer.submit(file.finish)
        if self._stopped or self._driver.core.commit_index >= file.metadata.index:
            return
        try:
            await self._become(content, loader.schedule, file.metadata)
        except Exception:
            self._driver.fail(Failure())
            raise

    async def _load(self, loader: SnapshotLoader, file: IncomingSnapshot) -> Content:
        with closing(file.reader()) as reader:
            for chunk in reader:
                loader.feed(chunk)
                await self._wait_a_turn()
                if self._stopped:
                    raise StorageError("this machine is stopping")
        return loader.finish()

    async def _become(self, content: Content, schedule: ExpirySchedule, snapshot: SnapshotMetadata) -> None:
        self._restore(content, schedule, snapshot)
        agrees = self._driver.install(snapshot)
        log = self._storage.log
        shorten = log.compact if agrees else log.restart_after
        # Submitted in the same turn: whatever the log is given next goes on from there.
        await self._writer.submit(functools.partial(shorten, snapshot.index))
        _log.info("Went on from the leader's snapshot of log index {index}", index=snapshot.index)

    async def stop(self) -> None:
        """Give up what is coming; return when nothing is left of it."""
        self._stopped = True
        while self._busy:
            await self._free.wait()
        await self._drop()
