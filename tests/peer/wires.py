"""
Both ends of a connection to the peer port without a socket.
"""

from typing import Any

from twisted.internet.task import Clock
from twisted.protocols import amp

from etcd_twisted.httpd.limits import Limits
from etcd_twisted.httpd.site import Site
from etcd_twisted.interfaces.cluster import PROTOCOL_VERSION
from etcd_twisted.logs.rate_limit import RateLimitedLog
from etcd_twisted.peer.commands import Hello
from etcd_twisted.peer.connected_machines import ConnectedMachines
from etcd_twisted.peer.incoming import PortContext
from etcd_twisted.peer.port import PeerPort
from etcd_twisted.peer.responder import Responder
from etcd_twisted.testing.raft_peer import CLUSTER, FIRST, SECOND, FakeRaftPeer, PeerReplica
from etcd_twisted.web.admin import AdminPages
from tests.wires import Transport

TIMEOUT = 10.0
HELLO = {
    "version": PROTOCOL_VERSION,
    "cluster_id": CLUSTER,
    "sender": SECOND,
    "name": "machine2",
    "configuration_index": 1,
    "receiver": FIRST,
}


def question(command: type[amp.Command], tag: bytes | None = b"1", **arguments: Any) -> bytes:
    """Returns the box of a request."""
    box: amp.AmpBox = command.makeArguments(arguments, None)
    box[amp.COMMAND] = command.commandName
    if tag is not None:
        box[amp.ASK] = tag
    return box.serialize()


class Visit:
    """
    A connection to the port.

    @ivar transport: the port's end of it.
    """

    def __init__(self, port: PeerPort) -> None:
        self._protocol = port.buildProtocol(None)
        self.transport = Transport(self._protocol)
        self._protocol.makeConnection(self.transport)

    @property
    def lost(self) -> bool:
        """Whether the port has closed it."""
        return self.transport.how_lost is not None

    def send(self, data: bytes) -> None:
        """Sends bytes from the other side."""
        self._protocol.dataReceived(data)

    def ask(self, command: type[amp.Command], **arguments: Any) -> amp.AmpBox:
        """Sends a request, whose answer has to be there at once."""
        self.send(question(command, **arguments))
        (box,) = self.boxes()
        return box

    def boxes(self) -> list[amp.AmpBox]:
        """Returns the boxes that have come since the last call."""
        boxes: list[amp.AmpBox] = amp.parseString(self.transport.value())
        self.transport.clear()
        return boxes


class Served:
    """The peer port on a fake clock."""

    def __init__(self, raft: FakeRaftPeer | None = None) -> None:
        self.clock = Clock()
        self.raft = FakeRaftPeer() if raft is None else raft
        self.replica = PeerReplica(self.clock, self.raft)
        self.connected = ConnectedMachines()
        host = PortContext(
            self.clock,
            self.raft,
            Responder(self.replica, self.raft),
            self.connected,
            RateLimitedLog(self.clock),
            TIMEOUT,
        )
        site = Site(self.clock, AdminPages(self.replica, self.clock), None, Limits(10, 1_000, TIMEOUT, TIMEOUT))
        self.port = PeerPort(host, site)
        self.port.startFactory()

    def answer(self, machine_id: str, payload: bytes) -> bool:
        """Sends a payload to a machine that has connected, and returns whether it is accepted."""
        connection = self.connected.connection(machine_id)
        return connection is not None and connection.deliver(payload)

    def visit(self) -> Visit:
        """Connects to the port."""
        return Visit(self.port)

    def admitted(self, sender: str = SECOND) -> Visit:
        """Connects to the port as a member."""
        visit = self.visit()
        assert visit.ask(Hello, **{**HELLO, "sender": sender})[b"machine_id"] == FIRST.encode()
        return visit

    def pass_time(self, seconds: int) -> None:
        """Lets time pass, second by second."""
        for _ in range(seconds):
            self.clock.advance(1)

    def stop(self) -> None:
        """Leaves nothing in the reactor."""
        self.replica.stop()
