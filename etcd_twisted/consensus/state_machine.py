"""
The state machine (Raft paper, section 2): applies committed entries to the key space.

It tells the proposer of an entry, if that is on this machine, the outcome. It must never apply an entry twice or out
of order, nor read a clock to decide what a command does.
"""

from itertools import groupby
from operator import attrgetter

from twisted.logger import Logger

from etcd_twisted.consensus.clocks.cluster_time import ClusterTime
from etcd_twisted.consensus.cluster_keys import registrations
from etcd_twisted.consensus.machines import machines_of
from etcd_twisted.consensus.proposals.pending import Proposals
from etcd_twisted.consensus.raft.configurations import decode_configuration, differences
from etcd_twisted.consensus.raft.entries import (
    Configuration,
    Entry,
    EntryKind,
    SnapshotMetadata,
    data_bytes,
    data_of,
    kind_of,
)
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.keyspace.commands import Command, decode_command
from etcd_twisted.keyspace.expiry import ExpirySchedule
from etcd_twisted.keyspace.space import KeySpace, Outcome
from etcd_twisted.keyspace.state import KeySpaceState
from etcd_twisted.waiters import Observers

_time_of = attrgetter("time")

ENTRIES_PER_TURN = 256
"""How many entries are applied in one turn of the reactor at most."""

_MOST_DELIVERIES = 10_000
"""About how many events may wait to be delivered to watchers before entries have to wait for them."""


class StateMachine:
    """
    The state machine of one member; see the module.

    @ivar keyspace: the key space, for others to read only: every change to it goes through L{apply} or L{restore}.
    @ivar applied_index: the index of the last entry that was applied. It never decreases. Whoever is told an outcome
        finds it at the entry, or at a later one if that was applied together with it, and the key space is as of then.
    @ivar applied_term: the term of that entry.
    @ivar configuration: the group as of that entry.
    @ivar bytes_since_snapshot: how many bytes of data the entries hold that were applied since the last snapshot.
    @ivar on_restored: called when another machine's snapshot has replaced the key space.
    """

    _log = Logger()

    def __init__(
        self,
        keyspace: KeySpace,
        time: ClusterTime,
        proposals: Proposals,
        snapshot: SnapshotMetadata,
        last_index: int,
        entries_per_turn: int = ENTRIES_PER_TURN,
        logs_changes: bool = True,
    ) -> None:
        """
        @param time: the cluster time, which observes the times in commands.
        @param proposals: the proposals of this machine that are not applied yet.
        @param snapshot: the snapshot that the key space holds.
        @param last_index: the last index of the log when this machine was started. Changes of the group up to there
            are not logged again.
        @param logs_changes: whether changes of the group are logged at all.
        """
        self.on_restored: Observers = []
        self.keyspace = keyspace
        self.applied_index = snapshot.index
        self.applied_term = snapshot.term
        self.configuration = snapshot.configuration
        self._time = time
        self._proposals = proposals
        self._last_index = last_index
        self._entries_per_turn = entries_per_turn
        self._logs_changes = logs_changes
        self.bytes_since_snapshot = 0

    @property
    def has_all_from_before(self) -> bool:
        """Whether everything is applied that the log held when this machine was started."""
        return self.applied_index >= self._last_index

    def room(self) -> int:
        """
        Returns how many entries may be applied in this turn: fewer with many watchers, and none while too many events
        wait to be delivered to them.
        """
        hub = self.keyspace.hub
        if len(hub.deliveries) >= _MOST_DELIVERIES:
            return 0
        return max(1, min(self._entries_per_turn, _MOST_DELIVERIES // (hub.count + 1)))

    # Entries

    def apply(self, entries: tuple[Entry, ...]) -> None:
        """
        Apply the next committed entries. All commands in a row are carried out before anybody is told an outcome.
        """
        self.bytes_since_snapshot += data_bytes(entries)
        for kind, group in groupby(entries, kind_of):
            if kind is EntryKind.COMMAND:
                self._apply_commands(tuple(group))
            else:
                for entry in group:
                    self._apply_other(entry)

    def _apply_commands(self, entries: tuple[Entry, ...]) -> None:
        proposals = self._proposals.take(entries)
        outcomes: list[Outcome] = []
        try:
            if any(proposals):
                pairs = zip(entries, proposals, strict=True)
                commands = [self._decoded((e,))[0] if p is None or p.command is None else p.command for e, p in pairs]
            else:
                commands = self._decoded(entries)
            self.keyspace.apply_all(commands, outcomes)  # a command that fails does so on all machines
        finally:
            missing = len(entries) - len(outcomes)
            if missing:
                cause = "this machine can't go on: applying the change failed; its log says more"
                outcomes += missing * [EtcdError(ErrorCode.RAFT_INTERNAL, cause, self.keyspace.index)]
            if missing < len(entries):
                self._set_applied(entries[-missing - 1])
            self._proposals.tell(entries, proposals, outcomes)

    def _decoded(self, entries: tuple[Entry, ...]) -> list[Command]:
        """Returns the commands in entries that another machine has put into the log, or this one before a restart."""
        commands = list(map(decode_command, map(data_of, entries)))
        self._time.observe(max(map(_time_of, commands)))
        self._proposals.unchecked_bytes = 0
        return commands

    def _apply_other(self, entry: Entry) -> None:
        proposals = self._proposals.take((entry,))
        self._proposals.unchecked_bytes = 0
        self._set_applied(entry)
        if entry.kind is EntryKind.CONFIGURATION:
            configuration = decode_configuration(entry.data)
            if entry.index > self._last_index:
                self._log_differences(configuration)
            self._reconfigure(configuration)
        self._proposals.tell((entry,), proposals, (None,))

    def _set_applied(self, entry: Entry) -> None:
        self.applied_index = entry.index
        self.applied_term = entry.term

    def _log_differences(self, configuration: Configuration) -> None:
        if not self._logs_changes:
            return
        for line in differences(self.configuration, configuration):
            self._log.info("{change}", change=line)

    def _reconfigure(self, configuration: Configuration) -> None:
        """Register the machines of the group in the key space, as a part of the entry that makes them members."""
        before, self.configuration = self.configuration, configuration
        for command in registrations(self.keyspace.root, machines_of(before), machines_of(configuration)):
            try:
                self.keyspace.apply(command)
            except EtcdError as error:
                self._log.error("Can't keep {key}: {error}; remove what stands there", key=command.key, error=error)

    # Snapshots

    def snapshot(self) -> tuple[SnapshotMetadata, KeySpaceState]:
        """Returns the metadata and the content of a snapshot of this moment, and counts the bytes since then."""
        self.bytes_since_snapshot = 0
        return self.view()

    def view(self) -> tuple[SnapshotMetadata, KeySpaceState]:
        """Returns what L{snapshot} does. This takes no longer for a large key space."""
        metadata = SnapshotMetadata(self.applied_index, self.applied_term, self.configuration, time=self._time.least)
        return metadata, self.keyspace.state()

    def restore(self, content: KeySpaceState, schedule: ExpirySchedule, snapshot: SnapshotMetadata) -> None:
        """Take over another machine's snapshot, which covers more than what was applied here."""
        self._time.observe(snapshot.time)
        self.keyspace.restore(content, schedule)
        self._log_differences(snapshot.configuration)
        self.configuration = snapshot.configuration
        self.applied_index = snapshot.index
        self.applied_term = snapshot.term
        self.bytes_since_snapshot = 0
        for tell in self.on_restored:
            tell()
        self._proposals.skip(snapshot.index)
