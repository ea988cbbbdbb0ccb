"""
The snapshot files of etcd: each holds the version 2 store, as JSON in a snapshot of Raft, with a checksum.

This module must never take a snapshot that is not whole.
"""

import re
from pathlib import Path

from etcd_twisted.consensus.storage.files import files_in, naming, open_to_read
from etcd_twisted.datadir.etcd import messages
from etcd_twisted.datadir.etcd.checksums import crc32c
from etcd_twisted.datadir.etcd.log_files import damage
from etcd_twisted.datadir.etcd.messages import Snapshot
from etcd_twisted.datadir.etcd.wire import WireError

_NAME = re.compile(r"([0-9a-f]{16})-([0-9a-f]{16})\.snap")


def snapshot_files(directory: Path) -> list[Path]:
    """Returns the snapshot files in a directory, the newest first."""
    return files_in(directory, _NAME)[::-1]


def read_snapshot(path: Path) -> Snapshot:
    """
    Returns the snapshot in a file.

    @raise StorageError: it is damaged, or can't be read.
    """
    with naming(path), open_to_read(path) as file:
        data = file.read()
    try:
        checksum, content = messages.saved_snapshot(data)
        if crc32c(content) != checksum:
            raise WireError("its checksum is wrong")
        snapshot = messages.snapshot(content)
    except WireError as error:
        raise damage(path, 0, str(error)) from None
    term, index = (int(part, 16) for part in path.stem.split("-"))
    if (term, index) != (snapshot.term, snapshot.index):
        raise damage(path, 0, f"it is the snapshot of term {snapshot.term}, index {snapshot.index}")
    return snapshot
