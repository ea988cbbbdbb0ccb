"""
What machines tell each other about who is in the cluster, and what is set for the cluster as a whole.

Must never know how it is asked or stored.
"""

import enum
import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import attrs
import msgspec

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.keyspace import tree
from etcd_twisted.keyspace.events import format_time
from etcd_twisted.keyspace.nodes import Directory, File
from etcd_twisted.keyspace.paths import join
from etcd_twisted.machines import Machine

PROTOCOL_VERSION = 1
"""What machines speak with each other; one of another version is refused."""

CONFIG_KEY = "/_etcd/config"
"""Where L{ClusterConfig} is kept, once somebody has set it."""

FORBIDDEN = "/_etcd/forbidden"
"""Where the machines are kept that are kept out of the cluster, see L{Forbidden}."""

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")
"""What a machine may be called."""

LEAST_ACTIVE_SIZE = 3
LARGEST_ACTIVE_SIZE = 2**31 - 1
"""What the active size may be (spec, section 3, "Admin")."""

LEAST_REMOVE_DELAY = 2.0
LONGEST_REMOVE_DELAY = 2.0**31 - 1
"""What the delay may be, in seconds (likewise)."""

LEAST_SYNC_INTERVAL = 1.0
LONGEST_SYNC_INTERVAL = 86_400.0
"""
What the interval may be, in seconds (likewise). The reactor's poll takes a wait of at most 24 days; nobody means one
of more than a day.
"""

_LONGEST_SHOWN = 40

_LONGEST_BY = 100
"""How long the address of an administrator may be, in characters."""


class ClusterConfig(msgspec.Struct, frozen=True, rename="camel"):
    """
    What is the same for a whole cluster (api, "Cluster Config").

    @ivar active_size: how many machines take part in consensus; the others are standbys.
    @ivar remove_delay: after how many seconds without a word from it a machine is removed.
    @ivar sync_interval: how often a standby looks whether there is a place for it, in seconds.
    """

    active_size: int = 9
    remove_delay: float = 1800.0
    sync_interval: float = 5.0


@attrs.frozen
class _Field:
    """
    What a field of a L{ClusterConfig} may be.

    @ivar name: as an attribute.
    @ivar too_large: the error when it is a number above C{largest}.
    """

    name: str
    whole: bool
    least: float
    largest: float
    too_large: ErrorCode

    def problem(self, value: object) -> ErrorCode | None:
        """What is wrong with a value; C{None} if nothing is."""
        if not isinstance(value, int | float) or isinstance(value, bool):
            return ErrorCode.INVALID_FIELD
        if self.whole and value != int(value):
            return ErrorCode.INVALID_FIELD
        return None if value <= self.largest else self.too_large

    def read(self, value: float) -> float:
        """Returns the value that is kept: one below the minimum is raised to it."""
        raised = max(self.least, value)
        return int(raised) if self.whole else float(raised)

    def __str__(self) -> str:
        unit = "a whole number" if self.whole else "a number of seconds"
        return f"{unit} from {self.least:g} to {self.largest:.0f}"


_FIELDS = {
    "activeSize": _Field(
        "active_size", True, LEAST_ACTIVE_SIZE, LARGEST_ACTIVE_SIZE, ErrorCode.INVALID_ACTIVE_SIZE
    ),
    "removeDelay": _Field(
        "remove_delay", False, LEAST_REMOVE_DELAY, LONGEST_REMOVE_DELAY, ErrorCode.STANDBY_REMOVE_DELAY
    ),
    "syncInterval": _Field(
        "sync_interval", False, LEAST_SYNC_INTERVAL, LONGEST_SYNC_INTERVAL, ErrorCode.INVALID_FIELD
    ),
}

LONGEST_CONFIG_BYTES = 1 << 16
"""How long what is set may be in JSON; decoded, other JSON takes twenty times its length in memory."""

_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


def read_config(text: str | bytes, base: ClusterConfig) -> ClusterConfig:
    """
    Read what somebody wants to be set. A number below a field's minimum is raised to it, as the reference does.

    @param text: JSON.
    @param base: what it is where the text does not say.
    @raise EtcdError: 210 when this is no JSON object, or far too long; else with each field that can't be used and
        what it should be: 209 for one that is unknown, of another type or an interval that is too large, 403 for an
        active size and 404 for a delay that is too large.
    """
    if len(text) > LONGEST_CONFIG_BYTES:
        cause = f"the configuration should be a JSON object of at most {LONGEST_CONFIG_BYTES} bytes, not {len(text)}"
        raise EtcdError(ErrorCode.INVALID_FORM, cause)
    try:
        given = _decode_object(text)
    except (ValueError, RecursionError) as error:
        raise EtcdError(ErrorCode.INVALID_FORM, f"the configuration should be a JSON object: {error}") from None
    problems: list[tuple[ErrorCode, str]] = []
    values: dict[str, float] = {}
    for name, value in given.items():
        field = _FIELDS.get(name)
        if field is None:
            problems.append((ErrorCode.INVALID_FIELD, f"{name[:_LONGEST_SHOWN]} is none of {', '.join(_FIELDS)}"))
        elif (problem := field.problem(value)) is not None:
            problems.append((problem, f"{name} should be {field}"))
        else:
            values[field.name] = field.read(value)
    if problems:
        raise EtcdError(problems[0][0], "; ".join(text for _, text in problems[: len(_FIELDS)]))
    return msgspec.structs.replace(base, **values)


def written(config: ClusterConfig) -> str:
    """As it is kept and shown: JSON, whole numbers without a fraction."""
    fields = {name: getattr(config, name) for name in ClusterConfig.__struct_fields__}
    whole = {name: int(value) if value == int(value) else value for name, value in fields.items()}
    return msgspec.json.encode(ClusterConfig(**whole)).decode()


def stored_config(root: Directory) -> ClusterConfig | None:
    """What is kept in a key space; C{None} when nobody has set it, or what is there is none."""
    try:
        node = tree.walk(root, CONFIG_KEY).node
        return read_config(node.value, ClusterConfig()) if isinstance(node, File) else None
    except EtcdError:
        return None


class Forbidden(msgspec.Struct, frozen=True, rename="camel"):
    """
    A machine that is kept out of the cluster until it is allowed again. It is known by its name, and by its own id
    under whatever name it comes back.

    @ivar by: who asked for that: the address of an administrator.
    @ivar since: microseconds since the epoch.
    @ivar fingerprint: see L{fingerprint}; empty if it was not a member.
    """

    name: str
    by: str = ""
    since: int = 0
    fingerprint: str = ""

    @property
    def key(self) -> str:
        """Where it is kept."""
        return forbidden_key(self.name)

    @property
    def value(self) -> str:
        """What its key holds."""
        return msgspec.json.encode(self).decode()

    def refusal(self, peer_url: str) -> str:
        """
        What the machine is told that asks to be taken in.

        @param peer_url: the leader's.
        """
        by = f"{self.by} forbade it" if self.by else "it was forbidden"
        when = f" at {format_time(self.since)}" if self.since else ""
        allow = f"curl -L -XPUT '{peer_url}/v2/admin/machines/{self.name}?forbid=false'"
        return f"{self.name} is kept out of the cluster: {by}{when}; to allow it again: {allow}"


def forbidden_key(name: str) -> str:
    """Where L{Forbidden} is kept."""
    return join(FORBIDDEN, name)


def forbidden_machines(root: Directory) -> list[Forbidden]:
    """
    Returns the machines that a key space keeps out, by name. A key that a client has put there counts too, if a
    machine can have that name: what is in it is logged, and is part of a command that people copy from the log.
    """
    try:
        directory = tree.walk(root, FORBIDDEN).node
    except EtcdError:
        return []
    if not isinstance(directory, Directory):
        return []
    found = sorted(directory.children.items())
    return [_forbidden(name, node.value) for name, node in found if isinstance(node, File) and NAME.fullmatch(name)]


def _forbidden(name: str, value: str) -> Forbidden:
    try:
        found = _decode_forbidden(value)
    except (ValueError, RecursionError):  # msgspec's errors are some
        return Forbidden(name)
    by = found.by if found.by.isprintable() and len(found.by) <= _LONGEST_BY else ""
    return msgspec.structs.replace(found, name=name, by=by)


_decode_forbidden = msgspec.json.Decoder(Forbidden).decode


class JoinRequest(msgspec.Struct, frozen=True):
    """A machine that wants to be a member, or one with new addresses."""

    version: int
    machine_id: str
    cluster_id: str
    """Empty for one that is of no cluster yet."""
    name: str
    client_url: str
    peer_url: str


class JoinReply(msgspec.Struct, frozen=True):
    """What a new member has to know."""

    cluster_id: str


class ClusterView(msgspec.Struct, frozen=True):
    """
    A cluster as one of its machines sees it.

    @ivar machines: its members.
    @ivar leader: the name of the one that leads, or empty.
    @ivar configuration_index: the log index of the newest configuration that the machine knows; 0 for one that does
        not say.
    @ivar fingerprints: of the machines whose messages it takes, see L{fingerprint}.
    @ivar ids: the fingerprint of each of C{machines}, by name; empty from a machine of an older version.
    """

    cluster_id: str
    machines: list[Machine]
    leader: str
    config: ClusterConfig
    configuration_index: int = 0
    fingerprints: tuple[str, ...] = ()
    ids: dict[str, str] = {}

    def members(self) -> dict[str, Machine]:
        """The machines, by their fingerprints; those whose fingerprint is known."""
        return {self.ids[each.name]: each for each in self.machines if each.name in self.ids}


class StatusReport(msgspec.Struct, frozen=True):
    """
    What a machine says of itself when another member asks, about once a second. Times are in microseconds.

    A field is only ever added, with a default for machines that do not send it.

    @ivar wall_time: what its own clock shows, since the epoch.
    @ivar cluster_time: the time by which keys expire as far as it knows it, since the epoch.
    @ivar cluster_time_error: how far off that may be: 0 for the leader; C{None} for one that knows no better than its
        own clock.
    @ivar cluster_term: the term of the leader from which it has the cluster time.
    @ivar role: C{leader}, C{candidate}, C{follower} or C{learner}.
    @ivar applied: the index of the last log entry that it has applied.
    @ivar uptime: for how long it has taken part in the cluster without a restart.
    """

    wall_time: int
    cluster_time: int
    cluster_time_error: int | None
    role: str
    term: int
    applied: int
    version: str
    uptime: int
    cluster_term: int = -1


class Admission(enum.Enum):
    """Whether messages of another machine are taken."""

    MEMBER = enum.auto()
    """They are."""
    UNCONFIRMED = enum.auto()
    """Not yet: it says to be of a newer configuration than this machine's, and others are asked whether it is."""
    STRANGER = enum.auto()
    """They are not."""


def fingerprinted(cluster_id: str, members: Mapping[str, Machine]) -> dict[str, Machine]:
    """Machines by their fingerprints instead of by their own ids."""
    return {fingerprint(cluster_id, machine_id): machine for machine_id, machine in members.items()}


def fingerprint(cluster_id: str, machine_id: str) -> str:
    """
    What a machine is known by to those who ask who is in its cluster: 16 hex digits. Who has been told it can tell
    whether an id is the right one, and can't pass itself off as the machine.
    """
    return blake2b(machine_id.encode(), digest_size=8, key=cluster_id.encode()).hexdigest()
