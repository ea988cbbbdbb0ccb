"""
The replica, as doors see it.

This module must never hold any code: only what the rooms promise each other.
"""

from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred, DeferredLock
from zope.interface import Attribute, Interface

from etcd_twisted.auth.state import AuthState
from etcd_twisted.interfaces.cluster import Forbidden, Health, Machine, MachineStatus
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from etcd_twisted.interfaces.raft import AnswerQuestion, IRaftPeer
from etcd_twisted.interfaces.statistics import Measurements, Traffic
from etcd_twisted.keyspace.commands import Change
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.nodes import Node
from etcd_twisted.keyspace.statistics import StoreStatistics
from etcd_twisted.keyspace.watchers import Watcher
from etcd_twisted.waiters import Observers

OutcomeCallback = Callable[[Event | Exception | None], None]
"""
Called with the event of a change, with C{None} for a change of the group, or with the error because of which the
change was not made or nobody knows whether it was. It must not raise.
"""

ConfirmationCallback = Callable[[Exception | None], None]
"""Called with C{None} when a read is confirmed, or with the error because of which it is not. It must not raise."""


class IReplica(Interface):
    """This machine's copy of the key space, and the way to change all copies."""

    name: str = Attribute("This machine's name.")
    serving: bool = Attribute(
        "Whether this copy can be read: it is a voter's, and holds everything that was committed when it started."
    )
    standby: bool = Attribute("Whether this machine has no copy: it is beyond the active size, and others serve.")
    index: int = Attribute("The index of the key space.")
    raft_index: int = Attribute("The index of the last applied log entry.")
    term: int = Attribute("The Raft term.")
    is_leader: bool = Attribute("Whether this machine leads.")
    led_seconds: float = Attribute("For how many seconds there has been this leader, or none.")
    cluster_id: str = Attribute("The id of the cluster; empty until it is known.")
    on_cluster_id: Observers = Attribute("Called each time that C{cluster_id} is another one than before.")
    configuring: DeferredLock = Attribute(
        "Held while somebody reads the configuration of the cluster to change it, so that no change reverts another."
    )
    peer: IRaftPeer = Attribute("This machine's Raft member, for the peer port alone.")
    auth: AuthState = Attribute(
        "Users and roles, by this copy. A machine without a copy has none, as if authentication were disabled."
    )
    traffic: Traffic = Attribute("What is sent to other machines and received from them.")

    def indexes() -> tuple[int, int, int]:
        """Returns L{index}, L{raft_index} and L{term}, for every response needs them."""

    def now() -> int:
        """
        Returns the time by which keys expire, in microseconds since the epoch. This is the cluster time, which
        advances evenly, whatever this machine's clock is set to.
        """

    def when_serving() -> "Deferred[None]":
        """
        Returns a Deferred that fires when this copy can be read, or when this machine has become a standby; at once if
        either is true already. It errbacks with an L{EtcdError} when the service stops before.
        """

    def when_led() -> "Deferred[None]":
        """
        Returns a Deferred that fires when a leader is known, at once if one is. It errbacks with an L{EtcdError} when
        the service stops before.
        """

    def when_deposed() -> "Deferred[None]":
        """
        Returns a Deferred that fires when this machine does not lead, at once if it does not. It errbacks with an
        L{EtcdError} when the service stops before.
        """

    def leader() -> Machine | None:
        """Returns the machine that leads, or C{None} while none is known."""

    def machines() -> list[Machine]:
        """
        Returns all registered machines, sorted by name. A machine without a leader returns those that it knew last.
        The list is empty only on a machine that has never known of any.
        """

    def members() -> Mapping[str, Machine]:
        """Returns the same machines, by their ids in the Raft group; none on a standby."""

    def shown_members() -> Mapping[str, Machine]:
        """
        Returns the same machines, on a standby too, by the ids that clients see; see
        L{etcd_twisted.interfaces.cluster.fingerprint}. Those that are awaited come last, without a name; see
        L{await_machine}.
        """

    def was_removed(member_id: str) -> bool:
        """Returns whether there was a member that clients saw by an id, until it was removed for good."""

    def get(key: str) -> Node:
        """
        Returns a node of this machine's copy.

        @raise EtcdError: 100 or 104.
        """

    def in_order_name(index: int) -> str:
        """Returns the name of an in-order key that is created at an index."""

    def confirm_reads() -> "Deferred[None]":
        """
        Returns a Deferred that fires when this machine's copy holds every change that was acknowledged before the
        call. A L{get} from then on is linearizable (Raft dissertation, section 6.4).
        """

    def confirm_recent() -> "Deferred[None]":
        """
        Do what L{confirm_reads} does, but at once while this machine leads and holds a lease: while a quorum has
        answered it within an election timeout.
        """

    def submit_read(recent: bool, on_confirmed: ConfirmationCallback) -> bool:
        """
        Do what L{confirm_at_leader} does, for less than a Deferred costs, unless this machine can't ask anybody.

        @param recent: whether to do what L{confirm_recent} does.
        @param on_confirmed: called once with C{None} or what L{confirm_at_leader} errbacks with, maybe during this
            call, and even if nobody wants to know any more. It has to be quick.
        @return: whether it will be called. If not, nothing has happened.
        """

    def watch(
        key: str,
        recursive: bool,
        stream: bool,
        since: int | None,
        deliver: Callable[[Event], None],
        end: Callable[[], None] | None = None,
        counted: bool = True,
    ) -> Watcher:
        """
        Wait for changes; see L{etcd_twisted.keyspace.space.KeySpace.watch}.

        @raise EtcdError: 401.
        """

    def propose(command: Change) -> "Deferred[Event]":
        """
        Change the key space. Fires with the event once a quorum has the command on disk and it is applied here.

        Errbacks with the L{EtcdError} of the command. It is 300 when the outcome is unknown, when the command has
        waited too long behind others and was not made, or when it would make the key space larger than the quota.

        A command that could not be stored and applied is refused before it is logged: with 202 if it expires before
        the epoch or after L{etcd_twisted.keyspace.events.LAST_MOMENT}, with 209 if its key is not clean
        (L{etcd_twisted.keyspace.paths.clean}), or too deep or too long for a new node
        (L{etcd_twisted.keyspace.paths.check_size}), or a field has the wrong type, with 210 if a text can't be encoded
        in UTF-8.
        """

    def submit(command: Change, on_outcome: OutcomeCallback, user: str | None = None) -> bool:
        """
        Do what L{propose} does, for less than a Deferred costs, unless this machine does not lead or the command would
        have to wait first.

        @param on_outcome: called once with what L{propose} fires or errbacks with, even if nobody wants to know any
            more. It has to be quick: others wait in the same turn of the reactor.
        @param user: the user who wants the change, see L{forward}, in case that the leader's copy has other rights
            than this one.
        @return: whether the command is proposed. If it is not, nothing has happened.
        @raise EtcdError: the command is refused, or there is no room for it; see L{propose}.
        """

    def forward(command: Change, user: str | None = None) -> "Deferred[Event]":
        """
        Do what L{propose} does, on any machine: one that does not lead has the leader put the command into the log.
        Fires once it is applied here, as on the leader.

        The leader refuses the command with error 110 if the user may not make the change, as its copy has it.

        @param user: the user who wants the change; C{None} if this machine itself does, which may do everything.

        Errbacks with L{etcd_twisted.errors.RequestDroppedError} if it was not made and may be tried again: no leader
        is known or connected, or it does not lead any more; with L{etcd_twisted.errors.CannotForwardError} if only the
        client itself can ask the leader.
        """

    def confirm_at_leader(recent: bool) -> "Deferred[None]":
        """
        Do what L{confirm_reads} does, on any machine: one that does not lead asks the leader, and applies all that
        the leader had applied. Errbacks as L{forward} does.

        @param recent: whether to do what L{confirm_recent} does.
        """

    def ask_leader(question: bytes, user: str) -> "Deferred[bytes]":
        """
        Have the leader do what only the leader does; see L{answer_questions}. Fires once this machine has applied what
        the leader had. Cancelling the Deferred withdraws the question.

        Errbacks as L{forward} does if nothing was done, and with L{ConnectionError} if the leader was asked and has
        not answered, so that nobody knows.

        @param user: the user who asks; it is for the function that answers to find out what the user may do.
        """

    def answer_questions(answer: AnswerQuestion | None) -> None:
        """
        Have a function answer L{ask_leader} of other machines while this one leads.

        @param answer: C{None} for no answers.
        """

    def statistics() -> StoreStatistics:
        """Returns the counters of the store."""

    def measurements() -> Measurements:
        """Returns what this machine measures of itself."""

    def statuses() -> Mapping[str, MachineStatus]:
        """
        Returns what this machine knows of each member of the cluster, itself included, by the ids in the Raft group.
        It asks the others about once a second, whether or not there is a leader. Members that have not answered since
        this machine was started are included. A standby asks nobody, and the mapping is empty.
        """

    def health() -> Health:
        """Returns whether the cluster has a leader and a majority, as far as this machine knows."""

    def cluster_config() -> ClusterConfig:
        """Returns the configuration of the whole cluster, or this machine's defaults while none is set."""

    def configure(config: ClusterConfig) -> "Deferred[None]":
        """Set the configuration of the whole cluster; only on the leader. Errbacks as L{propose} does."""

    def remove(name: str, forbidden_by: str | None = None) -> "Deferred[None]":
        """
        Take a machine out of the cluster; only on the leader. Fires when a quorum knows.

        Errbacks with an L{EtcdError}: 100 if there is no such machine, 300 if it can't be done now or the outcome is
        unknown.

        @param forbidden_by: who wants to keep the machine out until it is allowed again; such a machine need not be in
            the cluster. With C{None} it may join again as soon as there is a place.
        """

    def await_machine(peer_url: str) -> "Deferred[str]":
        """
        Await a machine; only on the leader. The machine that then asks to join from this peer URL may do so, even if
        it was kept out before. Until then it has no vote, nor does it count for a quorum. Fires with the id that
        clients see, from now on and when the machine has joined.

        Errbacks with an L{EtcdError}: 103 if the cluster has no room for it, 109 if a machine has this address or is
        awaited there, 300 if it can't be done now or the outcome is unknown.

        @param peer_url: the address, whose form is checked already.
        """

    def dismiss(member_id: str, for_good: bool) -> "Deferred[None]":
        """
        Await a machine no longer; only on the leader. Errbacks as L{remove} does.

        @param member_id: the id that clients see.
        @param for_good: whether L{was_removed} is to be true of it from then on.
        """

    def forbidden() -> list[Forbidden]:
        """Returns the machines that are kept out of the cluster, sorted by name, as far as this copy knows."""

    def allow(name: str) -> "Deferred[None]":
        """
        Allow a machine that is kept out to join again; only on the leader. Errbacks as L{propose} does: with 100 if
        the machine is not kept out.
        """

    def move(machine_id: str, peer_url: str) -> "Deferred[None]":
        """
        Change the address at which the others look for a machine, until the machine itself says where it is, or at
        which a machine is awaited; only on the leader. Fires when a quorum knows.

        Errbacks with an L{EtcdError}: 100 if there is no such machine, 109 if another machine has the address, 209 if
        the machine is the leader, which knows its own address, 300 if it can't be done now or the outcome is unknown.

        @param machine_id: the id in the Raft group, or of an awaited machine the id that clients see.
        @param peer_url: the new address, whose form is checked already.
        """
