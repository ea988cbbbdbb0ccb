"""
The HTTP ports of a machine in memory: those of the program, without sockets.

They are opened when the first client comes, so that a test without clients does without them. This module must never
let a port take another clock than the one that it is given.
"""

from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IProtocolFactory, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from etcd_twisted.config import Config
from etcd_twisted.errors import RequestDroppedError
from etcd_twisted.httpd.site import Site
from etcd_twisted.interfaces import IReactor, IReplica
from etcd_twisted.net.listening import ListenAddress
from etcd_twisted.net.port import PortService


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
class MemoryPorts:
    """The client port and the peer port of a machine, and the reactor of both, as far as they use one."""

    def __init__(self, clock: IReactorTime, config: Config, replica: IReplica) -> None:
        self._clock = clock
        self._config = config
        self._replica = replica
        self._ports: dict[int, IProtocolFactory] = {}
        self._services: list[PortService] = []
        self._closed = False
        replica.answer_questions(self._answer_question)

    # The reactor of the ports

    def seconds(self) -> float:
        """See L{IReactorTime}."""
        return self._clock.seconds()

    def callLater(self, delay: float, callable: Any, *args: Any, **kwargs: Any) -> IDelayedCall:  # noqa: A002
        """See L{IReactorTime}."""
        return self._clock.callLater(delay, callable, *args, **kwargs)

    def getDelayedCalls(self) -> list[IDelayedCall]:
        """See L{IReactorTime}."""
        return list(self._clock.getDelayedCalls())

    def listenTCP(self, port: int, factory: IProtocolFactory, **_where: object) -> _Port:
        """See L{twisted.internet.interfaces.IReactorTCP}."""
        self._ports[port] = factory
        listening = _Port(self._ports, port)
        listening.startListening()
        return listening

    # What serves

    def factory(self, port: int) -> IProtocolFactory | None:
        """Returns what makes the connections of a port, or C{None} if nothing listens there."""
        if not self._services and not self._closed:
            self._open()
        return self._ports.get(port)

    def _open(self) -> None:
        # Klein imports Twisted's global reactor, which whoever imports the testing kit may not have chosen yet.
        from etcd_twisted.web.admin_site import admin_site  # noqa: PLC0415
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

    def _answer_question(self, question: bytes, user: str) -> "Deferred[bytes]":
        """Answer the first question of another machine: what serves is made, and answers that one and all others."""
        if self._closed:
            return fail(RequestDroppedError("this machine is stopping"))
        self._open()
        answer = self._replica.peer.answer_question
        assert answer is not None
        return answer(question, user)

    def abort_connections(self) -> None:
        """Break all connections."""
        for site in self._ports.values():
            for channel in list(cast(Site, site).channels):
                channel.abort()

    async def close(self) -> None:
        """Close the ports and their connections, as L{etcd_twisted.service.EtcdService} does."""
        self._closed = True
        for service in reversed(self._services):
            await maybeDeferred(service.stopService)
