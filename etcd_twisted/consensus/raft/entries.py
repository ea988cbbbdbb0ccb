"""
What the Raft log is made of. The layouts here are the on-disk layouts: C{docs/storage.md} describes them,
and a change to one is a new format version, but for a field with a default at its end.
"""

import enum

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

    A C{msgspec.Struct} and not an attrs class because it goes to disk and to other machines as it is,
    and because thousands of them live at a time without the cyclic collector having to look at them.
    """

    index: int
    term: int
    kind: EntryKind
    data: bytes


class HardState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a machine must remember before it acts on it (Raft paper, figure 2): its term and its vote."""

    term: int = 0
    vote: str = ""
    """The machine id voted for in this term, or C{""}."""


class Member(msgspec.Struct, array_like=True, frozen=True):
    """How a machine of the group is called and reached; the core does not look at it."""

    name: str
    client_url: str
    peer_url: str


class Configuration(msgspec.Struct, array_like=True, frozen=True):
    """
    The members of the Raft group, by machine id.

    @ivar voters: those whose majority is a quorum.
    @ivar learners: those who get the log and have no vote yet (dissertation, section 4.2.1).
    @ivar members: how each is called and reached.
    """

    voters: tuple[str, ...]
    learners: tuple[str, ...] = ()
    members: dict[str, Member] = {}

    def __contains__(self, machine_id: str) -> bool:
        return machine_id in self.voters or machine_id in self.learners


class Record(msgspec.Struct, array_like=True, frozen=True):
    """
    One append to the write-ahead log: everything that one sync makes durable.

    Entries are contiguous. If the first one's index is not above the last one already in the log,
    it and all behind it are replaced (Raft paper, section 5.3, conflicting entries).
    """

    hard_state: HardState | None
    entries: tuple[Entry, ...]


class SnapshotMetadata(msgspec.Struct, array_like=True, frozen=True):
    """
    What a snapshot stands for: the log up to and including C{index}.

    @ivar time: a time by which keys had expired or not when it was taken, in microseconds since the epoch; 0 in one
        that does not say.
    """

    index: int
    term: int
    configuration: Configuration
    cluster_id: str = ""
    """Of which cluster; C{""} in a snapshot of a version that did not say so."""
    time: int = 0
