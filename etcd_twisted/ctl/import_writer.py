"""
Writes the nodes of an import into a cluster, many at a time.

Rule 1. A write can be repeated: it makes a key that does not exist, or finds the key as it should be (or, with
        C{overwrite}, sets it). So a write whose outcome is not known is sent again, and an import that was killed goes
        on before the place where it was.
Rule 2. A node never expires later than at the source, but for what rounding up to whole seconds adds. One that has
        expired is not written, nor anything in it.
Rule 3. How many records are read before the first that is not written yet is bounded.

This module must never change a key that somebody else has made, unless it was told to overwrite.
"""

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from etcd_twisted.ctl.export_format import NodeRecord, Record
from etcd_twisted.ctl.failures import SERVER_ERROR, CommandFailedError
from etcd_twisted.ctl.import_state import ImportState
from etcd_twisted.ctl.sources import Expiry
from etcd_twisted.ctl.subtree import Move

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from etcd_twisted.client import Client, Node
    from etcd_twisted.client.bulk import Bulk

SAVE_SECONDS = 1.0
"""How often the state is saved."""

WRITE_TIMEOUT_SECONDS = 60.0
"""How long a write may take, with elections in between."""

_SPAN_FACTOR = 16
"""How many times as many records as there are writes at once may be read before one that is not written yet."""

_SAME_EXPIRY_SECONDS = 5.0
"""By how much a key that was written before may expire at another time than it would now."""


def ttl_of(expires_at: float | None, now: float) -> int | None:
    """Returns the TTL of what expires at a time."""
    return None if expires_at is None else max(1, math.ceil(expires_at - now))


class ImportWriter:
    """
    One import.

    @ivar written: how many nodes were written.
    @ivar expired: how many were not, since they have expired.
    @ivar found: how many there are in the directory of the source.
    """

    def __init__(
        self,
        client: "Client",
        bulk: "Bulk",
        state: ImportState,
        move: Move,
        overwrite: bool,
        in_flight: int,
        shown: Callable[[int], object],
    ) -> None:
        """
        @param state: how far it has come.
        @param move: which keys are written, and where.
        @param overwrite: whether to set keys that exist.
        @param in_flight: how many writes to have under way.
        @param shown: told how many records are done.
        """
        self.written = 0
        self.expired = 0
        self.found = 0
        self._client = client
        self._bulk = bulk
        self._state = state
        self._move = move
        self._overwrite = overwrite
        self._in_flight = in_flight
        self._shown = shown
        self._expiry = Expiry()
        self._leased_directories: list[tuple[float, str]] = []
        self._records: Iterator[Record] = iter(())
        self._next = 0
        self._position = 0
        self._start = state.position
        self._done: set[int] = set()
        self._running = 0
        self._leased: int | None = None
        """
        The number of a directory with a TTL that is being made. Until it is there, nothing else is sent: a key in it
        would make the directory without a TTL, and etcd 3.5 never changes a directory.
        """
        self._exhausted = False
        self._filling = False
        self._failure: Any = None
        self._ended: Deferred[None] | None = None
        self._saved_at = 0.0

    async def write(self, records: Iterator[Record]) -> None:
        """
        Write what is not written yet.

        @param records: all records of the source.
        @raise CommandFailedError: the cluster has something else where a node should be.
        """
        from twisted.internet.defer import Deferred

        self._records = records
        ended: Deferred[None] = Deferred()
        self._ended = ended
        self._fill()
        try:
            await ended
        finally:
            self._state.save()
        now = self._now()
        for expires_at, key in self._leased_directories:
            if expires_at <= now:
                await self._sweep(key)

    def _now(self) -> float:
        """Returns the time, in seconds since the epoch: that of Twisted's reactors."""
        return self._client.reactor.seconds()

    def _fill(self) -> None:
        """Begin as many writes as there may be."""
        if self._filling:
            return  # a write has ended at once, and the loop below goes on
        self._filling = True
        span = self._in_flight * _SPAN_FACTOR
        try:
            while (
                self._failure is None
                and not self._exhausted
                and self._leased is None
                and self._running < self._in_flight
                and self._next < self._position + span
            ):
                record = next(self._records, None)
                if record is None:
                    self._exhausted = True
                else:
                    number, self._next = self._next, self._next + 1
                    self._begin(number, record)
        except Exception:  # it is what the import ends with
            self._fail()
        finally:
            self._filling = False
        if not self._running and (self._exhausted or self._failure is not None):
            ended, self._ended = self._ended, None
            if ended is not None:
                ended.callback(None) if self._failure is None else ended.errback(self._failure)

    def _begin(self, number: int, record: Record) -> None:
        from twisted.internet.defer import Deferred

        node = self._moved(record)
        if node is None or number < self._start:
            self._finish(number)
            return
        self._running += 1
        self.written += 1
        if node.directory and node.expires_at is not None:
            self._leased = number

        def sent(made: bool) -> "Deferred[None] | None":
            return None if made else Deferred.fromCoroutine(self._look_after(node))

        def end(result: object) -> None:
            self._running -= 1
            if number == self._leased:
                self._leased = None
            if result is None:
                self._finish(number)
            else:
                self._fail(result)
            self._fill()

        self._bulk.send(self._request(node)).addCallback(sent).addBoth(end)

    def _moved(self, record: Record) -> NodeRecord | None:
        """Returns the node as it is to be written, or C{None} if it is not to be."""
        if not isinstance(record, NodeRecord):
            return None
        now = self._now()
        is_over = self._expiry.is_over(record, now)
        key = self._move.moved(record.key)
        if key is None:
            return None
        self.found += 1
        if key == "/":
            return None
        if is_over:
            self.expired += 1
            return None
        if record.directory and record.expires_at is not None:
            self._leased_directories.append((record.expires_at, key))
        return NodeRecord(key, record.value, record.expires_at)

    def _request(self, node: NodeRecord) -> Any:
        from etcd_twisted.client import keys

        ttl_seconds = ttl_of(node.expires_at, self._now())
        if node.value is None:
            return keys.put_without_value(node.key, {"dir": "true", "prevExist": "false"}, ttl_seconds)
        return keys.put(node.key, node.value, {} if self._overwrite else {"prevExist": "false"}, ttl_seconds)

    def _finish(self, number: int) -> None:
        """Take note that a record is done."""
        state = self._state
        if number == self._position:
            self._position += 1
            while self._position in self._done:
                self._done.remove(self._position)
                self._position += 1
            state.position = max(state.position, self._position)
        else:
            self._done.add(number)
        now = self._now()
        if now - self._saved_at >= SAVE_SECONDS:
            self._saved_at = now
            state.save()
            self._shown(self._position)

    def _fail(self, failure: Any = None) -> None:
        from twisted.python.failure import Failure

        if self._failure is None:
            self._failure = Failure() if failure is None else failure

    async def _look_after(self, node: NodeRecord) -> None:
        """Write a node with the ordinary client, which may have been written already."""
        from twisted.internet.task import deferLater

        from etcd_twisted.backoff import Backoff
        from etcd_twisted.client import KeyNotFound, NotADirectory, NotAFile, OutcomeUnknown

        reactor = self._client.reactor
        backoff, latest = Backoff(lambda: 1.0, 1.0), reactor.seconds() + WRITE_TIMEOUT_SECONDS
        while True:
            try:
                await (self._make_directory(node) if node.value is None else self._set(node, node.value))
            except (NotAFile, NotADirectory) as error:
                raise self._conflict(node, f"{error.cause} is in the way") from error
            except (OutcomeUnknown, KeyNotFound):
                if reactor.seconds() > latest:
                    raise
                await deferLater(reactor, backoff.next())
            else:
                return

    async def _set(self, node: NodeRecord, value: str) -> None:
        from etcd_twisted.client import KeyExists

        client, ttl_seconds = self._client, ttl_of(node.expires_at, self._now())
        if self._overwrite:
            await client.set(node.key, value, ttl_seconds=ttl_seconds, timeout_seconds=WRITE_TIMEOUT_SECONDS)
            return
        try:
            await client.create(node.key, value, ttl_seconds=ttl_seconds, timeout_seconds=WRITE_TIMEOUT_SECONDS)
        except KeyExists as error:
            reading = await client.get(node.key, quorum=True, timeout_seconds=WRITE_TIMEOUT_SECONDS)
            if not _is_same(node, reading.node):
                raise self._conflict(node, "it has another value there, or another TTL") from error

    async def _make_directory(self, node: NodeRecord) -> None:
        from etcd_twisted.client import KeyExists

        client, ttl_seconds = self._client, ttl_of(node.expires_at, self._now())
        limit: dict[str, Any] = {"timeout_seconds": WRITE_TIMEOUT_SECONDS}
        try:
            await client.make_directory(node.key, ttl_seconds=ttl_seconds, **limit)
        except KeyExists as error:
            there = (await client.get(node.key, quorum=True, **limit)).node
            if not there.directory:
                raise self._conflict(node, "it is a key with a value there") from error
            if _expires_alike(node, there):
                return
            if ttl_seconds is not None or (self._overwrite and there.expires_at is not None):
                await client.update_directory(node.key, ttl_seconds=ttl_seconds, **limit)

    async def _sweep(self, key: str) -> None:
        """
        Remove a directory that has expired while it was imported: a write that was on its way may have made it again,
        without a TTL. One with a TTL is somebody else's.
        """
        from etcd_twisted.client import KeyNotFound, NotADirectory

        try:
            node = (await self._client.get(key, quorum=True, timeout_seconds=WRITE_TIMEOUT_SECONDS)).node
            if not node.directory or node.expires_at is not None:
                return
            await self._client.remove_directory(key, recursive=True, timeout_seconds=WRITE_TIMEOUT_SECONDS)
        except (KeyNotFound, NotADirectory):
            return

    @staticmethod
    def _conflict(node: NodeRecord, reason: str) -> CommandFailedError:
        text = f"can't write {node.key}: {reason}; remove it, choose another directory with --to"
        return CommandFailedError(f"{text}, or have keys replaced with --overwrite", SERVER_ERROR)


def _is_same(node: NodeRecord, there: "Node") -> bool:
    return not there.directory and there.value == node.value and _expires_alike(node, there)


def _expires_alike(node: NodeRecord, there: "Node") -> bool:
    if there.expires_at is None or node.expires_at is None:
        return there.expires_at is node.expires_at
    return abs(there.expires_at - node.expires_at) <= _SAME_EXPIRY_SECONDS
