"""
The replica, as doors see it.

Must never hold any code: only what others promise each other.
"""

from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from etcd_twisted.interfaces.cluster import Forbidden, Health, Machine, MachineStatus
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from etcd_twisted.interfaces.raft import IRaftPeer
from etcd_twisted.interfaces.statistics import Measurements, Traffic
from etcd_twisted.keyspace.commands import Change
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.nodes import Node
from etcd_twisted.keyspace.statistics import StoreStatistics
from etcd_twisted.keyspace.watchers import Watcher

OutcomeCallback = Callable[[Event | Exception | None], None]
"""
What is called with the event of a change, C{None} for a change of the group, or with why it is not known to be made.
It must not raise.
"""


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
        The same, by the ids that clients are shown, see L{etcd_twisted.interfaces.cluster.fingerprint}; on a standby
        too.
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

    def submit(command: Change, told: OutcomeCallback) -> bool:
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
