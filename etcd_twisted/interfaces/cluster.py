"""
The cluster as its machines see it: who is in it, what machines ask of each other, and how they are.

This module must never know how these values are sent or stored.
"""

import enum
import re
import urllib.parse
from collections.abc import Mapping
from hashlib import blake2b

import attrs
import msgspec

from etcd_twisted.interfaces.cluster_config import ClusterConfig
from etcd_twisted.keyspace.events import format_time
from etcd_twisted.keyspace.paths import join

PROTOCOL_VERSION = 1
"""The version of the protocol between machines. A machine with another version is refused."""

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")
"""The names that a machine may have."""

DIRECTORY = "/_etcd/machines"
"""The directory in which machines are registered."""


@attrs.frozen
class Machine:
    """
    A registered machine.

    @ivar client_url: where it serves clients; empty for a machine that has not said so yet: one that is on the list
        of those that begin the cluster, and has not come yet.
    @ivar peer_url: where it serves other machines and administrators.
    """

    name: str
    client_url: str
    peer_url: str

    @property
    def key(self) -> str:
        """The key at which it is registered."""
        return join(DIRECTORY, self.name)

    @property
    def value(self) -> str:
        """The value of its key."""
        return urllib.parse.urlencode({"etcd": self.client_url, "raft": self.peer_url})


FORBIDDEN = "/_etcd/forbidden"
"""The directory of the machines that are kept out of the cluster; see L{Forbidden}."""


class Forbidden(msgspec.Struct, frozen=True, rename="camel"):
    """
    A machine that is kept out of the cluster until it is allowed again. It is recognized by its name, and by its own
    id even under another name.

    @ivar by: the address of the administrator who asked for that.
    @ivar since: when that was, in microseconds since the epoch.
    @ivar fingerprint: see L{fingerprint}; empty if the machine was not a member.
    """

    name: str
    by: str = ""
    since: int = 0
    fingerprint: str = ""

    @property
    def key(self) -> str:
        """The key at which it is stored."""
        return forbidden_key(self.name)

    @property
    def value(self) -> str:
        """The value of its key."""
        return msgspec.json.encode(self).decode()

    def refusal(self, peer_url: str) -> str:
        """
        Returns what to tell the machine when it asks to join.

        @param peer_url: the peer URL of the leader.
        """
        by = f"{self.by} forbade it" if self.by else "it was forbidden"
        when = f" at {format_time(self.since)}" if self.since else ""
        allow = f"curl -L -XPUT '{peer_url}/v2/admin/machines/{self.name}?forbid=false'"
        return f"{self.name} is kept out of the cluster: {by}{when}; to allow it again: {allow}"


def forbidden_key(name: str) -> str:
    """Returns the key at which L{Forbidden} is stored."""
    return join(FORBIDDEN, name)


class JoinRequest(msgspec.Struct, frozen=True):
    """The request of a machine that wants to be a member, or of a member that has new addresses."""

    version: int
    machine_id: str
    cluster_id: str
    """Empty for a machine that is in no cluster yet."""
    name: str
    client_url: str
    peer_url: str


class JoinReply(msgspec.Struct, frozen=True):
    """What a new member needs to know."""

    cluster_id: str


class ClusterView(msgspec.Struct, frozen=True):
    """
    A cluster as one of its machines sees it.

    @ivar machines: the members.
    @ivar leader: the name of the member that leads; empty while none is known.
    @ivar configuration_index: the log index of the newest configuration that the machine knows; 0 if it does not say.
    @ivar fingerprints: the fingerprints of the machines whose messages it takes; see L{fingerprint}.
    @ivar ids: the fingerprint of each of C{machines}, by name; empty from a machine of an older version.
    @ivar heard: the fingerprints of the other members from which the machine has had messages since it was started.
    @ivar waits: whether the machine waits for others to begin this cluster with, and has taken part in nothing yet.
    """

    cluster_id: str
    machines: list[Machine]
    leader: str
    config: ClusterConfig
    configuration_index: int = 0
    fingerprints: tuple[str, ...] = ()
    ids: dict[str, str] = {}
    heard: tuple[str, ...] = ()
    waits: bool = False

    def members(self) -> dict[str, Machine]:
        """Returns the machines whose fingerprints are known, by fingerprint."""
        return {self.ids[each.name]: each for each in self.machines if each.name in self.ids}


_NAMES_ON_THE_WIRE = {
    "wall_time_microseconds": "wall_time",
    "cluster_time_microseconds": "cluster_time",
    "cluster_time_error_microseconds": "cluster_time_error",
    "uptime_microseconds": "uptime",
}


class StatusReport(msgspec.Struct, frozen=True, rename=_NAMES_ON_THE_WIRE):
    """
    What a machine reports of itself when another member asks, about once a second.

    Fields are only ever added, with defaults for machines that do not send them.

    @ivar wall_time_microseconds: the time of its own clock, since the epoch.
    @ivar cluster_time_microseconds: the time by which keys expire, as far as the machine knows it, since the epoch.
    @ivar cluster_time_error_microseconds: how wrong C{cluster_time_microseconds} may be: 0 on the leader; C{None} on a
        machine that only has its own clock to go by.
    @ivar cluster_term: the term of the leader from which the machine has the cluster time.
    @ivar role: C{leader}, C{candidate}, C{follower} or C{learner}.
    @ivar applied: the index of the last log entry that it has applied.
    @ivar uptime_microseconds: how long it has taken part in the cluster without a restart.
    """

    wall_time_microseconds: int
    cluster_time_microseconds: int
    cluster_time_error_microseconds: int | None
    role: str
    term: int
    applied: int
    version: str
    uptime_microseconds: int
    cluster_term: int = -1


class Admission(enum.Enum):
    """Whether this machine takes messages of another one."""

    MEMBER = enum.auto()
    """Yes: the other one is a member."""
    UNCONFIRMED = enum.auto()
    """Not yet: the other one claims to be in a newer configuration than this machine knows, and others are asked."""
    STRANGER = enum.auto()
    """No: the other one is not a member."""


def fingerprinted(cluster_id: str, members: Mapping[str, Machine]) -> dict[str, Machine]:
    """Returns machines by their fingerprints instead of by their own ids."""
    return {fingerprint(cluster_id, machine_id): machine for machine_id, machine in members.items()}


def fingerprint(cluster_id: str, machine_id: str) -> str:
    """
    Returns the id of a machine that is shown to whoever asks who is in its cluster: 16 hex digits. Whoever knows it
    can check that a machine's own id is the right one, but can't pass itself off as the machine.
    """
    return blake2b(machine_id.encode(), digest_size=8, key=cluster_id.encode()).hexdigest()


CLOCK_BOUND_SECONDS = 1.0
"""How much the clocks of two machines may differ before a warning is logged."""


@attrs.frozen
class MachineStatus:
    """
    What this machine knows of a member of its cluster, which may be itself.

    @ivar reachable: whether the member has answered the last request and is not late with the next answer. A member
        of a version that can't be asked counts as reachable while there is a connection.
    @ivar since: when C{reachable} last changed, by this machine's clock, in microseconds since the epoch. For a member
        that has not answered yet, this is when the first request was sent.
    @ivar lasted_seconds: how long ago that was.
    @ivar problem: why the member is not reachable, in words; empty when it is.
    @ivar report: the member's last answer; C{None} when it has not answered yet, or can't be asked.
    @ivar round_trip_seconds: how long its last answer took.
    @ivar clock_ahead_seconds: how far its clock is ahead of this machine's; negative when it is behind.
    @ivar clock_error_seconds: how wrong C{clock_ahead_seconds} may be. Both are C{None} while the member does not
        answer.
    """

    machine_id: str
    name: str
    reachable: bool
    since: int
    lasted_seconds: float
    problem: str = ""
    report: StatusReport | None = None
    round_trip_seconds: float | None = None
    clock_ahead_seconds: float | None = None
    clock_error_seconds: float | None = None

    @property
    def clock_differs(self) -> bool:
        """Whether its clock differs by more than L{CLOCK_BOUND_SECONDS} for certain."""
        ahead, error = self.clock_ahead_seconds, self.clock_error_seconds
        return ahead is not None and error is not None and abs(ahead) - error > CLOCK_BOUND_SECONDS


@attrs.frozen
class Health:
    """
    Whether the cluster has a leader and a majority, as far as this machine knows.

    @ivar statuses: the status of each member, by its id in the Raft group; empty on a standby, which asks nobody.
    @ivar voters: the ids of the members that have a vote.
    @ivar leader: the name of the machine that leads; empty while none is known.
    """

    statuses: Mapping[str, MachineStatus]
    voters: frozenset[str]
    leader: str

    @property
    def answering(self) -> int:
        """How many voters answer, this machine included."""
        return sum(self.statuses[each].reachable for each in self.voters if each in self.statuses)

    @property
    def needed(self) -> int:
        """How many voters make a majority; 0 on a standby."""
        return len(self.voters) // 2 + 1 if self.voters else 0

    @property
    def has_majority(self) -> bool:
        """Whether a majority answers."""
        return self.answering >= self.needed

    @property
    def missing(self) -> list[MachineStatus]:
        """The members that do not answer, with or without a vote."""
        return [each for each in self.statuses.values() if not each.reachable]

    @property
    def count(self) -> str:
        """A sentence about how many machines answer and how many are needed."""
        answer = "answers" if self.answering == 1 else "answer"
        need = "is" if self.needed == 1 else "are"
        return f"{self.answering} of {len(self.voters)} machines {answer}; {self.needed} {need} needed"
