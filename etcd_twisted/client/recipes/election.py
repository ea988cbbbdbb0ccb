"""
Elections: at most one of the candidates leads at a time, and everybody can see which.

This module must never take a candidate's key for the leader's before all that were made earlier are gone.
"""

from functools import partial

from twisted.internet.defer import CancelledError, Deferred

from etcd_twisted.client import (
    Client,
    ClientError,
    Event,
    HistoryLost,
    KeyNotFound,
    Node,
    Watch,
    WatchClosed,
)
from etcd_twisted.client.recipes.contender import contenders, text_of
from etcd_twisted.client.recipes.lease import Lease
from etcd_twisted.client.recipes.lock import DEFAULT_TTL_SECONDS, Hold, Lock
from etcd_twisted.client.recipes.paths import is_at_or_below, normal_key
from etcd_twisted.client.recipes.waiting import may_pass, pause

RETRY_SECONDS = 1.0
"""How long an observer waits after a list that has failed; the client has tried for a while by then."""


class Leadership(Hold):
    """
    What a candidate has while it leads.

    @ivar value: what it has proclaimed.
    """

    def __init__(self, value: str, lease: Lease) -> None:
        super().__init__(lease)
        self.value = value

    def resign(self) -> "Deferred[None]":
        """Give up the leadership, so that the next candidate leads; see L{Hold.release}."""
        return self.release()


class Election:
    """
    Has one of several candidates lead::

        election = Election(client, "/elections/scheduler")
        leadership = await election.campaign("10.0.0.1:8000")
        ...
        await leadership.resign()

    The candidates lead in the order in which they came. What a L{Lock} guarantees and can't guarantee holds for a
    leadership too: while L{Hold.is_held} is true nobody else leads, L{Hold.lost} fires before anybody else does, and
    only a fencing token protects from a leader that was stopped for longer than its TTL.

    A candidate's key holds a token of 32 hexadecimal digits, a space, and what the candidate proclaims.
    """

    def __init__(self, client: Client, directory: str, *, ttl_seconds: int = DEFAULT_TTL_SECONDS) -> None:
        """
        @param directory: the directory of the candidates' keys. Nothing else should be in it.
        @param ttl_seconds: after how long a leader that has died is replaced.
        @raise ValueError: C{ttl_seconds} is below 1.
        """
        self._client = client
        self._directory = normal_key(directory)
        self._lock = Lock(client, directory, ttl_seconds=ttl_seconds)

    def campaign(self, value: str, timeout_seconds: float | None = None) -> "Deferred[Leadership]":
        """
        Wait until this candidate leads. Cancelling the Deferred withdraws the candidature; see L{Lock.acquire}, also
        for what is raised.

        @param value: what is to be known of the leader, such as its address.
        @param timeout_seconds: for how long to wait for the others; 0 to try once, C{None} for as long as it takes.
        """
        return self._lock.enter(partial(Leadership, value), value, timeout_seconds)

    def observe(self) -> "Observation":
        """
        Returns an asynchronous iterator over what the leader has proclaimed, or C{None} while nobody leads: first as
        it is now, then whenever another one leads.
        """
        return Observation(self._client, self._directory)


class Observation:
    """
    Who leads, as it changes.

    Each leader is seen by its key. So a leader that has died, or knows already that it may be replaced, is seen until
    its key has expired; and one is seen from when its turn has come, perhaps a moment before it learns of that itself.
    An observer that is slow, or was cut off for long, may miss leaders in between, but never the last one.
    """

    def __init__(self, client: Client, directory: str) -> None:
        self._client = client
        self._directory = directory
        self._watch: Watch | None = None
        self._candidates: dict[str, Node] = {}
        self._seen: tuple[int, str | None] | None = None
        self._waiting: Deferred[int] | None = None
        self._closed = False

    def next(self) -> "Deferred[str | None]":
        """
        Returns a Deferred that fires with what the next leader has proclaimed, or with C{None} when nobody leads any
        more. Cancelling it loses nothing.

        @raise WatchClosed: (as a failure) the observation was closed.
        @raise ClientError: (as a failure) the client was closed, or the cluster refuses to be watched.
        """
        return Deferred.fromCoroutine(self._next())

    def __aiter__(self) -> "Observation":
        return self

    async def __anext__(self) -> str | None:
        try:
            return await self._next()
        except WatchClosed:
            raise StopAsyncIteration from None

    def close(self) -> None:
        """End the observation, and the loop over it."""
        self._closed = True
        if self._watch is not None:
            self._watch.close()
        if self._waiting is not None:
            self._waiting.cancel()

    async def _next(self) -> str | None:
        while True:
            if self._closed:
                raise WatchClosed("the observation is closed")
            if self._watch is None:
                await self._begin()
                continue
            leader = self._leader()
            if leader != self._seen:
                self._seen = leader
                return leader[1]
            self._take(await self._watch.next())

    def _leader(self) -> tuple[int, str | None]:
        """Returns the index at which the leader's key was made, 0 if nobody leads, and what it has proclaimed."""
        if not self._candidates:
            return 0, None
        node = min(self._candidates.values(), key=lambda node: (node.created_index, node.key))
        return node.created_index, text_of(node)

    async def _begin(self) -> None:
        """Begin to watch, unless this is closed meanwhile."""
        self._waiting = Deferred.fromCoroutine(self._list())
        try:
            index = await self._waiting
        except CancelledError:
            if not self._closed:
                raise
        else:
            self._watch = self._client.watch(self._directory, recursive=True, after_index=index)
        finally:
            self._waiting = None

    async def _list(self) -> int:
        """Find the candidates, and return the index after which there may be others."""
        while True:
            try:
                reading = await self._client.list(self._directory, quorum=True)
            except KeyNotFound as error:
                self._candidates = {}
                return error.index
            except ClientError as error:
                if not may_pass(error):
                    raise
                await pause(self._client, RETRY_SECONDS)
            else:
                self._candidates = {node.key: node for node in contenders(reading.node)}
                return reading.index.etcd_index

    def _take(self, item: Event | HistoryLost) -> None:
        if isinstance(item, HistoryLost):
            found = [] if item.node is None else contenders(item.node)
            self._candidates = {node.key: node for node in found}
            return
        node = item.node
        if item.is_removal:
            for key in [key for key in self._candidates if is_at_or_below(key, node.key)]:
                del self._candidates[key]
        elif not node.directory and node.key.rpartition("/")[0] == self._directory:
            self._candidates[node.key] = node
