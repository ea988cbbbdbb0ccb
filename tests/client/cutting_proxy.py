"""
A proxy that breaks connections at random: after a number of bytes, wherever in an answer that is.

This module must never change, drop or reorder what it passes on before it breaks a connection.
"""

import random
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConnector, IListeningPort, IReactorTCP, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.protocols.portforward import ProxyClient, ProxyClientFactory, ProxyFactory, ProxyServer
from twisted.python.failure import Failure

BYTES = 100, 4_000
"""How many bytes of answers a connection brings before it is broken, at the least and at the most."""


class _FromClient(ProxyServer):
    factory: "CuttingProxy"
    transport: ITCPTransport

    def connectionMade(self) -> None:
        self.transport.pauseProducing()  # until there is a connection to the machine
        self.factory.connected.add(self)
        self._left_bytes = self.factory.chance.randint(*BYTES)
        factory = _ToMachineFactory()
        factory.setServer(self)
        self._connector: IConnector = cast(IReactorTCP, reactor).connectTCP(
            self.factory.host, self.factory.port, factory
        )

    def pass_on(self, data: bytes) -> None:
        """Pass on what the machine has sent, up to where the connection breaks."""
        self.transport.write(data[: self._left_bytes])
        self._left_bytes -= min(len(data), self._left_bytes)
        if self._left_bytes:
            return
        self.factory.cuts += 1
        if self.factory.chance.random() < 0.5:
            self.transport.abortConnection()  # what was just written may be lost
        else:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        self._connector.disconnect()
        self.factory.forget(self)


class _ToMachine(ProxyClient):
    def dataReceived(self, data: bytes) -> None:
        cast(_FromClient, self.peer).pass_on(data)


class _ToMachineFactory(ProxyClientFactory):
    protocol = _ToMachine
    noisy = False


class CuttingProxy(ProxyFactory):
    """
    A proxy in front of one port.

    @ivar chance: decides when connections break.
    @ivar connected: the connections of clients.
    @ivar cuts: how many connections it has broken.
    """

    protocol = _FromClient
    noisy = False

    def __init__(self, port: int, seed: int) -> None:
        """
        @param port: the port on 127.0.0.1 that it stands in front of.
        """
        super().__init__("127.0.0.1", port)
        self.chance = random.Random(seed)
        self.connected: set[_FromClient] = set()
        self.cuts = 0
        self._closed: Deferred[None] | None = None
        self._listening: IListeningPort = cast(IReactorTCP, reactor).listenTCP(0, self, interface="127.0.0.1")

    @property
    def url(self) -> str:
        """The URL to use in place of the machine's."""
        address: Any = self._listening.getHost()
        return f"http://127.0.0.1:{address.port}"

    def forget(self, connection: _FromClient) -> None:
        """Take note that a client's connection has ended."""
        self.connected.remove(connection)
        if self._closed is not None and not self.connected:
            self._closed.callback(None)

    async def close(self) -> None:
        """Listen no more, and break all connections."""
        closed: Deferred[None] = Deferred()
        await cast("Deferred[None]", self._listening.stopListening() or succeed(None))
        if self.connected:
            self._closed = closed
            for connection in list(self.connected):
                connection.transport.abortConnection()
            await closed
