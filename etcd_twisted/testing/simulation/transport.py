"""
What a machine sends over the simulated network: messages and snapshots to members, and questions to anybody.

This module must never give a message to a process that has ended.
"""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, fail, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from etcd_twisted.errors import CannotForwardError, RequestDroppedError
from etcd_twisted.interfaces import IRaftPeer, ISnapshotFile, ITransport
from etcd_twisted.interfaces.cluster import Admission, ClusterView, JoinReply, JoinRequest, StatusReport
from etcd_twisted.peer.client import UnreachableError
from etcd_twisted.testing.simulation.network import Host, LostError, Network
from etcd_twisted.testing.simulation.schedule import Process


class _Connection:
    """
    A connection from one machine to another.

    @ivar is_open: whether it can carry messages.
    @ivar machine_id: the id of the machine at the other end.
    """

    def __init__(self, transport: "SimulatedTransport", machine_id: str, host: Host) -> None:
        self.is_open = False
        self.machine_id = machine_id
        self._transport = transport
        self._network = transport.network
        self._process = transport.process
        self._host = host
        self._known_host = self._named_host = host
        self._closed = False
        self._incarnation: Process | None = None
        # These are in the order in which they were asked: that of a set would change from run to run.
        self._asking: dict[Deferred[Any], None] = {}
        self._forwarded: dict[_Forwarded, None] = {}
        self._try_later(0.01)

    def _try_later(self, most: float) -> None:
        if not self._closed:
            delay = self._process.schedule.random.uniform(0, most)
            self._process.after(delay, "connecting", self._try)

    def _try(self) -> None:
        if self.is_open or self._closed:
            return
        host, own = self._host, self._transport.peer
        self._host = self._named_host if host is self._known_host else self._known_host  # unless it connects now
        if not (host.answers and host.peer is not None and self._network.is_open(self._process.name, host.name)):
            self._try_later(self._network.reconnect_seconds)
            return
        if host.peer.machine_id != self.machine_id or host.peer.cluster_id != own.cluster_id:
            self._try_later(self._network.reconnect_seconds)
            return
        match host.peer.admission(own.machine_id, own.configuration_index):
            case Admission.MEMBER:
                self.is_open = True
                self._host = host
                self._incarnation = host.process
                host.visitors[own.machine_id] = self
                host.on_visit(own.machine_id, self._transport.host)
            case Admission.UNCONFIRMED:
                self._try_later(self._network.reconnect_seconds)
            case Admission.STRANGER:
                self._try_later(self._network.refused_seconds)
                own.excluded()

    def visited_from(self, host: Host) -> None:
        """Note where the machine at the other end is, as it has connected from there."""
        self._named_host = host
        if not self.is_open:
            self._host = host

    def lost(self) -> None:
        """Lose the connection, and make another one soon."""
        if self.is_open:
            self.is_open = False
            self._fail_questions()
            self._try_later(self._network.reconnect_seconds)
            self._transport.peer.unreachable(self.machine_id)

    def close(self) -> None:
        """Close the connection, and make no other one."""
        self._closed = True
        self.is_open = False
        self._fail_questions()

    def _fail_questions(self) -> None:
        forwarded, self._forwarded = self._forwarded, {}
        for request in forwarded:
            request.lost(self._network.prompt)
        if self._network.prompt:
            asking, self._asking = self._asking, {}
            for each in asking:
                each.errback(LostError(f"the connection to {self.name} is lost"))

    @property
    def name(self) -> str:
        """The name of the host at the other end."""
        return self._host.name

    def check(self) -> bool:
        """Returns whether the connection is open, as far as this end can know."""
        if self.is_open and (self._host.process is not self._incarnation or not self._host.up):
            self.lost()
        return self.is_open

    def send(self, payload: bytes) -> bool:
        """Send a message. Returns whether there is a connection."""
        if not self.check():
            return False
        blocked = (self._process.name, self._host.name) in self._network.cut
        if blocked and self._process.schedule.random.random() < 0.02:
            self._process.after(0, "lost", self.lost)
        own_id = self._transport.peer.machine_id
        self._network.carry(self._process.name, self._host, "message", self._arrived, own_id, payload)
        return True

    def send_back(self, payload: bytes) -> bool:
        """Send a message from the other end to this one. Returns whether there is a connection."""
        if not self.check() or not self._process.alive:
            return False
        back = Host(self._process.name, self._process)
        self._network.carry(self._host.name, back, "message", self._came_back, payload)
        return True

    def _came_back(self, payload: bytes) -> None:
        self._network.carried += 1
        _receive(self._transport.peer, self.machine_id, payload)

    def _arrived(self, sender: str, payload: bytes) -> None:
        """Take a message at the other end."""
        peer = self._host.peer
        if peer is None or self._host.process is not self._incarnation:
            return
        self._network.carried += 1
        if not _receive(peer, sender, payload):
            self._process.after(self._network.delay(), "lost", self.lost)

    def ask(self, ask: Callable[[IRaftPeer], "Deferred[Any]"]) -> "Deferred[Any]":
        """Ask the other end a question."""
        if not self.check():
            return fail(LostError("there is no connection"))
        answer = self._network.ask(self._process, self._host, ask)
        if self._network.prompt and not answer.called:
            self._asking[answer] = None
            answer.addBoth(self._answered, answer)
        return answer

    def forward(self, request: bytes) -> "Deferred[bytes]":
        """
        Send a request, which arrives once or not at all, and in no other process than the connection leads to. Its
        answer may take any time.
        """
        forwarded = _Forwarded(self._network, self._process, self._host, self._transport.peer.machine_id, request)
        self._forwarded[forwarded] = None
        forwarded.answer.addBoth(self._has_answer, forwarded)
        forwarded.send(self._incarnation)
        return forwarded.answer

    def _has_answer(self, result: "bytes | Failure", forwarded: "_Forwarded") -> "bytes | Failure":
        self._forwarded.pop(forwarded, None)
        return result

    def _answered(self, result: Any, answer: "Deferred[Any]") -> Any:
        self._asking.pop(answer, None)
        return result


class _Forwarded:
    """
    A request that one machine forwards to another.

    @ivar answer: fires with the answer.
    """

    def __init__(self, network: Network, process: Process, host: Host, sender: str, request: bytes) -> None:
        self.answer: Deferred[bytes] = Deferred(self._withdraw)
        self._network = network
        self._process = process
        self._host = host
        self._sender = sender
        self._request = request
        self._running: Deferred[bytes] | None = None

    def send(self, incarnation: Process | None) -> None:
        """
        Send it.

        @param incarnation: the process that may take it.
        """
        self._network.carry(self._process.name, self._host, "forwarded", self._arrived, incarnation)
        self._wait()

    def _wait(self) -> None:
        self._process.after(self._network.answer_seconds, "lost", self._check)

    def _check(self) -> None:
        """Look whether the answer may still come."""
        if not self.answer.called:
            if self._running is not None and not self._running.called and self._host.up:
                self._wait()
            else:
                self.answer.errback(LostError(f"{self._host.name} does not answer"))

    def _arrived(self, incarnation: Process | None) -> None:
        peer = self._host.peer
        if peer is not None and self._host.process is incarnation and self._running is None:
            self._running = peer.forwarded(self._sender, self._request)
            self._running.addErrback(_withdrawn).addCallback(self._answered)

    def _answered(self, answer: bytes) -> None:
        if self._process.alive:
            back = Host(self._process.name, self._process)
            self._network.carry(self._host.name, back, "answer", self._come_back, answer)

    def _come_back(self, answer: bytes) -> None:
        if not self.answer.called:
            self.answer.callback(answer)

    def _withdraw(self, _: object = None) -> None:
        self._network.carry(self._process.name, self._host, "withdrawal", self._cancel)

    def _cancel(self) -> None:
        if self._running is not None:
            self._running.cancel()

    def lost(self, prompt: bool) -> None:
        """
        The connection is lost.

        @param prompt: whether the machine that has sent the request knows it at once.
        """
        self._withdraw()
        if prompt and not self.answer.called:
            self.answer.errback(LostError(f"the connection to {self._host.name} is lost"))


def _receive(peer: IRaftPeer, sender: str, payload: bytes) -> bool:
    """Returns whether a machine takes messages. It does not take those of a machine that was removed."""
    try:
        peer.received(sender, payload)
    except ValueError as error:
        if str(error).startswith("no Raft messages"):
            raise
        return False
    return True


@implementer(ITransport)
class SimulatedTransport:
    """
    The transport of one process.

    @ivar peer: what this process does for other machines.
    @ivar host: where others reach this process.
    @ivar connected: the peer URL of each machine that it is to be connected to, by id.
    """

    def __init__(
        self, network: Network, process: Process, host: Host, peer: IRaftPeer, sent: Callable[[str, str, bytes], None]
    ) -> None:
        """
        @param sent: called with every message: the ids of the sender and the receiver, and the payload.
        """
        self.network = network
        self.process = process
        self.peer = peer
        self.sent = sent
        self.host = host
        host.on_visit = self._visited
        self._connections: dict[str, _Connection] = {}
        self.connected: dict[str, str] = {}
        network.register(self)

    def connect(self, peers: Mapping[str, str]) -> None:
        """See L{ITransport}."""
        for machine_id in [each for each, url in self.connected.items() if peers.get(each) != url]:
            self._connections.pop(machine_id).close()
        for machine_id, url in peers.items():
            if machine_id not in self._connections:
                self._connections[machine_id] = _Connection(self, machine_id, self.network.host(url))
        self.connected = dict(peers)

    def _visited(self, machine_id: str, host: Host) -> None:
        connection = self._connections.get(machine_id)
        if connection is not None:
            connection.visited_from(host)

    def send(self, machine_id: str, payload: bytes) -> bool:
        """See L{ITransport}."""
        if not self.process.alive:
            return False
        self.sent(self.peer.machine_id, machine_id, payload)
        connection = self._connections.get(machine_id)
        visitor = self.host.visitors.get(machine_id)
        sent = connection is not None and connection.send(payload)
        if not sent and not (visitor is not None and visitor.send_back(payload)):
            self.process.after(0, "unreachable", self.peer.unreachable, machine_id)
            return False
        return True

    send_ahead = send  # any message may overtake another one

    def send_snapshot(self, machine_id: str, file: ISnapshotFile) -> "Deferred[None]":
        """See L{ITransport}."""
        return ensureDeferred(self._send_snapshot(machine_id, file))

    def ask_status(self, machine_id: str) -> "Deferred[StatusReport | None]":
        """See L{ITransport}."""
        connection = self._connections.get(machine_id)
        if connection is None or not connection.check():
            visitor = self.host.visitors.get(machine_id)
            if visitor is not None and visitor.check():
                return succeed(None)
            return fail(ConnectionError("there is no connection"))
        if connection.name in self.network.older:
            return succeed(None)
        return connection.ask(lambda peer: succeed(peer.status())).addErrback(_not_answered)

    def forward(self, machine_id: str, request: bytes) -> "Deferred[bytes]":
        """See L{ITransport}."""
        connection = self._connections.get(machine_id)
        if connection is None or not connection.check():
            return fail(RequestDroppedError("there is no connection to the leader"))
        if connection.name in self.network.older:
            return fail(CannotForwardError("the leader takes no requests of other machines"))
        return connection.forward(request).addErrback(_not_answered)

    async def _send_snapshot(self, machine_id: str, file: ISnapshotFile) -> None:
        try:
            connection = self._connections.get(machine_id)
            if connection is None:
                raise LostError("there is no connection")
            sender = self.peer.machine_id
            offset = await connection.ask(
                lambda peer: peer.snapshot_offered(sender, file.metadata, file.head, file.size)
            )
            while offset < file.size:
                self.network.on_piece(offset)
                offset += await self._send_piece(connection, sender, file, offset)
        finally:
            file.close()

    async def _send_piece(self, connection: _Connection, sender: str, file: ISnapshotFile, offset: int) -> int:
        data = await file.read(offset, self.network.weather.piece)
        arriving = self.network.on_the_way(data)
        await connection.ask(lambda peer: peer.snapshot_piece(sender, offset, arriving))
        return len(data)

    def lose_connections(self, name: str | None = None) -> None:
        """Lose the connections to the host of this name, or all of them."""
        for connection in list(self._connections.values()):
            if name in (None, connection.name):
                connection.lost()


def _withdrawn(failure: Failure) -> bytes:
    failure.trap(CancelledError)
    return b""


def _not_answered(failure: Failure) -> NoReturn:
    failure.trap(LostError)
    raise ConnectionError(failure.getErrorMessage())


class SimulatedPeers:
    """
    How a machine asks others, see L{etcd_twisted.cluster.joining.JoinClient}.

    @ivar asked: the peer URLs that were asked, in order.
    """

    def __init__(self, network: Network, process: Process) -> None:
        self.asked: list[str] = []
        self._network = network
        self._process = process

    async def describe(self, peer_url: str) -> ClusterView:
        """See L{etcd_twisted.cluster.joining.JoinClient}."""
        view: ClusterView = await self._ask(peer_url, _describe)
        return view

    async def explain(self, peer_url: str, error: UnreachableError) -> str:
        """See L{etcd_twisted.cluster.joining.JoinClient}."""
        return f"{error} ({peer_url} may be switched off)"

    async def join(self, peer_url: str, request: JoinRequest) -> JoinReply:
        """See L{etcd_twisted.cluster.joining.JoinClient}."""
        reply: JoinReply = await self._ask(peer_url, lambda peer: peer.join(request))
        return reply

    async def _ask(self, peer_url: str, ask: Callable[[IRaftPeer], "Deferred[Any]"]) -> Any:
        self.asked.append(peer_url)
        host = self._network.host(peer_url)
        try:
            return await self._network.ask(self._process, host, ask)
        except LostError as error:
            raise UnreachableError(str(error)) from error


def _describe(peer: IRaftPeer) -> "Deferred[ClusterView]":
    described: Deferred[ClusterView] = Deferred()
    described.callback(peer.describe())
    return described
