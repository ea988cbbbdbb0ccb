"""
Many writes over connections of their own: what is made is told for certain, and everything else is left to others.
"""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.trial.unittest import SynchronousTestCase, TestCase

from etcd_twisted.client import Client, Timeouts, keys
from etcd_twisted.client.bulk import Bulk
from etcd_twisted.client.large import bulk
from etcd_twisted.testing.memory_machine import MemoryMachine
from tests.processes.machine import Machine

WRITE = keys.put("/a b", "ü&=", {"prevExist": "false"}, 60)
MADE = b"HTTP/1.1 201 Created\r\nContent-Length: 3\r\nX-Etcd-Cluster-Id: CAFE\r\n\r\n{ }"
REFUSED = b"HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n"
REDIRECT = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://b/\r\nContent-Length: 0\r\n\r\n"


class ScriptedTests(SynchronousTestCase):
    """The test is the machine."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.transports: list[StringTransportWithDisconnection] = []
        self.searches = 0
        self.refuses = False
        self.bulk = Bulk(self.clock, self.endpoint_of, self.find, 5.0, b"Basic eDp5", lambda: "cafe")

    def find(self) -> "Deferred[str]":
        """Names a machine."""
        self.searches += 1
        return succeed(f"http://machine{self.searches}:4001")

    def endpoint_of(self, _uri: Any) -> Any:
        """Returns this, as an endpoint."""
        return self

    def connect(self, factory: Factory) -> "Deferred[Any]":
        """Connects."""
        if self.refuses:
            return Deferred.fromCoroutine(self.refuse())
        protocol: Any = factory.buildProtocol(None)  # type: ignore[arg-type]
        transport = StringTransportWithDisconnection()
        transport.protocol = protocol
        transport.abortConnection = transport.loseConnection  # type: ignore[method-assign]
        self.transports.append(transport)
        protocol.makeConnection(transport)
        return succeed(protocol)

    async def refuse(self) -> None:
        raise ConnectError

    def answer(self, data: bytes, number: int = -1) -> None:
        """Answers over a connection."""
        self.transports[number].protocol.dataReceived(data)

    def test_request(self) -> None:
        """It is what any HTTP server reads, with the credentials."""
        made = self.bulk.send(WRITE)
        self.assertEqual(
            self.transports[0].value(),
            b"PUT /v2/keys/a%20b HTTP/1.1\r\nHost: machine1:4001\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 41\r\n"
            b"Authorization: Basic eDp5\r\n\r\nprevExist=false&value=%C3%BC%26%3D&ttl=60",
        )
        self.answer(MADE)
        self.assertIs(self.successResultOf(made), True)

    @given(st.integers(1, len(MADE)))
    def test_pieces(self, size: int) -> None:
        """An answer may come in pieces, and a connection is used again."""
        self.setUp()
        for _ in range(3):
            made = self.bulk.send(WRITE)
            for start in range(0, len(MADE), size):
                self.assertNoResult(made)
                self.answer(MADE[start : start + size])
            self.assertIs(self.successResultOf(made), True)
        self.assertEqual((len(self.transports), self.searches), (1, 1))

    def test_as_many_connections_as_writes_at_once(self) -> None:
        writes = [self.bulk.send(WRITE) for _ in range(3)]
        self.assertEqual((len(self.transports), self.searches), (3, 1))
        self.answer(MADE, 1)
        self.assertEqual([write.called for write in writes], [False, True, False])
        self.bulk.send(WRITE)
        self.assertEqual(len(self.transports), 3)

    def test_refused(self) -> None:
        """The write was not made, and the connection goes on."""
        made = self.bulk.send(WRITE)
        self.answer(REFUSED)
        self.assertIs(self.successResultOf(made), False)
        self.bulk.send(WRITE)
        self.assertEqual(len(self.transports), 1)

    def test_what_is_not_certain(self) -> None:
        """Only an answer of success from this cluster says that a write was made."""
        for answer in (
            REDIRECT,
            MADE.replace(b"CAFE", b"BEEF"),
            MADE.replace(b"201", b"500"),
            MADE.replace(b"201", b"100"),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"x" * 70_000,
        ):
            self.setUp()
            made = self.bulk.send(WRITE)
            self.answer(answer)
            self.assertIs(self.successResultOf(made), False, answer[:50])
            self.assertFalse(self.transports[0].connected)
        self.setUp()
        made = self.bulk.send(WRITE)
        self.transports[0].loseConnection()
        self.assertIs(self.successResultOf(made), False)

    def test_redirect(self) -> None:
        """From then on another machine is asked, and no connection to the old one is left when it has answered."""
        first, second = self.bulk.send(WRITE), self.bulk.send(WRITE)
        self.answer(REDIRECT, 0)
        self.answer(MADE, 1)
        self.assertEqual([self.successResultOf(each) for each in (first, second)], [False, True])
        self.transports[1].loseConnection()
        self.bulk.send(WRITE)
        self.assertIn(b"Host: machine2:4001", self.transports[2].value())

    def test_refused_connection(self) -> None:
        """The write was not made, and a machine is looked for again."""
        self.refuses = True
        self.assertIs(self.successResultOf(self.bulk.send(WRITE)), False)
        self.refuses = False
        self.bulk.send(WRITE)
        self.assertEqual(self.searches, 2)

    def test_timeout(self) -> None:
        """A write that has no answer is given up."""
        made = self.bulk.send(WRITE)
        self.clock.pump([1.0] * 5)
        self.assertNoResult(made)
        self.clock.pump([1.0] * 2)
        self.assertIs(self.successResultOf(made), False)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_close(self) -> None:
        """Writes under way end, and nothing is left."""
        made = self.bulk.send(WRITE)
        self.bulk.close()
        self.assertIs(self.successResultOf(made), False)
        self.assertIs(self.successResultOf(self.bulk.send(WRITE)), False)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_unexpected_failures(self) -> None:
        """They are not hidden."""

        def find() -> "Deferred[str]":
            raise ZeroDivisionError

        self.failureResultOf(Bulk(self.clock, self.endpoint_of, find, 5.0).send(WRITE), ZeroDivisionError)


class MachineTests(TestCase):
    """A machine on the network is written to."""

    timeout = 60

    async def test_writes(self) -> None:
        """All are made, and a second time none."""
        machine = Machine(self)
        await machine.embed()
        # A busy computer takes more than a second for a hundred connections, both ends of which are in this process.
        timeouts = Timeouts(connect_seconds=50.0)
        client = Client(machine.url, reactor=reactor, timeouts=timeouts)  # type: ignore[arg-type]
        self.addCleanup(client.close)
        writes = bulk(client, 50.0)
        self.addCleanup(writes.close)
        requests = [keys.put(f"/dir/{number}", "x", {"prevExist": "false"}, None) for number in range(100)]
        for expected in (True, False):
            made = [writes.send(request) for request in requests]
            self.assertEqual({await each for each in made}, {expected})
        self.assertEqual(len((await client.list("/dir")).nodes), 100)

    def test_own_agent(self) -> None:
        """A client whose requests somebody else's agent sends makes no connections."""
        with MemoryMachine() as machine:
            self.assertIs(self.successResultOf(bulk(machine.client(), 10.0).send(WRITE)), False)
