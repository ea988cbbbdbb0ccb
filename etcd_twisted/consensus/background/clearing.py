"""
Makes the key space forget the TTLs of keys in removed directories, a bounded number of them in each turn.

It must never hold up the reactor for long in one turn, nor schedule turns while there is nothing to forget.
"""

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from etcd_twisted.keyspace.space import KeySpace

_NODES_A_TURN = 1_000


class Clearing:
    """Clears one key space; see the module."""

    def __init__(self, clock: IReactorTime, keyspace: KeySpace) -> None:
        self._clock = clock
        self._keyspace = keyspace
        self._turn: IDelayedCall | None = None

    def schedule(self) -> None:
        """Schedule a turn if there is something to forget: the key space may have changed."""
        if self._turn is None and self._keyspace.removed_directories.roots:
            self._turn = self._clock.callLater(0, self._go_on)

    def _go_on(self) -> None:
        self._turn = None
        self._keyspace.forget_removed_ttls(_NODES_A_TURN)
        self.schedule()

    def stop(self) -> None:
        """Cancel the next turn. What is left is forgotten after the next L{schedule}."""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
