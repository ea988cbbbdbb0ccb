"""
What a key space holds, and what can be asked of it.

It also hands all of that out for a snapshot, and takes it over from one. This module must never carry out a command,
nor let anybody have a tree that a later change touches.
"""

import copy
from collections.abc import Callable

from etcd_twisted.errors import EtcdError
from etcd_twisted.keyspace import commands, tree
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.expiry import ExpirySchedule, RemovedDirectories
from etcd_twisted.keyspace.growth import growth
from etcd_twisted.keyspace.history import DEFAULT_HISTORY_BYTES, History
from etcd_twisted.keyspace.nodes import EMPTY_ROOT, Directory, Node
from etcd_twisted.keyspace.state import KeySpaceState
from etcd_twisted.keyspace.statistics import CommandCounts, StoreStatistics
from etcd_twisted.keyspace.watchers import Watcher, WatcherHub


class KeySpaceContent:
    """
    A tree of keys, its index, its last events and its watchers.

    @ivar index: grows by one with each change that succeeds, and with nothing else.
    @ivar ttls: when the TTL of each key ends, including those of removed directories until they are forgotten. For
        reading only.
    @ivar hub: the watchers.
    @ivar pads_in_order_keys: whether the names of new in-order keys have 20 digits, with zeros in front.
    @ivar removed_directories: the directories whose TTLs are not forgotten yet.
    @ivar cluster_keys_mark: another object is there after each change below C{/_etcd}, and after L{restore}. So
        whoever has read a key there need not read it again as long as the object is the same.
    """

    def __init__(
        self,
        history_capacity: int = 1_000,
        wake: Callable[[], None] = lambda: None,
        history_bytes: int = DEFAULT_HISTORY_BYTES,
    ) -> None:
        """
        @param history_capacity: how many events are kept for watchers that begin at an earlier index.
        @param wake: called when there are events to deliver to watchers.
        @param history_bytes: how large these events may be together, in bytes.
        """
        # The tree, and the object that owns it, see tree.py. As it is changed in place, nobody else may have it.
        self._root, self._owner = EMPTY_ROOT, object()
        self.cluster_keys_mark, self.index = object(), 0
        self.hub = WatcherHub(wake)
        self.pads_in_order_keys = False
        self._capacity, self._history_bytes = history_capacity, history_bytes
        self._history = History(history_capacity, max_bytes=history_bytes)
        self.removed_directories = RemovedDirectories()
        self._schedule = ExpirySchedule()
        self.ttls = self._schedule.times
        self._counts = CommandCounts()
        self._gets_success = self._gets_fail = 0

    @property
    def root(self) -> Directory:
        """
        The tree as it is now, for good: no later change touches it. This takes no longer for a large tree, but the
        next change copies directories. So what is done for each request must not ask for it.
        """
        self._owner = object()
        return self._root

    @property
    def size(self) -> int:
        """The size of all nodes, in bytes; see L{etcd_twisted.keyspace.sizes}."""
        return self._root.size

    def growth(self, command: commands.Change) -> int:
        """Returns how many bytes a command adds to the tree, see L{etcd_twisted.keyspace.growth.growth}."""
        return growth(self._root, command)

    def peek(self, key: str) -> Node | None:
        """Returns the node at C{key}, or C{None}, without counting the read. Later changes may touch a directory."""
        try:
            return tree.look_up(self._root, key).node
        except EtcdError:
            return None

    def get(self, key: str) -> Node:
        """
        Returns the node at C{key}, which no later change touches, and counts the read.

        @raise EtcdError: 100 or 104, see L{tree.find}.
        """
        try:
            node = tree.find(self._root, key)
        except EtcdError as error:
            self._gets_fail += 1
            error.index = self.index
            raise
        self._gets_success += 1
        if type(node) is Directory:
            self._owner = object()  # as for L{root}
        return node

    def in_order_name(self, index: int) -> str:
        """Returns the name of an in-order key that is created at C{index}."""
        return f"{index:020}" if self.pads_in_order_keys else str(index)

    def reads(self) -> int:
        """Returns how many calls of L{get} there were."""
        return self._gets_success + self._gets_fail

    def watch(
        self,
        key: str,
        recursive: bool,
        stream: bool,
        since: int | None,
        deliver: Callable[[Event], None],
        end: Callable[[], None] | None = None,
        counted: bool = True,
    ) -> Watcher:
        """
        Call C{deliver} with the first event that touches C{key}, or with every one if C{stream} is true.

        C{deliver} is called after this method has returned, and never once the watcher is cancelled.

        @param since: the first index of interest, which may be in the past or in the future; C{None} for the next
            change.
        @param end: called when the watcher gets no more events because it may have missed some.
        @param counted: whether it counts as one of the clients' watchers.
        @raise EtcdError: 401 when the events from C{since} on are no longer kept.
        """
        first = self.index + 1 if since is None else since
        try:
            past = self._history.since(first, key, recursive)
        except EtcdError as error:
            error.index = self.index
            raise
        watcher = self.hub.watch(key, recursive, stream, first, deliver, end, counted)
        watcher.start_index = self.index
        for event in past:
            self.hub.queue(watcher, event)
            if not stream:
                break
        return watcher

    def statistics(self) -> StoreStatistics:
        """Returns the counters as they are now."""
        counts = {field: getattr(self._counts, field) for field in CommandCounts.__struct_fields__}
        return StoreStatistics(
            **counts, gets_success=self._gets_success, gets_fail=self._gets_fail, watchers=self.hub.count
        )

    def state(self) -> KeySpaceState:
        """Returns everything that a snapshot has to hold, as it is now. This takes no longer for a large tree."""
        contents = self.root, self.index, copy.copy(self._counts), tuple(self._history), self._history.cleared_index
        return KeySpaceState(*contents, self.pads_in_order_keys)

    def restore(self, state: KeySpaceState, schedule: ExpirySchedule) -> None:
        """
        Take over the state that was loaded from a snapshot.

        Watchers are told of every change since; when the snapshot no longer has all of these events, they end.

        @param schedule: the TTLs of the nodes in it.
        """
        before = self.index
        self._root, self._owner = state.root, object()
        self.cluster_keys_mark, self.index = object(), state.index
        self.pads_in_order_keys = state.pads_in_order_keys
        self._counts = copy.copy(state.counts)
        self._history = History(self._capacity, state.history, state.cleared_index, self._history_bytes)
        self._schedule, self.ttls = schedule, schedule.times
        self.removed_directories = RemovedDirectories()
        if state.cleared_index > before:
            self.hub.end_all()
            return
        for event in state.history:
            if event.index > before:
                self.hub.notify(event)
