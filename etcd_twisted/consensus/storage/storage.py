"""
All files of one machine together.

They must never be open in two processes at once: whoever opens them holds the lock of the data directory.
"""

import contextlib
from pathlib import Path

import attrs

from etcd_twisted.consensus.storage.data_directory import DataDirectory, Identity
from etcd_twisted.consensus.storage.hard_state import StateFile
from etcd_twisted.consensus.storage.snapshot_files import SnapshotStore
from etcd_twisted.consensus.storage.write_ahead_log import SEGMENT_BYTES, WriteAheadLog


@attrs.frozen
class Storage:
    """
    The files of one machine, locked for this process.

    @ivar log: the durable form of L{etcd_twisted.consensus.raft.log.RaftLog}.
    @ivar state: the file with what must be known even if the log is lost.
    """

    directory: DataDirectory
    log: WriteAheadLog
    snapshots: SnapshotStore
    state: StateFile

    @classmethod
    def open(cls, path: Path, option: str, fresh: bool = False, segment_bytes: int = SEGMENT_BYTES) -> "Storage":
        """
        Returns the files in a data directory, which is made if it is missing.

        @param option: the option that named the path, for messages.
        @param fresh: whether to forget what a machine has left in the directory.
        @param segment_bytes: the most bytes in a segment of the log, unless one record alone is larger.
        @raise StorageError: the directory is in use, or can't be used.
        """
        directory = DataDirectory(path, option, fresh)
        try:
            return cls.within(directory, segment_bytes)
        except BaseException:
            directory.close()
            raise

    @classmethod
    def within(cls, directory: DataDirectory, segment_bytes: int = SEGMENT_BYTES) -> "Storage":
        """
        Returns the files in a data directory that is locked for this process. None of them is open yet.

        @param segment_bytes: the most bytes in a segment of the log, unless one record alone is larger.
        """
        state = StateFile(directory.state_path)
        log = WriteAheadLog(directory.log_directory, segment_bytes, state)
        return cls(directory, log, SnapshotStore(directory.snapshot_directory), state)

    def belong_to(self, identity: Identity) -> None:
        """From here on, refuse files of other machines, and write this machine's id into new ones."""
        self.log.machine_id = identity.machine_id
        self.snapshots.cluster_id = identity.cluster_id

    def close(self) -> None:
        """Close the files and release the lock."""
        with contextlib.ExitStack() as last_first:
            last_first.callback(self.directory.close)
            last_first.callback(self.log.close)
            last_first.callback(self.snapshots.removed.close)
