"""
The data directory of a machine of this program: it is read as a machine reads it when it starts, and made anew.

This module must never change a directory that has a machine's identity.
"""

import contextlib
import sys
from collections.abc import Coroutine, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import attrs

from etcd_twisted.consensus.cluster_keys import registrations
from etcd_twisted.consensus.machines import machines_of
from etcd_twisted.consensus.raft.configurations import decode_configuration
from etcd_twisted.consensus.raft.entries import (
    Configuration,
    Entry,
    EntryKind,
    HardState,
    Member,
    Record,
    SnapshotMetadata,
)
from etcd_twisted.consensus.recovery import recover
from etcd_twisted.consensus.storage.data_directory import DataDirectory, Identity, ReadOnlyDirectory
from etcd_twisted.consensus.storage.files import naming
from etcd_twisted.consensus.storage.segments import TornTail
from etcd_twisted.consensus.storage.storage import Storage
from etcd_twisted.datadir.content import Content, digest, for_new_cluster, with_short_history
from etcd_twisted.datadir.unfinished import put_in_place, unfinished
from etcd_twisted.errors import EtcdError, StorageError
from etcd_twisted.interfaces.cluster import Machine
from etcd_twisted.interfaces.ids import new_id
from etcd_twisted.keyspace.commands import decode_command
from etcd_twisted.keyspace.snapshot import dump
from etcd_twisted.keyspace.space import KeySpace

_T = TypeVar("_T")

_ATTEMPTS = 10
"""How often a directory is read at most whose machine runs."""


@attrs.frozen
class MachineDirectory:
    """
    What the data directory of a machine holds.

    @ivar content: the key space with all entries of the log applied.
    @ivar snapshot: what the newest snapshot covers.
    @ivar entries: how many entries the log has behind the snapshot.
    @ivar segments: how many segments the log has.
    @ivar torn: an unfinished append at the end of the log, which the next start cuts off; C{None} if there is none.
    """

    path: Path
    identity: Identity
    content: Content
    hard_state: HardState
    snapshot: SnapshotMetadata
    entries: int
    segments: int
    torn: TornTail | None


def read_machine_directory(path: Path, option: str) -> MachineDirectory:
    """
    Read a whole data directory of a machine that does not run.

    @param option: what named the path, for messages.
    @raise StorageError: it is damaged, in use or none. The text is one line with the file, and the offset if there is
        one.
    """
    return _read(path, option, in_use=False)


def read_running_machine_directory(path: Path, option: str) -> MachineDirectory:
    """
    Read a whole data directory while its machine may run. The outcome is what the machine would find if it were killed
    at some moment after this was called: files only grow, until others take their place. One that is removed may
    shrink, but its name is gone by then, which this notices.

    @param option: what named the path, for messages.
    @raise StorageError: as from L{read_machine_directory}, each of several times.
    """
    for _ in range(_ATTEMPTS - 1):
        # A file may go while this reads, or an append that was half done may be followed by others.
        with contextlib.suppress(StorageError):
            return _read(path, option, in_use=True)
    return _read(path, option, in_use=True)


def _read(path: Path, option: str, in_use: bool) -> MachineDirectory:
    with closing(ReadOnlyDirectory(path, option, in_use)) as directory:
        storage = Storage.within(directory)
        keyspace = KeySpace(history_capacity=sys.maxsize, history_bytes=sys.maxsize)
        found = _run(recover(storage, keyspace, None, _no_turn))
        identity = found.identity
        if identity is None:
            raise StorageError(f"{option} {path} has no identity.json any more; do not change it while it is read")
        entries = found.log.between(found.log.first_index, found.log.last_index + 1)
        _apply(keyspace, found.snapshot.configuration, entries)
        content = Content(
            keyspace.state(),
            found.log.last_index,
            found.log.last_term,
            found.configuration,
            identity.cluster_id,
            found.newest_time,
        )
        return MachineDirectory(
            path,
            identity,
            content,
            found.hard_state,
            found.snapshot,
            len(entries),
            storage.log.segment_count,
            storage.log.torn,
        )


async def _no_turn() -> None:
    """There is no reactor that has to turn."""


def _run(work: Coroutine[Any, Any, _T]) -> _T:
    """Returns the result of a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as stop:
        result: _T = stop.value
        return result
    raise AssertionError("it waits for something")


def _apply(keyspace: KeySpace, configuration: Configuration, entries: Sequence[Entry]) -> None:
    """Apply the entries of a log, as L{etcd_twisted.consensus.state_machine} does."""
    for entry in entries:
        if entry.kind is EntryKind.COMMAND:
            commands = [decode_command(entry.data)]
        elif entry.kind is EntryKind.CONFIGURATION:
            before, configuration = configuration, decode_configuration(entry.data)
            commands = registrations(keyspace.root, machines_of(before), machines_of(configuration))
        else:
            continue
        for command in commands:
            try:
                keyspace.apply(command)
            except EtcdError:  # it failed on all machines
                continue


def make_machine_directory(path: Path, option: str, content: Content, machine: Machine) -> Identity:
    """
    Make the data directory of the first machine of a new cluster, and verify it.

    @param path: where it is made. There may be an empty directory.
    @param option: what named the path, for messages.
    @param content: what the new cluster begins with.
    @raise StorageError: there is something already, the disk has failed, or what was read again is not what was to be
        written.
    """
    path = path.absolute()
    content = attrs.evolve(content, state=for_new_cluster(with_short_history(content.state), machine))
    with unfinished(path, option) as place:
        made = place / "machine"
        with naming(made):
            identity = _write(made, option, content, machine)
            _verify(made, option, content)
            (made / "lock").unlink()
        put_in_place(made, path)
    return identity


def _write(path: Path, option: str, content: Content, machine: Machine) -> Identity:
    identity = Identity(machine.name, new_id(), new_id())
    member = Member(machine.name, machine.client_url, machine.peer_url)
    configuration = Configuration((identity.machine_id,), (), {identity.machine_id: member})
    with closing(Storage.within(DataDirectory(path, option))) as storage:
        storage.belong_to(identity)
        storage.directory.keep()
        _run(recover(storage, KeySpace(), None, _no_turn))
        storage.log.resume()
        storage.log.append(Record(HardState(max(content.term, 1)), ()))
        metadata = SnapshotMetadata(max(content.log_index, 1), max(content.term, 1), configuration, time=content.time)
        writer = storage.snapshots.create(metadata)
        for chunk in dump(content.state):
            if chunk:
                writer.write(chunk)
        writer.finish()
        storage.log.restart_after(metadata.index)
        storage.log.save_state()
        storage.directory.save_identity(identity)
    return identity


def _verify(path: Path, option: str, content: Content) -> None:
    """Check that a directory holds what it should."""
    read = read_machine_directory(path, option).content.state
    if digest(read) != digest(content.state):
        raise StorageError(f"{option} {path}: what was read again is not what was written; see to the disk")
