"""
Locks: who gets one, keeps it and gives it back (api, "Lock Module"; spec, section 2).

All of this is done by the machine that leads: on any other it fails with L{NotDoneError}, and nothing was done. Must
never know of HTTP.
"""

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.interfaces import IReplica
from etcd_twisted.keyspace.commands import Delete, Refresh
from etcd_twisted.web.modules import line as lines
from etcd_twisted.web.modules.place import Place, not_got

_SECOND = 1_000_000


@attrs.frozen
class Wish:
    """
    What one who wants a lock asks for.

    @ivar line: the key of the lock's line.
    @ivar ttl: how long the lock lasts, in seconds.
    @ivar value: what it calls its place, to find it again; empty for nothing.
    @ivar index: a place that it has already; C{None} for none.
    @ivar timeout: how many seconds to wait, 0 to try once; C{None} for as long as it takes.
    """

    line: str
    ttl: int
    value: str = ""
    index: int | None = None
    timeout: float | None = None


@attrs.frozen
class Named:
    """
    A place as somebody names it: by its index, its value, or both.

    @ivar line: the key of the lock's line.
    @ivar index: C{None} if it is not said.
    @ivar value: empty if it is not said.
    """

    line: str
    index: int | None
    value: str


class Locks:
    """All locks, and the places that this machine keeps for those who wait."""

    def __init__(self, replica: IReplica, clock: IReactorTime) -> None:
        self._replica = replica
        self._clock = clock
        self._places: dict[str, dict[Place, None]] = {}
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
        while (kept := self._kept(wish.line, wish.index, wish.value)) is not None:
            if not kept.leaving:
                kept.ttl = wish.ttl
                return kept
            await kept.when_gone()
        if self._stopped is not None:
            raise self._stopped
        return self._new(wish)

    def _new(self, wish: Wish) -> Place:
        line = lines.places(self._replica, wish.line) or {}
        index = wish.index
        if index is None and wish.value:
            index = lines.with_value(line, wish.value)
        elif index is not None and index not in line:
            raise not_got(wish.line, f"there is no place {index} in line")
        if index is None and line and wish.timeout == 0:
            raise not_got(wish.line, "others hold it or wait for it")
        value = wish.value if index is None else line[index]
        place = Place(self._replica, self._clock, wish.line, index, value, wish.ttl, self._over)
        self._keep(place)
        return place

    async def renew(self, named: Named, ttl: int) -> None:
        """
        Begin the TTL of a place anew; it stays where it is.

        @param ttl: in seconds.
        @raise EtcdError: 100 if there is no such place.
        @raise NotDoneError: this machine does not lead.
        """
        index = await self._find(named)
        now = self._replica.now()
        await self._replica.propose(Refresh(lines.place_key(named.line, index), now, now + ttl * _SECOND))
        kept = self._kept(named.line, index, "")
        if kept is not None:
            kept.lasts(ttl)

    async def release(self, named: Named) -> None:
        """Give a place back, whether it holds the lock or waits for it; see L{renew} for the errors."""
        index = await self._find(named)
        await self._replica.propose(Delete(lines.place_key(named.line, index), self._replica.now()))

    async def holder(self, line: str) -> tuple[int, str] | None:
        """
        Who holds a lock: the index and the value of its place. C{None} if nobody does.

        @raise EtcdError: 100 if nobody has ever asked for this lock.
        @raise NotDoneError: this machine does not lead.
        """
        await self._replica.confirm_reads()
        places = lines.places(self._replica, line)
        if places is None:
            raise _unknown(lines.name_of(line))
        return min(places.items(), default=None)

    async def _find(self, named: Named) -> int:
        await self._replica.confirm_reads()
        line = lines.places(self._replica, named.line) or {}
        index = named.index
        if index is None:
            index = lines.with_value(line, named.value)
        if index is None or index not in line or (named.value and line[index] != named.value):
            raise _unknown(lines.name_of(named.line))
        return index

    # The places kept here

    def _kept(self, line: str, index: int | None, value: str) -> Place | None:
        for place in self._places.get(line, ()):
            if place.index == index if index is not None else (value and place.value == value):
                return place
        return None

    def _keep(self, place: Place) -> None:
        self._places.setdefault(place.line, {})[place] = None
        if self._deposed is None:
            self._deposed = self._replica.when_deposed()
            self._deposed.addCallbacks(self._lose_all, self._no_more)

    def _over(self, place: Place) -> None:
        kept = self._places[place.line]
        del kept[place]
        if not kept:
            del self._places[place.line]
        if not self._places and self._deposed is not None:
            deposed, self._deposed = self._deposed, None
            deposed.cancel()

    def _lose_all(self, _: None) -> None:
        self._deposed = None
        for place in self._all():
            place.lose()

    def _no_more(self, reason: Failure) -> None:
        """The service stops, or nobody waits any more."""
        self._deposed = None
        if isinstance(reason.value, EtcdError):
            self.stop(reason.value)

    def _all(self) -> list[Place]:
        return [place for places in self._places.values() for place in places]

    def stop(self, error: EtcdError) -> None:
        """Send everyone away who waits, with that error, and give their places up."""
        self._stopped = error
        for place in self._all():
            place.stop(error)


def _unknown(cause: str) -> EtcdError:
    return EtcdError(ErrorCode.KEY_NOT_FOUND, cause)
