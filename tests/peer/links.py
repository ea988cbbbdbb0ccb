"""
A link to another machine that tests play, on a fake clock.
"""

from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import ConnectionRefusedError as RefusedByHostError
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols import amp
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.peer.commands import Deliver, Hello
from etcd_twisted.peer.transport import AmpTransport
from etcd_twisted.testing.raft_peer import FIRST, SECOND, FakeRaftPeer
from tests.logs.lines import Log
from tests.wires import Transport

URL = "http://127.0.0.1:7002"
CALLED = "the one of id 2"


class Other:
    """The other machine's end of a connection that this machine has made."""

    def __init__(self, factory: Any) -> None:
        protocol = factory.buildProtocol(None)
        self.protocol = protocol
        self.transport = Transport(protocol)
        protocol.makeConnection(self.transport)

    def boxes(self) -> list[amp.AmpBox]:
        """Returns the boxes that have come since the last call."""
        read: list[amp.AmpBox] = amp.parseString(self.transport.value())
        self.transport.clear()
        return read

    def payloads(self) -> list[bytes]:
        """Returns the payloads that have come since the last call."""
        return [Deliver.parseArguments(box, None)["payload"] for box in self.boxes()]

    def answer(self, machine_id: str = SECOND) -> dict[str, Any]:
        """Accepts the greeting, and says which machine this is."""
        (hello,) = self.boxes()
        self.send({amp.ANSWER: hello[amp.ASK], b"machine_id": machine_id.encode()})
        return Hello.parseArguments(hello, None)

    def refuse(self, code: bytes, text: bytes = b"no") -> None:
        """Refuses the greeting."""
        (hello,) = self.boxes()
        self.send({amp.ERROR: hello[amp.ASK], amp.ERROR_CODE: code, amp.ERROR_DESCRIPTION: text})

    def send(self, box: dict[bytes, bytes]) -> None:
        """Sends a box."""
        self.protocol.dataReceived(amp.AmpBox(box).serialize())


class LinkTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.raft = FakeRaftPeer(FIRST)
        self.transport = AmpTransport(
            self.reactor, self.raft, None, lambda: "machine1", "http://127.0.0.1:7001", chance=lambda: 1.0
        )
        self.log = Log(self)

    def connect(self) -> None:
        self.transport.connect({SECOND: URL})

    @property
    def attempts(self) -> int:
        return len(self.reactor.tcpClients)

    def get_nowhere(self) -> None:
        """Makes the last attempt fail."""
        factory = self.reactor.tcpClients[-1][2]
        factory.clientConnectionFailed(None, Failure(RefusedByHostError()))

    def succeed(self) -> Other:
        """Makes the last attempt succeed."""
        return Other(self.reactor.tcpClients[-1][2])

    def connected(self) -> Other:
        """Returns a machine that is connected and identified."""
        self.connect()
        other = self.succeed()
        other.answer()
        return other

    def stop(self) -> "Deferred[None]":
        return ensureDeferred(self.transport.stop())

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.reactor.advance(1)
