"""
Tests of connections in memory, which behave as those over TCP do, except that there are no sockets.
"""

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import (
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    NoProtocol,
)
from twisted.internet.interfaces import (
    IConsumer,
    IPushProducer,
    IStreamClientEndpoint,
    ITransport,
)
from twisted.internet.protocol import Factory, ServerFactory
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from etcd_twisted.net.memory import MemoryEndpoint
from etcd_twisted.net.sockets import bytes_taken, has_gone, tcp_socket
from tests.net.ends import MUCH, End, HalfCloseableEnd, Producer, PullProducer


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
