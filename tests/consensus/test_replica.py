"""
Tests of L{etcd_twisted.consensus.replica} and its parts, on a fake clock and a real disk.
"""

import itertools

from twisted.internet.defer import CancelledError, ensureDeferred
from twisted.python.failure import Failure

from etcd_twisted.auth.state import AUTH_KEY, DISABLED, AuthState, encode
from etcd_twisted.consensus.raft.configurations import bootstrap
from etcd_twisted.consensus.state_machine import ENTRIES_PER_TURN
from etcd_twisted.consensus.storage.data_directory import Identity
from etcd_twisted.consensus.storage.storage import Storage
from etcd_twisted.errors import ConfigError, ErrorCode, EtcdError, StorageError
from etcd_twisted.keyspace.commands import Delete, Set
from etcd_twisted.keyspace.events import Event
from tests.consensus.machine import MACHINE, MEMBER, SECOND, ReplicaTestCase, TestMachine
from tests.consensus.storage.logs import ready
from tests.logs.lines import Log


class StartTests(ReplicaTestCase):
    def test_a_single_machine_elects_itself_and_registers_at_index_1(self) -> None:
        """The registration takes index 1 (spec, "Indexes")."""
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

    def test_requests_before_the_election_wait(self) -> None:
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

    def test_restarted_machine_serves_nothing_before_it_has_replayed_its_log(self) -> None:
        """
        The machine does not serve while it replays entries that it has applied before, although its group exists.
        """
        machine = self.machine()
        for number in range(300):
            machine.set(f"/{number}", "x")
        machine.settle()
        index = machine.replica.index
        machine.crash()
        machine = TestMachine(self.path)
        seen: list[int] = []
        machine.replica.when_serving().addCallback(lambda _: seen.append(machine.replica.index))
        machine.settle()
        self.assertEqual((seen, machine.replica.index), ([index], index))
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

    def test_name_of_the_directory_is_used_without_another(self) -> None:
        self.machine().stop()
        machine = TestMachine(self.path, name=None)
        machine.settle()
        self.assertEqual(machine.replica.name, "machine0")
        machine.stop()

    def test_missing_log_is_refused(self) -> None:
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
        self.assertEqual(ready(storage, Identity("machine0", "a" * 16, "1" * 16)), [])
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
        """Much is committed and little of it applied when the disk fails, and the read must not wait for ever."""
        machine = self.machine()
        for number in range(1_000):
            machine.set(f"/k{number}").addErrback(lambda failure: failure.trap(EtcdError))
        machine.clock.advance(0)
        member = machine.replica._member
        self.patch(member.node, "_wake", lambda: None)  # the reactor has not reached the rest of the entries yet
        machine.disk_thread.run_one()
        self.assertLess(member.state_machine.applied_index, member.raft.commit_index)
        confirmed = machine.replica.confirm_reads()
        member.node.fail(Failure(OSError(5, "Input/output error")))
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
        self.assertEqual((len(machine.disk_thread.jobs), machine.replica.raft_index), (0, before))
        machine.stop()


class WatchTests(ReplicaTestCase):
    def test_watcher_sees_events_in_a_later_turn(self) -> None:
        machine = self.machine()
        told: list[Event] = []
        machine.replica.watch("/a", False, False, None, told.append)
        answer = machine.set("/a", "1")
        machine.clock.advance(0)
        machine.disk_thread.run_one()
        event = self.successResultOf(answer)
        self.assertEqual(told, [])
        machine.clock.advance(0)
        self.assertEqual(told, [event])
        machine.stop()

    def test_many_watchers_see_events_in_slices(self) -> None:
        machine = self.machine()
        told: list[Event] = []
        for _ in range(1_000):
            machine.replica.watch("/a", False, False, None, told.append)
        machine.set("/a", "1")
        machine.clock.advance(0)
        machine.disk_thread.run_one()
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
        stopped = ensureDeferred(machine.participation.stop())
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

    def test_stop_leaves_nothing_on_the_clock(self) -> None:
        machine = self.machine()
        machine.set("/a", "1", machine.replica.now() + SECOND)
        machine.replica.watch("/a", False, True, None, lambda _event: None)
        machine.settle()
        machine.stop()
        self.assertEqual(machine.clock.getDelayedCalls(), [])

    def test_disk_that_fails_during_a_stop_does_not_delay_it(self) -> None:
        machine = self.machine()
        under_way = machine.set("/a", "1")
        stopped = ensureDeferred(machine.participation.stop())
        machine.disk_thread.failing = OSError(5, "Input/output error")
        machine.settle()
        self.successResultOf(stopped)
        self.failureResultOf(under_way, EtcdError)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        machine.storage.close()


class AuthTests(ReplicaTestCase):
    """These tests are about what doors see of users and roles."""

    def test_users_and_roles_are_those_of_the_key_space(self) -> None:
        """A restarted machine has them, too."""
        machine = self.machine()
        self.assertIs(machine.replica.auth, DISABLED)
        machine.set(AUTH_KEY, encode(AuthState(True)))
        machine.settle()
        self.assertEqual(machine.replica.auth, AuthState(True))
        machine.stop()
        machine = self.machine()
        self.assertEqual(machine.replica.auth, AuthState(True))
        machine.stop()

    def test_a_restarted_machine_leads_once_it_knows_its_users(self) -> None:
        """
        It takes several turns to apply the log. A client who was served before would be a guest, whatever guests may
        do.
        """
        machine = self.machine()
        for number in range(2 * ENTRIES_PER_TURN):
            machine.set(f"/{number}", "x")
        machine.set(AUTH_KEY, encode(AuthState(True)))
        machine.settle()
        machine.crash()
        machine = TestMachine(self.path)
        replica, seen = machine.replica, list[tuple[bool, AuthState]]()
        replica.when_led().addCallback(lambda _: seen.append((replica.is_leader, replica.auth)))
        machine.settle()
        self.assertEqual(seen, [(True, AuthState(True))])
        machine.stop()

    def test_an_unreadable_document_is_in_the_log(self) -> None:
        machine = self.machine()
        machine.set(AUTH_KEY, "{")
        machine.settle()
        log = Log(self)
        self.assertTrue(machine.replica.auth.problem)
        self.assertTrue(machine.replica.auth.enabled)
        (line,) = log.warnings
        self.assertTrue(line.startswith("/_etcd/_auth can't be read, so nobody may do anything: "), line)
        machine.stop()
