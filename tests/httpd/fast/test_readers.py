"""
Many connections that wait for bytes together.
"""

import select
import socket
import struct
from collections.abc import Callable
from functools import partial

from twisted.internet import reactor
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.protocol import Protocol
from twisted.internet.tcp import Connection, Server
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from etcd_twisted.httpd.fast.readers import MOST_AT_ONCE, Readers
from etcd_twisted.httpd.fast.sending import SendQueue
from etcd_twisted.httpd.turns import Turns
from tests.wires import RawClient, ServedTest


class Taker(Protocol):
    """A protocol that keeps what comes, and calls C{action} then."""

    def __init__(self) -> None:
        self.came = b""
        self.lost: list[type[Exception]] = []
        self.action: Callable[[], object] = lambda: None

    def dataReceived(self, data: bytes) -> None:
        self.came += data
        self.action()

    def connectionLost(self, reason: Failure) -> None:
        self.lost.append(reason.type)


class ReadersTests(SynchronousTestCase):
    """These tests use real sockets and a reactor that the test turns."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.turns = Turns(self.reactor, 10)
        self.sends = SendQueue(self.reactor)
        self.readers = Readers(self.reactor, self.turns, self.sends)

    def test_one_turn_begins_for_all_connections(self) -> None:
        """The work of earlier turns does not count in it."""
        left: list[int] = []

        def work() -> None:
            left.append(self.turns.left)
            self.turns.spend(3)

        for _ in range(2):
            for there, taker, _ in (self.connect(), self.connect()):
                taker.action = work
                there.sendall(b"x")
            self.turn()
        self.assertEqual(left, [10, 7] * 2)

    def test_no_turn_begins_while_something_waits_for_its_turn(self) -> None:
        there, taker, _ = self.connect()
        left: list[int] = []
        taker.action = lambda: left.append(self.turns.left)
        self.turns.spend(10)
        self.turns.wait("a", lambda: left.append(self.turns.left))
        there.sendall(b"x")
        self.turn()
        self.assertEqual(left, [0])
        self.reactor.advance(0)
        self.assertEqual(left, [0, 10])

    def test_what_has_come_on_a_paused_connection_is_not_lost(self) -> None:
        """
        A connection that is paused while another one is handled, in the same turn, still gets what was read from it.
        """
        connected = [self.connect() for _ in range(2)]
        for number, (there, taker, _) in enumerate(connected):
            other = connected[1 - number][2]
            taker.action = other.pauseProducing
            there.sendall(b"x")
        self.turn()
        for there, _, connection in connected:
            connection.resumeProducing()
            there.sendall(b"y")
        self.turn()
        self.assertEqual([taker.came for _, taker, _ in connected], [b"xy", b"xy"])

    def test_many_connections_are_read_in_one_turn(self) -> None:
        """All that has come is handled in the turn in which it is seen, and their responses are sent in it."""
        connected = [self.connect() for _ in range(2 * MOST_AT_ONCE + 1)]
        for there, taker, connection in connected:
            taker.action = partial(self.sends.send, connection, b"response")
            there.sendall(b"x")
        self.turn()
        for there, taker, _ in connected:
            self.assertEqual((taker.came, there.recv(100, socket.MSG_DONTWAIT)), (b"x", b"response"))

    def connect(self) -> tuple[socket.socket, Taker, Connection]:
        """Returns a client's socket and its connection, which the readers have adopted."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            client = socket.create_connection(listening.getsockname())
            here, _ = listening.accept()
        self.addCleanup(client.close)
        here.setblocking(False)
        taker = Taker()
        connection = Connection(here, taker, self.reactor)
        connection.connected = True
        taker.makeConnection(connection)
        connection.startReading()
        self.readers.adopt(connection)
        self.addCleanup(self.close, connection)
        return client, taker, connection

    @staticmethod
    def close(connection: Connection) -> None:
        if connection.connected:
            connection.connectionLost(Failure(ConnectionDone()))

    def turn(self) -> None:
        """Waits until there is something to read, and reads it."""
        self.assertEqual(len(select.select([self.readers], [], [], 10)[0]), 1, "nothing came")
        self.readers.doRead()

    def test_readers_implement_their_interface(self) -> None:
        verifyObject(IReadDescriptor, self.readers)
        self.assertEqual(self.readers.logPrefix(), "Readers")

    def test_the_reactor_sees_one_reader(self) -> None:
        """It sees none while there are no connections. Each connection gets what its client sent."""
        self.assertEqual(self.reactor.getReaders(), [])
        several = [self.connect() for _ in range(3)]
        self.assertEqual(self.reactor.getReaders(), [self.readers])
        for number, (client, _, _) in enumerate(several):
            client.sendall(b"%d" % number)
        while not all(taker.came for _, taker, _ in several):
            self.turn()
        self.assertEqual([taker.came for _, taker, _ in several], [b"0", b"1", b"2"])
        for _, _, connection in several:
            self.assertEqual(self.reactor.getReaders(), [self.readers])
            self.close(connection)
        self.assertEqual(self.reactor.getReaders(), [])

    def test_a_paused_connection_is_not_read(self) -> None:
        """A second pause changes nothing, and the other connections are read."""
        (client, taker, connection), (other, others, _) = self.connect(), self.connect()
        connection.pauseProducing()
        connection.pauseProducing()
        client.sendall(b"a")
        other.sendall(b"b")
        self.turn()
        self.assertEqual((taker.came, others.came), (b"", b"b"))
        connection.resumeProducing()
        connection.resumeProducing()
        self.turn()
        self.assertEqual(taker.came, b"a")

    def end(self, *, reset: bool) -> tuple[Taker, Connection]:
        client, taker, connection = self.connect()
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        self.turn()
        self.assertEqual(taker.lost, [])
        self.assertEqual(self.reactor.getReaders(), [connection])
        return taker, connection

    def find_out(self, connection: Connection) -> None:
        """Does what the reactor does with a connection that it reads itself."""
        PosixReactorBase._disconnectSelectable(self.reactor, connection, connection.doRead(), True)

    def test_the_end_of_a_connection_is_noticed(self) -> None:
        """The connection is left to the reactor, which finds that out."""
        taker, connection = self.end(reset=False)
        self.find_out(connection)
        self.assertEqual((taker.lost, self.reactor.getReaders()), ([ConnectionDone], []))

    def test_a_reset_connection_is_noticed(self) -> None:
        """The system reports the reason only once, so the connection has ended then."""
        taker, connection = self.end(reset=True)
        self.find_out(connection)
        self.assertEqual((len(taker.lost), self.reactor.getReaders()), (1, []))

    def test_a_connection_that_ends_and_is_closed_ends_once(self) -> None:
        """It may be closed here, or paused, before the reactor has found out."""
        _, connection = self.end(reset=False)
        connection.pauseProducing()
        self.assertEqual(self.reactor.getReaders(), [])
        connection.resumeProducing()
        self.assertEqual(self.reactor.getReaders(), [connection])
        connection.abortConnection()
        self.assertEqual(self.reactor.getReaders(), [])
        self.reactor.advance(0)
        self.assertFalse(connection.connected)

    def test_a_connection_closed_by_another_is_not_read(self) -> None:
        """Both connections had something to read in the same turn."""
        (client, taker, connection), (other, others, closed) = self.connect(), self.connect()
        taker.action = lambda: self.close(closed)
        others.action = lambda: self.close(connection)
        client.sendall(b"a")
        other.sendall(b"b")
        for each in (closed, connection):  # bytes are there
            self.assertEqual(len(select.select([each], [], [], 10)[0]), 1)
        self.readers.doRead()
        self.assertEqual(sorted([taker.came, others.came])[0], b"")
        self.assertEqual(taker.lost + others.lost, [ConnectionDone])

    def test_a_failing_connection_is_closed_alone(self) -> None:
        """The error is logged, and the other connections go on."""
        several = [self.connect() for _ in range(3)]

        def fail() -> None:
            raise ZeroDivisionError

        several[1][1].action = fail
        for client, _, _ in several:
            client.sendall(b"x")
        while not all(taker.came for _, taker, _ in several):
            self.turn()
        self.assertEqual([taker.lost for _, taker, _ in several], [[], [ZeroDivisionError], []])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_failing_connection_gets_its_earlier_responses(self) -> None:
        """It fails at its second request, when the response to the first one still waits for the end of the turn."""
        client, taker, connection = self.connect()

        def fail() -> None:
            self.sends.send(connection, b"response")
            raise ZeroDivisionError

        taker.action = fail
        client.sendall(b"xy")
        self.turn()
        self.assertEqual(taker.lost, [ZeroDivisionError])
        self.assertEqual(client.recv(100, socket.MSG_DONTWAIT), b"response")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_connection_that_fails_to_end_is_forgotten(self) -> None:
        """It is closed all the same, and all other connections are served, new ones too."""
        several = [self.connect() for _ in range(3)]

        def fail(_: object = None) -> None:
            raise ZeroDivisionError

        several[1][1].action = fail
        self.patch(several[1][1], "connectionLost", fail)
        for client, _, _ in several:
            client.sendall(b"x")
        while not all(taker.came for _, taker, _ in several):
            self.turn()
        several.append(self.connect())
        several[3][0].sendall(b"y")
        self.turn()
        self.assertEqual([taker.came for _, taker, _ in several], [b"x", b"x", b"x", b"y"])
        self.patch(several[0][1], "connectionLost", fail)
        self.readers.connectionLost(Failure(ConnectionLost()))
        self.assertEqual([taker.lost for _, taker, _ in several], [[], [], [ConnectionLost], [ConnectionLost]])
        self.assertEqual(self.reactor.getReaders(), [])
        client, taker, _ = self.connect()
        client.sendall(b"z")
        self.turn()
        self.assertEqual(taker.came, b"z")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)

    def test_all_connections_end_with_the_reactor(self) -> None:
        takers = [self.connect()[1] for _ in range(3)]
        self.readers.connectionLost(Failure(ConnectionLost()))
        self.assertEqual([taker.lost for taker in takers], [[ConnectionLost]] * 3)
        self.assertEqual(self.reactor.getReaders(), [])

    def test_all_else_is_the_reactors(self) -> None:
        _, _, connection = self.connect()
        connection.startWriting()
        self.assertEqual(self.reactor.getWriters(), [connection])
        called: list[int] = []
        connection.reactor.callLater(1, called.append, 1)
        self.reactor.advance(1)
        self.assertEqual(called, [1])


class SharedTests(ServedTest):
    """These tests have connections to a real port."""

    def waiting(self) -> tuple[int, int]:
        """
        Returns how many epoll sets the reactor reads from, and how many connections of the port it reads one by one.
        """
        found = reactor.getReaders()
        return sum(isinstance(each, Readers) for each in found), sum(isinstance(each, Server) for each in found)

    async def get(self, client: RawClient, path: bytes) -> None:
        client.data = b""
        client.send(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path)
        await client.when(lambda: b"\r\n\r\n" in client.data)
        self.assertTrue(client.data.startswith(b"HTTP/1.1 200 OK\r\n"))

    async def test_connections_of_a_port_share_one_reader(self) -> None:
        """Connections on which clients ask for pages share it too."""
        self.assertEqual(self.waiting(), (0, 0))
        clients = [await self.connect() for _ in range(3)]
        for path in (b"/v2/keys/", b"/version", b"/v2/keys/"):
            for client in clients:
                await self.get(client, path)
            self.assertEqual(self.waiting(), (1, 0))
        await self._stop()
        self.assertEqual(self.waiting(), (0, 0))
