"""
The HTTP ports of a simulated process: those of the program, on the simulated network.

They are opened when the first client comes, so that a simulation without clients does without them. This module must
never let a port take another clock than its process's.
"""

from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IProtocolFactory, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from etcd_twisted.config import Config
from etcd_twisted.interfaces import IReactor, IReplica
from etcd_twisted.net.listening import ListenAddress
from etcd_twisted.net.port import PortService
from etcd_twisted.testing.simulation.schedule import Call, Process
from etcd_twisted.testing.simulation.streams import Streams


@implementer(IListeningPort)
class _Port:
    """A port that is open."""

    def __init__(self, ports: dict[int, IProtocolFactory], number: int) -> None:
        self._ports = ports
        self._number = number

    def startListening(self) -> None:
        """See L{IListeningPort}."""
        self._ports[self._number].doStart()

    def stopListening(self) -> "Deferred[None]":
        """See L{IListeningPort}."""
        self._ports.pop(self._number).doStop()
        return succeed(None)

    def getHost(self) -> IPv4Address:
        """See L{IListeningPort}."""
        return IPv4Address("TCP", "127.0.0.1", self._number)


@implementer(IReactorTime)
class HttpPorts:
    """
    The client port and the peer port of a process, and the reactor of both, as far as they use one.

    @ivar process: the process.
    @ivar host: the name of its machine.
    """

    def __init__(self, streams: Streams, process: Process, config: Config, replica: IReplica) -> None:
        self.process = process
        self.host = process.name
        self._config = config
        self._replica = replica
        self._ports: dict[int, IProtocolFactory] = {}
        self._services: list[PortService] = []
        self._closed = False
        for address in (config.addr, config.peer_addr):
            streams.listen(address, self)

    # The reactor of the ports

    def seconds(self) -> float:
        """See L{IReactorTime}."""
        return self.process.clock.seconds()

    def callLater(self, delay: float, callable: Call, *args: Any, **kwargs: Any) -> IDelayedCall:  # noqa: A002
        """See L{IReactorTime}."""
        return self.process.clock.callLater(delay, callable, *args, **kwargs)

    def getDelayedCalls(self) -> list[IDelayedCall]:
        """See L{IReactorTime}."""
        return self.process.clock.getDelayedCalls()

    def listenTCP(self, port: int, factory: IProtocolFactory, **_where: object) -> _Port:
        """See L{twisted.internet.interfaces.IReactorTCP}."""
        self._ports[port] = factory
        listening = _Port(self._ports, port)
        listening.startListening()
        return listening

    # What serves

    def factory(self, port: int) -> IProtocolFactory | None:
        """See L{etcd_twisted.testing.simulation.streams.Listener}."""
        if not self._services and not self._closed:
            self._open()
        return self._ports.get(port)

    def _open(self) -> None:
        # Klein imports Twisted's global reactor, which whoever imports the testing kit may not have chosen yet.
        from etcd_twisted.web.admin import admin_site  # noqa: PLC0415
        from etcd_twisted.web.frontend import HttpFrontend  # noqa: PLC0415

        reactor, config, replica = cast(IReactor, self), self._config, self._replica
        peer_address = ListenAddress(config.peer_bind_addr, config.given_as("peer-bind-addr"), "--peer-bind-addr")
        self._services = [
            PortService(reactor, peer_address, admin_site(reactor, config, replica)),
            HttpFrontend().service(reactor, config, {}, replica),
        ]
        failures: list[Failure] = []
        for service in self._services:
            service.startService().addErrback(failures.append)
        if failures:
            failures[0].raiseException()

    async def close(self) -> None:
        """Close the ports and their connections, as L{etcd_twisted.service.EtcdService} does."""
        self._closed = True
        for service in reversed(self._services):
            await maybeDeferred(service.stopService)
