"""
Has the key space forget the TTLs of what went with removed directories, a part of them in each turn.

Must never take longer in one turn than others can wait, nor turn when there is nothing to forget.
"""

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from etcd_twisted.keyspace.space import KeySpace

_NODES_A_TURN = 1_000


class Clearing:
    """The turns of one key space."""

    def __init__(self, clock: IReactorTime, keyspace: KeySpace) -> None:
        self._clock = clock
        self._keyspace = keyspace
        self._turn: IDelayedCall | None = None

    def look(self) -> None:
        """The key space may have changed."""
        if self._turn is None and self._keyspace.removed_directories.roots:
            self._turn = self._clock.callLater(0, self._go_on)

    def _go_on(self) -> None:
        self._turn = None
        self._keyspace.forget_removed_ttls(_NODES_A_TURN)
        self.look()

    def stop(self) -> None:
        """Leave the rest to whoever looks next."""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
