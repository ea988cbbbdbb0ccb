"""Caches, on a simulated clock: what is answered from memory is right."""

from collections.abc import Callable
from unittest.mock import Mock

from hypothesis import given, settings
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.client import ClientClosed, ConnectionFailed, KeyNotFound, Node, NotAFile
from etcd_twisted.client.recipes import AlreadyClosed, Cache
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.keyspace.commands import Create
from etcd_twisted.keyspace.nodes import File
from tests import examples
from tests.client.recipes.mirrors import DIRECTORY, Recorder, SlowStore, listed, steps
from tests.client.store import STEP_SECONDS, Store


class CacheTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = Store(self)
        self.client = self.store.client()

    def cache(self, max_keys: int = 1_000) -> Cache:
        """Returns a cache whose watch is connected."""
        cache = Cache(self.client, DIRECTORY, max_keys=max_keys)
        self.addCleanup(cache.close)
        self.store.advance(0)
        return cache

    def value(self, cache: Cache, key: str = "/config/a") -> str | None:
        getting: Deferred[Node | None] = cache.get(key).addErrback(
            lambda failure: failure.trap(KeyNotFound) and None  # type: ignore[arg-type]
        )
        node = self.store.result_of(getting)
        return None if node is None else node.value


class ReadTests(CacheTest):
    def test_a_key_is_read_once(self) -> None:
        self.store.replica.put("/config/a", "1")
        cache = self.cache()
        self.assertEqual([self.value(cache) for _ in range(3)], ["1", "1", "1"])
        self.assertEqual((cache.hits, cache.misses), (2, 1))
        self.assertEqual(self.successResultOf(cache.get("config/a")).value, "1")

    def test_a_change(self) -> None:
        cache = self.cache()
        for number in range(5):
            self.store.replica.put("/config/a", str(number))
            self.store.advance(0)
            self.assertEqual([self.value(cache), self.value(cache)], [str(number)] * 2)
        self.assertEqual((cache.hits, cache.misses), (5, 5))

    def test_changes_of_others_do_no_harm(self) -> None:
        self.store.replica.put("/config/a", "1")
        cache = self.cache()
        self.value(cache)
        self.store.replica.put("/config/b", "1")
        self.store.replica.put("/config/ab", "1")
        self.store.advance(0)
        self.value(cache)
        self.assertEqual(cache.hits, 1)

    def test_what_does_not_exist(self) -> None:
        cache = self.cache()
        self.assertEqual([self.value(cache), self.value(cache)], [None, None])
        self.assertEqual((cache.hits, cache.misses), (1, 1))
        self.assertEqual(self.failureResultOf(cache.get("/config/a"), KeyNotFound).value.cause, "/config/a")
        self.store.replica.put("/config/a", "1")
        self.store.advance(0)
        self.assertEqual(self.value(cache), "1")

    def test_what_does_not_exist_becomes_a_directory(self) -> None:
        cache = self.cache()
        self.assertIsNone(self.value(cache))
        self.store.replica.put("/config/a/b", "1")
        self.store.advance(0)
        self.assertTrue(self.store.result_of(cache.get("/config/a")).directory)

    def test_removals(self) -> None:
        now = self.store.replica.now()
        self.store.replica.apply(Create("/config/c", now, "", True, now + 5_000_000))
        for key in ("/config/a", "/config/b/a", "/config/c/a"):
            self.store.replica.put(key, "1")
        cache = self.cache()

        def values() -> list[str | None]:
            return [self.value(cache, key) for key in ("/config/a", "/config/b/a", "/config/c/a")]

        self.assertEqual(values(), ["1", "1", "1"])
        self.store.replica.delete("/config/a")
        self.store.replica.delete("/config/b")
        self.store.advance(0)
        self.assertEqual(values(), [None, None, "1"])
        self.store.advance(6)
        self.assertEqual(values(), [None, None, None])

    def test_hidden_keys_and_directories_are_read_each_time(self) -> None:
        self.store.replica.put("/config/_a", "1")
        self.store.replica.put("/config/b/c", "1")
        cache = self.cache()
        for value in "12":
            self.store.replica.put("/config/_a", value)
            self.store.advance(0)
            self.assertEqual(self.value(cache, "/config/_a"), value)
            self.assertTrue(self.store.result_of(cache.get("/config/b")).directory)
        self.assertEqual(cache.hits, 0)

    def test_keys_elsewhere_are_refused(self) -> None:
        cache = self.cache()
        for key in ("/elsewhere", "/config2", "/"):
            with self.assertRaisesRegex(ValueError, "/config"):
                cache.get(key)

    def test_bound(self) -> None:
        """Those that were used last are kept."""
        for name in "abc":
            self.store.replica.put(f"/config/{name}", name)
        cache = self.cache(max_keys=2)
        for name in "abac":
            self.value(cache, f"/config/{name}")
        self.assertEqual((cache.hits, cache.misses), (1, 3))
        self.value(cache, "/config/a")
        self.assertEqual(cache.hits, 2)
        self.value(cache, "/config/b")
        self.assertEqual(cache.misses, 4)

    def test_bad_arguments_are_named(self) -> None:
        with self.assertRaisesRegex(ValueError, "max_keys"):
            Cache(self.client, DIRECTORY, max_keys=0)


class RaceTests(CacheTest):
    def test_a_change_while_a_read_is_under_way(self) -> None:
        """The event comes before the answer, which is older."""
        store = SlowStore(self, 1_000)
        client = store.client()
        store.replica.put("/config/a", "1")
        cache = Cache(client, DIRECTORY)
        self.addCleanup(cache.close)
        store.advance(0)
        answers: list[Callable[[], None]] = []
        get = client.get

        def get_late(key: str) -> "Deferred[object]":
            late: Deferred[object] = Deferred()
            get(key).addCallback(lambda result: answers.append(lambda: late.callback(result)))
            return late

        self.patch(client, "get", get_late)
        reading = cache.get("/config/a")
        store.advance(0)
        store.replica.put("/config/a", "2")
        store.advance(0)
        answers.pop()()
        self.assertEqual(self.successResultOf(reading).value, "1")
        reading = cache.get("/config/a")
        store.advance(0)
        answers.pop()()
        self.assertEqual(self.successResultOf(reading).value, "2")

    @settings(max_examples=examples(80))
    @given(steps())
    def test_memory_is_never_behind_the_watch(self, happening: list[Callable[[SlowStore], object]]) -> None:
        """Whatever comes from memory is as it was at an index that the watch has not passed."""
        store = SlowStore(self, history_capacity=5)
        Recorder(self, store)
        client = store.client()
        cache = Cache(client, DIRECTORY)
        read: list[Deferred[None]] = []

        def check(key: str) -> None:
            hits = cache.hits
            getting = cache.get(key)
            if cache.hits > hits and not store.slow_replica.holds_events:
                store_has = listed(store.replica.keyspace.root).get(key)
                expected = store_has.value if isinstance(store_has, File) else None
                found: list[str | None] = []
                getting.addCallbacks(lambda node: found.append(node.value), lambda _: found.append(None))
                self.assertEqual(found, [expected], key)
            read.append(getting.addBoth(lambda _: None))

        for step in happening:
            step(store)
            store.advance(2 * STEP_SECONDS)
            for key in ("/config/a", "/config/b", "/config/c/a", "/config/c/b/c", "/config/c"):
                check(key)
            store.advance(0)
        cache.close()
        client.close()
        for each in read:
            self.successResultOf(each)
        store.stop()
        self.assertEqual(store.clock.getDelayedCalls(), [])


class EndTests(CacheTest):
    def test_outage(self) -> None:
        """Nothing is answered from memory while the watch has no connection."""
        self.store.replica.put("/config/a", "1")
        cache = self.cache()
        self.value(cache)
        self.store.cut()
        getting = cache.get("/config/a")
        self.store.advance(6)
        self.failureResultOf(getting, ConnectionFailed)
        self.store.replica.put("/config/a", "2")
        self.store.heal()
        self.store.advance(5)
        self.assertEqual([self.value(cache), self.value(cache)], ["2", "2"])
        self.assertEqual(cache.hits, 1)

    def test_closing(self) -> None:
        async def use() -> Cache:
            async with Cache(self.client, DIRECTORY) as cache:
                return cache

        cache = self.store.result_of(Deferred.fromCoroutine(use()))
        cache.close()
        self.failureResultOf(cache.get("/config/a"), AlreadyClosed)
        self.store.stop()
        self.assertEqual(self.store.clock.getDelayedCalls(), [])

    def test_closed_client(self) -> None:
        cache = self.cache()
        self.client.close()
        self.failureResultOf(cache.get("/config/a"), ClientClosed)

    def test_a_watch_that_is_refused(self) -> None:
        """Nothing can be kept right then, and whoever reads learns it."""
        error = EtcdError(ErrorCode.NOT_A_FILE, DIRECTORY, 1)
        self.patch(self.store.replica, "watch", Mock(side_effect=error))
        cache = self.cache()
        self.failureResultOf(cache.get("/config/a"), NotAFile)
