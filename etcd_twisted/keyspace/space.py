"""
The key space: commands in, events or errors out.

The state machine of the Raft paper (section 2): the same commands in the same order give the same tree, the same
events and the same errors everywhere. Must never read a clock; a command brings its time along.
"""

import copy
from collections.abc import Callable
from typing import Any, ClassVar, overload

import attrs
import msgspec

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.keyspace import commands, tree
from etcd_twisted.keyspace.events import Answer, Event, NodeView, view
from etcd_twisted.keyspace.expiry import ExpirySchedule
from etcd_twisted.keyspace.history import HISTORY_BYTES, History
from etcd_twisted.keyspace.nodes import EMPTY_ROOT, Directory, File, Node, empty_directory
from etcd_twisted.keyspace.paths import ROOT, join
from etcd_twisted.keyspace.removed import Removed
from etcd_twisted.keyspace.statistics import CommandCounts, StoreStatistics
from etcd_twisted.keyspace.watchers import Watcher, WatcherHub

_Report = Callable[[str, NodeView, NodeView | None], Event]
_LOOKS = 1_000
_Placing = commands.Set | commands.Create | commands.CreateInOrder
_Retiming = commands.Update | commands.Refresh | commands.CompareAndSwap


@attrs.frozen
class Content:
    """Everything in a key space at one moment; it stays as it is while the key space goes on."""

    root: Directory
    index: int
    counts: CommandCounts
    history: tuple[Event, ...]
    cleared: int


class KeySpace:
    """
    A tree of keys, its index, its last events and its watchers.

    @ivar root: the tree; never changed, only replaced.
    @ivar index: raised by one by each change that succeeds, and by nothing else.
    @ivar ttls: when the TTL of each key that has one ends, as far as that is known; to be looked at only.
    @ivar removed: directories that are gone, as far as L{forget_removed} has still to look at them.
    """

    def __init__(
        self,
        history_capacity: int = 1_000,
        wake: Callable[[], None] = lambda: None,
        history_bytes: int = HISTORY_BYTES,
    ) -> None:
        """
        @param history_capacity: how many events are kept for watchers that ask from an index on.
        @param wake: called when there are events to deliver to watchers.
        @param history_bytes: how large these events may be together.
        """
        self.root = EMPTY_ROOT
        self.index = 0
        self.hub = WatcherHub(wake)
        self._capacity = history_capacity
        self._history_bytes = history_bytes
        self._history = History(history_capacity, most_bytes=history_bytes)
        self.removed = Removed()
        self._schedule = ExpirySchedule()
        self.ttls = self._schedule.times
        self._counts = CommandCounts()
        self._gets_success = 0
        self._gets_fail = 0

    # Reading

    def get(self, key: str) -> Node:
        """
        The node at C{key}, for a client.

        @raise EtcdError: 100 or 104, see L{tree.find}.
        """
        try:
            node = tree.find(self.root, key)
        except EtcdError as error:
            self._gets_fail += 1
            error.index = self.index
            raise
        self._gets_success += 1
        return node

    def watch(
        self,
        key: str,
        recursive: bool,
        stream: bool,
        since: int | None,
        deliver: Callable[[Event], None],
        end: Callable[[], None] | None = None,
    ) -> Watcher:
        """
        Have C{deliver} called with the first event that touches C{key}, or with C{stream} every one.

        Not before this returns, and not when the watcher was cancelled meanwhile.

        @param since: the first index to see, which may be past or to come; C{None} for the next change.
        @param end: called when the watcher is told nothing more, since what it waits for may have been missed.
        @raise EtcdError: 401 when events from C{since} on are not kept any more.
        """
        first = self.index + 1 if since is None else since
        try:
            past = self._history.since(first, key, recursive)
        except EtcdError as error:
            error.index = self.index
            raise
        watcher = self.hub.watch(key, recursive, stream, first, deliver, end)
        watcher.joined = self.index
        for event in past:
            self.hub.queue(watcher, event)
            if not stream:
                break
        return watcher

    def next_expiry(self) -> int | None:
        """
        When the next key expires, in microseconds since the epoch; C{None} when none does.

        Too early when more than L{_LOOKS} keys with a TTL went with their directories: each call forgets so many.
        """
        for _ in range(_LOOKS):
            first = self._schedule.first()
            if first is None:
                return None
            expires, key = first
            if self._expiring(key, expires) is not None:
                return expires
            self._schedule.note(key, None)
        return expires

    def statistics(self) -> StoreStatistics:
        """The counters as they stand."""
        counts = {field: getattr(self._counts, field) for field in CommandCounts.__struct_fields__}
        return StoreStatistics(
            **counts, gets_success=self._gets_success, gets_fail=self._gets_fail, watchers=self.hub.count
        )

    def content(self) -> Content:
        """What a snapshot has to hold, as it is at this moment."""
        return Content(self.root, self.index, copy.copy(self._counts), tuple(self._history), self._history.cleared)

    def restore(self, content: Content, schedule: ExpirySchedule) -> None:
        """
        Become what a snapshot holds. Watchers are told what has happened meanwhile; when the snapshot does not say all
        of that, they end.
        """
        before = self.index
        self.root = content.root
        self.index = content.index
        self._counts = copy.copy(content.counts)
        self._history = History(self._capacity, content.history, content.cleared, self._history_bytes)
        self._schedule = schedule
        self.ttls = schedule.times
        self.removed = Removed()
        if content.cleared > before:
            self.hub.end_all()
            return
        for event in content.history:
            if event.index > before:
                self.hub.notify(event)

    # Changing

    def in_earlier_commands(self, command: commands.Change) -> commands.Change:
        """
        What does the same to the tree as it is now with a command that each version knows; but for L{commands.SetTtl},
        whose answer is then an update's.
        """
        if isinstance(command, commands.SetOrSwap):
            return self._set_or_swap(command)
        if isinstance(command, commands.SetTtl):
            return commands.Refresh(command.key, command.time, command.expires)
        return command

    @overload
    def apply(self, command: commands.Change) -> Event: ...

    @overload
    def apply(self, command: commands.Command) -> Event | None: ...

    def apply(self, command: commands.Command) -> Event | None:
        """
        Carry a command out.

        @return: what it did; C{None} for L{commands.Expire}, which answers nobody.
        @raise EtcdError: why it did nothing.
        """
        known = self._APPLY.get(type(command))
        if known is None:
            if isinstance(command, commands.SetOrSwap):
                return self.apply(self._set_or_swap(command))
            if isinstance(command, commands.Expire):
                self._expire(command)
                return None
            raise TypeError(f"{command!r} is not a command")
        apply, success, failure = known
        counts = self._counts
        try:
            event = apply(self, command)
        except EtcdError as error:
            error.index = self.index
            setattr(counts, failure, getattr(counts, failure) + 1)
            raise
        setattr(counts, success, getattr(counts, success) + 1)
        return event

    def _set(self, command: commands.Set) -> Event:
        way = tree.walk(self.root, command.key)
        if way.node is not None and not isinstance(way.node, File):
            raise EtcdError(ErrorCode.NOT_A_FILE, command.key)
        return self._place("set", command, way)

    def _create(self, command: commands.Create) -> Event:
        return self._place_anew(command, command.key)

    def _create_in_order(self, command: commands.CreateInOrder) -> Event:
        return self._place_anew(command, join(command.key, str(self.index + 1)))

    def _place_anew(self, command: commands.Create | commands.CreateInOrder, key: str) -> Event:
        """Put a new node at C{key}, where nothing may be."""
        way = tree.walk(self.root, key)
        if way.node is not None:
            raise EtcdError(ErrorCode.KEY_EXISTS, key)
        return self._place("create", command, way)

    def _place(self, action: str, command: _Placing, way: tree.Way, report: _Report | None = None) -> Event:
        """
        Put a new node at the end of the way, whatever was there.

        @param report: L{_unseen}, or C{None} for L{_happened}.
        """
        key, index, time, expires = way.key, self.index + 1, command.time, command.expires
        node = empty_directory(index, expires) if command.directory else File(command.value, index, index, expires)
        self.root = tree.put(way, node, index)
        self._note(key, expires)
        previous = None if way.node is None else view(key, way.node, time)
        return (report or self._happened)(action, view(key, node, time), previous)

    def _set_ttl(self, command: commands.SetTtl) -> Event:
        way = tree.walk(self.root, command.key)
        node = tree.there(way)
        if not isinstance(node, File):
            raise EtcdError(ErrorCode.NOT_A_FILE, command.key)
        anew = commands.Set(command.key, command.time, node.value, False, command.expires)
        return self._place("set", anew, way, self._unseen)

    def _set_or_swap(self, command: commands.SetOrSwap) -> commands.Set | commands.CompareAndSwap:
        """Returns the command that this one amounts to; both fail alike where its key can't be reached."""
        try:
            is_there = tree.walk(self.root, command.key).node is not None
        except EtcdError:
            is_there = True
        if is_there:
            return commands.CompareAndSwap(command.key, command.time, command.value, command.expires)
        value = "" if command.directory else command.value
        return commands.Set(command.key, command.time, value, command.directory, command.expires)

    def _update(self, command: commands.Update) -> Event:
        way = tree.walk(self.root, command.key)
        node = tree.there(way)
        if isinstance(node, File):
            return self._rewrite("update", command, way, command.value, self._happened)
        if command.value and not command.directory:
            raise EtcdError(ErrorCode.NOT_A_FILE, command.key)
        return self._retime(command, way, node, self._happened)

    def _refresh(self, command: commands.Refresh) -> Event:
        way = tree.walk(self.root, command.key)
        node = tree.there(way)
        if isinstance(node, File):
            return self._rewrite("update", command, way, node.value, self._unseen)
        return self._retime(command, way, node, self._unseen)

    def _compare_and_swap(self, command: commands.CompareAndSwap) -> Event:
        way = tree.walk(self.root, command.key)
        node = _compared(command, way)
        if command.value is None:
            return self._rewrite("compareAndSwap", command, way, node.value, self._unseen)
        return self._rewrite("compareAndSwap", command, way, command.value, self._happened)

    def _rewrite(self, action: str, command: _Retiming, way: tree.Way, value: str, report: _Report) -> Event:
        """Give the file at the end of the way a value and a TTL."""
        node = tree.there(way)
        changed = File(value, node.created, self.index + 1, command.expires)
        self.root = tree.put(way, changed, self.index + 1)
        self._note(command.key, command.expires)
        return report(action, view(command.key, changed, command.time), view(command.key, node, command.time))

    def _retime(self, command: _Retiming, way: tree.Way, node: Directory, report: _Report) -> Event:
        """
        Give C{node}, a directory, a TTL. The answer shows the new index; the directory keeps its own, as in the
        reference.
        """
        changed = msgspec.structs.replace(node, expires=command.expires)
        self.root = tree.put(way, changed, self.index + 1)
        self._note(command.key, command.expires)
        shown = msgspec.structs.replace(changed, modified=self.index + 1)
        return report("update", view(command.key, shown, command.time), view(command.key, node, command.time))

    def _delete(self, command: commands.Delete) -> Event:
        way = tree.walk(self.root, command.key)
        node = tree.there(way)
        if not isinstance(node, File):
            if not (command.directory or command.recursive):
                raise EtcdError(ErrorCode.NOT_A_FILE, command.key)
            if node.children and not command.recursive:
                raise EtcdError(ErrorCode.DIRECTORY_NOT_EMPTY, command.key)
        return self._take_away("delete", way, command.time, not isinstance(node, File))

    def _compare_and_delete(self, command: commands.CompareAndDelete) -> Event:
        if command.key == ROOT:
            raise EtcdError(ErrorCode.NOT_A_FILE, ROOT)  # as for every directory, though nothing else changes the root
        way = tree.walk(self.root, command.key)
        _compared(command, way)
        return self._take_away("compareAndDelete", way, command.time, False)

    def _note(self, key: str, expires: int | None) -> None:
        """Have a key expire; as more keys do, those that went with their directories are forgotten bit by bit."""
        if expires is not None or key in self.ttls:
            self._schedule.note(key, expires)
        if expires is not None and self.removed.roots:
            self.forget_removed(4)

    def forget_removed(self, most: int) -> None:
        """
        Forget TTLs of what went with directories that were removed. Changes nothing that anybody sees.

        @param most: how much of it is looked at, as in L{Removed.look}.
        """
        for key, expires in self.removed.look(most):
            if self._schedule.end_of(key) == expires and self._expiring(key, expires) is None:
                self._schedule.note(key, None)

    def _expire(self, command: commands.Expire) -> None:
        left = command.limit
        while left > 0 and (first := self._schedule.first()) is not None and first[0] <= command.time:
            expires, key = first
            way = self._expiring(key, expires)
            if way is None:
                self._schedule.note(key, None)
                continue
            self._take_away("expire", way, command.time, False)
            self._counts.expire_count += 1
            left -= 1

    def _expiring(self, key: str, expires: int) -> tree.Way | None:
        """The way to the node whose TTL ends as noted; C{None} when it went with a directory that was removed."""
        try:
            way = tree.walk(self.root, key)
        except EtcdError:  # a file stands where the key's directory was
            return None
        return way if way.node is not None and way.node.expires == expires else None

    def _take_away(self, action: str, way: tree.Way, time: int, show_directory: bool) -> Event:
        key, node = way.key, tree.there(way)
        self.root = tree.remove(way)
        self._schedule.note(key, None)
        if isinstance(node, Directory) and node.children:
            self.removed.add(key, node)
        gone = NodeView(key, None, show_directory, None, 0, self.index + 1, node.created)
        return self._happened(action, gone, view(key, node, time))

    def _happened(self, action: str, node: NodeView, previous: NodeView | None) -> Event:
        """A change that everyone may see."""
        event = self._unseen(action, node, previous)
        self._history.add(event)
        self.hub.notify(event)
        return event

    def _unseen(self, action: str, node: NodeView, previous: NodeView | None) -> Event:
        """A change that only the one who asked for it sees."""
        self.index += 1
        return Event(Answer(action, node, previous))

    _APPLY: ClassVar[dict[type[commands.Command], tuple[Callable[["KeySpace", Any], Event], str, str]]] = {
        kind: (apply, counter + "_success", counter + "_fail")
        for kind, apply, counter in (
            (commands.Set, _set, "sets"),
            (commands.Create, _create, "create"),
            (commands.CreateInOrder, _create_in_order, "create"),
            (commands.Update, _update, "update"),
            (commands.Refresh, _refresh, "update"),
            (commands.SetTtl, _set_ttl, "sets"),
            (commands.CompareAndSwap, _compare_and_swap, "compare_and_swap"),
            (commands.Delete, _delete, "delete"),
            (commands.CompareAndDelete, _compare_and_delete, "compare_and_delete"),
        )
    }


def _compared(command: commands.CompareAndSwap | commands.CompareAndDelete, way: tree.Way) -> File:
    """The file that a command is about, when it is as the command expects."""
    node = tree.there(way)
    if not isinstance(node, File):
        raise EtcdError(ErrorCode.NOT_A_FILE, command.key)
    failed = []
    if command.previous_value is not None and command.previous_value != node.value:
        failed.append(f"[{command.previous_value} != {node.value}]")
    if command.previous_index not in (0, node.modified):
        failed.append(f"[{command.previous_index} != {node.modified}]")
    if failed:
        raise EtcdError(ErrorCode.COMPARE_FAILED, " ".join(failed))
    return node
