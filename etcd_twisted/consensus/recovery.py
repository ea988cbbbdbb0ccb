"""
From what is on disk to what a replica goes on from.

Takes the snapshot and the log in slices and lets the reactor turn in between. What can't be trusted is refused
with the file named, never skipped.
"""

from collections.abc import Awaitable, Callable

import attrs
from twisted.logger import Logger

from etcd_twisted.consensus.core import Raft, bootstrap, decode_configuration
from etcd_twisted.consensus.directory import DataDirectory, Identity
from etcd_twisted.consensus.entries import Configuration, HardState, Record
from etcd_twisted.consensus.log import RaftLog
from etcd_twisted.consensus.snapshots import SnapshotStore
from etcd_twisted.consensus.wal import WriteAheadLog
from etcd_twisted.errors import ConfigError, StorageError
from etcd_twisted.keyspace.snapshot import SnapshotLoader
from etcd_twisted.keyspace.space import KeySpace

_RECORDS_A_TURN = 128

_log = Logger()


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
    def open(cls, directory: DataDirectory) -> "Storage":
        """The files in a data directory."""
        return cls(directory, WriteAheadLog(directory.log_directory), SnapshotStore(directory.snapshot_directory))

    def close(self) -> None:
        """Give the files and the lock back."""
        self.log.close()
        self.directory.close()


@attrs.frozen
class Recovered:
    """
    What was found.

    @ivar applied: the index up to which the key space holds the log.
    """

    identity: Identity
    core: Raft
    applied: int
    term: int
    """The term of the last applied entry."""


async def recover(
    storage: Storage,
    keyspace: KeySpace,
    name: str | None,
    new_identity: Callable[[], Identity],
    turn: Callable[[], Awaitable[None]],
) -> Recovered:
    """
    Bring the key space to the last snapshot and the core to the end of the log; in an empty directory, begin both.

    @param name: what this machine must be called; C{None} for whatever it was called before.
    @param new_identity: makes an identity for an empty directory.
    @param turn: awaited between slices.
    @raise StorageError: something is damaged or missing.
    @raise ConfigError: the directory belongs to a machine of another name.
    """
    identity = storage.directory.load_identity()
    if identity is not None and name is not None and identity.name != name:
        raise ConfigError(
            f"--data-dir: {storage.directory.path} belongs to the machine {identity.name!r}: give it that --name, "
            f"or give {name!r} another directory"
        )
    log, configuration = await _load_snapshot(storage, keyspace, turn)
    applied = log.last_index
    applied_term = log.term(applied) if applied else 0
    hard_state = await _load_log(storage, log, turn)
    if log.last_index == 0:
        if identity is not None:
            raise StorageError(
                f"{storage.directory.log_directory}: the log is gone: restore it from a backup, "
                f"or remove {storage.directory.path} to begin with an empty key space"
            )
        identity = new_identity()
        first = bootstrap(identity.machine_id)
        storage.log.append(first)
        hard_state = _absorb(log, first, hard_state)
    elif identity is None:
        identity = _adopt_beginning(storage, log, new_identity())
    if storage.directory.load_identity() is None:
        storage.directory.save_identity(identity)
    try:
        core = Raft(identity.machine_id, configuration, hard_state, log)
    except ValueError as error:
        raise StorageError(f"{storage.directory.path}: {error}") from error
    return Recovered(identity, core, applied, applied_term)


def _adopt_beginning(storage: Storage, log: RaftLog, identity: Identity) -> Identity:
    """The identity of a machine that was stopped between its log's first record and writing its identity down."""
    if (log.first_index, log.last_index) != (1, 1):
        raise StorageError(
            f"{storage.directory.path}: there is a log but no identity.json: restore that file from a backup"
        )
    (voter,) = decode_configuration(log.between(1, 2)[0].data).voters
    return attrs.evolve(identity, machine_id=voter)


async def _load_snapshot(
    storage: Storage, keyspace: KeySpace, turn: Callable[[], Awaitable[None]]
) -> tuple[RaftLog, Configuration]:
    reader = storage.snapshots.latest()
    if reader is None:
        return RaftLog(), Configuration(())
    loader = SnapshotLoader()
    with reader:
        for chunk in reader:
            loader.feed(chunk)
            await turn()
    keyspace.restore(loader.finish(), loader.schedule)
    _log.info("Loaded the snapshot of log index {index}", index=reader.metadata.index)
    return RaftLog(reader.metadata.index, reader.metadata.term), reader.metadata.configuration


async def _load_log(storage: Storage, log: RaftLog, turn: Callable[[], Awaitable[None]]) -> HardState:
    hard_state = HardState()
    for count, record in enumerate(storage.log.recover()):
        _check_reaches(storage, log)
        hard_state = _absorb(log, record, hard_state)
        if count % _RECORDS_A_TURN == 0:
            await turn()
    _check_reaches(storage, log)
    if (torn := storage.log.torn) is not None:
        _log.warn(
            "Cut {length} bytes of an unfinished append off {path} at offset {offset}: nobody was told it was done",
            length=torn.length,
            path=str(torn.path),
            offset=torn.offset,
        )
    return hard_state


def _check_reaches(storage: Storage, log: RaftLog) -> None:
    """Refuse a gap between the snapshot and the log behind it."""
    if storage.log.base >= log.first_index:
        raise StorageError(
            f"{storage.directory.log_directory}: the log begins at index {storage.log.base + 1}, but the newest "
            f"snapshot ends at {log.first_index - 1}: restore the missing snapshot from a backup"
        )


def _absorb(log: RaftLog, record: Record, hard_state: HardState) -> HardState:
    log.extend(record.entries)
    return hard_state if record.hard_state is None else record.hard_state
