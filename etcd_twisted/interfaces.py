"""
The walls between the rooms: what a door sees of the replica, and what a pluggable protocol is.

Must never hold any code: only what others promise each other.
"""

from collections.abc import Callable, Mapping

from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads, IReactorTCP, IReactorTime
from zope.interface import Attribute, Interface

from etcd_twisted.config import Config
from etcd_twisted.keyspace.commands import Change
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.nodes import Node
from etcd_twisted.keyspace.statistics import StoreStatistics
from etcd_twisted.keyspace.watchers import Watcher
from etcd_twisted.machines import Machine
from etcd_twisted.measurements import Health, MachineStatus, Measurements
from etcd_twisted.membership import (
    Admission,
    ClusterConfig,
    ClusterView,
    Forbidden,
    JoinReply,
    JoinRequest,
    StatusReport,
)
from etcd_twisted.traffic import Traffic

Told = Callable[[Event | Exception | None], None]
"""
What is called with the event of a change, C{None} for a change of the group, or with why it is not known to be made.
It must not raise.
"""


class IReactor(IReactorTime, IReactorTCP, IReactorFromThreads):
    """
    What a machine needs of Twisted's reactor. For type checks only: a reactor provides each of the three, and does
    not know that they have a name together.
    """


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


class IReplica(Interface):
    """This machine's copy of the key space, and the way to change all copies."""

    name: str = Attribute("This machine's name.")
    serving: bool = Attribute("Whether this copy can be read: a voter's, as new as what was committed at the start.")
    standby: bool = Attribute("Whether this machine has no copy: it is beyond the active size, and others serve.")
    index: int = Attribute("The key space's index.")
    raft_index: int = Attribute("The index of the last applied log entry.")
    term: int = Attribute("The Raft term.")
    is_leader: bool = Attribute("Whether this machine leads.")
    led_seconds: float = Attribute("For how long there is this leader, or none, in seconds.")
    cluster_id: str = Attribute("Which cluster it is of; empty until it is known.")
    peer: IRaftPeer = Attribute("This machine's place in its Raft group, for the peer port alone.")
    traffic: Traffic = Attribute("What is sent to other machines and received from them.")

    def now() -> int:
        """
        The time by which keys expire, in microseconds since the epoch: the cluster time, which goes on evenly whatever
        this machine's clock is set to.
        """

    def when_serving() -> "Deferred[None]":
        """
        Fires when this copy can be read, at once if it can, or when this machine has become a standby. Errbacks with
        an EtcdError when the service stops before.
        """

    def when_led() -> "Deferred[None]":
        """
        Fires when a leader is known, at once if one is. Errbacks with an EtcdError when the service stops before.
        """

    def when_deposed() -> "Deferred[None]":
        """
        Fires when this machine does not lead, at once if it does not. Errbacks with an EtcdError when the service
        stops before.
        """

    def leader() -> Machine | None:
        """The machine that leads, C{None} when none is known."""

    def machines() -> list[Machine]:
        """
        All registered machines, in the order of their names. A machine without a leader tells of those that it knew
        last. The list is empty only on a machine that has never known of any.
        """

    def members() -> Mapping[str, Machine]:
        """The same, by the ids that the group has for them; none on a standby."""

    def fingerprints() -> Mapping[str, Machine]:
        """
        The same, by the ids that clients are shown, see L{etcd_twisted.membership.fingerprint}; on a standby too.
        """

    def get(key: str) -> Node:
        """
        Read this machine's copy.

        @raise EtcdError: 100 or 104.
        """

    def confirm_reads() -> "Deferred[None]":
        """
        Fires when this machine's copy holds everything that was acknowledged before the call: a L{get} from then on
        is linearizable (Raft dissertation, section 6.4).
        """

    def confirm_recent() -> "Deferred[None]":
        """
        Like L{confirm_reads}, but at once while this machine leads and holds a lease: a quorum has heard from it
        within an election timeout.
        """

    def watch(
        key: str,
        recursive: bool,
        stream: bool,
        since: int | None,
        deliver: Callable[[Event], None],
        end: Callable[[], None] | None = None,
    ) -> Watcher:
        """
        Wait for changes, see L{etcd_twisted.keyspace.space.KeySpace.watch}.

        @raise EtcdError: 401.
        """

    def propose(command: Change) -> "Deferred[Event]":
        """
        Change the key space. Fires with what happened, once a quorum has it on disk and it is applied here.

        Errbacks with the L{EtcdError} that the command met, or with 300 when its outcome is unknown, or when it has
        waited for too long behind others and was not made, or when it would make the key space larger than the quota.
        A command that can't be kept is refused before it is logged: with 202 if it expires before the epoch or after
        L{etcd_twisted.keyspace.events.LAST_MOMENT}, with 209 if its key is not clean
        (L{etcd_twisted.keyspace.paths.clean}) or is too deep or too long for a new node
        (L{etcd_twisted.keyspace.paths.check_size}), or a field has another type than it should, with 210 if a text
        can't be written as UTF-8.
        """

    def submit(command: Change, told: Told) -> bool:
        """
        Do what L{propose} does, if nothing has to be waited for first: whether it does. It costs less than a Deferred.

        @param told: called once with what L{propose} fires with or fails with, though nobody may want to know it any
            more. It has to be short and must not raise: others are told in the same turn.
        @raise EtcdError: the command can't be kept, or there is no room for it, see L{propose}.
        """

    def statistics() -> StoreStatistics:
        """The store's counters."""

    def measurements() -> Measurements:
        """What this machine measures of itself."""

    def statuses() -> Mapping[str, MachineStatus]:
        """
        What this machine knows of each member of the cluster, itself included, by the ids that the group has for
        them. The others are asked about once a second, whether or not there is a leader; those that have not answered
        since this machine was started are there too. A standby asks nobody, and knows of none.
        """

    def health() -> Health:
        """Whether the cluster has a leader and a majority, as far as this machine knows."""

    def cluster_config() -> ClusterConfig:
        """What was set for the whole cluster, or this machine's defaults."""

    def configure(config: ClusterConfig) -> "Deferred[None]":
        """Set that for the whole cluster; only on the leader, and with L{propose}'s errors."""

    def remove(name: str, forbidden_by: str | None = None) -> "Deferred[None]":
        """
        Take a machine out of the cluster; only on the leader. Fires when a quorum knows.

        @param forbidden_by: who wants it to be kept out until it is allowed again; such a machine need not be in the
            cluster. C{None} lets it join again as soon as there is a place.

        Errbacks with an L{EtcdError}: 100 when there is no such machine, 300 when it can't be done now or the outcome
        is unknown.
        """


    def forbidden() -> list[Forbidden]:
        """The machines that are kept out of the cluster, by name, as far as this copy knows."""

    def allow(name: str) -> "Deferred[None]":
        """
        Keep a machine out no longer; only on the leader, and with L{propose}'s errors: 100 when it was not kept out.
        """

    def move(machine_id: str, peer_url: str) -> "Deferred[None]":
        """
        Have the others look for a machine elsewhere, until it says itself where it is; only on the leader. Fires when
        a quorum knows.

        @param peer_url: where, checked for its form.

        Errbacks with an L{EtcdError}: 100 when there is no such machine, 109 when another machine has the address, 209
        when it is the leader, which knows better, 300 when it can't be done now or the outcome is unknown.
        """


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


class IFrontend(Interface):
    """
    A protocol that serves strangers from a replica: built in, or found through C{twisted.plugin} and switched on by
    C{--frontend NAME[:option=value...]}. C{docs/frontends.md} tells how to write one.
    """

    name: str = Attribute("What C{--frontend} calls it.")

    def service(reactor: IReactor, config: Config, options: Mapping[str, str], replica: IReplica) -> IService:
        """
        A service that serves C{replica} while it runs.

        Its C{startService} may return a Deferred that fires when it listens; whatever it raises or errbacks with stops
        the start of the whole machine. Its C{stopService} closes every connection.

        @param options: what stood behind the name.
        @raise ConfigError: an option can't be used.
        """
