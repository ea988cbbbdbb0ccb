"""
A directory kept current in memory.

The rules:

 1. What a mirror holds is the directory as it was at L{Mirror.index}, at any time. It changes by the next event of the
    watch, or by a listing that is newer.
 2. A listing that is sent once the watch is connected, and read with a quorum, has everything that came before it. The
    watch brings everything that comes after it. So from then on nothing is missing, until the connection is lost.
 3. Events up to L{Mirror.index} are in a listing already, and are dropped.

This module must never say that a mirror is current when an event may have been missed.
"""

from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Self

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from etcd_twisted.client import Client, ClientClosed, ClientError, Connection, HistoryLost, KeyNotFound, Node
from etcd_twisted.client.recipes.errors import AlreadyClosed
from etcd_twisted.client.recipes.paths import normal_key
from etcd_twisted.client.recipes.tree import Change, Tree
from etcd_twisted.client.recipes.waiting import may_pass, pause

MIN_LISTING_INTERVAL_SECONDS = 1.0
"""How long it takes at least from one listing of the directory to the next."""


class Mirror(Mapping[str, Node]):
    """
    The keys of a directory and everything below it, kept current in memory::

        async with Mirror(client, "/services/web") as mirror:
            mirror.subscribe(lambda change: reconfigure(mirror))
            addresses = [node.value for node in mirror.values()]

    It begins when it is made, and is a mapping from whole keys to nodes with a value. It also works for one key that
    is no directory, and for a directory that does not exist yet.

    I{What it guarantees.} At any time it holds exactly the keys and values of the directory as they were at L{index},
    never a mixture of two states. Subscribers learn of each change in order, and after a loss of history, or of the
    connection, of the differences between the old state and the new one. When L{current} becomes true, everything that
    was acknowledged to anybody before the last listing began is in the mirror; while it stays true, everything later
    comes as soon as the network brings it. So C{current} means: no change is known to be missing, and none has been
    for longer than a message takes. It becomes false as soon as the connection is known to be lost, and true again
    once the directory was listed anew.

    I{What no mirror can guarantee.} It can't be ahead of the network: a change that was acknowledged a moment ago may
    still be on its way, also one that this program has made itself. And a connection that is dead without a sign is
    noticed only when the watch is renewed, after some 30 seconds. Read with C{quorum=True} where that matters.
    Refreshing a TTL is no event, so that C{ttl_seconds}, C{expires_at} and C{modified_index} of a node may be older
    than the rest. As in listings, hidden nodes are left out; a directory that exists only because something hidden was
    made in it is noticed by the next listing.

    @ivar directory: the key of the directory.
    @ivar index: the index of the key space at which the directory was as it is here; 0 while it was not listed yet.
    """

    _log = Logger()

    def __init__(self, client: Client, directory: str) -> None:
        self.directory = normal_key(directory)
        self.index = 0
        self._client = client
        self._tree = Tree(self.directory)
        self._current = False
        self._until_current: list[Deferred[None]] = []
        self._until_closed: list[Deferred[None]] = []
        self._subscribers: list[Callable[[Change], object]] = []
        self._end: Failure | None = None
        self._listed_at: float | None = None
        self._taking: Deferred[None] | None = None
        self._watch = client.watch(self.directory, recursive=True)
        self._running = client.run(Deferred.fromCoroutine(self._keep_current()))
        self._running.addErrback(self._finish)

    @property
    def current(self) -> bool:
        """Whether nothing is known to be missing; see above what this can say."""
        return self._current

    def when_current(self) -> "Deferred[None]":
        """
        Returns a Deferred that fires as soon as the mirror is current. It may be cancelled.

        @raise AlreadyClosed: (as a failure) the mirror was closed.
        @raise ClientError: (as a failure) the client was closed, or the cluster refuses to be listed or watched.
        """
        if self._end is not None:
            return fail(self._end)
        if self._current:
            return succeed(None)
        waiting: Deferred[None] = Deferred(self._until_current.remove)
        self._until_current.append(waiting)
        return waiting

    def when_closed(self) -> "Deferred[None]":
        """
        Returns a Deferred that fires when the mirror is closed. It may be cancelled.

        @raise ClientError: (as a failure) it ends otherwise: the client was closed, or the cluster refuses to be
            listed or watched.
        """
        waiting: Deferred[None] = Deferred(self._until_closed.remove)
        self._until_closed.append(waiting)
        if self._end is not None:
            self._tell_closed(self._end)
        return waiting

    def subscribe(self, callback: "Callable[[Change], object]") -> "Callable[[], None]":
        """
        Call a function with each change from now on. The mirror has changed by then. An exception of the function is
        logged, and others are called all the same.

        @return: a function that ends this.
        """
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            if callback in self._subscribers:
                self._subscribers.remove(callback)

        return unsubscribe

    def node(self, key: str | None = None) -> Node | None:
        """
        Returns a node, with everything below it if it is a directory, or C{None} if it does not exist.

        @param key: its whole key; C{None} for the directory itself.
        """
        return self._tree.node(self.directory if key is None else normal_key(key))

    def __getitem__(self, key: str) -> Node:
        return self._tree.files[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tree.files)

    def __len__(self) -> int:
        return len(self._tree.files)

    def close(self) -> None:
        """End the mirror, which stays as it is. Subscribers are not called any more."""
        self._finish(Failure(AlreadyClosed(f"the mirror of {self.directory} is closed")))

    async def __aenter__(self) -> Self:
        await self.when_current()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # Keeping current

    async def _keep_current(self) -> None:
        while True:
            connection = await self._watch.connected()
            await self._list(connection)
            if not connection.lost.called:
                self._become_current()
                await connection.lost
            self._current = False

    async def _list(self, connection: Connection) -> None:
        """List the directory, until that was done or the connection is lost."""
        while not connection.lost.called:
            await self._pause_between_listings()
            began_at = self.index
            try:
                reading = await self._client.list(self.directory, recursive=True, quorum=True)
                node, index = reading.node, reading.index.etcd_index
            except KeyNotFound as error:
                node, index = None, error.index
            except ClientError as error:
                if not may_pass(error):
                    raise
                self._log.info("Could not list {directory}: {reason}", directory=self.directory, reason=str(error))
                continue
            if index < max(began_at, connection.index.etcd_index):
                self._log.warn("A listing of {directory} is older than the watch", directory=self.directory)
                continue
            if index > self.index or self._taking is None:  # otherwise the watch has brought more meanwhile
                self._change(index, self._tree.replace(node))
            if self._taking is None:
                self._taking = Deferred.fromCoroutine(self._take_events())
                self._taking.addErrback(self._finish)
            return

    async def _pause_between_listings(self) -> None:
        now = self._client.reactor.seconds()
        if self._listed_at is not None:
            seconds = min(self._listed_at + MIN_LISTING_INTERVAL_SECONDS - now, MIN_LISTING_INTERVAL_SECONDS)
            if seconds > 0:
                await pause(self._client, seconds)
        self._listed_at = self._client.reactor.seconds()

    async def _take_events(self) -> None:
        async for item in self._watch:
            if isinstance(item, HistoryLost):
                self._change(item.index.etcd_index, self._tree.replace(item.node))
            elif item.node.modified_index > self.index:
                self._change(item.node.modified_index, self._tree.apply(item))

    def _change(self, index: int, changes: list[Change]) -> None:
        self.index = index
        for change in changes:
            for callback in list(self._subscribers):
                if self._end is not None:
                    return
                try:
                    callback(change)
                except Exception:
                    self._log.failure("A subscriber failed with {change}", change=change)

    def _become_current(self) -> None:
        self._current = True
        waiting, self._until_current = self._until_current, []
        for each in waiting:
            each.callback(None)

    # The end

    def _finish(self, reason: Failure) -> None:
        if self._end is not None:
            return
        self._end = reason
        self._current = False
        self._watch.close()
        self._running.cancel()
        noticed = self._until_current or self._until_closed or reason.check(AlreadyClosed, ClientClosed)
        if not noticed:
            self._log.failure("The mirror of {directory} has ended", reason, directory=self.directory)
        waiting, self._until_current = self._until_current, []
        for each in waiting:
            each.errback(reason)
        self._tell_closed(reason)

    def _tell_closed(self, reason: Failure) -> None:
        waiting, self._until_closed = self._until_closed, []
        for each in waiting:
            each.callback(None) if reason.check(AlreadyClosed) else each.errback(reason)
