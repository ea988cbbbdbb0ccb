"""
This machine's place in its Raft group, as the peer port sees it: whose messages are taken, and what is done with them.

Must never let a machine that is not of this cluster, or not in it any more, be heard by the core.
"""

from collections.abc import Callable

from twisted.internet.defer import Deferred, ensureDeferred, fail
from zope.interface import implementer

from etcd_twisted.consensus.participant import Participant
from etcd_twisted.consensus.raft.core import NotLeaderError, Raft
from etcd_twisted.consensus.raft.messages import MOST_TERMS_AHEAD, decode_messages
from etcd_twisted.errors import ErrorCode, EtcdError, NotDoneError
from etcd_twisted.interfaces import IRaftPeer
from etcd_twisted.interfaces.cluster import (
    PROTOCOL_VERSION,
    Admission,
    ClusterView,
    JoinReply,
    JoinRequest,
    StatusReport,
    fingerprint,
)

_MOST_VOUCHED_FOR = 64
"""How many machines that are not members here yet are remembered, and how many in doubt: more than a group has."""


@implementer(IRaftPeer)
class Peering:
    """See L{IRaftPeer}. It takes nothing before L{begin} and after L{end}."""

    def __init__(
        self,
        view: Callable[[], ClusterView],
        status: Callable[[], StatusReport],
        excluded: Callable[[], None],
        claimed: Callable[[], None],
    ) -> None:
        """
        @param view: who is in the cluster.
        @param status: what this machine says of itself.
        @param excluded: told that this machine was removed.
        @param claimed: told that a machine says to be of a newer configuration: somebody should be asked for whom
            L{vouch} can be told.
        """
        self.machine_id = ""
        self.cluster_id = ""
        self._view = view
        self._status = status
        self._excluded = excluded
        self._claimed = claimed
        self._participant: Participant | None = None
        self._vouched_for: dict[str, int] = {}
        self._doubted: dict[str, int] = {}
        """What machines said that were found unconfirmed: the index of their configuration."""

    def begin(self, machine_id: str, cluster_id: str, participant: Participant) -> None:
        """This machine takes part from here on."""
        self.machine_id = machine_id
        self.cluster_id = cluster_id
        self._participant = participant

    def end(self) -> None:
        """It takes part no longer."""
        self._participant = None
        self._vouched_for.clear()
        self._doubted.clear()
        self.machine_id = self.cluster_id = ""

    @property
    def configuration_index(self) -> int:
        """See L{IRaftPeer}."""
        return self._participant.driver.core.configuration_index if self._participant is not None else 0

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Of the machines whose messages are taken because they are members here."""
        if self._participant is None:
            return ()
        members = self._participant.driver.core.members
        return tuple(sorted(fingerprint(self.cluster_id, each) for each in members))

    def admission(self, machine_id: str, configuration_index: int) -> Admission:
        """See L{IRaftPeer}."""
        admission = self._judged(machine_id, configuration_index)
        if admission is Admission.UNCONFIRMED:
            if len(self._doubted) < _MOST_VOUCHED_FOR:
                self._doubted[machine_id] = configuration_index
            self._claimed()
        return admission

    def _judged(self, machine_id: str, configuration_index: int) -> Admission:
        if self._participant is None:
            return Admission.STRANGER
        core = self._participant.driver.core
        if self._takes_from(core, machine_id):
            return Admission.MEMBER
        known = configuration_index <= core.settled_configuration_index
        return Admission.STRANGER if known else Admission.UNCONFIRMED

    def doubted(self) -> bool:
        """See L{IRaftPeer}."""
        doubted, self._doubted = self._doubted, {}
        return any(self._judged(*each) is Admission.UNCONFIRMED for each in doubted.items())

    def _takes_from(self, core: Raft, machine_id: str) -> bool:
        if core.has_member(machine_id):
            return True
        vouched_for = self._vouched_for.get(fingerprint(self.cluster_id, machine_id), 0)
        return vouched_for > core.settled_configuration_index

    def vouch(self, view: ClusterView) -> bool:
        """See L{IRaftPeer}."""
        if self._participant is None or view.cluster_id != self.cluster_id:
            return False
        settled = self._participant.driver.core.settled_configuration_index
        if view.configuration_index <= settled:
            return False
        known = [(each, index) for each, index in self._vouched_for.items() if index > settled]
        known += [(each, view.configuration_index) for each in view.fingerprints]
        self._vouched_for = dict(known[-_MOST_VOUCHED_FOR:])
        return True

    def called(self, machine_id: str) -> str:
        """See L{IRaftPeer}."""
        participant = self._participant
        return f"the machine {machine_id}" if participant is None else participant.called(machine_id)

    def received(self, sender: str, payload: bytes) -> None:
        """See L{IRaftPeer}."""
        participant = self._participant
        if participant is None:
            raise ValueError("this machine takes no part in consensus")
        if not self._takes_from(participant.driver.core, sender):
            raise ValueError("it is not in the cluster any more")
        messages = decode_messages(payload)
        furthest = participant.driver.core.term + MOST_TERMS_AHEAD
        if any(message.term > furthest for message in messages):
            raise ValueError("no Raft messages: a term that no cluster gets to")
        participant.receive(sender, messages, len(payload))

    def unreachable(self, machine_id: str) -> None:
        """See L{IRaftPeer}."""
        if self._participant is not None:
            self._participant.unreachable(machine_id)

    def excluded(self) -> None:
        """See L{IRaftPeer}."""
        if self._participant is not None:
            self._excluded()

    def snapshot_offered(self, sender: str, metadata: bytes, head: bytes, size: int) -> "Deferred[int]":
        """See L{IRaftPeer}."""
        if self._participant is None or not self._takes_from(self._participant.driver.core, sender):
            return fail(ValueError("this machine takes no snapshot of that one"))
        return self._participant.receiver.offered(sender, metadata, head, size)

    def snapshot_piece(self, sender: str, offset: int, data: bytes) -> "Deferred[None]":
        """See L{IRaftPeer}."""
        if self._participant is None or not self._takes_from(self._participant.driver.core, sender):
            return fail(ValueError("this machine takes no snapshot of that one"))
        return self._participant.snapshot_piece(sender, offset, data)

    def join(self, request: JoinRequest) -> "Deferred[JoinReply]":
        """See L{IRaftPeer}."""
        return ensureDeferred(self._join(request))

    async def _join(self, request: JoinRequest) -> JoinReply:
        if self._participant is None:
            raise EtcdError(ErrorCode.RAFT_INTERNAL, "this machine takes no part in consensus; ask another")
        if request.version != PROTOCOL_VERSION:
            cause = f"machines speak version {PROTOCOL_VERSION} with each other here, not {request.version}"
            raise EtcdError(ErrorCode.RAFT_INTERNAL, cause)
        cluster_id = self.cluster_id  # this machine may be told to stop before the answer
        if request.cluster_id not in ("", cluster_id):
            cause = f"this is the cluster {cluster_id}, not {request.cluster_id}"
            raise EtcdError(ErrorCode.RAFT_INTERNAL, cause)
        try:
            await self._participant.members.join(request)
        except (NotDoneError, NotLeaderError):
            raise EtcdError(ErrorCode.RAFT_INTERNAL, "this machine does not lead") from None
        return JoinReply(cluster_id)

    def describe(self) -> ClusterView:
        """See L{IRaftPeer}."""
        return self._view()

    def status(self) -> StatusReport:
        """See L{IRaftPeer}."""
        return self._status()
