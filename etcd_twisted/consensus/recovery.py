"""
From what is on disk to what a replica goes on from.

Takes the snapshot and the log in slices and lets the reactor turn in between. Must never skip what can't be trusted:
it is refused, with the file named.
"""

from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import attrs
from twisted.logger import Logger

from etcd_twisted.consensus.core import bootstrap, decode_configuration
from etcd_twisted.consensus.directory import DataDirectory, Identity
from etcd_twisted.consensus.entries import Configuration, EntryKind, HardState, Member, Record, SnapshotMetadata
from etcd_twisted.consensus.log import RaftLog
from etcd_twisted.consensus.snapshots import SnapshotStore
from etcd_twisted.consensus.wal import WriteAheadLog
from etcd_twisted.errors import ConfigError, StorageError
from etcd_twisted.keyspace.snapshot import SnapshotLoader
from etcd_twisted.keyspace.space import KeySpace

_RECORDS_A_TURN = 128

_log = Logger()

Turn = Callable[[], Awaitable[None]]
"""Awaited between slices of work."""

Known = Callable[[Identity, Configuration], None]
"""Called with who this machine is and with each group that is found on the disk, the newest last."""


@attrs.frozen
class Storage:
    """
    One machine's files, open and locked for this process.

    @ivar log: what L{RaftLog} holds, durably.
    """

    directory: DataDirectory
    log: WriteAheadLog
    snapshots: SnapshotStore

    @classmethod
    def open(cls, path: Path, option: str, fresh: bool = False) -> "Storage":
        """
        The files in a data directory, which is made if need be.

        @param option: what the path was given as, for errors.
        @param fresh: whether what a machine has left in it is to be forgotten.
        @raise StorageError: it is in use, or can't be used.
        """
        directory = DataDirectory(path, option, fresh)
        try:
            return cls.within(directory)
        except BaseException:
            directory.close()
            raise

    @classmethod
    def within(cls, directory: DataDirectory) -> "Storage":
        """The files in a data directory that is locked for this process; none of them is open yet."""
        return cls(directory, WriteAheadLog(directory.log_directory), SnapshotStore(directory.snapshot_directory))

    def close(self) -> None:
        """Give the files and the lock back."""
        try:
            self.log.close()
        finally:
            self.directory.close()


@attrs.define
class Recovered:
    """
    What was found on the disk.

    @ivar identity: who this machine is; C{None} for one that is of no cluster yet.
    @ivar snapshot: what the key space holds; index 0 when there was none.
    @ivar log: what is behind that.
    """

    identity: Identity | None
    snapshot: SnapshotMetadata
    log: RaftLog
    hard_state: HardState = attrs.field(factory=HardState)
    _term_at_snapshot: int | None = None

    @property
    def configuration(self) -> Configuration:
        """The newest that is in the log, or the snapshot's."""
        for entry in reversed(self.log.between(self.log.first_index, self.log.last_index + 1)):
            if entry.kind is EntryKind.CONFIGURATION:
                return decode_configuration(entry.data)
        return self.snapshot.configuration

    def absorb(self, record: Record) -> None:
        """Take a record of the log."""
        self.log.extend(record.entries)
        if record.hard_state is not None:
            self.hard_state = record.hard_state
        for entry in record.entries:
            if entry.index <= self.snapshot.index:
                self._term_at_snapshot = entry.term if entry.index == self.snapshot.index else None

    @property
    def contradicts(self) -> bool:
        """
        Whether the log on disk is not the one that the snapshot stands for, and void: a leader's snapshot was made
        durable, and the machine stopped before its log was begun anew.
        """
        return self._term_at_snapshot not in (None, self.snapshot.term)


async def recover(
    storage: Storage,
    keyspace: KeySpace,
    name: str | None,
    turn: Turn,
    known: Known = lambda _identity, _configuration: None,
) -> Recovered:
    """
    Bring the key space to the last snapshot, and find the log behind it.

    @param name: what this machine must be called; C{None} for whatever it was called before.
    @param known: see L{Known}. It is called while the rest is still being read.
    @raise StorageError: something is damaged or missing.
    @raise ConfigError: the directory belongs to a machine of another name.
    """
    identity = storage.directory.load_identity()
    if identity is not None and name is not None and identity.name != name:
        directory = storage.directory
        raise ConfigError(
            f"{directory.option} {directory.path} belongs to the machine {identity.name!r}: give it that --name, "
            f"or give {name!r} another directory"
        )

    def tell(configuration: Configuration) -> None:
        if identity is not None:
            known(identity, configuration)

    found = await _load_snapshot(storage, keyspace, identity, turn, tell)
    await _load_log(storage, found, turn, tell)
    if identity is not None and storage.log.is_empty:
        raise StorageError(
            f"{storage.directory.log_directory}: the log is gone: restore it from a backup, "
            f"or remove {storage.directory.path} to begin with an empty key space"
        )
    if identity is None and (found.log.first_index, max(1, found.log.last_index)) != (1, 1):
        raise StorageError(
            f"{storage.directory.path}: there is a log but no identity.json: restore that file from a backup"
        )
    storage.snapshots.remove_unfinished()
    return found


def found_cluster(storage: Storage, found: Recovered, identity: Identity, member: Member) -> None:
    """
    Make this the first machine of a new cluster: a log with its first record, and then its identity, so that who has
    an identity has a log. When that was interrupted before, the machine is who it was to be then.
    """
    if found.log.last_index == 0:
        first = bootstrap(identity.machine_id, member)
        storage.log.append(first)
        found.absorb(first)
    else:
        (voter,) = decode_configuration(found.log.between(1, 2)[0].data).voters
        identity = attrs.evolve(identity, machine_id=voter)
    storage.directory.save_identity(identity)
    found.identity = identity


def enter_cluster(storage: Storage, found: Recovered, identity: Identity) -> None:
    """
    Make this a machine of a cluster that is there, whose log it will get from the leader.

    What an interrupted L{found_cluster} has left is void.
    """
    if found.log.last_index > 0:
        storage.log.restart_after(0)
        found.log = RaftLog()
    found.hard_state = HardState()
    storage.log.append(Record(found.hard_state, ()))
    storage.directory.save_identity(identity)
    found.identity = identity


async def _load_snapshot(
    storage: Storage, keyspace: KeySpace, identity: Identity | None, turn: Turn, tell: Callable[[Configuration], None]
) -> Recovered:
    reader = storage.snapshots.latest()
    if reader is None:
        return Recovered(identity, SnapshotMetadata(0, 0, Configuration(())), RaftLog())
    tell(reader.metadata.configuration)
    loader = SnapshotLoader()
    with closing(reader):
        for chunk in reader:
            loader.feed(chunk)
            await turn()
    keyspace.restore(loader.finish(), loader.schedule)
    _log.info("Loaded the snapshot of log index {index}", index=reader.metadata.index)
    log = RaftLog(reader.metadata.index, reader.metadata.term)
    return Recovered(identity, reader.metadata, log)


async def _load_log(
    storage: Storage, found: Recovered, turn: Turn, tell: Callable[[Configuration], None]
) -> None:
    for count, record in enumerate(storage.log.recover()):
        _check_reaches(storage, found.log)
        found.absorb(record)
        for entry in record.entries:
            if entry.kind is EntryKind.CONFIGURATION and entry.index > found.snapshot.index:
                tell(decode_configuration(entry.data))
        if count % _RECORDS_A_TURN == 0:
            await turn()
    _check_reaches(storage, found.log)
    snapshot = found.snapshot
    if found.contradicts or storage.log.last_index < snapshot.index:
        found.log.begin_after(snapshot.index, snapshot.term)
        storage.log.restart_after(snapshot.index)
    if (torn := storage.log.torn) is not None:
        _log.warn(
            "Cut {length} bytes of an unfinished append off {path} at offset {offset}: nobody was told it was done",
            length=torn.length,
            path=str(torn.path),
            offset=torn.offset,
        )


def _check_reaches(storage: Storage, log: RaftLog) -> None:
    """Refuse a gap between the snapshot and the log behind it."""
    if storage.log.base >= log.first_index:
        raise StorageError(
            f"{storage.directory.log_directory}: the log begins at index {storage.log.base + 1}, but the newest "
            f"snapshot ends at {log.first_index - 1}: restore the missing snapshot from a backup"
        )
