"""
Tests of the write-ahead log on a disk that fails, or loses its power, at any call.
"""

import errno
from collections.abc import Callable
from pathlib import Path

from etcd_twisted.consensus.raft.entries import HardState, Record
from etcd_twisted.consensus.storage import removed_files, segment_file
from etcd_twisted.consensus.storage.write_ahead_log import WriteAheadLog
from etcd_twisted.errors import StorageError
from etcd_twisted.testing.simulation.disk import CALLS, CrashError, Disk
from etcd_twisted.testing.simulation.disks import Disks
from tests.consensus.storage.logs import LogTestCase, State, entries, frame_offsets, recover, resolve, resumed, vote


def compact(log: WriteAheadLog, index: int) -> None:
    """Delete the segments that a snapshot covers, and free them."""
    log.compact(index)
    while log.removed.free_some():
        pass


class FailingDiskTests(LogTestCase):
    def setUp(self) -> None:
        self.disks = Disks()
        self.addCleanup(self.disks.remove)
        installed = self.disks.installed()
        installed.__enter__()
        self.addCleanup(installed.__exit__, None, None, None)
        self.made = 0
        self.patch(removed_files, "FREED_BYTES", 50)

    def disk(self) -> Disk:
        """Returns a new disk, with an empty directory."""
        self.made += 1
        disk = self.disks.disk(f"disk{self.made}")
        disk.path.mkdir()
        return disk

    def fail_at(self, disk: Disk, number: int, error: BaseException) -> None:
        """Makes a call fail, counted from now."""
        disk.calls.clear()
        disk.fails_at_call, disk.error = number, error

    def calls(self, disk: Disk) -> list[str]:
        return [name for name, _ in disk.calls]

    def scenario(self) -> list[tuple[Callable[[WriteAheadLog], None], int]]:
        """Returns what is done to a log, each step with the index that a snapshot covers then."""
        return [
            (lambda log: log.append(vote(1)), 0),
            (lambda log: log.append(entries(1, b"a" * 30)), 0),
            (lambda log: log.append(entries(2, b"b" * 30, b"c" * 30)), 0),
            (lambda log: log.append(entries(3, b"C" * 30, term=2)), 0),
            (lambda log: compact(log, 2), 2),
            (lambda log: log.append(vote(2)), 2),
            (lambda log: log.append(entries(4, b"d" * 100)), 2),
            (lambda log: log.append(entries(5, b"e")), 2),
            (lambda log: compact(log, 9), 9),
            (lambda log: log.append(entries(10, b"j" * 30)), 9),
            (lambda log: log.append(entries(11, b"k" * 100)), 9),
        ]

    def expected(self) -> list[State]:
        """Returns the state before each step of the scenario, and the one after the last."""
        states: list[State] = [(HardState(), {})]
        appended: list[Record] = []

        class Recorder:
            last_index = 0
            removed = removed_files.RemovedFiles()

            def append(self, record: Record) -> None:
                appended.append(record)

            def compact(self, index: int) -> None:
                """Compaction removes no entry that counts."""

        for step, covered in self.scenario():
            step(Recorder())
            states.append(resolve(appended, covered))
        return states

    def run_scenario(self, directory: Path) -> int:
        """Runs until the disk fails, and returns how many steps were done. A failed log must accept nothing more."""
        log = WriteAheadLog(directory, 160)
        done = 0
        try:
            resumed(log)
            for step, _ in self.scenario():
                step(log)
                done += 1
            log.close()
        except OSError:
            self.assertRaises(StorageError, log.append, entries(log.last_index + 1, b"after the failure"))
            self.assertRaises(StorageError, log.compact, 1)
        except StorageError:
            self.assertEqual(done, 0)  # recovery names the file itself
        finally:
            log.close()
        return done

    def check_state(self, directory: Path, done: int) -> None:
        """Asserts that the log holds the result of the steps that were done, or of those and the one that failed."""
        steps, states = self.scenario(), self.expected()
        covered = steps[min(done, len(steps) - 1)][1]
        log = WriteAheadLog(directory, 160)
        state = resolve(resumed(log), covered)
        possible = [
            (hard_state, {index: data for index, data in found.items() if index > covered})
            for hard_state, found in states[done : done + 2]
        ]
        self.assertIn(state, possible)
        log.append(entries(log.last_index + 1, b"next"))
        log.close()
        self.assertEqual(len(resolve(recover(directory), log.last_index - 1)[1]), 1)

    def test_scenario_without_a_failure(self) -> None:
        """Without a failure all steps are done; the other tests fail each of the calls counted here."""
        disk = self.disk()
        self.assertEqual(self.run_scenario(disk.path), len(self.scenario()))
        self.check_state(disk.path, len(self.scenario()))
        self.assertEqual(set(self.calls(disk)), CALLS)

    def test_any_failing_call_loses_nothing_acknowledged(self) -> None:
        """After any failing call nothing is acknowledged, and all that was acknowledged is found again."""
        number, failed = 1, True
        while failed:
            disk = self.disk()
            self.fail_at(disk, number, OSError(errno.EIO, "injected"))
            done = self.run_scenario(disk.path)
            failed = len(disk.calls) >= number
            disk.repair()
            self.check_state(disk.path, done)
            number += 1
        self.assertGreater(number, 40)

    def test_any_power_cut_loses_nothing_acknowledged(self) -> None:
        """What was acknowledged is on the disk, and is found again if everything that was not synced is lost."""
        for keep_names in (False, True):
            number, cut = 1, True
            while cut:
                disk = self.disk()
                self.fail_at(disk, number, CrashError())
                done, cut = self.run_until_cut(disk.path)
                if cut:
                    self.disks.cut_power(disk, keep_names=keep_names)
                disk.repair()
                self.check_state(disk.path, done)
                number += 1
            self.assertGreater(number, 40)

    def test_any_power_cut_after_any_kill_loses_nothing_acknowledged(self) -> None:
        """
        A recovery makes durable what it builds on before it deletes anything: a process is killed, the next one finds
        in the page cache what is not on the disk, and then the power is cut.
        """
        kill, killed, cuts = 1, True, 0
        while killed:
            again, cut = 1, True
            while cut:
                disk = self.disk()
                self.fail_at(disk, kill, CrashError())
                done, killed = self.run_until_cut(disk.path)
                self.disks.close_all(disk)
                disk.repair()
                self.fail_at(disk, again, CrashError())
                log = WriteAheadLog(disk.path, 160)
                try:
                    resumed(log)
                    cut = False
                    log.close()
                except CrashError:
                    self.disks.cut_power(disk, keep_names=False)
                    disk.repair()
                    self.check_state(disk.path, done)
                    cuts += 1
                again += 1
            kill += 1
        self.assertGreater(cuts, 200)

    def run_until_cut(self, directory: Path) -> tuple[int, bool]:
        log = WriteAheadLog(directory, 160)
        done = 0
        try:
            resumed(log)
            for step, _ in self.scenario():
                step(log)
                done += 1
            log.close()
        except CrashError:
            return done, True
        return done, False

    def test_failed_sync_is_not_acknowledged(self) -> None:
        """
        The record may be whole in the page cache, but it was not acknowledged, and the log can't be used any more.
        """
        disk = self.disk()
        log = WriteAheadLog(disk.path)
        resumed(log)
        log.append(entries(1, b"a"))
        self.fail_at(disk, 2, OSError(errno.EIO, "injected"))
        error = self.assertRaises(OSError, log.append, entries(2, b"b"))
        self.assertEqual((error.errno, self.calls(disk)), (errno.EIO, ["pwrite", "fdatasync"]))
        self.assertEqual(log.last_index, 1)
        refused = self.assertRaises(StorageError, log.append, entries(2, b"b"))
        self.assertIn("takes nothing more after a failed write", str(refused))
        self.assertEqual(self.calls(disk), ["pwrite", "fdatasync"])
        log.close()

    def test_recovery_writes_the_last_record_again(self) -> None:
        """After a failed sync the page cache counts as clean, so only what is written again is sure to be synced."""
        disk = self.disk()
        self.write(disk.path, [entries(1, b"a"), entries(2, b"b")])
        disk.calls.clear()
        written: list[tuple[int, bytes]] = []
        self.patch(segment_file, "write_all", lambda _descriptor, data, offset: written.append((offset, data)))
        log = WriteAheadLog(disk.path)
        resumed(log)
        self.assertEqual(disk.calls[-1], ("fsync", disk.path.name))
        (path,) = disk.path.iterdir()
        begin = frame_offsets(path)[-2]
        self.assertEqual(written, [(begin, path.read_bytes()[begin:])])
        synced = {file for name, file in disk.calls if name in {"fsync", "fdatasync"}}
        self.assertEqual(synced - {disk.path.name}, {path.name})
        log.close()

    def test_record_without_room_is_refused(self) -> None:
        """Nothing of the record is written if there is no room for it."""
        disk = self.disk()
        log = WriteAheadLog(disk.path)
        resumed(log)
        log.append(entries(1, b"a" * 3_000_000))
        self.fail_at(disk, 1, OSError(errno.ENOSPC, "injected"))
        error = self.assertRaises(OSError, log.append, entries(2, b"b" * 3_000_000))
        self.assertEqual((error.errno, self.calls(disk)), (errno.ENOSPC, ["posix_fallocate"]))
        self.assertRaises(StorageError, log.append, entries(2, b"b"))
        log.close()
        log = WriteAheadLog(disk.path)
        self.assertEqual(resumed(log), [entries(1, b"a" * 3_000_000)])
        self.assertIsNone(log.torn)
        log.close()

    def test_file_system_without_allocation_is_used(self) -> None:
        """Some file systems allocate nothing ahead. Then the file just grows."""
        for number in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            disk = self.disk()
            log = WriteAheadLog(disk.path, 200)
            resumed(log)
            self.fail_at(disk, 2, OSError(number, "injected"))
            log.append(entries(1, b"a"))
            self.assertEqual(self.calls(disk)[1], "posix_fallocate")
            self.assertEqual(max(disk.path.iterdir()).stat().st_size, log._file.position)
            for index in range(2, 10):
                log.append(entries(index, b"b" * 50))
            self.assertEqual(self.calls(disk).count("posix_fallocate"), 1)
            log.close()
            self.assertEqual(len(recover(disk.path)), 9)
