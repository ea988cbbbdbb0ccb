"""
One machine in memory, for programs that make requests: a replica behind the machine's real HTTP ports.

Nothing happens but in L{MemoryMachine.advance} and its relatives. This module must never open a socket.
"""

import random
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import attrs
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint
from twisted.web.client import URI, Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer

from etcd_twisted.client import Client, Timeouts
from etcd_twisted.client.body import BytesBody
from etcd_twisted.config import Config
from etcd_twisted.net.memory import MemoryEndpoint
from etcd_twisted.testing.memory_ports import MemoryPorts
from etcd_twisted.testing.replica import FakeReplica
from etcd_twisted.testing.simulated_time import SimulatedTime

STEP_SECONDS = 0.05
"""How far the clock is moved at once. What is due in between happens in its order even so."""


@attrs.frozen
class _LateClock:
    """A clock by which nothing happens at once, so that bytes that are sent take their time."""

    clock: Any
    latency_seconds: float

    def callLater(self, delay: float, call: Callable[..., object], *args: object, **kwargs: object) -> IDelayedCall:
        """See L{IReactorTime}."""
        later: IDelayedCall = self.clock.callLater(max(delay, self.latency_seconds), call, *args, **kwargs)
        return later

    def seconds(self) -> float:
        """See L{IReactorTime}."""
        seconds: float = self.clock.seconds()
        return seconds


@implementer(IAgent)
class _NotingAgent:
    """Notes each request that it passes on."""

    def __init__(self, agent: IAgent, requests: list[tuple[str, str]]) -> None:
        self._agent = agent
        self._requests = requests

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> "Deferred[IResponse]":
        """See L{IAgent}."""
        parsed = URI.fromBytes(uri)
        self._requests.append((method.decode(), parsed.originForm.decode()))
        return self._agent.request(method, uri, headers, bodyProducer)


@implementer(IAgentEndpointFactory)
class MemoryMachine(SimulatedTime):
    """
    A machine that is the whole cluster, and keeps its keys in a L{FakeReplica}. Clients have its real client port and
    peer port, over connections in memory. It is a context manager: its end closes its clients::

        with MemoryMachine() as machine:
            event = machine.result_of(machine.client().set("/color", "blue"))

    @ivar replica: the machine's copy of the keys. The test changes keys there, as other clients do, and decides what
        becomes of the machine.
    @ivar clock: the clock that everything goes by; also for the code under test.
    @ivar url: where the machine serves clients.
    @ivar reachable: whether clients can connect.
    @ivar requests: the method and the path, with its query, of each request that was made, in order.
    @ivar after_step: called after each small step of time.
    """

    def __init__(
        self, replica: FakeReplica | None = None, latency_seconds: float = 0.0, config: Config | None = None
    ) -> None:
        """
        @param replica: the replica to serve; a new one unless it is given. Its clock has to be a
            L{twisted.internet.task.Clock}.
        @param latency_seconds: how long what is sent takes.
        @param config: what the machine's ports go by, such as the longest request that they take.
        """
        self.replica = FakeReplica() if replica is None else replica
        self.clock = self.replica.clock
        self.reachable = True
        self.requests: list[tuple[str, str]] = []
        self.after_step: Callable[[], object] = lambda: None
        self._config = Config() if config is None else config
        self.url = self._config.client_url
        self._chance = random.Random(0)  # the same in each run
        self._line = _LateClock(self.clock, latency_seconds)
        self._ports = MemoryPorts(self.clock, self._config, self.replica)
        self._pools: list[HTTPConnectionPool] = []
        self._clients: list[Client] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the clients, and stop the machine."""
        for client in self._clients:
            client.close()
        self.stop()

    # Clients

    def agent(self) -> IAgent:
        """Returns an agent for the code under test, which makes requests to this machine and takes its clock."""
        pool = HTTPConnectionPool(self.clock)
        pool.retryAutomatically = False
        self._pools.append(pool)
        return _NotingAgent(Agent.usingEndpointFactory(self.clock, self, pool), self.requests)

    def http(self) -> HTTPClient:
        """Returns a treq client for code under test that uses treq itself."""
        return HTTPClient(self.agent(), data_to_body_producer=BytesBody)

    def client(
        self,
        timeouts: Timeouts = Timeouts(),  # noqa: B008  # it is frozen
        credentials: tuple[str, str] | None = None,
    ) -> Client:
        """
        Returns a client of this machine, which the end of the machine closes.

        @param timeouts: how long its requests may take.
        @param credentials: a user's name and password.
        """
        client = Client(
            self.url,
            reactor=self.clock,
            agent=self.agent(),
            credentials=credentials,
            timeouts=timeouts,
            refresh_seconds=None,
            chance=self._chance.random,
        )
        self._clients.append(client)
        return client

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """See L{IAgentEndpointFactory}."""
        line: Any = self._line
        return MemoryEndpoint(
            line, lambda: self._ports.factory(uri.port) if self.reachable else None, uri.port, "The machine"
        )

    # What the test has happen

    def cut(self) -> None:
        """Break all connections, and refuse others until L{heal} is called."""
        self.reachable = False
        self._ports.abort_connections()
        self.advance(0)

    def heal(self) -> None:
        """Let clients connect again."""
        self.reachable = True

    def replace(self, replica: FakeReplica | None = None) -> None:
        """
        Have another machine at the same address.

        @param replica: the other machine's replica, on the same clock; a new one with no keys unless it is given.
        """
        self.stop()
        self.replica = FakeReplica(self.clock) if replica is None else replica
        self._ports = MemoryPorts(self.clock, self._config, self.replica)
        self.heal()

    def stop(self) -> None:
        """Stop the machine, and close idle connections. What is on the clock after that is the clients'."""
        self.cut()
        for pool in self._pools:
            pool.closeCachedConnections()
        self.result_of(ensureDeferred(self._ports.close()), 1.0)
        self.replica.stop()

    # Time

    def describe(self) -> str:
        """See L{SimulatedTime}."""
        return f"the clock shows {self.clock.seconds():.3f} seconds, after {len(self.requests)} requests"

    def _run(self, seconds: float, met: Callable[[], bool]) -> bool:
        until = self.clock.seconds() + seconds
        self.clock.advance(0)
        while not met() and self.clock.seconds() < until:
            self.clock.advance(min(STEP_SECONDS, until - self.clock.seconds()))
            self.after_step()
        return met()
