"""
One lock's queue, watched event by event while clients wait here, and the waiters that this machine keeps in it.

Whose turn it is depends on the events alone, which come in the order of the changes. So a waiter is looked at when the
event that created its entry arrives: by then, everything that happened before is known. This module must never wake a
waiter whose turn it is not.
"""

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from etcd_twisted.errors import EtcdError
from etcd_twisted.interfaces import IReplica
from etcd_twisted.keyspace.events import Event
from etcd_twisted.web.modules.lock_queue import LockQueue, read_queue
from etcd_twisted.web.modules.waiter import Waiter


class WatchedQueue:
    """
    See the module.

    @ivar directory: the key of the directory that holds the queue.
    @ivar queue: the queue after the last event that reached this machine.
    @ivar waiters: the waiters that this machine keeps. There is at least one, until the watch ends.
    """

    def __init__(
        self, replica: IReplica, clock: IReactorTime, directory: str, ended: Callable[["WatchedQueue"], None]
    ) -> None:
        """
        Begin to watch; L{add_waiter} has to be called at once.

        @param ended: called when the last waiter has ended.
        """
        self.directory = directory
        self.waiters: set[Waiter] = set()
        self.queue = read_queue(replica, directory) or LockQueue()
        self._replica = replica
        self._clock = clock
        self._on_ended = ended
        self._by_index: dict[int, Waiter] = {}
        self._by_value: dict[str, Waiter] = {}
        self._watcher = replica.watch(directory, True, True, None, self._happened, self.leadership_lost)

    def add_waiter(self, index: int | None, value: str, ttl_seconds: int) -> Waiter:
        """
        Keep an entry for clients: one that is in the queue, or a new one at the end.

        @param index: the index of the entry; C{None} for a new one.
        @param value: the value of the entry, which may be empty.
        """
        waiter = Waiter(self._replica, self._clock, self, index, value, ttl_seconds)
        self.waiters.add(waiter)
        if value:
            self._by_value[value] = waiter
        if index is not None:
            self._by_index[index] = waiter
        return waiter

    def find_waiter(self, index: int | None, value: str) -> Waiter | None:
        """
        Returns a waiter that this machine keeps already, if there is one.

        @param index: the index of its entry; C{None} to find it by its value, if that is not empty.
        """
        return self._by_index.get(index) if index is not None else self._by_value.get(value)

    # Calls by its waiters

    def created(self, waiter: Waiter, index: int) -> None:
        """The entry of a waiter was created. Its event has not arrived yet."""
        self._by_index[index] = waiter

    def ended(self, waiter: Waiter) -> None:
        """This machine no longer keeps a waiter."""
        self.waiters.remove(waiter)
        if self._by_value.get(waiter.value) is waiter:
            del self._by_value[waiter.value]
        if waiter.index is not None:
            del self._by_index[waiter.index]
        if not self.waiters:
            self._watcher.cancel()
            self._on_ended(self)

    def leadership_lost(self) -> None:
        """Leave all waiters to the next leader, since this machine no longer leads."""
        for waiter in list(self.waiters):
            waiter.leadership_lost()

    def stop(self, error: EtcdError) -> None:
        """Send all clients away with this error, and give up their entries."""
        for waiter in list(self.waiters):
            waiter.stop(error)

    # Events of the queue

    def _happened(self, event: Event) -> None:
        first = self.queue.first
        for index in self.queue.apply(self.directory, event):
            if (removed := self._by_index.get(index)) is not None:
                removed.entry_removed()
        if (created := self._by_index.get(event.index)) is not None:
            created.entry_confirmed()
        if self.queue.first is None or self.queue.first == first:
            return
        if (next_waiter := self._by_index.get(self.queue.first)) is not None:
            next_waiter.renew()
