"""
How locks, semaphores and elections decide who is next: each contender makes an in-order key in a directory, and those
with the lowest C{created_index} hold what all contend for.

The rules:

 1. A contender's key begins with a token that only this attempt has. So a key whose creation had no answer is found
    again, and one that was made twice is removed.
 2. Keys are in the order of their C{created_index}, never of their names.
 3. Any list that has a contender's own key has all keys before it that still exist: later keys have higher indexes. So
    even a stale list never lets a contender in too early.
 4. A contender that gives up deletes its key, or leaves it to its TTL. It never refreshes it again.

This module must never take a contender for the holder whose lease may have ended.
"""

import os
import re
import secrets
import socket

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from etcd_twisted.client import (
    Client,
    ClientError,
    CompareFailed,
    HistoryLost,
    KeyNotFound,
    Node,
    OutcomeUnknown,
    UnexpectedAnswer,
)
from etcd_twisted.client.recipes.errors import NotAcquired
from etcd_twisted.client.recipes.lease import RETRY_FRACTION, Lease, monotonic
from etcd_twisted.client.recipes.paths import is_at_or_below, normal_key
from etcd_twisted.client.recipes.waiting import may_pass, pause, shielded

CLEANUP_SECONDS = 5.0
"""For how long an attempt that has failed goes on deleting its key. After that, the key is left to its TTL."""

MAX_CREATIONS = 3
"""How often a contender's key is created if it is never known whether that has happened, nor is there any key."""

_VALUE = re.compile(r"[0-9a-f]{32}(?: (.*))?", re.DOTALL)


def text_of(node: Node) -> str:
    """Returns what a contender's key says beside the token: a name, or the value of a candidate."""
    value = node.value or ""
    match = _VALUE.fullmatch(value)
    return value if match is None else match[1] or ""


def contenders(directory: Node) -> list[Node]:
    """Returns the keys of the contenders, in the order in which they came."""
    return [node for node in directory.in_order() if not node.directory]


def own_name() -> str:
    """Returns the name that a contender's key says unless another one is given: whom to ask about the key."""
    return f"{socket.gethostname()}:{os.getpid()}"


@attrs.frozen
class _Listing:
    """
    What a contender finds in the directory.

    @ivar ahead: the contenders before it.
    @ivar index: a watch after this index misses nothing that is not listed.
    """

    ahead: list[Node]
    index: int


class Contender:
    """One attempt to be among the first in a directory."""

    _log = Logger()

    def __init__(self, client: Client, directory: str, limit: int, ttl_seconds: int, text: str) -> None:
        """
        @param limit: how many may be first at once.
        @param text: what the key says beside the token.
        """
        self._client = client
        self._directory = normal_key(directory)
        self._limit = limit
        self._ttl_seconds = ttl_seconds
        self._token = secrets.token_hex(16)
        self._value = f"{self._token} {text}" if text else self._token
        self._now = monotonic(client.reactor)
        self._wait_until: float | None = None
        self._creating: Deferred[Lease] | None = None
        self._lease: Lease | None = None
        self._leaving = False
        self._may_be_twice = False

    async def acquire(self, timeout_seconds: float | None) -> Lease:
        """
        Returns the lease when this contender is among the first.

        @param timeout_seconds: for how long to wait for others; 0 to look once.
        @raise NotAcquired: that time is over.
        """
        try:
            if timeout_seconds is not None:
                self._wait_until = self._now() + timeout_seconds
            lease = await self._join()
            while True:
                listing = await self._look(lease)
                if listing is None:
                    lease = await self._join_again(lease)
                elif len(listing.ahead) < self._limit:
                    return lease
                else:
                    self._check_time()
                    await self._wait(lease, listing)
        except (ClientError, CancelledError):
            await self._leave()
            raise

    def _check_time(self) -> None:
        if self._wait_until is not None and self._now() >= self._wait_until:
            raise NotAcquired(f"others have held {self._directory} for as long as this could wait")

    # Joining

    async def _join(self) -> Lease:
        """Make the contender's key. If the attempt is cancelled meanwhile, L{_leave} waits for what comes of it."""
        self._creating = creating = Deferred.fromCoroutine(self._create())
        try:
            self._lease = await shielded(creating)
        finally:
            if creating.called:
                self._creating = None
        return self._lease

    async def _join_again(self, lease: Lease) -> Lease:
        """Make another key, as the first one is gone, or may be."""
        while True:
            try:
                joined = await self._join()
            except ClientError as error:
                await self._pause_or_raise(error)
            else:
                reason = lease.loss and lease.loss.reason
                self._log.warn("A contender lost its key, and made {key}: {reason}", key=joined.key, reason=reason)
                return joined

    async def _create(self) -> Lease:
        first_sent_at = self._now()
        for _ in range(MAX_CREATIONS):
            sent_at = self._now()
            try:
                event = await self._client.create_in_order(self._directory, self._value, ttl_seconds=self._ttl_seconds)
                return Lease(self._client, event.node, self._ttl_seconds, sent_at)
            except (OutcomeUnknown, UnexpectedAnswer) as error:
                problem = error
            self._log.info("May have joined {directory}: {reason}", directory=self._directory, reason=str(problem))
            self._may_be_twice = True
            found = await self._own_keys()
            if found:  # any of the requests so far may have made it
                return Lease(self._client, found[0], self._ttl_seconds, first_sent_at)
            if self._leaving or isinstance(problem, UnexpectedAnswer):
                break
            await pause(self._client, self._ttl_seconds * RETRY_FRACTION)
        raise problem

    async def _own_keys(self) -> list[Node]:
        try:
            reading = await self._client.list(self._directory, quorum=True)
        except KeyNotFound:
            return []
        return [node for node in contenders(reading.node) if self._is_own(node)]

    def _is_own(self, node: Node) -> bool:
        return node.value is not None and node.value.startswith(self._token)

    # Waiting

    async def _look(self, lease: Lease) -> _Listing | None:
        """Returns who is before this contender, or C{None} if its lease has ended."""
        while lease.is_held:
            try:
                reading = await self._client.list(self._directory, quorum=True)
            except KeyNotFound:
                lease.end(f"the directory {self._directory} is gone")
                break
            except ClientError as error:
                await self._pause_or_raise(error)
                continue
            nodes = contenders(reading.node)
            if all(node.created_index != lease.created_index for node in nodes):
                lease.end(f"{lease.key} is gone")
                break
            for node in nodes:
                if self._is_own(node) and node.created_index != lease.created_index:
                    await self._remove(node)
            ahead = [n for n in nodes if n.created_index < lease.created_index and not self._is_own(n)]
            if lease.is_held:
                return _Listing(ahead, reading.index.etcd_index)
        lease.end(f"{lease.key} may be gone")
        return None

    async def _pause_or_raise(self, error: ClientError) -> None:
        """Wait until a request can be sent again, if its error may pass and there is time."""
        if not may_pass(error):
            raise error
        self._check_time()
        self._log.info("Could not look at {directory}: {reason}", directory=self._directory, reason=str(error))
        await pause(self._client, self._ttl_seconds * RETRY_FRACTION)

    async def _wait(self, lease: Lease, listing: _Listing) -> None:
        """
        Return when enough of the contenders ahead have gone, so that it is worth to look again, or when there is no
        more time, or no more lease.

        Where one may be first, each waits for the one just before it alone, so that a release wakes one contender.
        """
        watched = listing.ahead[-1:] if self._limit == 1 else listing.ahead
        key = watched[0].key if self._limit == 1 else self._directory
        ahead = {node.key for node in watched}
        watch = self._client.watch(key, recursive=self._limit > 1, after_index=listing.index)
        ended = lease.lost
        ended.addCallbacks(lambda _: watch.close(), lambda failure: failure.trap(CancelledError) and None)
        timer = None
        if self._wait_until is not None:
            timer = self._client.reactor.callLater(max(0.0, self._wait_until - self._now()), watch.close)
        try:
            async for item in watch:
                if isinstance(item, HistoryLost):
                    return
                if item.is_removal:
                    ahead = {key for key in ahead if not is_at_or_below(key, item.node.key)}
                    if len(ahead) < self._limit:
                        return
        finally:
            ended.cancel()
            watch.close()
            if timer is not None and timer.active():
                timer.cancel()

    # Leaving

    async def _leave(self) -> None:
        """Remove what this attempt has left behind."""
        self._leaving = True
        lease = self._lease
        if self._creating is not None:
            try:
                lease = await self._creating
            except (ClientError, CancelledError) as error:
                self._log.info("Did not join {directory}: {reason}", directory=self._directory, reason=str(error))
        try:
            if lease is not None:
                lease.end("the attempt was given up", released=True)
                await lease.remove(min(CLEANUP_SECONDS, self._ttl_seconds))
            if self._may_be_twice:
                for node in await self._own_keys():
                    await self._remove(node)
        except ClientError as error:
            self._log.warn(
                "Keys of a contender in {directory} are left to expire: {reason}",
                directory=self._directory,
                reason=str(error),
            )

    async def _remove(self, node: Node) -> None:
        """Remove a key that was made, but is not needed. What can't be removed expires."""
        try:
            await self._client.compare_and_delete(node.key, previous_value=node.value)
        except (KeyNotFound, CompareFailed):
            return  # it is gone already
        except ClientError as error:
            if not may_pass(error):
                raise
            self._log.warn("{key} is left to expire: {reason}", key=node.key, reason=str(error))
