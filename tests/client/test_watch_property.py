"""
Watches on a simulated clock: whatever happens to connections and to the consumer, each event comes once and in order,
or the watch says that events were lost and shows the outcome.
"""

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.client import Event, HistoryLost, Node, Watch
from etcd_twisted.client.watch import RENEW_SECONDS
from etcd_twisted.keyspace.commands import Delete, Set
from etcd_twisted.keyspace.nodes import Directory, File
from tests import examples
from tests.client.store import Store

HISTORY = 3
"""How many events the machine keeps."""

LATENCY_SECONDS = 0.001
"""How long what is sent takes."""

WAITS_SECONDS = (LATENCY_SECONDS, 2 * LATENCY_SECONDS, 0.01, 0.5, 3.0, RENEW_SECONDS + 1)

KEYS = ("/watched/a", "/watched/b", "/watched/dir/c", "/other")

changes = st.tuples(st.just("change"), st.sampled_from(KEYS), st.integers(0, 3))
steps = st.one_of(
    changes,
    changes,
    st.tuples(st.just("remove"), st.sampled_from(["/watched/a", "/watched/dir", "/watched"])),
    st.tuples(st.just("advance"), st.sampled_from(WAITS_SECONDS)),
    st.tuples(st.just("cut")),
    st.tuples(st.just("heal")),
    st.tuples(st.just("consume"), st.integers(1, 4)),
)


def leaves(node: Node) -> dict[str, str | None]:
    """Returns the files of a listing, with their values."""
    return {each.key: each.value for each in node.walk() if not each.directory}


class World:
    """
    A watch, its consumer, and what has really happened.

    @ivar events: every change below the watched directory: its index, its action and its key.
    @ivar states: the files below the watched directory after each index.
    """

    def __init__(self, test: SynchronousTestCase) -> None:
        self.test = test
        self.store = Store(test, HISTORY, latency_seconds=LATENCY_SECONDS)
        self.client = self.store.client()
        self.events: list[tuple[int, str, str]] = []
        self.states: dict[int, dict[str, str | None]] = {}
        self.items: list[Event | HistoryLost] = []
        self.start = self.store.replica.index
        self.note()
        self.watch: Watch = self.client.watch("/watched", recursive=True, after_index=self.start)

    def note(self) -> None:
        self.states[self.store.replica.index] = dict(self._files("/watched", self.store.node("/watched")))

    def _files(self, key: str, node: Directory | File | None) -> Iterator[tuple[str, str]]:
        if isinstance(node, File):
            yield key, node.value
        elif node is not None:
            for name, child in node.children.items():
                yield from self._files(f"{key}/{name}", child)

    def apply(self, command: Any) -> None:
        event = json.loads(self.test.successResultOf(self.store.replica.propose(command)).body)
        node = event["node"]
        if node["key"].startswith("/watched"):
            self.events.append((node["modifiedIndex"], event["action"], node["key"]))
        self.note()

    def change(self, key: str, value: int) -> None:
        self.apply(Set(key, self.store.replica.now(), str(value), False, None))

    def remove(self, key: str) -> None:
        node = self.store.node(key)
        if node is not None:
            self.apply(Delete(key, self.store.replica.now(), True, True))

    def advance(self, seconds: float) -> None:
        self.store.advance(seconds)

    def cut(self) -> None:
        self.store.cut()

    def heal(self) -> None:
        self.store.heal()

    def consume(self, count: int) -> None:
        for _ in range(count):
            waiting = self.watch.next()
            if not waiting.called:
                waiting.cancel()
                self.test.failureResultOf(waiting)
                return
            self.items.append(self.test.successResultOf(waiting))

    def finish(self) -> None:
        """Let everything arrive that has happened."""
        self.heal()
        before = -1
        while before < len(self.items):
            before = len(self.items)
            self.advance(20.0)
            self.consume(1_000)

    def check(self) -> None:
        seen = self.start
        for item in self.items:
            if isinstance(item, HistoryLost):
                found = {} if item.node is None else leaves(item.node)
                self.test.assertEqual(found, self.states[item.index.etcd_index])
                self.test.assertGreaterEqual(item.index.etcd_index, seen)
                seen = item.index.etcd_index
            else:
                missed = [event for event in self.events if seen < event[0] <= item.node.modified_index]
                self.test.assertEqual(missed, [(item.node.modified_index, item.action, item.node.key)])
                seen = item.node.modified_index
        self.test.assertEqual([event for event in self.events if event[0] > seen], [])


class WatchPropertyTests(SynchronousTestCase):
    @given(st.lists(steps, max_size=40))
    @settings(max_examples=examples(200))
    def test_each_event_comes_once_and_in_order(self, script: list[tuple[Any, ...]]) -> None:
        world = World(self)
        for name, *arguments in script:
            getattr(world, name)(*arguments)
        world.finish()
        world.check()
        world.watch.close()


class QuietTests(SynchronousTestCase):
    """What happens to a watch without events."""

    def setUp(self) -> None:
        self.store = Store(self, HISTORY, latency_seconds=LATENCY_SECONDS)
        self.client = self.store.client()
        self.watch = self.client.watch("/watched", recursive=True, after_index=self.store.replica.index)
        self.addCleanup(self.watch.close)
        self.store.advance(0.1)

    def change(self, key: str) -> None:
        self.store.replica.put(key, "1")

    def taken(self) -> list[str]:
        """Returns the keys of all events that have come."""
        keys = []
        while True:
            waiting = self.watch.next()
            if not waiting.called:
                waiting.cancel()
                self.failureResultOf(waiting)
                return keys
            item = self.successResultOf(waiting)
            assert isinstance(item, Event), item
            keys.append(item.node.key)

    def test_its_index_does_not_grow_too_old(self) -> None:
        """Other keys change more often than the history is long, a few times between two renewals; then a cut."""
        for _ in range(5 * HISTORY):
            self.change("/other")
            self.store.advance(RENEW_SECONDS)
        self.store.cut()
        self.store.heal()
        self.store.advance(1.0)
        self.change("/watched/a")
        self.store.advance(1.0)
        self.assertEqual(self.taken(), ["/watched/a"])

    def test_it_keeps_its_connection_when_the_history_is_too_short_to_renew_it(self) -> None:
        """The state shows no more than the connection has brought."""
        self.change("/watched/first")
        self.store.advance(0.1)
        self.assertEqual(self.taken(), ["/watched/first"])
        for _ in range(3):
            for _ in range(2 * HISTORY):
                self.change("/other")
            self.store.advance(RENEW_SECONDS + 1)
        self.change("/watched/a")
        self.store.advance(0.1)
        self.assertEqual(self.taken(), ["/watched/a"])

    def test_an_event_during_a_renewal_comes_once(self) -> None:
        """The event may come by the old connection, by the new one, or by both."""
        for steps in range(10):
            requests = len(self.store.requests)
            while len(self.store.requests) == requests:
                self.store.clock.advance(LATENCY_SECONDS)
            for _ in range(steps):
                self.store.clock.advance(LATENCY_SECONDS)
            self.change(f"/watched/{steps}")
            self.store.advance(1.0)
            self.assertEqual(self.taken(), [f"/watched/{steps}"])

    def test_a_replaced_store_is_noticed(self) -> None:
        """The indexes begin anew, so that the watch would wait for one that is far away."""
        for _ in range(50):
            self.change("/watched/a")
            self.store.advance(0.1)
            self.taken()
        self.store.replace()
        self.change("/watched/b")
        self.store.advance(2 * RENEW_SECONDS + 10)
        lost = self.successResultOf(self.watch.next())
        assert isinstance(lost, HistoryLost)
        assert lost.node is not None
        self.assertEqual(leaves(lost.node), {"/watched/b": "1"})
        self.change("/watched/c")
        self.store.advance(1.0)
        self.assertEqual(self.taken(), ["/watched/c"])

    def test_a_slow_consumer_holds_a_bounded_number_of_events(self) -> None:
        for number in range(10_000):
            self.change(f"/watched/{number}")
            self.store.clock.advance(LATENCY_SECONDS)
        self.assertLess(len(self.watch._items), 1_000)  # what was read at once, when the connection was paused
