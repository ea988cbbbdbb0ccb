"""
An entry in a lock's queue that this machine keeps for the clients that wait with it.

The TTL of the entry is renewed while some client waits. When none does any more, the entry is deleted, and the entries
behind it move up. The lock is granted only after a quorum has just confirmed that the entry is there: so a machine
that no longer leads, and does not know it, grants nothing.

This module must never delete an entry that holds a lock that was granted: that is for the client, or for the TTL.
"""

from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from etcd_twisted.errors import ErrorCode, EtcdError, RequestDroppedError
from etcd_twisted.interfaces import IReplica
from etcd_twisted.keyspace.commands import CreateInOrder, Delete, Refresh
from etcd_twisted.keyspace.events import MICROSECONDS_PER_SECOND, Event
from etcd_twisted.waiters import Waiters
from etcd_twisted.web.modules.lock_queue import LockQueue, entry_key, lock_name

RENEWALS_PER_TTL = 3
"""How often an entry is renewed within its TTL, so that two renewals may fail."""


class LeadershipLostError(RequestDroppedError):
    """
    This machine no longer leads, and so can't keep an entry. It stays in the queue until its TTL ends.

    @ivar index: the index of the entry.
    """

    def __init__(self, index: int) -> None:
        super().__init__("this machine no longer leads")
        self.index = index


def not_acquired(directory: str, why: str) -> EtcdError:
    """Returns the error for a client that does not get the lock whose queue is in C{directory}."""
    return EtcdError(ErrorCode.COMPARE_FAILED, f"{lock_name(directory)} was not acquired: {why}")


@attrs.define(eq=False)
class _Client:
    """
    A client that waits.

    @ivar granted: fires with the index of the entry when the lock is granted.
    @ivar deadline_seconds: when the client's wait ends, by the clock; C{None} if it never does.
    @ivar timer: runs until the deadline, as soon as the entry is in the queue.
    """

    granted: "Deferred[int]"
    deadline_seconds: float | None
    timer: IDelayedCall | None = None


class QueueEntry:
    """
    See the module. It is created or renewed when the first client waits.

    @ivar value: by which clients find it; may be empty.
    @ivar index: C{None} until it is created.
    @ivar ttl_seconds: the TTL that each renewal gives it.
    @ivar leaving: whether it is being deleted, so that no more clients can wait with it.
    @ivar created: fires with the index when the entry is created, before its event arrives. It does not fire for an
        entry that was in the queue before.
    @ivar ended: fires when this machine no longer keeps the entry.
    """

    def __init__(
        self,
        replica: IReplica,
        clock: IReactorTime,
        directory: str,
        queue: LockQueue,
        index: int | None,
        value: str,
        ttl_seconds: int,
    ) -> None:
        """
        @param directory: the key of the directory that holds the queue.
        @param queue: the queue after the last event that reached this machine. For reading only.
        @param index: the index of an entry that is in the queue; C{None} to create one at the end.
        """
        self.value = value
        self.ttl_seconds = ttl_seconds
        self.index = index
        self.leaving = False
        self.created: Deferred[int] = Deferred()
        self.ended: Deferred[None] = Deferred()
        self._replica = replica
        self._clock = clock
        self._directory = directory
        self._queue = queue
        self._clients: dict[Deferred[int], _Client] = {}
        self._begun = self._in_queue = False
        self._was_first = self._lost_leadership = False
        self._renewing = False
        self._next_renewal: IDelayedCall | None = None
        self._gone = Waiters()

    # Getting into the queue

    def _begin(self) -> None:
        self._begun = True
        if self.index is not None:
            # The first entry may hold a lock that was granted: then it must stay when the clients go.
            self._was_first = self._queue.first == self.index
            self.renew()
            return
        now_microseconds, ttl_seconds = self._replica.now(), self.ttl_seconds
        expires = now_microseconds + ttl_seconds * MICROSECONDS_PER_SECOND
        command = CreateInOrder(self._directory, now_microseconds, self.value, False, expires)
        created = self._replica.propose(command)
        created.addCallbacks(lambda event: self._created(event, ttl_seconds), self._not_created)

    def _created(self, event: Event, ttl_seconds: int) -> None:
        self.index = event.index  # which is the name of an in-order key
        self.created.callback(event.index)
        if self.leaving:
            self._delete()
        elif self._lost_leadership or not self._replica.is_leader:
            self.leadership_lost()
        else:
            self._schedule_renewal(ttl_seconds)

    def _not_created(self, reason: Failure) -> None:
        self._end()
        self._answer(lambda granted: granted.errback(reason))
        self._gone.fire()

    def entry_confirmed(self) -> None:
        """A quorum has just confirmed that the entry is there, and all earlier events have arrived."""
        if self._is_done:
            return
        if self._queue.first == self.index:
            self._end()
            self._answer(lambda granted: granted.callback(self._index))
            return
        self._in_queue = True
        for client in list(self._clients.values()):
            self._start_timer(client)

    # The clients

    def wait(self, deadline_seconds: float | None) -> "Deferred[int]":
        """
        Wait until the lock is granted. Fires with the index of the entry. Cancelling it means that the client is gone.

        Errbacks with an L{EtcdError}, which is 101 when the lock is not acquired; or with L{RequestDroppedError} when
        this machine no longer leads, and with L{LeadershipLostError} if the entry is in the queue.

        @param deadline_seconds: when the wait ends, by the clock. It has no effect before the entry is in the queue.
        """
        granted: Deferred[int] = Deferred(self._forget)
        client = _Client(granted, deadline_seconds)
        self._clients[granted] = client
        if not self._begun:
            self._begin()
        elif self._in_queue:
            self._start_timer(client)
        return granted

    def when_gone(self) -> "Deferred[None]":
        """Returns a Deferred that fires when an entry that is being deleted is gone, or is left to its TTL."""
        return succeed(None) if self.ended.called else self._gone.wait()

    def _start_timer(self, client: _Client) -> None:
        if client.deadline_seconds is not None and client.timer is None:
            remaining = max(0.0, client.deadline_seconds - self._clock.seconds())
            client.timer = self._clock.callLater(remaining, self._timed_out, client)

    def _timed_out(self, client: _Client) -> None:
        """
        Answer the last client only when the entry is gone: a client that asks again must not find it.
        """
        client.timer = None
        del self._clients[client.granted]
        error = not_acquired(self._directory, "others hold it or wait for it")
        if self._clients:
            client.granted.errback(error)
            return
        self._leave()
        self.when_gone().addCallback(lambda _: _fail(client.granted, error))

    def _forget(self, granted: "Deferred[int]") -> None:
        client = self._clients.pop(granted, None)
        if client is None:
            return
        if client.timer is not None:
            client.timer.cancel()
        if not self._clients and not self.ended.called:
            self._leave()

    # Keeping the entry

    def renew(self) -> None:
        """Renew the TTL of the entry, and grant the lock if it is the first one."""
        self._cancel_renewal()
        if self._renewing or self._is_done:
            return
        self._renewing = True
        now_microseconds, ttl_seconds = self._replica.now(), self.ttl_seconds
        expires = now_microseconds + ttl_seconds * MICROSECONDS_PER_SECOND
        renewed = self._replica.propose(Refresh(self._key, now_microseconds, expires))
        renewed.addCallbacks(lambda _: self._renewed(ttl_seconds), self._not_renewed)

    def _renewed(self, ttl_seconds: int) -> None:
        """
        @param ttl_seconds: the TTL that it was renewed with. C{self.ttl_seconds} may have changed since.
        """
        self._renewing = False
        if self._is_done:
            return
        self._schedule_renewal(ttl_seconds)
        self.entry_confirmed()
        if not (self._is_done or self._replica.is_leader):
            self.leadership_lost()

    def renewed_by_client(self, ttl_seconds: int) -> None:
        """
        A client has just renewed the entry.

        @param ttl_seconds: the TTL from now on.
        """
        self.ttl_seconds = ttl_seconds
        if self._in_queue and not self._is_done:
            self._schedule_renewal(ttl_seconds)

    def _not_renewed(self, reason: Failure) -> None:
        self._renewing = False
        if self._is_done:
            return
        code = reason.value.code if isinstance(reason.value, EtcdError) else None
        if code == ErrorCode.KEY_NOT_FOUND:
            self.entry_removed()
        elif code == ErrorCode.RAFT_INTERNAL or reason.check(RequestDroppedError):
            self.leadership_lost()
        else:
            self._end()
            self._answer(lambda granted: granted.errback(reason))

    def _schedule_renewal(self, ttl_seconds: int) -> None:
        """Renew the entry before its TTL ends."""
        self._cancel_renewal()
        delay_seconds = max(1, ttl_seconds) / RENEWALS_PER_TTL
        self._next_renewal = self._clock.callLater(delay_seconds, self._renew_in_time)

    def _cancel_renewal(self) -> None:
        if self._next_renewal is not None:
            self._next_renewal.cancel()
            self._next_renewal = None

    def _renew_in_time(self) -> None:
        self._next_renewal = None
        self.renew()

    @property
    def _is_done(self) -> bool:
        """Whether there is nothing more to do for the clients."""
        return self.ended.called or self.leaving

    @property
    def _index(self) -> int:
        if self.index is None:
            raise RuntimeError("the entry is not created yet")
        return self.index

    @property
    def _key(self) -> str:
        return entry_key(self._replica, self._directory, self._index)

    # Its end

    def leadership_lost(self) -> None:
        """This machine no longer leads. The next leader keeps the entry, if it is known to be created."""
        self._lost_leadership = True
        if self.index is not None and not self._is_done:
            lost = self.index
            self._end()
            self._answer(lambda granted: granted.errback(LeadershipLostError(lost)))

    def stop(self, error: EtcdError) -> None:
        """Send all clients away, and delete the entry."""
        if not self._is_done:
            self._leave()
            self._answer(lambda granted: granted.errback(error))

    def entry_removed(self) -> None:
        """The entry is no longer in the queue."""
        if self._is_done:
            return
        self._end()
        why = "the entry in the queue is gone, as it was released or its TTL has ended"
        error = not_acquired(self._directory, why)
        self._answer(lambda granted: granted.errback(error))

    def _leave(self) -> None:
        """Delete the entry, since no client waits any more."""
        if self._was_first:
            self._end()
            return
        self.leaving = True
        self._cancel_renewal()
        if self.index is not None:
            self._delete()

    def _delete(self) -> None:
        deleted = self._replica.propose(Delete(self._key, self._replica.now()))
        deleted.addCallbacks(lambda _: None, _leave_to_ttl)
        deleted.addCallback(lambda _: self._deleted())

    def _deleted(self) -> None:
        self._end()
        self._gone.fire()

    def _end(self) -> None:
        """Stop keeping the entry."""
        self._cancel_renewal()
        self.ended.callback(None)

    def _answer(self, answer: Callable[["Deferred[int]"], None]) -> None:
        clients, self._clients = self._clients, {}
        for client in clients.values():
            if client.timer is not None:
                client.timer.cancel()
            if not client.granted.called:  # a client that was answered earlier may have cancelled it
                answer(client.granted)


def _fail(granted: "Deferred[int]", error: EtcdError) -> None:
    if not granted.called:  # the client may have gone in the meantime
        granted.errback(error)


def _leave_to_ttl(reason: Failure) -> None:
    """Ignore that an entry could not be deleted: its TTL ends, or it is gone already."""
    reason.trap(EtcdError, RequestDroppedError)
