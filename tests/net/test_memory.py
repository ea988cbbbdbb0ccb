"""
Tests of connections in memory, which behave as those over TCP do, except that there are no sockets.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet import error, reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import (
    ConnectingCancelledError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    NoProtocol,
)
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    IPushProducer,
    IStreamClientEndpoint,
    ITransport,
)
from twisted.internet.protocol import Factory, Protocol, ServerFactory, connectionDone
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from etcd_twisted.net.memory import MemoryEndpoint
from etcd_twisted.net.sockets import bytes_taken, has_gone, tcp_socket

MUCH = 4 << 20
"""More than a connection's buffers hold."""


class End(Protocol):
    """One end of a connection, which records what happens to it."""

    transport: Any

    def __init__(self) -> None:
        self.data = bytearray()
        self.lost: Failure | None = None
        self.seen: list[str] = []
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def connectionMade(self) -> None:
        self._note("made")

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        self._note("data")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason
        self._note("lost")

    def _note(self, event: str) -> None:
        if not self.seen or self.seen[-1] != event:
            self.seen.append(event)
        waiting, self._waiting = self._waiting, []
        for condition, waiter in waiting:
            if condition():
                waiter.callback(None)
            else:
                self._waiting.append((condition, waiter))

    async def when(self, condition: Callable[[], bool]) -> None:
        """Returns when a condition holds, which is checked whenever something happens to this end."""
        if not condition():
            waiter: Deferred[None] = Deferred()
            self._waiting.append((condition, waiter))
            await waiter

    async def when_lost(self) -> type[BaseException]:
        """Returns the reason for the loss of the connection."""
        await self.when(lambda: self.lost is not None)
        assert self.lost is not None
        assert self.lost.type is not None
        return self.lost.type


@implementer(IHalfCloseableProtocol)
class HalfCloseableEnd(End):
    """An end that goes on when one half of its connection is closed."""

    def readConnectionLost(self) -> None:
        self._note("read lost")

    def writeConnectionLost(self) -> None:
        self._note("write lost")


@implementer(IPushProducer)
class Producer:
    """Writes pieces until it is paused, and continues when it is resumed."""

    def __init__(self, end: End, pieces: int, piece: bytes = b"x" * 10_000) -> None:
        self.end = end
        self.left = pieces
        self.piece = piece
        self.paused = True
        self.pauses = 0
        self.stopped = False
        end.transport.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        self.paused = False
        while self.left and not self.paused and not self.stopped:
            self.left -= 1
            self.end.transport.write(self.piece)
        if not self.left:
            self.end.transport.unregisterProducer()

    def pauseProducing(self) -> None:
        self.paused = True
        self.pauses += 1

    def stopProducing(self) -> None:
        self.stopped = True


class PullProducer:
    """Writes a piece whenever it is resumed."""

    def __init__(self, end: End, pieces: int) -> None:
        self.end = end
        self.left = pieces

    def resumeProducing(self) -> None:
        if self.left:
            self.left -= 1
            self.end.transport.write(b"x" * 10_000)
        if not self.left:
            self.end.transport.unregisterProducer()

    def stopProducing(self) -> None:
        self.left = 0


class TcpTests(TestCase):
    """Tests of the behavior of TCP, which connections in memory share."""

    timeout = 30

    async def connect(self, client: type[End] = End, server: type[End] = End) -> tuple[End, End]:
        """Returns both ends of a new connection."""
        accepted: Deferred[End] = Deferred()
        factory = ServerFactory()

        def build(_address: object) -> End:
            end = server()
            end.factory = factory
            reactor.callLater(0, accepted.callback, end)
            return end

        factory.buildProtocol = build  # type: ignore[method-assign,assignment]
        endpoint = self.listen(factory)
        end = await endpoint.connect(Factory.forProtocol(client))
        return end, await accepted

    def listen(self, factory: ServerFactory) -> IStreamClientEndpoint:
        """Returns an endpoint that connects to a factory."""
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)

    async def test_bytes_go_in_both_directions(self) -> None:
        """What is written arrives whole and in order, and an orderly close closes both ends."""
        client, server = await self.connect()
        client.transport.write(b"one ")
        client.transport.writeSequence([b"two ", b"three"])
        server.transport.write(b"four")
        await server.when(lambda: server.data == b"one two three")
        await client.when(lambda: client.data == b"four")
        client.transport.loseConnection()
        self.assertEqual(await server.when_lost(), ConnectionDone)
        self.assertEqual(await client.when_lost(), ConnectionDone)
        self.assertEqual(client.seen, ["made", "data", "lost"])
        self.assertEqual(server.seen, ["made", "data", "lost"])

    async def test_each_end_has_the_other_as_its_peer(self) -> None:
        """Each end is the other's peer."""
        client, server = await self.connect()
        self.assertEqual(client.transport.getPeer(), server.transport.getHost())
        self.assertEqual(server.transport.getPeer(), client.transport.getHost())
        self.assertEqual({client.transport.getPeer().host, server.transport.getPeer().host}, {"127.0.0.1"})
        client.transport.loseConnection()
        await server.when_lost()

    async def test_all_is_sent_before_the_end(self) -> None:
        client, server = await self.connect()
        client.transport.write(b"x" * MUCH)
        client.transport.loseConnection()
        client.transport.write(b"y")
        self.assertEqual(await server.when_lost(), ConnectionDone)
        self.assertEqual(server.data, b"x" * MUCH + b"y")
        self.assertEqual(await client.when_lost(), ConnectionDone)

    async def test_nothing_is_read_after_closing(self) -> None:
        """The end that closes the connection reads nothing more."""
        client, server = await self.connect()
        server.transport.write(b"unread")
        client.transport.loseConnection()
        await client.when_lost()
        await server.when_lost()
        self.assertEqual(client.data, b"")

    async def test_abort_loses_what_is_buffered(self) -> None:
        """An abort loses what is buffered, and the other end sees that the close was not orderly."""
        client, server = await self.connect()
        server.transport.pauseProducing()
        client.transport.write(b"x" * MUCH)
        client.transport.abortConnection()
        client.transport.abortConnection()
        self.assertFalse(client.lost, "called while it was on the stack")
        self.assertEqual(await client.when_lost(), ConnectionAborted)
        server.transport.resumeProducing()
        self.assertEqual(await server.when_lost(), ConnectionLost)
        self.assertLess(len(server.data), MUCH)
        server.transport.write(b"late")
        server.transport.loseConnection()
        server.transport.abortConnection()
        self.assertEqual(server.seen.count("lost"), 1)

    async def test_both_ends_may_abort(self) -> None:
        client, server = await self.connect()
        client.transport.abortConnection()
        server.transport.abortConnection()
        await client.when_lost()
        await server.when_lost()

    async def test_both_ends_close(self) -> None:
        """Two ends that both close with much to send do not wait for each other."""
        client, server = await self.connect()
        for end in (client, server):
            end.transport.write(b"x" * 100)
            end.transport.loseConnection()
        await client.when_lost()
        await server.when_lost()

    async def test_end_that_sends_no_more_still_reads(self) -> None:
        """An end that has closed its writing half can still read if the other end goes on."""
        client, server = await self.connect(HalfCloseableEnd, HalfCloseableEnd)
        client.transport.write(b"question")
        client.transport.loseWriteConnection()
        await server.when(lambda: "read lost" in server.seen)
        self.assertEqual(server.data, b"question")
        client.transport.write(b"too late")
        server.transport.write(b"answer")
        await client.when(lambda: client.data == b"answer")
        server.transport.pauseProducing()
        server.transport.resumeProducing()
        server.transport.loseConnection()
        await client.when(lambda: "read lost" in client.seen)
        await server.when_lost()
        self.assertEqual(server.data, b"question")
        self.assertEqual(server.seen, ["made", "data", "read lost", "lost"])
        self.assertEqual(client.seen, ["made", "write lost", "data", "read lost"])
        client.transport.loseConnection()
        await client.when_lost()

    async def test_half_close_of_a_protocol_without_support(self) -> None:
        """A protocol without half-closed connections loses the whole connection, but what it has written arrives."""
        client, server = await self.connect(HalfCloseableEnd)
        server.transport.write(b"answer")
        client.transport.loseWriteConnection()
        self.assertEqual(await server.when_lost(), ConnectionDone)
        await client.when(lambda: "read lost" in client.seen)
        self.assertEqual(client.data, b"answer")
        client.transport.loseConnection()
        await client.when_lost()

    async def test_an_end_that_was_half_closed(self) -> None:
        """An end that sends no more is still told of the end, and who ends the connection does not wait in vain."""
        client, server = await self.connect()
        client.transport.loseWriteConnection()
        server.transport.write(b"answer")
        server.transport.loseConnection()
        self.assertEqual(await client.when_lost(), ConnectionDone)
        self.assertEqual(await server.when_lost(), ConnectionDone)
        self.assertEqual(client.data, b"answer")

    async def test_write_to_an_end_that_is_gone(self) -> None:
        """An end that goes on after the other one is gone notices that as soon as it writes."""
        client, server = await self.connect(HalfCloseableEnd)
        server.transport.loseConnection()
        await client.when(lambda: "read lost" in client.seen)
        await server.when_lost()
        client.transport.write(b"anybody there?")
        for _ in range(100):
            if client.lost is not None:
                break
            await deferLater(reactor, 0.01)
            client.transport.write(b"?")
        self.assertEqual(await client.when_lost(), ConnectionLost)

    async def test_paused_protocol_receives_nothing(self) -> None:
        """A protocol that is paused receives nothing until it is resumed, and then everything."""
        client, server = await self.connect()
        server.transport.pauseProducing()
        client.transport.write(b"x" * 1000)
        client.transport.loseConnection()
        for _ in range(10):
            await deferLater(reactor, 0)
        self.assertEqual(server.seen, ["made"])
        server.transport.resumeProducing()
        self.assertEqual(await server.when_lost(), ConnectionDone)
        self.assertEqual(len(server.data), 1000)
        await client.when_lost()

    async def test_pause_while_receiving(self) -> None:
        """A protocol may pause whenever it receives something."""

        class Slow(End):
            pieces = 0

            def dataReceived(self, data: bytes) -> None:
                self.transport.pauseProducing()
                self.pieces += 1
                reactor.callLater(0, self.transport.resumeProducing)
                super().dataReceived(data)

        client, server = await self.connect(End, Slow)
        data = bytes(range(256)) * 1000
        client.transport.write(data)
        client.transport.loseConnection()
        await server.when_lost()
        self.assertEqual(server.data, data)
        self.assertGreater(server.pieces, 1)  # type: ignore[attr-defined]
        await client.when_lost()

    async def test_a_producer_is_paused(self) -> None:
        """A producer waits for an end that does not read."""
        client, server = await self.connect()
        server.transport.pauseProducing()
        producer = Producer(client, 2000)
        for _ in range(50):
            await deferLater(reactor, 0)
        self.assertTrue(producer.paused)
        self.assertGreater(producer.left, 0)
        server.transport.resumeProducing()
        await server.when(lambda: len(server.data) == 2000 * 10_000)
        self.assertEqual(producer.left, 0)
        self.assertFalse(producer.stopped)
        client.transport.loseConnection()
        await server.when_lost()

    async def test_a_producer_is_stopped(self) -> None:
        """A producer is stopped when the connection is lost, and one that comes later at once."""
        client, server = await self.connect()
        server.transport.pauseProducing()
        producer = Producer(client, 2000)
        self.assertRaises(RuntimeError, client.transport.registerProducer, producer, True)
        server.transport.abortConnection()
        await client.when_lost()
        self.assertTrue(producer.stopped)
        producer.stopped = False
        client.transport.registerProducer(producer, True)
        self.assertTrue(producer.stopped)

    async def test_a_producer_ends_before_the_connection(self) -> None:
        """A connection that is being closed waits for a producer that is paused."""
        client, server = await self.connect()
        producer = Producer(client, 2000)
        self.assertTrue(producer.paused)
        client.transport.loseConnection()
        self.assertEqual(await server.when_lost(), ConnectionDone)
        self.assertEqual(len(server.data), 2000 * 10_000)
        await client.when_lost()

    async def test_a_pull_producer(self) -> None:
        client, server = await self.connect()
        client.transport.registerProducer(PullProducer(client, 50), False)
        client.transport.loseConnection()
        await server.when_lost()
        self.assertEqual(len(server.data), 500_000)
        await client.when_lost()

    async def test_a_protocol_that_fails(self) -> None:
        """A protocol that can't handle what comes loses its connection, and the fault is logged."""

        class Broken(End):
            def dataReceived(self, data: bytes) -> None:  # noqa: ARG002  # it can't handle any
                raise ZeroDivisionError

        client, server = await self.connect(End, Broken)
        client.transport.write(b"?")
        self.assertEqual(await server.when_lost(), ZeroDivisionError)
        await client.when_lost()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_server_factory_makes_no_protocol(self) -> None:
        """A factory that makes no protocol closes the connection as soon as it is open."""
        factory = ServerFactory()
        factory.buildProtocol = lambda _: None  # type: ignore[method-assign,assignment]
        client = await self.listen(factory).connect(Factory.forProtocol(End))
        assert isinstance(client, End)
        await client.when_lost()

    async def test_client_factory_makes_no_protocol(self) -> None:
        """A client's factory need not make a protocol either."""
        factory = Factory()
        factory.buildProtocol = lambda _: None  # type: ignore[method-assign,assignment]
        endpoint = self.listen(ServerFactory.forProtocol(End))
        with self.assertRaises(NoProtocol):
            await endpoint.connect(factory)
        await deferLater(reactor, 0.01)

    async def test_a_client_that_can_not_be_made(self) -> None:
        factory = Factory()
        factory.buildProtocol = lambda _: 1 // 0  # type: ignore[method-assign,assignment]
        endpoint = self.listen(ServerFactory.forProtocol(End))
        with self.assertRaises(ZeroDivisionError):
            await endpoint.connect(factory)
        await deferLater(reactor, 0.01)

    async def test_factories_start_and_stop(self) -> None:
        """A client's factory is started when it connects, and stopped when its last connection is lost."""
        calls: list[str] = []
        factory = Factory.forProtocol(End)
        factory.noisy = False
        factory.startFactory = lambda: calls.append("start")  # type: ignore[method-assign]
        factory.stopFactory = lambda: calls.append("stop")  # type: ignore[method-assign]
        client = await self.listen(ServerFactory.forProtocol(End)).connect(factory)
        assert isinstance(client, End)
        self.assertEqual(calls, ["start"])
        client.transport.loseConnection()
        await client.when_lost()
        await deferLater(reactor, 0)
        self.assertEqual(calls, ["start", "stop"])

    async def test_text_is_refused(self) -> None:
        """Text is refused, because only bytes can be written."""
        client, server = await self.connect()
        self.assertRaises(TypeError, client.transport.write, "text")
        client.transport.loseConnection()
        await server.when_lost()


class MemoryTests(TcpTests):
    """Tests of the same behavior in memory."""

    def listen(self, factory: ServerFactory) -> IStreamClientEndpoint:
        return MemoryEndpoint(reactor, lambda: factory, 4001, "It")

    async def test_ends_provide_their_interfaces(self) -> None:
        client, server = await self.connect()
        for interface in (ITransport, IConsumer, IPushProducer):
            verifyObject(interface, client.transport)
        verifyObject(IStreamClientEndpoint, self.listen(ServerFactory.forProtocol(End)))
        client.transport.loseConnection()
        await server.when_lost()

    async def test_connection_has_no_socket_but_its_state(self) -> None:
        """There is no socket, but how much the other end has read, and whether it is gone, is known all the same."""
        client, server = await self.connect()
        self.assertIsNone(tcp_socket(client.transport))
        server.transport.pauseProducing()
        client.transport.write(b"x" * 10)
        await deferLater(reactor, 0.01)
        self.assertEqual(bytes_taken(client.transport), 0)
        self.assertFalse(has_gone(server.transport))
        client.transport.loseConnection()
        await deferLater(reactor, 0.01)
        self.assertTrue(has_gone(server.transport))
        self.assertEqual(server.seen, ["made"])
        server.transport.resumeProducing()
        await client.when_lost()
        self.assertEqual(bytes_taken(client.transport), 10)


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
