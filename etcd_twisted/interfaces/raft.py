"""
This machine's Raft member as the peer port sees it, and the transport of its messages.

This module must never hold any code: only what the rooms promise each other.
"""

from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from etcd_twisted.interfaces.cluster import Admission, ClusterView, JoinReply, JoinRequest, StatusReport

AnswerQuestion = Callable[[bytes, str], "Deferred[bytes]"]
"""
Answers a question of another machine for a user; see L{etcd_twisted.interfaces.IReplica.ask_leader}. It errbacks with
L{etcd_twisted.errors.RequestDroppedError} if this machine does not lead any more.
"""


class IRaftPeer(Interface):
    """This machine as a member of its Raft group, for the peer port."""

    machine_id: str = Attribute("This machine's id in the group; empty until it is known.")
    cluster_id: str = Attribute("The id of the cluster; empty until it is known.")
    answer_question: AnswerQuestion | None = Attribute(
        "Answers the questions that are forwarded; see L{IReplica.answer_questions}."
    )
    configuration_index: int = Attribute("The log index of the newest configuration that this machine knows.")

    def admission(machine_id: str, configuration_index: int) -> Admission:
        """
        Returns whether messages of another machine are taken: it is a member here, or in a newer configuration that
        another member has confirmed.

        @param configuration_index: the index of the newest configuration that the other machine knows, and in which it
            claims to be a member.
        """

    def learn_members(view: ClusterView) -> bool:
        """
        Take the messages of the members that another machine names. This machine should have reached the other one by
        itself, at an address where it knows a member of its cluster.

        @return: whether the other machine knows a newer configuration than this one does.
        """

    def has_unconfirmed() -> bool:
        """
        Returns whether L{admission} has found a machine unconfirmed since the last call of this, and still would: this
        machine may have learned of the other one by itself meanwhile.
        """

    def label(machine_id: str) -> str:
        """Returns how the log names a machine: by its name and its peer URL, or by its id if it is unknown here."""

    def received(sender: str, payload: bytes) -> None:
        """
        Take the payload that the transport of C{sender} was given.

        @raise ValueError: these are not messages; the error says why in one line.
        """

    def unreachable(machine_id: str) -> None:
        """Note that the last messages to a machine may be lost."""

    def excluded() -> None:
        """Note that a member with a newer configuration refuses this machine, because it was removed."""

    def snapshot_offered(sender: str, metadata: bytes, head: bytes, size: int) -> "Deferred[int]":
        """
        Take the leader's offer of a snapshot file.

        @param head: the file's first bytes, which identify a file that has come in part.
        @param size: the size of the whole file in bytes.
        @return: fires with how many bytes of the file are here already.
        """

    def snapshot_piece(sender: str, offset: int, data: bytes) -> "Deferred[None]":
        """
        Take a piece of the file that was offered last. Fires when the piece is written; for the last one, when the
        key space holds what the whole file does.

        Errbacks with L{ValueError} if the piece does not begin where the file ends so far, or with a failure of the
        disk.
        """

    def forwarded(sender: str, request: bytes) -> "Deferred[bytes]":
        """
        Do what another machine asks for its clients, see L{ITransport.forward}, if this machine leads. Fires with
        the answer, which may be that it does not. Cancelling the Deferred withdraws what is not done yet.

        Errbacks with L{ValueError} if this is no request.
        """

    def join(request: JoinRequest) -> "Deferred[JoinReply]":
        """
        Admit a machine to the group, or note its new addresses. Fires when a quorum knows.

        Errbacks with an L{EtcdError}: 103 if the cluster is full, 109 if another machine has the address, 105 if
        another machine that is alive has the name, 300 if this machine does not lead or can't do it now.
        """

    def describe() -> ClusterView:
        """Returns the members and the leader of the cluster, as far as this machine knows them."""

    def status() -> StatusReport:
        """Returns what this machine reports to a member about itself."""


class ISnapshotFile(Interface):
    """A snapshot on disk that is being sent."""

    metadata: bytes = Attribute("What the snapshot stands for, as the receiver's replica understands it.")
    head: bytes = Attribute("The file's first bytes, which differ for each file.")
    size: int = Attribute("The size in bytes.")

    def read(offset: int, length: int) -> "Deferred[bytes]":
        """Returns a Deferred that fires with a part of the file."""

    def close() -> None:
        """Close the file."""


class ITransport(Interface):
    """
    Carries messages to the other machines of the group: AMP over TCP, or a simulated network.

    A message may be lost, late or duplicated, but it never changes on the way.
    """

    def connect(peers: Mapping[str, str]) -> None:
        """
        Keep connections to these machines and to no others.

        @param peers: their peer URLs, by machine id.
        """

    def send(machine_id: str, payload: bytes) -> bool:
        """
        Send a payload. If the machine can't be reached now, drop it and call L{IRaftPeer.unreachable}.

        @return: whether the payload is on its way.
        """

    def send_ahead(machine_id: str, payload: bytes) -> bool:
        """
        Send a short payload as L{send} does, but ahead of others: it does not wait behind a long one.
        """

    def send_snapshot(machine_id: str, file: ISnapshotFile) -> "Deferred[None]":
        """
        Send a snapshot, in pieces between which other messages go. Fires when the machine has it on its disk.

        Errbacks if the connection is lost. The file is closed either way. Cancelling the Deferred stops sending.
        """

    def forward(machine_id: str, request: bytes) -> "Deferred[bytes]":
        """
        Send a request to the machine that leads, which takes it with L{IRaftPeer.forwarded}. It arrives once or not
        at all. Fires with the answer, which may take any time as long as the connection lasts. Cancelling the Deferred
        withdraws the request.

        Errbacks with L{etcd_twisted.errors.RequestDroppedError} if the request was not sent, namely with
        L{etcd_twisted.errors.CannotForwardError} if the machine does not take such requests; with L{ConnectionError}
        if it was sent, and the connection was lost before the answer came.
        """

    def ask_status(machine_id: str) -> "Deferred[StatusReport | None]":
        """
        Ask a machine for its status. Fires with its answer, or with C{None} if it is connected but can't be asked: it
        does not know the request, or it has made the only connection.

        Errbacks with L{ConnectionError} if it can't be reached or the connection is lost before it answers. As long as
        the connection lasts, the answer may take any time. A second call before that sends a second request.
        """
