"""
What follows a directory in which each key is made once and never changed, by a watch of it.

This module must never take what a watch says for granted: a change that comes twice, late or not at all is an error.
"""

import os

from etcd_twisted.client import Event, HistoryLost, Reading

CHANGES = int(os.environ.get("WATCH_CHANGES", "1000"))
"""How many changes a watch follows. C{make watch-campaign} has it follow more."""


class Follower:
    """
    Notes what a watch brings.

    @ivar seen: the values of the changes that have come, in order.
    @ivar lost: how often the watch has said that events were lost.
    """

    def __init__(self, name: str, directory: str) -> None:
        self.seen: list[str | None] = []
        self.lost = 0
        self._name = name
        self._directory = directory
        self._index = 0

    def take(self, item: Event | HistoryLost) -> None:
        """
        Take an item.

        @raise AssertionError: it is none that can come next.
        """
        if isinstance(item, HistoryLost):
            self._restart(item)
        else:
            self._note(item.node.created_index, item.node.value)

    def _note(self, index: int, value: str | None) -> None:
        if self._index >= index:
            raise AssertionError(f"{self._name} saw the change {index} after {self._index}")
        self._index = index
        self.seen.append(value)

    def _restart(self, item: HistoryLost) -> None:
        """Take the state that holds the outcome of the events that were lost."""
        if item.node is None or item.node.key != self._directory:
            raise AssertionError(f"{self._name} was given {item}")
        self.lost += 1
        before, self.seen, self._index = self.seen, [], 0
        for node in item.node.in_order():
            self._note(node.created_index, node.value)
        if self.seen[: len(before)] != before:
            raise AssertionError(f"{self._name} was given another past: {self.seen}")


def written(listing: Reading) -> list[str | None]:
    """Returns the values in a directory, in the order in which they were written."""
    return [node.value for node in listing.node.in_order()]
