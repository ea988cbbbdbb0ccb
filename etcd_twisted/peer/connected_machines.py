"""
The machines that have connected to this one. Messages to them can go back over their own connections.

A new machine knows nobody's address until it has the leader's log, and has to answer the leader before that.

This module must never keep two connections of one machine: the older one is dead, although the system may not know
that yet.
"""

from collections.abc import Callable

from etcd_twisted.peer.connection import MessageConnection


class ConnectedMachines:
    """
    The connections that other machines have made.

    @ivar on_connect: called with the id of a machine that has connected, and the peer URL that it says it has; empty
        if it does not say so.
    """

    def __init__(self) -> None:
        self.on_connect: Callable[[str, str], None] = lambda _machine_id, _peer_url: None
        self._connections: dict[str, MessageConnection] = {}

    def __len__(self) -> int:
        return len(self._connections)

    def add(self, machine_id: str, connection: MessageConnection, peer_url: str = "") -> None:
        """Note the connection of a machine that names C{peer_url} as its own, and end an older one."""
        older = self._connections.get(machine_id, connection)
        self._connections[machine_id] = connection
        if older is not connection:
            older.abort()
        self.on_connect(machine_id, peer_url)

    def remove(self, machine_id: str, connection: MessageConnection) -> None:
        """Forget a connection that has ended."""
        if self._connections.get(machine_id) is connection:
            del self._connections[machine_id]

    def connection(self, machine_id: str) -> MessageConnection | None:
        """Returns the connection that a machine has made; C{None} if there is none."""
        return self._connections.get(machine_id)
