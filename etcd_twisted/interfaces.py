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


class IReactor(IReactorTime, IReactorTCP, IReactorFromThreads):
    """
    What a machine needs of Twisted's reactor. For type checks only: a reactor provides each of the three, and does
    not know that they have a name together.
    """


class IReplica(Interface):
    """This machine's copy of the key space, and the way to change all copies."""

    name: str = Attribute("This machine's name.")
    serving: bool = Attribute("Whether requests can be answered: recovered, and a leader is known.")
    index: int = Attribute("The key space's index.")
    raft_index: int = Attribute("The index of the last applied log entry.")
    term: int = Attribute("The Raft term.")
    is_leader: bool = Attribute("Whether this machine leads.")
    leading_since: int = Attribute("When this machine became the leader, in microseconds since the epoch.")

    def now() -> int:
        """The time by which keys expire, in microseconds since the epoch."""

    def when_serving() -> "Deferred[None]":
        """
        Fires when requests can be answered, at once if they can. Errbacks with an EtcdError when the service stops
        before.
        """

    def leader() -> Machine | None:
        """The machine that leads, C{None} when none is known."""

    def machines() -> list[Machine]:
        """All registered machines."""

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

    def watch(
        key: str, recursive: bool, stream: bool, since: int | None, deliver: Callable[[Event], None]
    ) -> Watcher:
        """
        Wait for changes, see L{etcd_twisted.keyspace.space.KeySpace.watch}.

        @raise EtcdError: 401.
        """

    def propose(command: Change) -> "Deferred[Event]":
        """
        Change the key space. Fires with what happened, once a quorum has it on disk and it is applied here.

        Errbacks with the L{EtcdError} that the command met, or with 300 when its outcome is unknown. A command that
        can't be kept is refused before it is logged: with 202 if it expires before the epoch or after
        L{etcd_twisted.keyspace.events.LAST_MOMENT}, with 209 if its key is not clean
        (L{etcd_twisted.keyspace.paths.clean}) or a field has another type than it should, with 210 if a text can't be
        written as UTF-8.
        """

    def statistics() -> StoreStatistics:
        """The store's counters."""


class IFrontend(Interface):
    """
    A protocol that serves strangers from a replica: built in, or found through C{twisted.plugin} and switched on by
    C{--frontend NAME[:option=value...]}.
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
