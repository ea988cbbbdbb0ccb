"""
This machine's place in its Raft group as the peer port sees it, and what carries its messages.

Must never hold any code: only what others promise each other.
"""

from collections.abc import Mapping

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from etcd_twisted.interfaces.cluster import Admission, ClusterView, JoinReply, JoinRequest, StatusReport


class IRaftPeer(Interface):
    """What the peer port sees of the replica: this machine's place in its Raft group."""

    machine_id: str = Attribute("What the group calls this machine; empty until it is known.")
    cluster_id: str = Attribute("Which cluster it is of; empty until it is known.")
    configuration_index: int = Attribute("The log index of the group's newest configuration that this machine knows.")

    def admission(machine_id: str, configuration_index: int) -> Admission:
        """
        Whether messages of another machine are taken: it is a member here, or in a newer configuration, as others
        say.

        @param configuration_index: of the newest configuration that it knows, and in which it says to be a member.
        """

    def vouch(view: ClusterView) -> bool:
        """
        Take the messages of those who are in the cluster as another machine sees it. That should be one that this
        machine has reached by itself, at an address where it knows a machine of its cluster.

        @return: whether the other machine knows a newer configuration than this one does.
        """

    def doubted() -> bool:
        """
        Whether L{admission} would still find one unconfirmed that it has found so since this was asked last. This
        machine may have come to know of the others by itself.
        """

    def called(machine_id: str) -> str:
        """Returns how the log names a machine: by its name and its peer URL, or by its id if it is not known here."""

    def received(sender: str, payload: bytes) -> None:
        """
        Take what the transport of C{sender} was given to send.

        @raise ValueError: these are no messages; one line that says why.
        """

    def unreachable(machine_id: str) -> None:
        """What was sent to a machine last may be lost."""

    def excluded() -> None:
        """A member with a newer configuration does not take this machine's messages: it was removed."""

    def snapshot_offered(sender: str, metadata: bytes, head: bytes, size: int) -> "Deferred[int]":
        """
        The leader is about to send a snapshot file.

        @param head: the file's first bytes, by which a file that came in part is known again.
        @param size: of the whole file, in bytes.
        @return: fires with how many bytes of it are here already.
        """

    def snapshot_piece(sender: str, offset: int, data: bytes) -> "Deferred[None]":
        """
        A part of the file that was offered last. Fires when it is written; for the last one, when the key space is
        what the whole file holds.

        Errbacks with L{ValueError} when it does not go on where the file ends so far, or with a failure of the disk.
        """

    def join(request: JoinRequest) -> "Deferred[JoinReply]":
        """
        Take a machine into the group, or note its new addresses. Fires when a quorum knows of it.

        Errbacks with an L{EtcdError}: 103 when the cluster is full, 109 when another machine has the address, 105 when
        another machine that is alive has the name, 300 when this machine does not lead or it can't be done now.
        """

    def describe() -> ClusterView:
        """Who is in the cluster and who leads it, as far as this machine knows."""

    def status() -> StatusReport:
        """Returns what this machine tells a member about itself."""


class ISnapshotFile(Interface):
    """A snapshot on disk, to be sent."""

    metadata: bytes = Attribute("What it stands for, as the replica of the receiver understands it.")
    head: bytes = Attribute("The file's first bytes, other ones for each file.")
    size: int = Attribute("Bytes.")

    def read(offset: int, length: int) -> "Deferred[bytes]":
        """A part of it."""

    def close() -> None:
        """It is needed no more."""


class ITransport(Interface):
    """
    Carries messages to the other machines of the group: AMP over TCP, or a simulated network.

    What was given to it may be lost, come late or come twice; it never comes changed.
    """

    def connect(peers: Mapping[str, str]) -> None:
        """
        Have connections to these machines and to no others.

        @param peers: the peer URL of each, by machine id.
        """

    def send(machine_id: str, payload: bytes) -> bool:
        """
        Send. To a machine that can't be reached just now it is dropped, and L{IRaftPeer.unreachable} is told.

        @return: whether it is on its way.
        """

    def send_ahead(machine_id: str, payload: bytes) -> bool:
        """
        Like L{send}, for what is short and may overtake everything else: it does not wait behind a long payload.
        """

    def send_snapshot(machine_id: str, file: ISnapshotFile) -> "Deferred[None]":
        """
        Send a snapshot, in pieces between which other messages go. Fires when the machine has it on its disk.

        Errbacks when the connection is lost. The file is closed either way. Cancelling it gives it up.
        """

    def ask_status(machine_id: str) -> "Deferred[StatusReport | None]":
        """
        Ask a machine for its status. Fires with its answer, or with C{None} when it is connected but can't be asked:
        its version does not know the question, or the only connection is one that it has made.

        Errbacks with L{ConnectionError} when it can't be reached or the connection is lost before it answers; as long
        as the connection lasts, that may take any time. A second call before that sends a second question.
        """
