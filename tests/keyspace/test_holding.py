"""
Watchers that have no room for a while: L{Watcher.hold} and L{Watcher.release}.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.keyspace.commands import Set
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.space import KeySpace


class HoldingTests(SynchronousTestCase):
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

    def test_nothing_is_told_while_it_is_held(self) -> None:
        watcher = self.space.watch("/", True, True, None, self.told.append)
        watcher.hold()
        self.set(20)
        self.deliver()
        self.assertEqual(self.told, [])
        self.assertFalse(self.space.hub.deliver(7), "who is held keeps nobody busy")
        self.assertEqual(self.space.hub.backlog, 0)
        watcher.release()
        self.deliver()
        self.assertEqual(self.indexes(), list(range(1, 21)))

    def test_what_waits_is_counted_but_not_what_was_past(self) -> None:
        self.set(20)
        watcher = self.space.watch("/", True, True, 1, self.told.append)
        watcher.hold()
        self.deliver()
        self.assertEqual(watcher.waiting_bytes, 0)
        event = self.space.apply(Set("/live", 0, "x" * 1_000))
        self.deliver()
        self.assertEqual(watcher.waiting_bytes, len(event.body))
        watcher.release()
        self.deliver()
        self.assertEqual((watcher.waiting_bytes, self.indexes()), (0, list(range(1, 22))))

    def test_others_are_told_meanwhile(self) -> None:
        held = self.space.watch("/", True, True, None, self.fail)
        held.hold()
        self.space.watch("/", True, True, None, self.told.append)
        self.set(5)
        self.deliver()
        self.assertEqual(self.indexes(), [1, 2, 3, 4, 5])
        held.cancel()

    def test_who_is_cancelled_is_told_nothing_that_was_put_aside(self) -> None:
        watcher = self.space.watch("/", True, True, None, self.fail)
        watcher.hold()
        self.set(5)
        self.deliver()
        watcher.release()
        watcher.cancel()
        self.deliver()

    def test_release_wakes_the_one_who_delivers(self) -> None:
        watcher = self.space.watch("/", True, True, None, self.told.append)
        watcher.hold()
        self.set(1)
        self.deliver()
        before = self.woken
        watcher.release()
        self.assertEqual(self.woken, before + 1)

    @given(st.lists(st.sampled_from(["set", "hold", "release", "deliver"]), max_size=60), st.integers(1, 4))
    def test_whatever_happens_every_event_is_told_once_and_in_order(self, steps: list[str], limit: int) -> None:
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
        watcher.release()
        self.deliver()
        self.assertEqual(self.indexes(), list(range(1, self.space.index + 1)))
        self.assertEqual(watcher.waiting_bytes, 0)
