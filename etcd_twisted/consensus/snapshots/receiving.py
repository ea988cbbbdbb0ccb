"""
Receives the leader's snapshots (Raft paper, section 7).

The whole file is read and checked before it replaces anything. A snapshot must never replace a key space that is
newer, nor any key space while a part of it is missing.
"""

from collections.abc import Coroutine
from contextlib import closing
from typing import Any, TypeVar

import attrs
import msgspec
from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from etcd_twisted.consensus.node import Node
from etcd_twisted.consensus.raft.entries import SnapshotMetadata
from etcd_twisted.consensus.raft.messages import MOST_TERMS_AHEAD
from etcd_twisted.consensus.raft.state import RaftState
from etcd_twisted.consensus.snapshots.sending import Offer, decode_offer
from etcd_twisted.consensus.state_machine import StateMachine
from etcd_twisted.consensus.storage.disk_thread import AsyncStorage
from etcd_twisted.consensus.storage.snapshot_files import IncomingSnapshot
from etcd_twisted.errors import StorageError
from etcd_twisted.interfaces.statistics import Traffic
from etcd_twisted.keyspace.expiry import ExpirySchedule
from etcd_twisted.keyspace.snapshot import SnapshotLoader
from etcd_twisted.keyspace.state import KeySpaceState
from etcd_twisted.waiters import Waiters, next_turn

_T = TypeVar("_T")

_log = Logger()


@attrs.define
class Incoming:
    """A snapshot file that is being received, and the offer that announced it."""

    sender: str
    offer: Offer
    head: bytes
    size: int
    file: IncomingSnapshot


class SnapshotReceiver:
    """
    Receives the leader's snapshots, one at a time.

    @ivar incoming: the snapshot that is being received; C{None} while there is none.
    @ivar installing: whether the key space is about to be replaced, so that no snapshot of it should be taken.
    """

    def __init__(
        self,
        clock: IReactorTime,
        disk: AsyncStorage,
        raft: RaftState,
        node: Node,
        state_machine: StateMachine,
        traffic: Traffic,
    ) -> None:
        """
        @param traffic: counts the received bytes.
        """
        self.installing = False
        self._clock = clock
        self._disk = disk
        self._raft = raft
        self._node = node
        self._state_machine = state_machine
        self._traffic = traffic
        self.incoming: Incoming | None = None
        self._stopped = False
        self._busy = False
        self._free = Waiters()

    def offered(self, sender: str, metadata: bytes, head: bytes, size: int) -> "Deferred[int]":
        """See L{etcd_twisted.interfaces.IRaftPeer.snapshot_offered}."""
        try:
            offer = decode_offer(metadata)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return fail(ValueError(f"no snapshot's metadata: {error}"))
        if offer.term > self._raft.term + MOST_TERMS_AHEAD:
            return fail(ValueError("no snapshot's metadata: a term that no cluster reaches"))
        if not self._node.wants_snapshot(sender, offer.term, offer.snapshot.index):
            return succeed(size)  # as if all of it had arrived, so that nothing is sent
        if self._busy or self._stopped:
            return fail(ValueError("another snapshot is being taken"))
        incoming = self.incoming
        if incoming is not None and (incoming.offer.snapshot, incoming.head) == (offer.snapshot, head):
            incoming.sender = sender
            return succeed(incoming.file.length)
        return self._do(self._begin(sender, offer, head, size))

    async def _begin(self, sender: str, offer: Offer, head: bytes, size: int) -> int:
        await self._drop()
        file = await self._disk.receive_snapshot(offer.snapshot)
        self.incoming = Incoming(sender, offer, head, size, file)
        _log.info("The leader sends its snapshot of log index {index}", index=offer.snapshot.index)
        return 0

    async def _drop(self) -> None:
        incoming, self.incoming = self.incoming, None
        if incoming is not None:
            await self._disk.run(incoming.file.abort)

    def piece(self, sender: str, offset: int, data: bytes) -> "Deferred[None]":
        """See L{etcd_twisted.interfaces.IRaftPeer.snapshot_piece}."""
        self._traffic.add_received(sender, len(data))
        incoming = self.incoming
        if incoming is None or self._busy or sender != incoming.sender or offset != incoming.file.length:
            return fail(ValueError(f"no snapshot continues at {offset}"))
        return self._do(self._take(incoming, data))

    def passed(self, index: int) -> None:
        """Drop a snapshot in progress that is not newer than C{index}, which the log has reached meanwhile."""
        incoming = self.incoming
        if incoming is not None and not self._busy and incoming.offer.snapshot.index <= index:
            self._do(self._drop()).addErrback(lambda failure: _log.failure("Dropping a snapshot failed", failure))

    def _do(self, work: Coroutine[Any, Any, _T]) -> "Deferred[_T]":
        """Run one piece of work, during which no other may begin."""
        self._busy = True
        return ensureDeferred(work).addBoth(self._done)

    def _done(self, result: _T | Failure) -> _T | Failure:
        self._busy = False
        self._free.fire()
        if isinstance(result, Failure) and result.check(OSError):
            self._node.fail(result)
        return result

    async def _take(self, incoming: Incoming, data: bytes) -> None:
        await self._disk.run(incoming.file.write, data)
        if incoming.file.length >= incoming.size:
            self.installing = True
            try:
                await self._install(incoming.file)
            finally:
                self.incoming = None
                self.installing = False

    async def _install(self, file: IncomingSnapshot) -> None:
        """Read the received file, make it durable, and take it over unless the log has reached its index meanwhile."""
        loader = SnapshotLoader()
        try:
            content = await self._load(loader, file)
        except Exception as error:
            await self._disk.run(file.abort)
            raise ValueError(f"the snapshot can't be used: {error}") from error
        await self._disk.run(file.finish)
        if not self._stopped and self._raft.commit_index < file.metadata.index:
            try:
                await self._become(content, loader.schedule, file.metadata)
            except Exception:
                self._node.fail(Failure())
                raise
        await self._disk.free_removed()

    async def _load(self, loader: SnapshotLoader, file: IncomingSnapshot) -> KeySpaceState:
        with closing(file.reader()) as reader:
            for chunk in reader:
                loader.feed(chunk)
                await next_turn(self._clock)
                if self._stopped:
                    raise StorageError("this machine is stopping")
        return loader.finish()

    async def _become(self, content: KeySpaceState, schedule: ExpirySchedule, snapshot: SnapshotMetadata) -> None:
        self._state_machine.restore(content, schedule, snapshot)
        agrees = self._node.install(snapshot)
        shorten = self._disk.compact_log if agrees else self._disk.restart_log_after
        # This is submitted in the same turn, so that the next append follows the snapshot.
        await shorten(snapshot.index)
        _log.info("Continued from the leader's snapshot of log index {index}", index=snapshot.index)

    async def stop(self) -> None:
        """Give up a snapshot in progress, and return when nothing is left of it."""
        self._stopped = True
        while self._busy:
            await self._free.wait()
        await self._drop()
