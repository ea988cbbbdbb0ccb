"""
Connections over the simulated network: what they carry arrives whole, once and in order, as TCP has it.

In bad weather, and while a way is cut, it arrives later: it is sent again and again. When a process ends, its
connections are reset, unless the way is cut: then the other end finds out when it sends something. A paused process
does nothing, so nobody who connects to it gets an answer.

This module must never carry anything for a process that has ended.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from twisted.internet import error
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.web.client import URI, Agent, HTTPConnectionPool
from twisted.web.error import SchemeNotSupported
from twisted.web.iweb import IAgent, IAgentEndpointFactory
from zope.interface import implementer

from etcd_twisted.config.addresses import Address
from etcd_twisted.net.memory import MemoryTransport, begin_client, client_ports, serve
from etcd_twisted.testing.simulation.network import Network
from etcd_twisted.testing.simulation.schedule import Process, Schedule

RETRANSMISSION_SECONDS = 0.2
"""After how long something that was lost is sent again. The time doubles whenever that is lost too."""

MOST_RETRANSMISSION_SECONDS = 1.0

CONNECT_TIMEOUT_SECONDS = 30.0
"""How long a client waits for an answer when it connects, unless it says otherwise."""

_NOBODY = "nobody"
"""The host of all addresses where no machine ever was."""


class Listener(Protocol):
    """
    What listens on one address or several.

    @ivar process: the process that listens.
    @ivar host: the name that ways to it are cut by.
    """

    process: Process
    host: str

    def factory(self, port: int) -> IProtocolFactory | None:
        """Returns what makes the protocols of a port, or C{None} if the process does not listen there."""


class Streams:
    """The connections over one network."""

    def __init__(self, network: Network, schedule: Schedule) -> None:
        self.network = network
        self.schedule = schedule
        self.client_ports = client_ports()
        self._listeners: dict[Address, Listener] = {}

    def listen(self, address: Address, listener: Listener) -> None:
        """Have connections to an address come to C{listener}, as long as its process lives."""
        self._listeners[address] = listener

    def listener(self, address: Address) -> Listener | None:
        """Returns what listens at an address, or has listened there before it ended."""
        return self._listeners.get(address)

    def clear(self) -> None:
        """Forget all that listen."""
        self._listeners.clear()

    def delay(self) -> float:
        """Returns how many seconds it takes until something that is sent now arrives, if the way is open."""
        network, random = self.network, self.schedule.random
        delay, pause = network.delay(), RETRANSMISSION_SECONDS
        while random.random() < network.weather.loss:
            delay += pause
            pause = _next_pause(pause)
        return delay


def _next_pause(pause: float) -> float:
    return min(2 * pause, MOST_RETRANSMISSION_SECONDS)


class _Way:
    """
    One direction of a connection.

    @ivar sender: the process that sends, or C{None} while only the system of its host has.
    @ivar receiver: likewise.
    @ivar unreachable: called when something comes and there is no process to take it: what its system does then.
    """

    def __init__(self, streams: Streams, sender: str, receiver: str) -> None:
        """
        @param sender: the name of the host that sends.
        @param receiver: the name of the other host.
        """
        self.sender: Process | None = None
        self.receiver: Process | None = None
        self.unreachable: Callable[[], object] = lambda: None
        self._streams = streams
        self._names = sender, receiver
        self._queue: deque[tuple[float, Callable[..., object], tuple[object, ...]]] = deque()
        self._last_due = 0.0
        self._pause = RETRANSMISSION_SECONDS

    def carry(self, call: Callable[..., object], *args: object) -> None:
        """Call something at the other end, after all that was sent before. See L{etcd_twisted.net.memory.Carry}."""
        schedule = self._streams.schedule
        self._last_due = max(self._last_due, schedule.now + self._streams.delay())
        self._queue.append((self._last_due, call, args))
        if len(self._queue) == 1:
            schedule.at(self._last_due, None, "carried", self._arrive)

    def _arrive(self) -> None:
        """Deliver what has come by now."""
        schedule, queue, receiver = self._streams.schedule, self._queue, self.receiver
        while queue and queue[0][0] <= schedule.now:
            if self._names in self._streams.network.cut:
                self._send_again()
                return
            self._pause = RETRANSMISSION_SECONDS
            _, call, args = queue.popleft()
            if receiver is not None and receiver.alive:
                schedule.after(0, receiver, "carried", call, *args)
            else:
                self.unreachable()
        if queue:
            schedule.at(queue[0][0], None, "carried", self._arrive)

    def _send_again(self) -> None:
        """Wait until the way may be open again. Nobody sends anything again for a process that has ended."""
        if self.sender is not None and not self.sender.alive:
            self._queue.clear()
            return
        self._streams.schedule.after(self._pause, None, "carried", self._arrive)
        self._pause = _next_pause(self._pause)


class _Connecting:
    """A connection that a client makes."""

    def __init__(
        self,
        streams: Streams,
        client: tuple[str, Process],
        address: Address,
        factory: IProtocolFactory,
        timeout_seconds: float,
    ) -> None:
        host, self._client = client
        listener = streams.listener(address)
        there = _NOBODY if listener is None else listener.host
        self.connected: Deferred[IProtocol] = Deferred(self._cancel)
        self._streams = streams
        self._factory = factory
        self._address = address
        self._there = IPv4Address("TCP", address.host, address.port)
        self._here = IPv4Address("TCP", "127.0.0.1", next(streams.client_ports))
        self._out, self._back = _Way(streams, host, there), _Way(streams, there, host)
        self._out.sender = self._back.receiver = self._client
        self._out.unreachable = self._come
        self._timeout = self._client.clock.callLater(timeout_seconds, self._fail, error.TimeoutError())
        self._out.carry(self._come)

    def _cancel(self, _: object) -> None:
        self._fail(error.ConnectingCancelledError(self._there))

    def _fail(self, problem: Exception) -> None:
        if self._timeout.active():
            self._timeout.cancel()
        self.connected.errback(problem)

    # At the server

    def _come(self) -> None:
        """The system of the server's host has the client's first packet: it is for the process that listens now."""
        listener = self._streams.listener(self._address)
        if listener is None or not listener.process.alive:
            self._refuse()
            return
        self._out.receiver = self._back.sender = process = listener.process
        process.connections[self] = self._refuse
        process.after(0, "carried", self._accept, listener)

    def _refuse(self) -> None:
        self._back.carry(self._refused)

    def _accept(self, listener: Listener) -> None:
        process, out, back = listener.process, self._out, self._back
        del process.connections[self]
        factory = listener.factory(self._address.port)
        if factory is None:
            self._refuse()
            return
        server = MemoryTransport(process.clock, self._there, self._here, back.carry)
        client = MemoryTransport(self._client.clock, self._here, self._there, out.carry)
        client.join(server)
        out.unreachable = process.connections[server] = lambda: back.carry(client.reset)
        server.when_lost = lambda: process.connections.pop(server, None)
        back.carry(self._established, client, server)
        serve(server, factory)

    # At the client

    def _refused(self) -> None:
        if not self.connected.called:
            self._fail(error.ConnectionRefusedError(f"nothing listens at {self._there.host}:{self._there.port}"))

    def _established(self, client: MemoryTransport, server: MemoryTransport) -> None:
        if self.connected.called:
            self._out.carry(server.reset)  # the client has given up
            return
        self._timeout.cancel()
        if not begin_client(client, self._factory, self.connected):
            self._out.carry(server.reset)


@implementer(IStreamClientEndpoint)
class StreamEndpoint:
    """How one process connects to an address."""

    def __init__(
        self,
        streams: Streams,
        client: tuple[str, Process],
        address: Address,
        timeout_seconds: float = CONNECT_TIMEOUT_SECONDS,
    ) -> None:
        """
        @param client: the name of the host that connects, by which ways are cut, and the process.
        """
        self._streams = streams
        self._client = client
        self._address = address
        self._timeout_seconds = timeout_seconds

    def connect(self, protocolFactory: IProtocolFactory) -> "Deferred[IProtocol]":
        """See L{IStreamClientEndpoint}."""
        return _Connecting(
            self._streams, self._client, self._address, protocolFactory, self._timeout_seconds
        ).connected


@implementer(IAgentEndpointFactory)
class _Endpoints:
    def __init__(self, streams: Streams, client: tuple[str, Process]) -> None:
        self._streams = streams
        self._client = client

    def endpointForURI(self, uri: URI) -> StreamEndpoint:
        """See L{IAgentEndpointFactory}."""
        if uri.scheme != b"http":
            raise SchemeNotSupported(f"the simulated network has no {uri.scheme.decode()}")
        return StreamEndpoint(self._streams, self._client, Address(uri.host.decode(), uri.port))


def agent_of(streams: Streams, host: str, process: Process) -> IAgent:
    """
    Returns an agent that makes requests over a simulated network.

    @param host: the name that ways are cut by.
    @param process: makes the requests, and has their clock.
    """
    pool = HTTPConnectionPool(process.clock)
    pool.retryAutomatically = False
    agent: IAgent = Agent.usingEndpointFactory(process.clock, _Endpoints(streams, (host, process)), pool)
    return agent
