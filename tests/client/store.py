"""
A machine for clients on a simulated clock: a key space behind the real HTTP port, reached in memory.

Nothing happens but in L{Store.advance}. This module must never wait for real time.
"""

from collections.abc import Callable
from typing import TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import URI, Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer

from etcd_twisted.client import Client
from etcd_twisted.keyspace.nodes import Directory, File
from etcd_twisted.net.memory import MemoryEndpoint
from etcd_twisted.testing.replica import FakeReplica
from tests.wires import Wire

_T = TypeVar("_T")

STEP_SECONDS = 0.05
"""How far the clock is moved at once; whatever is due in between happens in its order even so."""


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
        self._requests.append((method.decode(), uri.decode().partition("/v2/keys")[2]))
        return self._agent.request(method, uri, headers, bodyProducer)


@attrs.frozen
class _LateClock:
    """A clock by which nothing happens at once, so that bytes that are sent take their time."""

    clock: Clock
    latency_seconds: float

    def callLater(self, delay: float, call: Callable[..., object], *args: object, **kwargs: object) -> IDelayedCall:
        """See L{IReactorTime}."""
        return self.clock.callLater(max(delay, self.latency_seconds), call, *args, **kwargs)

    def seconds(self) -> float:
        """See L{IReactorTime}."""
        return self.clock.seconds()


@implementer(IAgentEndpointFactory)
class Store:
    """
    A machine that leads by itself, and clients of it.

    @ivar clock: the clock that everything goes by.
    @ivar replica: the machine's copy of the keys.
    @ivar reachable: whether clients can connect.
    @ivar after_step: called after each small step of time.
    @ivar requests: the method and the key, with its query, of each request that a client has made.
    """

    def __init__(
        self,
        test: SynchronousTestCase,
        history_capacity: int = 1_000,
        replica: FakeReplica | None = None,
        latency_seconds: float = 0.0,
    ) -> None:
        """
        @param replica: the replica of another store that this one is another way to.
        """
        if replica is None:
            clock = Clock()
            clock.advance(1_000)
            replica = FakeReplica(clock, history_capacity)
        self.clock = replica.clock
        self.replica = replica
        self.reachable = True
        self.requests: list[tuple[str, str]] = []
        self.after_step: Callable[[], object] = lambda: None
        self._pools: list[HTTPConnectionPool] = []
        self._test = test
        self._history_capacity = history_capacity
        self._line = _LateClock(self.clock, latency_seconds)
        self._wire = Wire(self.replica, most_body=100_000)

    def client(self) -> Client:
        """Returns a client, which the test closes at its end; then nothing may be left on the clock by clients."""
        pool = HTTPConnectionPool(self.clock)
        pool.retryAutomatically = False
        self._pools.append(pool)
        agent = Agent.usingEndpointFactory(self.clock, self, pool)
        noting = _NotingAgent(agent, self.requests)
        client = Client("http://127.0.0.1:4001", reactor=self.clock, agent=noting, refresh_seconds=None)
        self._test.addCleanup(client.close)
        return client

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:  # noqa: ARG002
        """See L{IAgentEndpointFactory}."""
        return MemoryEndpoint(self._line, lambda: self._wire.site if self.reachable else None, 4001, "The machine")

    def cut(self) -> None:
        """Break all connections, and refuse others until L{heal}."""
        self.reachable = False
        for channel in list(self._wire.site.channels):
            channel.transport.abortConnection()
        self.advance(0)

    def heal(self) -> None:
        """Let clients connect again."""
        self.reachable = True

    def replace(self) -> None:
        """Have another machine at the same address, with nothing in it."""
        self.stop()
        self.replica = FakeReplica(self.clock, self._history_capacity)
        self._wire = Wire(self.replica, most_body=100_000)
        self.heal()

    def stop(self) -> None:
        """Stop the machine, and close idle connections. What is on the clock after that is the clients'."""
        self.cut()
        for pool in self._pools:
            pool.closeCachedConnections()
        self._wire.site.stop(0)
        self.replica.stop()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        until = self.clock.seconds() + seconds
        self.clock.advance(0)
        while self.clock.seconds() < until:
            self.clock.advance(min(STEP_SECONDS, until - self.clock.seconds()))
            self.after_step()

    def result_of(self, deferred: "Deferred[_T]") -> _T:
        """Returns the result of what needs no time."""
        self.advance(0)
        return self._test.successResultOf(deferred)

    def node(self, key: str) -> Directory | File | None:
        """Returns what is at a key, without a client."""
        node: Directory | File | None = self.replica.keyspace.root
        for name in key.strip("/").split("/"):
            node = node.children.get(name) if isinstance(node, Directory) else None
        return node

    def names(self, directory: str) -> list[str]:
        """Returns the names of what is in a directory, without a client."""
        node = self.node(directory)
        return sorted(node.children, key=lambda name: (len(name), name)) if isinstance(node, Directory) else []
