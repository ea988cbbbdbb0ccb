"""
Tests of which watchers see which events, and when (spec, section 1, "Watch").

History and live watchers see the same events: a client that asks again from the index after its last event sees
exactly what a streaming watcher sees.
"""

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.errors import EtcdError
from etcd_twisted.keyspace import commands as c
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.space import KeySpace
from etcd_twisted.keyspace.watchers import Watcher
from tests.keyspace.running import key_space, run
from tests.keyspace.watching import EVERYTHING, indexes


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

    def test_a_watcher_that_does_not_count(self) -> None:
        """It gets the same, also while there is no other one."""
        space = KeySpace()
        events: list[Event] = []
        watcher = space.watch("/a", False, True, None, events.append, counted=False)
        space.apply(c.Set("/a", 0))
        space.hub.deliver(EVERYTHING)
        self.assertEqual((indexes(events), space.hub.count, space.statistics().watchers), ([1], 0, 0))
        counted = space.watch("/a", False, True, None, events.append)
        watcher.cancel()
        self.assertEqual(space.hub.count, 1)
        counted.cancel()
        self.assertEqual(space.hub.count, 0)
        self.assertFalse(space.hub.watched)

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
