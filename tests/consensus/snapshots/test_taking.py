"""
Tests of L{etcd_twisted.consensus.replica}: snapshots, on a fake clock and a real disk.
"""

import itertools
import os
from contextlib import closing
from unittest import mock

from etcd_twisted.consensus.snapshots import taking
from etcd_twisted.consensus.snapshots.taking import ENTRY_BYTES_PER_SNAPSHOT_BYTE, FREE_BYTES
from etcd_twisted.consensus.storage import removed_files
from etcd_twisted.errors import StorageError
from etcd_twisted.keyspace.snapshot import dump
from tests.consensus.machine import SECOND, ReplicaTestCase, TestMachine


def failing_sync(_descriptor: int) -> None:
    raise OSError(5, "Input/output error")


class SnapshotTests(ReplicaTestCase):
    def test_a_snapshot_shortens_the_log_and_nothing_is_lost(self) -> None:
        machine = self.machine(snapshot_count=20)
        for number in range(50):
            machine.set(f"/d{number % 7}/k{number}", "x" * number, machine.replica.now() + 1000 * SECOND)
            machine.settle()
        reader = machine.storage.snapshots.latest()
        assert reader is not None
        with closing(reader):
            self.assertGreaterEqual(reader.metadata.index, 40)
        self.assertEqual(len(list((self.path / "snapshots").iterdir())), 1)
        self.assertEqual(len(list((self.path / "log").iterdir())), 1)
        self.assertGreaterEqual(machine.storage.log.base, 40)
        before = self.dumped(machine)
        machine.stop()
        machine = self.machine(snapshot_count=20)
        self.assertEqual(self.dumped(machine), before)
        machine.stop()

    def dumped(self, machine: TestMachine) -> bytes:
        return b"".join(dump(machine.replica.keyspace.state()))

    def snapshot_index(self, machine: TestMachine) -> int:
        reader = machine.storage.snapshots.latest()
        if reader is None:
            return 0
        with closing(reader):
            return reader.metadata.index

    def test_few_large_entries_make_a_snapshot_due_too(self) -> None:
        machine = self.machine(snapshot_count=10_000, snapshot_bytes=1_000)
        due = []
        for _ in range(12):
            machine.set("/a", "x" * 290)
            machine.settle()
            if (index := self.snapshot_index(machine)) not in (0, *due):
                self.assertEqual(index, machine.replica.raft_index)
                due.append(index)
        self.assertEqual([after - before for before, after in itertools.pairwise(due)], [4, 4])
        machine.stop()

    def test_a_large_snapshot_is_paid_for_by_as_many_bytes_of_entries(self) -> None:
        machine = self.machine(snapshot_count=10)
        numbers = itertools.count()
        while (first := self.snapshot_index(machine)) == 0:
            machine.set(f"/large{next(numbers)}", "x" * 300_000)
            machine.settle()
        size = machine.storage.snapshots.size
        self.assertGreater(size, FREE_BYTES)
        while self.snapshot_index(machine) == first:
            machine.set("/small", "x" * 10_000)
            machine.settle()
        entries = self.snapshot_index(machine) - first
        self.assertGreater(entries, 10)
        needed = (size - FREE_BYTES) * ENTRY_BYTES_PER_SNAPSHOT_BYTE
        self.assertLess(abs(entries * 10_000 - needed), needed / 100)
        machine.stop()

    def test_a_large_snapshot_is_due_after_so_many_entries_in_any_case(self) -> None:
        """A start thus applies a bounded number of them, however large the snapshot before them is."""
        self.patch(taking, "MOST_ENTRIES", 45)
        machine = self.machine(snapshot_count=10)
        numbers = itertools.count()
        while (first := self.snapshot_index(machine)) == 0:
            machine.set(f"/large{next(numbers)}", "x" * 300_000)
            machine.settle()
        self.assertGreater(machine.storage.snapshots.size, FREE_BYTES)
        while self.snapshot_index(machine) == first and machine.replica.raft_index < first + 100:
            machine.set("/small", "")
            machine.settle()
        self.assertEqual(self.snapshot_index(machine), first + 45)
        machine.stop()

    def test_a_small_snapshot_is_due_after_the_count(self) -> None:
        machine = self.machine(snapshot_count=10)
        due = set[int]()
        for number in range(45):
            machine.set(f"/a{number}", "")
            machine.settle()
            due.add(self.snapshot_index(machine))
        self.assertEqual([after - before for before, after in itertools.pairwise(sorted(due))], [10, 10, 10, 10])
        machine.stop()

    def test_large_entries_from_before_a_restart_count(self) -> None:
        machine = self.machine(snapshot_count=10_000, snapshot_bytes=1_000)
        machine.set("/a", "x" * 600)
        machine.settle()
        machine.stop()
        machine = self.machine(snapshot_count=10_000, snapshot_bytes=1_000)
        self.assertEqual(self.snapshot_index(machine), 0)
        machine.set("/a", "x" * 400)
        machine.settle()
        self.assertEqual(self.snapshot_index(machine), machine.replica.raft_index)
        machine.stop()

    def test_large_entries_make_no_snapshot_due_without_snapshots(self) -> None:
        machine = self.machine(snapshot_bytes=1_000)
        machine.set("/a", "x" * 2_000)
        machine.settle()
        self.assertEqual(self.snapshot_index(machine), 0)
        machine.stop()

    def test_files_that_a_snapshot_replaces_are_freed_in_steps(self) -> None:
        """A change that comes meanwhile waits for one step at most."""
        self.patch(removed_files, "FREED_BYTES", 500)
        machine = self.machine(snapshot_count=10)
        removed = machine.storage.snapshots.removed, machine.storage.log.removed
        numbers = itertools.count()
        while not all(each._descriptors for each in removed):
            machine.set(f"/k{next(numbers)}", "x" * 1_000)
            machine.clock.advance(0)
            while machine.disk_thread.jobs and not all(each._descriptors for each in removed):
                machine.disk_thread.run_one()
                machine.clock.advance(0)
        waits = []
        while any(each._descriptors for each in removed):
            answer = machine.set("/during", "x")
            machine.clock.advance(0)
            waits.append(len(machine.disk_thread.jobs))
            for _ in range(waits[-1]):
                machine.disk_thread.run_one()
            self.successResultOf(answer)
        self.assertGreater(len(waits), 20)
        self.assertLessEqual(max(waits), 2)
        machine.settle()
        machine.stop()

    def test_files_are_freed_although_a_newer_snapshot_came_meanwhile(self) -> None:
        """The leader's, which this one does not replace in memory."""
        machine = self.machine(snapshot_count=10)
        for number in range(12):
            machine.set(f"/k{number}")
        machine.settle()
        snapshotter = machine.replica._member._snapshotter
        while snapshotter._running is None:
            machine.set("/more")
            machine.clock.advance(0)
            machine.disk_thread.run_one()
            machine.clock.advance(0)
        self.patch(snapshotter, "_log", mock.Mock(snapshot_index=1_000))
        machine.settle()
        self.assertEqual(self.snapshot_index(machine) // 10, 2)
        self.assertEqual(machine.storage.snapshots.removed._descriptors, [])
        machine.stop()

    def test_writes_go_on_during_a_snapshot(self) -> None:
        machine = self.machine(snapshot_count=10)
        for number in range(12):
            machine.set(f"/k{number}")
        machine.clock.advance(0)
        machine.disk_thread.run_one()
        machine.clock.advance(0)
        answer = machine.set("/during", "1")
        machine.clock.advance(0)
        self.assertEqual(len(machine.disk_thread.jobs), 2)
        machine.settle()
        self.successResultOf(answer)
        machine.crash()
        machine = self.machine()
        self.assertEqual(self.value(machine, "/during"), "1")
        machine.stop()

    def test_a_crash_during_a_snapshot_loses_nothing(self) -> None:
        machine = self.machine(snapshot_count=10)
        answers = [machine.set(f"/k{number}") for number in range(12)]
        machine.clock.advance(0)
        machine.disk_thread.run_one()
        for answer in answers:
            self.successResultOf(answer)
        for _ in range(2):
            machine.clock.advance(0)
            machine.disk_thread.run_one()
        machine.crash()
        machine = self.machine()
        for number in range(12):
            machine.replica.get(f"/k{number}")
        machine.stop()

    def test_stop_cancels_a_snapshot(self) -> None:
        machine = self.machine(snapshot_count=10)
        for number in range(12):
            machine.set(f"/k{number}")
        machine.clock.advance(0)
        machine.disk_thread.run_one()
        machine.stop()
        self.assertEqual([path.name for path in (self.path / "snapshots").iterdir()], [])

    def test_a_snapshot_that_fails_leaves_no_file_and_ends_the_machine(self) -> None:
        machine = self.machine(snapshot_count=10)
        for number in range(12):
            machine.set(f"/k{number}")
        machine.clock.advance(0)
        machine.disk_thread.run_one()
        while not list((self.path / "snapshots").iterdir()):
            machine.clock.advance(0)
            machine.disk_thread.run_one()
        self.patch(os, "fsync", failing_sync)
        machine.settle()
        self.assertEqual(list((self.path / "snapshots").iterdir()), [])
        self.assertIn("Input/output error", machine.fatal[0])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        machine.stop()

    def test_a_missing_snapshot_is_noticed(self) -> None:
        machine = self.machine(snapshot_count=10)
        for number in range(40):
            machine.set(f"/k{number}", "x" * 100)
            machine.settle()
        machine.crash()
        for snapshot in (self.path / "snapshots").iterdir():
            snapshot.unlink()
        machine = TestMachine(self.path)
        machine.settle()
        self.assertIn("snapshot", str(self.failureResultOf(machine.started, StorageError).value))
