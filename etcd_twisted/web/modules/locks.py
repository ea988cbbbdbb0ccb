"""
Locks: who gets one, keeps it and gives it back (api, "Lock Module"; spec, section 2).

All of this is done by the machine that leads: on any other it fails with L{NotDoneError}, and nothing was done. Must
never know of HTTP.
"""

from collections.abc import Iterable

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.interfaces import IReplica
from etcd_twisted.keyspace.commands import Delete, Refresh
from etcd_twisted.web.modules.line import Line, name_of, place_key, read_line, value_at
from etcd_twisted.web.modules.place import Place, not_got
from etcd_twisted.web.modules.queue import Queue

_SECOND = 1_000_000


@attrs.frozen
class Wish:
    """
    What one who wants a lock asks for.

    @ivar directory: the key of the directory that the lock's line is in.
    @ivar ttl: how long the lock lasts, in seconds.
    @ivar value: what it calls its place, to find it again; empty for nothing.
    @ivar index: a place that it has already; C{None} for none.
    @ivar timeout: how many seconds to wait, 0 to try once; C{None} for as long as it takes.
    """

    directory: str
    ttl: int
    value: str = ""
    index: int | None = None
    timeout: float | None = None


@attrs.frozen
class Named:
    """
    A place as somebody names it: by its index, its value, or both.

    @ivar directory: the key of the directory that the lock's line is in.
    @ivar index: C{None} if it is not said.
    @ivar value: empty if it is not said.
    """

    directory: str
    index: int | None
    value: str


class Locks:
    """All locks, and the places that this machine keeps for those who wait."""

    def __init__(self, replica: IReplica, clock: IReactorTime) -> None:
        self._replica = replica
        self._clock = clock
        self._queues: dict[str, Queue] = {}
        self._deposed: Deferred[None] | None = None
        self._stopped: EtcdError | None = None

    async def acquire(self, wish: Wish) -> int:
        """
        Wait for a lock. Cancelling this gives the place in line up, if nobody else waits at it.

        @return: the index of the place that holds the lock.
        @raise EtcdError: 101 if it is not got.
        @raise NotDoneError: this machine does not lead; L{LostError} if it has led and there is a place in line.
        """
        until = None if wish.timeout is None else self._clock.seconds() + wish.timeout
        place = await self._place(wish)
        return await place.wait(until)

    async def _place(self, wish: Wish) -> Place:
        """The place of one who wants a lock; it has to wait at it at once."""
        if wish.value or wish.index is not None or wish.timeout == 0:
            await self._replica.confirm_reads()  # or a place that another leader made could be overlooked
        while (kept := self._kept(wish.directory, wish.index, wish.value)) is not None:
            _check_value(wish, kept.value)
            if not kept.leaving:
                kept.ttl = wish.ttl
                return kept
            await kept.when_gone()
        if self._stopped is not None:
            raise self._stopped
        return self._new(wish)

    def _new(self, wish: Wish) -> Place:
        """Have a place kept that was not yet."""
        directory, index, value = wish.directory, wish.index, wish.value
        if index is None and value:
            index = self._called(directory, value)
        elif index is not None:
            found = value_at(self._replica, directory, index)
            if found is None:
                raise not_got(directory, f"there is no place {index} in line")
            _check_value(wish, found)
            value = found
        if index is None and wish.timeout == 0 and self._first(directory) is not None:
            raise not_got(directory, "others hold it or wait for it")
        return self._queue(directory).keep(index, value, wish.ttl)

    async def renew(self, named: Named, ttl: int) -> None:
        """
        Begin the TTL of a place anew; it stays where it is.

        @param ttl: in seconds.
        @raise EtcdError: 100 if there is no such place.
        @raise NotDoneError: this machine does not lead.
        """
        index = await self._find(named)
        now = self._replica.now()
        await self._replica.propose(Refresh(place_key(named.directory, index), now, now + ttl * _SECOND))
        kept = self._kept(named.directory, index, "")
        if kept is not None:
            kept.lasts(ttl)

    async def release(self, named: Named) -> None:
        """Give a place back, whether it holds the lock or waits for it; see L{renew} for the errors."""
        index = await self._find(named)
        await self._replica.propose(Delete(place_key(named.directory, index), self._replica.now()))

    async def holder(self, directory: str) -> tuple[int, str] | None:
        """
        Who holds a lock: the index and the value of its place. C{None} if nobody does.

        @raise EtcdError: 100 if nobody has ever asked for this lock.
        @raise NotDoneError: this machine does not lead.
        """
        await self._replica.confirm_reads()
        index = self._first(directory)
        if index is not None:
            return index, value_at(self._replica, directory, index) or ""
        if read_line(self._replica, directory) is None:
            raise _unknown(directory)
        return None

    # What is in line now

    async def _find(self, named: Named) -> int:
        await self._replica.confirm_reads()
        index = named.index
        if index is None:
            index = self._called(named.directory, named.value)
        found = None if index is None else value_at(self._replica, named.directory, index)
        if index is None or found is None or named.value not in ("", found):
            raise _unknown(named.directory)
        return index

    def _called(self, directory: str, value: str) -> int | None:
        """The first place with that value."""
        return self._there(directory, self._line(directory).called(value))

    def _first(self, directory: str) -> int | None:
        """The first place of all."""
        return self._there(directory, self._line(directory))

    def _line(self, directory: str) -> Line:
        queue = self._queues.get(directory)
        return (read_line(self._replica, directory) or Line()) if queue is None else queue.line

    def _there(self, directory: str, indexes: Iterable[int]) -> int | None:
        """The first of these that is there: a line that is followed may have to be told yet that some are gone."""
        return next((each for each in indexes if value_at(self._replica, directory, each) is not None), None)

    # The places kept here

    def _kept(self, directory: str, index: int | None, value: str) -> Place | None:
        queue = self._queues.get(directory)
        return None if queue is None else queue.kept(index, value)

    def _queue(self, directory: str) -> Queue:
        queue = self._queues.get(directory)
        if queue is None:
            queue = self._queues[directory] = Queue(self._replica, self._clock, directory, self._over)
        if self._deposed is None:
            self._deposed = self._replica.when_deposed()
            self._deposed.addCallbacks(self._lose_all, self._no_more)
        return queue

    def _over(self, queue: Queue) -> None:
        if self._queues.get(queue.directory) is queue:
            del self._queues[queue.directory]
        if not self._queues and self._deposed is not None:
            deposed, self._deposed = self._deposed, None
            deposed.cancel()

    def _lose_all(self, _: None) -> None:
        """What follows a line now may have much to be told of when this machine leads again: then others do."""
        self._deposed = None
        queues, self._queues = self._queues, {}
        for queue in queues.values():
            queue.lose()

    def _no_more(self, reason: Failure) -> None:
        """The service stops, or nobody waits any more."""
        self._deposed = None
        if isinstance(reason.value, EtcdError):
            self.stop(reason.value)

    def stop(self, error: EtcdError) -> None:
        """Send everyone away who waits, with that error, and give their places up."""
        self._stopped = error
        for queue in list(self._queues.values()):
            queue.stop(error)


def _check_value(wish: Wish, value: str) -> None:
    """
    See that a place is the one that was meant: who knows its index alone may be told so, but who calls it something
    else has another place in mind.
    """
    if wish.value not in ("", value):
        raise not_got(wish.directory, f"place {wish.index} has another value")


def _unknown(directory: str) -> EtcdError:
    return EtcdError(ErrorCode.KEY_NOT_FOUND, name_of(directory))
