"""
L{etcd_twisted.consensus.replica} and what it is made of, on a fake clock and a real disk.
"""

import itertools
import os
from contextlib import closing
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus import participant
from etcd_twisted.consensus.core import bootstrap
from etcd_twisted.consensus.recovery import Storage
from etcd_twisted.errors import ConfigError, ErrorCode, EtcdError, StorageError
from etcd_twisted.keyspace.commands import CompareAndSwap, CreateInOrder, Delete, Refresh, Set
from etcd_twisted.keyspace.events import LAST_MOMENT, Event, format_time
from etcd_twisted.keyspace.nodes import File
from etcd_twisted.keyspace.snapshot import dump
from tests.consensus.machine import MACHINE, MEMBER, TestMachine

SECOND = 1_000_000


def failing_sync(_descriptor: int) -> None:
    raise OSError(5, "Input/output error")


class ReplicaTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def machine(self, snapshot_count: int | None = None, history: int = 1_000) -> TestMachine:
        machine = TestMachine(self.path, snapshot_count, history)
        machine.settle()
        self.successResultOf(machine.started)
        return machine

    def value(self, machine: TestMachine, key: str) -> str:
        node = machine.replica.get(key)
        assert isinstance(node, File)
        return node.value


class StartTests(ReplicaTestCase):
    def test_a_single_machine_elects_itself_and_registers_at_index_1(self) -> None:
        """Spec, "Indexes"."""
        machine = self.machine()
        self.assertTrue(machine.replica.serving)
        self.assertTrue(machine.replica.is_leader)
        self.assertEqual(machine.replica.leader(), MACHINE)
        self.assertEqual(machine.replica.machines(), [MACHINE])
        self.assertEqual(machine.replica.index, 1)
        self.assertEqual(
            self.value(machine, "/_etcd/machines/machine0"),
            "etcd=http%3A%2F%2F127.0.0.1%3A4001&raft=http%3A%2F%2F127.0.0.1%3A7001",
        )
        machine.stop()

    def test_the_first_write_takes_index_2(self) -> None:
        machine = self.machine()
        answer = machine.set("/message", "Hello world")
        machine.settle()
        self.assertEqual(self.successResultOf(answer).index, 2)
        machine.stop()

    def test_a_restart_does_not_register_again(self) -> None:
        self.machine().stop()
        machine = self.machine()
        self.assertEqual(machine.replica.index, 1)
        self.assertGreater(machine.replica.term, 2)
        machine.stop()

    def test_requests_that_come_before_wait(self) -> None:
        machine = TestMachine(self.path)
        serving = machine.replica.when_serving()
        answer = machine.set("/a", "1")
        confirmed = machine.replica.confirm_reads()
        self.assertNoResult(serving)
        machine.settle()
        self.successResultOf(serving)
        self.successResultOf(confirmed)
        self.assertEqual(self.successResultOf(answer).index, 2)
        machine.stop()

    def test_waiting_can_be_cancelled(self) -> None:
        machine = TestMachine(self.path)
        serving = machine.replica.when_serving()
        serving.cancel()
        self.failureResultOf(serving, CancelledError)
        machine.settle()
        machine.stop()

    def test_a_name_that_is_not_the_directorys_is_refused(self) -> None:
        self.machine().stop()
        machine = TestMachine(self.path, name="other")
        machine.settle()
        error = self.failureResultOf(machine.started, ConfigError).value
        self.assertIn("--data-dir", str(error))
        self.assertIn("'machine0'", str(error))

    def test_without_a_name_the_directorys_is_taken(self) -> None:
        self.machine().stop()
        machine = TestMachine(self.path, name=None)
        machine.settle()
        self.assertEqual(machine.replica.name, "machine0")
        machine.stop()

    def test_a_log_that_is_gone_is_refused(self) -> None:
        self.machine().stop()
        for segment in (self.path / "log").iterdir():
            segment.unlink()
        machine = TestMachine(self.path)
        machine.settle()
        error = self.failureResultOf(machine.started, StorageError).value
        self.assertIn("the log is gone", str(error))

    def test_a_machine_stopped_before_its_identity_was_written_goes_on(self) -> None:
        self.machine().crash()
        (self.path / "identity.json").unlink()
        for segment in (self.path / "log").iterdir():
            segment.unlink()
        storage = Storage.open(self.path, "--data-dir")
        self.assertEqual(list(storage.log.recover()), [])
        storage.log.append(bootstrap("a" * 16, MEMBER))
        storage.close()
        machine = self.machine()
        identity = machine.storage.directory.load_identity()
        assert identity is not None
        self.assertEqual(identity.machine_id, "a" * 16)
        machine.stop()

    def test_a_log_without_an_identity_is_refused(self) -> None:
        self.machine().stop()
        (self.path / "identity.json").unlink()
        machine = TestMachine(self.path)
        machine.settle()
        self.assertIn("identity.json", str(self.failureResultOf(machine.started, StorageError).value))

    def test_a_registration_that_a_directory_is_in_the_way_of_does_not_stop_the_machine(self) -> None:
        machine = self.machine()
        for command in (Delete(MACHINE.key, 0), Set(MACHINE.key, 0, directory=True)):
            answer = machine.replica.propose(command)
            machine.settle()
            self.successResultOf(answer)
        machine.stop()
        machine = self.machine()
        self.assertTrue(machine.replica.serving)
        machine.stop()


class WriteTests(ReplicaTestCase):
    """Nothing is acknowledged before it is durable and applied."""

    def test_an_answer_waits_for_the_sync(self) -> None:
        machine = self.machine()
        answer = machine.set("/a", "1")
        machine.clock.advance(0)
        self.assertNoResult(answer)
        self.assertRaises(EtcdError, machine.replica.get, "/a")
        machine.writer.run_one()
        self.assertEqual(self.successResultOf(answer).node.value, "1")
        self.assertEqual(self.value(machine, "/a"), "1")
        machine.stop()

    def test_proposals_during_a_sync_go_into_the_next_one(self) -> None:
        machine = self.machine()
        first = machine.set("/a", "1")
        machine.clock.advance(0)
        others = [machine.set(f"/b{number}", "1") for number in range(50)]
        machine.clock.advance(0)
        self.assertEqual(len(machine.writer.jobs), 1)
        machine.writer.run_one()
        self.successResultOf(first)
        self.assertEqual(len(machine.writer.jobs), 1)
        machine.writer.run_one()
        self.assertEqual([self.successResultOf(each).index for each in others], list(range(3, 53)))
        machine.stop()

    def test_an_error_is_answered_like_anything_else(self) -> None:
        machine = self.machine()
        answer = machine.replica.propose(Delete("/nothing", machine.replica.now()))
        machine.settle()
        error = self.failureResultOf(answer, EtcdError).value
        self.assertEqual((error.code, error.cause, error.index), (ErrorCode.KEY_NOT_FOUND, "/nothing", 1))
        machine.stop()

    def test_what_could_not_be_applied_or_read_back_is_refused_and_not_logged(self) -> None:
        machine = self.machine()
        logged = machine.replica.raft_index
        for command, code, words in (
            (Set("/big", 0, "x", False, 10**18), ErrorCode.TTL_NOT_A_NUMBER, "expires: 1000000000000000000"),
            (Set("/big", 0, "x", False, 10**30), ErrorCode.INVALID_FIELD, "not a command"),
            (Refresh("/old", 0, -1), ErrorCode.TTL_NOT_A_NUMBER, "expires: -1"),
            (CompareAndSwap("/a", 0, "x", LAST_MOMENT + 1), ErrorCode.TTL_NOT_A_NUMBER, "expires"),
            (Set("/a//b", 0), ErrorCode.INVALID_FIELD, "key: '/a//b' is not clean; '/a/b' is"),
            (Delete("a", 0), ErrorCode.INVALID_FIELD, "key: 'a'"),
            (CreateInOrder("/a/", 0), ErrorCode.INVALID_FIELD, "key: '/a/'"),
            (Set("", 0), ErrorCode.INVALID_FIELD, "key: ''"),
            (Set("/a", 0, "\ud800"), ErrorCode.INVALID_FORM, "surrogates"),
            (Set("/\udfff", 0), ErrorCode.INVALID_FORM, "surrogates"),
            (Set("/a", 0, 5), ErrorCode.INVALID_FIELD, "Expected `str`, got `int`"),  # type: ignore[arg-type]
        ):
            error = self.failureResultOf(machine.replica.propose(command), EtcdError).value
            self.assertEqual((error.code, error.index), (code, 1), command)
            self.assertIn(words, error.cause)
        machine.settle()
        self.assertEqual(machine.replica.raft_index, logged)
        last = machine.set("/last", "x", LAST_MOMENT)
        machine.settle()
        self.assertEqual(self.successResultOf(last).node.expiration, "9999-12-31T23:59:59.000000Z")
        machine.stop()
        machine = self.machine()
        self.assertEqual(self.value(machine, "/last"), "x")
        machine.stop()

    def test_a_change_that_can_not_be_applied_is_answered_and_ends_the_machine(self) -> None:
        machine = self.machine()

        def broken(_command: object) -> None:
            raise RuntimeError("a mistake")

        self.patch(machine.replica.keyspace, "apply", broken)
        answers = [machine.set("/a", "1"), machine.set("/b", "1")]
        machine.settle()
        for answer in answers:
            self.assertEqual(self.failureResultOf(answer, EtcdError).value.code, ErrorCode.RAFT_INTERNAL)
        (reason,) = machine.fatal
        self.assertIn("a mistake", reason)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        machine.stop()

    def test_who_went_away_is_not_answered_and_hurts_nobody(self) -> None:
        machine = self.machine()
        gone, there = machine.set("/a", "1"), machine.set("/b", "1")
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        machine.settle()
        self.successResultOf(there)
        self.assertEqual(self.value(machine, "/a"), "1")
        machine.stop()

    def test_a_failing_disk_acknowledges_nothing_and_ends_the_machine(self) -> None:
        machine = self.machine()
        answers = [machine.set("/a", "1"), machine.set("/b", "1")]
        machine.writer.failing = OSError(28, "No space left on device")
        machine.settle()
        for answer in answers:
            error = self.failureResultOf(answer, EtcdError).value
            self.assertEqual(error.code, ErrorCode.RAFT_INTERNAL)
            self.assertIn("unknown", error.cause)
        (reason,) = machine.fatal
        self.assertIn("No space left on device", reason)
        self.assertFalse(machine.replica.serving)
        self.failureResultOf(machine.set("/c", "1"), EtcdError)
        self.failureResultOf(machine.replica.when_serving(), EtcdError)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        machine.stop()

    @settings(deadline=None)
    @given(st.lists(st.sampled_from(["set", "turn", "sync", "crash"]), max_size=40))
    def test_what_was_acknowledged_survives_any_crash(self, steps: list[str]) -> None:
        self.path = Path(self.mktemp())
        machine = self.machine()
        pending: list[tuple[str, Deferred[Event]]] = []
        acknowledged: dict[str, int] = {}
        for number, step in enumerate(steps):
            if step == "set":
                pending.append((f"/k{number}", machine.set(f"/k{number}", str(number))))
            elif step == "turn":
                machine.clock.advance(0)
            elif step == "sync" and machine.writer.jobs:
                machine.writer.run_one()
            acknowledged |= {key: answer.result.index for key, answer in pending if hasattr(answer, "result")}
            if step == "crash":
                machine.crash()
                machine, pending = self.machine(), []
            for key, index in acknowledged.items():
                node = machine.replica.get(key)
                self.assertEqual(node.modified, index)
                self.assertLessEqual(index, machine.replica.index)
        machine.crash()


class TimeTests(SynchronousTestCase):
    """What an older log may hold has to be shown somehow."""

    def test_a_time_that_no_year_has_is_moved_to_the_nearest(self) -> None:
        for beyond in (LAST_MOMENT + 1, 10**18, 10**30):
            self.assertEqual(format_time(beyond), "9999-12-31T23:59:59.000000Z")
        for before in (-(10**18), -(10**30)):
            self.assertEqual(format_time(before), "0001-01-01T00:00:00.000000Z")
        self.assertEqual(format_time(-1), "1969-12-31T23:59:59.999999Z")


class ReadTests(ReplicaTestCase):
    def test_a_confirmed_read_sees_what_was_acknowledged_before(self) -> None:
        machine = self.machine()
        answer = machine.set("/a", "1")
        machine.settle()
        self.successResultOf(answer)
        confirmed = machine.replica.confirm_reads()
        machine.settle()
        self.successResultOf(confirmed)
        self.assertEqual(self.value(machine, "/a"), "1")
        machine.stop()

    def test_a_read_that_can_not_be_confirmed_any_more_fails(self) -> None:
        """Much is committed and little of it applied when the disk fails: the read must not wait for ever."""
        machine = self.machine()
        for number in range(1_000):
            machine.set(f"/k{number}").addErrback(lambda failure: failure.trap(EtcdError))
        machine.clock.advance(0)
        driver = machine.replica._participant.driver
        self.patch(driver, "_wake", lambda: None)  # the reactor has not come to the rest of the entries yet
        machine.writer.run_one()
        self.assertLess(driver.applied, driver.core.commit_index)
        confirmed = machine.replica.confirm_reads()
        driver.fail(Failure(OSError(5, "Input/output error")))
        error = self.failureResultOf(confirmed, EtcdError).value
        self.assertEqual(error.code, ErrorCode.RAFT_INTERNAL)
        self.assertIn("Input/output error", error.cause)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        machine.stop()

    def test_a_stop_waits_for_reads(self) -> None:
        machine = self.machine()
        confirmed = machine.replica.confirm_reads()
        machine.stop()
        self.successResultOf(confirmed)

    def test_a_confirmed_read_writes_nothing(self) -> None:
        machine = self.machine()
        before = machine.replica.raft_index
        machine.replica.confirm_reads()
        machine.clock.advance(0)
        self.assertEqual((len(machine.writer.jobs), machine.replica.raft_index), (0, before))
        machine.stop()


class ExpiryTests(ReplicaTestCase):
    """Spec, section 1, "TTL"."""

    def test_a_key_goes_when_its_time_has_come(self) -> None:
        machine = self.machine()
        machine.set("/a", "1", machine.replica.now() + 5 * SECOND)
        machine.settle()
        machine.clock.pump([0.5] * 9)
        machine.settle()
        self.assertEqual(self.value(machine, "/a"), "1")
        machine.clock.pump([0.5])
        machine.settle()
        self.assertRaises(EtcdError, machine.replica.get, "/a")
        self.assertEqual(machine.replica.index, 3)
        machine.stop()

    def test_nothing_is_written_while_nothing_expires(self) -> None:
        machine = self.machine()
        machine.set("/a", "1", machine.replica.now() + 3600 * SECOND)
        machine.settle()
        before = machine.replica.raft_index
        machine.clock.pump([1.0] * 600)
        self.assertEqual((len(machine.writer.jobs), machine.replica.raft_index), (0, before))
        machine.stop()

    def test_many_keys_expire_in_several_commands_and_all_of_them(self) -> None:
        machine = self.machine()
        expires = machine.replica.now() + 2 * SECOND
        for number in range(2_500):
            machine.set(f"/k{number}", "", expires)
        machine.settle()
        before = machine.replica.raft_index
        machine.clock.pump([1.0, 1.0])
        machine.settle()
        self.assertEqual(machine.replica.statistics().expire_count, 2_500)
        self.assertEqual(machine.replica.raft_index - before, 3)
        machine.stop()

    def test_one_command_is_under_way_at_a_time(self) -> None:
        machine = self.machine()
        machine.set("/a", "", machine.replica.now() + SECOND)
        machine.settle()
        before = machine.replica.raft_index
        machine.clock.pump([1.0, 0, 0])
        for number in range(5):
            machine.set(f"/b{number}")
            machine.clock.pump([1.0, 0])
        machine.settle()
        self.assertEqual(machine.replica.raft_index - before, 6)
        machine.stop()

    def test_keys_expire_that_were_due_while_the_machine_was_down(self) -> None:
        machine = self.machine()
        machine.set("/a", "", machine.replica.now() + SECOND)
        machine.settle()
        machine.stop()
        machine.clock.advance(100)
        machine = TestMachine(self.path, clock=machine.clock)
        machine.settle()
        self.assertRaises(EtcdError, machine.replica.get, "/a")
        machine.stop()

    def test_a_clock_that_is_set_forward_is_noticed(self) -> None:
        machine = self.machine()
        machine.set("/a", "", machine.replica.now() + 3600 * SECOND)
        machine.settle()
        machine.wall_ahead = 3600
        machine.clock.advance(1)
        machine.settle()
        self.assertRaises(EtcdError, machine.replica.get, "/a")
        machine.stop()

    def test_a_clock_that_is_set_back_makes_keys_live_longer_and_holds_up_nothing_else(self) -> None:
        machine = self.machine()
        told: list[Event] = []
        machine.replica.watch("/", True, True, None, told.append)
        machine.set("/a", "", machine.replica.now() + 2 * SECOND)
        machine.clock.advance(0)
        machine.wall_ahead = -30
        machine.settle()
        short = machine.set("/b", "", machine.replica.now() + 1 * SECOND)
        machine.settle()
        self.assertEqual([event.node.key for event in told], ["/a", "/b"])
        self.assertEqual(self.successResultOf(short).node.ttl, 1)
        for _ in range(31):
            machine.clock.advance(1)
            machine.settle()
        self.assertEqual([event.node.key for event in told], ["/a", "/b", "/b"])
        machine.clock.advance(1)
        machine.settle()
        self.assertEqual([event.node.key for event in told], ["/a", "/b", "/b", "/a"])
        machine.stop()


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
        return b"".join(dump(machine.replica.keyspace.content()))

    def snapshot_index(self, machine: TestMachine) -> int:
        reader = machine.storage.snapshots.latest()
        if reader is None:
            return 0
        with closing(reader):
            return reader.metadata.index

    def test_few_large_entries_make_a_snapshot_due_too(self) -> None:
        self.patch(participant, "SNAPSHOT_BYTES", 1_000)
        machine = self.machine(snapshot_count=10_000)
        due = []
        for _ in range(12):
            machine.set("/a", "x" * 290)
            machine.settle()
            if (index := self.snapshot_index(machine)) not in (0, *due):
                self.assertEqual(index, machine.replica.raft_index)
                due.append(index)
        self.assertEqual([after - before for before, after in itertools.pairwise(due)], [4, 4])
        machine.stop()

    def test_large_entries_from_before_a_restart_count(self) -> None:
        self.patch(participant, "SNAPSHOT_BYTES", 1_000)
        machine = self.machine(snapshot_count=10_000)
        machine.set("/a", "x" * 600)
        machine.settle()
        machine.stop()
        machine = self.machine(snapshot_count=10_000)
        self.assertEqual(self.snapshot_index(machine), 0)
        machine.set("/a", "x" * 400)
        machine.settle()
        self.assertEqual(self.snapshot_index(machine), machine.replica.raft_index)
        machine.stop()

    def test_without_snapshots_large_entries_make_none(self) -> None:
        self.patch(participant, "SNAPSHOT_BYTES", 1_000)
        machine = self.machine()
        machine.set("/a", "x" * 2_000)
        machine.settle()
        self.assertEqual(self.snapshot_index(machine), 0)
        machine.stop()

    def test_writes_go_on_meanwhile(self) -> None:
        machine = self.machine(snapshot_count=10)
        for number in range(12):
            machine.set(f"/k{number}")
        machine.clock.advance(0)
        machine.writer.run_one()
        machine.clock.advance(0)
        answer = machine.set("/during", "1")
        machine.clock.advance(0)
        self.assertEqual(len(machine.writer.jobs), 2)
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
        machine.writer.run_one()
        for answer in answers:
            self.successResultOf(answer)
        for _ in range(2):
            machine.clock.advance(0)
            machine.writer.run_one()
        machine.crash()
        machine = self.machine()
        for number in range(12):
            machine.replica.get(f"/k{number}")
        machine.stop()

    def test_a_stop_gives_a_snapshot_up(self) -> None:
        machine = self.machine(snapshot_count=10)
        for number in range(12):
            machine.set(f"/k{number}")
        machine.clock.advance(0)
        machine.writer.run_one()
        machine.stop()
        self.assertEqual([path.name for path in (self.path / "snapshots").iterdir()], [])

    def test_a_snapshot_that_fails_leaves_no_file_and_ends_the_machine(self) -> None:
        machine = self.machine(snapshot_count=10)
        for number in range(12):
            machine.set(f"/k{number}")
        machine.clock.advance(0)
        machine.writer.run_one()
        while not list((self.path / "snapshots").iterdir()):
            machine.clock.advance(0)
            machine.writer.run_one()
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


class WatchTests(ReplicaTestCase):
    def test_a_watcher_is_told_in_a_turn_of_its_own(self) -> None:
        machine = self.machine()
        told: list[Event] = []
        machine.replica.watch("/a", False, False, None, told.append)
        answer = machine.set("/a", "1")
        machine.clock.advance(0)
        machine.writer.run_one()
        event = self.successResultOf(answer)
        self.assertEqual(told, [])
        machine.clock.advance(0)
        self.assertEqual(told, [event])
        machine.stop()

    def test_many_watchers_are_told_in_slices(self) -> None:
        machine = self.machine()
        told: list[Event] = []
        for _ in range(1_000):
            machine.replica.watch("/a", False, False, None, told.append)
        machine.set("/a", "1")
        machine.clock.advance(0)
        machine.writer.run_one()
        seen: list[int] = []

        def other_work() -> None:
            seen.append(len(told))
            if len(told) < 1_000:
                machine.clock.callLater(0, other_work)

        other_work()
        machine.clock.advance(0)
        self.assertEqual(len(told), 1_000)
        self.assertLessEqual(max(after - before for before, after in itertools.pairwise(seen)), 128)
        machine.stop()


class StopTests(ReplicaTestCase):
    def test_writes_under_way_finish_and_new_ones_are_refused(self) -> None:
        machine = self.machine()
        under_way = machine.set("/a", "1")
        stopped = ensureDeferred(machine.replica.stop())
        self.assertNoResult(stopped)
        refused = machine.set("/b", "1")
        machine.settle()
        self.successResultOf(under_way)
        self.successResultOf(stopped)
        self.assertIn("stopping", self.failureResultOf(refused, EtcdError).value.cause)
        machine.storage.close()
        machine = self.machine()
        self.assertEqual(self.value(machine, "/a"), "1")
        machine.stop()

    def test_nothing_is_left_on_the_clock(self) -> None:
        machine = self.machine()
        machine.set("/a", "1", machine.replica.now() + SECOND)
        machine.replica.watch("/a", False, True, None, lambda _event: None)
        machine.settle()
        machine.stop()
        self.assertEqual(machine.clock.getDelayedCalls(), [])

    def test_a_disk_that_fails_during_the_stop_does_not_hold_it_up(self) -> None:
        machine = self.machine()
        under_way = machine.set("/a", "1")
        stopped = ensureDeferred(machine.replica.stop())
        machine.writer.failing = OSError(5, "Input/output error")
        machine.settle()
        self.successResultOf(stopped)
        self.failureResultOf(under_way, EtcdError)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        machine.storage.close()
