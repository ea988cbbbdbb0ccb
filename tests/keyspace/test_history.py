"""The last events: who is reading them is not disturbed by what happens meanwhile."""

import json
from collections.abc import Iterable

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.keyspace import commands as c
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.history import History
from tests.keyspace.running import key_space


def values(events: Iterable[Event]) -> list[str]:
    """The values that the events set."""
    return [json.loads(event.body)["node"]["value"] for event in events]


class HistoryTests(SynchronousTestCase):
    """Five events on C{/a} are kept, as many as there is room for; a sixth is to come."""

    def setUp(self) -> None:
        space = key_space(*(c.Set("/a", 0, str(number)) for number in range(1, 7)))
        *kept, self.newest = space.content().history
        self.history = History(5, kept)

    def test_readWhileAdded(self) -> None:
        """Events that are added, and the ones dropped for them, change nothing for who began to read before."""
        reading = self.history.since(3, "/a", False)
        first = next(reading)
        self.history.add(self.newest)
        self.assertEqual(values([first, *reading]), ["3", "4", "5"])
        self.assertEqual((values(self.history), self.history.cleared), (["2", "3", "4", "5", "6"], 1))

    def test_startsAnywhere(self) -> None:
        """From every index on it is the rest, without what touches other keys."""
        for asked in range(8):
            found = list(self.history.since(asked, "/a", False))
            self.assertEqual([event.index for event in found], list(range(max(asked, 1), 6)))
            self.assertEqual(list(self.history.since(asked, "/b", True)), [])
