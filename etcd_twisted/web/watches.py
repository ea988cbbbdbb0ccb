"""
Waiting for events, between the replica that tells them and the door that sends them.

5,000 of these wait at a time: they must never hold anything that is not needed until the event comes.
"""

from collections.abc import Callable

from etcd_twisted.httpd.responses import Events
from etcd_twisted.interfaces import IReplica
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.watchers import Watcher


class Watch(Events):
    """A watcher whose events become JSON."""

    __slots__ = ("_end", "_send", "_watcher", "stream")

    def __init__(self, replica: IReplica, key: str, recursive: bool, stream: bool, since: int | None) -> None:
        """
        Begin to wait; L{begin} has to be called in the same turn of the reactor.

        @raise EtcdError: 401, see L{IReplica.watch}.
        """
        self.stream = stream
        self._send: Callable[[bytes], None] | None = None
        self._end: Callable[[], None] | None = None
        self._watcher: Watcher | None = replica.watch(key, recursive, stream, since, self._happened, self._ended)

    def begin(self, send: Callable[[bytes], None], end: Callable[[], None]) -> None:
        """See L{Events}; what is sent is each event's JSON."""
        self._send = send
        self._end = end

    def cancel(self) -> None:
        """See L{Events}."""
        self._send = self._end = None
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()

    def hold(self) -> None:
        """See L{Events}."""
        if self._watcher is not None:
            self._watcher.pause()

    def release(self) -> None:
        """See L{Events}."""
        if self._watcher is not None:
            self._watcher.resume()

    @property
    def waiting_bytes(self) -> int:
        """See L{Events}."""
        return self._watcher.buffered_bytes if self._watcher is not None else 0

    def _happened(self, event: Event) -> None:
        if not self.stream:
            self._watcher = None  # it was told all it will be; without it no cycle is left to be collected
        if self._send is not None:
            self._send(event.body)

    def _ended(self) -> None:
        """What is waited for can't be told here any more."""
        if self._end is not None:
            self._end()
