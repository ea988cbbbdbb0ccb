"""
Delivers events to watchers, in turns of the reactor of their own.

Each turn serves a bounded number of watchers, so that thousands of them hold nobody up. It must never deliver an event
within the change that caused it.
"""

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from etcd_twisted.keyspace.watchers import WatcherHub

_WATCHERS_A_TURN = 128


class Delivery:
    """Delivers the events that wait in a hub."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._next: IDelayedCall | None = None
        self._stopped = False

    def soon(self, hub: WatcherHub) -> None:
        """Schedule a turn, as there is something to deliver."""
        if self._next is None and not self._stopped:
            self._next = self._clock.callLater(0, self._deliver, hub)

    def _deliver(self, hub: WatcherHub) -> None:
        self._next = None
        more = True
        try:
            more = hub.deliver(_WATCHERS_A_TURN)
        finally:  # a watcher whose callback raises must not keep events from the others
            if more:
                self.soon(hub)

    def stop(self) -> None:
        """Deliver nothing more."""
        self._stopped = True
        if self._next is not None:
            self._next.cancel()
            self._next = None
