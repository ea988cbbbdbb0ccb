"""
Tests of watchers against a model: which of them see which of any events.
"""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.errors import EtcdError
from etcd_twisted.keyspace import commands as c
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.snapshot import SnapshotLoader
from etcd_twisted.keyspace.space import KeySpace
from tests import examples
from tests.keyspace.model import Model
from tests.keyspace.running import chunks_of, expected, json_of, outcome, run
from tests.keyspace.strategies import anything, histories, keys
from tests.keyspace.watching import EVERYTHING, AskAgain, Client, Deliver, indexes, model_of, shown


class PropertyTests(SynchronousTestCase):
    """Tests with any sequence of commands and any watcher."""

    steps = st.lists(
        st.one_of(
            anything, anything, anything, st.builds(Deliver, st.sampled_from([0, 1, 2, 100])), st.builds(AskAgain)
        ),
        max_size=40,
    )

    @settings(max_examples=examples(100))
    @given(histories, steps, keys, st.booleans())
    def test_streaming_asking_again_and_history_agree(
        self, before: list[c.Command], steps: list[object], key: str, recursive: bool
    ) -> None:
        """
        A streaming watcher, a client that asks again however late, and the rule applied to all events agree (api,
        "Waiting for a change").
        """
        space, model = KeySpace(), Model()
        for command in before:
            outcome(space, command)
            expected(model, command)
        first = space.index + 1
        streamed: list[Event] = []
        from_now: list[Event] = []
        from_the_start: list[Event] = []
        space.watch(key, recursive, True, first, streamed.append)
        space.watch(key, recursive, True, None, from_now.append)
        space.watch(key, recursive, True, 1, from_the_start.append)
        client = Client(space, key, recursive, first)
        client.ask()
        for step in steps:
            if isinstance(step, Deliver):
                space.hub.deliver(step.limit)
            elif isinstance(step, AskAgain):
                client.ask()
            else:
                outcome(space, step)
                expected(model, step)
        told = -1
        while told != len(client.events):
            told = len(client.events)
            client.ask()
            space.hub.deliver(EVERYTHING)
        self.assertEqual(indexes(streamed), shown(model.events, key, recursive, first))
        self.assertEqual([json_of(event) for event in client.events], [json_of(event) for event in streamed])
        self.assertEqual(indexes(from_now), indexes(streamed))
        self.assertEqual(indexes(from_the_start), shown(model.events, key, recursive))

    @settings(max_examples=examples(100))
    @given(histories, histories, keys, st.booleans(), st.integers(1, 60))
    def test_watcher_sees_the_same_from_a_snapshot_or_ends(
        self, before: list[c.Command], later: list[c.Command], key: str, recursive: bool, capacity: int
    ) -> None:
        """
        A watcher on a machine that continues from another one's snapshot sees what watchers there see, or learns that
        it may have missed something.
        """
        behind, ahead = KeySpace(), KeySpace(capacity)
        spaces = (behind, ahead)
        told: list[list[Event]] = [[], []]
        first: list[list[Event]] = [[], []]
        ended: list[str] = []
        for space, stream, once in zip(spaces, told, first, strict=True):
            run(space, before)
            space.watch(key, recursive, True, None, stream.append, lambda: ended.append("stream"))
            space.watch(key, recursive, False, None, once.append, lambda: ended.append("once"))
        start = behind.index
        run(ahead, later)
        loader = SnapshotLoader()
        for chunk in chunks_of(ahead):
            loader.feed(chunk)
        content = loader.finish()
        behind.restore(content, loader.schedule)
        for space in spaces:
            space.hub.deliver(EVERYTHING)
        if content.cleared_index > start:
            self.assertEqual((sorted(ended), told[0], first[0]), (["once", "stream"], [], []))
            return
        self.assertEqual(ended, [])
        self.assertEqual([json_of(event) for event in told[0]], [json_of(event) for event in told[1]])
        self.assertEqual(indexes(first[0]), indexes(first[1]))

    @settings(max_examples=examples(50))
    @given(histories, keys, st.booleans(), st.integers(1, 6))
    def test_history_is_cleared_exactly_when_events_are_missing(
        self, some: list[c.Command], key: str, recursive: bool, capacity: int
    ) -> None:
        """
        A watch from an index on is refused if, and only if, an event from there on is no longer kept. The cause names
        the oldest event kept and the index asked for.
        """
        space = KeySpace(capacity)
        events = model_of(space, some).events
        kept, dropped = events[-capacity:], events[:-capacity]
        for asked in range(space.index + 3):
            told: list[Event] = []
            if any(event.index >= asked for event in dropped):
                error = self.assertRaises(EtcdError, space.watch, key, recursive, True, asked, told.append)
                cause = f"the requested history has been cleared [{kept[0].index}/{asked}]"
                self.assertEqual((error.code, error.cause, error.index), (401, cause, space.index))
                self.assertEqual(space.hub.count, 0)
            else:
                watcher = space.watch(key, recursive, True, asked, told.append)
                space.hub.deliver(EVERYTHING)
                self.assertEqual(indexes(told), shown(events, key, recursive, asked))
                watcher.cancel()

    @settings(max_examples=examples(50))
    @given(histories, st.lists(st.tuples(keys, st.booleans(), st.booleans()), max_size=8), st.integers(1, 3))
    def test_delivery_is_in_order_and_bounded(
        self, some: list[c.Command], watched: list[tuple[str, bool, bool]], limit: int
    ) -> None:
        """Watchers see the events in order, a limited number at a time, and one-shot watchers see one."""
        space = KeySpace()
        told: list[tuple[int, int]] = []
        for number, (key, recursive, stream) in enumerate(watched):
            space.watch(key, recursive, stream, None, lambda event, number=number: told.append((number, event.index)))
        events = model_of(space, some).events
        rounds = 0
        more = True
        while more:
            before = len(told)
            more = space.hub.deliver(limit)
            self.assertLessEqual(len(told) - before, limit)
            self.assertTrue(len(told) - before == limit or not more)
            rounds += 1
        self.assertEqual([index for _, index in told], sorted(index for _, index in told))
        for number, (key, recursive, stream) in enumerate(watched):
            expected_of_it = shown(events, key, recursive)[: None if stream else 1]
            self.assertEqual([index for who, index in told if who == number], expected_of_it)
        streaming = sum(1 for _, _, stream in watched if stream)
        waiting = sum(1 for key, recursive, stream in watched if not stream and not shown(events, key, recursive))
        self.assertEqual(space.hub.count, streaming + waiting)

    @settings(max_examples=examples(50))
    @given(histories, keys, st.booleans(), st.booleans(), st.integers(0, 30), st.integers(0, 30))
    def test_cancelled_watchers_see_nothing(
        self, some: list[c.Command], key: str, recursive: bool, stream: bool, cancelled: int, delivered: int
    ) -> None:
        """What is queued for a watcher when it is cancelled is not delivered."""
        space = KeySpace()
        told: list[Event] = []
        watcher = space.watch(key, recursive, stream, None, told.append)
        for number, command in enumerate(some):
            if number == delivered:
                space.hub.deliver(1)
            if number == cancelled:
                watcher.cancel()
                before = list(told)
            outcome(space, command)
        watcher.cancel()
        if cancelled >= len(some):
            before = list(told)
        while space.hub.deliver(1):
            pass
        self.assertEqual(told, before)
        self.assertEqual(space.hub.count, 0)

    @settings(max_examples=examples(50))
    @given(st.lists(st.one_of(anything, anything, st.builds(Deliver, st.integers(1, 2))), max_size=40))
    def test_wakes_when_deliveries_become_pending(self, steps: list[object]) -> None:
        """C{wake} is called once whenever there is something to deliver and there was nothing before."""
        woken: list[None] = []
        space = KeySpace(wake=lambda: woken.append(None))
        told: list[Event] = []
        for _ in range(2):
            space.watch("/", True, True, None, told.append)
        pending = 0
        wakes = 0
        model = Model()
        for step in steps:
            if isinstance(step, Deliver):
                self.assertEqual(space.hub.deliver(step.limit), pending > step.limit)
                pending = max(0, pending - step.limit)
            else:
                before = len(shown(model.events, "/", True))
                outcome(space, step)
                expected(model, step)
                new = 2 * (len(shown(model.events, "/", True)) - before)
                wakes += not pending and new > 0
                pending += new
            self.assertEqual(len(woken), wakes)
