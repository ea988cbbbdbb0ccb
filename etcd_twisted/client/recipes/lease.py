"""
A key that lives for as long as its TTL is refreshed, and that knows from when on it may be gone.

The rules:

 1. A lease counts from I{before} the request that was answered last was sent, by a monotonic clock of this process.
    The cluster counts the TTL from when it gets the request, which is later. So the lease ends before the key does.
 2. A refresh without an answer, or with one that leaves its outcome open, extends nothing.
 3. A lease that has ended never begins again, and is never refreshed again.
 4. Another key of the same name, which has another C{created_index}, is never taken for the one that was made, never
    given a TTL, and never deleted.

This module must never say that a lease is held when the key may have expired.
"""

import time
from collections.abc import Callable

import attrs
from twisted.internet.base import ReactorBase
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from etcd_twisted.client import (
    Client,
    ClientClosed,
    ClientError,
    ClusterChanged,
    CompareFailed,
    Event,
    KeyNotFound,
    Node,
    NotAFile,
)
from etcd_twisted.client.recipes.waiting import may_pass, pause

MARGIN_FRACTION = 0.2
"""
How much earlier than its TTL a lease ends, as a fraction of the TTL. It makes up for clocks that do not run at quite
the same speed, and leaves the holder time to stop what it does.
"""

REFRESH_FRACTION = 1 / 3
"""After which part of the TTL a key is refreshed."""

ATTEMPT_FRACTION = 1 / 6
"""
How long a refresh may take before it is sent again, perhaps to another machine: three attempts have time before the
lease ends.
"""

RETRY_FRACTION = 1 / 50
"""How long the pause is after a request that has failed and may succeed soon."""


@attrs.frozen
class Loss:
    """
    Why a lease has ended.

    @ivar reason: a sentence for people.
    @ivar released: whether the holder has ended it itself.
    """

    reason: str
    released: bool = False


class Lease:
    """
    A key that is kept alive from the beginning on, until it is released or lost.

    It uses the C{refresh} of the API, which this project's server has, and etcd from 2.3 on: it keeps the key's value
    and wakes no watcher. With an older server, which changes the value instead, the lease ends at the first refresh.

    Twisted's usual reactors schedule by the wall clock, which may be set back: then L{lost} fires late. L{is_held} is
    right even so.

    @ivar key: the key.
    @ivar created_index: the index at which it was made, which no other key has.
    @ivar ttl_seconds: the TTL that each refresh gives it.
    @ivar loss: why the lease has ended; C{None} while it has not.
    """

    _log = Logger()

    def __init__(self, client: Client, node: Node, ttl_seconds: int, sent_at: float) -> None:
        """
        @param node: the key, as the answer to the request that has made it shows it.
        @param ttl_seconds: the TTL that it was made with.
        @param sent_at: when that request was sent, by L{monotonic} of the client's reactor.
        """
        self.key = node.key
        self.created_index = node.created_index
        self.loss: Loss | None = None
        self._client = client
        self._now = monotonic(client.reactor)
        self.ttl_seconds = ttl_seconds
        self._value = node.value
        self._modified_index = node.modified_index
        self._waiting: list[Deferred[Loss]] = []
        self._timer: IDelayedCall | None = None
        self._deadline = 0.0
        self._extend(sent_at)
        self._refreshing = client.run(Deferred.fromCoroutine(self._refresh_for_ever()))
        self._refreshing.addCallbacks(self._end, self._failed)

    @property
    def is_held(self) -> bool:
        """Whether the key certainly exists now, unless somebody has deleted it by hand a moment ago."""
        return self.loss is None and self._now() < self._deadline

    @property
    def lost(self) -> "Deferred[Loss]":
        """
        A Deferred that fires when the lease ends, for whatever reason; each access returns a new one, which may be
        cancelled.
        """
        waiting: Deferred[Loss] = Deferred(self._waiting.remove)
        if self.loss is None:
            self._waiting.append(waiting)
        else:
            waiting.callback(self.loss)
        return waiting

    def end(self, reason: str, *, released: bool = False) -> None:
        """Stop refreshing the key, and let it expire unless L{remove} deletes it."""
        self._end(Loss(reason, released))

    async def remove(self, seconds: float) -> None:
        """
        Delete the key, once the lease has ended. This is done again for a while if the cluster can't be reached; then
        the key is left to its TTL.

        @param seconds: how long that is.
        @raise ClientError: the cluster refuses it, or the client is closed.
        """
        until = self._now() + seconds
        while True:
            try:
                if await self._delete(min(self.ttl_seconds * ATTEMPT_FRACTION, until - self._now())):
                    return
            except ClientError as error:
                if not may_pass(error):
                    raise
                self._log.info("Could not delete {key}: {reason}", key=self.key, reason=str(error))
            if self._now() >= until:
                self._log.warn("Left {key} to expire, as it could not be deleted", key=self.key)
                return
            await pause(self._client, self.ttl_seconds * RETRY_FRACTION)

    async def _delete(self, seconds: float) -> bool:
        """Returns whether the key is gone. If it is not, a refresh whose outcome was unknown has changed its index."""
        try:
            await self._client.compare_and_delete(
                self.key, previous_index=self._modified_index, timeout_seconds=seconds
            )
        except (KeyNotFound, NotAFile):
            return True
        except CompareFailed:
            return await self._read(seconds) is None
        return True

    async def _read(self, seconds: float) -> Node | None:
        """Returns the key, or C{None} if it is gone. Its index is new if a refresh was done without an answer."""
        try:
            node = (await self._client.get(self.key, quorum=True, timeout_seconds=seconds)).node
        except KeyNotFound:
            return None
        if node.created_index != self.created_index:
            return None
        self._modified_index = node.modified_index
        return node

    async def _refresh_for_ever(self) -> Loss:
        fraction = REFRESH_FRACTION
        while True:
            await pause(self._client, self.ttl_seconds * fraction)
            if not self.is_held:  # and the timer that should have ended the lease is late
                return self._overdue()
            try:
                sent_at = await self._refresh()
            except (KeyNotFound, NotAFile, ClusterChanged) as error:
                return Loss(f"{self.key} is gone: {error}")
            except ClientClosed:
                raise
            except ClientError as error:
                self._log.info("Could not refresh {key}: {reason}", key=self.key, reason=str(error))
                fraction = RETRY_FRACTION if may_pass(error) else ATTEMPT_FRACTION
                continue
            if not self.is_held:
                return self._overdue()
            self._extend(sent_at)
            fraction = REFRESH_FRACTION

    async def _refresh(self) -> float:
        """
        Returns when the refresh was sent.

        @raise KeyNotFound: the key is gone, or somebody else has changed it.
        """
        sent_at = self._now()
        longest_seconds = min(self.ttl_seconds * ATTEMPT_FRACTION, self._deadline - sent_at)
        try:
            event = await self._refresh_if_unchanged(longest_seconds)
        except CompareFailed:
            node = await self._read(longest_seconds)
            if node is None or node.value != self._value:
                raise KeyNotFound(100, "somebody has changed it") from None
            event = await self._refresh_if_unchanged(longest_seconds)
        if event.node.value != self._value:
            raise KeyNotFound(100, "this server can't refresh a key, and has changed its value")
        self._modified_index = event.node.modified_index
        return sent_at

    def _refresh_if_unchanged(self, longest_seconds: float) -> "Deferred[Event]":
        return self._client.refresh(
            self.key, self.ttl_seconds, previous_index=self._modified_index, timeout_seconds=longest_seconds
        )

    def _extend(self, sent_at: float) -> None:
        self._deadline = sent_at + self.ttl_seconds * (1 - MARGIN_FRACTION)
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._client.reactor.callLater(max(0.0, self._deadline - self._now()), self._deadline_passed)

    def _deadline_passed(self) -> None:
        self._timer = None
        if self._now() < self._deadline:  # the reactor's clock is ahead of the monotonic one
            self._set_timer()
        else:
            self._end(self._overdue())

    def _overdue(self) -> Loss:
        return Loss(f"{self.key} could not be refreshed for {self.ttl_seconds * (1 - MARGIN_FRACTION):g} seconds")

    def _failed(self, failure: Failure) -> None:
        """The refreshing has ended by itself: the client is closed, or this library is wrong."""
        if self.loss is not None and failure.check(CancelledError):
            return
        self._end(Loss(failure.getErrorMessage()))
        if not failure.check(ClientClosed):
            self._log.failure("Refreshing {key} has failed", failure, key=self.key)

    def _end(self, loss: Loss) -> None:
        if self.loss is not None:
            return
        self.loss = loss
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._refreshing.cancel()
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(loss)


def monotonic(reactor: IReactorTime) -> Callable[[], float]:
    """
    Returns a clock that is never set: that of the process, in place of the wall clock by which Twisted's own reactors
    go, or that of a reactor whose time is simulated.
    """
    return time.monotonic if isinstance(reactor, ReactorBase) else reactor.seconds
