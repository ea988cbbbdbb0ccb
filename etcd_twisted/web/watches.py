"""
Watches: from the replica, which delivers events, to the door, which sends them.

5,000 of them may wait at a time, so a watch must never keep anything in memory that is not needed until its event
comes.
"""

from collections.abc import Callable

from etcd_twisted.httpd.responses import Events
from etcd_twisted.interfaces import IReplica
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.watchers import Watcher


class Watch(Events):
    """Sends the events of a watcher as JSON."""

    __slots__ = ("_end", "_send", "_watcher", "stream")

    def __init__(self, replica: IReplica, key: str, recursive: bool, stream: bool, since: int | None) -> None:
        """
        Begin to watch. L{begin} has to be called in the same turn of the reactor.

        @raise EtcdError: 401, see L{IReplica.watch}.
        """
        self.stream = stream
        self._send: Callable[[bytes], None] | None = None
        self._end: Callable[[], None] | None = None
        self._watcher: Watcher | None = replica.watch(key, recursive, stream, since, self._happened, self._ended)

    def begin(self, send: Callable[[bytes], None], end: Callable[[], None]) -> None:
        """See L{Events}. Each event is sent as JSON."""
        self._send = send
        self._end = end

    def cancel(self) -> None:
        """See L{Events}."""
        self._send = self._end = None
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()

    def pause(self) -> None:
        """See L{Events}."""
        if self._watcher is not None:
            self._watcher.pause()

    def resume(self) -> None:
        """See L{Events}."""
        if self._watcher is not None:
            self._watcher.resume()

    @property
    def buffered_bytes(self) -> int:
        """See L{Events}."""
        return self._watcher.buffered_bytes if self._watcher is not None else 0

    def _happened(self, event: Event) -> None:
        if not self.stream:
            self._watcher = None  # it gets nothing more; without it, no cycle is left for the garbage collector
        if self._send is not None:
            self._send(event.body)

    def _ended(self) -> None:
        """The events can't be delivered here any more."""
        if self._end is not None:
            self._end()
