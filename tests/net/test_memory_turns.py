"""
Tests of connections in memory, turn by turn of a fake clock.
"""

from twisted.internet import error
from twisted.internet.error import (
    ConnectingCancelledError,
    ConnectionLost,
)
from twisted.internet.protocol import Factory, ServerFactory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.net.memory import MemoryEndpoint
from tests.net.ends import End, Producer


class TurnTests(SynchronousTestCase):
    """Tests of the turns of the reactor in which things happen."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.servers: list[End] = []
        self.factory: ServerFactory | None = ServerFactory()
        self.factory.buildProtocol = self._build  # type: ignore[method-assign,assignment]
        self.endpoint = MemoryEndpoint(self.clock, lambda: self.factory, 4001, "The port")

    def _build(self, _address: object) -> End:
        self.servers.append(End())
        return self.servers[-1]

    def connect(self) -> tuple[End, End]:
        connecting = self.endpoint.connect(Factory.forProtocol(End))
        self.assertNoResult(connecting)
        self.clock.advance(0)
        return self.successResultOf(connecting), self.servers[-1]

    def pass_turns(self, count: int = 10) -> None:
        for _ in range(count):
            self.clock.advance(0)

    def test_delivery_has_a_turn_of_its_own(self) -> None:
        """Nothing is delivered while its sender is on the stack."""
        client, server = self.connect()
        client.transport.write(b"x")
        self.assertEqual(server.data, b"")
        self.clock.advance(0)
        self.assertEqual(server.data, b"x")
        server.transport.loseConnection()
        self.assertIsNone(client.lost)
        self.clock.advance(0)
        self.assertIsNotNone(client.lost)

    def test_large_writes_take_several_turns(self) -> None:
        """A turn delivers only a part of what was written."""
        client, server = self.connect()
        client.transport.write(b"x" * 1_000_000)
        seen: list[int] = []
        self.clock.callLater(0, lambda: seen.append(len(server.data)))
        self.clock.advance(0)
        self.assertEqual((seen, len(server.data)), ([65536], 1_000_000))

    def test_the_buffer_of_a_producer(self) -> None:
        """A producer is paused as soon as more is buffered than the limit, and resumed when all of it is read."""
        client, server = self.connect()
        server.transport.pauseProducing()
        producer = Producer(client, 20)
        self.assertEqual((producer.left, producer.paused), (13, True))
        self.pass_turns()
        self.assertEqual((producer.left, server.data), (13, b""))
        server.transport.resumeProducing()
        self.pass_turns()
        self.assertEqual((producer.left, len(server.data)), (0, 200_000))

    def test_a_producer_that_fails(self) -> None:
        """A failing producer loses its own connection, and affects no other."""

        class Broken(Producer):
            def resumeProducing(self) -> None:
                if self.pauses:
                    raise ZeroDivisionError
                super().resumeProducing()

        client, server = self.connect()
        Broken(client, 20)
        self.pass_turns()
        assert client.lost is not None
        assert server.lost is not None
        self.assertIs(client.lost.type, ZeroDivisionError)
        self.assertIs(server.lost.type, ConnectionLost)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_nothing_is_left_on_the_clock(self) -> None:
        """The clock has nothing left to do for connections that are quiet or lost, however they were lost."""
        for end in ("loseConnection", "abortConnection", "loseWriteConnection"):
            for who in range(2):
                ends = self.connect()
                ends[0].transport.write(b"x" * 100_000)
                ends[1].transport.write(b"y" * 100_000)
                self.pass_turns()
                self.assertEqual(self.clock.getDelayedCalls(), [])
                getattr(ends[who].transport, end)()
                self.pass_turns(1)
                self.assertEqual(self.clock.getDelayedCalls(), [], end)
                self.assertTrue(ends[0].lost and ends[1].lost, end)

    def test_connection_is_refused(self) -> None:
        """If nothing listens, the connection is refused, and the error says what does not run."""
        self.factory = None
        connecting = self.endpoint.connect(Factory.forProtocol(End))
        self.clock.advance(0)
        refused = self.failureResultOf(connecting, error.ConnectionRefusedError)
        self.assertIn("The port is not running", refused.getErrorMessage())

    def test_connection_attempt_is_cancelled(self) -> None:
        connecting = self.endpoint.connect(Factory.forProtocol(End))
        connecting.cancel()
        self.failureResultOf(connecting, ConnectingCancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_server_that_can_not_be_made(self) -> None:
        """The fault is logged, and the client's connection ends."""
        assert self.factory is not None
        self.factory.buildProtocol = lambda _: 1 // 0  # type: ignore[method-assign,assignment]
        connecting = self.endpoint.connect(Factory.forProtocol(End))
        self.pass_turns()
        client = self.successResultOf(connecting)
        assert isinstance(client, End)
        self.assertIsNotNone(client.lost)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
