"""
The key space: commands in, events or errors out.

The state machine of the Raft paper (section 2): the same commands in the same order give the same tree, the same
events and the same errors on every machine. This module must never read a clock; each command carries its time.
"""

from collections.abc import Callable, Sequence
from typing import Any, overload

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.keyspace import commands, tree
from etcd_twisted.keyspace.batches import put_files
from etcd_twisted.keyspace.content import KeySpaceContent
from etcd_twisted.keyspace.events import ActionResult, Event, NodeView, view
from etcd_twisted.keyspace.nodes import EMPTY_ROOT, Directory, File, empty_directory
from etcd_twisted.keyspace.paths import CLUSTER_KEYS, ROOT, join

_MAX_VOID_TTLS = 1_000
"""How many void TTLs one call of L{KeySpace.next_expiry} forgets at most."""

_STEPS_PER_TTL = 4
"""How many steps a new TTL pays towards forgetting the TTLs of removed directories."""

Outcome = Event | EtcdError | None
"""What becomes of a command, see L{KeySpace.apply}."""

_MakeEvent = Callable[[str, NodeView, NodeView | None], Event]
_PutCommand = commands.Set | commands.Create | commands.CreateInOrder
_UpdateCommand = commands.Update | commands.Refresh | commands.CompareAndSwap


class KeySpace(KeySpaceContent):
    """A key space that commands change."""

    def as_earlier_command(self, command: commands.Change) -> commands.Change:
        """
        Returns a command that every version knows and that does the same to the tree as it is now. In place of
        L{commands.SetTtl} it is a refresh, whose event says C{update} instead of C{set}.
        """
        if isinstance(command, commands.SetOrSwap):
            return self._resolve_set_or_swap(command)
        if isinstance(command, commands.SetTtl):
            return commands.Refresh(command.key, command.time, command.expires)
        return command

    @overload
    def apply(self, command: commands.Change) -> Event: ...

    @overload
    def apply(self, command: commands.Command) -> Event | None: ...

    def apply(self, command: commands.Command) -> Event | None:
        """
        Carry out a command.

        @return: what it did; C{None} for L{commands.Expire} and L{commands.PadInOrderKeys}, which nobody waits for.
        @raise EtcdError: why it did nothing.
        """
        outcomes: list[Outcome] = []
        self.apply_all((command,), outcomes)
        if isinstance(outcomes[0], EtcdError):
            raise outcomes[0]
        return outcomes[0]

    def apply_all(self, several: Sequence[commands.Command], outcomes: list[Outcome]) -> None:
        """
        Carry out commands in order, and add the outcome of each to C{outcomes}: what L{apply} returns or raises.

        If this raises an exception, the outcomes are missing of the command that has caused it, of those after it, and
        maybe of some before it.
        """
        done, end = 0, len(several)
        while done < end:
            if type(several[done]) is commands.Set and (events := self._put_files(several, done)):
                outcomes += events
                done += len(events)
            else:
                outcomes.append(self._outcome(several[done]))
                done += 1

    def _put_files(self, several: Sequence[commands.Command], start: int) -> list[Event]:
        """Carry out some of these commands, or none; see L{put_files}. Returns the events of those."""
        self._root, events, sizes = put_files(self._root, self._owner, self.index, self.ttls, several, start)
        if events:
            self.index += len(events)
            self._counts.sets_success += len(events)
            self._history.extend(events, sizes)
            if self.hub.watched:
                for event in events:
                    self.hub.notify(event)
        return events

    def _outcome(self, command: commands.Command) -> Outcome:
        """Carry out one command, and return its outcome."""
        entry = _APPLY.get(type(command))
        if entry is None:
            if isinstance(command, commands.SetOrSwap):
                return self._outcome(self._resolve_set_or_swap(command))
            if isinstance(command, commands.Expire):
                self._expire(command)
            elif isinstance(command, commands.PadInOrderKeys):
                self.pads_in_order_keys = True
            else:
                raise TypeError(f"{command!r} is not a command")
            return None
        apply, success, failure = entry
        counts = self._counts
        try:
            event = apply(self, command)
        except EtcdError as error:
            error.index = self.index
            setattr(counts, failure, getattr(counts, failure) + 1)
            return error.with_traceback(None)  # which would refer to whoever keeps the outcomes
        setattr(counts, success, getattr(counts, success) + 1)
        return event

    def _set(self, command: commands.Set) -> Event:
        lookup = tree.look_up(self._root, command.key)
        if lookup.node is not None and not isinstance(lookup.node, File):
            raise EtcdError(ErrorCode.NOT_A_FILE, command.key)
        return self._put("set", command, lookup)

    def _create(self, command: commands.Create) -> Event:
        return self._put_new(command, command.key)

    def _create_in_order(self, command: commands.CreateInOrder) -> Event:
        return self._put_new(command, join(command.key, self.in_order_name(self.index + 1)))

    def _put_new(self, command: commands.Create | commands.CreateInOrder, key: str) -> Event:
        """Put a new node at C{key}, where nothing may be yet."""
        lookup = tree.look_up(self._root, key)
        if lookup.node is not None:
            raise EtcdError(ErrorCode.KEY_EXISTS, key)
        return self._put("create", command, lookup)

    def _put(
        self, action: str, command: _PutCommand, lookup: tree.Lookup, make_event: _MakeEvent | None = None
    ) -> Event:
        """
        Put a new node at the key, whatever was there before.

        @param make_event: L{_silent_event}, or C{None} for L{_published_event}.
        """
        key, index, time, expires = lookup.key, self.index + 1, command.time, command.expires
        node = empty_directory(index, expires) if command.directory else File(command.value, index, index, expires)
        self._root = tree.put(lookup, node, index, self._owner)
        if expires is not None or key in self.ttls:
            self._schedule_expiry(key, expires)
        previous = None if lookup.node is None else view(key, lookup.node, time)
        if make_event is None:
            return self._published_event(action, view(key, node, time), previous)
        return make_event(action, view(key, node, time), previous)

    def _set_ttl(self, command: commands.SetTtl) -> Event:
        lookup = tree.look_up(self._root, command.key)
        node = tree.existing(lookup)
        if not isinstance(node, File):
            raise EtcdError(ErrorCode.NOT_A_FILE, command.key)
        rewritten = commands.Set(command.key, command.time, node.value, False, command.expires)
        return self._put("set", rewritten, lookup, self._silent_event)

    def _resolve_set_or_swap(self, command: commands.SetOrSwap) -> commands.Set | commands.CompareAndSwap:
        """Returns the command that this one amounts to. Where the key can't be reached, both would fail alike."""
        try:
            is_there = tree.look_up(self._root, command.key).node is not None
        except EtcdError:
            is_there = True
        if is_there:
            return commands.CompareAndSwap(command.key, command.time, command.value, command.expires)
        value = "" if command.directory else command.value
        return commands.Set(command.key, command.time, value, command.directory, command.expires)

    def _update(self, command: commands.Update) -> Event:
        lookup = tree.look_up(self._root, command.key)
        node = tree.existing(lookup)
        if isinstance(node, File):
            return self._update_file("update", command, lookup, command.value, self._published_event)
        if command.value and not command.directory:
            raise EtcdError(ErrorCode.NOT_A_FILE, command.key)
        return self._update_directory(command, lookup, node, self._published_event)

    def _refresh(self, command: commands.Refresh) -> Event:
        lookup = tree.look_up(self._root, command.key)
        node = tree.existing(lookup)
        if isinstance(node, File):
            return self._update_file("update", command, lookup, node.value, self._silent_event)
        return self._update_directory(command, lookup, node, self._silent_event)

    def _compare_and_swap(self, command: commands.CompareAndSwap) -> Event:
        lookup = tree.look_up(self._root, command.key)
        node = _matching_file(command, lookup)
        if command.value is None:
            return self._update_file("compareAndSwap", command, lookup, node.value, self._silent_event)
        return self._update_file("compareAndSwap", command, lookup, command.value, self._published_event)

    def _update_file(
        self, action: str, command: _UpdateCommand, lookup: tree.Lookup, value: str, make_event: _MakeEvent
    ) -> Event:
        """Give the file at the key another value and TTL."""
        node = tree.existing(lookup)
        changed = File(value, node.created, self.index + 1, command.expires)
        self._root = tree.put(lookup, changed, self.index + 1, self._owner)
        self._schedule_expiry(command.key, command.expires)
        return make_event(action, view(command.key, changed, command.time), view(command.key, node, command.time))

    def _update_directory(
        self, command: _UpdateCommand, lookup: tree.Lookup, node: Directory, make_event: _MakeEvent
    ) -> Event:
        """
        Give the directory C{node} another TTL. The event shows the new index, but the directory keeps its modified
        index, as in the reference.
        """
        previous = view(command.key, node, command.time)
        self._root = tree.change_ttl(lookup, node, command.expires, self._owner)
        self._schedule_expiry(command.key, command.expires)
        shown = Directory(EMPTY_ROOT.entries, node.created, self.index + 1, command.expires)
        return make_event("update", view(command.key, shown, command.time), previous)

    def _delete(self, command: commands.Delete) -> Event:
        lookup = tree.look_up(self._root, command.key)
        node = tree.existing(lookup)
        if not isinstance(node, File):
            if not (command.directory or command.recursive):
                raise EtcdError(ErrorCode.NOT_A_FILE, command.key)
            if node.entries and not command.recursive:
                raise EtcdError(ErrorCode.DIRECTORY_NOT_EMPTY, command.key)
        return self._remove("delete", lookup, command.time, not isinstance(node, File))

    def _compare_and_delete(self, command: commands.CompareAndDelete) -> Event:
        if command.key == ROOT:
            # The error for every directory, although no other command gets beyond 107 for the root.
            raise EtcdError(ErrorCode.NOT_A_FILE, ROOT)
        lookup = tree.look_up(self._root, command.key)
        _matching_file(command, lookup)
        return self._remove("compareAndDelete", lookup, command.time, False)

    def next_expiry(self) -> int | None:
        """
        Returns when the next key expires, in microseconds since the epoch, or C{None} when no key has a TTL.

        The time is too early when more than L{_MAX_VOID_TTLS} keys went with their directories and would have expired
        before that key. Each call forgets so many.
        """
        for _ in range(_MAX_VOID_TTLS):
            first = self._schedule.first()
            if first is None:
                return None
            expires, key = first
            if self._expiring(key, expires) is not None:
                return expires
            self._schedule.set(key, None)
        return expires

    def _schedule_expiry(self, key: str, expires: int | None) -> None:
        """Note when a key expires. Each new TTL also pays for forgetting a few of those of removed directories."""
        if expires is not None or key in self.ttls:
            self._schedule.set(key, expires)
        if expires is not None and self.removed_directories.roots:
            self.forget_removed_ttls(_STEPS_PER_TTL)

    def forget_removed_ttls(self, max_steps: int) -> None:
        """
        Forget TTLs of nodes that went with removed directories. This changes nothing that a client can see.

        @param max_steps: see L{RemovedDirectories.walk}.
        """
        for key, expires in self.removed_directories.walk(max_steps):
            if self._schedule.get(key) == expires and self._expiring(key, expires) is None:
                self._schedule.set(key, None)

    def _expire(self, command: commands.Expire) -> None:
        remaining = command.limit
        while remaining > 0 and (first := self._schedule.first()) is not None and first[0] <= command.time:
            expires, key = first
            lookup = self._expiring(key, expires)
            if lookup is None:
                self._schedule.set(key, None)
                continue
            self._remove("expire", lookup, command.time, False)
            self._counts.expire_count += 1
            remaining -= 1

    def _expiring(self, key: str, expires: int) -> tree.Lookup | None:
        """Returns the node whose TTL ends at that time, or C{None} if it went with a removed directory."""
        try:
            lookup = tree.look_up(self._root, key)
        except EtcdError:  # a file stands where the key's directory was
            return None
        return lookup if lookup.node is not None and lookup.node.expires == expires else None

    def _remove(self, action: str, lookup: tree.Lookup, time: int, show_directory: bool) -> Event:
        key, node = lookup.key, tree.existing(lookup)
        self._root = tree.remove(lookup, self._owner)
        self._schedule.set(key, None)
        if isinstance(node, Directory) and node.entries:
            self.removed_directories.add(key, node)
        removed = NodeView(key, None, show_directory, None, 0, self.index + 1, node.created)
        return self._published_event(action, removed, view(key, node, time))

    def _published_event(self, action: str, node: NodeView, previous: NodeView | None) -> Event:
        """Returns the event of a change, which watchers see too."""
        event = self._silent_event(action, node, previous)
        self._history.add(event)
        if self.hub.watched:
            self.hub.notify(event)
        return event

    def _silent_event(self, action: str, node: NodeView, previous: NodeView | None) -> Event:
        """Returns the event of a change that no watcher sees, but only the client that asked for it."""
        self.index += 1
        if node.key.startswith(CLUSTER_KEYS):
            self.cluster_keys_mark = object()
        return Event(ActionResult(action, node, previous))


_APPLY: dict[type[commands.Command], tuple[Callable[[KeySpace, Any], Event], str, str]] = {
    kind: (apply, counter + "_success", counter + "_fail")
    for kind, apply, counter in (
        (commands.Set, KeySpace._set, "sets"),
        (commands.Create, KeySpace._create, "create"),
        (commands.CreateInOrder, KeySpace._create_in_order, "create"),
        (commands.Update, KeySpace._update, "update"),
        (commands.Refresh, KeySpace._refresh, "update"),
        (commands.SetTtl, KeySpace._set_ttl, "sets"),
        (commands.CompareAndSwap, KeySpace._compare_and_swap, "compare_and_swap"),
        (commands.Delete, KeySpace._delete, "delete"),
        (commands.CompareAndDelete, KeySpace._compare_and_delete, "compare_and_delete"),
    )
}
"""How each command is carried out, and the counters of its successes and failures."""


def _matching_file(command: commands.CompareAndSwap | commands.CompareAndDelete, lookup: tree.Lookup) -> File:
    """
    Returns the file that a command is about.

    @raise EtcdError: 100, 102, or 101 when the file is not as the command expects.
    """
    node = tree.existing(lookup)
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
