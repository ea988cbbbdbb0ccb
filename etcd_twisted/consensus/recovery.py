"""
Recovery: from the files on disk to the state from which a replica continues.

It reads the snapshot and the log in slices and lets the reactor turn in between. L{recover} only reads;
L{come_back}, L{found_cluster}, L{found_together} and L{enter_cluster} continue from what it found, and only they
write. Recovery must never skip what can't be trusted: it refuses that, names the file, and changes nothing on the
disk.
"""

from collections.abc import Awaitable, Callable
from contextlib import closing

import attrs
from twisted.logger import Logger

from etcd_twisted.consensus.raft.configurations import bootstrap, decode_configuration, first_record
from etcd_twisted.consensus.raft.entries import Configuration, EntryKind, HardState, Member, Record, SnapshotMetadata
from etcd_twisted.consensus.raft.log import RaftLog
from etcd_twisted.consensus.storage.data_directory import Identity
from etcd_twisted.consensus.storage.files import REMEDY, naming
from etcd_twisted.consensus.storage.framing import foreign
from etcd_twisted.consensus.storage.hard_state import State
from etcd_twisted.consensus.storage.segments import segment_path
from etcd_twisted.consensus.storage.storage import Storage
from etcd_twisted.errors import ConfigError, StorageError
from etcd_twisted.keyspace.commands import decode_command
from etcd_twisted.keyspace.snapshot import SnapshotLoader
from etcd_twisted.keyspace.space import KeySpace

_RECORDS_A_TURN = 128

_log = Logger()

Turn = Callable[[], Awaitable[None]]
"""Awaited between slices of work."""

Known = Callable[[Identity, Configuration], None]
"""Called with the identity of this machine and each configuration that is found on the disk, the newest last."""


@attrs.define
class Recovered:
    """
    What was found on the disk.

    @ivar identity: the identity of this machine; C{None} if it is not in a cluster yet.
    @ivar snapshot: the snapshot that the key space holds; its index is 0 if there was none.
    @ivar log: the log after that snapshot.
    """

    identity: Identity | None
    snapshot: SnapshotMetadata
    log: RaftLog
    hard_state: HardState = attrs.field(factory=HardState)
    _term_at_snapshot: int | None = None

    @property
    def configuration(self) -> Configuration:
        """The newest configuration in the log, or else the snapshot's."""
        return self.log.configurations.current

    @property
    def newest_time(self) -> int:
        """The newest time in the log or the snapshot, in microseconds since the epoch; 0 if there is none."""
        for entry in reversed(self.log.between(self.log.first_index, self.log.last_index + 1)):
            if entry.kind is EntryKind.COMMAND:
                newest: int = decode_command(entry.data).time
                return max(self.snapshot.time, newest)
        return self.snapshot.time

    def absorb(self, record: Record) -> None:
        """Add a record of the log on disk."""
        entries, covered = record.entries, self.snapshot.index
        self.log.extend(entries)
        if record.hard_state is not None:
            self.hard_state = record.hard_state
        if entries and entries[0].index <= covered:
            last = min(entries[-1].index, covered)
            self._term_at_snapshot = entries[last - entries[0].index].term if last == covered else None

    def is_void(self, last_index: int) -> bool:
        """
        Returns whether the log on disk is not the one that the snapshot covers, and so is void: the machine had made a
        leader's snapshot durable, but stopped before it had started a new log.

        @param last_index: the last index of the log on disk.
        """
        return last_index < self.snapshot.index or self._term_at_snapshot not in (None, self.snapshot.term)

    def note_state(self, state: State | None) -> None:
        """
        Take the latest term of the log, the snapshot and the state file. If the log lacks the vote that is in the
        state file, the end of the log was lost, and that vote stays in force.
        """
        mine = self.hard_state
        if state is not None and (
            state.hard_state.term > mine.term or (state.hard_state.term == mine.term and not mine.vote)
        ):
            self.hard_state = mine = state.hard_state
        if mine.term < (last_term := max(self.snapshot.term, self.log.last_term)):
            self.hard_state = HardState(last_term)


async def recover(
    storage: Storage,
    keyspace: KeySpace,
    name: str | None,
    turn: Turn,
    known: Known = lambda _identity, _configuration: None,
) -> Recovered:
    """
    Load the last snapshot into the key space, and read the log after it. Nothing on the disk is changed.

    @param name: the name that this machine must have; C{None} for whatever name it had before.
    @param known: see L{Known}. It is called while the rest is still being read.
    @raise StorageError: something is damaged, missing, or from another directory.
    @raise ConfigError: the directory belongs to a machine of another name.
    """
    identity = storage.directory.load_identity()
    if identity is not None and name is not None and identity.name != name:
        directory = storage.directory
        raise ConfigError(
            f"{directory.option} {directory.path} belongs to the machine {identity.name!r}: give it that --name, "
            f"or give {name!r} another directory"
        )
    state = storage.state.load()
    if identity is not None:
        storage.belong_to(identity)
        if state is not None and state.machine_id != identity.machine_id:
            raise foreign(storage.state.path, "machine", state.machine_id, identity.machine_id)

    def tell(configuration: Configuration) -> None:
        if identity is not None:
            known(identity, configuration)

    storage.snapshots.unfinished()  # refuses what can't be removed later
    found = await _load_snapshot(storage, keyspace, identity, turn, tell)
    await _read_log(storage, found, turn, tell)
    if identity is None:
        _check_never_began(storage, found, state)
    else:
        _check_is_there(storage, state)
        found.note_state(state)
    if found.is_void(storage.log.last_index):
        found.log.begin_after(found.snapshot.index, found.snapshot.term)
    return found


def come_back(storage: Storage, found: Recovered) -> None:
    """
    Continue as the machine that was found.

    @raise StorageError: the disk fails, or is full.
    """
    _make_ready(storage)
    with naming(storage.directory.path):
        log = storage.log
        if found.hard_state != log.hard_state:
            log.append(Record(found.hard_state, ()))
        if found.is_void(log.last_index):
            _restart_log(storage, found.snapshot.index)
        log.save_state()


def found_cluster(storage: Storage, found: Recovered, identity: Identity, member: Member) -> None:
    """
    Make this the first machine of a new cluster. The first record of the log is written before the identity, so that a
    machine with an identity always has a log. If that was interrupted before, the machine keeps the id that it had
    then.

    @raise StorageError: the disk fails, or is full.
    """
    voters = decode_configuration(found.log.between(1, 2)[0].data).voters if found.log.last_index > 0 else ()
    if len(voters) == 1:
        identity = attrs.evolve(identity, machine_id=voters[0])
    _begin(storage, identity)
    with naming(storage.directory.path):
        if len(voters) > 1:  # those of an interrupted L{found_together}
            _empty(storage, found)
        if found.log.last_index == 0:
            first = bootstrap(identity.machine_id, member)
            storage.log.append(first)
            found.absorb(first)
        storage.log.save_state()
    storage.directory.save_identity(identity)
    found.identity = identity


def found_together(storage: Storage, found: Recovered, identity: Identity, configuration: Configuration) -> None:
    """
    Make this one of the machines that begin a cluster together. Each of them has the same first record in its log,
    and it takes a majority of them to go on. That record is written before the identity, as in L{found_cluster}.

    What an interrupted start may have left is void: a machine without an identity has told nobody anything.

    @param configuration: the group, in which all machines have votes.
    @raise StorageError: the disk fails, or is full.
    """
    _begin(storage, identity)
    with naming(storage.directory.path):
        _empty(storage, found)
        first = first_record(configuration)
        storage.log.append(first)
        found.absorb(first)
        storage.log.save_state()
    storage.directory.save_identity(identity)
    found.identity = identity


def enter_cluster(storage: Storage, found: Recovered, identity: Identity) -> None:
    """
    Make this a machine of an existing cluster, whose log it will receive from the leader.

    What an interrupted L{found_cluster} may have left is void.

    @raise StorageError: the disk fails, or is full.
    """
    _begin(storage, identity)
    with naming(storage.directory.path):
        _empty(storage, found)
        found.hard_state = HardState()
        storage.log.append(Record(found.hard_state, ()))
    storage.directory.save_identity(identity)
    found.identity = identity


def _begin(storage: Storage, identity: Identity) -> None:
    """Make the files ready for a machine that has not taken part before."""
    storage.belong_to(identity)
    _make_ready(storage)
    if storage.log.is_foreign:  # a start as another machine was interrupted before
        with naming(storage.directory.path):
            _restart_log(storage, 0)


def _empty(storage: Storage, found: Recovered) -> None:
    """Begin the log anew, if there is anything in it."""
    if found.log.last_index > 0:
        _restart_log(storage, 0)
        found.log = RaftLog()


def _restart_log(storage: Storage, index: int) -> None:
    """Begin the log on disk anew after C{index}, and free what was in it at once, as nobody waits for the log yet."""
    storage.log.restart_after(index)
    storage.log.removed.close()


def _make_ready(storage: Storage) -> None:
    """Make the files ready to be written: from here on the machine is certain to start."""
    storage.directory.keep()
    storage.log.resume()
    storage.snapshots.remove_unfinished()
    if (torn := storage.log.torn) is not None:
        _log.warn(
            "Cut {length} bytes of an unfinished append off {path} at offset {offset}: nobody was told it was done",
            length=torn.length,
            path=str(torn.path),
            offset=torn.offset,
        )


async def _load_snapshot(
    storage: Storage, keyspace: KeySpace, identity: Identity | None, turn: Turn, tell: Callable[[Configuration], None]
) -> Recovered:
    reader = storage.snapshots.latest()
    if reader is None:
        return Recovered(identity, SnapshotMetadata(0, 0, Configuration(())), RaftLog())
    loader = SnapshotLoader()
    with closing(reader):
        cluster_id = reader.metadata.cluster_id
        if identity is not None and cluster_id not in ("", identity.cluster_id):
            raise foreign(reader.path, "cluster", cluster_id, identity.cluster_id)
        tell(reader.metadata.configuration)
        for chunk in reader:
            loader.feed(chunk)
            await turn()
    keyspace.restore(loader.finish(), loader.schedule)
    _log.info("Loaded the snapshot of log index {index}", index=reader.metadata.index)
    log = RaftLog(reader.metadata.index, reader.metadata.term, reader.metadata.configuration)
    return Recovered(identity, reader.metadata, log)


async def _read_log(storage: Storage, found: Recovered, turn: Turn, tell: Callable[[Configuration], None]) -> None:
    configuration = EntryKind.CONFIGURATION  # once, as each entry is compared with it
    for count, record in enumerate(storage.log.recover()):
        _check_reaches(storage, found.log)
        found.absorb(record)
        for entry in record.entries:
            if entry.kind is configuration and entry.index > found.snapshot.index:
                tell(decode_configuration(entry.data))
        if count % _RECORDS_A_TURN == 0:
            await turn()
    _check_reaches(storage, found.log)


def _check_never_began(storage: Storage, found: Recovered, state: State | None) -> None:
    """Refuse files without an identity, except for what an interrupted start leaves."""
    missing = ""
    if found.snapshot.index > 0:
        missing = "a snapshot"
    elif found.log.last_index > 1:
        missing = "a log"
    elif state is not None and storage.log.is_empty:
        missing = storage.state.path.name
    if missing:
        raise StorageError(
            f"{storage.directory.path}: there is {missing} but no identity.json: restore that file from a backup, or"
            " choose an empty directory to begin anew"
        )


def _check_is_there(storage: Storage, state: State | None) -> None:
    """Refuse a log that is gone, or whose newest segment is: no snapshot shows what came after it."""
    log_directory = storage.directory.log_directory
    if storage.log.is_empty:
        raise StorageError(
            f"{log_directory}: the log is gone: restore it from a backup, or remove {storage.directory.path}"
            " to begin with an empty key space"
        )
    if state is not None and storage.log.newest_segment < state.segment:
        raise StorageError(
            f"{segment_path(log_directory, state.segment)} is missing or empty, although this machine has written to"
            f" it; {REMEDY}"
        )


def _check_reaches(storage: Storage, log: RaftLog) -> None:
    """Refuse a gap between the snapshot and the log after it."""
    if storage.log.base >= log.first_index:
        raise StorageError(
            f"{storage.directory.log_directory}: the log begins at index {storage.log.base + 1}, but the newest "
            f"snapshot ends at {log.first_index - 1}: what is between them is missing; {REMEDY}"
        )
