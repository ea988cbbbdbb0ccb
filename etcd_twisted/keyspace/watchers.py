"""
Live watchers: who waits for which key, and who gets an event.

Events are delivered in two steps, so that thousands of watchers can't hold up the reactor: L{WatcherHub.notify} queues
deliveries, and L{WatcherHub.deliver} makes a bounded number of them. This module must never deliver twice to a
one-shot watcher, nor at all to one that was cancelled.
"""

from collections import deque
from collections.abc import Callable, Iterable
from itertools import repeat

from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.paths import ROOT, is_below, with_parents


class Watcher:
    """
    Somebody who waits for events. L{WatcherHub.watch} makes it.

    @ivar stream: whether it waits for every event, or only for the first one.
    @ivar since: the lowest index of an event that it gets.
    @ivar counted: whether it is one of those that clients are told the number of.
    @ivar cancelled: whether it gets nothing more.
    @ivar start_index: the index of the key space when the watcher was made.
    @ivar paused: whether it has no room for events, so that they are buffered.
    @ivar buffered_bytes: the size of the buffered events that happened after the watcher was made. Earlier events
        don't count: they are in the history in any case.
    """

    __slots__ = (
        "_buffer",
        "_hub",
        "buffered_bytes",
        "cancelled",
        "counted",
        "deliver",
        "end",
        "key",
        "paused",
        "recursive",
        "since",
        "start_index",
        "stream",
    )

    def __init__(
        self,
        hub: "WatcherHub",
        key: str,
        recursive: bool,
        stream: bool,
        since: int,
        deliver: Callable[[Event], None],
        end: Callable[[], None] | None = None,
        counted: bool = True,
    ) -> None:
        self._hub = hub
        self.key = key
        self.recursive = recursive
        self.stream = stream
        self.since = since
        self.deliver = deliver
        self.end = end
        self.counted = counted
        self.cancelled = False
        self.start_index = 0
        self.paused = False
        self.buffered_bytes = 0
        self._buffer: deque[Event] | None = None

    def cancel(self) -> None:
        """Deliver nothing more, queued events included."""
        self.cancelled = True
        self._buffer = None
        self._hub.forget(self)

    def pause(self) -> None:
        """Deliver nothing until L{resume}; buffer events instead."""
        self.paused = True

    def resume(self) -> None:
        """Deliver the buffered events, and go on."""
        if self.paused:
            self.paused = False
            if self._buffer:
                self._hub.resume(self)

    def take(self, event: Event) -> None:
        """Deliver an event, or keep it for later if there is no room for it, or others wait that come before it."""
        if not (self.paused or self._buffer):
            self.deliver(event)
            return
        if self._buffer is None:
            self._buffer = deque()
        self._buffer.append(event)
        self.buffered_bytes += self._counted_bytes(event)

    def deliver_buffered(self) -> bool:
        """Deliver the first buffered event. Returns whether another one can follow."""
        if not self._buffer:
            return False
        event = self._buffer.popleft()
        self.buffered_bytes -= self._counted_bytes(event)
        self.deliver(event)
        return bool(self._buffer) and not self.paused

    def _counted_bytes(self, event: Event) -> int:
        return len(event.body) if event.index > self.start_index else 0


class WatcherHub:
    """
    All live watchers.

    @ivar count: how many there are, without the one-shot watchers whose event is queued, and those that don't count.
    @ivar watched: the watchers by key; to be looked at only.
    @ivar deliveries: who is still to get which event, in order; to be looked at only.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        """
        @param wake: called when there is something to deliver and there was nothing before.
        """
        self._wake = wake
        self.watched: dict[str, dict[Watcher, None]] = {}
        self.deliveries: deque[tuple[Watcher, Event]] = deque()
        self._resumed: deque[Watcher] = deque()
        self.count = 0

    def watch(
        self,
        key: str,
        recursive: bool,
        stream: bool,
        since: int,
        deliver: Callable[[Event], None],
        end: Callable[[], None] | None = None,
        counted: bool = True,
    ) -> Watcher:
        """
        Deliver events that touch C{key}.

        @param stream: whether to deliver every event, or only the first one.
        @param since: the lowest index of an event to deliver.
        @param end: called by L{end_all}.
        @param counted: whether L{count} has this one.
        """
        watcher = Watcher(self, key, recursive, stream, since, deliver, end, counted)
        self.watched.setdefault(key, {})[watcher] = None
        self.count += counted
        return watcher

    def forget(self, watcher: Watcher) -> None:
        """Remove a watcher, if it is still there."""
        waiting = self.watched.get(watcher.key)
        if waiting is None or watcher not in waiting:
            return
        del waiting[watcher]
        self.count -= watcher.counted
        if not waiting:
            del self.watched[watcher.key]

    def end_all(self) -> None:
        """End all watchers: their events can't be delivered here any more."""
        ending = [watcher for watchers in self.watched.values() for watcher in watchers]
        for watcher in ending:
            if not watcher.cancelled:
                watcher.cancel()
                if watcher.end is not None:
                    watcher.end()

    @property
    def backlog(self) -> int:
        """How many deliveries are queued."""
        return len(self.deliveries)

    def notify(self, event: Event) -> None:
        """Queue an event for each watcher that it touches."""
        if not self.watched:
            return
        for key in self._keys_near(event):
            self._queue_at(key, event)

    def _keys_near(self, event: Event) -> Iterable[str]:
        """Returns some keys, among them all watched ones that the event may touch."""
        key = event.node.key
        if event.removed_directory or key.count("/") >= len(self.watched):
            below = "/" if key == ROOT else key + "/"
            return [each for each in self.watched if each.startswith(below) or each == key or is_below(key, each)]
        return with_parents(key)

    def _queue_at(self, key: str, event: Event) -> None:
        waiting = self.watched.get(key)
        if waiting is None:
            return
        sees = {recursive: event.touches(key, recursive) for recursive in (False, True)}
        touched = [watcher for watcher in waiting if event.index >= watcher.since and sees[watcher.recursive]]
        one_shot = [watcher for watcher in touched if not watcher.stream]
        for watcher in one_shot:
            del waiting[watcher]
        self.count -= sum(watcher.counted for watcher in one_shot)
        if not waiting:
            del self.watched[key]
        self._queue(zip(touched, repeat(event)))

    def queue(self, watcher: Watcher, event: Event) -> None:
        """Queue an event for one watcher. A one-shot watcher is forgotten."""
        if not watcher.stream:
            self.forget(watcher)
        self._queue([(watcher, event)])

    def _queue(self, deliveries: Iterable[tuple[Watcher, Event]]) -> None:
        was_empty = not self.deliveries
        self.deliveries.extend(deliveries)
        if was_empty and self.deliveries:
            self._wake()

    def deliver(self, limit: int) -> bool:
        """
        Make up to C{limit} of the queued deliveries, in the order of the events, and as many of buffered events.

        @return: whether there are more.
        """
        for _ in range(min(limit, len(self._resumed))):
            watcher = self._resumed.popleft()
            if watcher.deliver_buffered():
                self._resumed.append(watcher)
        deliveries = self.deliveries
        for _ in range(min(limit, len(deliveries))):
            watcher, event = deliveries.popleft()
            if not watcher.cancelled:
                watcher.take(event)
        return bool(deliveries or self._resumed)

    def resume(self, watcher: Watcher) -> None:
        """Deliver the buffered events of a watcher, one at a time."""
        self._resumed.append(watcher)
        self._wake()
