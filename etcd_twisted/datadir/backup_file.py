"""
A backup: one file, which is the snapshot of a machine with the whole log applied.

It has a checksum for each of its parts, and an end that counts them (C{docs/storage.md}). This module must never call
a file a backup that it has not read again to its end.
"""

from contextlib import closing
from pathlib import Path

import attrs

from etcd_twisted.consensus.raft.entries import SnapshotMetadata
from etcd_twisted.consensus.storage.files import REMEDY, naming
from etcd_twisted.consensus.storage.snapshot_files import SNAPSHOT_MAGIC, SnapshotReader, SnapshotStore, snapshot_path
from etcd_twisted.datadir.content import Content, digest, with_short_history
from etcd_twisted.datadir.unfinished import check_free, put_in_place, unfinished
from etcd_twisted.errors import StorageError
from etcd_twisted.keyspace.snapshot import SnapshotLoader, dump


def is_backup(path: Path) -> bool:
    """Returns whether a file begins as a backup does."""
    with naming(path), path.open("rb") as file:
        return file.read(len(SNAPSHOT_MAGIC)) == SNAPSHOT_MAGIC


def read_backup(path: Path) -> Content:
    """
    Read a whole backup.

    @raise StorageError: it is damaged, or none. The text has the file, and the offset if there is one.
    """
    loader = SnapshotLoader()
    try:
        with closing(SnapshotReader(path, is_named=False)) as reader:
            for chunk in reader:
                loader.feed(chunk)
            state, about = loader.finish(), reader.metadata
    except StorageError as error:
        text = str(error).replace(REMEDY, "take another backup")
        raise StorageError(text if str(path) in text else f"{path}: {text}") from None
    return Content(state, about.index, about.term, about.configuration, about.cluster_id, about.time)


def write_backup(path: Path, option: str, content: Content) -> int:
    """
    Write a backup, and verify it. Returns its size in bytes.

    @param option: what named the path, for messages.
    @raise StorageError: there is something at the path, the disk has failed, or what was read again is not what was to
        be written.
    """
    path = path.absolute()
    content = attrs.evolve(content, state=with_short_history(content.state))
    _check_not_there(path, option)
    about = SnapshotMetadata(content.log_index, content.term, content.configuration, time=content.time)
    with unfinished(path, option) as place, naming(place):
        store = SnapshotStore(place)
        store.cluster_id = content.cluster_id
        writer = store.create(about)
        for chunk in dump(content.state):
            if chunk:
                writer.write(chunk)
        writer.finish()
        made = snapshot_path(place, about)
        if digest(read_backup(made).state) != digest(content.state):
            raise StorageError(f"{option} {path}: what was read again is not what was written; see to the disk")
        put_in_place(made, path)
    return store.size


def _check_not_there(path: Path, option: str) -> None:
    check_free(path, option)
    if path.is_dir():
        raise StorageError(f"{option} {path} is a directory; name a file in it")
