"""
A small key space that is obviously right, with which the real one is compared.

It is written from the specification (spec, section 1): a plain dictionary from whole keys to entries, no tree, and
every question is answered by looking at all of it. It shares the commands with the real key space and nothing else.
"""

import datetime
import decimal
import fractions
import functools
import math
from collections import Counter
from typing import Any

import attrs

from etcd_twisted.keyspace import commands

SECOND = 1_000_000

Json = dict[str, Any]


@attrs.frozen
class Entry:
    """A file, or a directory if there is no value."""

    value: str | None
    created: int
    modified: int
    expires: int | None

    @property
    def is_directory(self) -> bool:
        return self.value is None


@attrs.frozen
class RefusedError(Exception):
    """The error that a command results in."""

    code: int
    cause: str
    index: int


@attrs.frozen
class Seen:
    """
    An event that watchers see.

    @ivar gone: the key of the directory that it removed.
    """

    index: int
    key: str
    gone: str | None
    answer: Json


def prefixes(key: str) -> list[str]:
    """Returns the keys from the top down to C{key} itself."""
    names = key.split("/")[1:]
    return ["/" + "/".join(names[: n + 1]) for n in range(len(names))]


def below(key: str, directory: str) -> bool:
    """Returns whether C{key} is somewhere in C{directory}."""
    return key != "/" and (directory == "/" or key.startswith(directory + "/"))


def show(key: str, entry: Entry, now: int) -> Json:
    """Returns a node as an answer shows it, without its children."""
    shown: Json = {"key": key}
    if entry.value is not None:
        shown["value"] = entry.value
    else:
        shown["dir"] = True
    if entry.expires is not None:
        moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=entry.expires)
        shown["expiration"] = moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        left = math.ceil(fractions.Fraction(entry.expires - now, SECOND))
        if left > 0:
            shown["ttl"] = left
    shown["modifiedIndex"] = entry.modified
    shown["createdIndex"] = entry.created
    return shown


def place(name: str) -> tuple[int, decimal.Decimal, str]:
    """Returns the sort key of a name in a listing: whole numbers come first, by value, then the rest by code point."""
    if name and set(name) <= set("0123456789"):
        return (0, decimal.Decimal(name), name)
    return (1, decimal.Decimal(0), name)


def sees(event: Seen, key: str, recursive: bool) -> bool:
    """Returns whether a watcher of C{key} sees an event (spec, "Watch")."""
    if event.key == key:
        return True
    if event.gone is not None and below(key, event.gone):
        return True
    if recursive and below(event.key, key):
        names = event.key[len(key.rstrip("/")) :].split("/")
        return not any(name.startswith("_") for name in names)
    return False


class Model:
    """
    The model of the key space.

    @ivar index: the key space's index.
    @ivar events: all events that watchers see, oldest first.
    @ivar padded: whether in-order keys have 20 digits.
    @ivar counts: what C{/v2/stats/store} counts of commands, where it is not 0.
    """

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.index = 0
        self.padded = False
        self.events: list[Seen] = []
        self.counts: Counter[str] = Counter()

    def next_expiry(self) -> int | None:
        return min((entry.expires for entry in self.entries.values() if entry.expires is not None), default=None)

    def listing(self, key: str, now: int, recursive: bool, ordered: bool) -> Json:
        """Returns the node of C{GET}; unordered nodes come by key."""
        shown = {"key": "/", "dir": True} if key == "/" else show(key, self.entries[key], now)
        nodes = self._nodes(key, now, recursive, ordered)
        if nodes:
            indexes = {name: shown.pop(name) for name in ("modifiedIndex", "createdIndex") if name in shown}
            shown = {**shown, "nodes": nodes, **indexes}
        return shown

    def _nodes(self, directory: str, now: int, recursive: bool, ordered: bool) -> list[Json]:
        names = {
            key.rsplit("/", 1)[1]: key for key in self.entries if below(key, directory) and parent(key) == directory
        }
        return [
            self.listing(names[name], now, recursive, ordered) if recursive else show(key, self.entries[key], now)
            for name, key in sorted(names.items(), key=lambda item: place(item[0]) if ordered else item[0])
            if not name.startswith("_")
        ]

    def apply(self, command: commands.Command) -> Json | None:
        """
        Carries a command out.

        @return: the answer; C{None} for L{commands.Expire} and L{commands.PadInOrderKeys}.
        @raise RefusedError: the command fails.
        """
        if isinstance(command, commands.SetOrSwap):
            bare = commands.CompareAndSwap(command.key, command.time, command.value, command.expires)
            try:
                return self.apply(bare)
            except RefusedError as refusal:
                if refusal.code != 100:
                    raise
                self.counts["compareAndSwapFail"] -= 1
            fields = command.key, command.time, command.value, command.directory, command.expires
            return self.apply(commands.Set(*fields))
        kind = {
            commands.Set: "sets",
            commands.Create: "create",
            commands.CreateInOrder: "create",
            commands.Update: "update",
            commands.Refresh: "update",
            commands.SetTtl: "sets",
            commands.CompareAndSwap: "compareAndSwap",
            commands.Delete: "delete",
            commands.CompareAndDelete: "compareAndDelete",
        }.get(type(command))
        try:
            answer = self._apply(command)
        except RefusedError:
            self.counts[f"{kind}Fail"] += 1
            raise
        if kind is not None:
            self.counts[f"{kind}Success"] += 1
        return answer

    @functools.singledispatchmethod
    def _apply(self, command: commands.Command) -> Json | None:
        raise TypeError(command)

    @_apply.register
    def _(self, command: commands.Set) -> Json:
        self._not_the_root(command.key)
        self._parents_are_directories(command.key)
        previous = self.entries.get(command.key)
        if previous is not None and previous.is_directory:
            raise self._refusal(102, command.key)
        return self._make("set", command.key, command)

    @_apply.register
    def _(self, command: commands.Create) -> Json:
        self._not_the_root(command.key)
        self._parents_are_directories(command.key)
        if command.key in self.entries:
            raise self._refusal(105, command.key)
        return self._make("create", command.key, command)

    @_apply.register
    def _(self, command: commands.CreateInOrder) -> Json:
        name = str(self.index + 1)
        key = command.key.rstrip("/") + "/" + (name.rjust(20, "0") if self.padded else name)
        self._parents_are_directories(key)
        if key in self.entries:
            raise self._refusal(105, key)
        return self._make("create", key, command)

    @_apply.register
    def _(self, command: commands.Update) -> Json:
        self._not_the_root(command.key)
        entry = self._there(command.key)
        if entry.is_directory:
            if command.value and not command.directory:
                raise self._refusal(102, command.key)
            return self._retime(command.key, entry, command.expires, command.time, seen=True)
        return self._rewrite("update", command, entry, command.value, seen=True)

    @_apply.register
    def _(self, command: commands.Refresh) -> Json:
        self._not_the_root(command.key)
        entry = self._there(command.key)
        if entry.is_directory:
            return self._retime(command.key, entry, command.expires, command.time, seen=False)
        return self._rewrite("update", command, entry, entry.value, seen=False)

    @_apply.register
    def _(self, command: commands.SetTtl) -> Json:
        self._not_the_root(command.key)
        entry = self._there(command.key)
        if entry.is_directory:
            raise self._refusal(102, command.key)
        answer = self._rewrite("set", command, entry, entry.value, seen=False)
        self.entries[command.key] = attrs.evolve(self.entries[command.key], created=self.index)
        answer["node"]["createdIndex"] = self.index
        return answer

    @_apply.register
    def _(self, command: commands.CompareAndSwap) -> Json:
        entry = self._as_expected(command)
        if command.value is None:
            return self._rewrite("compareAndSwap", command, entry, entry.value, seen=False)
        return self._rewrite("compareAndSwap", command, entry, command.value, seen=True)

    @_apply.register
    def _(self, command: commands.Delete) -> Json:
        self._not_the_root(command.key)
        entry = self._there(command.key)
        if entry.is_directory and not command.recursive:
            if not command.directory:
                raise self._refusal(102, command.key)
            if any(below(key, command.key) for key in self.entries):
                raise self._refusal(108, command.key)
        return self._remove("delete", command.key, command.time)

    @_apply.register
    def _(self, command: commands.CompareAndDelete) -> Json:
        if command.key == "/":
            raise self._refusal(102, "/")
        self._as_expected(command)
        return self._remove("compareAndDelete", command.key, command.time)

    @_apply.register
    def _(self, _: commands.PadInOrderKeys) -> None:
        self.padded = True

    @_apply.register
    def _(self, command: commands.Expire) -> None:
        for _ in range(command.limit):
            due = [
                (entry.expires, key)
                for key, entry in self.entries.items()
                if entry.expires is not None and entry.expires <= command.time
            ]
            if not due:
                return
            _, key = min(due)
            self._remove("expire", key, command.time)
            self.counts["expireCount"] += 1

    def _refusal(self, code: int, cause: str) -> RefusedError:
        return RefusedError(code, cause, self.index)

    def _not_the_root(self, key: str) -> None:
        if key == "/":
            raise self._refusal(107, "/")

    def _parents_are_directories(self, key: str) -> None:
        for above in prefixes(key)[:-1]:
            if above in self.entries and not self.entries[above].is_directory:
                raise self._refusal(104, above)

    def _there(self, key: str) -> Entry:
        self._parents_are_directories(key)
        for each in prefixes(key):
            if each not in self.entries:
                raise self._refusal(100, each)
        return self.entries[key]

    def _as_expected(self, command: commands.CompareAndSwap | commands.CompareAndDelete) -> Entry:
        self._not_the_root(command.key)
        entry = self._there(command.key)
        if entry.is_directory:
            raise self._refusal(102, command.key)
        pairs = []
        if command.previous_value is not None:
            pairs.append((command.previous_value, entry.value))
        if command.previous_index != 0:
            pairs.append((command.previous_index, entry.modified))
        differing = [f"[{given} != {current}]" for given, current in pairs if given != current]
        if differing:
            raise self._refusal(101, " ".join(differing))
        return entry

    def _make(self, action: str, key: str, command: commands.Set | commands.Create | commands.CreateInOrder) -> Json:
        self.index += 1
        previous = self.entries.get(key)
        for above in prefixes(key)[:-1]:
            self.entries.setdefault(above, Entry(None, self.index, self.index, None))
        value = None if command.directory else command.value
        self.entries[key] = Entry(value, self.index, self.index, command.expires)
        answer = {"action": action, "node": show(key, self.entries[key], command.time)}
        if previous is not None:
            answer["prevNode"] = show(key, previous, command.time)
        return self._seen(answer)

    def _rewrite(
        self,
        action: str,
        command: commands.Update | commands.Refresh | commands.SetTtl | commands.CompareAndSwap,
        entry: Entry,
        value: str | None,
        seen: bool,
    ) -> Json:
        self.index += 1
        changed = Entry(value, entry.created, self.index, command.expires)
        self.entries[command.key] = changed
        answer = {
            "action": action,
            "node": show(command.key, changed, command.time),
            "prevNode": show(command.key, entry, command.time),
        }
        return self._seen(answer) if seen else answer

    def _retime(self, key: str, entry: Entry, expires: int | None, now: int, seen: bool) -> Json:
        """A directory keeps its own modified index, but the answer shows the new one."""
        self.index += 1
        self.entries[key] = attrs.evolve(entry, expires=expires)
        shown = attrs.evolve(entry, expires=expires, modified=self.index)
        answer = {"action": "update", "node": show(key, shown, now), "prevNode": show(key, entry, now)}
        return self._seen(answer) if seen else answer

    def _remove(self, action: str, key: str, now: int) -> Json:
        self.index += 1
        entry = self.entries[key]
        node: Json = {"key": key}
        if entry.is_directory and action == "delete":
            node["dir"] = True
        node |= {"modifiedIndex": self.index, "createdIndex": entry.created}
        answer = {"action": action, "node": node, "prevNode": show(key, entry, now)}
        self.entries = {each: kept for each, kept in self.entries.items() if each != key and not below(each, key)}
        return self._seen(answer, gone=key if entry.is_directory else None)

    def _seen(self, answer: Json, gone: str | None = None) -> Json:
        self.events.append(Seen(self.index, answer["node"]["key"], gone, answer))
        return answer


def parent(key: str) -> str:
    """Returns the key of the directory that holds C{key}."""
    return key[: key.rindex("/")] or "/"
