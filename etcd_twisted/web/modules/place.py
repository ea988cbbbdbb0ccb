"""
A place in line that this machine keeps for the clients that wait at it.

Its TTL is renewed while somebody waits; when nobody does any more it is given up, and whoever stood behind moves up. A
place is granted only when a quorum has just said that it is still there: so a machine that no longer leads and does
not know it grants nothing.

Must never give up a place that has been granted: that is the client's to release, or its TTL's.
"""

from collections.abc import Callable
from typing import Protocol

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from etcd_twisted.errors import ErrorCode, EtcdError, NotDoneError
from etcd_twisted.interfaces import IReplica
from etcd_twisted.keyspace.commands import CreateInOrder, Delete, Refresh
from etcd_twisted.keyspace.events import Event
from etcd_twisted.web.modules.line import Line, name_of, place_key

RENEWALS = 3
"""How often a place is renewed within its TTL: two may fail."""

_SECOND = 1_000_000


class LostError(NotDoneError):
    """
    This machine can't keep a place any longer, as it no longer leads. The place is there as long as its TTL lasts.

    @ivar index: the place.
    """

    def __init__(self, index: int) -> None:
        super().__init__("this machine no longer leads")
        self.index = index


def not_got(directory: str, why: str) -> EtcdError:
    """Somebody does not get the lock whose line is in C{directory}."""
    return EtcdError(ErrorCode.COMPARE_FAILED, f"{name_of(directory)} was not got: {why}")


@attrs.define(eq=False)
class _Client:
    """
    One who waits.

    @ivar told: fires with the index of the place when that is granted.
    @ivar until: until when it waits, by the clock; C{None} for as long as it takes.
    @ivar too_late: rings then, as soon as the place is in line.
    """

    told: "Deferred[int]"
    until: float | None
    too_late: IDelayedCall | None = None


class Following(Protocol):
    """
    What a place sees of the line that it is in.

    @ivar directory: the key of the directory.
    @ivar line: as it was told of.
    """

    directory: str
    line: Line

    def made(self, place: "Place", index: int) -> None:
        """A new place has got its index, and is about to be told of."""

    def over(self, place: "Place") -> None:
        """This machine keeps a place no longer."""


class Place:
    """
    See the module. It begins with the first client that waits at it.

    @ivar value: what its clients call it; may be empty.
    @ivar index: C{None} until it is made.
    @ivar ttl: how long it lasts after each renewal, in seconds.
    @ivar leaving: whether it is being given up, so that nobody can wait at it any more.
    """

    def __init__(
        self, replica: IReplica, clock: IReactorTime, queue: Following, index: int | None, value: str, ttl: int
    ) -> None:
        """
        @param index: where it is in line; C{None} for a new place at the end.
        """
        self.value = value
        self.ttl = ttl
        self.index = index
        self.leaving = False
        self._replica = replica
        self._clock = clock
        self._queue = queue
        self._ended = False
        self._clients: dict[Deferred[int], _Client] = {}
        self._begun = self._in_line = False
        self._was_first = self._is_lost = False
        self._renewing = False
        self._next_renewal: IDelayedCall | None = None
        self._gone: list[Deferred[None]] = []

    # Its beginning

    def _begin(self) -> None:
        self._begun = True
        if self.index is not None:
            # The first may have been granted: then it is not to be given up when its clients go.
            self._was_first = self._queue.line.first == self.index
            self.renew()
            return
        now, ttl = self._replica.now(), self.ttl
        command = CreateInOrder(self._queue.directory, now, self.value, False, now + ttl * _SECOND)
        made = self._replica.propose(command)
        made.addCallbacks(lambda event: self._made(event, ttl), self._not_made)

    def _made(self, event: Event, ttl: int) -> None:
        self.index = event.index  # which is what an in-order key is called
        self._queue.made(self, event.index)
        if self.leaving:
            self._delete()
        elif self._is_lost or not self._replica.is_leader:
            self.lose()
        else:
            self._plan(ttl)

    def _not_made(self, reason: Failure) -> None:
        self._end()
        self._tell(lambda told: told.errback(reason))
        self._tell_gone()

    def stands(self) -> None:
        """A quorum has just seen to it that it is in line, and all that came before it was told of."""
        if self._is_done:
            return
        if self._queue.line.first == self.index:
            self._end()
            self._tell(lambda told: told.callback(self._index))
            return
        self._in_line = True
        for client in list(self._clients.values()):
            self._limit(client)

    # Waiting at it

    def wait(self, until: float | None) -> "Deferred[int]":
        """
        Wait until the place is granted; fires with its index. Cancelling it means that the client is gone.

        Errbacks with an L{EtcdError}, 101 if it is not got, or with L{NotDoneError} if this machine no longer leads:
        L{LostError} if the place is in line.

        @param until: how long to wait, by the clock; what comes before the place is in line is not cut short.
        """
        told: Deferred[int] = Deferred(self._forget)
        client = _Client(told, until)
        self._clients[told] = client
        if not self._begun:
            self._begin()
        elif self._in_line:
            self._limit(client)
        return told

    def when_gone(self) -> "Deferred[None]":
        """Fires when a place that is being given up is gone, or is left to its TTL."""
        if self._ended:
            return succeed(None)
        gone: Deferred[None] = Deferred()
        self._gone.append(gone)
        return gone

    def _limit(self, client: _Client) -> None:
        if client.until is not None and client.too_late is None:
            rest = max(0.0, client.until - self._clock.seconds())
            client.too_late = self._clock.callLater(rest, self._too_late, client)

    def _too_late(self, client: _Client) -> None:
        """Say so when the place is gone: a client that asks again must not find it."""
        client.too_late = None
        del self._clients[client.told]
        error = not_got(self._queue.directory, "others hold it or wait for it")
        if self._clients:
            client.told.errback(error)
            return
        self._leave()
        self.when_gone().addCallback(lambda _: _fail(client.told, error))

    def _forget(self, told: "Deferred[int]") -> None:
        client = self._clients.pop(told, None)
        if client is None:
            return
        if client.too_late is not None:
            client.too_late.cancel()
        if not self._clients and not self._ended:
            self._leave()

    # Keeping it

    def renew(self) -> None:
        """Begin its TTL anew, and have it granted if it is its turn."""
        self._plan_nothing()
        if self._renewing or self._is_done:
            return
        self._renewing = True
        now, ttl = self._replica.now(), self.ttl
        renewed = self._replica.propose(Refresh(self._key, now, now + ttl * _SECOND))
        renewed.addCallbacks(lambda _: self._renewed(ttl), self._not_renewed)

    def _renewed(self, ttl: int) -> None:
        """
        @param ttl: what it was renewed for, in seconds; that may not be what is wanted by now.
        """
        self._renewing = False
        if self._is_done:
            return
        self._plan(ttl)
        self.stands()
        if not (self._is_done or self._replica.is_leader):
            self.lose()

    def lasts(self, ttl: int) -> None:
        """
        Somebody else has just begun its TTL anew.

        @param ttl: how long it lasts from now on, in seconds.
        """
        self.ttl = ttl
        if self._in_line and not self._is_done:
            self._plan(ttl)

    def _not_renewed(self, reason: Failure) -> None:
        self._renewing = False
        if self._is_done:
            return
        code = reason.value.code if isinstance(reason.value, EtcdError) else None
        if code == ErrorCode.KEY_NOT_FOUND:
            self.vanished()
        elif code == ErrorCode.RAFT_INTERNAL or reason.check(NotDoneError):
            self.lose()
        else:
            self._end()
            self._tell(lambda told: told.errback(reason))

    def _plan(self, ttl: int) -> None:
        """Renew it in time."""
        self._plan_nothing()
        self._next_renewal = self._clock.callLater(max(1, ttl) / RENEWALS, self._renew_in_time)

    def _plan_nothing(self) -> None:
        if self._next_renewal is not None:
            self._next_renewal.cancel()
            self._next_renewal = None

    def _renew_in_time(self) -> None:
        self._next_renewal = None
        self.renew()

    @property
    def _is_done(self) -> bool:
        """Whether nothing more is to be done for those who wait."""
        return self._ended or self.leaving

    @property
    def _index(self) -> int:
        if self.index is None:
            raise RuntimeError("the place is not made yet")
        return self.index

    @property
    def _key(self) -> str:
        return place_key(self._queue.directory, self._index)

    # Its end

    def lose(self) -> None:
        """This machine no longer leads: others can keep the place, as soon as it is known to be made."""
        self._is_lost = True
        if self.index is not None and not self._is_done:
            lost = self.index
            self._end()
            self._tell(lambda told: told.errback(LostError(lost)))

    def stop(self, error: EtcdError) -> None:
        """Send everyone away, and give it up."""
        if not self._is_done:
            self._leave()
            self._tell(lambda told: told.errback(error))

    def vanished(self) -> None:
        """It is not in line any more."""
        if self._is_done:
            return
        self._end()
        error = not_got(self._queue.directory, "the place in line is gone, as it was released or its TTL has ended")
        self._tell(lambda told: told.errback(error))

    def _leave(self) -> None:
        """Nobody waits any more."""
        if self._was_first:
            self._end()
            return
        self.leaving = True
        self._plan_nothing()
        if self.index is not None:
            self._delete()

    def _delete(self) -> None:
        deleted = self._replica.propose(Delete(self._key, self._replica.now()))
        deleted.addCallbacks(lambda _: None, _left_to_its_ttl)
        deleted.addCallback(lambda _: self._deleted())

    def _deleted(self) -> None:
        self._end()
        self._tell_gone()

    def _tell_gone(self) -> None:
        gone, self._gone = self._gone, []
        for each in gone:
            each.callback(None)

    def _end(self) -> None:
        """This machine keeps the place no longer."""
        self._ended = True
        self._plan_nothing()
        self._queue.over(self)

    def _tell(self, tell: Callable[["Deferred[int]"], None]) -> None:
        clients, self._clients = self._clients, {}
        for client in clients.values():
            if client.too_late is not None:
                client.too_late.cancel()
            if not client.told.called:  # one who was told before may have cancelled it
                tell(client.told)


def _fail(told: "Deferred[int]", error: EtcdError) -> None:
    if not told.called:  # the client may have gone meanwhile
        told.errback(error)


def _left_to_its_ttl(reason: Failure) -> None:
    """A place that could not be deleted, or is gone already."""
    reason.trap(EtcdError, NotDoneError)
