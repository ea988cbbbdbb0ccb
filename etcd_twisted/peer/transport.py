"""
The transport of Raft's messages and snapshots between processes: AMP over TCP or TLS.

This module must never hold more than a bounded number of bytes for a machine that does not read them, nor let a
heartbeat wait behind a snapshot.
"""

import random
from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred, DeferredList, ensureDeferred, fail
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from etcd_twisted.errors import RequestDroppedError
from etcd_twisted.interfaces import IRaftPeer, IReactor, ISnapshotFile, ITransport
from etcd_twisted.interfaces.cluster import StatusReport
from etcd_twisted.net.sockets import UNACKNOWLEDGED_TIMEOUT_SECONDS
from etcd_twisted.net.tls import ClientTls
from etcd_twisted.peer.commands import OfferSnapshot, SnapshotPiece
from etcd_twisted.peer.connected_machines import ConnectedMachines
from etcd_twisted.peer.dialer import Dialer
from etcd_twisted.peer.link import Link, LinkContext
from etcd_twisted.peer.outgoing import AnswerError, DisconnectedError, OutgoingConnection

SNAPSHOT_PIECE_BYTES = 128 * 1024
"""A snapshot is sent in pieces of this size. A heartbeat waits for one of them at most."""

_SWEEP_INTERVAL_SECONDS = 1.0


@implementer(ITransport)
class AmpTransport:
    """
    See L{ITransport}. There is a L{Link} to each machine.

    @ivar connected: the machines that have connected to this one; shared with the peer port.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactor,
        raft: IRaftPeer,
        tls: ClientTls | None,
        name: Callable[[], str] = lambda: "",
        peer_url: str = "",
        unacknowledged_timeout_seconds: float = UNACKNOWLEDGED_TIMEOUT_SECONDS,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """
        @param raft: takes the messages that come, and learns which were lost.
        @param tls: for machines whose URL asks for TLS; C{None} if none is configured.
        @param name: returns this machine's name, for the logs of others.
        @param peer_url: this machine's peer URL, which the others are told.
        @param unacknowledged_timeout_seconds: see L{UNACKNOWLEDGED_TIMEOUT_SECONDS}.
        @param chance: returns a random number from 0 to 1, so that machines do not act in step.
        """
        self.connected = ConnectedMachines()
        self.connected.on_connect = self._machine_connected
        self._context = LinkContext(
            reactor, raft, self.connected, Dialer(reactor, tls), unacknowledged_timeout_seconds, chance, name, peer_url
        )
        self._links: dict[str, Link] = {}
        self._closing: set[Deferred[None]] = set()
        self._sweeping = LoopingCall(self._sweep)
        self._sweeping.clock = reactor

    def connect(self, peers: Mapping[str, str]) -> None:
        """See L{ITransport}."""
        for machine_id, link in list(self._links.items()):
            if peers.get(machine_id) != link.url:
                del self._links[machine_id]
                self._close(link)
        for machine_id, url in peers.items():
            if machine_id not in self._links:
                self._links[machine_id] = link = Link(self._context, machine_id, url)
                link.start()
        self._sweep_if_needed()

    def _close(self, link: Link) -> None:
        closed = link.stop()
        self._closing.add(closed)
        closed.addCallback(lambda _: self._closing.discard(closed))

    def _sweep_if_needed(self) -> None:
        if self._links and not self._sweeping.running:
            self._sweeping.start(_SWEEP_INTERVAL_SECONDS, now=False).addErrback(self._sweep_failed)
        elif not self._links and self._sweeping.running:
            self._sweeping.stop()

    def _sweep_failed(self, failure: Failure) -> None:
        self._log.failure("Looking for connections that make no progress failed", failure)

    def _sweep(self) -> None:
        now = self._context.clock.seconds()
        for link in list(self._links.values()):
            link.sweep(now)

    def _machine_connected(self, machine_id: str, peer_url: str) -> None:
        """Try again at once to connect to a machine that has connected to this one: it is there."""
        link = self._links.get(machine_id)
        if link is not None:
            link.redial(peer_url)

    def send(self, machine_id: str, payload: bytes) -> bool:
        """
        See L{ITransport}. A machine that L{connect} does not know gets messages while it is connected to this one.
        """
        link = self._links.get(machine_id)
        if link is not None:
            return link.send(payload)
        connection = self.connected.connection(machine_id)
        return self._note(machine_id, connection is not None and connection.deliver(payload))

    def send_ahead(self, machine_id: str, payload: bytes) -> bool:
        """See L{ITransport}, and L{send}."""
        link = self._links.get(machine_id)
        if link is not None:
            return link.send_ahead(payload)
        connection = self.connected.connection(machine_id)
        return self._note(machine_id, connection is not None and connection.deliver_ahead(payload))

    def _note(self, machine_id: str, sent: bool) -> bool:
        if not sent:
            self._context.raft.unreachable(machine_id)
        return sent

    def send_snapshot(self, machine_id: str, file: ISnapshotFile) -> "Deferred[None]":
        """See L{ITransport}."""
        link = self._links.get(machine_id)
        if link is None or link.connection is None:
            file.close()
            return fail(DisconnectedError("there is no connection to the machine"))
        return ensureDeferred(_send(link.connection, file))

    def ask_status(self, machine_id: str) -> "Deferred[StatusReport | None]":
        """See L{ITransport}."""
        link = self._links.get(machine_id)
        return fail(ConnectionError("there is no connection")) if link is None else link.ask_status()

    def forward(self, machine_id: str, request: bytes) -> "Deferred[bytes]":
        """See L{ITransport}."""
        link = self._links.get(machine_id)
        if link is None or link.connection is None:
            return fail(RequestDroppedError("there is no connection to the leader"))
        return link.connection.forward(request)

    async def stop(self) -> None:
        """Close all connections. Returns when nothing is left of them."""
        self.connect({})
        await DeferredList(self._closing)


async def _send(connection: OutgoingConnection, file: ISnapshotFile) -> None:
    """Offer a snapshot, then send what the other machine lacks, piece by piece."""
    try:
        offer = await connection.request(OfferSnapshot, metadata=file.metadata, head=file.head, size=file.size)
        offset = offer["offset"]
        if not 0 <= offset <= file.size:
            raise AnswerError(f"the machine has {offset} bytes of a snapshot of {file.size}")
        while offset < file.size:
            data = await file.read(offset, SNAPSHOT_PIECE_BYTES)
            if not data:
                raise EOFError(f"the snapshot ends at {offset} instead of {file.size}")
            await connection.request(SnapshotPiece, offset=offset, data=data)
            offset += len(data)
    finally:
        file.close()
