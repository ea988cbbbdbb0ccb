"""
The connections of the simulated network below HTTP, and the ports that serve them.
"""

from typing import Any
from urllib.parse import urlsplit

from twisted.internet import error
from twisted.internet.interfaces import IHalfCloseableProtocol, IListeningPort, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, ServerFactory, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from etcd_twisted.config import Address
from etcd_twisted.testing import Weather
from etcd_twisted.testing.simulation.network import Network
from etcd_twisted.testing.simulation.schedule import LATENESS_SECONDS, Process, Schedule
from etcd_twisted.testing.simulation.streams import StreamEndpoint, Streams
from tests.testing.test_clients import ClusterTest


@implementer(IHalfCloseableProtocol)
class Plain(Protocol):
    """A protocol that writes down what happens."""

    def __init__(self) -> None:
        self.data = b""
        self.lost: Failure | None = None
        self.read_ended = False

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def readConnectionLost(self) -> None:
        self.read_ended = True

    def writeConnectionLost(self) -> None:
        """It knows."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason


class StreamTests(SynchronousTestCase):
    """L{Streams} without machines."""

    def setUp(self) -> None:
        self.schedule = Schedule(0)
        self.network = Network(self.schedule)
        self.streams = Streams(self.network, self.schedule)
        self.host = "server"
        self.process = Process(self.schedule, "server", 0.0, 1.0)
        self.client = Process(self.schedule, "client", 0.0, 1.0)
        self.servers: list[Plain] = []
        self.serving: Any = ServerFactory()
        self.serving.buildProtocol = self._build
        self.address = Address("127.0.0.1", 4001)
        self.streams.listen(self.address, self)
        self.endpoint = StreamEndpoint(self.streams, ("client", self.client), self.address)

    def _build(self, _: object) -> Plain:
        self.servers.append(Plain())
        return self.servers[-1]

    def factory(self, port: int) -> Any:
        self.assertEqual(port, 4001)
        return self.serving

    def _pass(self, seconds: float = 1.0) -> None:
        self.schedule.run_until(self.schedule.now + seconds)

    def connect(self) -> tuple[Plain, Plain]:
        connecting = self.endpoint.connect(Factory.forProtocol(Plain))
        self._pass()
        client = self.successResultOf(connecting)
        assert isinstance(client, Plain)
        return client, self.servers[-1]

    def test_endpoint_provides_its_interface(self) -> None:
        verifyObject(IStreamClientEndpoint, self.endpoint)

    def test_streams_go_in_both_directions(self) -> None:
        client, server = self.connect()
        client.transport.write(b"question")
        server.transport.write(b"answer")
        self._pass()
        self.assertEqual((client.data, server.data), (b"answer", b"question"))

    def test_end_that_sends_no_more_still_reads(self) -> None:
        """An end that sends no more still reads."""
        client, server = self.connect()
        client.transport.loseWriteConnection()
        self._pass()
        self.assertTrue(server.read_ended)
        server.transport.write(b"late")
        server.transport.loseConnection()
        self._pass()
        self.assertEqual(client.data, b"late")

    def test_not_before_it_is_sent(self) -> None:
        """Nothing arrives sooner than the network can carry it."""
        client, server = self.connect()
        self.network.weather = Weather(latency=1.0, spread=(1.0, 1.0))
        client.transport.write(b"x")
        self._pass(0.9)
        self.assertEqual(server.data, b"")
        self._pass(0.2)
        self.assertEqual(server.data, b"x")

    def test_bytes_never_overtake(self) -> None:
        """What is sent later never overtakes, whatever the weather."""
        client, server = self.connect()
        self.network.weather = Weather(late=0.5, loss=0.2)
        sent = b""
        for number in range(100):
            sent += b"%d " % number
            client.transport.write(b"%d " % number)
            self._pass(0.01)
        self._pass(20)
        self.assertEqual(server.data, sent)

    def test_a_process_ends(self) -> None:
        """The other end is reset, with all that was sent before."""
        client, server = self.connect()
        server.transport.write(b"last words")
        self._pass(LATENESS_SECONDS)
        self.process.end()
        self._pass()
        assert client.lost is not None
        self.assertTrue(client.lost.check(error.ConnectionLost))
        self.assertEqual((client.data, server.lost), (b"last words", None))

    def test_a_process_ends_behind_a_cut(self) -> None:
        """Nobody says so, until the other end sends something."""
        client, _ = self.connect()
        self.network.cut = {("client", "server"), ("server", "client")}
        self.process.end()
        self._pass()
        self.network.heal()
        self._pass(10)
        self.assertIsNone(client.lost)
        client.transport.write(b"?")
        self._pass()
        self.assertIsNotNone(client.lost)

    def test_connections_that_ended_are_forgotten(self) -> None:
        """A process that ends later has nothing to say to them."""
        client, server = self.connect()
        client.transport.loseConnection()
        self._pass()
        server.transport.loseConnection()
        self._pass()
        self.assertIsNotNone(server.lost)
        self.assertEqual(self.process.connections, {})
        self.assertEqual(self.schedule.pending(), [])

    def test_connection_to_a_closed_port_is_refused(self) -> None:
        """Where nothing listens any more, connections are refused."""
        self.serving = None
        connecting = self.endpoint.connect(Factory.forProtocol(Plain))
        self._pass()
        self.failureResultOf(connecting, error.ConnectionRefusedError)
        self.process.end()
        connecting = self.endpoint.connect(Factory.forProtocol(Plain))
        self._pass()
        self.failureResultOf(connecting, error.ConnectionRefusedError)

    def test_connection_that_times_out_finds_nobody_later(self) -> None:
        """Who connects waits for an answer for as long as it likes, and one that comes later finds nobody."""
        endpoint = StreamEndpoint(self.streams, ("client", self.client), self.address, 2.0)
        self.network.cut = {("server", "client")}
        connecting = endpoint.connect(Factory.forProtocol(Plain))
        self._pass(1.9)
        self.assertNoResult(connecting)
        self._pass(0.2)
        self.failureResultOf(connecting, error.TimeoutError)
        self.assertIsNone(self.servers[0].lost)
        self.network.heal()
        self._pass(2)
        self.assertIsNotNone(self.servers[0].lost)

    def test_cancelled_connection_leaves_nothing(self) -> None:
        connecting = self.endpoint.connect(Factory.forProtocol(Plain))
        connecting.cancel()
        self.failureResultOf(connecting, error.ConnectingCancelledError)
        self._pass()
        self.assertIsNotNone(self.servers[0].lost)
        self.assertEqual(self.schedule.pending(), [])

    def test_a_client_that_can_not_be_made(self) -> None:
        """The server's end is reset."""
        factory = Factory()
        factory.buildProtocol = lambda _: None  # type: ignore[method-assign,assignment]
        connecting = self.endpoint.connect(factory)
        self._pass()
        self.failureResultOf(connecting, error.NoProtocol)
        self.assertIsNotNone(self.servers[0].lost)


class PortTests(ClusterTest):
    """L{HttpPorts}"""

    def test_ports_provide_their_interfaces(self) -> None:
        """They are a reactor as far as ports need one, and what listens is a port."""
        leader = self.start(1)
        ports = self.cluster.streams.listener(leader.config.addr)
        verifyObject(IReactorTime, ports)
        url = urlsplit(leader.config.client_url)
        self.answer("GET", leader, "/health")
        port = ports._services[1]._ports[0]
        verifyObject(IListeningPort, port)
        self.assertEqual((port.getHost().host, port.getHost().port), (url.hostname, url.port))
        self.assertEqual([call for call in ports.getDelayedCalls() if not call.active()], [])
