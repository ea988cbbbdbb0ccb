"""
Tests of L{etcd_twisted.consensus.storage.hard_state}, and of when the log writes it.
"""

import errno
import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.raft.entries import Configuration, HardState, SnapshotMetadata
from etcd_twisted.consensus.raft.log import RaftLog
from etcd_twisted.consensus.recovery import Recovered
from etcd_twisted.consensus.storage import checked, files
from etcd_twisted.consensus.storage.hard_state import State, StateFile
from etcd_twisted.consensus.storage.write_ahead_log import WriteAheadLog
from etcd_twisted.errors import StorageError
from tests.consensus.storage.logs import LogTestCase, entries, resumed, vote

STATE = State("0123456789abcdef", HardState(3, "fedcba9876543210"), 12)
PAGE = Path(__file__).parents[3] / "docs" / "storage.md"


class FileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.mkdir()
        self.path /= "state.json"
        StateFile(self.path).save(STATE)

    def test_layout_of_the_hard_state(self) -> None:
        """The file is the one that docs/storage.md shows."""
        self.assertIn(f"```json\n{self.path.read_text()}```", PAGE.read_text())
        self.assertEqual(StateFile(self.path).load(), STATE)

    def test_missing_hard_state(self) -> None:
        self.path.unlink()
        self.assertIsNone(StateFile(self.path).load())

    def test_hard_state_that_is_cut_at_any_byte_is_refused(self) -> None:
        data = self.path.read_bytes()
        for length in range(len(data) - 1):  # the last byte is the newline at the end
            self.path.write_bytes(data[:length])
            error = self.assertRaises(StorageError, StateFile(self.path).load)
            self.assertIn(f"{self.path} is damaged", str(error))

    def test_hard_state_of_a_newer_version_is_refused(self) -> None:
        """The error says that the version is newer, whatever else a later version has in the file."""
        self.path.write_bytes(b'{"version": 2, "more": "of it"}')
        error = self.assertRaises(StorageError, StateFile(self.path).load)
        self.assertIn("format version 2", str(error))

    def test_failing_disk_keeps_the_old_state(self) -> None:
        """The old state is there until the new one is, and nothing else is left."""

        def fail(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        newer = State(STATE.machine_id, HardState(4, ""), 13)
        state_file = StateFile(self.path)
        for name in ("write_all", "sync_directory"):
            patched = self.patch(files, name, fail)
            self.assertRaises(OSError, state_file.save, newer)
            patched.restore()
            self.assertEqual(StateFile(self.path).load(), STATE if name == "write_all" else newer)
            self.assertEqual(list(self.path.parent.iterdir()), [self.path])
        state_file.save(newer)
        self.assertEqual(StateFile(self.path).load(), newer)


class RecoveryTests(SynchronousTestCase):
    """Of the log and of the file, the later term counts at a start, and in the same term the vote."""

    def test_later_term_and_vote_count(self) -> None:
        for of_log, of_file, expected in (
            (HardState(3, ""), HardState(3, "a"), HardState(3, "a")),
            (HardState(3, "b"), HardState(3, ""), HardState(3, "b")),
            (HardState(2, "b"), HardState(3, "a"), HardState(3, "a")),
            (HardState(4, ""), HardState(3, "a"), HardState(4, "")),
            (HardState(4, "b"), None, HardState(4, "b")),
        ):
            snapshot = SnapshotMetadata(0, 0, Configuration(()))
            found = Recovered(None, snapshot, RaftLog(), of_log)
            found.note_state(None if of_file is None else State("", of_file, 1))
            self.assertEqual(found.hard_state, expected)


class LogTests(LogTestCase):
    """Tests of what the log writes to the file."""

    def setUp(self) -> None:
        self.path = self.directory() / "state.json"
        self.saved: list[tuple[int, int]] = []
        save = checked.replace_file

        def replace_file(path: Path, data: bytes) -> None:
            save(path, data)
            state = StateFile(path).load()
            assert state is not None
            self.saved.append((state.hard_state.term, state.segment))

        self.patch(checked, "replace_file", replace_file)
        self.log = WriteAheadLog(self.directory(), 300, StateFile(self.path))
        self.log.machine_id = STATE.machine_id
        self.assertEqual(resumed(self.log), [])
        self.addCleanup(self.log.close)

    def test_ordinary_writes_do_not_write_the_hard_state(self) -> None:
        """Only a term, a vote, or a new segment is written there."""
        self.log.append(vote(1))
        self.assertEqual(self.saved, [(0, 1), (1, 1)])
        for index in range(1, 5):
            self.log.append(entries(index, b"x"))
        self.assertEqual(self.saved, [(0, 1), (1, 1)])
        self.log.append(vote(2))
        self.log.roll()
        self.log.restart_after(100)
        self.assertEqual(self.saved, [(0, 1), (1, 1), (2, 1), (2, 2), (2, 3)])
        self.log.save_state()
        self.assertEqual(len(self.saved), 5)

    def test_vote_is_in_the_file_before_it_is_in_the_log(self) -> None:
        """The vote is known whatever becomes of the log, which accepts nothing more if writing the file fails."""
        self.log.append(vote(1))

        def fail(*_: object) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        self.patch(checked, "replace_file", fail)
        size = self.log.size
        self.assertRaises(OSError, self.log.append, vote(2))
        self.assertEqual(self.log.size, size)
        self.assertRaises(StorageError, self.log.append, entries(1, b"x"))
