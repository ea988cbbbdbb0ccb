"""
The transport of Raft's messages and snapshots between processes: AMP over TCP, or over TLS.

Must never hold more than a bounded number of bytes for a machine that does not take them, nor let a heartbeat wait
behind a snapshot.
"""

import random
from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred, DeferredList, ensureDeferred, fail
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from etcd_twisted.interfaces import IRaftPeer, IReactor, ISnapshotFile, ITransport
from etcd_twisted.interfaces.cluster import StatusReport
from etcd_twisted.net.sockets import UNACKNOWLEDGED_TIMEOUT_SECONDS
from etcd_twisted.net.tls import ClientTls
from etcd_twisted.peer.commands import OfferSnapshot, SnapshotPiece
from etcd_twisted.peer.dialing import Dialer
from etcd_twisted.peer.link import Link, Sender
from etcd_twisted.peer.outgoing import AnswerError, LostError, Outgoing
from etcd_twisted.peer.visitors import Visitors

PIECE = 128 * 1024
"""How many bytes of a snapshot are sent at a time, and may be before a heartbeat."""

_SWEEP = 1.0


@implementer(ITransport)
class AmpTransport:
    """
    See L{ITransport}, and L{Link} for each machine.

    @ivar visitors: who has connected to this machine; to be shared with what serves the peer port.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactor,
        raft: IRaftPeer,
        tls: ClientTls | None,
        name: Callable[[], str] = lambda: "",
        silence: float = UNACKNOWLEDGED_TIMEOUT_SECONDS,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """
        @param raft: whose messages are sent, and who is told what becomes of them.
        @param tls: for the machines whose URL asks for it; C{None} when none is configured.
        @param name: what this machine is called in the logs of others.
        @param silence: after how many seconds in which nothing that was sent was acknowledged a connection is given
            up.
        @param chance: a number from 0 to 1, another one each time, so that machines don't act in step.
        """
        self.visitors = Visitors()
        self.visitors.arrived = self._arrived
        self._sender = Sender(reactor, raft, self.visitors, Dialer(reactor, tls), silence, chance, name)
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
                self._links[machine_id] = link = Link(self._sender, machine_id, url)
                link.start()
        self._sweep_if_needed()

    def _close(self, link: Link) -> None:
        closed = link.stop()
        self._closing.add(closed)
        closed.addCallback(lambda _: self._closing.discard(closed))

    def _sweep_if_needed(self) -> None:
        if self._links and not self._sweeping.running:
            self._sweeping.start(_SWEEP, now=False).addErrback(self._broken)
        elif not self._links and self._sweeping.running:
            self._sweeping.stop()

    def _broken(self, failure: Failure) -> None:
        self._log.failure("Connections that don't go on are not looked for", failure)

    def _sweep(self) -> None:
        now = self._sender.clock.seconds()
        for link in list(self._links.values()):
            link.sweep(now)

    def _arrived(self, machine_id: str) -> None:
        """A machine has connected to this one, so it is there: if it could not be reached, try again now."""
        link = self._links.get(machine_id)
        if link is not None:
            link.redial()

    def send(self, machine_id: str, payload: bytes) -> bool:
        """See L{ITransport}. A machine that L{connect} was not told of can be answered while it is connected."""
        link = self._links.get(machine_id)
        if link is not None:
            return link.send(payload)
        visitor = self.visitors.connection(machine_id)
        return self._note(machine_id, visitor is not None and visitor.deliver(payload))

    def send_ahead(self, machine_id: str, payload: bytes) -> bool:
        """See L{ITransport}, and L{send}."""
        link = self._links.get(machine_id)
        if link is not None:
            return link.send_ahead(payload)
        visitor = self.visitors.connection(machine_id)
        return self._note(machine_id, visitor is not None and visitor.deliver_ahead(payload))

    def _note(self, machine_id: str, sent: bool) -> bool:
        if not sent:
            self._sender.raft.unreachable(machine_id)
        return sent

    def send_snapshot(self, machine_id: str, file: ISnapshotFile) -> "Deferred[None]":
        """See L{ITransport}."""
        link = self._links.get(machine_id)
        if link is None or link.connection is None:
            file.close()
            return fail(LostError("there is no connection to the machine"))
        return ensureDeferred(_send(link.connection, file))

    def ask_status(self, machine_id: str) -> "Deferred[StatusReport | None]":
        """See L{ITransport}."""
        link = self._links.get(machine_id)
        return fail(ConnectionError("there is no connection")) if link is None else link.ask_status()

    async def stop(self) -> None:
        """Close all connections; return when nothing is left of them."""
        self.connect({})
        await DeferredList(self._closing)


async def _send(connection: Outgoing, file: ISnapshotFile) -> None:
    """Offer a snapshot, then send what the other machine has not, a piece at a time."""
    try:
        offer = await connection.ask(OfferSnapshot, metadata=file.metadata, head=file.head, size=file.size)
        offset = offer["offset"]
        if not 0 <= offset <= file.size:
            raise AnswerError(f"the machine has {offset} bytes of a snapshot of {file.size}")
        while offset < file.size:
            data = await file.read(offset, PIECE)
            if not data:
                raise EOFError(f"the snapshot ends at {offset} instead of {file.size}")
            await connection.ask(SnapshotPiece, offset=offset, data=data)
            offset += len(data)
    finally:
        file.close()
