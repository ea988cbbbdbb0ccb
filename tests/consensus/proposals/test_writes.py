"""
Tests of L{etcd_twisted.consensus.replica}: writes, on a fake clock and a real disk.
"""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred

from etcd_twisted.consensus.proposals import proposer
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.keyspace.commands import (
    CompareAndDelete,
    CompareAndSwap,
    Create,
    CreateInOrder,
    Delete,
    Refresh,
    Set,
    SetOrSwap,
    Update,
)
from etcd_twisted.keyspace.events import LAST_MOMENT, Event
from tests.consensus.machine import ReplicaTestCase


class WriteTests(ReplicaTestCase):
    """Nothing is acknowledged before it is durable and applied."""

    def test_an_answer_waits_for_the_sync(self) -> None:
        machine = self.machine()
        answer = machine.set("/a", "1")
        machine.clock.advance(0)
        self.assertNoResult(answer)
        self.assertRaises(EtcdError, machine.replica.get, "/a")
        machine.disk_thread.run_one()
        self.assertEqual(self.successResultOf(answer).node.value, "1")
        self.assertEqual(self.value(machine, "/a"), "1")
        machine.stop()

    def test_proposals_during_a_sync_go_into_the_next_one(self) -> None:
        machine = self.machine()
        first = machine.set("/a", "1")
        machine.clock.advance(0)
        others = [machine.set(f"/b{number}", "1") for number in range(50)]
        machine.clock.advance(0)
        self.assertEqual(len(machine.disk_thread.jobs), 1)
        machine.disk_thread.run_one()
        self.successResultOf(first)
        self.assertEqual(len(machine.disk_thread.jobs), 1)
        machine.disk_thread.run_one()
        self.assertEqual([self.successResultOf(each).index for each in others], list(range(3, 53)))
        machine.stop()

    def test_an_error_is_answered_like_anything_else(self) -> None:
        machine = self.machine()
        answer = machine.replica.propose(Delete("/nothing", machine.replica.now()))
        machine.settle()
        error = self.failureResultOf(answer, EtcdError).value
        self.assertEqual((error.code, error.cause, error.index), (ErrorCode.KEY_NOT_FOUND, "/nothing", 1))
        machine.stop()

    def test_outcome_is_passed_to_a_callback(self) -> None:
        """The outcome of a change, or the reason why it did nothing, is passed to a callback once it is applied."""
        machine = self.machine()
        told: list[Event | Exception | None] = []
        self.assertTrue(machine.replica.submit(Set("/a", machine.replica.now(), "1"), told.append))
        self.assertTrue(machine.replica.submit(Delete("/nothing", machine.replica.now()), told.append))
        self.assertEqual(told, [])
        machine.settle()
        event, error = told
        assert isinstance(event, Event)
        assert isinstance(error, EtcdError)
        self.assertEqual((event.index, event.node.value), (2, "1"))
        self.assertEqual((error.code, error.cause, error.index), (ErrorCode.KEY_NOT_FOUND, "/nothing", 2))
        with self.assertRaises(EtcdError) as refused:
            machine.replica.submit(Set("/a//b", 0), told.append)
        self.assertIn("is not clean", refused.exception.cause)
        machine.stop()
        self.assertFalse(machine.replica.submit(Set("/a", 0), told.append))
        self.assertEqual(len(told), 2)

    def test_proposal_with_a_callback_does_not_wait_for_room(self) -> None:
        machine = self.machine(unapplied_bytes=10)
        told: list[Event | Exception | None] = []
        now = machine.replica.now()
        self.assertTrue(machine.replica.submit(Set("/a", now, "more than ten bytes"), told.append))
        self.assertFalse(machine.replica.submit(Set("/b", now, "1"), told.append))
        waits = machine.replica.propose(Set("/b", now, "1"))
        machine.settle()
        self.assertEqual(len(told), 1)
        self.assertEqual(self.successResultOf(waits).index, 3)
        machine.stop()

    def test_command_that_could_not_be_applied_or_decoded_is_refused_and_not_logged(self) -> None:
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
            (Set("/a" * 257, 0), ErrorCode.INVALID_FIELD, "the key has 257 segments; at most 256 are allowed"),
            (Create("/" + "a" * 16_384, 0), ErrorCode.INVALID_FIELD, "the key is 16385 bytes long; at most 16384"),
            (SetOrSwap("/a" * 257, 0), ErrorCode.INVALID_FIELD, "the key has 257 segments; at most 256 are allowed"),
            (CreateInOrder("/a" * 256, 0), ErrorCode.INVALID_FIELD, "the key that this makes has 257 segments"),
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

    def test_a_log_of_an_earlier_version_may_hold_a_deeper_key(self) -> None:
        """The key is applied as it stands, again after a restart, and what it made can be changed and removed."""
        machine = self.machine()
        key = "/a" * 1_000
        unchecked = self.patch(proposer, "check_size", lambda *_: None)
        made = machine.set(key, "1")
        machine.settle()
        unchecked.restore()
        self.assertEqual(self.successResultOf(made).node.key, key)
        machine.stop()
        machine = self.machine()
        self.assertEqual(self.value(machine, key), "1")
        now = machine.replica.now()
        for command in (Update(key, now, "2"), CompareAndSwap(key, now, "3"), CompareAndDelete(key, now, "3")):
            done = machine.replica.propose(command)
            machine.settle()
            self.assertEqual(self.successResultOf(done).node.key, key)
        machine.stop()

    def test_a_change_that_can_not_be_applied_is_answered_and_ends_the_machine(self) -> None:
        machine = self.machine()

        def broken(_commands: object, _outcomes: object) -> None:
            raise RuntimeError("a mistake")

        self.patch(machine.replica.keyspace, "apply_all", broken)
        answers = [machine.set("/a", "1"), machine.set("/b", "1")]
        machine.settle()
        for answer in answers:
            self.assertEqual(self.failureResultOf(answer, EtcdError).value.code, ErrorCode.RAFT_INTERNAL)
        (reason,) = machine.fatal
        self.assertIn("a mistake", reason)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        machine.stop()

    def test_cancelled_write_is_not_answered(self) -> None:
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
        machine.disk_thread.failing = OSError(28, "No space left on device")
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

    def test_all_writers_learn_of_a_failing_disk_although_one_callback_fails(self) -> None:
        machine = self.machine()

        def broken(_reason: str) -> None:
            raise RuntimeError("a mistake")

        machine.participation.on_failure.insert(0, broken)
        answer = machine.set("/a", "1")
        machine.disk_thread.failing = OSError(28, "No space left on device")
        machine.settle()
        self.failureResultOf(answer, EtcdError)
        self.assertEqual(len(machine.fatal), 1)
        self.failureResultOf(machine.replica.when_serving(), EtcdError)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        machine.stop()

    @given(st.lists(st.sampled_from(["set", "turn", "sync", "crash"]), max_size=40))
    def test_acknowledged_writes_survive_any_crash(self, steps: list[str]) -> None:
        self.path = Path(self.mktemp())
        machine = self.machine()
        pending: list[tuple[str, Deferred[Event]]] = []
        acknowledged: dict[str, int] = {}
        for number, step in enumerate(steps):
            if step == "set":
                pending.append((f"/k{number}", machine.set(f"/k{number}", str(number))))
            elif step == "turn":
                machine.clock.advance(0)
            elif step == "sync" and machine.disk_thread.jobs:
                machine.disk_thread.run_one()
            acknowledged |= {key: answer.result.index for key, answer in pending if hasattr(answer, "result")}
            if step == "crash":
                machine.crash()
                machine, pending = self.machine(), []
            for key, index in acknowledged.items():
                node = machine.replica.get(key)
                self.assertEqual(node.modified, index)
                self.assertLessEqual(index, machine.replica.index)
        machine.crash()
