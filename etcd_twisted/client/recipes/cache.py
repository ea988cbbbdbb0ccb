"""
Reads that are answered from memory, as long as a watch says that nothing has changed.

The rules:

 1. An entry is what a read has found, and the index at which that was right. The next event of its key drops it.
 2. What a read has found is kept only if its index is at least that of everything that the watch has brought. So no
    event that would drop it was there before it.
 3. Without a connection nothing is kept, and nothing is answered from memory.

This module must never answer with an entry that an event has made wrong.
"""

from types import TracebackType
from typing import Self

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from etcd_twisted.client import Client, ClientClosed, Event, HistoryLost, KeyNotFound, Node, WatchClosed
from etcd_twisted.client.recipes.errors import AlreadyClosed
from etcd_twisted.client.recipes.paths import is_at_or_below, is_hidden, normal_key

DEFAULT_MAX_KEYS = 1_000


@attrs.frozen
class _Entry:
    """
    A key as the cache knows it.

    @ivar node: the key; C{None} if it does not exist.
    @ivar index: the index at which it was so.
    """

    node: Node | None
    index: int


class Cache:
    """
    The keys below a directory that were read last::

        async with Cache(client, "/users") as cache:
            user = await cache.get("/users/alice")

    A key that is not in memory is read, and kept until it changes; so is that a key does not exist. One watch of the
    directory tells of changes, whatever is read. Use a L{Mirror} where most of the keys are wanted.

    I{What it guarantees.} A node that comes from memory was right when it was read, and the watch has brought no event
    of it since. While the watch has no connection, every L{get} reads. At most C{max_keys} keys are kept, those that
    were used last.

    I{What no cache can guarantee.} A change that was acknowledged a moment ago may still be on its way, also one of
    this program. A connection that is dead without a sign is noticed only when the watch is renewed, after some 30
    seconds. Refreshing a TTL is no event, so that C{ttl_seconds} and C{expires_at} of a node may be too low. Hidden
    keys, of which a watch of the directory does not tell, and directories are read each time; a key that does not
    exist, and becomes a directory for something hidden alone, still does not exist for the cache. A read asks any
    machine, so that it may find an older state than the one before did.

    @ivar directory: the key of the directory.
    @ivar hits: how often a key was in memory.
    @ivar misses: how often it was not.
    """

    _log = Logger()

    def __init__(self, client: Client, directory: str, *, max_keys: int = DEFAULT_MAX_KEYS) -> None:
        """
        @param max_keys: how many keys are kept at most.
        @raise ValueError: C{max_keys} is below 1.
        """
        if max_keys < 1:
            raise ValueError(f"max_keys is {max_keys}, but at least 1 is needed")
        self.directory = normal_key(directory)
        self.hits = 0
        self.misses = 0
        self._client = client
        self._max_keys = max_keys
        self._entries: dict[str, _Entry] = {}
        self._seen_index: int | None = None  # without a connection
        self._end: Failure | None = None
        self._watch = client.watch(self.directory, recursive=True)
        for going_on in (self._follow_connection(), self._take_events()):
            Deferred.fromCoroutine(going_on).addErrback(self._finish)

    def get(self, key: str) -> "Deferred[Node]":
        """
        Returns a Deferred that fires with a key.

        @param key: its whole key, which must be in the directory.
        @raise KeyNotFound: (as a failure) it does not exist.
        @raise ClientError: (as a failure) it could not be read, the cache is closed, or the cluster refuses to be
            watched.
        @raise ValueError: at once, if it is not in the directory.
        """
        key = normal_key(key)
        if not is_at_or_below(key, self.directory):
            raise ValueError(f"{key} is not in {self.directory}, which is what this cache watches")
        return Deferred.fromCoroutine(self._get(key))

    async def _get(self, key: str) -> Node:
        if self._end is not None:
            self._end.raiseException()
        entry = self._entries.pop(key, None)
        if entry is None:
            self.misses += 1
            return await self._read(key)
        self.hits += 1
        self._entries[key] = entry  # it is the newest now
        if entry.node is None:
            raise KeyNotFound(100, "Key not found", key, entry.index)
        return entry.node

    async def _read(self, key: str) -> Node:
        try:
            reading = await self._client.get(key)
        except KeyNotFound as error:
            self._keep(key, _Entry(None, error.index))
            raise
        if not reading.node.directory:
            self._keep(key, _Entry(reading.node, reading.index.etcd_index))
        return reading.node

    def _keep(self, key: str, entry: _Entry) -> None:
        if self._seen_index is None or entry.index < self._seen_index or is_hidden(key, self.directory):
            return
        known = self._entries.pop(key, None)
        self._entries[key] = entry if known is None or known.index <= entry.index else known
        if len(self._entries) > self._max_keys:
            del self._entries[next(iter(self._entries))]

    def close(self) -> None:
        """Forget everything, and stop watching. The cache can't be used any more."""
        self._finish(Failure(AlreadyClosed(f"the cache of {self.directory} is closed")))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # Changes

    async def _follow_connection(self) -> None:
        while True:
            connection = await self._watch.connected()
            self._seen_index = connection.index.etcd_index
            await connection.lost
            self._seen_index = None
            self._entries.clear()

    async def _take_events(self) -> None:
        while True:
            item = await self._watch.next()
            if isinstance(item, HistoryLost):
                self._entries.clear()
                self._saw(item.index.etcd_index)
            else:
                self._drop(item)
                self._saw(item.node.modified_index)

    def _saw(self, index: int) -> None:
        if self._seen_index is not None:
            self._seen_index = max(self._seen_index, index)

    def _drop(self, event: Event) -> None:
        """Forget what an event makes wrong."""
        key, index = event.node.key, event.node.modified_index
        keys = [key]
        if event.is_removal or event.node.directory or event.previous_node is None:
            keys = [each for each in self._entries if is_at_or_below(each, key) or is_at_or_below(key, each)]
        for each in keys:
            entry = self._entries.get(each)
            if entry is not None and entry.index < index:
                del self._entries[each]

    def _finish(self, reason: Failure) -> None:
        if self._end is not None:
            return
        self._end = reason
        self._entries.clear()
        self._seen_index = None
        self._watch.close()
        if not reason.check(AlreadyClosed, ClientClosed, WatchClosed):
            self._log.error("The cache of {key} has ended: {reason}", key=self.directory, reason=str(reason.value))
