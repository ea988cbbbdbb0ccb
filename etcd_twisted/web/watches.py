"""
Watches: from the replica, which delivers events, to the door, which sends them, as long as their users may read them.

5,000 of them may wait at a time, so a watch must never keep anything in memory that is not needed until its event
comes. This module must never send an event that happened after the right to read it was revoked.
"""

from collections.abc import Callable, Iterator
from itertools import islice

from twisted.internet.interfaces import IReactorTime

from etcd_twisted.auth.rights import rights_of
from etcd_twisted.auth.state import AUTH_KEY, AuthState
from etcd_twisted.httpd.responses import Events
from etcd_twisted.interfaces import IReplica
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.watchers import Watcher

_ENDS_A_TURN = 128
"""How many watches end in one turn of the reactor."""


class Watch(Events):
    """Sends the events of a watcher as JSON."""

    __slots__ = ("_end", "_open", "_send", "_user", "_watcher", "stream")

    def __init__(
        self,
        replica: IReplica,
        key: str,
        recursive: bool,
        stream: bool,
        since: int | None,
        watches: "OpenWatches",
        user: str,
    ) -> None:
        """
        Begin to watch. L{begin} has to be called in the same turn of the reactor.

        @param watches: where it stays until it ends.
        @param user: the user who watches.
        @raise EtcdError: 401, see L{IReplica.watch}.
        """
        self.stream = stream
        self._send: Callable[[bytes], None] | None = None
        self._end: Callable[[], None] | None = None
        self._open = watches
        self._user = user
        self._watcher: Watcher | None = replica.watch(key, recursive, stream, since, self._happened, self._ended)
        watches.add(self)

    def begin(self, send: Callable[[bytes], None], end: Callable[[], None]) -> None:
        """See L{Events}. Each event is sent as JSON."""
        self._send = send
        self._end = end

    def cancel(self) -> None:
        """See L{Events}."""
        self._send = self._end = None
        self.stop()

    def stop(self) -> None:
        """Wait for no more events."""
        self._open.remove(self)
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

    def is_allowed(self, state: AuthState) -> bool:
        """Returns whether its user may go on."""
        watcher = self._watcher
        return watcher is None or rights_of(state, self._user).may_read(watcher.key, watcher.recursive)

    def _happened(self, event: Event) -> None:
        if not self.stream:
            self._watcher = None  # it gets nothing more; without it, no cycle is left for the garbage collector
            self._open.remove(self)
        if self._send is not None:
            self._send(event.body)

    def _ended(self) -> None:
        """The events can't be delivered here any more."""
        self.end()

    def end(self) -> None:
        """End the response, since no more events come."""
        self.stop()
        if self._end is not None:
            self._end()


class OpenWatches:
    """
    The open watches of one port. Those end whose users are no longer allowed to read what they watch.

    It watches the document of users by itself, in the same order as all others get their events: an event from before
    the change is still sent, and none from after it.
    """

    def __init__(self, replica: IReplica, clock: IReactorTime) -> None:
        self._replica = replica
        self._clock = clock
        self._watches: dict[Watch, None] = {}
        self._watcher: Watcher | None = None

    def add(self, watch: Watch) -> None:
        """Add a watch that has begun."""
        self._watches[watch] = None
        if self._watcher is None:
            self._watch_users()

    def remove(self, watch: Watch) -> None:
        """Remove a watch that gets no more events, if it is still here."""
        self._watches.pop(watch, None)
        if not self._watches and self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None

    def _watch_users(self) -> None:
        self._watcher = self._replica.watch(
            AUTH_KEY, False, True, None, self._users_changed, self._missed_events, counted=False
        )

    def _users_changed(self, _event: Event) -> None:
        state = self._replica.auth
        revoked = [watch for watch in self._watches if not watch.is_allowed(state)]
        for watch in revoked:
            watch.stop()
        self._end_some(iter(revoked))

    def _end_some(self, revoked: Iterator[Watch]) -> None:
        ending = list(islice(revoked, _ENDS_A_TURN))
        for watch in ending:
            watch.end()
        if len(ending) == _ENDS_A_TURN:
            self._clock.callLater(0, self._end_some, revoked)

    def _missed_events(self) -> None:
        """All watches of this machine end now. Those that begin at the same time are for what comes next."""
        self._watcher = None
        if self._watches:
            self._watch_users()
