"""
Sends snapshots to other machines (Raft paper, section 7).

The file is sent as it is on disk, in pieces, so that neither side holds it in memory and an interrupted transfer
continues where it ended. This module must never send two snapshots to one machine at a time.
"""

import contextlib
import os
from pathlib import Path

import attrs
import msgspec
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from etcd_twisted.consensus.group_state import GroupState
from etcd_twisted.consensus.raft.entries import SnapshotMetadata
from etcd_twisted.consensus.storage.disk_thread import AsyncStorage
from etcd_twisted.consensus.storage.removed_files import keep_readable
from etcd_twisted.errors import StorageError
from etcd_twisted.interfaces import ISnapshotFile, ITransport
from etcd_twisted.waiters import Waiters

PAUSE_SECONDS = 0.5
"""How long after a failure a machine may be sent a snapshot again."""

_HEAD_LENGTH = 64
"""How many bytes at its beginning identify a file: its random salt is among them."""

_log = Logger()


class Offer(msgspec.Struct, array_like=True, frozen=True):
    """
    The announcement of a snapshot, before it is sent.

    @ivar term: the term of the leader that sends it.
    """

    term: int
    snapshot: SnapshotMetadata


_encode = msgspec.msgpack.Encoder().encode
decode_offer = msgspec.msgpack.Decoder(Offer).decode


@implementer(ISnapshotFile)
class SnapshotFile:
    """
    A finished snapshot, as it is on disk. It stays readable when a newer one replaces it.

    The disk thread does all the reading.

    @ivar length_read: how many bytes were read from it so far.
    """

    def __init__(self, path: Path, snapshot: SnapshotMetadata, term: int, disk: AsyncStorage) -> None:
        """
        @raise OSError: the file can't be opened.
        """
        self._disk = disk
        self._descriptor = os.open(path, os.O_RDONLY)
        keep_readable(self._descriptor)
        self._reading = 0
        self.length_read = 0
        self._closed = False
        self.metadata = _encode(Offer(term, snapshot))
        self.size = os.fstat(self._descriptor).st_size
        self.head = os.pread(self._descriptor, _HEAD_LENGTH, 0)

    def read(self, offset: int, length: int) -> "Deferred[bytes]":
        """See L{ISnapshotFile}."""
        self._reading += 1
        data: Deferred[bytes] = Deferred()  # cancelling it does not cancel the reading
        job = self._disk.run(os.pread, self._descriptor, length, offset)
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
        """Close the file, but not during a read, as its descriptor might then be another file's."""
        if self._closed and self._descriptor >= 0 and not self._reading:
            os.close(self._descriptor)
            self._descriptor = -1


@attrs.define
class _Sending:
    """
    The transfer of a snapshot to one machine.

    @ivar step: the current step, which can be cancelled.
    @ivar ended: those who wait until the snapshot has arrived or was given up.
    """

    given_up: bool = False
    step: "Deferred[None] | None" = None
    ended: Waiters = attrs.field(factory=Waiters)

    def give_up(self) -> None:
        """Cancel the transfer."""
        self.given_up = True
        if self.step is not None:
            self.step.cancel()


class SnapshotSender:
    """Sends the newest snapshot to machines that need entries which are no longer in the log."""

    def __init__(self, clock: IReactorTime, disk: AsyncStorage, transport: ITransport, group: GroupState) -> None:
        self._clock = clock
        self._disk = disk
        self._transport = transport
        self._group = group
        self._sending: dict[str, _Sending] = {}

    def send(self, machine_id: str, term: int) -> "Deferred[int]":
        """
        Send the newest snapshot to a machine, unless a transfer to it is under way already.

        @param term: the term of this leader.
        @return: a Deferred that fires with the number of bytes read when the snapshot has arrived or was given up.
        """
        sending = self._sending.get(machine_id)
        if sending is not None:
            return sending.ended.wait().addCallback(lambda _: 0)
        sending = self._sending[machine_id] = _Sending()
        return ensureDeferred(self._send(machine_id, term, sending)).addErrback(self._not_sent, machine_id)

    async def _send(self, machine_id: str, term: int, sending: _Sending) -> int:
        file: SnapshotFile | None = None
        called = self._group.label(machine_id)
        try:
            file = await self._disk.run(self._open, term)
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
            sending.ended.fire()
        return 0 if file is None else file.length_read

    def _open(self, term: int) -> SnapshotFile:
        """Open the newest snapshot. The disk thread runs this, as only it replaces snapshots."""
        storage = self._disk.storage
        reader = storage.snapshots.latest()
        if reader is None:
            raise StorageError(f"{storage.directory.snapshot_directory} is empty, though the log was shortened")
        reader.close()
        return SnapshotFile(reader.path, reader.metadata, term, self._disk)

    async def _pause(self, sending: _Sending) -> None:
        """Wait before the next attempt: a machine that has refused would refuse again at once."""
        if not sending.given_up:
            sending.step = deferLater(self._clock, PAUSE_SECONDS, lambda: None)
            with contextlib.suppress(CancelledError):
                await sending.step

    def _not_sent(self, failure: Failure, machine_id: str) -> int:
        _log.failure("Sending a snapshot to {machine} failed", failure, machine=self._group.label(machine_id))
        return 0

    def give_up(self) -> None:
        """Cancel all transfers, as this machine no longer leads."""
        for sending in list(self._sending.values()):
            sending.give_up()

    async def stop(self) -> None:
        """Cancel all transfers, and return when they have ended."""
        self.give_up()
        while self._sending:
            await next(iter(self._sending.values())).ended.wait()
