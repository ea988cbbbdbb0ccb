"""
Tests of the write-ahead log in processes of its own, with the real system's limits, and a real kill.
"""

import errno
import os
import subprocess
import sys
from pathlib import Path

import etcd_twisted
from etcd_twisted.consensus.storage.write_ahead_log import WriteAheadLog
from tests.consensus.storage.logs import LogTestCase, contents, entries, recover, resolve, resumed

CHILD = """
import resource, sys
from pathlib import Path
from etcd_twisted.consensus.raft.entries import Entry, EntryKind, Record
from etcd_twisted.consensus.storage.write_ahead_log import WriteAheadLog
from etcd_twisted.errors import StorageError

def record(index, size):
    return Record(None, (Entry(index, 1, EntryKind.COMMAND, b"x" * size),))

log = WriteAheadLog(Path(sys.argv[1]), 1 << 20)
for _ in log.recover():
    pass
log.resume()
"""


class ProcessTests(LogTestCase):
    def start(self, script: str, *arguments: str) -> "subprocess.Popen[str]":
        root = str(Path(etcd_twisted.__file__).parent.parent)
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD + script, *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": root},
        )
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        return child

    def run_to_the_limit(self, limit: str, size: int) -> Path:
        """Appends records until the kernel lets no file grow over the limit; the log must fail, and stay failed."""
        directory = self.directory()
        script = f"""
log.append(record(1, 10))
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
index = 1
try:
    while True:
        log.append(record(index + 1, {size}))
        index += 1
except OSError as error:
    print(index, error.errno)
try:
    log.append(record(index + 1, 1))
except StorageError:
    print("refused")
"""
        output, _ = self.start(script, str(directory)).communicate()
        first, second = output.splitlines()
        acknowledged, number = map(int, first.split())
        self.assertEqual((number, second), (errno.EFBIG, "refused"))
        self.assertGreater(acknowledged, 1)
        log = WriteAheadLog(directory)
        self.assertEqual(list(resolve(resumed(log))[1]), list(range(1, acknowledged + 1)))
        log.append(entries(acknowledged + 1, b"there is room again"))
        log.close()
        self.torn = log.torn
        return directory

    def test_disk_that_is_full_in_the_middle_of_a_record_fails_the_log(self) -> None:
        """The kernel accepts a part of the record and then no more."""
        self.run_to_the_limit("10000", 1000)
        self.assertIsNotNone(self.torn)
        self.assertLess(self.torn.length, 1000)

    def test_disk_without_room_for_a_segment_fails_the_log(self) -> None:
        """
        A new segment gets no room, and nothing of the record was written. The record is too long for zeros to follow
        it.
        """
        directory = self.run_to_the_limit("(1 << 20) - 1", 50_000)
        self.assertIn(f"{1:020}.log", contents(directory))

    def test_killed_process_loses_nothing_acknowledged(self) -> None:
        """Whatever was acknowledged before a kill is there."""
        for _ in range(3):
            directory = self.directory()
            script = """
index = 1
while True:
    log.append(record(index, 5000))
    print(index, flush=True)
    index += 1
"""
            child = self.start(script, str(directory))
            assert child.stdout is not None
            lines = [child.stdout.readline() for _ in range(300)]
            child.kill()
            lines += child.stdout.readlines()
            child.stdout.close()
            acknowledged = int([line for line in lines if line.endswith("\n")][-1])
            found = list(resolve(recover(directory))[1])
            self.assertEqual(found, list(range(1, len(found) + 1)))
            self.assertIn(len(found), (acknowledged, acknowledged + 1))
            self.assertGreater(len(contents(directory)), 1)
