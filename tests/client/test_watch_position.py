"""Where a watch goes on, by what machines say."""

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.client.results import Event, HistoryLost, Index, Node
from etcd_twisted.client.watch_position import WatchPosition

AT_200 = Index(200)


def file(key: str, index: int) -> Node:
    return Node(key, "1", False, (), 1, index, None, None)


def directory(key: str, *nodes: Node) -> Node:
    return Node(key, None, True, nodes, 1, 1, None, None)


class WatchPositionTests(SynchronousTestCase):
    def position(self, recursive: bool = False, key: str = "/d/key") -> WatchPosition:
        """Returns the position of a watch that has seen everything up to the index 100."""
        return WatchPosition(key, recursive, 100)

    def test_an_event_is_taken_once(self) -> None:
        position = self.position()
        taken = [position.take(Event("set", file("/d/key", index), None, AT_200)) for index in (100, 101, 101, 150)]
        self.assertEqual((taken, position.next_index), ([False, True, False, True], 151))

    def test_it_never_goes_back(self) -> None:
        """Neither by a connection that was asked for earlier, nor by a machine that lags behind."""
        position = self.position()
        position.begin(90, Index(95))
        position.skip(Index(50))
        self.assertEqual(position.next_index, 101)
        position.begin(120, Index(95))
        self.assertTrue(position.is_ahead_of(Index(118)))
        self.assertFalse(position.is_ahead_of(Index(119)))

    def test_a_watch_that_begins_now(self) -> None:
        position = WatchPosition("/d/key", False, None)
        self.assertFalse(position.is_ahead_of(Index(0)))
        position.begin(None, AT_200)
        self.assertEqual(position.next_index, 201)

    def test_a_gap_in_which_one_key_has_not_changed(self) -> None:
        """It is no loss for a watch of that key alone: of what is below, the state shows no deletion."""
        for recursive, node, lost in (
            (False, file("/d/key", 99), False),
            (False, file("/d/key", 101), True),
            (True, file("/d/key", 99), True),
            (False, directory("/d/key"), True),
            (False, None, True),
        ):
            position = self.position(recursive)
            expected = HistoryLost(node, AT_200) if lost else None
            self.assertEqual((position.go_on_after_gap(node, AT_200), position.next_index), (expected, 201))

    def test_a_quiet_connection_beside_the_state(self) -> None:
        """The state counts only if it shows more than the connection has brought, or certainly nothing else."""
        old, new = file("/d/key", 99), file("/d/key", 150)
        for recursive, node, goes_on, lost in (
            (False, old, True, False),
            (False, new, True, True),
            (True, directory("/d", directory("/d/e", old)), False, False),
            (True, directory("/d", directory("/d/e", new)), True, True),
            (False, None, True, True),
        ):
            position = self.position(recursive)
            expected = (goes_on, HistoryLost(node, AT_200) if lost else None)
            self.assertEqual(position.go_on_beside_connection(node, AT_200), expected)
            self.assertEqual(position.next_index, 201 if goes_on else 101)

    def test_a_state_that_lags_behind_a_quiet_connection(self) -> None:
        self.assertEqual(self.position().go_on_beside_connection(None, Index(50)), (False, None))

    def test_a_key_that_is_known_to_be_gone(self) -> None:
        """That it is missing shows nothing new then, whichever way the consumer has learned it."""
        deleted, removed, lost = self.position(), self.position(), self.position()
        deleted.take(Event("delete", file("/d/key", 101), None, AT_200))
        lost.go_on_after_gap(None, Index(100))
        for position in (deleted, lost):
            self.assertEqual(position.go_on_beside_connection(None, AT_200), (False, None))
        removed.take(Event("delete", Node("/d", None, True, (), 1, 101, None, None), None, AT_200))
        self.assertEqual(removed.go_on_beside_connection(None, AT_200), (False, None))

    def test_another_store(self) -> None:
        position = self.position()
        self.assertEqual(position.go_on_in_another_store(None, Index(5)), HistoryLost(None, Index(5)))
        self.assertEqual(position.next_index, 6)
