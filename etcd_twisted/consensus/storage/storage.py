"""
All files of one machine, together.

Must never be open in two processes at once: whoever has them has the data directory's lock.
"""

from pathlib import Path

import attrs

from etcd_twisted.consensus.storage.data_directory import DataDirectory, Identity
from etcd_twisted.consensus.storage.hard_state import StateFile
from etcd_twisted.consensus.storage.snapshot_files import SnapshotStore
from etcd_twisted.consensus.storage.write_ahead_log import WriteAheadLog


@attrs.frozen
class Storage:
    """
    One machine's files, open and locked for this process.

    @ivar log: what L{etcd_twisted.consensus.raft.log.RaftLog} holds, durably.
    @ivar state: what must be known if the log is lost.
    """

    directory: DataDirectory
    log: WriteAheadLog
    snapshots: SnapshotStore
    state: StateFile

    @classmethod
    def open(cls, path: Path, option: str, fresh: bool = False) -> "Storage":
        """
        Returns the files in a data directory, which is made if need be.

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
        """Returns the files in a data directory that is locked for this process; none of them is open yet."""
        state = StateFile(directory.state_path)
        log = WriteAheadLog(directory.log_directory, state_file=state)
        return cls(directory, log, SnapshotStore(directory.snapshot_directory), state)

    def belong_to(self, identity: Identity) -> None:
        """Refuse files of other machines from here on, and write this machine's id into new ones."""
        self.log.machine_id = identity.machine_id
        self.snapshots.cluster_id = identity.cluster_id

    def close(self) -> None:
        """Give the files and the lock back."""
        try:
            self.log.close()
        finally:
            self.directory.close()
