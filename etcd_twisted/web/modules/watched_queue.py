"""
One lock's queue, watched event by event while clients wait here, and the entries that this machine keeps in it.

Whose turn it is depends on the events alone, which come in the order of the changes. So an entry is looked at when
the event that created it arrives: by then, everything that happened before is known. This module must never grant the
lock to a client whose turn it is not.
"""

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from etcd_twisted.errors import EtcdError
from etcd_twisted.interfaces import IReplica
from etcd_twisted.keyspace.events import Event
from etcd_twisted.web.modules.lock_queue import LockQueue, read_queue
from etcd_twisted.web.modules.queue_entry import QueueEntry


class WatchedQueue:
    """
    See the module.

    @ivar directory: the key of the directory that holds the queue.
    @ivar queue: the queue after the last event that reached this machine.
    @ivar entries: the entries that this machine keeps. There is at least one, until the watch ends.
    @ivar ended: fires when the machine no longer keeps the last of them, and the watch has ended.
    """

    def __init__(self, replica: IReplica, clock: IReactorTime, directory: str) -> None:
        """Begin to watch; L{add_entry} has to be called at once."""
        self.directory = directory
        self.entries: set[QueueEntry] = set()
        self.ended: Deferred[None] = Deferred()
        self.queue = read_queue(replica, directory) or LockQueue(replica)
        self._replica = replica
        self._clock = clock
        self._by_index: dict[int, QueueEntry] = {}
        self._by_value: dict[str, QueueEntry] = {}
        self._watcher = replica.watch(directory, True, True, None, self._happened, self.leadership_lost)

    def add_entry(self, index: int | None, value: str, ttl_seconds: int) -> QueueEntry:
        """
        Keep an entry for clients: one that is in the queue, or a new one at the end.

        @param index: the index of the entry; C{None} for a new one.
        @param value: the value of the entry, which may be empty.
        """
        entry = QueueEntry(self._replica, self._clock, self.directory, self.queue, index, value, ttl_seconds)
        entry.created.addCallback(self._by_index.__setitem__, entry)
        entry.ended.addCallback(lambda _: self._entry_ended(entry))
        self.entries.add(entry)
        if value:
            self._by_value[value] = entry
        if index is not None:
            self._by_index[index] = entry
        return entry

    def find_entry(self, index: int | None, value: str) -> QueueEntry | None:
        """
        Returns an entry that this machine keeps already, or C{None} if there is none.

        @param index: C{None} to find the entry by its value, if that is not empty.
        """
        return self._by_index.get(index) if index is not None else self._by_value.get(value)

    def _entry_ended(self, entry: QueueEntry) -> None:
        self.entries.remove(entry)
        if self._by_value.get(entry.value) is entry:
            del self._by_value[entry.value]
        if entry.index is not None:
            del self._by_index[entry.index]
        if not self.entries:
            self._watcher.cancel()
            self.ended.callback(None)

    def leadership_lost(self) -> None:
        """Leave all entries to the next leader, since this machine no longer leads."""
        for entry in list(self.entries):
            entry.leadership_lost()

    def stop(self, error: EtcdError) -> None:
        """Send all clients away with this error, and delete their entries."""
        for entry in list(self.entries):
            entry.stop(error)

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
        if (next_entry := self._by_index.get(self.queue.first)) is not None:
            next_entry.renew()
