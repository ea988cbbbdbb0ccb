"""
What a worker has is what its machine has, and what it does is what its machine would do.
"""

from typing import Any
from unittest import mock

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.python.failure import Failure

from etcd_twisted.auth.checks import CAUSE
from etcd_twisted.auth.state import AUTH_KEY, GUEST, AuthState, Role, User
from etcd_twisted.auth.state import encode as encode_auth
from etcd_twisted.consensus.raft.limits import RaftLimits
from etcd_twisted.errors import ErrorCode, EtcdError, RequestDroppedError
from etcd_twisted.keyspace import snapshot
from etcd_twisted.keyspace.commands import CompareAndSwap, Set
from etcd_twisted.keyspace.events import MICROSECONDS_PER_SECOND, Event
from etcd_twisted.keyspace.nodes import File
from etcd_twisted.workers import feed
from etcd_twisted.workers.frames import Entries, Piece, Request, decode_down, decode_up
from etcd_twisted.workers.learner import WorkerFeed
from etcd_twisted.workers.replica import WorkerReplica
from tests.consensus.cluster import Cluster, ClusterMachine, ClusterTestCase
from tests.workers.machines import WorkerTestCase, workers_of

UNKNOWN = "whether the write was done is unknown"


def value(replica: WorkerReplica, key: str) -> str:
    """Reads a copy."""
    node = replica.get(key)
    assert isinstance(node, File)
    return node.value


def written_by(end: feed.WorkerConnection | WorkerFeed) -> mock.Mock:
    """Returns what is called with everything that one end writes from now on, which is sent all the same."""
    transport = end.transport
    written = mock.patch.object(transport, "write", wraps=transport.write).start()
    mock.patch.object(end, "_write", written).start()
    return written


def messages(written: mock.Mock) -> list[Any]:
    """The messages among what was written."""
    return [decode_down(each.args[0][4:]) for each in written.call_args_list]


class OneMachineTests(WorkerTestCase):
    """A machine that is alone, with two workers."""

    def setUp(self) -> None:
        self.addCleanup(mock.patch.stopall)
        self.group = self.cluster()
        (self.machine,) = self.group.start(1)
        self.feed(self.group)
        self.first, self.second = workers_of(self.machine)
        self.worker, self.other = self.first.replica, self.second.replica

    def set(
        self, key: str, text: str, user: str | None = GUEST, replica: WorkerReplica | None = None
    ) -> "Deferred[Event]":
        by = replica or self.worker
        return by.forward(Set(key, by.now(), text), user)

    def error_of(self, deferred: "Deferred[Any]") -> EtcdError:
        """Advances until it has failed."""
        with self.assertRaises(EtcdError) as raised:
            self.group.result_of(deferred)
        return raised.exception

    # Writes

    def test_write_is_answered_when_it_is_in_the_copy(self) -> None:
        """So a client that has written something finds it on the same connection."""
        for number in range(20):
            event = self.group.result_of(self.set("/a", f"{number}"))
            self.assertEqual((value(self.worker, "/a"), event.index), (f"{number}", self.worker.index))
        self.feed(self.group)

    def test_callback_has_the_outcome(self) -> None:
        """As it has for the leader's own clients."""
        told: list[Any] = []
        now = self.worker.now()
        self.assertTrue(self.worker.submit(Set("/a", now, "1"), told.append, GUEST))
        self.assertTrue(self.worker.submit(CompareAndSwap("/a", now, "2", None, "x"), told.append, GUEST))
        self.assertRaises(EtcdError, self.worker.submit, Set("/a//b", now), told.append, GUEST)
        self.assertEqual(told, [])
        self.group.advance_until(lambda: len(told) == 2)
        event, error = told
        self.assertEqual((event.node.value, error.code), ("1", ErrorCode.COMPARE_FAILED))

    def test_errors_are_the_machines(self) -> None:
        self.group.result_of(self.set("/a", "one"))
        swap = self.worker.forward(CompareAndSwap("/a", self.worker.now(), "x", None, "two"), GUEST)
        self.assertEqual(self.error_of(swap).code, ErrorCode.COMPARE_FAILED)
        self.assertEqual(self.error_of(self.set("/a//b", "")).code, ErrorCode.INVALID_FIELD)
        self.feed(self.group)

    def test_changes_of_one_turn_are_one_request(self) -> None:
        """And their entries are encoded once for all workers."""
        up = written_by(self.first.feed)
        written = [written_by(worker.connection) for worker in (self.first, self.second)]
        made = [self.set(f"/{number}", "x") for number in range(100)]
        for each in made:
            self.group.result_of(each)
        self.feed(self.group)
        self.assertEqual([type(decode_up(each.args[0][4:])) for each in up.call_args_list], [Request])
        frames = [
            [c.args[0] for c in each.call_args_list if isinstance(decode_down(c.args[0][4:]), Entries)]
            for each in written
        ]
        self.assertEqual(sum(len(decode_down(each[4:]).entries) for each in frames[0]), 100)  # type: ignore[union-attr]
        self.assertLess(len(frames[0]), 5)
        for one, another in zip(*frames, strict=True):
            self.assertIs(one, another)

    def test_entries_go_in_frames_of_bounded_size(self) -> None:
        self.patch(feed, "ENTRIES_BYTES", 10_000)
        written = written_by(self.second.connection)
        for each in [self.set(f"/{number}", "x" * 3_000) for number in range(50)]:
            self.group.result_of(each)
        self.group.result_of(self.set("/long", "y" * 100_000))
        self.feed(self.group)
        frames = [message.entries for message in messages(written) if isinstance(message, Entries)]
        self.assertEqual(sum(map(len, frames)), 51)
        for entries in frames:
            self.assertTrue(len(entries) == 1 or sum(len(entry.data) for entry in entries) <= 10_000)

    def test_ttl_ends_at_the_same_index(self) -> None:
        now = self.worker.now()
        expired: list[Event] = []
        self.group.result_of(self.worker.forward(Set("/a", now, "x", False, now + MICROSECONDS_PER_SECOND), GUEST))
        self.assertEqual(self.worker.get("/a").expires, self.machine.replica.get("/a").expires)
        for replica in (self.worker, self.other, self.machine.replica):
            replica.watch("/a", False, True, None, expired.append)
        self.group.advance_until(lambda: len(expired) == 3)
        self.assertEqual({event.result.action for event in expired}, {"expire"})
        self.assertEqual(len({event.index for event in expired}), 1)
        self.feed(self.group)

    # Users

    def grant(self, *written: str) -> None:
        """Have alice write keys with these patterns, and nobody else anything."""
        state = AuthState(True, {"alice": User("alice", "", ("r",))}, {"r": Role("r", (), written)})
        self.group.result_of(self.machine.set(AUTH_KEY, encode_auth(state)))

    def test_right_is_checked_again_where_the_log_is(self) -> None:
        """The worker may lag, so that it does not know yet that a right was revoked."""
        self.grant("/a")
        self.feed(self.group)
        self.group.result_of(self.set("/a", "1", "alice"))
        for user, key in (("alice", "/b"), (GUEST, "/a"), ("bob", "/a")):
            error = self.error_of(self.set(key, "2", user))
            self.assertEqual((error.code, error.cause), (ErrorCode.UNAUTHORIZED, CAUSE))
        known = self.worker.auth
        self.grant()
        asked = self.set("/a", "2", "alice")
        self.assertIs(self.worker.auth, known)
        self.assertEqual(self.error_of(asked).code, ErrorCode.UNAUTHORIZED)
        self.group.result_of(self.set("/b", "3", None))
        self.feed(self.group)

    # Reads and questions

    def test_quorum_read_sees_what_another_worker_wrote(self) -> None:
        told: list[object] = []
        for recent in (False, True):
            self.group.result_of(self.set("/a", f"{recent}"))
            self.group.result_of(self.other.confirm_at_leader(recent))
            self.assertEqual(value(self.other, "/a"), f"{recent}")
            self.group.result_of(self.set("/a", f"again {recent}"))
            self.assertTrue(self.other.submit_read(recent, told.append))
            self.group.advance_until(lambda: bool(told))
            self.assertEqual((told.pop(), value(self.other, "/a")), (None, f"again {recent}"))

    def test_question_is_withdrawn(self) -> None:
        """When the client does not wait any more, and when the worker has died."""
        asked: list[Deferred[bytes]] = []
        ended: list[Failure] = []

        def answer(question: bytes, user: str) -> "Deferred[bytes]":
            self.assertEqual((question, user), (b"question", "alice"))
            asked.append(Deferred())
            return asked[-1].addErrback(lambda failure: ended.append(failure) or failure)

        self.machine.replica.answer_questions(answer)
        first = self.worker.ask_leader(b"question", "alice")
        second = self.worker.ask_leader(b"question", "alice")
        third = self.worker.ask_leader(b"question", "alice")
        self.group.advance_until(lambda: len(asked) == 3)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.group.advance_until(lambda: len(ended) == 1)
        asked[0].callback(b"answer")
        self.assertEqual(self.group.result_of(first), b"answer")
        self.first.end()
        self.group.advance_until(lambda: len(ended) == 2)
        self.assertNoResult(third)
        self.assertEqual([failure.type for failure in ended], [CancelledError, CancelledError])

    # A worker that is cut off

    def test_worker_that_does_not_read_is_cut_off_at_a_bound(self) -> None:
        self.patch(feed, "MOST_WAITING_BYTES", 200_000)
        self.first.process.pause()
        ended: list[None] = []
        self.first.connection.lost.addCallback(ended.append)
        most = 0
        for number in range(100):
            self.group.result_of(self.set(f"/{number}", "x" * 10_000, replica=self.other))
            most = max(most, self.first.connection.waiting_bytes)
        self.assertEqual(ended, [None])
        self.assertLess(most, 220_000)
        self.first.process.resume()
        self.feed(self.group)
        self.assertNotIn(self.first, workers_of(self.machine))

    def slow_loads(self, pause_seconds: float) -> tuple[feed.Feed, list[feed.WorkerConnection]]:
        """
        Let a little wait for a worker, and copies be sent slowly from here on.

        @return: the feed, and a list to which each worker is added that begins to load its copy.
        """
        self.patch(feed, "MOST_WAITING_BYTES", 5_000)
        for number in range(50):
            self.group.result_of(self.machine.set(f"/{number}", "x" * 100))
        self.feed(self.group)
        self.patch(snapshot, "_CHUNK_BYTES", 100)
        loads: list[feed.WorkerConnection] = []
        begin = feed.Feed.begin
        self.patch(feed.Feed, "begin", lambda itself, worker: loads.append(worker) or begin(itself, worker))
        fed = self.first.connection._feed
        later = fed._clock.callLater
        self.patch(fed, "_clock", mock.Mock(callLater=lambda delay, *call: later(max(delay, pause_seconds), *call)))
        return fed, loads

    def test_worker_is_loaded_however_much_comes_meanwhile(self) -> None:
        """Each time that it is cut off, more may wait for the next one, until one is loaded."""
        fed, loads = self.slow_loads(0.0002)
        self.first.end()
        most, written = 0, 0
        while not loads or not self.is_fed(self.group):
            self.group.result_of(self.set("/a", "y" * 1_000, replica=self.other))
            most, written = max(most, *(each.waiting_bytes for each in loads), 0), written + 1
            self.assertLess(written, 2_000)
        self.assertIn(len(loads), range(2, 10))
        self.assertGreater(most, 10_000)
        self.assertLess(most, 5_000 << len(loads))
        self.assertEqual(fed.bound_factor, 1)

    def test_more_may_wait_until_all_are_loaded(self) -> None:
        """A worker that is loaded sooner changes nothing for those that are not."""
        fed, connections = self.first.connection._feed, [self.first.connection, self.second.connection]
        fed.bound_factor = 4
        for each in connections:
            each.send_in_time(iter([b"", b""]))
        found = []
        for each in connections:
            while each.go_on():
                self.assertEqual(fed.bound_factor, 4)
            found.append(fed.bound_factor)
        self.assertEqual(found, [4, 1])

    def test_what_waits_for_a_worker_that_is_never_loaded_is_bounded(self) -> None:
        """It is loaded once less comes meanwhile."""
        self.patch(feed, "ENOUGH_WAITING_BYTES", 20_000)
        fed, loads = self.slow_loads(1.0)
        self.first.end()
        most = written = 0
        while len(loads) < 5:
            self.group.result_of(self.set("/a", "y" * 1_000, replica=self.other))
            most, written = max(most, *(each.waiting_bytes for each in loads), 0), written + 1
            self.assertLess(written, 2_000)
        self.assertIn(most, range(15_000, 22_000))
        self.patch(fed, "_clock", self.machine.clock)
        self.feed(self.group)
        self.assertEqual(fed.bound_factor, 1)

    def test_worker_that_reads_late_goes_on(self) -> None:
        self.first.process.pause()
        for number in range(20):
            self.group.result_of(self.set(f"/{number}", "x" * 10_000, replica=self.other))
        self.first.process.resume()
        self.feed(self.group)
        self.assertIn(self.first, workers_of(self.machine))
        self.assertEqual(self.first.connection.waiting_bytes, 0)

    def test_outcome_is_unknown_when_the_feed_is_cut_after_the_request(self) -> None:
        """The change may be in the log, and is there once."""
        outcomes: list[Any] = []
        made = [self.set("/a", f"{number}") for number in range(3)]
        for each in made:
            each.addErrback(lambda failure: failure.value).addBoth(outcomes.append)
        self.group.advance_until(lambda: self.machine.replica.index > self.worker.index)
        read = self.worker.confirm_at_leader(recent=False)
        self.first.feed.transport.abortConnection()
        self.group.advance_until(lambda: len(outcomes) == 3)
        for error in outcomes:
            self.assertEqual(error.code, ErrorCode.RAFT_INTERNAL)
            self.assertIn(UNKNOWN, error.cause)
        self.failureResultOf(read, RequestDroppedError, EtcdError)
        self.assertFalse(self.worker.serving)
        for refused in (self.set("/b", "x"), self.worker.confirm_at_leader(False), self.worker.when_serving()):
            self.failureResultOf(refused, EtcdError)
        self.assertFalse(self.worker.submit(Set("/b", 0), outcomes.append, GUEST))
        self.feed(self.group)
        self.assertEqual(value(workers_of(self.machine)[0].replica, "/a"), "2")

    def test_worker_that_has_missed_an_entry_does_not_go_on(self) -> None:
        self.first.connection.send = lambda _data: None  # type: ignore[method-assign]
        self.group.result_of(self.set("/a", "1", replica=self.other))
        del self.first.connection.send
        self.group.result_of(self.set("/a", "2", replica=self.other))
        self.group.advance_until(lambda: not self.first.process.alive)
        self.assertIn("has come after entry", self.flushLoggedErrors(ValueError)[0].getErrorMessage())
        self.feed(self.group)

    def test_watch_goes_on_through_another_worker(self) -> None:
        """Whose copy came with the history, whether or not it was started after the events."""
        told: list[Event] = []
        self.worker.watch("/", True, True, None, told.append)
        self.group.result_of(self.set("/a", "0"))
        self.group.advance_until(lambda: bool(told))
        for worker in (self.first, self.second):
            worker.end()
        for number in range(1, 10):
            self.group.result_of(self.machine.set("/a", f"{number}"))
        self.feed(self.group)
        workers_of(self.machine)[0].replica.watch("/", True, True, told[-1].index + 1, told.append)
        self.group.result_of(self.machine.set("/a", "10"))
        self.group.advance_until(lambda: len(told) == 11)
        self.assertEqual([event.node.value for event in told], [f"{number}" for number in range(11)])

    # What goes on beside

    def test_a_turn_loads_one_piece_for_all_workers_together(self) -> None:
        for number in range(50):
            self.group.result_of(self.machine.set(f"/{number}", "x" * 100))
        self.patch(snapshot, "_CHUNK_BYTES", 1_000)
        written: list[mock.Mock] = []
        begin = feed.Feed.begin

        def begun(itself: feed.Feed, worker: feed.WorkerConnection) -> None:
            written.append(written_by(worker))
            begin(itself, worker)

        self.patch(feed.Feed, "begin", begun)
        for worker in (self.first, self.second):
            worker.end()
        most = before = 0

        def count(_process: object) -> None:
            nonlocal most, before
            pieces = sum(isinstance(each, Piece) for one in written for each in messages(one))
            most, before = max(most, pieces - before), pieces

        self.patch(self.group.schedule, "after_step", count)
        self.group.advance_until(lambda: self.is_fed(self.group))
        self.assertGreater(before, 20)
        self.assertEqual(most, 1)

    def test_many_watchers_hold_nobody_up(self) -> None:
        """The worker applies fewer entries at a time, as its machine would, and reads no more than it applies."""
        told: list[Event] = []
        for _ in range(3_000):
            self.worker.watch("/", True, True, None, told.append)
        for each in [self.set(f"/{number}", "x", replica=self.other) for number in range(50)]:
            self.group.result_of(each)
        most = 0

        def look(_process: object) -> None:
            nonlocal most
            most = max(most, self.worker.keyspace.hub.backlog)

        self.patch(self.group.schedule, "after_step", look)
        self.group.advance_until(lambda: len(told) == 150_000)
        self.assertLess(most, 15_000)
        self.feed(self.group)

    def test_leader_that_stops_says_so(self) -> None:
        """As it does to its own clients."""
        stopped = ensureDeferred(self.machine.participation.stop())
        self.group.result_of(stopped)
        self.group.advance_until(lambda: not self.worker.serving)
        self.assertIn("stopping", self.failureResultOf(self.set("/a", "x"), EtcdError).value.cause)


class ThreeMachinesTests(WorkerTestCase):
    """Three machines with two workers each."""

    def start(self, **settings: Any) -> Cluster:
        group = self.cluster(**settings)
        group.start(3)
        self.feed(group)
        return group

    def test_worker_of_a_machine_that_does_not_lead_only_forwards(self) -> None:
        """It is not asked to make a change by itself."""
        group = self.start()
        worker = workers_of(group.followers[0])[0].replica
        change = Set("/a", worker.now(), "1")
        self.assertFalse(worker.submit(change, self.fail, GUEST))
        group.result_of(worker.forward(change, GUEST))
        self.assertEqual(value(worker, "/a"), "1")

    def test_all_workers_serve(self) -> None:
        """What a follower's workers are asked for is passed on to the leader as it is."""
        group = self.start()
        for number, machine in enumerate(group.running):
            for worker in workers_of(machine):
                replica = worker.replica
                event = group.result_of(replica.forward(Set("/a", replica.now(), f"{number}"), GUEST))
                self.assertEqual((value(replica, "/a"), event.index), (f"{number}", replica.index))
                group.result_of(replica.confirm_at_leader(recent=bool(number)))
        self.feed(group)

    def test_workers_follow_the_leader(self) -> None:
        """And what waits for a leader that is gone is dropped, or unknown."""
        group = self.start()
        old = group.leader
        replica = workers_of(old)[0].replica
        deposed = replica.when_deposed()
        self.assertNoResult(deposed)
        led = workers_of(group.followers[0])[0].replica
        group.network.isolate(old.name)
        outcome = replica.forward(Set("/a", replica.now(), "x"), GUEST).addErrback(lambda failure: failure.value)
        group.advance_until(lambda: any(each.leads for each in group.running if each is not old))
        group.result_of(deposed)
        group.advance_until(lambda: led.leader() == group.leader.machine)
        self.assertIsNone(replica.leader())
        waiting = replica.when_led()
        self.assertIn(UNKNOWN, group.result_of(outcome).cause)
        group.network.heal()
        group.result_of(waiting)
        self.feed(group)
        self.assertRaises(EtcdError, replica.get, "/a")

    def test_machine_that_gets_the_leaders_snapshot_loads_its_workers_again(self) -> None:
        """Their watchers see what they have missed, or end if that is not in the snapshot."""
        for history, seen in ((1_000, [f"/k{number}" for number in range(100)]), (10, [])):
            told, ended = self.watch_while_late(history)
            self.assertEqual([event.node.key for event in told], seen)
            self.assertEqual(ended, [] if seen else [True])

    def watch_while_late(self, history: int) -> tuple[list[Event], list[bool]]:
        """What a watcher of a worker is told, and whether it ends, when its machine was away."""
        group = self.start(snapshot_count=20, raft_limits=RaftLimits(trailing_entries=0), history=history)
        late = group.followers[0]
        worker = workers_of(late)[0]
        told: list[Event] = []
        ended: list[bool] = []
        worker.replica.watch("/", True, True, None, told.append, lambda: ended.append(True))
        group.network.isolate(late.name)
        for number in range(100):
            group.result_of(group.leader.set(f"/k{number}", "x" * 100))
        group.network.heal()
        group.settle()
        self.feed(group)
        self.assertIn(worker, workers_of(late))
        return told, ended

    def test_workers_of_a_standby_have_no_copy(self) -> None:
        group = self.start()
        machine = group.followers[0]
        replica = workers_of(machine)[0].replica
        ended: list[bool] = []
        told: list[Event] = []
        for key in ("/a", "/b"):
            replica.watch(key, False, False, None, told.append, lambda: ended.append(True))
        view = group.leader.replica.peer.describe()
        group.result_of(group.leader.set("/a", "x"))
        group.settle()
        group.result_of(ensureDeferred(machine.participation.stand_by(view)))
        group.advance_until(lambda: replica.copy is None)
        self.assertEqual((len(told), ended), (1, [True]))
        self.assertRaises(EtcdError, replica.get, "/a")
        self.assertEqual((replica.standby, replica.serving, replica.leader()), (True, False, group.leader.machine))
        self.assertEqual((replica.indexes(), replica.cluster_id), ((0, 0, 0), machine.replica.cluster_id))
        self.successResultOf(replica.when_serving())
        self.failureResultOf(replica.forward(Set("/a", 0), GUEST), RequestDroppedError)


class NoWorkersTests(ClusterTestCase):
    """A machine without workers."""

    def test_nothing_is_done_for_workers(self) -> None:
        """Neither when something is applied nor when anything else changes."""
        group = self.cluster()
        (machine,) = group.start(1)
        member, participation = machine.member, machine.participation
        self.assertEqual(member.node.on_applied, [member._applied])
        self.assertEqual((participation.on_change, participation.on_member), ([], []))
        self.assertEqual(member.state_machine.on_restored, [])

    def test_nothing_is_encoded_before_a_worker_is_there(self) -> None:
        group = self.cluster()
        machine: ClusterMachine = group.add()
        fed = feed.Feed(machine.clock, machine.participation)
        with mock.patch.object(feed, "frame") as frame:
            group.result_of(machine.launch())
            group.result_of(machine.set("/a", "x"))
        frame.assert_not_called()
        self.assertEqual(fed._workers, {})
