"""
The machines that have connected to this one: where they are answered when this machine does not know the way to them,
or not yet.

A new machine knows nobody's address until it has the leader's log, and has to answer the leader before.

Must never keep two connections of one machine: the older one is its system's, which does not know yet that it is gone.
"""

from collections.abc import Callable

from etcd_twisted.peer.messages import MessageConnection


class Visitors:
    """
    See the module.

    @ivar arrived: called with the id of a machine that has connected.
    """

    def __init__(self) -> None:
        self.arrived: Callable[[str], None] = lambda _: None
        self._connections: dict[str, MessageConnection] = {}

    def __len__(self) -> int:
        return len(self._connections)

    def welcome(self, machine_id: str, connection: MessageConnection) -> None:
        """A machine has said who it is."""
        older = self._connections.get(machine_id, connection)
        self._connections[machine_id] = connection
        if older is not connection:
            older.abort()
        self.arrived(machine_id)

    def forget(self, machine_id: str, connection: MessageConnection) -> None:
        """A connection is gone."""
        if self._connections.get(machine_id) is connection:
            del self._connections[machine_id]

    def connection(self, machine_id: str) -> MessageConnection | None:
        """The one that a machine has made; C{None} when it is not here."""
        return self._connections.get(machine_id)
