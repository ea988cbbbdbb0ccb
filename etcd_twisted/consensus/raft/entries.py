"""
The values that the Raft log is made of. Their layouts are also the layouts on disk, which C{docs/storage.md}
describes: every change to one needs a new format version, except for a new field with a default at the end.
"""

import enum
from collections.abc import Sequence
from operator import attrgetter

import msgspec


@enum.unique
class EntryKind(enum.IntEnum):
    """What an entry's data means."""

    COMMAND = 0
    """A command for the state machine, encoded by it."""
    CONFIGURATION = 1
    """The members of the group, as an encoded L{Configuration}."""
    EMPTY = 2
    """Nothing: a new leader's first entry, by which it commits what earlier terms left."""


class Entry(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """
    One entry of the log (Raft paper, section 5.3).

    It is a C{msgspec.Struct} and not an attrs class because it is written to disk and sent to other machines in this
    very layout, and because thousands of entries exist at a time and the cyclic garbage collector need not visit them.
    """

    index: int
    term: int
    kind: EntryKind
    data: bytes


index_of, term_of = attrgetter("index"), attrgetter("term")
kind_of, data_of = attrgetter("kind"), attrgetter("data")
"""The fields of an entry, for C{map}: thousands of entries a second need no loop in Python."""

_COMMAND = EntryKind.COMMAND


def are_commands(entries: Sequence[Entry]) -> bool:
    """Returns whether all entries are commands."""
    return list(map(kind_of, entries)).count(_COMMAND) == len(entries)


def data_bytes(entries: Sequence[Entry]) -> int:
    """Returns how many bytes of data entries hold."""
    return sum(map(len, map(data_of, entries)))


class HardState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The term and the vote of a machine, which must be durable before it acts on them (Raft paper, figure 2)."""

    term: int = 0
    vote: str = ""
    """The id of the machine voted for in this term, or C{""}."""


class Member(msgspec.Struct, array_like=True, frozen=True):
    """The name and the addresses of a machine of the group. The core does not look at them."""

    name: str
    client_url: str
    peer_url: str


class Configuration(msgspec.Struct, array_like=True, frozen=True):
    """
    The members of the Raft group, by machine id.

    @ivar voters: the machines that vote; a majority of them is a quorum.
    @ivar learners: the machines that receive the log but have no vote yet (dissertation, section 4.2.1).
    @ivar members: the name and the addresses of each machine.
    """

    voters: tuple[str, ...]
    learners: tuple[str, ...] = ()
    members: dict[str, Member] = {}

    def __contains__(self, machine_id: str) -> bool:
        return machine_id in self.voters or machine_id in self.learners


class Record(msgspec.Struct, array_like=True, frozen=True):
    """
    One append to the write-ahead log: everything that one sync makes durable.

    The entries are contiguous. If the log already has an entry at the index of the first one, that entry and all that
    follow it are replaced (Raft paper, section 5.3, conflicting entries).
    """

    hard_state: HardState | None
    entries: tuple[Entry, ...]


class SnapshotMetadata(msgspec.Struct, array_like=True, frozen=True):
    """
    What a snapshot covers: the log up to and including C{index}.

    @ivar time: the cluster time when the snapshot was taken, in microseconds since the epoch; 0 in a snapshot that
        does not tell.
    """

    index: int
    term: int
    configuration: Configuration
    cluster_id: str = ""
    """The cluster that the snapshot is of; C{""} in one by a version that did not record it."""
    time: int = 0
