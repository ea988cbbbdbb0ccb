"""
The meaning of the committed log: the key space that every machine has to have, entry by entry.

It is built by applying each entry once, when the first machine knows that it is committed, and must never depend on
anything but the log.
"""

import contextlib

from etcd_twisted.consensus.cluster_keys import registrations
from etcd_twisted.consensus.machines import machines_of
from etcd_twisted.consensus.raft.configurations import decode_configuration
from etcd_twisted.consensus.raft.entries import Configuration, Entry, EntryKind
from etcd_twisted.errors import EtcdError
from etcd_twisted.keyspace.commands import Command, decode_command
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.nodes import EMPTY_ROOT, Directory
from etcd_twisted.keyspace.space import KeySpace
from etcd_twisted.keyspace.state import KeySpaceState

_EVERYTHING = 1 << 30


class Reference:
    """
    The log, and its effects.

    @ivar entries: the committed ones, from index 1 on.
    @ivar states: the key space's index and tree after each of them, from index 0 on.
    @ivar roots: the tree at each of the key space's indexes at which one can see it.
    @ivar commands: the commands in the entries, and their outcomes, by log index.
    @ivar configuration: the group as of the last entry.
    @ivar asked_times: of the commands that a leader has given other times, by their class and their new time, the time
        that they had when they were forwarded.
    """

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.states: list[tuple[int, Directory]] = [(0, EMPTY_ROOT)]
        self.roots: dict[int, Directory] = {0: EMPTY_ROOT}
        self.commands: dict[int, tuple[Command, Event | EtcdError | None]] = {}
        self.configuration = Configuration(())
        self.asked_times: dict[tuple[str, int], int] = {}
        self._keyspace = KeySpace(_EVERYTHING)

    @property
    def length(self) -> int:
        """How many entries are committed."""
        return len(self.entries)

    @property
    def index(self) -> int:
        """The key space's index."""
        return self._keyspace.index

    def state(self) -> KeySpaceState:
        """The current key space, with its whole history."""
        return self._keyspace.state()

    def commit(self, entry: Entry) -> None:
        """Applies the next entry."""
        self.entries.append(entry)
        if entry.kind is EntryKind.COMMAND:
            self._apply(entry)
        elif entry.kind is EntryKind.CONFIGURATION:
            self._change_group(decode_configuration(entry.data))
        self.states.append((self._keyspace.index, self._keyspace.root))
        self.roots[self._keyspace.index] = self._keyspace.root

    def _apply(self, entry: Entry) -> None:
        command = decode_command(entry.data)
        try:
            result: Event | EtcdError | None = self._keyspace.apply(command)
        except EtcdError as error:
            error.__traceback__ = None  # the traceback would keep the machine in memory
            result = error
        self.commands[entry.index] = (command, result)

    def _change_group(self, configuration: Configuration) -> None:
        before, self.configuration = self.configuration, configuration
        for command in registrations(self._keyspace.root, machines_of(before), machines_of(configuration)):
            with contextlib.suppress(EtcdError):
                self._keyspace.apply(command)
