"""
Data directories as a machine leaves them, in pieces that can be put together with some missing or exchanged.
"""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import attrs
from twisted.internet.defer import Deferred, ensureDeferred, succeed

from etcd_twisted.consensus.raft.entries import Configuration, Entry, EntryKind, HardState, Record, SnapshotMetadata
from etcd_twisted.consensus.recovery import Recovered, come_back, found_cluster, recover
from etcd_twisted.consensus.storage.data_directory import DataDirectory, Identity
from etcd_twisted.consensus.storage.hard_state import StateFile
from etcd_twisted.consensus.storage.snapshot_files import SnapshotStore
from etcd_twisted.consensus.storage.storage import Storage
from etcd_twisted.consensus.storage.write_ahead_log import WriteAheadLog
from etcd_twisted.keyspace.commands import Set, decode_command, encode_command
from etcd_twisted.keyspace.nodes import File
from etcd_twisted.keyspace.snapshot import dump
from etcd_twisted.keyspace.space import KeySpace
from etcd_twisted.keyspace.tree import look_up
from tests.consensus.machine import MEMBER

LAST = 40
"""The index of the last entry of a machine's log; the entry at each index sets C{/key} to it."""

SNAPSHOT = 25
"""The index of its newest snapshot."""

OLDER = 12
"""The index of the snapshot before."""

NEWER = 60
"""The index of a snapshot that it takes later, or gets from its leader."""

HARD_STATE = HardState(5, "f" * 16)
"""The machine's last term and vote."""

_SEGMENT_BYTES = 250


@attrs.frozen
class Pieces:
    """
    The files of one machine.

    @ivar identity: the machine's identity.
    @ivar path: its files: C{identity.json}, C{state.json}, C{whole} with all segments of its log, C{log} with those
        that its newest snapshot needs, and C{snapshots}.
    """

    identity: Identity
    path: Path

    @property
    def segments(self) -> list[Path]:
        """Returns the segments that the newest snapshot needs."""
        return sorted((self.path / "log").iterdir())

    def snapshot(self, index: int) -> Path:
        """Returns one of its snapshots."""
        (path,) = (self.path / "snapshots").glob(f"*-{index:020}.snapshot")
        return path


def listing(path: Path) -> dict[str, tuple[object, ...]]:
    """Returns everything below a path: its kind and mode, its size, when it was changed, and its content."""
    found = {}
    for each in path.rglob("*"):
        status = each.lstat()
        small = stat.S_ISREG(status.st_mode) and status.st_size < 1 << 20
        content = each.read_bytes() if small else os.readlink(each) if each.is_symlink() else None
        size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
        found[str(each)] = (status.st_mode, size, status.st_mtime_ns, status.st_ino, content)
    return found


def storage_with_small_segments(path: Path) -> Storage:
    """Opens a storage with small segments, see L{Storage.open}."""
    directory = DataDirectory(path)
    state = StateFile(directory.state_path)
    log = WriteAheadLog(directory.log_directory, _SEGMENT_BYTES, state)
    return Storage(directory, log, SnapshotStore(directory.snapshot_directory), state)


def turn() -> "Deferred[None]":
    """Replaces a turn of the reactor, because no slice of work is large here."""
    return succeed(None)


def recovered(storage: Storage, keyspace: KeySpace | None = None) -> Recovered:
    """
    Returns the result of L{recover}.

    @raise StorageError: the directory is refused.
    """
    result: list[Recovered] = []
    failures: list[BaseException] = []
    work = ensureDeferred(recover(storage, keyspace or KeySpace(), None, turn))
    work.addCallbacks(result.append, lambda failure: failures.append(failure.value))
    if failures:
        raise failures[0]
    return result[0]


def refused_or_recovered(path: Path) -> tuple[Recovered, str]:
    """
    Begins to start a machine in a directory, and leaves the directory as a start does that is refused later on.

    @return: what was recovered, and the value of C{/key} when all of the log is applied.
    @raise StorageError: it can't start.
    """
    storage = Storage.open(path, "--data-dir")
    try:
        return _found(storage)
    finally:
        storage.directory.withdraw()
        storage.close()


def started(path: Path) -> tuple[Recovered, str]:
    """
    Starts a machine as far as its disk is concerned, and stops it in order.

    @return: as L{refused_or_recovered}.
    """
    with closing(Storage.open(path, "--data-dir")) as storage:
        found = _found(storage)
        come_back(storage, found[0])
        return found


def _found(storage: Storage) -> tuple[Recovered, str]:
    keyspace = KeySpace()
    found = recovered(storage, keyspace)
    for entry in found.log.between(found.log.first_index, found.log.last_index + 1):
        if entry.kind is EntryKind.COMMAND:
            keyspace.apply(decode_command(entry.data))
    if keyspace.index == 0:
        return found, ""
    node = look_up(keyspace.root, "/key").node
    return found, node.value if isinstance(node, File) else ""


@contextmanager
def written(path: Path, identity: Identity) -> Iterator[Storage]:
    """Returns a machine that has started, with all entries up to L{LAST} in its log."""
    with closing(storage_with_small_segments(path)) as storage:
        found = recovered(storage)
        found_cluster(storage, found, identity, MEMBER)
        for index in range(2, LAST + 1):
            hard_state = {20: HardState(3, "e" * 16), LAST - 1: HARD_STATE}.get(index)
            data = encode_command(Set("/key", index, str(index)))
            storage.log.append(Record(hard_state, (Entry(index, 3, EntryKind.COMMAND, data),)))
        yield storage


def make_pieces(path: Path, identity: Identity) -> Pieces:
    """Has a machine write the L{Pieces}."""
    with written(path, identity) as storage:
        shutil.copytree(path / "log", path / "whole")
        storage.log.compact(SNAPSHOT)
        (path / "taken").mkdir()
        for index in (OLDER, SNAPSHOT, NEWER):
            take_snapshot(storage, index)
            for file in (path / "snapshots").iterdir():
                file.rename(path / "taken" / file.name)
    (path / "snapshots").rmdir()
    (path / "taken").rename(path / "snapshots")
    (path / "lock").unlink()
    return Pieces(identity, path)


def take_snapshot(storage: Storage, index: int, term: int = 3) -> None:
    """Takes the snapshot of a machine at this index."""
    keyspace = KeySpace()
    for each in range(2, index + 1):
        keyspace.apply(Set("/key", each, str(each)))
    configuration = Configuration((storage.log.machine_id,))
    file = storage.snapshots.create(SnapshotMetadata(index, term, configuration))
    for chunk in dump(keyspace.state()):
        file.write(chunk)
    file.finish()
