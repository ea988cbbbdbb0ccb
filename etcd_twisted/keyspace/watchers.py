"""
Live watchers: who waits for which key, and who is told of an event.

Telling is in two steps, so that thousands of watchers can't hold a turn up: L{WatcherHub.notify} queues what
to tell, L{WatcherHub.deliver} tells a bounded number. Must never tell a one-shot watcher twice, nor a cancelled one.
"""

from collections import deque
from collections.abc import Callable, Iterable

from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.paths import ROOT, is_below, with_parents


class Watcher:
    """
    One who waits. Made by L{WatcherHub.watch}.

    @ivar cancelled: whether it is to be told nothing more.
    @ivar joined: the key space's index when it began to wait.
    @ivar held: whether it has no room for events; those that come are put aside.
    @ivar waiting_bytes: how much is put aside of what happened since it began to wait; what was past by then is there
        for whoever comes late, and does not count.
    """

    __slots__ = (
        "_aside",
        "_hub",
        "cancelled",
        "deliver",
        "end",
        "held",
        "joined",
        "key",
        "recursive",
        "since",
        "stream",
        "waiting_bytes",
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
    ) -> None:
        self._hub = hub
        self.key = key
        self.recursive = recursive
        self.stream = stream
        self.since = since
        self.deliver = deliver
        self.end = end
        self.cancelled = False
        self.joined = 0
        self.held = False
        self.waiting_bytes = 0
        self._aside: deque[Event] | None = None

    def cancel(self) -> None:
        """Forget this watcher, queued events included."""
        self.cancelled = True
        self._aside = None
        self._hub.forget(self)

    def hold(self) -> None:
        """Tell this watcher nothing until L{release}."""
        self.held = True

    def release(self) -> None:
        """There is room again: tell what was put aside, and go on."""
        if self.held:
            self.held = False
            if self._aside:
                self._hub.go_on_with(self)

    @property
    def behind(self) -> bool:
        """Whether events have to be put aside, to keep their order."""
        return self.held or bool(self._aside)

    def put_aside(self, event: Event) -> None:
        """Keep an event for later."""
        if self._aside is None:
            self._aside = deque()
        self._aside.append(event)
        self.waiting_bytes += self._counted(event)

    def tell_one_put_aside(self) -> bool:
        """Tell the first event that was put aside; whether another may follow."""
        if not self._aside:
            return False
        event = self._aside.popleft()
        self.waiting_bytes -= self._counted(event)
        self.deliver(event)
        return bool(self._aside) and not self.held

    def _counted(self, event: Event) -> int:
        return len(event.body) if event.index > self.joined else 0


class WatcherHub:
    """
    All live watchers.

    @param wake: called when there is something to deliver and there was nothing before.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._watchers: dict[str, dict[Watcher, None]] = {}
        self._deliveries: deque[tuple[Watcher, Event]] = deque()
        self._released: deque[Watcher] = deque()
        self.count = 0

    def watch(
        self,
        key: str,
        recursive: bool,
        stream: bool,
        since: int,
        deliver: Callable[[Event], None],
        end: Callable[[], None] | None = None,
    ) -> Watcher:
        """
        Wait for events that touch C{key}.

        @param stream: whether to tell every event; else the first one only.
        @param since: no event with a lower index is told.
        @param end: called by L{end_all}.
        """
        watcher = Watcher(self, key, recursive, stream, since, deliver, end)
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

    def end_all(self) -> None:
        """Tell all who wait that what they wait for can't be told here any more."""
        waiting = [watcher for watchers in self._watchers.values() for watcher in watchers]
        for watcher in waiting:
            if not watcher.cancelled:
                watcher.cancel()
                if watcher.end is not None:
                    watcher.end()

    @property
    def backlog(self) -> int:
        """How many times somebody is still to be told of something."""
        return len(self._deliveries)

    def notify(self, event: Event) -> None:
        """Queue an event for everyone whom it touches."""
        if not self._watchers:
            return
        for key in self._keys_near(event):
            self._queue_at(key, event)

    def _keys_near(self, event: Event) -> Iterable[str]:
        """Keys among which are all watched ones that the event may touch."""
        key = event.node.key
        if event.removed_directory or key.count("/") >= len(self._watchers):
            below = "/" if key == ROOT else key + "/"
            return [each for each in self._watchers if each.startswith(below) or each == key or is_below(key, each)]
        return with_parents(key)

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
        for _ in range(min(limit, len(self._released))):
            watcher = self._released.popleft()
            if watcher.tell_one_put_aside():
                self._released.append(watcher)
        deliveries = self._deliveries
        for _ in range(min(limit, len(deliveries))):
            watcher, event = deliveries.popleft()
            if watcher.cancelled:
                continue
            if watcher.behind:
                watcher.put_aside(event)
            else:
                watcher.deliver(event)
        return bool(deliveries or self._released)

    def go_on_with(self, watcher: Watcher) -> None:
        """Tell a watcher what was put aside for it, event by event."""
        self._released.append(watcher)
        self._wake()
