"""
Tests of the history of events: a reader is not disturbed by what happens meanwhile, and the number and the size of the
events are bounded.
"""

import itertools
import json
import tracemalloc
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.errors import EtcdError
from etcd_twisted.keyspace import commands as c
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.history import MAX_CACHED_EVENT_BYTES, History, event_bytes
from etcd_twisted.keyspace.sizes import EVENT_BYTES
from etcd_twisted.keyspace.space import KeySpace
from tests.keyspace.running import chunks_of, key_space, restored, run
from tests.keyspace.strategies import anything


def values(events: Iterable[Event]) -> list[str]:
    """Returns the values that the events set."""
    return [json.loads(event.body)["node"]["value"] for event in events]


class HistoryTests(SynchronousTestCase):
    """The history has room for five events and holds five on C{/a}; a sixth is to come."""

    def setUp(self) -> None:
        space = key_space(*(c.Set("/a", 0, str(number)) for number in range(1, 7)))
        *kept, self.newest = space.state().history
        self.history = History(5, kept)

    def test_reading_is_not_disturbed_by_new_events(self) -> None:
        """
        Events that are added, and those that are dropped for them, change nothing for a reader that began before.
        """
        reading = self.history.since(3, "/a", False)
        first = next(reading)
        self.history.add(self.newest)
        self.assertEqual(values([first, *reading]), ["3", "4", "5"])
        self.assertEqual((values(self.history), self.history.cleared_index), (["2", "3", "4", "5", "6"], 1))

    def test_reading_starts_at_any_index(self) -> None:
        """A reader that starts at any index gets the rest from there on, without what touches other keys."""
        for asked in range(8):
            found = list(self.history.since(asked, "/a", False))
            self.assertEqual([event.index for event in found], list(range(max(asked, 1), 6)))
            self.assertEqual(list(self.history.since(asked, "/b", True)), [])

    def test_a_history_without_events_names_the_next_one(self) -> None:
        """As of a machine that has taken over the content without the events."""
        history = History(5, [], cleared_index=7)
        self.assertEqual(list(history.since(8, "/a", False)), [])
        error = self.assertRaises(EtcdError, history.since, 7, "/a", False)
        self.assertEqual(error.cause, "the requested history has been cleared [8/7]")


limits = st.integers(1, 20 * (EVENT_BYTES + 40))


def kept(space: KeySpace) -> tuple[list[int], int]:
    """Returns the indexes of the events that are kept, and the index up to which the history is cleared."""
    content = space.state()
    return [event.index for event in content.history], content.cleared_index


class SizeTests(SynchronousTestCase):
    """Tests of the limit on the total size of the events."""

    @given(st.lists(anything, max_size=40), st.integers(1, 30), limits)
    def test_as_many_events_are_kept_as_fit(self, some: list[c.Command], capacity: int, most_bytes: int) -> None:
        """Which events are kept depends on the last events alone: as many as fit, and always the newest one."""
        space, all_of_it = KeySpace(capacity, history_bytes=most_bytes), KeySpace(100_000)
        run(space, some)
        run(all_of_it, some)
        events = list(all_of_it.state().history)
        sizes = itertools.accumulate(event_bytes(event) for event in reversed(events))
        count = min(capacity, max(1, sum(size <= most_bytes for size in sizes)), len(events))
        dropped = events[: len(events) - count]
        indexes = [each.index for each in events[len(dropped) :]]
        self.assertEqual(kept(space), (indexes, dropped[-1].index if dropped else 0))

    @given(st.lists(anything, max_size=40), limits, limits)
    def test_the_same_events_are_kept_after_a_snapshot(self, some: list[c.Command], leaders: int, own: int) -> None:
        """
        A machine that continues from another machine's snapshot keeps what it would have kept itself, as far as it is
        there.
        """
        space, smaller = KeySpace(history_bytes=leaders), KeySpace(history_bytes=min(leaders, own))
        run(space, some)
        run(smaller, some)
        self.assertEqual(kept(restored(chunks_of(space), history_bytes=own)), kept(smaller))

    def test_events_that_were_dropped_are_an_error(self) -> None:
        """
        A request for events that were dropped for their size gets the usual error with what is left (spec, section 1,
        "Watch").
        """
        space = KeySpace(history_bytes=3 * (EVENT_BYTES + 2_002))
        for number in range(1, 7):
            space.apply(c.Set("/a", 0, str(number) * 1_000))
        for asked in (0, 1, 3):
            error = self.assertRaises(EtcdError, space.watch, "/a", False, False, asked, self.fail)
            cause = f"the requested history has been cleared [4/{asked}]"
            self.assertEqual((error.code, error.cause, error.index), (401, cause, 6))
        told: list[Event] = []
        space.watch("/a", False, True, 4, told.append)
        space.hub.deliver(10)
        self.assertEqual(values(told), ["4" * 1_000, "5" * 1_000, "6" * 1_000])

    def test_the_newest_event_is_kept_whatever_its_size(self) -> None:
        """An event that is larger than the limit is kept until the next one."""
        space = key_space(c.Set("/a", 0, "x" * 10_000), c.Set("/b", 0, "y" * 10_000), history_bytes=1_000)
        self.assertEqual(kept(space), ([2], 1))

    def test_the_size_of_characters(self) -> None:
        """A text with characters outside ASCII takes up to four bytes a character."""
        for value, size in (("x" * 100, 100), ("x" * 99 + "é", 400), ("😀" * 100, 400)):
            (event,) = key_space(c.Set("/a", 0, value)).state().history
            self.assertEqual(event_bytes(event), EVENT_BYTES + 2 + size)

    def test_the_memory_that_a_history_takes(self) -> None:
        """Large events are held once, and not also as the JSON that was sent when they happened or were asked for."""
        value = MAX_CACHED_EVENT_BYTES * 4
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        space = KeySpace(history_bytes=50 * value)
        sent: list[int] = []
        for number in range(200):
            event = space.apply(c.Set("/a", 0, f"{number:08}" * (value // 8)))
            sent.append(len(event.body))
        space.watch("/a", False, True, 190, lambda event: sent.append(len(event.body)))
        while space.hub.deliver(1_000):
            pass
        del event
        held, _ = tracemalloc.get_traced_memory()
        self.assertEqual(len(sent), 211)
        self.assertLess(held, 2 * 50 * value)
