"""
Stand-ins for what the peer port sees of a replica, and for a snapshot that is sent.

They are for tests of what carries messages between machines. This module must never decide anything that a real
machine would not.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from etcd_twisted.interfaces import AnswerQuestion, IRaftPeer, ISnapshotFile
from etcd_twisted.interfaces.cluster import Admission, ClusterView, JoinReply, JoinRequest, StatusReport
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from etcd_twisted.testing.replica import MACHINE, OTHER, FakeReplica

CLUSTER = "c" * 16
FIRST = "1" * 16
SECOND = "2" * 16
THIRD = "3" * 16
VIEW = ClusterView(CLUSTER, [MACHINE, OTHER], MACHINE.name, ClusterConfig())
REPORT = StatusReport(1_000_000, 2_000_000, 0, "leader", 3, 4, "0.5.0", 6_000_000)


@implementer(IRaftPeer)
class FakeRaftPeer:
    """
    A member of a group of two, which records what it gets.

    @ivar members: the machines whose messages it takes.
    @ivar payloads: the payloads that came, with their senders.
    @ivar lost: the machines that were unreachable, in order.
    @ivar snapshot: the part of a snapshot that has come.
    @ivar requests: the requests that were forwarded to it, in order.
    @ivar failing: the error that joining, leaving, forwarded requests and snapshots fail with.
    """

    def __init__(self, machine_id: str = FIRST, members: tuple[str, ...] = (FIRST, SECOND)) -> None:
        self.machine_id = machine_id
        self.cluster_id = CLUSTER
        self.configuration_index = 1
        self.members = set(members)
        self.payloads: list[tuple[str, bytes]] = []
        self.lost: list[str] = []
        self.exclusions = 0
        self.offers: list[tuple[str, bytes, bytes, int]] = []
        self.snapshot = b""
        self.joins: list[JoinRequest] = []
        self.requests: list[bytes] = []
        self.answer_question: AnswerQuestion | None = None
        self.failing: Exception | None = None
        self.holding: Deferred[Any] | None = None
        self.view = VIEW
        self.report = REPORT
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def when(self, condition: Callable[[], bool]) -> "Deferred[None]":
        """Returns a Deferred that fires when C{condition} is met. The test's own timeout bounds the wait."""
        met: Deferred[None] = Deferred()
        self._waiting.append((condition, met))
        self.look()
        return met

    def look(self) -> None:
        """Check the conditions that are waited for."""
        for entry in list(self._waiting):
            condition, met = entry
            if condition():
                self._waiting.remove(entry)
                met.callback(None)

    def admission(self, machine_id: str, configuration_index: int) -> Admission:
        if machine_id in self.members:
            return Admission.MEMBER
        newer = configuration_index > self.configuration_index
        return Admission.UNCONFIRMED if newer else Admission.STRANGER

    def learn_members(self, view: ClusterView) -> bool:
        raise AssertionError(f"nobody asks here who is in the cluster: {view}")

    def has_unconfirmed(self) -> bool:
        raise AssertionError("nobody asks here who is in the cluster")

    def label(self, machine_id: str) -> str:
        return f"the one of id {machine_id[:1]}"

    def received(self, sender: str, payload: bytes) -> None:
        if sender not in self.members:
            raise ValueError(f"{sender} is not in the cluster")
        if payload.startswith(b"wrong"):
            raise ValueError("no Raft messages: wrong")
        self.payloads.append((sender, payload))
        self.look()

    def unreachable(self, machine_id: str) -> None:
        self.lost.append(machine_id)
        self.look()

    def excluded(self) -> None:
        self.exclusions += 1
        self.look()

    def snapshot_offered(self, sender: str, metadata: bytes, head: bytes, size: int) -> "Deferred[int]":
        if self.failing is not None:
            return fail(self.failing)
        self.offers.append((sender, metadata, head, size))
        return succeed(len(self.snapshot))

    def snapshot_piece(self, sender: str, offset: int, data: bytes) -> "Deferred[None]":
        assert sender in self.members
        if self.failing is not None:
            return fail(self.failing)
        if offset != len(self.snapshot):
            return fail(ValueError(f"no snapshot continues at {offset}"))
        self.snapshot += data
        self.look()
        return self.holding or succeed(None)

    def forwarded(self, sender: str, request: bytes) -> "Deferred[bytes]":
        assert sender in self.members
        if self.failing is not None:
            return fail(self.failing)
        self.requests.append(request)
        self.look()
        return self.holding or succeed(b"answer to " + request[:100])

    def join(self, request: JoinRequest) -> "Deferred[JoinReply]":
        if self.failing is not None:
            return fail(self.failing)
        self.joins.append(request)
        self.look()
        return self.holding or succeed(JoinReply(self.cluster_id))

    def describe(self) -> ClusterView:
        return self.view

    def status(self) -> StatusReport:
        return self.report


class PeerReplica(FakeReplica):
    """A replica that is a member of a group."""

    def __init__(self, clock: Any, peer: FakeRaftPeer | None = None) -> None:
        super().__init__(clock)
        self.peer = FakeRaftPeer() if peer is None else peer

    def remove(self, name: str, forbidden_by: str | None = None) -> "Deferred[None]":
        if self.peer.failing is not None:
            return fail(self.peer.failing)
        return super().remove(name, forbidden_by)


@implementer(ISnapshotFile)
class FakeSnapshotFile:
    """
    A snapshot in memory.

    @ivar reads: how often it was read.
    """

    def __init__(self, content: bytes, size: int | None = None) -> None:
        self.metadata = b"metadata"
        self.head = content[:16]
        self.size = len(content) if size is None else size
        self.closed = 0
        self.reads = 0
        self._content = content

    def read(self, offset: int, length: int) -> "Deferred[bytes]":
        assert not self.closed
        self.reads += 1
        return succeed(self._content[offset : offset + length])

    def close(self) -> None:
        self.closed += 1
