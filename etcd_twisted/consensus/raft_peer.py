"""
This machine as the others of its group see it: what the peer port asks of it and passes on to it.

It must never take messages or snapshots from a machine that L{Admissions} refuses.
"""

from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed
from zope.interface import implementer

from etcd_twisted.consensus.availability import Availability
from etcd_twisted.consensus.clocks.cluster_time import Clocks
from etcd_twisted.consensus.cluster_state import ClusterState
from etcd_twisted.consensus.forwarding.requests import NotLeading, encode
from etcd_twisted.consensus.group_state import report
from etcd_twisted.consensus.local_member import LocalMember
from etcd_twisted.consensus.raft.errors import NotLeaderError
from etcd_twisted.consensus.raft.messages import decode_messages
from etcd_twisted.consensus.reconfiguration.admission import Admissions
from etcd_twisted.consensus.snapshots.receiving import SnapshotReceiver
from etcd_twisted.errors import ErrorCode, EtcdError, RequestDroppedError
from etcd_twisted.interfaces import AnswerQuestion, IRaftPeer
from etcd_twisted.interfaces.cluster import (
    PROTOCOL_VERSION,
    Admission,
    ClusterView,
    JoinReply,
    JoinRequest,
    StatusReport,
)
from etcd_twisted.waiters import Observers


@implementer(IRaftPeer)
class RaftPeer:
    """
    See L{IRaftPeer}. It takes no messages before L{begin} or after L{end}.

    @ivar on_claim: called when an unknown machine claims to be in a newer configuration. The observer should then ask
        other members, and pass their answers to L{learn_members}.
    @ivar answer_question: see L{IReplica.answer_questions}; C{None} while nobody answers.
    """

    def __init__(self, clocks: Clocks, cluster: ClusterState, availability: Availability) -> None:
        """
        @param availability: is told when other machines say that this one was removed.
        """
        self.machine_id = ""
        self.cluster_id = ""
        self.on_claim: Observers = []
        self.answer_question: AnswerQuestion | None = None
        self._clocks = clocks
        self._cluster = cluster
        self._availability = availability
        self._member: LocalMember | None = None
        """This machine as a member of its group; C{None} while it is not a member."""
        self._admissions: Admissions | None = None
        """What decides from which machines that member takes messages."""
        self._receiver: SnapshotReceiver | None = None
        """What receives snapshots for that member."""

    def begin(self, member: LocalMember) -> None:
        """Accept messages, as this machine is a member from here on."""
        self.machine_id = member.machine_id
        self.cluster_id = member.cluster_id
        self._member = member
        self._admissions = member.admissions
        self._receiver = member.receiver

    def end(self) -> None:
        """Accept no more messages, as this machine is no longer a member."""
        self._member = self._admissions = self._receiver = None
        self.machine_id = self.cluster_id = ""

    # Identity and admission

    @property
    def configuration_index(self) -> int:
        """See L{IRaftPeer}."""
        return 0 if self._member is None else self._member.configuration_index

    def admission(self, machine_id: str, configuration_index: int) -> Admission:
        """See L{IRaftPeer}."""
        if self._admissions is None:
            return Admission.STRANGER
        admission = self._admissions.admission(machine_id, configuration_index)
        if admission is Admission.UNCONFIRMED:
            for tell in self.on_claim:
                tell()
        return admission

    def has_unconfirmed(self) -> bool:
        """See L{IRaftPeer}."""
        return self._admissions is not None and self._admissions.has_unconfirmed()

    def learn_members(self, view: ClusterView) -> bool:
        """See L{IRaftPeer}."""
        return self._admissions is not None and self._admissions.learn_members(view)

    def label(self, machine_id: str) -> str:
        """See L{IRaftPeer}."""
        return f"the machine {machine_id}" if self._member is None else self._member.label(machine_id)

    # Messages from others

    def received(self, sender: str, payload: bytes) -> None:
        """See L{IRaftPeer}."""
        member, admissions = self._member, self._admissions
        if member is None or admissions is None:
            raise ValueError("this machine takes no part in consensus")
        if not admissions.takes_from(sender):
            raise ValueError("it is no longer in the cluster")
        messages = decode_messages(payload)
        member.receive(sender, messages, len(payload))

    def unreachable(self, machine_id: str) -> None:
        """See L{IRaftPeer}."""
        if self._member is not None:
            self._member.unreachable(machine_id)

    def excluded(self) -> None:
        """See L{IRaftPeer}."""
        if self._member is not None:
            self._availability.exclude()

    def snapshot_offered(self, sender: str, metadata: bytes, head: bytes, size: int) -> "Deferred[int]":
        """See L{IRaftPeer}."""
        receiver, admissions = self._receiver, self._admissions
        if receiver is None or admissions is None or not admissions.takes_from(sender):
            return fail(ValueError("this machine takes no snapshot of that one"))
        return receiver.offered(sender, metadata, head, size)

    def snapshot_piece(self, sender: str, offset: int, data: bytes) -> "Deferred[None]":
        """See L{IRaftPeer}."""
        receiver, admissions = self._receiver, self._admissions
        if receiver is None or admissions is None or not admissions.takes_from(sender):
            return fail(ValueError("this machine takes no snapshot of that one"))
        return receiver.piece(sender, offset, data)

    def forwarded(self, sender: str, request: bytes) -> "Deferred[bytes]":
        """See L{IRaftPeer}."""
        if self._member is None or not self._member.admissions.takes_from(sender):
            return succeed(encode(NotLeading()))
        return self._member.forwarded.answer(request, self.answer_question)

    def join(self, request: JoinRequest) -> "Deferred[JoinReply]":
        """See L{IRaftPeer}."""
        return ensureDeferred(self._join(request))

    async def _join(self, request: JoinRequest) -> JoinReply:
        if self._member is None:
            raise EtcdError(ErrorCode.RAFT_INTERNAL, "this machine takes no part in consensus; ask another")
        if request.version != PROTOCOL_VERSION:
            cause = f"machines speak version {PROTOCOL_VERSION} with each other here, not {request.version}"
            raise EtcdError(ErrorCode.RAFT_INTERNAL, cause)
        cluster_id, changes = self.cluster_id, self._member.changes  # this machine may stop before the change is made
        if request.cluster_id not in ("", cluster_id):
            cause = f"this is the cluster {cluster_id}, not {request.cluster_id}"
            raise EtcdError(ErrorCode.RAFT_INTERNAL, cause)
        try:
            await changes.join(request)
        except (RequestDroppedError, NotLeaderError):
            raise EtcdError(ErrorCode.RAFT_INTERNAL, "this machine does not lead") from None
        return JoinReply(cluster_id)

    # What others may know

    def describe(self) -> ClusterView:
        """See L{IRaftPeer}."""
        cluster = self._cluster
        if cluster.view is not None:
            return cluster.view
        leader = cluster.leader()
        return ClusterView(
            self.cluster_id,
            cluster.machines(),
            "" if leader is None else leader.name,
            cluster.config(),
            self.configuration_index,
            () if self._admissions is None else self._admissions.fingerprints(),
            {machine.name: each for each, machine in cluster.shown_members().items() if machine.name},
            () if self._member is None else self._member.heard_fingerprints(),
            cluster.waits,
        )

    def status(self) -> StatusReport:
        """See L{IRaftPeer}."""
        return report(self._clocks, self._cluster.group)
