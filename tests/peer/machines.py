"""
Machines on real sockets, each with a peer port, a transport and a fake replica.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from etcd_twisted.config import Config
from etcd_twisted.config.addresses import Address
from etcd_twisted.net.tls import tls_for_peers
from etcd_twisted.peer.client import PeerClient
from etcd_twisted.peer.frontend import PeerFrontend
from etcd_twisted.peer.transport import AmpTransport
from etcd_twisted.testing.raft_peer import FIRST, SECOND, FakeRaftPeer, PeerReplica
from etcd_twisted.web.admin_site import admin_site
from tests.wires import RawClient


class MachineOnSockets:
    """A machine on real sockets."""

    def __init__(self, machine_id: str, name: str, **settings: Any) -> None:
        """@param settings: a certificate and what belongs to it, as in the configuration; none for no TLS."""
        self.raft = FakeRaftPeer(machine_id)
        self.replica = PeerReplica(reactor, self.raft)
        tls = tls_for_peers(Config(**settings))
        self.transport = AmpTransport(reactor, self.raft, tls, lambda: name)
        self.client = PeerClient(reactor, tls)
        self._settings = settings
        self._port = 0
        self._service: Any = None

    async def start(self) -> None:
        """Opens the port, which is always the same."""
        config = Config(peer_bind_addr=Address("127.0.0.1", self._port), http_read_timeout=1.0, **self._settings)
        self._service = PeerFrontend(self.transport.connected, admin_site).service(reactor, config, {}, self.replica)
        await self._service.startService()
        self._port = self._service.getHost().port

    @property
    def address(self) -> Address:
        return Address("127.0.0.1", self._port)

    @property
    def url(self) -> str:
        return self.address.url("https" if self._settings else "http")

    async def close_port(self) -> None:
        """Closes the port."""
        if self._service is not None:
            service, self._service = self._service, None
            await service.stopService()

    async def stop(self) -> None:
        """Closes everything."""
        await self.close_port()
        await self.transport.stop()
        self.replica.stop()


class MachinesTest(TestCase):
    """A test case with two machines."""

    timeout = 240

    async def setUp(self) -> None:
        self.first = await self.machine(FIRST, "machine1")
        self.second = await self.machine(SECOND, "machine2")

    async def machine(self, machine_id: str, name: str, **settings: Any) -> MachineOnSockets:
        """Starts a machine."""
        machine = MachineOnSockets(machine_id, name, **settings)
        self.addCleanup(machine.stop)
        await machine.start()
        return machine

    def connect(self) -> None:
        """Connects the first machine to the second."""
        self.first.transport.connect({SECOND: self.second.url})

    async def when_it_comes(self, payload: bytes) -> None:
        """Sends from the first machine to the second, over and over, until the payload arrives."""
        come = self.second.raft.when(lambda: (FIRST, payload) in self.second.raft.payloads)
        while not come.called:
            self.first.transport.send(SECOND, payload)
            await _soon()

    async def raw(self, machine: MachineOnSockets) -> RawClient:
        """Returns a stranger's connection."""
        address = machine.address
        client = await connectProtocol(TCP4ClientEndpoint(reactor, address.host, address.port), RawClient())
        self.addCleanup(self._hang_up, client)
        return client

    async def _hang_up(self, client: RawClient) -> None:
        client.transport.abortConnection()
        await client.when_closed()


def _soon() -> "Deferred[None]":
    soon: Deferred[None] = Deferred()
    reactor.callLater(0.005, soon.callback, None)
    return soon


class _Half(Protocol):
    """One end of a connection through a L{Relay}."""

    def __init__(self, relay: "Relay") -> None:
        self.other: _Half | None = None
        self.early = b""
        self._relay = relay

    def dataReceived(self, data: bytes) -> None:
        if self.other is None:
            self.early += data
        else:
            self.other.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        self._relay.forget(self)
        if self.other is not None and self.other.transport is not None:
            self.other.transport.abortConnection()


class Relay:
    """
    Relays connections between two machines, and can be made to swallow everything.

    @ivar connections: how many were made through it.
    """

    def __init__(self, address: Address) -> None:
        self.connections = 0
        self._address = address
        self._halves: list[_Half] = []
        self._port: Any = None
        self._gone: list[tuple[Callable[[], bool], Deferred[None]]] = []

    async def start(self) -> str:
        """Listens, and returns the URL to connect to."""
        factory = Factory()
        factory.noisy = False
        factory.buildProtocol = self._accept
        self._port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        return Address("127.0.0.1", self._port.getHost().port).url()

    def _accept(self, _: object) -> _Half:
        self.connections += 1
        near, far = _Half(self), _Half(self)
        self._halves += [near, far]
        connected = connectProtocol(TCP4ClientEndpoint(reactor, self._address.host, self._address.port), far)
        connected.addCallbacks(lambda _: self._join(near, far), lambda _: self._refuse(near, far))
        return near

    def _join(self, near: _Half, far: _Half) -> None:
        near.other, far.other = far, near
        far.transport.write(near.early)

    def _refuse(self, near: _Half, far: _Half) -> None:
        self.forget(far)
        near.transport.abortConnection()

    def stop_reading(self) -> None:
        """Stops reading from both sides, without closing."""
        for half in self._halves:
            half.transport.pauseProducing()

    def cut(self) -> None:
        """Ends all connections."""
        for half in self._halves:
            if half.transport is not None:
                half.transport.abortConnection()

    def forget(self, half: _Half) -> None:
        if half in self._halves:
            self._halves.remove(half)
        for entry in list(self._gone):
            condition, met = entry
            if condition():
                self._gone.remove(entry)
                met.callback(None)

    async def stop(self) -> None:
        """Closes everything."""
        await self._port.stopListening()
        self.cut()
        gone: Deferred[None] = Deferred()
        if self._halves:
            self._gone.append((lambda: not self._halves, gone))
            await gone
