"""
Live watchers: who waits for which key, and who is told of an event.

Telling is in two steps, so that thousands of watchers can't hold a turn up: L{WatcherHub.notify} queues what
to tell, L{WatcherHub.deliver} tells a bounded number. Must never tell a one-shot watcher twice, nor a cancelled one.
"""

from collections import deque
from collections.abc import Callable

from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.paths import ROOT, is_below, parent


class Watcher:
    """
    One who waits. Made by L{WatcherHub.watch}.

    @ivar cancelled: whether it is to be told nothing more.
    """

    __slots__ = ("_hub", "cancelled", "deliver", "key", "recursive", "since", "stream")

    def __init__(
        self, hub: "WatcherHub", key: str, recursive: bool, stream: bool, since: int, deliver: Callable[[Event], None]
    ) -> None:
        self._hub = hub
        self.key = key
        self.recursive = recursive
        self.stream = stream
        self.since = since
        self.deliver = deliver
        self.cancelled = False

    def cancel(self) -> None:
        """Forget this watcher, queued events included."""
        self.cancelled = True
        self._hub.forget(self)


class WatcherHub:
    """
    All live watchers.

    @param wake: called when there is something to deliver and there was nothing before.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._watchers: dict[str, dict[Watcher, None]] = {}
        self._deliveries: deque[tuple[Watcher, Event]] = deque()
        self.count = 0

    def watch(
        self, key: str, recursive: bool, stream: bool, since: int, deliver: Callable[[Event], None]
    ) -> Watcher:
        """
        Wait for events that touch C{key}.

        @param stream: whether to tell every event; else the first one only.
        @param since: no event with a lower index is told.
        """
        watcher = Watcher(self, key, recursive, stream, since, deliver)
        self._watchers.setdefault(key, {})[watcher] = None
        self.count += 1
        return watcher

    def forget(self, watcher: Watcher) -> None:
        """Drop a watcher, if it is still there."""
        waiting = self._watchers.get(watcher.key)
        if waiting is None or watcher not in waiting:
            return
        del waiting[watcher]
        self.count -= 1
        if not waiting:
            del self._watchers[watcher.key]

    @property
    def backlog(self) -> int:
        """How many times somebody is still to be told of something."""
        return len(self._deliveries)

    def notify(self, event: Event) -> None:
        """Queue an event for everyone whom it touches."""
        for key in self._keys_near(event):
            self._queue_at(key, event)

    def _keys_near(self, event: Event) -> list[str]:
        """Keys among which are all watched ones that the event may touch."""
        key = event.node.key
        if event.removed_directory or key.count("/") >= len(self._watchers):
            return [each for each in self._watchers if each == key or is_below(key, each) or is_below(each, key)]
        keys = [key]
        while key != ROOT:
            key = parent(key)
            keys.append(key)
        return keys

    def _queue_at(self, key: str, event: Event) -> None:
        waiting = self._watchers.get(key)
        if waiting is None:
            return
        told = [w for w in waiting if event.index >= w.since and event.touches(key, w.recursive)]
        for watcher in told:
            self.queue(watcher, event)

    def queue(self, watcher: Watcher, event: Event) -> None:
        """Queue an event for one watcher; a one-shot watcher waits no longer."""
        if not watcher.stream:
            self.forget(watcher)
        self._deliveries.append((watcher, event))
        if len(self._deliveries) == 1:
            self._wake()

    def deliver(self, limit: int) -> bool:
        """
        Tell up to C{limit} watchers, in the order of the events.

        @return: whether more wait to be told.
        """
        deliveries = self._deliveries
        for _ in range(min(limit, len(deliveries))):
            watcher, event = deliveries.popleft()
            if not watcher.cancelled:
                watcher.deliver(event)
        return bool(deliveries)
