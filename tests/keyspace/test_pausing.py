"""
Tests of watchers that have no room for a while: L{Watcher.pause} and L{Watcher.resume}.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.keyspace.commands import Set
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.space import KeySpace


class PausingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.woken = 0
        self.space = KeySpace(1_000, self.wake)
        self.told: list[Event] = []

    def wake(self) -> None:
        self.woken += 1

    def set(self, count: int) -> None:
        for number in range(count):
            self.space.apply(Set(f"/k{number}", 0, "x" * 100))

    def deliver(self) -> None:
        while self.space.hub.deliver(7):
            pass

    def indexes(self) -> list[int]:
        return [event.index for event in self.told]

    def test_nothing_is_delivered_while_it_is_paused(self) -> None:
        watcher = self.space.watch("/", True, True, None, self.told.append)
        watcher.pause()
        self.set(20)
        self.deliver()
        self.assertEqual(self.told, [])
        self.assertFalse(self.space.hub.deliver(7), "a paused watcher keeps nobody busy")
        self.assertEqual(self.space.hub.backlog, 0)
        watcher.resume()
        self.deliver()
        self.assertEqual(self.indexes(), list(range(1, 21)))

    def test_buffered_events_are_counted_but_not_past_ones(self) -> None:
        self.set(20)
        watcher = self.space.watch("/", True, True, 1, self.told.append)
        watcher.pause()
        self.deliver()
        self.assertEqual(watcher.buffered_bytes, 0)
        event = self.space.apply(Set("/live", 0, "x" * 1_000))
        self.deliver()
        self.assertEqual(watcher.buffered_bytes, len(event.body))
        watcher.resume()
        self.deliver()
        self.assertEqual((watcher.buffered_bytes, self.indexes()), (0, list(range(1, 22))))

    def test_other_watchers_go_on_meanwhile(self) -> None:
        paused = self.space.watch("/", True, True, None, self.fail)
        paused.pause()
        self.space.watch("/", True, True, None, self.told.append)
        self.set(5)
        self.deliver()
        self.assertEqual(self.indexes(), [1, 2, 3, 4, 5])
        paused.cancel()

    def test_nothing_buffered_is_delivered_once_it_is_cancelled(self) -> None:
        watcher = self.space.watch("/", True, True, None, self.fail)
        watcher.pause()
        self.set(5)
        self.deliver()
        watcher.resume()
        watcher.cancel()
        self.deliver()

    def test_resuming_requests_a_delivery(self) -> None:
        watcher = self.space.watch("/", True, True, None, self.told.append)
        watcher.pause()
        self.set(1)
        self.deliver()
        before = self.woken
        watcher.resume()
        self.assertEqual(self.woken, before + 1)

    @given(st.lists(st.sampled_from(["set", "pause", "resume", "deliver"]), max_size=60), st.integers(1, 4))
    def test_every_event_is_delivered_once_and_in_order(self, steps: list[str], limit: int) -> None:
        self.setUp()
        watcher = self.space.watch("/", True, True, None, self.told.append)
        for step in steps:
            if step == "set":
                self.set(1)
            elif step == "deliver":
                self.space.hub.deliver(limit)
            else:
                getattr(watcher, step)()
            self.assertEqual(self.indexes(), list(range(1, len(self.told) + 1)))
        watcher.resume()
        self.deliver()
        self.assertEqual(self.indexes(), list(range(1, self.space.index + 1)))
        self.assertEqual(watcher.buffered_bytes, 0)
