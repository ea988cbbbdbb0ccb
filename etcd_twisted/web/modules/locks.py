"""
Locks, and the clients that acquire, renew and release them (api, "Lock Module"; spec, section 2).

Everything is done by the machine that leads. On any other machine it fails with L{RequestDroppedError}, and nothing
was done. This module must never know of HTTP.
"""

from collections.abc import Iterable

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.interfaces import IReplica
from etcd_twisted.keyspace.commands import Delete, Refresh
from etcd_twisted.keyspace.events import MICROSECONDS_PER_SECOND
from etcd_twisted.web.modules.lock_queue import LockQueue, entry_key, entry_value, lock_name, read_queue
from etcd_twisted.web.modules.queue_entry import QueueEntry, not_acquired
from etcd_twisted.web.modules.watched_queue import WatchedQueue


@attrs.frozen
class LockRequest:
    """
    The request of a client that wants a lock.

    @ivar directory: the key of the directory that holds the queue.
    @ivar ttl_seconds: how long the lock lasts.
    @ivar value: the value of the client's entry, by which it finds the entry again; may be empty.
    @ivar index: the index of an entry that the client has already; C{None} if it has none.
    @ivar timeout_seconds: how long to wait; 0 to try once, C{None} for as long as it takes.
    """

    directory: str
    ttl_seconds: int
    value: str = ""
    index: int | None = None
    timeout_seconds: float | None = None


@attrs.frozen
class EntryReference:
    """
    An entry in a queue, as a client refers to it: by its index, its value, or both.

    @ivar directory: the key of the directory that holds the queue.
    @ivar index: C{None} if the client does not give it.
    @ivar value: empty if the client does not give it.
    """

    directory: str
    index: int | None
    value: str


class Locks:
    """All locks, and the entries that this machine keeps in their queues."""

    def __init__(self, replica: IReplica, clock: IReactorTime) -> None:
        self._replica = replica
        self._clock = clock
        self._queues: dict[str, WatchedQueue] = {}
        self._deposed: Deferred[None] | None = None
        self._stopped: EtcdError | None = None

    async def acquire(self, request: LockRequest) -> int:
        """
        Wait for a lock. Cancelling this deletes the entry in the queue, if no other client waits with it.

        @return: the index of the entry that holds the lock.
        @raise EtcdError: 101 if the lock is not acquired.
        @raise RequestDroppedError: this machine does not lead; L{LeadershipLostError} if it did, and there is an
            entry.
        """
        timeout_seconds = request.timeout_seconds
        deadline_seconds = None if timeout_seconds is None else self._clock.seconds() + timeout_seconds
        entry = await self._entry_for(request)
        return await entry.wait(deadline_seconds)

    async def _entry_for(self, request: LockRequest) -> QueueEntry:
        """Returns the entry for a request. Its C{wait} has to be called at once."""
        if request.value or request.index is not None or request.timeout_seconds == 0:
            await self._replica.confirm_reads()  # to see an entry that was created while another machine led
        while (entry := self._kept_entry(request.directory, request.index, request.value)) is not None:
            _check_value(request, entry.value)
            if not entry.leaving:
                entry.ttl_seconds = request.ttl_seconds
                return entry
            await entry.when_gone()
        if self._stopped is not None:
            raise self._stopped
        return self._begin_to_keep(request)

    def _begin_to_keep(self, request: LockRequest) -> QueueEntry:
        """Returns a new entry, or one that is in the queue and that this machine has not kept until now."""
        directory, index, value = request.directory, request.index, request.value
        if index is None and value:
            index = self._first_with_value(directory, value)
        elif index is not None:
            found = entry_value(self._replica, directory, index)
            if found is None:
                raise not_acquired(directory, f"there is no entry {index} in the queue")
            _check_value(request, found)
            value = found
        if index is None and request.timeout_seconds == 0 and self._first(directory) is not None:
            raise not_acquired(directory, "others hold it or wait for it")
        return self._watched_queue(directory).add_entry(index, value, request.ttl_seconds)

    async def renew(self, reference: EntryReference, ttl_seconds: int) -> None:
        """
        Renew the TTL of an entry, which keeps its position in the queue.

        @raise EtcdError: 100 if there is no such entry.
        @raise RequestDroppedError: this machine does not lead.
        """
        index = await self._find(reference)
        now_microseconds = self._replica.now()
        expires = now_microseconds + ttl_seconds * MICROSECONDS_PER_SECOND
        key = entry_key(self._replica, reference.directory, index)
        await self._replica.propose(Refresh(key, now_microseconds, expires))
        entry = self._kept_entry(reference.directory, index, "")
        if entry is not None:
            entry.renewed_by_client(ttl_seconds)

    async def release(self, reference: EntryReference) -> None:
        """Delete an entry, whether it holds the lock or waits for it. See L{renew} for the errors."""
        index = await self._find(reference)
        key = entry_key(self._replica, reference.directory, index)
        await self._replica.propose(Delete(key, self._replica.now()))

    async def holder(self, directory: str) -> tuple[int, str] | None:
        """
        Returns the index and the value of the entry that holds a lock, or C{None} if nobody holds it.

        @raise EtcdError: 100 if nobody has ever asked for this lock.
        @raise RequestDroppedError: this machine does not lead.
        """
        await self._replica.confirm_reads()
        index = self._first(directory)
        if index is not None:
            return index, entry_value(self._replica, directory, index) or ""
        if read_queue(self._replica, directory) is None:
            raise _not_found(directory)
        return None

    # The present queue

    async def _find(self, reference: EntryReference) -> int:
        await self._replica.confirm_reads()
        index, directory = reference.index, reference.directory
        if index is None:
            index = self._first_with_value(directory, reference.value)
        found = None if index is None else entry_value(self._replica, directory, index)
        if index is None or found is None or reference.value not in ("", found):
            raise _not_found(directory)
        return index

    def _first_with_value(self, directory: str, value: str) -> int | None:
        """Returns the index of the first entry with this value, or C{None} if there is none."""
        return self._first_existing(directory, self._queue(directory).with_value(value))

    def _first(self, directory: str) -> int | None:
        """Returns the index of the first entry of all, or C{None} if there is none."""
        return self._first_existing(directory, self._queue(directory))

    def _queue(self, directory: str) -> LockQueue:
        watched = self._queues.get(directory)
        return (read_queue(self._replica, directory) or LockQueue(self._replica)) if watched is None else watched.queue

    def _first_existing(self, directory: str, indexes: Iterable[int]) -> int | None:
        """Returns the first index whose entry exists: a watched queue may not have heard yet that some are gone."""
        return next((each for each in indexes if entry_value(self._replica, directory, each) is not None), None)

    # The entries that this machine keeps

    def _kept_entry(self, directory: str, index: int | None, value: str) -> QueueEntry | None:
        watched = self._queues.get(directory)
        return None if watched is None else watched.find_entry(index, value)

    def _watched_queue(self, directory: str) -> WatchedQueue:
        watched = self._queues.get(directory)
        if watched is None:
            self._queues[directory] = watched = WatchedQueue(self._replica, self._clock, directory)
            watched.ended.addCallback(self._queue_ended, watched)
        if self._deposed is None:
            self._deposed = self._replica.when_deposed()
            self._deposed.addCallbacks(self._leadership_lost, self._not_deposed)
        return watched

    def _queue_ended(self, _: None, watched: WatchedQueue) -> None:
        if self._queues.get(watched.directory) is watched:
            del self._queues[watched.directory]
        if not self._queues and self._deposed is not None:
            deposed, self._deposed = self._deposed, None
            deposed.cancel()

    def _leadership_lost(self, _: None) -> None:
        """Begin anew when this machine leads again: the queues of now may not have heard of everything by then."""
        self._deposed = None
        queues, self._queues = self._queues, {}
        for watched in queues.values():
            watched.leadership_lost()

    def _not_deposed(self, reason: Failure) -> None:
        """The service stops, or nobody waits any more."""
        self._deposed = None
        if isinstance(reason.value, EtcdError):
            self.stop(reason.value)

    def stop(self, error: EtcdError) -> None:
        """Send all clients that wait away with this error, and delete their entries."""
        self._stopped = error
        for watched in list(self._queues.values()):
            watched.stop(error)


def _check_value(request: LockRequest, value: str) -> None:
    """
    Check that an entry is the one that the client means. A client that gives no value takes what the entry has; one
    that gives another value means another entry.
    """
    if request.value not in ("", value):
        raise not_acquired(request.directory, f"entry {request.index} has another value")


def _not_found(directory: str) -> EtcdError:
    return EtcdError(ErrorCode.KEY_NOT_FOUND, lock_name(directory))
