"""
Tests of which watchers see which events, and when (spec, section 1, "Watch").

History and live watchers see the same events: a client that asks again from the index after its last event sees
exactly what a streaming watcher sees.
"""

import functools

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.errors import EtcdError
from etcd_twisted.keyspace import commands as c
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.snapshot import SnapshotLoader
from etcd_twisted.keyspace.space import KeySpace
from etcd_twisted.keyspace.watchers import Watcher
from tests import examples
from tests.keyspace.model import Model, Seen, sees
from tests.keyspace.running import chunks_of, expected, json_of, key_space, outcome, run
from tests.keyspace.strategies import anything, histories, keys

EVERYTHING = 1_000_000


@attrs.frozen
class Deliver:
    """A limited number of events is delivered to watchers."""

    limit: int


@attrs.frozen
class AskAgain:
    """A client whose watch was answered asks again."""


class Client:
    """Watches with one-shot watchers, each from the index after its last event."""

    def __init__(self, space: KeySpace, key: str, recursive: bool, since: int) -> None:
        self.events: list[Event] = []
        self._watch = functools.partial(space.watch, key, recursive, False)
        self._since = since
        self._waiting = False

    def ask(self) -> None:
        if not self._waiting:
            self._waiting = True
            self._watch(self._since, self._told)

    def _told(self, event: Event) -> None:
        assert self._waiting
        self._waiting = False
        self.events.append(event)
        self._since = event.index + 1


def indexes(events: list[Event]) -> list[int]:
    return [event.index for event in events]


def model_of(space: KeySpace, some: list[c.Command]) -> Model:
    """Carries commands out in both the key space and a model, and returns the model."""
    model = Model()
    for command in some:
        outcome(space, command)
        expected(model, command)
    return model


def shown(events: list[Seen], key: str, recursive: bool, since: int = 0) -> list[int]:
    """Returns the indexes of the events that a watcher should see."""
    return [event.index for event in events if event.index >= since and sees(event, key, recursive)]


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


class OneWatcherTests(SynchronousTestCase):
    """Tests of the sentences of the specification, one by one."""

    def told(
        self, before: list[c.Change], key: str, recursive: bool, *then: c.Command, since: int | None = None
    ) -> list[int]:
        """Returns the indexes of the events that a streaming watcher sees that begins after C{before}."""
        space = key_space(*before)
        events: list[Event] = []
        space.watch(key, recursive, True, since, events.append)
        run(space, then)
        space.hub.deliver(EVERYTHING)
        return indexes(events)

    def test_a_watcher_sees_the_next_change(self) -> None:
        """Without an index the watcher sees the first event after the current index."""
        self.assertEqual(self.told([c.Set("/a", 0), c.Set("/a", 0)], "/a", False, c.Set("/a", 0)), [3])

    def test_a_watcher_sees_events_from_an_index_on(self) -> None:
        """With an index the watcher sees the first event from there on, that index included."""
        self.assertEqual(self.told([c.Set("/a", 0)] * 3, "/a", False, since=2), [2, 3])

    def test_a_watcher_sees_no_other_keys(self) -> None:
        """Events that do not touch the key are skipped, in the history and later."""
        before = [c.Set("/a", 0), c.Set("/ab", 0), c.Set("/b", 0)]
        self.assertEqual(self.told(before, "/a", True, c.Set("/ab", 0), c.Set("/a/b", 0), since=1), [1])

    def test_a_watcher_waits_for_a_future_index(self) -> None:
        """A watcher waits for an index in the future, and does not see events before it."""
        self.assertEqual(self.told([c.Set("/a", 0)], "/a", False, *[c.Set("/a", 0)] * 4, since=4), [4, 5])

    def test_a_recursive_watcher_sees_keys_below(self) -> None:
        """Only a recursive watcher sees events on keys below."""
        changes = [c.Set("/d/e/f", 0), c.Set("/d/x", 0), c.Set("/other", 0)]
        self.assertEqual(self.told([], "/d", True, *changes), [1, 2])
        self.assertEqual(self.told([], "/d", False, *changes), [])
        self.assertEqual(self.told([], "/", True, *changes), [1, 2, 3])

    def test_a_streaming_watcher_sees_every_change(self) -> None:
        """
        Every kind of change is seen: set, create, update, compareAndSwap, compareAndDelete, delete, expire (api,
        "Setting the value of a key").
        """
        self.assertEqual(
            self.told(
                [],
                "/a",
                False,
                c.Set("/a", 0),
                c.Update("/a", 0),
                c.CompareAndSwap("/a", 0, "x"),
                c.CompareAndDelete("/a", 0),
                c.Create("/a", 0),
                c.Delete("/a", 0),
                c.Set("/a", 0, expires=1),
                c.Expire(1, 1),
            ),
            [1, 2, 3, 4, 5, 6, 7, 8],
        )

    def test_a_watcher_sees_no_refresh(self) -> None:
        """A refresh, also one with a condition, wakes no watcher and leaves a gap in the indexes that they see."""
        refreshes = [
            c.Refresh("/a", 0, 9), c.CompareAndSwap("/a", 0, None, 9), c.SetTtl("/a", 0, 9), c.Refresh("/d", 0, 9)
        ]  # fmt: skip
        before: list[c.Change] = [c.Set("/a", 0), c.Set("/d", 0, directory=True)]
        self.assertEqual(self.told(before, "/", True, *refreshes, c.Set("/a", 0)), [7])
        self.assertEqual(self.told([*before, *refreshes], "/", True, c.Set("/a", 0), since=1), [1, 2, 7])

    def test_a_watcher_sees_that_its_directory_is_deleted(self) -> None:
        """
        Deleting a directory wakes the watchers of everything below it, recursive or not, and whether or not their keys
        exist.
        """
        for key in ("/d/a", "/d/a/b/c", "/d/nothing", "/d/_hidden"):
            for recursive in (False, True):
                deletion = c.Delete("/d", 0, recursive=True)
                self.assertEqual(self.told([c.Set("/d/a", 0)], key, recursive, deletion), [2])
                self.assertEqual(self.told([c.Set("/d/a", 0), deletion], key, recursive, since=2), [2])

    def test_a_watcher_sees_that_its_directory_expires(self) -> None:
        """The expiry of a directory wakes the same watchers, with the directory's event."""
        space = key_space(c.Set("/d", 0, directory=True, expires=5), c.Set("/d/asdf", 0))
        events: list[Event] = []
        space.watch("/d/asdf", False, False, None, events.append)
        space.apply(c.Expire(5, 10))
        space.hub.deliver(EVERYTHING)
        self.assertEqual(
            [event.body for event in events],
            [
                b'{"action":"expire","node":{"key":"/d","modifiedIndex":3,"createdIndex":1},'
                b'"prevNode":{"key":"/d","dir":true,"expiration":"1970-01-01T00:00:00.000005Z",'
                b'"modifiedIndex":1,"createdIndex":1}}'
            ],
        )

    def test_a_watcher_below_a_file_sees_no_deletion(self) -> None:
        """A file that is deleted wakes nobody who watches below it, because there was nothing below it."""
        self.assertEqual(self.told([c.Set("/a", 0)], "/a/b", True, c.Delete("/a", 0, recursive=True)), [])

    def test_a_watcher_sees_no_deletion_of_a_neighbor(self) -> None:
        """A directory whose name begins another one's name is not that one's parent."""
        before: list[c.Change] = [c.Set("/d/a", 0), c.Set("/dd/a", 0)]
        self.assertEqual(self.told(before, "/dd/a", False, c.Delete("/d", 0, recursive=True)), [])

    def test_a_watcher_sees_no_hidden_keys(self) -> None:
        """An event on a hidden node wakes only those who watch it directly."""
        changes = [c.Set("/d/_h", 0), c.Set("/d/_e/x", 0), c.Set("/d/e/_h", 0), c.Set("/d/e_", 0)]
        self.assertEqual(self.told([], "/d", True, *changes), [4])
        self.assertEqual(self.told([], "/d/_h", False, *changes), [1])
        self.assertEqual(self.told(changes, "/d", True, since=1), [4])

    def test_a_watcher_of_a_hidden_directory_sees_what_is_in_it(self) -> None:
        """
        A key is hidden relative to the watched key, so the watcher of a hidden directory sees the ordinary keys in it.
        """
        changes = [c.Set("/_d/x", 0), c.Set("/_d/_h", 0), c.Set("/_d/e/y", 0)]
        self.assertEqual(self.told([], "/_d", True, *changes), [1, 3])

    def test_a_watcher_below_a_hidden_directory_sees_that_it_is_deleted(self) -> None:
        """Deleting a hidden directory wakes the watchers below it, but not those above."""
        deletion = c.Delete("/d/_h", 0, recursive=True)
        self.assertEqual(self.told([c.Set("/d/_h/x", 0)], "/d/_h/x", False, deletion), [2])
        self.assertEqual(self.told([c.Set("/d/_h/x", 0)], "/d", True, deletion), [])

    def test_a_watcher_sees_no_failures(self) -> None:
        """A command that fails wakes nobody."""
        self.assertEqual(self.told([c.Set("/a", 0)], "/", True, c.Create("/a", 0), c.Delete("/b", 0)), [])

    def test_a_watcher_sees_that_a_file_becomes_a_directory(self) -> None:
        """A directory that replaces a file is one event on its key."""
        self.assertEqual(self.told([c.Set("/a", 0)], "/a", False, c.Set("/a", 0, directory=True)), [2])


class HubTests(SynchronousTestCase):
    def test_nothing_is_delivered_before_watch_returns(self) -> None:
        """Even what has happened already is delivered later, not during the call."""
        space = key_space(c.Set("/a", 0))
        told: list[Event] = []
        space.watch("/a", False, False, 1, told.append)
        self.assertEqual(told, [])
        self.assertFalse(space.hub.deliver(EVERYTHING))
        self.assertEqual(indexes(told), [1])

    def test_past_events_request_a_delivery(self) -> None:
        """C{wake} is called for past events, and not if there are none."""
        woken: list[None] = []
        space = key_space(c.Set("/a", 0), wake=lambda: woken.append(None))
        space.watch("/b", False, False, 1, lambda _: None)
        self.assertEqual(woken, [])
        space.watch("/a", False, False, 1, lambda _: None)
        self.assertEqual(woken, [None])

    def test_watchers_are_counted(self) -> None:
        """A watcher counts until it sees its last event or is cancelled, however often."""
        space = KeySpace()
        watchers = [space.watch("/a", False, stream, None, lambda _: None) for stream in (False, True, False)]
        self.assertEqual(space.statistics().watchers, 3)
        watchers[2].cancel()
        watchers[2].cancel()
        self.assertEqual(space.statistics().watchers, 2)
        space.apply(c.Set("/a", 0))
        self.assertEqual(space.statistics().watchers, 1)
        watchers[0].cancel()
        self.assertEqual(space.statistics().watchers, 1)
        watchers[1].cancel()
        self.assertEqual(space.statistics().watchers, 0)

    def test_a_watcher_that_another_one_cancels_gets_nothing(self) -> None:
        """A watcher that another one cancels during the same delivery sees nothing."""
        space = KeySpace()
        told: list[Event] = []
        others: list[Watcher] = []
        space.watch("/a", False, False, None, lambda _: others[0].cancel())
        others.append(space.watch("/a", False, False, None, told.append))
        space.apply(c.Set("/a", 0))
        space.hub.deliver(EVERYTHING)
        self.assertEqual(told, [])

    def test_a_watcher_that_is_made_during_delivery(self) -> None:
        """A watcher may watch again as soon as it sees an event, and sees the next event at the next delivery."""
        space = key_space(c.Set("/a", 0), c.Set("/a", 0))
        told: list[Event] = []

        def again(event: Event) -> None:
            told.append(event)
            space.watch("/a", False, False, event.index + 1, told.append)

        space.watch("/a", False, False, 1, again)
        self.assertTrue(space.hub.deliver(EVERYTHING))
        self.assertEqual(indexes(told), [1])
        self.assertFalse(space.hub.deliver(EVERYTHING))
        self.assertEqual(indexes(told), [1, 2])

    def test_all_watchers_get_the_same_event(self) -> None:
        """All watchers get the same event, which is encoded once."""
        space = KeySpace()
        told: list[Event] = []
        for key in ("/", "/a", "/a"):
            space.watch(key, True, False, None, told.append)
        event = space.apply(c.Set("/a", 0))
        space.hub.deliver(EVERYTHING)
        self.assertEqual([each is event for each in told], [True, True, True])
        self.assertIs(told[0].body, event.body)

    def test_few_and_many_watchers_see_the_same(self) -> None:
        """What a watcher sees does not depend on how many others watch."""
        for others in (0, 1, 5, 50):
            self.assertEqual(self._told_among(others), ["/", "/a", "/a/b/c"])

    def _told_among(self, others: int) -> list[str]:
        space = KeySpace()
        told: list[str] = []
        keys = ["/", "/a", "/a/b/c", "/a/b/c/d", "/b", *(f"/other/{number}" for number in range(others))]
        for key in keys:
            space.watch(key, True, True, None, lambda _, key=key: told.append(key))
        space.apply(c.Set("/a/b/c", 0))
        space.hub.deliver(EVERYTHING)
        return sorted(told)

    def test_a_watcher_gets_all_of_the_history(self) -> None:
        """From index 0 on means from the first change on: if nothing was dropped, nothing is missing."""
        told: list[Event] = []
        KeySpace().watch("/a", False, False, 0, told.append)
        space = key_space(c.Set("/a", 0), c.Set("/a", 0), history_capacity=2)
        space.watch("/a", False, True, 0, told.append)
        space.hub.deliver(EVERYTHING)
        self.assertEqual(indexes(told), [1, 2])
        space.apply(c.Set("/a", 0))
        error = self.assertRaises(EtcdError, space.watch, "/a", False, False, 0, told.append)
        self.assertEqual((error.code, error.cause), (401, "the requested history has been cleared [2/0]"))


class EndTests(SynchronousTestCase):
    """Tests of ending all watchers when a machine can no longer serve them."""

    def setUp(self) -> None:
        self.space = KeySpace()
        self.told: list[Event] = []
        self.ended: list[str] = []

    def watch(self, key: str, stream: bool = True) -> Watcher:
        return self.space.watch(key, False, stream, None, self.told.append, lambda: self.ended.append(key))

    def test_each_watcher_ends_once(self) -> None:
        """A watcher that has seen its event, or is about to, waits no longer and is not ended."""
        for key in ("/a", "/b", "/b"):
            self.watch(key)
        self.watch("/c", stream=False)
        gone = self.watch("/d")
        gone.cancel()
        self.space.watch("/e", False, True, None, self.told.append)  # no callback for its end
        self.space.apply(c.Set("/c", 0))
        self.space.hub.end_all()
        self.space.hub.end_all()
        self.assertEqual(sorted(self.ended), ["/a", "/b", "/b"])
        self.assertEqual(self.space.hub.count, 0)
        self.space.apply(c.Set("/a", 0))
        self.space.hub.deliver(EVERYTHING)
        self.assertEqual([event.node.key for event in self.told], ["/c"])

    def test_a_watcher_that_ends_may_cancel_another_one(self) -> None:
        """The callback for the end of a watcher may cancel other watchers, and begin new ones."""
        watchers: list[Watcher] = []

        def end() -> None:
            self.ended.append("one")
            for watcher in watchers:
                watcher.cancel()
            self.watch("/new")

        watchers += [self.space.watch("/a", False, True, None, self.told.append, end) for _ in range(3)]
        self.space.hub.end_all()
        self.assertEqual((self.ended, self.space.hub.count), (["one"], 1))

    def test_buffered_events_are_forgotten_at_the_end(self) -> None:
        """A stream that has no room does not see what was buffered before."""
        watcher = self.watch("/a")
        watcher.pause()
        self.space.apply(c.Set("/a", 0))
        self.space.hub.deliver(EVERYTHING)
        self.space.hub.end_all()
        watcher.resume()
        self.space.hub.deliver(EVERYTHING)
        self.assertEqual((self.told, self.ended), ([], ["/a"]))
