"""
L{etcd_twisted_dns.server}: messages over UDP and TCP.
"""

import errno
import random
import struct
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.names import dns
from twisted.test.proto_helpers import FakeDatagramTransport, StringTransport
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.logs import RateLimitedLog
from etcd_twisted_dns import server as module
from etcd_twisted_dns.authority import Authority
from etcd_twisted_dns.records import Record
from etcd_twisted_dns.server import IDLE_TIMEOUT_SECONDS, Connection, Connections, Datagrams, Server
from etcd_twisted_dns.zone import Zone

CLIENT = ("192.0.2.99", 5353)


class Transport(StringTransport):
    """A connection that records whether it is read from, and whether it was closed."""

    aborted = False
    paused = False
    producer: Any = None

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if streaming:
            self.producer = producer

    def pauseProducing(self) -> None:
        self.paused = True

    def abortConnection(self) -> None:
        self.aborted = True


class ServerTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.zone: Zone | None = Zone("example.com")
        self.zone.put("www.example.com", [self.address(1)])
        self.zone.put("many.example.com", [self.address(number) for number in range(200)])
        self.server = Server(self.authority)

    def address(self, number: int) -> Record:
        return Record(dns.A, dns.Record_A(f"192.0.2.{number}"), f"/{number}")

    def authority(self) -> Authority | None:
        return None if self.zone is None else Authority(self.zone, 60, lambda _key: None)

    def message(self, name: str = "www.example.com", **fields: Any) -> bytes:
        message = dns.Message(id=7, recDes=1, **fields)
        message.addQuery(name, dns.A)
        return message.toStr()

    def parsed(self, data: bytes) -> dns.Message:
        message = dns.Message()
        message.fromStr(data)
        self.assertEqual((message.id, message.answer), (7, 1))
        return message


class DatagramTests(ServerTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.protocol = Datagrams(self.server, RateLimitedLog(self.clock))
        self.transport = FakeDatagramTransport()
        self.protocol.makeConnection(self.transport)

    def send(self, data: bytes) -> list[bytes]:
        """Sends a message, and returns the answer."""
        self.protocol.datagramReceived(data, CLIENT)
        written, self.transport.written = self.transport.written, []
        self.assertTrue(all(address == CLIENT for _, address in written))
        return [packet for packet, _ in written]

    def logged(self) -> list[str]:
        """Returns a list of every line of the log from here on."""
        lines: list[str] = []

        def observer(event: LogEvent) -> None:
            lines.append(formatEvent(event))

        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        return lines

    def ask(self, data: bytes) -> dns.Message:
        (packet,) = self.send(data)
        self.assertLessEqual(len(packet), 512)
        return self.parsed(packet)

    def test_an_answer(self) -> None:
        """The answer has the question, and the flags that resolvers rely on: authoritative, no recursion."""
        reply = self.ask(self.message())
        self.assertEqual((reply.rCode, reply.auth, reply.recDes, reply.recAv, reply.trunc), (dns.OK, 1, 1, 0, 0))
        self.assertEqual([str(query.name) for query in reply.queries], ["www.example.com"])
        self.assertEqual([header.payload for header in reply.answers], [dns.Record_A("192.0.2.1", ttl=60)])

    def test_an_answer_too_long_for_a_datagram(self) -> None:
        """Only a flag that there is more is sent."""
        reply = self.ask(self.message("many.example.com"))
        self.assertEqual((reply.trunc, reply.rCode, reply.auth, reply.answers), (1, dns.OK, 1, []))

    def test_no_zone_is_a_server_failure(self) -> None:
        """The machine is a standby, or does not serve yet. The resolver asks another server."""
        self.zone = None
        reply = self.ask(self.message())
        self.assertEqual((reply.rCode, reply.auth, reply.answers), (dns.ESERVER, 0, []))

    def test_no_query(self) -> None:
        self.assertEqual(self.ask(self.message(opCode=dns.OP_NOTIFY)).rCode, dns.ENOTIMP)
        self.assertEqual(self.ask(dns.Message(id=7).toStr()).rCode, dns.EFORMAT)
        self.assertEqual(self.send(self.message(answer=1)), [])

    def test_an_answer_that_can_not_be_sent(self) -> None:
        """The sender's address is invalid, or the network is down: the log has a line, though not for each answer."""
        lines = self.logged()

        def refuse(*_: object) -> None:
            raise OSError(errno.EINVAL, "Invalid argument")

        self.patch(self.transport, "write", refuse)
        for _ in range(100):
            self.protocol.datagramReceived(self.message(), ("192.0.2.99", 0))
        self.assertEqual(lines[0], "192.0.2.99 port 0 can't be answered: Invalid argument")
        self.assertLess(len(lines), 50)

    def test_garbage(self) -> None:
        """Whatever is sent, no error is raised or logged, and at most one answer is sent."""
        lines = self.logged()
        chosen = random.Random(1)
        beginning = self.message()
        for _ in range(2_000):
            data = bytearray(beginning) if chosen.random() < 0.7 else bytearray(chosen.randbytes(chosen.randrange(80)))
            for _ in range(chosen.randrange(6)):
                if data:
                    data[chosen.randrange(len(data))] = chosen.randrange(256)
            self.assertLessEqual(len(self.send(bytes(data[: chosen.randrange(len(data) + 1)]))), 1)
        self.assertEqual(lines, [])


class ConnectionTests(ServerTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.port = Connections(self.server, self.clock)

    def connect(self) -> Connection:
        connection = self.port.buildProtocol(IPv4Address("TCP", *CLIENT))
        self.assertIsNotNone(connection)
        connection.makeConnection(Transport())
        self.addCleanup(connection.setTimeout, None)
        return connection

    def test_questions_one_after_another(self) -> None:
        """The bytes may come in any pieces, and the answers may have any length."""
        connection = self.connect()
        for asked in (self.message(), self.message("many.example.com")):
            for byte in struct.pack("!H", len(asked)) + asked:
                connection.dataReceived(bytes([byte]))
        data = connection.transport.value()
        counts = []
        while data:
            (length,) = struct.unpack("!H", data[:2])
            reply, data = self.parsed(data[2 : 2 + length]), data[2 + length :]
            counts.append((len(reply.answers), reply.trunc))
        self.assertEqual(counts, [(1, 0), (200, 0)])

    def test_a_message_that_is_not_a_question_closes_the_connection(self) -> None:
        """It is an answer, or garbage, so the client has nothing useful to ask."""
        for data in (self.message(answer=1), b"garbage", b""):
            connection = self.connect()
            connection.dataReceived(struct.pack("!H", len(data)) + data)
            self.assertTrue(connection.transport.aborted)
            self.assertEqual(connection.transport.value(), b"")

    def test_a_connection_without_questions_is_closed(self) -> None:
        """Time counts from the last question."""
        connection = self.connect()
        self.clock.advance(IDLE_TIMEOUT_SECONDS - 1)
        connection.stringReceived(self.message())
        self.clock.advance(IDLE_TIMEOUT_SECONDS - 1)
        self.assertFalse(connection.transport.aborted)
        self.clock.advance(1)
        self.assertTrue(connection.transport.aborted)

    def test_answers_that_nobody_reads(self) -> None:
        """The transport stops reading when too many bytes wait to be sent."""
        transport = self.connect().transport
        transport.producer.pauseProducing()
        self.assertTrue(transport.paused)

    def test_too_many_connections(self) -> None:
        self.patch(module, "MOST_CONNECTIONS", 2)
        first, _ = self.connect(), self.connect()
        self.assertIsNone(self.port.buildProtocol(IPv4Address("TCP", *CLIENT)))
        first.connectionLost()
        self.connect()

    def test_close_ends_all_connections(self) -> None:
        connections = [self.connect(), self.connect()]
        self.port.close()
        self.assertTrue(all(each.transport.aborted for each in connections))
        for each in connections:
            each.connectionLost()
        self.assertEqual((self.port.connections, self.clock.getDelayedCalls()), ({}, []))
