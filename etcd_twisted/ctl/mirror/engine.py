"""
Follows the source and changes the copy: see the rules of the package.

This module must never know how a copy is kept.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar, cast

from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater

from etcd_twisted.backoff import Backoff
from etcd_twisted.client import (
    Client,
    ClientClosed,
    ConnectionFailed,
    Event,
    HistoryLost,
    Index,
    KeyNotFound,
    Node,
    NotADirectory,
    OutcomeUnknown,
    Watch,
    large,
)
from etcd_twisted.client.listing import Take
from etcd_twisted.ctl.export_format import NodeRecord
from etcd_twisted.ctl.failures import SERVER_ERROR, CommandFailedError
from etcd_twisted.ctl.import_writer import ttl_of
from etcd_twisted.ctl.mirror.copies import Copy, Entry, Position
from etcd_twisted.ctl.mirror.lag import Lag
from etcd_twisted.ctl.mirror.leases import GRACE_SECONDS, Leases
from etcd_twisted.ctl.sources import Expiry
from etcd_twisted.ctl.subtree import Move, is_within

_T = TypeVar("_T")

SAVE_SECONDS = 1.0
"""How often the position is saved."""

LATEST_EXPIRY_SECONDS = GRACE_SECONDS + 3.0
"""By how much a key of the copy may expire later than that of the source before its TTL is set again."""

_LONGEST_PAUSE_SECONDS = 2.0
_IDLE_SECONDS = 0.25

_LOOKS_AT_ONCE = 10
"""How many keys are looked for between two changes."""


class Mirror:
    """
    One mirror.

    @ivar lag: how far it is behind.
    """

    def __init__(self, source: Client, copy: Copy, move: Move, say: Callable[[str], object]) -> None:
        """
        @param move: the directory of the source, and that of the copy.
        @param say: told what is worth knowing.
        """
        self.lag = Lag(source, move.source)
        self._source = source
        self._copy = copy
        self._move = move
        self._say = say
        self._leases = Leases()
        self._cluster = ""
        self._index = 0
        self._saved_index = -1
        self._save_at = 0.0

    async def run(self, overwrite: bool, resync: bool, once: bool) -> None:
        """
        Copy, for ever.

        @param overwrite: whether to replace what is in the directory of the copy, if no copy was begun there.
        @param resync: whether to compare first, and to take another cluster for the source than before.
        @param once: whether to end when the copy is the same as the source.
        @raise CommandFailedError: it is not certain that the copy may be written.
        """
        position = await self._begin(overwrite, resync)
        entries, index = await self._read_source()
        if position is None:  # so that a copy that is half made can be gone on with
            await self._save()
        if position is None or position.index == 0 or resync or once:
            await self._compare(entries, index)
        else:
            self._index = position.index
            self._note_leases(entries)
            await self._extend_all(entries)
            self._say(f"Going on after index {position.index}")
        if not once:
            await self._follow()

    async def _begin(self, overwrite: bool, resync: bool) -> Position | None:
        """Returns the position, when it is certain that the copy may be written."""
        index = await self._read_index()
        self._cluster = self._source.cluster_id or ""
        position = await self._persist(self._copy.load)
        if position is None:
            if not overwrite and (there := await self._persist(self._copy.entries)):
                text = f"{self._move.target} of the target has keys already, such as {next(iter(there))}"
                remedy = "choose another directory with --to-directory, or have them replaced with --overwrite"
                raise CommandFailedError(f"{text}: {remedy}", SERVER_ERROR)
        elif resync:
            return position
        elif position.directory != self._move.source:
            text = f"{self._move.target} of the target is a copy of {position.directory}, not of {self._move.source}"
            raise CommandFailedError(f"{text}: --resync makes it one of this", SERVER_ERROR)
        elif position.cluster != self._cluster:
            text = f"{self._move.target} of the target is a copy of the cluster {position.cluster or 'without an id'}"
            raise CommandFailedError(f"{text}, not of {self._cluster}: --resync makes it one of this", SERVER_ERROR)
        elif position.index > index:
            text = f"{self._move.target} of the target has the changes up to index {position.index}"
            reason = f"the source is at index {index} only, so that it has lost some, or begun anew"
            raise CommandFailedError(f"{text}, and {reason}: --resync compares both", SERVER_ERROR)
        return position

    async def _read_index(self) -> int:
        try:
            return (await self._source.get(self._move.source, quorum=True)).index.etcd_index
        except KeyNotFound as error:
            return error.index

    async def _read_source(self) -> tuple[dict[str, Entry], int]:
        """Returns what the source has, by its keys, and at which index."""
        nodes: dict[str, Entry] = {}

        def begin(_: Index) -> Take:
            nodes.clear()
            return take

        def take(node: Node) -> None:
            nodes[node.key] = _entry_of(node)

        try:
            index = (await large.walk(self._source, self._move.source, begin)).etcd_index
        except KeyNotFound as error:
            return {}, error.index
        return nodes, index

    # Following

    async def _follow(self) -> None:
        watch = self._source.watch(self._move.source, recursive=True, after_index=self._index)
        self.lag.start()
        try:
            while True:
                item = await self._next(watch)
                if isinstance(item, HistoryLost):
                    self._say("The source does not keep the changes since then any more")
                    nodes = () if item.node is None else item.node.walk()
                    await self._compare({node.key: _entry_of(node) for node in nodes}, item.index.etcd_index)
                elif item is not None:
                    await self._apply(item)
                await self._look_for_overdue()
                await self._save_if_due()
        finally:
            watch.close()
            await self.lag.stop()

    async def _next(self, watch: Watch) -> Event | HistoryLost | None:
        """Returns what the watch brings next, or C{None} after a short while without anything."""
        waiting = watch.next()
        if not waiting.called:
            connected = watch.connected()
            if connected.called:
                self.lag.caught_up()
            connected.addErrback(lambda _: None)  # the watch has ended, as its next item says, or see below
            connected.cancel()
        timer = self._source.reactor.callLater(_IDLE_SECONDS, waiting.cancel)
        try:
            return await waiting
        except CancelledError:
            if timer.active():  # this whole mirror is cancelled
                raise
            return None
        finally:
            if timer.active():
                timer.cancel()

    async def _apply(self, event: Event) -> None:
        """Change the copy as an event has changed the source."""
        node = event.node
        is_all = event.is_removal and is_within(self._move.source, node.key)
        target = self._move.target if is_all else self._move.moved(node.key)
        if target is not None:
            now = self._source.reactor.seconds()
            if event.is_removal or (node.expires_at is not None and node.expires_at <= now):
                await self._persist(self._copy.remove, target)
                self._leases.remove(node.key)
            else:
                await self._set(target, _entry_of(node), now)
                self._leases.set(node.key, node.expires_at)
        self._index = node.modified_index
        self.lag.changes[event.action] += 1
        self.lag.apply(self._index)

    async def _set(self, target: str, entry: Entry, now: float) -> None:
        ttl_seconds = _ttl_of(entry, now)
        if entry.value is None:
            await self._persist(self._copy.put_directory, target, ttl_seconds)
        else:
            await self._persist(self._copy.put, target, entry.value, ttl_seconds)

    async def _look_for_overdue(self) -> None:
        """Ask the source for keys that should have expired: it may have extended their TTL without an event."""
        for _ in range(_LOOKS_AT_ONCE):
            now = self._source.reactor.seconds()
            key = self._leases.overdue(now)
            if key is None:
                return
            try:
                node = (await self._source.get(key, quorum=True)).node
            except (KeyNotFound, NotADirectory):
                continue  # the event is on its way, or has been here
            except ClientClosed:
                raise
            except ConnectionFailed:
                self._leases.set(key, now)
                return
            target = self._move.moved(key)
            if node.expires_at is None or target is None:
                continue  # the event is on its way
            self._leases.set(key, max(node.expires_at, now))
            await self._extend(target, _entry_of(node), now)

    async def _extend(self, target: str, entry: Entry, now: float) -> None:
        """Give a key of the copy the TTL that it has at the source, and nothing else."""
        ttl_seconds = _ttl_of(entry, now)
        if entry.value is None:
            await self._persist(self._copy.put_directory, target, ttl_seconds)
        else:
            await self._persist(self._copy.extend, target, ttl_seconds)

    async def _extend_all(self, entries: Mapping[str, Entry]) -> None:
        """Give keys of the copy the TTLs that the source has extended while there was no mirror."""
        there = await self._persist(self._copy.entries)
        for key, entry in entries.items():
            target = self._move.moved(key)
            old = None if target is None else there.get(target)
            if target is None or old is None or None in {entry.expires_at, old.expires_at}:
                continue  # if they differ in this, there are events to come
            if (entry.value is None) is (old.value is None) and not _expire_alike(entry, old):
                await self._extend(target, entry, self._source.reactor.seconds())

    # Comparing

    async def _compare(self, entries: Mapping[str, Entry], index: int) -> None:
        """
        Make the copy the same as the source was at an index.

        @param entries: what the source had, by its keys, directories before what is in them.
        """
        now, expiry = self._source.reactor.seconds(), Expiry()
        wanted: dict[str, Entry] = {}
        for key, entry in entries.items():
            target = self._move.moved(key)
            is_over = expiry.is_over(NodeRecord(key, entry.value, entry.expires_at), now)
            if target not in {None, "/"} and not is_over and (entry.value is not None or self._copy.has_directories):
                wanted[str(target)] = entry
        there = await self._persist(self._copy.entries)
        removed = await self._remove_others(there, wanted)
        different = {key: entry for key, entry in wanted.items() if not _is_same(entry, there.get(key))}
        for key, entry in different.items():
            if entry.value is None:
                await self._set(key, entry, now)
        values = [(key, e.value, _ttl_of(e, now)) for key, e in different.items() if e.value is not None]
        await self._persist(self._copy.put_all, values)
        self._note_leases(entries)
        self._index = index
        await self._save()
        self.lag.resyncs += 1
        self.lag.apply(index)
        counts = f"{len(wanted)} keys and directories, {len(different)} set, {removed} removed"
        self._say(f"Compared at index {index}: {counts}")

    async def _remove_others(self, there: Mapping[str, Entry], wanted: Mapping[str, Entry]) -> int:
        """Remove what is not wanted, and return how much that was."""
        removed, last = 0, None
        for key in sorted(there):
            if last is not None and is_within(key, last):
                continue
            entry = wanted.get(key)
            if key == self._move.target and entry is None and there[key].value is None:
                continue  # the directory of the copy may stay when it is empty
            if entry is None or (entry.value is None) is not (there[key].value is None):
                await self._persist(self._copy.remove, key)
                removed, last = removed + 1, key
        return removed

    def _note_leases(self, entries: Mapping[str, Entry]) -> None:
        self._leases.clear()
        for key, entry in entries.items():
            self._leases.set(key, entry.expires_at)

    # The position, and the target

    async def _save_if_due(self) -> None:
        if self._index != self._saved_index and self._source.reactor.seconds() >= self._save_at:
            await self._save()

    async def _save(self) -> None:
        await self._persist(self._copy.save, Position(self._cluster, self._move.source, self._index))
        self._saved_index = self._index
        self._save_at = self._source.reactor.seconds() + SAVE_SECONDS

    async def _persist(self, request: Callable[..., Awaitable[_T]], *arguments: Any) -> _T:
        """Returns what a request to the target returns, which is repeated until the target answers."""
        backoff, failed = Backoff(lambda: 1.0, _LONGEST_PAUSE_SECONDS), False
        while True:
            try:
                result = await request(*arguments)
            except ClientClosed:
                raise
            except (ConnectionFailed, OutcomeUnknown) as error:
                if not failed:
                    self._say(f"The target does not answer, and is asked again: {error}")
                failed = True
                self.lag.retries += 1
                await deferLater(cast(Any, self._source.reactor), backoff.next())
            else:
                if failed:
                    self._say("The target answers again")
                return result


def _entry_of(node: Node) -> Entry:
    return Entry(None if node.directory else node.value or "", node.expires_at)


def _ttl_of(entry: Entry, now: float) -> int | None:
    return None if entry.expires_at is None else ttl_of(entry.expires_at + GRACE_SECONDS, now)


def _is_same(wanted: Entry, there: Entry | None) -> bool:
    """Returns whether what is there does not have to be set."""
    return there is not None and wanted.value == there.value and _expire_alike(wanted, there)


def _expire_alike(wanted: Entry, there: Entry) -> bool:
    """Returns whether what is there expires when it should: not before the source's, and not much later."""
    if wanted.expires_at is None or there.expires_at is None:
        return wanted.expires_at is there.expires_at
    return 0.0 <= there.expires_at - wanted.expires_at <= LATEST_EXPIRY_SECONDS
