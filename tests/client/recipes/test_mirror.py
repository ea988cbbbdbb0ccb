"""Mirrors, on a simulated clock: what they hold at any time, and when they say that they are current."""

from collections.abc import Callable

from hypothesis import given, settings
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.client import ClientClosed, NotAFile
from etcd_twisted.client.recipes import AlreadyClosed, Change, Mirror
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.keyspace.commands import Create, Set
from etcd_twisted.keyspace.nodes import Directory
from tests import examples
from tests.client.recipes.mirrors import DIRECTORY, Files, Recorder, SlowStore, files_in, files_of, listed, steps
from tests.client.store import STEP_SECONDS, Store

RECOVERY_SECONDS = 5
"""How long a mirror may take until it is current again after an outage."""


def values(mirror: Mirror) -> dict[str, str | None]:
    return {key: node.value for key, node in mirror.items()}


class SpellingTests(SynchronousTestCase):
    def test_a_directory_is_the_same_however_it_is_spelt(self) -> None:
        store = Store(self)
        store.replica.put("/apps/web/a", "1")
        mirror = Mirror(store.client(), "apps//./web/")
        store.result_of(mirror.when_current())
        store.replica.put("/apps/web/b", "2")
        store.advance(STEP_SECONDS)
        self.assertEqual(values(mirror), {"/apps/web/a": "1", "/apps/web/b": "2"})
        mirror.close()


class PropertyTests(SynchronousTestCase):
    """For any interleaving of changes, losses of history, outages and reconnects."""

    @settings(max_examples=examples(250))
    @given(steps())
    def test_it_equals_a_recursive_listing(self, happening: list[Callable[[SlowStore], object]]) -> None:
        store = SlowStore(self, history_capacity=5)
        recorder = Recorder(self, store)
        client = store.client()
        mirror = Mirror(client, DIRECTORY)
        seen: Files = {}
        unreachable_until = 0

        def take(change: Change) -> None:
            """Changes lead from one state to the next, and the mirror has changed already."""
            before = None if change.old is None else (change.old.value or "", change.old.created_index)
            self.assertEqual(seen.pop(change.key, None), before)
            if change.new is not None:
                seen[change.key] = (change.new.value or "", change.new.created_index)
            self.assertEqual(mirror.get(change.key), change.new)
            self.assertEqual(files_in(mirror), files_of(recorder.states[mirror.index]))

        def check() -> None:
            if mirror.index:
                state = recorder.states[mirror.index]
                self.assertEqual(files_in(mirror), files_of(state))
                top = mirror.node()
                shown = {node.key for node in top.walk() if node.directory} - {DIRECTORY} if top else set()
                self.assertEqual(shown, {key for key, node in state.items() if isinstance(node, Directory)})
            self.assertEqual(files_in(mirror), seen)
            if mirror.current:
                self.assertTrue(store.reachable)
                self.assertGreaterEqual(mirror.index, unreachable_until)

        mirror.subscribe(take)
        store.after_step = check
        for step in happening:
            step(store)
            if not store.reachable:
                unreachable_until = store.replica.index
            check()
            if mirror.current and not store.slow_replica.holds_events:
                store.advance(2 * STEP_SECONDS)
                if mirror.current:
                    self.assertEqual(files_in(mirror), files_of(listed(store.replica.keyspace.root)))
        store.heal()
        store.release_events()
        store.release_answers()
        store.advance(RECOVERY_SECONDS)
        self.assertTrue(mirror.current)
        self.assertEqual(files_in(mirror), files_of(listed(store.replica.keyspace.root)))
        mirror.close()
        client.close()
        store.stop()
        self.assertEqual(store.clock.getDelayedCalls(), [])


class MirrorTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = Store(self)
        self.client = self.store.client()

    def mirror(self, directory: str = DIRECTORY) -> Mirror:
        """Returns a mirror that is current."""
        mirror = Mirror(self.client, directory)
        self.addCleanup(mirror.close)
        self.store.result_of(mirror.when_current())
        return mirror


class ContentTests(MirrorTest):
    def test_mapping(self) -> None:
        self.store.replica.put("/config/a", "1")
        self.store.replica.put("/config/b/c", "2")
        mirror = self.mirror()
        self.assertEqual(values(mirror), {"/config/a": "1", "/config/b/c": "2"})
        self.assertEqual((len(mirror), mirror["/config/a"].value), (2, "1"))
        self.assertNotIn("/config/b", mirror)
        self.assertIsNone(mirror.get("/config/x"))

    def test_nodes(self) -> None:
        self.store.replica.put("/config/a", "1")
        self.store.replica.put("/config/b/c", "2")
        mirror = self.mirror()
        self.store.replica.put("/config/b/d/e", "3")
        self.store.advance(0)
        top = mirror.node()
        assert top is not None
        self.assertEqual(
            {node.key: node.value for node in top.walk()},
            {
                "/config": None, "/config/a": "1", "/config/b": None, "/config/b/c": "2", "/config/b/d": None,
                "/config/b/d/e": "3",
            },
        )  # fmt: skip
        fresh = self.store.result_of(self.client.list(DIRECTORY, recursive=True)).node
        self.assertEqual({n.key: attributes(n) for n in top.walk()}, {n.key: attributes(n) for n in fresh.walk()})
        self.assertEqual(mirror.node("config/a"), mirror["/config/a"])
        self.assertIsNone(mirror.node("/config/x"))

    def test_the_root(self) -> None:
        self.store.replica.put("/a", "1")
        mirror = self.mirror("/")
        self.store.replica.put("/b/c", "2")
        self.store.advance(0)
        self.assertEqual(values(mirror), {"/a": "1", "/b/c": "2"})
        self.store.replica.delete("/b")
        self.store.advance(0)
        self.assertEqual(values(mirror), {"/a": "1"})

    def test_a_single_key(self) -> None:
        self.store.replica.put("/config", "1")
        mirror = self.mirror()
        self.store.replica.put("/config", "2")
        self.store.advance(0)
        self.assertEqual(values(mirror), {"/config": "2"})

    def test_what_does_not_exist_yet(self) -> None:
        mirror = self.mirror()
        self.assertEqual((values(mirror), mirror.node()), ({}, None))
        self.store.replica.put("/config/a", "1")
        self.store.advance(0)
        self.assertEqual(values(mirror), {"/config/a": "1"})

    def test_neighbours_are_no_part_of_it(self) -> None:
        mirror = self.mirror()
        self.store.replica.put("/config2", "1")
        self.store.replica.put("/conf", "1")
        self.store.advance(0)
        self.assertEqual(values(mirror), {})

    def test_removal_of_a_directory_above(self) -> None:
        self.store.replica.put("/a/b/c/d", "1")
        mirror = self.mirror("/a/b")
        self.store.replica.delete("/a")
        self.store.advance(0)
        self.assertEqual((values(mirror), mirror.node()), ({}, None))

    def test_expiry_of_a_directory(self) -> None:
        now = self.store.replica.now()
        self.store.replica.apply(Create("/config/b", now, "", True, now + 5_000_000), Set("/config/b/c/d", now, "1"))
        mirror = self.mirror()
        self.store.advance(4)
        self.assertEqual(values(mirror), {"/config/b/c/d": "1"})
        self.store.advance(1)
        self.assertEqual(values(mirror), {})

    def test_a_file_becomes_a_directory(self) -> None:
        self.store.replica.put("/config/a", "1")
        mirror = self.mirror()
        changes: list[Change] = []
        mirror.subscribe(changes.append)
        now = self.store.replica.now()
        self.store.replica.apply(Set("/config/a", now, "", True), Set("/config/a/b", now, "2"))
        self.store.advance(0)
        self.assertEqual(
            [(each.key, each.new is None) for each in changes], [("/config/a", True), ("/config/a/b", False)]
        )

    def test_directory_with_something_hidden_is_noticed_by_the_next_listing(self) -> None:
        mirror = self.mirror()
        self.store.replica.put("/config/b/_hidden", "1")
        self.store.advance(0)
        self.assertIsNone(mirror.node("/config/b"))
        self.store.cut()
        self.store.heal()
        self.store.advance(RECOVERY_SECONDS)
        self.assertIsNotNone(mirror.node("/config/b"))


def attributes(node: object) -> tuple[object, ...]:
    return tuple(getattr(node, name) for name in ("value", "directory", "created_index", "modified_index"))


class ChangeTests(MirrorTest):
    def changes(self, mirror: Mirror) -> list[tuple[str, str | None, str | None]]:
        found: list[tuple[str, str | None, str | None]] = []
        mirror.subscribe(
            lambda change: found.append((change.key, change.old and change.old.value, change.new and change.new.value))
        )
        return found

    def test_the_first_listing_is_changes_too(self) -> None:
        self.store.replica.put("/config/a", "1")
        mirror = Mirror(self.client, DIRECTORY)
        found = self.changes(mirror)
        self.store.result_of(mirror.when_current())
        self.assertEqual(found, [("/config/a", None, "1")])
        mirror.close()

    def test_events(self) -> None:
        self.store.replica.put("/config/a", "1")
        found = self.changes(self.mirror())
        self.store.replica.put("/config/a", "2")
        self.store.replica.put("/config/a", "2")
        self.store.replica.put("/config/b/c", "3")
        self.store.replica.put("/config/b/d", "4")
        self.store.replica.delete("/config/b")
        self.store.advance(0)
        self.assertEqual(
            found,
            [
                ("/config/a", "1", "2"), ("/config/a", "2", "2"), ("/config/b/c", None, "3"),
                ("/config/b/d", None, "4"), ("/config/b/c", "3", None), ("/config/b/d", "4", None),
            ],
        )  # fmt: skip

    def test_lost_history_is_told_as_differences(self) -> None:
        self.store = Store(self, history_capacity=5)
        self.client = self.store.client()
        for name in "abcd":
            self.store.replica.put(f"/config/{name}", "1")
        mirror = self.mirror()
        found = self.changes(mirror)
        self.store.cut()
        for number in range(10):
            self.store.replica.put("/config/a", str(number))
        self.store.replica.delete("/config/b")
        self.store.replica.delete("/config/c")
        self.store.replica.put("/config/c", "1")
        self.store.replica.put("/config/e", "1")
        self.store.advance(10)
        self.assertEqual(found, [])
        self.store.heal()
        self.store.advance(RECOVERY_SECONDS)
        self.assertEqual(
            sorted(found, key=str),
            [("/config/a", "1", "9"), ("/config/b", "1", None), ("/config/c", "1", "1"), ("/config/e", None, "1")],
        )

    def test_a_refresh_is_no_change(self) -> None:
        self.store.result_of(self.client.set("/config/a", "1", ttl_seconds=10))
        mirror = self.mirror()
        found = self.changes(mirror)
        self.store.result_of(self.client.refresh("/config/a", 100))
        self.store.cut()
        self.store.heal()
        self.store.advance(20)
        self.assertEqual((found, values(mirror)), ([], {"/config/a": "1"}))

    def test_a_subscriber_that_fails(self) -> None:
        """It is logged, and does no harm to others."""
        mirror = self.mirror()

        def be_broken(_: Change) -> None:
            raise ZeroDivisionError

        mirror.subscribe(be_broken)
        found = self.changes(mirror)
        self.store.replica.put("/config/a", "1")
        self.store.advance(0)
        self.assertEqual(len(found), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(mirror.current)

    def test_unsubscribing(self) -> None:
        mirror = self.mirror()
        found: list[Change] = []
        stop = mirror.subscribe(found.append)
        stop()
        stop()
        self.store.replica.put("/config/a", "1")
        self.store.advance(0)
        self.assertEqual(found, [])

    def test_closing_from_a_subscriber(self) -> None:
        mirror = self.mirror()
        found = self.changes(mirror)
        mirror.subscribe(lambda _: mirror.close())
        self.store.replica.put("/config/a", "1")
        self.store.replica.put("/config/a", "2")
        self.store.advance(0)
        self.assertEqual(found, [("/config/a", None, "1")])


class CurrentTests(MirrorTest):
    def test_it_begins_when_it_is_made(self) -> None:
        mirror = Mirror(self.client, DIRECTORY)
        self.assertFalse(mirror.current)
        self.assertEqual(mirror.index, 0)
        self.store.advance(0)
        self.assertTrue(mirror.current)
        mirror.close()

    def test_it_lists_once(self) -> None:
        self.mirror()
        self.assertEqual(sorted(method for method, _ in self.store.requests), ["GET", "GET"])

    def test_outage(self) -> None:
        mirror = self.mirror()
        self.store.cut()
        self.assertFalse(mirror.current)
        self.store.replica.put("/config/a", "1")
        waiting = mirror.when_current()
        self.store.advance(60)
        self.assertNoResult(waiting)
        self.store.heal()
        self.store.advance(RECOVERY_SECONDS)
        self.successResultOf(waiting)
        self.assertEqual(values(mirror), {"/config/a": "1"})

    def test_outage_at_the_beginning(self) -> None:
        self.store.cut()
        mirror = Mirror(self.client, DIRECTORY)
        self.store.advance(60)
        self.assertFalse(mirror.current)
        self.store.heal()
        self.store.advance(RECOVERY_SECONDS)
        self.assertTrue(mirror.current)
        mirror.close()

    def test_a_connection_alone_does_not_make_it_current(self) -> None:
        """A change that is not delivered yet would be missing: only a listing shows that none is."""
        mirror = self.mirror()
        self.store.cut()
        self.store.replica.put("/config/a", "1")
        self.patch(self.store.replica, "confirm_reads", Deferred)
        self.patch(self.store.replica, "confirm_recent", Deferred)
        self.store.heal()
        self.store.advance(1.5)
        self.assertEqual(values(mirror), {"/config/a": "1"})
        self.assertFalse(mirror.current)

    def test_connections_that_break_all_the_time(self) -> None:
        """The mirror does not list the directory again and again."""
        self.mirror()
        self.store.requests.clear()
        for _ in range(100):
            self.store.replica.keyspace.hub.end_all()
            self.store.advance(0.1)
        listings = [target for _, target in self.store.requests if "wait" not in target]
        self.assertLessEqual(len(listings), 11)

    def test_quiet_times_change_nothing(self) -> None:
        mirror = self.mirror()
        for _ in range(100):
            self.store.advance(1)
            self.assertTrue(mirror.current)
        self.store.replica.put("/config/a", "1")
        self.store.advance(0)
        self.assertEqual(values(mirror), {"/config/a": "1"})


class EndTests(MirrorTest):
    def test_closing(self) -> None:
        mirror = self.mirror()
        closed, cancelled = mirror.when_closed(), mirror.when_closed()
        cancelled.cancel()
        self.failureResultOf(cancelled, CancelledError)
        mirror.close()
        mirror.close()
        self.successResultOf(closed)
        self.successResultOf(mirror.when_closed())
        self.failureResultOf(mirror.when_current(), AlreadyClosed)
        self.store.replica.put("/config/a", "1")
        self.store.stop()
        self.assertEqual((values(mirror), mirror.current), ({}, False))
        self.assertEqual(self.store.clock.getDelayedCalls(), [])

    def test_closed_at_any_step(self) -> None:
        for seconds in range(30):
            mirror = Mirror(self.client, DIRECTORY)
            waiting = mirror.when_current()
            waiting.addErrback(lambda failure: failure.trap(AlreadyClosed) and None)
            for _ in range(seconds):
                self.store.clock.advance(0.0001)
            mirror.close()
            self.successResultOf(waiting)
        self.store.stop()
        self.assertEqual(self.store.clock.getDelayedCalls(), [])

    def test_a_closed_client(self) -> None:
        mirror = self.mirror()
        closed = mirror.when_closed()
        self.client.close()
        self.failureResultOf(closed, ClientClosed)
        self.assertFalse(mirror.current)
        self.failureResultOf(mirror.when_current(), ClientClosed)
        later = Mirror(self.client, DIRECTORY)
        self.failureResultOf(later.when_current(), ClientClosed)

    def test_context(self) -> None:
        self.store.replica.put("/config/a", "1")

        async def use() -> Mirror:
            async with Mirror(self.client, DIRECTORY) as mirror:
                self.assertTrue(mirror.current)
            return mirror

        mirror = self.store.result_of(Deferred.fromCoroutine(use()))
        self.assertFalse(mirror.current)
        self.assertEqual(values(mirror), {"/config/a": "1"})

    def refuse_listings(self) -> None:
        error = EtcdError(ErrorCode.NOT_A_FILE, DIRECTORY, 1)
        for method in ("confirm_reads", "confirm_recent"):
            self.patch(self.store.replica, method, lambda: fail(error))

    def test_a_refusal_is_told(self) -> None:
        self.refuse_listings()
        mirror = Mirror(self.client, DIRECTORY)
        waiting = mirror.when_current()
        self.store.advance(1)
        self.failureResultOf(waiting, NotAFile)
        self.failureResultOf(mirror.when_closed(), NotAFile)

    def test_a_refusal_that_nobody_waits_for_is_logged(self) -> None:
        self.refuse_listings()
        Mirror(self.client, DIRECTORY)
        self.store.advance(1)
        self.assertEqual(len(self.flushLoggedErrors(NotAFile)), 1)
