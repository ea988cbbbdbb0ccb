"""
The configurations of the Raft group that a machine's log holds (dissertation, chapter 4).

The newest configuration is in force, committed or not; it is dropped when a leader replaces its entry. At most one
configuration is uncommitted, and it has at most one voter more or less than the one before. This module must never
know which machine this is, nor what is committed.
"""

from collections.abc import Iterable, Iterator

import msgspec

from etcd_twisted.consensus.raft.entries import Configuration, Entry, EntryKind, HardState, Member, Record
from etcd_twisted.consensus.raft.errors import ConfigurationError

encode_configuration = msgspec.msgpack.Encoder().encode
decode_configuration = msgspec.msgpack.Decoder(Configuration).decode


def bootstrap(machine_id: str, member: Member) -> Record:
    """Returns the first record of a new group: a configuration with one voter, which nobody else can contradict."""
    return first_record(Configuration((machine_id,), (), {machine_id: member}))


def first_record(configuration: Configuration) -> Record:
    """
    Returns the first record of a new group. If several machines begin the group, each of them has the same one: it
    takes a majority of them to commit anything after it.
    """
    entry = Entry(1, 1, EntryKind.CONFIGURATION, encode_configuration(configuration))
    return Record(HardState(1, ""), (entry,))


def differences(before: Configuration, after: Configuration) -> Iterator[str]:
    """Yields one line for each change between two configurations, for the log that people read."""
    for machine_id, member in after.members.items():
        known = before.members.get(machine_id)
        if known is None:
            yield f"{member.name} at {member.peer_url} has joined the cluster"
        elif known != member:
            called = member.name if known.name == member.name else f"{known.name} is called {member.name}, and"
            yield f"{called} is at {member.peer_url} for machines and at {member.client_url} for clients from now on"
        if machine_id in after.voters and machine_id not in before.voters:
            yield f"{member.name} has a vote"
    for machine_id, member in before.members.items():
        if machine_id not in after.members:
            yield f"{member.name} is no longer in the cluster"


class Configurations:
    """
    The newest configuration that the last snapshot covers and those that follow it, each with the index of its entry.

    @ivar current: the newest configuration, which is the one in force.
    @ivar index: the index of the entry that holds L{current}.
    """

    def __init__(self, index: int, configuration: Configuration) -> None:
        """
        @param index: the index of the snapshot that C{configuration} is from.
        """
        self._stack = [(index, configuration)]
        self.index, self.current = index, configuration

    def __iter__(self) -> Iterator[tuple[int, Configuration]]:
        return iter(self._stack)

    def __getitem__(self, part: slice) -> list[tuple[int, Configuration]]:
        return self._stack[part]

    def since(self, index: int) -> Iterator[Configuration]:
        """Yields the newest configuration at or before C{index} and all later ones, newest first."""
        for at, configuration in reversed(self._stack):
            yield configuration
            if at <= index:
                return

    def index_at(self, commit: int) -> int:
        """Returns the index of the newest configuration that is committed when C{commit} is the commit index."""
        return next((at for at, _ in reversed(self._stack) if at <= commit), self._stack[0][0])

    def adopt(self, entries: Iterable[Entry]) -> None:
        """Take the configurations among entries that were added to the log."""
        for entry in entries:
            if entry.kind is EntryKind.CONFIGURATION:
                self._stack.append((entry.index, decode_configuration(entry.data)))
        self.index, self.current = self._stack[-1]

    def replaced_after(self, index: int) -> None:
        """
        Drop the configurations after C{index}, whose entries are no longer in the log. None of them is committed.
        """
        while self._stack[-1][0] > index:
            self._stack.pop()
        self.index, self.current = self._stack[-1]

    def compacted(self, index: int) -> None:
        """Drop the configurations that nobody needs now that a snapshot covers the log up to C{index}."""
        while len(self._stack) > 1 and self._stack[1][0] <= index:
            del self._stack[0]

    def installed(self, index: int, configuration: Configuration) -> None:
        """Begin with a snapshot's configuration, and keep those after it that are still in the log."""
        self._stack = [(index, configuration), *(each for each in self._stack if each[0] > index)]
        self.index, self.current = self._stack[-1]

    def check_change(self, configuration: Configuration) -> None:
        """
        Check that a change keeps the rules.

        @raise ConfigurationError: the change breaks one of them.
        """
        if len({*configuration.voters, *configuration.learners}) < len(configuration.voters + configuration.learners):
            raise ConfigurationError("a machine can't be in the group twice")
        if len(set(self.current.voters) ^ set(configuration.voters)) > 1 or not configuration.voters:
            raise ConfigurationError("only one voter at a time can come or go, and one has to stay")
