"""
Tells watchers what happened, in turns of the reactor that belong to nobody's request.

A bounded number a turn, so that thousands of watchers hold nobody up. Must never tell one within the change that it is
told of.
"""

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from etcd_twisted.keyspace.watchers import WatcherHub

_WATCHERS_A_TURN = 128


class Delivery:
    """Empties the queue of a hub."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._next: IDelayedCall | None = None
        self._stopped = False

    def soon(self, hub: WatcherHub) -> None:
        """There is something to deliver."""
        if self._next is None and not self._stopped:
            self._next = self._clock.callLater(0, self._deliver, hub)

    def _deliver(self, hub: WatcherHub) -> None:
        self._next = None
        more = True
        try:
            more = hub.deliver(_WATCHERS_A_TURN)
        finally:  # who could not be told must not keep the others from being told
            if more:
                self.soon(hub)

    def stop(self) -> None:
        """Tell nobody anything more."""
        self._stopped = True
        if self._next is not None:
            self._next.cancel()
            self._next = None
