"""
Helpers for tests of write-ahead logs: records to write, and what is in a log.
"""

import shutil
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.raft.entries import Entry, EntryKind, HardState, Record
from etcd_twisted.consensus.storage import framing
from etcd_twisted.consensus.storage.data_directory import Identity
from etcd_twisted.consensus.storage.framing import FrameReader
from etcd_twisted.consensus.storage.segments import SEGMENT_MAGIC
from etcd_twisted.consensus.storage.storage import Storage
from etcd_twisted.consensus.storage.write_ahead_log import WriteAheadLog
from etcd_twisted.errors import StorageError

State = tuple[HardState, dict[int, bytes]]


def entries(first: int, *data: bytes, term: int = 1) -> Record:
    return Record(None, tuple(Entry(first + n, term, EntryKind.COMMAND, item) for n, item in enumerate(data)))


def vote(term: int) -> Record:
    return Record(HardState(term, "0123456789abcdef"), ())


def resolve(records: Iterable[Record], covered: int = 0) -> State:
    """
    Returns what a replica makes of the records: conflicting entries are replaced, and those that a snapshot covers are
    left out.
    """
    hard_state, found = HardState(), {}
    for record in records:
        hard_state = record.hard_state or hard_state
        if record.entries:
            found = {index: data for index, data in found.items() if index < record.entries[0].index}
            found.update({entry.index: entry.data for entry in record.entries})
    return hard_state, {index: data for index, data in found.items() if index > covered}


def resumed(log: WriteAheadLog) -> list[Record]:
    """Makes a log ready for more, and returns what was in it."""
    records = list(log.recover())
    log.resume()
    return records


def ready(storage: Storage, identity: Identity) -> list[Record]:
    """Makes the files of a machine ready to be written, and returns what was in its log."""
    storage.belong_to(identity)
    storage.directory.keep()
    return resumed(storage.log)


def recover(directory: Path) -> list[Record]:
    log = WriteAheadLog(directory)
    records = resumed(log)
    log.close()
    return records


def frame_offsets(path: Path) -> list[int]:
    """Returns the offsets at which the file's frames begin, and at which the last one ends."""
    with closing(FrameReader(path, SEGMENT_MAGIC)) as reader:
        offsets = [reader.offset]
        while reader.next() is not None:
            offsets.append(reader.offset)
        return offsets


def frame_offsets_until_bad(path: Path) -> int:
    with closing(FrameReader(path, SEGMENT_MAGIC)) as reader:
        while True:
            try:
                reader.next()
            except framing.BadFrameError as bad:
                return bad.offset


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


class LogTestCase(SynchronousTestCase):
    def directory(self) -> Path:
        path = Path(self.mktemp())
        path.mkdir()
        return path

    def write(self, directory: Path, records: Iterable[Record], segment_bytes: int = 1 << 20) -> None:
        log = WriteAheadLog(directory, segment_bytes)
        resumed(log)
        for record in records:
            log.append(record)
        log.close()

    def copy(self, directory: Path) -> Path:
        path = Path(self.mktemp())
        shutil.copytree(directory, path)
        return path

    def assert_refused(self, directory: Path, *words: str) -> None:
        """Asserts that recovery fails, has all the words in one line, and leaves the directory alone."""
        before = contents(directory)
        error = self.assertRaises(StorageError, recover, directory)
        for word in words:
            self.assertIn(word, str(error))
        self.assertNotIn("\n", str(error))
        self.assertEqual(contents(directory), before)


@st.composite
def logs(draw: st.DrawFn) -> list[Record]:
    """Generates records as a replica appends them: contiguous, and sometimes going back over uncommitted entries."""
    last, records = 0, []
    for _ in range(draw(st.integers(0, 12))):
        hard_state = draw(st.none() | st.builds(HardState, st.integers(1, 9), st.sampled_from(["", "0" * 16])))
        first = draw(st.integers(max(1, last - 2), last + 1))
        data = draw(st.lists(st.binary(max_size=40), max_size=4))
        records.append(Record(hard_state, entries(first, *data, term=draw(st.integers(1, 9))).entries))
        last = first + len(data) - 1 if data else last
    return records
