"""
A network in memory: it carries what machines of a cluster say to each other, unless a way is cut.

One connection from each machine to each other one, as L{ITransport} has it; whether the other end takes it is asked
when it is made. Who knows no way to a machine answers it over the connection that this one has made. Everything takes
a millisecond.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from twisted.internet.defer import Deferred, TimeoutError, ensureDeferred, fail, succeed  # noqa: A004  # Twisted's
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from etcd_twisted.interfaces import IRaftPeer, ISnapshotFile, ITransport
from etcd_twisted.interfaces.cluster import Admission, ClusterView, JoinReply, JoinRequest, StatusReport
from etcd_twisted.peer.client import UnreachableError

LATENCY = 0.001
SILENCE = 5.0
"""Seconds after which a connection is lost over which no answer comes."""

RECONNECT = 0.02
REFUSED_PAUSE = 0.5


class LostError(Exception):
    """A connection was lost, or there is none."""


class Host(Protocol):
    """What the network knows of a machine."""

    clock: IReactorTime

    @property
    def url(self) -> str:
        """Where it is reached."""

    @property
    def peer(self) -> IRaftPeer:
        """The machine's side."""


class Network:
    """
    @ivar hosts: those that run, by peer URL.
    @ivar cut: the ways on which nothing comes through: the URLs of who sends and who should get it.
    @ivar carried: how many payloads have arrived.
    @ivar piece: how many bytes of a snapshot go at a time.
    @ivar on_piece: called when a piece of a snapshot is about to be sent, with its offset.
    @ivar on_the_way: what becomes of a piece on its way.
    @ivar older: the URLs of machines that can't be asked how they are.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.hosts: dict[str, Host] = {}
        self.cut: set[tuple[str, str]] = set()
        self.older: set[str] = set()
        self.carried = 0
        self.piece = 1_000
        self.on_piece: Callable[[int], object] = lambda _offset: None
        self.on_the_way: Callable[[bytes], bytes] = lambda data: data
        self.transports: list[MemoryTransport] = []

    def is_open(self, sender: str, receiver: str) -> bool:
        """Whether what one sends comes to the other."""
        return (sender, receiver) not in self.cut and {sender, receiver} <= self.hosts.keys()

    def runs(self, host: Host, process: IReactorTime) -> bool:
        """Whether a process of a machine is there still."""
        return self.hosts.get(host.url) is host and host.clock is process

    def isolate(self, url: str) -> None:
        """Cut a machine off from all others."""
        for other in self.hosts:
            if other != url:
                self.cut |= {(url, other), (other, url)}
        self.break_connections(url)

    def heal(self) -> None:
        """Nothing is cut any more."""
        self.cut.clear()

    def break_connections(self, url: str) -> None:
        """Lose the connections of a machine, from both ends."""
        for transport in self.transports:
            transport.lose(url)

    def visitor(self, url: str, machine_id: str) -> "_Connection | None":
        """The connection that a machine has made to the one at a URL."""
        for transport in self.transports:
            if transport.host.peer.machine_id == machine_id:
                return transport.connection_to(url)
        return None


class _Connection:
    """From one machine to another."""

    def __init__(self, transport: "MemoryTransport", machine_id: str, url: str) -> None:
        self.machine_id = machine_id
        self.url = url
        self.is_open = False
        self._transport = transport
        self._network = transport.network
        self._waiting: IDelayedCall | None = None
        self._asking: set[Deferred[Any]] = set()
        self._closed = False
        self._try_in(LATENCY)

    def _try_in(self, seconds: float) -> None:
        if not self._closed and self._waiting is None:
            self._waiting = self._transport.host.clock.callLater(seconds, self._try)

    def _reaches(self) -> bool:
        network, own = self._network, self._transport.url
        return network.is_open(own, self.url) and network.is_open(self.url, own)

    def _try(self) -> None:
        self._waiting = None
        if not self._reaches():
            self._try_in(RECONNECT)
            return
        other, own = self._network.hosts[self.url].peer, self._transport.host.peer
        if (other.machine_id, other.cluster_id) != (self.machine_id, own.cluster_id):
            self._try_in(RECONNECT)
            return
        match other.admission(own.machine_id, own.configuration_index):
            case Admission.MEMBER:
                self.is_open = True
            case Admission.UNCONFIRMED:
                self._try_in(RECONNECT)
            case Admission.STRANGER:
                self._try_in(REFUSED_PAUSE)
                own.excluded()

    def lose(self) -> None:
        """It is lost, and what was asked with it."""
        self.is_open = False
        asking, self._asking = self._asking, set()
        for each in asking:
            each.errback(LostError(f"the connection to {self.url} is lost"))
        self._try_in(RECONNECT)

    def close(self) -> None:
        """It is not wanted any more."""
        self._closed = True
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        self.lose()

    def send(self, payload: bytes) -> bool:
        """Send, or lose."""
        own = self._transport.host.peer
        if self.is_open and self.url in self._network.hosts:
            self._carry(self._transport.url, self._network.hosts[self.url], own.machine_id, payload)
            return True
        if self.is_open:
            self.lose()
        own.unreachable(self.machine_id)
        return False

    def send_back(self, payload: bytes) -> bool:
        """Send from the other end to this one, or lose."""
        if self.is_open:
            self._carry(self.url, self._transport.host, self.machine_id, payload)
        return self.is_open

    def _carry(self, origin: str, host: Host, sender: str, payload: bytes) -> None:
        self._network.clock.callLater(LATENCY, self._arrive, origin, host, host.clock, sender, payload)

    def _arrive(self, origin: str, host: Host, process: IReactorTime, sender: str, payload: bytes) -> None:
        if (origin, host.url) in self._network.cut or not self._network.runs(host, process):
            return
        self._network.carried += 1
        try:
            host.peer.received(sender, payload)
        except ValueError:
            self.lose()

    def ask(self, question: Callable[[IRaftPeer], "Deferred[Any]"]) -> "Deferred[Any]":
        """Ask, and wait for the answer."""
        if not self.is_open or not self._reaches():
            return fail(LostError(f"there is no connection to {self.url}"))
        answer: Deferred[Any] = Deferred(self._asking.discard)
        self._asking.add(answer)
        host = self._network.hosts[self.url]

        def answered(result: Any) -> None:
            if answer in self._asking and self._reaches():
                self._asking.discard(answer)
                answer.callback(result)

        process = host.clock

        def arrive() -> None:
            if self._network.runs(host, process):
                question(host.peer).addBoth(answered)

        self._network.clock.callLater(LATENCY, arrive)
        return answer


@implementer(ITransport)
class MemoryTransport:
    """
    One machine's.

    @ivar connected: the peer URL of each machine that it was told of, by id.
    """

    def __init__(self, network: Network, host: Host) -> None:
        self.network = network
        self.host = host
        self.url = host.url
        self.connected: dict[str, str] = {}
        self._connections: dict[str, _Connection] = {}
        network.transports.append(self)

    def connect(self, peers: Mapping[str, str]) -> None:
        """See L{ITransport}."""
        self.connected = dict(peers)
        for machine_id, connection in list(self._connections.items()):
            if peers.get(machine_id) != connection.url:
                del self._connections[machine_id]
                connection.close()
        for machine_id, url in peers.items():
            if machine_id not in self._connections:
                self._connections[machine_id] = _Connection(self, machine_id, url)

    def lose(self, url: str) -> None:
        """Lose the connections to or from a machine."""
        for connection in list(self._connections.values()):
            if url in (self.url, connection.url):
                connection.lose()

    def forget(self) -> None:
        """The process has ended."""
        self.network.transports.remove(self)

    def connection_to(self, url: str) -> _Connection | None:
        """The connection to the machine at a URL."""
        return next((each for each in self._connections.values() if each.url == url), None)

    def send(self, machine_id: str, payload: bytes) -> bool:
        """See L{ITransport}."""
        connection = self._connections.get(machine_id)
        if connection is None or not connection.is_open:
            visitor = self.network.visitor(self.url, machine_id)
            if visitor is not None and visitor.send_back(payload):
                return True
        return connection is not None and connection.send(payload)

    send_ahead = send  # nothing waits here

    def send_snapshot(self, machine_id: str, file: ISnapshotFile) -> "Deferred[None]":
        """See L{ITransport}."""
        return ensureDeferred(self._send_snapshot(machine_id, file))

    def ask_status(self, machine_id: str) -> "Deferred[StatusReport | None]":
        """See L{ITransport}."""
        connection = self._connections.get(machine_id)
        if connection is None or not connection.is_open:
            visitor = self.network.visitor(self.url, machine_id)
            if visitor is not None and visitor.is_open:
                return succeed(None)
            return fail(ConnectionError("there is no connection"))
        if connection.url in self.network.older:
            return succeed(None)
        answer = connection.ask(lambda peer: succeed(peer.status()))
        answer.addTimeout(SILENCE, self.host.clock)
        return answer.addErrback(_not_answered)

    async def _send_snapshot(self, machine_id: str, file: ISnapshotFile) -> None:
        try:
            connection = self._connections.get(machine_id)
            if connection is None:
                raise LostError(f"there is no connection to {machine_id}")
            sender = self.host.peer.machine_id
            offset = await connection.ask(
                lambda peer: peer.snapshot_offered(sender, file.metadata, file.head, file.size)
            )
            while offset < file.size:
                self.network.on_piece(offset)
                offset += await self._send_piece(connection, sender, file, offset)
        finally:
            file.close()

    async def _send_piece(self, connection: _Connection, sender: str, file: ISnapshotFile, offset: int) -> int:
        data = await file.read(offset, self.network.piece)
        arriving = self.network.on_the_way(data)
        await connection.ask(lambda peer: peer.snapshot_piece(sender, offset, arriving))
        return len(data)


def _not_answered(failure: Failure) -> None:
    failure.trap(LostError, TimeoutError)
    raise ConnectionError(failure.getErrorMessage())


class MemoryPeers:
    """
    How a machine asks others, see L{etcd_twisted.cluster.joining.JoinClient}.

    @ivar asked: the URLs that were asked, in order.
    """

    def __init__(self, network: Network, host: Host) -> None:
        self.asked: list[str] = []
        self._network = network
        self._host = host
        self._url = host.url

    async def describe(self, peer_url: str) -> ClusterView:
        """See L{etcd_twisted.cluster.joining.JoinClient}."""
        peer = await self._reach(peer_url)
        return peer.describe()

    async def explain(self, peer_url: str, error: UnreachableError) -> str:
        """See L{etcd_twisted.cluster.joining.JoinClient}."""
        return f"{error} ({peer_url} may be switched off)"

    async def join(self, peer_url: str, request: JoinRequest) -> JoinReply:
        """See L{etcd_twisted.cluster.joining.JoinClient}."""
        peer = await self._reach(peer_url)
        return await peer.join(request)

    async def _reach(self, peer_url: str) -> IRaftPeer:
        self.asked.append(peer_url)
        arrived: Deferred[None] = Deferred()
        self._host.clock.callLater(LATENCY, arrived.callback, None)
        await arrived
        if not (self._network.is_open(self._url, peer_url) and self._network.is_open(peer_url, self._url)):
            raise UnreachableError(f"{peer_url} does not answer")
        return self._network.hosts[peer_url].peer

