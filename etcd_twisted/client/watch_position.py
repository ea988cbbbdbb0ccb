"""
Where a watch is: what its consumer has seen, and from which index on a connection has to bring events.

Rule 1. C{next_index} is the lowest index of which the consumer has not seen whether anything happened. It grows by
        events that were taken, and by what a machine says of its own index when it has no event.
Rule 2. An event with a lower index is a repetition, and is dropped.
Rule 3. Every connection begins at C{next_index}. The server has the events since then in its history, or it says that
        it has not: then the consumer gets a L{HistoryLost} with the state to go on from, unless that state shows that
        nothing was lost.

This module must never send anything, nor wait for anything.
"""

from etcd_twisted.client.results import Event, HistoryLost, Index, Node


class WatchPosition:
    """
    The position of one watch.

    @ivar next_index: see the module; C{None} before the first connection of a watch that begins now.
    """

    def __init__(self, key: str, recursive: bool, after_index: int | None) -> None:
        """
        @param after_index: the index after which the watch begins, or C{None}.
        """
        self.next_index = None if after_index is None else after_index + 1
        self._key = f"/{key.strip('/')}/"
        self._recursive = recursive
        self._is_gone = False

    def begin(self, wait_index: int | None, index: Index) -> None:
        """
        Take note of a connection.

        @param wait_index: the index that was asked for; C{None} for what comes now.
        @param index: where the machine stood when it accepted the watch.
        """
        if wait_index is None:
            self.next_index = index.etcd_index + 1
        else:  # what lies between is known to be without events
            self.next_index = max(wait_index, self.next_index or 0)

    def take(self, event: Event) -> bool:
        """Take an event, and return whether it is not a repetition."""
        index = event.node.modified_index
        if self.next_index is not None and index < self.next_index:
            return False
        self.next_index = index + 1
        self._is_gone = event.is_removal and self._key.startswith(f"{event.node.key}/")
        return True

    def skip(self, index: Index) -> None:
        """Take note that there is no event up to where a machine stood."""
        self.next_index = max(self.next_index or 0, index.etcd_index + 1)

    def is_ahead_of(self, index: Index) -> bool:
        """Returns whether this is ahead of where a machine stands: it lags behind, or the store was replaced."""
        return index.etcd_index + 1 < (self.next_index or 0)

    def go_on_in_another_store(self, node: Node | None, index: Index) -> HistoryLost:
        """
        Go on from the state of a store that stands before this position, and return that for the consumer.

        @param node: what is at the key, by a read with a quorum; C{None} for nothing.
        """
        return self._lose(node, index)

    def go_on_after_gap(self, node: Node | None, index: Index) -> HistoryLost | None:
        """
        Go on from the present state, as the history does not reach back to here, and return that for the consumer;
        C{None} if it shows that nothing was lost.

        @param node: what is at the key; C{None} for nothing.
        """
        if node is not None and self._is_one_key(node) and node.modified_index < (self.next_index or 0):
            self.next_index = index.etcd_index + 1
            return None
        return self._lose(node, index)

    def go_on_beside_connection(self, node: Node | None, index: Index) -> tuple[bool, HistoryLost | None]:
        """
        Go on from the present state if that shows more than a quiet connection has brought, where the history does not
        reach back to here: its machine may be gone without a sign.

        @param node: what is at the key; C{None} for nothing.
        @return: whether the watch goes on from there, and what that is for the consumer. Otherwise nothing speaks
            against the old connection.
        """
        if self.is_ahead_of(index):
            return False, None
        next_index = self.next_index or 0
        if node is None:
            shows_more = not self._is_gone
        else:
            shows_more = any(each.modified_index >= next_index for each in node.walk())
        if shows_more:
            return True, self._lose(node, index)
        if node is None or not self._is_one_key(node):
            return False, None
        self.next_index = index.etcd_index + 1
        return True, None

    def _is_one_key(self, node: Node) -> bool:
        """Returns whether the state shows every change that matters: of what is below, it shows no deletion."""
        return not (self._recursive or node.directory)

    def _lose(self, node: Node | None, index: Index) -> HistoryLost:
        self.next_index = index.etcd_index + 1
        self._is_gone = node is None
        return HistoryLost(node, index)
