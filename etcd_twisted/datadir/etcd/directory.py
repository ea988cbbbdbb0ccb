"""
Reads a data directory of etcd 2.0 to 3.5 as a whole.

It takes the newest snapshot that the log knows of, and applies the committed entries behind it, as a start of etcd
does. While this reads, it holds shared locks on the files that etcd locks, so that etcd does not start meanwhile. This
module must never change a file.
"""

import contextlib
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import attrs

from etcd_twisted.auth.state import AuthState
from etcd_twisted.consensus.storage.files import naming, open_to_read
from etcd_twisted.datadir.etcd.log_files import Log, NotInLogError, TornTail, damage, log_files, read_log
from etcd_twisted.datadir.etcd.members import VERSION_KEY, EtcdMember, cluster_version, members_of
from etcd_twisted.datadir.etcd.messages import (
    CLUSTER_VERSION_TAG,
    ClusterVersion,
    Entry,
    EntryType,
    Request,
    Snapshot,
    SnapshotMark,
    proposal,
)
from etcd_twisted.datadir.etcd.replay import replay, voters_after
from etcd_twisted.datadir.etcd.snapshot_files import read_snapshot, snapshot_files
from etcd_twisted.datadir.etcd.store import load_store, new_store
from etcd_twisted.datadir.etcd.users import users_and_roles
from etcd_twisted.datadir.etcd.wire import WireError
from etcd_twisted.errors import StorageError
from etcd_twisted.keyspace.space import KeySpace

_FIRST_PADDING_VERSION = (2, 2)
"""The first version of etcd whose in-order keys have 20 digits."""

_FIRST_FIXED_DIRECTORIES_VERSION = (3, 5)
"""The first version of etcd that refuses to update a directory, so that its TTL never changes (3.5.1 does)."""

_OFD_LOCK = struct.Struct("hhqqi")


@attrs.frozen
class EtcdDirectory:
    """
    What a data directory of etcd holds.

    @ivar store: etcd's whole store, with times in nanoseconds; see L{etcd_twisted.datadir.etcd.store}.
    @ivar index: the index of the last entry of Raft's log that is applied.
    @ivar term: the term of the member.
    @ivar snapshot_index: the index of the snapshot that was taken, 0 if there is none.
    @ivar not_committed: how many entries behind the commit index were left out.
    @ivar torn: what etcd would cut off its log, if anything.
    @ivar pads_in_order_keys: whether this version of etcd names in-order keys by 20 digits.
    @ivar warnings: what people should know, a sentence each.
    """

    path: Path
    store: KeySpace
    auth: AuthState
    members: tuple[EtcdMember, ...]
    member_id: str
    cluster_id: str
    version: str
    index: int
    term: int
    snapshot_index: int
    not_committed: int
    torn: TornTail | None
    pads_in_order_keys: bool
    warnings: tuple[str, ...]


def read_etcd_directory(path: Path, wal_directory: Path | None = None, uncommitted: bool = False) -> EtcdDirectory:
    """
    Read a data directory of etcd.

    @param wal_directory: the directory of the log, if it is another one than C{member/wal} in there.
    @param uncommitted: whether to apply what the log has behind the commit index that it knows too.
    @raise StorageError: etcd uses it, or it is damaged, or is none. The text is one line with the path.
    """
    snapshots = path / "member" / "snap"
    wal = wal_directory or path / "member" / "wal"
    _check_kind(path, wal)
    with _locked([*log_files(wal), snapshots / "db"]):
        return _Reader(path, wal, snapshots, uncommitted).read()


def _check_kind(path: Path, wal: Path) -> None:
    """Refuse what is no data directory of a member of etcd 2.0 or later."""
    if wal.is_dir():
        return
    with naming(path):
        names = set(os.listdir(path))
    if {"conf", "log"} <= names or "snapshot" in names:
        what = "it is one of etcd 0.4; start that, and copy its keys with: txetcdctl export"
    elif "proxy" in names:
        what = "it is that of a proxy, which has no keys; name that of a member"
    elif "identity.json" in names:
        what = "it is one of etcd_twisted already; txetcdctl check says what is in it"
    else:
        what = "there is no member/wal in it; name the directory that etcd has as its --data-dir"
    raise StorageError(f"{path} is no data directory of etcd 2.0 to 3.5: {what}")


@contextlib.contextmanager
def _locked(paths: list[Path]) -> Iterator[None]:
    """Hold a shared lock on files, so that etcd neither runs nor starts."""
    with contextlib.ExitStack() as stack:
        for path in paths:
            if not path.exists():
                continue
            with naming(path):
                file = stack.enter_context(open_to_read(path))
            try:
                # etcd 2 takes locks of the first kind, and so does its database; etcd 3 takes those of the second.
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                fcntl.fcntl(file, fcntl.F_OFD_SETLK, _OFD_LOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0))
            except BlockingIOError:
                what = "stop it first, or copy from it while it runs"
                raise StorageError(f"{path} is in use by a running etcd; {what}") from None
            except OSError as error:
                raise StorageError(f"{path} can't be locked: {error.strerror}") from error
        yield


@attrs.define
class _Reader:
    _path: Path
    _wal: Path
    _snapshots: Path
    _uncommitted: bool
    _warnings: list[str] = attrs.Factory(list)

    def read(self) -> EtcdDirectory:
        path, snapshot, log = self._snapshot_and_log()
        store = self._load(path, snapshot)
        voters = frozenset() if snapshot is None else snapshot.voters
        commit = log.state.commit
        # A member that is alone commits all that its log has when it starts; nobody else can have other entries.
        is_alone = len(voters_after(voters, log.entries)) == 1
        applied = log.entries if is_alone or self._uncommitted else log.entries[: max(commit - log.start.index, 0)]
        last = log.start if not applied else applied[-1]
        try:
            version = _version(store, log)
            store.pads_in_order_keys = pads = version >= _FIRST_PADDING_VERSION if version else log.is_padded
            replay(store, voters, applied, version < _FIRST_FIXED_DIRECTORIES_VERSION)
        except WireError as error:
            raise StorageError(f"{self._wal}: {error}") from None
        left_out = len(log.entries) - len(applied)
        if left_out:
            self._warnings.append(
                f"{left_out} entries behind the commit index {commit} were left out, though they may have been"
                f" acknowledged: --uncommitted takes them too. Its log ends at index {log.last_index}, term"
                f" {log.entries[-1].term}: of all members, take the one with the highest term, then the highest index."
            )
        if log.torn is not None:
            self._warnings.append(
                f"{log.torn.path} ends in an unfinished write at byte {log.torn.offset}: it was cut off, as etcd does."
            )
        return EtcdDirectory(
            path=self._path,
            store=store,
            auth=users_and_roles(store.root),
            members=members_of(store.root),
            member_id=f"{log.metadata.node_id:x}",
            cluster_id=f"{log.metadata.cluster_id:x}",
            version=cluster_version(store.root),
            index=last.index,
            term=max(last.term, log.state.term, 1),
            snapshot_index=log.start.index,
            not_committed=left_out,
            torn=log.torn,
            pads_in_order_keys=pads,
            warnings=tuple(self._warnings),
        )

    def _snapshot_and_log(self) -> tuple[Path | None, Snapshot | None, Log]:
        """Returns the newest snapshot from which the log goes on, with its path, and that log."""
        problems = []
        for path in snapshot_files(self._snapshots):
            try:
                snapshot = read_snapshot(path)
            except StorageError as error:  # etcd writes it under its name, so it may have been killed meanwhile
                problems.append(str(error))
                continue
            try:
                log = read_log(self._wal, SnapshotMark(snapshot.index, snapshot.term))
            except NotInLogError as error:
                problems.append(f"{path} can't be used: {error}")
                continue
            self._skipped(problems)
            return path, snapshot, log
        try:
            log = read_log(self._wal, SnapshotMark(0, 0))
        except NotInLogError as error:
            raise StorageError(
                problems[0] if problems else f"{self._wal}: {error}, and there is no snapshot"
            ) from None
        self._skipped(problems)
        return None, None, log

    def _skipped(self, problems: list[str]) -> None:
        self._warnings.extend(f"{each}. What is before it and the log give the same." for each in problems)

    def _load(self, path: Path | None, snapshot: Snapshot | None) -> KeySpace:
        if path is None or snapshot is None:
            return new_store()
        try:
            return load_store(snapshot.data)
        except StorageError as error:
            raise damage(path, 0, str(error)) from None


def _version(store: KeySpace, log: Log) -> tuple[int, ...]:
    """Returns the first two numbers of the version of etcd that would replay the log; empty if that is not known."""
    versions = [cluster_version(store.root), *map(_version_set, log.entries)]
    version = next(filter(None, reversed(versions)), "")
    return tuple(int(part) for part in version.split(".")[:2]) if version else ()


def _version_set(entry: Entry) -> str:
    """Returns the version of the cluster that an entry sets; empty for any other entry."""
    data = entry.data
    # Few other entries hold either of these, so hardly any of them is decoded in vain.
    if entry.type is not EntryType.NORMAL or (VERSION_KEY.encode() not in data and CLUSTER_VERSION_TAG not in data):
        return ""
    try:
        asked = proposal(data)
    except WireError:  # the replay says so, and which entry it is
        return ""
    if isinstance(asked, ClusterVersion):
        return asked.version
    return asked.value if isinstance(asked, Request) and asked.path == VERSION_KEY else ""
