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

Turn = Callable[[], Awaitable[None]]
"""Awaited between slices of work."""


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
    def open(cls, path: Path, option: str) -> "Storage":
        """
        The files in a data directory, which is made if need be.

        @param option: what the path was given as, for errors.
        @raise StorageError: it is in use, or can't be used.
        """
        directory = DataDirectory(path, option)
        try:
            return cls(
                directory, WriteAheadLog(directory.log_directory), SnapshotStore(directory.snapshot_directory)
            )
        except BaseException:
            directory.close()
            raise

    def close(self) -> None:
        """Give the files and the lock back."""
        try:
            self.log.close()
        finally:
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


@attrs.define
class _Found:
    """What the disk holds of the log, while it is being read."""

    log: RaftLog
    configuration: Configuration
    hard_state: HardState

    def absorb(self, record: Record) -> None:
        self.log.extend(record.entries)
        if record.hard_state is not None:
            self.hard_state = record.hard_state


async def recover(
    storage: Storage, keyspace: KeySpace, name: str | None, new_identity: Callable[[], Identity], turn: Turn
) -> Recovered:
    """
    Bring the key space to the last snapshot and the core to the end of the log; in an empty directory, begin both.

    @param name: what this machine must be called; C{None} for whatever it was called before.
    @param new_identity: makes an identity for an empty directory.
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
    found = await _load_snapshot(storage, keyspace, turn)
    applied = found.log.last_index
    await _load_log(storage, found, turn)
    if identity is None:
        identity = _begin(storage, found, new_identity())
    elif found.log.last_index == 0:
        raise StorageError(
            f"{storage.directory.log_directory}: the log is gone: restore it from a backup, "
            f"or remove {storage.directory.path} to begin with an empty key space"
        )
    try:
        core = Raft(identity.machine_id, found.configuration, found.hard_state, found.log)
    except ValueError as error:
        raise StorageError(f"{storage.directory.path}: {error}") from error
    storage.snapshots.remove_unfinished()
    return Recovered(identity, core, applied)


def _begin(storage: Storage, found: _Found, identity: Identity) -> Identity:
    """
    Make a log with its first record, and then an identity, so that who has an identity has a log.

    @return: the identity: the one given, or with the machine id of a first record that was there already, because the
        machine was stopped between the two.
    """
    log = found.log
    if log.last_index == 0:
        first = bootstrap(identity.machine_id)
        storage.log.append(first)
        found.absorb(first)
    elif (log.first_index, log.last_index) == (1, 1):
        (voter,) = decode_configuration(log.between(1, 2)[0].data).voters
        identity = attrs.evolve(identity, machine_id=voter)
    else:
        raise StorageError(
            f"{storage.directory.path}: there is a log but no identity.json: restore that file from a backup"
        )
    storage.directory.save_identity(identity)
    return identity


async def _load_snapshot(storage: Storage, keyspace: KeySpace, turn: Turn) -> _Found:
    reader = storage.snapshots.latest()
    if reader is None:
        return _Found(RaftLog(), Configuration(()), HardState())
    loader = SnapshotLoader()
    with closing(reader):
        for chunk in reader:
            loader.feed(chunk)
            await turn()
    keyspace.restore(loader.finish(), loader.schedule)
    _log.info("Loaded the snapshot of log index {index}", index=reader.metadata.index)
    log = RaftLog(reader.metadata.index, reader.metadata.term)
    return _Found(log, reader.metadata.configuration, HardState())


async def _load_log(storage: Storage, found: _Found, turn: Turn) -> None:
    for count, record in enumerate(storage.log.recover()):
        _check_reaches(storage, found.log)
        found.absorb(record)
        if count % _RECORDS_A_TURN == 0:
            await turn()
    _check_reaches(storage, found.log)
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
