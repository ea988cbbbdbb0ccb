"""
A key that says of a service where it is, for as long as the service lives.

This module must never delete a key that somebody else has set.
"""

from types import TracebackType
from typing import Self

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from etcd_twisted.client import Client, ClientClosed, ClientError
from etcd_twisted.client.recipes.errors import AlreadyClosed
from etcd_twisted.client.recipes.lease import REFRESH_FRACTION, RETRY_FRACTION, Lease, monotonic
from etcd_twisted.client.recipes.lock import DEFAULT_TTL_SECONDS
from etcd_twisted.client.recipes.paths import normal_key
from etcd_twisted.client.recipes.waiting import may_pass, shielded


class Registration:
    """
    A key that is kept alive by its TTL, and set again if it was lost::

        async with Registration(client, "/services/web/a", "10.0.0.1:8000") as registration:
            ...
            await registration.update("10.0.0.1:8001")

    I{What it guarantees.} Once it is open, the key exists with the value, unless the cluster can't be reached for four
    fifths of the TTL; then it comes back as soon as the cluster can be reached. If somebody else deletes or overwrites
    the key, this is noticed at the next refresh, after a third of the TTL, and the key is set again: two registrations
    of one key overwrite each other for ever. After L{close} the key is gone, or left to its TTL if the cluster can't
    be reached. Watchers see when the value is set, but not when its TTL is refreshed.

    I{What no lease can guarantee.} The key outlives a service that dies by up to its TTL, so that others must expect
    that a registered service does not answer. And a service that is stopped for longer than the TTL is not registered,
    until it goes on.

    @ivar key: the key.
    @ivar value: the value that it has, or shall have.
    """

    _log = Logger()

    def __init__(self, client: Client, key: str, value: str, *, ttl_seconds: int = DEFAULT_TTL_SECONDS) -> None:
        """
        @param ttl_seconds: how long the key may outlive the service.
        @raise ValueError: C{ttl_seconds} is below 1.
        """
        if ttl_seconds < 1:
            raise ValueError(f"ttl_seconds is {ttl_seconds}, but at least 1 is needed")
        self.key = normal_key(key)
        self.value = value
        self._client = client
        self._ttl_seconds = ttl_seconds
        self._now = monotonic(client.reactor)
        self._lease: Lease | None = None
        self._set_value: str | None = None  # the value that the key of the lease has
        self._waiting: list[tuple[str, Deferred[None]]] = []  # for the key to have a value
        self._sleeping: Deferred[None] | None = None
        self._running: Deferred[None] | None = None
        self._failure: Failure | None = None
        self._closed = False

    @property
    def is_registered(self) -> bool:
        """Whether the key certainly exists now, unless somebody else has deleted or overwritten it a moment ago."""
        return self._lease is not None and self._lease.is_held

    def open(self) -> "Deferred[None]":
        """
        Register. The Deferred fires when the key is set for the first time, which is tried for as long as the cluster
        can't be reached. Cancelling it closes the registration.

        @raise ClientError: (as a failure) the cluster refuses it, or the client is closed.
        @raise AlreadyClosed: (as a failure) it was closed before.
        """
        return Deferred.fromCoroutine(self._open())

    async def _open(self) -> None:
        self._check_open()
        if self._running is None:
            self._running = self._client.run(Deferred.fromCoroutine(self._run()))
            self._running.addErrback(self._failed)
        try:
            await self._until_set()
        except CancelledError:
            await self._close()
            raise

    def update(self, value: str) -> "Deferred[None]":
        """
        Change the value. The Deferred fires when the key has it; cancelling it only ends the waiting.

        @raise ClientError: (as a failure) the cluster refuses the value, and the old one stays; or the client is
            closed.
        @raise AlreadyClosed: (as a failure) it was closed before.
        """
        return Deferred.fromCoroutine(self._update(value))

    async def _update(self, value: str) -> None:
        self._check_open()
        self.value = value
        if self._running is not None:
            self._wake()
            await self._until_set()

    def close(self) -> "Deferred[None]":
        """
        Delete the key. The Deferred fires when it is gone, or must have expired because the cluster could not be
        reached. Cancelling it leaves the key to its TTL.

        @raise ClientError: (as a failure) the cluster refuses it, or the client was closed before.
        """
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        self._closed = True
        self._wake()
        if self._running is not None:
            await shielded(self._running)
        if self._failure is not None:
            self._failure.raiseException()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise AlreadyClosed(f"the registration of {self.key} is closed: make another one")

    async def _until_set(self) -> None:
        """Wait until the key has the present value."""
        if self._failure is not None:  # it has ended already, such as with a client that is closed
            self._failure.raiseException()
        if not self._must_set():
            return
        entry = (self.value, Deferred[None]())
        self._waiting.append(entry)
        try:
            await entry[1]
        finally:
            if entry in self._waiting:
                self._waiting.remove(entry)

    # Keeping the key

    async def _run(self) -> None:
        while not self._closed:
            if self._must_set():
                await self._set()
            else:
                await self._sleep(None)
        self._end_waiting(None, Failure(AlreadyClosed(f"the registration of {self.key} was closed")))
        if self._lease is not None:
            self._lease.end("the registration was closed", released=True)
            await self._lease.remove(self._ttl_seconds)

    def _must_set(self) -> bool:
        return not self.is_registered or self._set_value != self.value

    async def _set(self) -> None:
        """Set the key, or wait for a while if that has failed."""
        value, sent_at, old = self.value, self._now(), self._lease
        try:
            event = await self._client.set(self.key, value, ttl_seconds=self._ttl_seconds)
        except ClientError as error:
            if isinstance(error, ClientClosed) or (old is None and not may_pass(error)):
                raise
            await self._not_set(value, error)
            return
        if old is not None:
            if old.loss is not None:
                self._log.warn("{key} is registered again: {reason}", key=self.key, reason=old.loss.reason)
            old.end("the key was set again", released=True)
        self._lease = Lease(self._client, event.node, self._ttl_seconds, sent_at)
        self._lease.lost.addCallback(lambda _: self._wake())
        self._set_value = value
        if value == self.value and not self._closed:
            self._end_waiting(None, None)

    async def _not_set(self, value: str, error: ClientError) -> None:
        """Take note that the key could not be set."""
        self._log.info("Could not set {key}: {reason}", key=self.key, reason=str(error))
        if may_pass(error):
            await self._sleep(self._ttl_seconds * RETRY_FRACTION)
            return
        self._end_waiting(value, Failure(error))
        if value == self.value and self.is_registered and self._set_value is not None:
            self.value = self._set_value
        else:
            await self._sleep(self._ttl_seconds * REFRESH_FRACTION)

    def _end_waiting(self, value: str | None, failure: Failure | None) -> None:
        """Fire what waits for the key to have a value, or any value if C{value} is C{None}."""
        ended = [entry for entry in self._waiting if value in (None, entry[0])]
        self._waiting = [entry for entry in self._waiting if entry not in ended]
        for _, waiting in ended:
            waiting.callback(None) if failure is None else waiting.errback(failure)

    async def _sleep(self, seconds: float | None) -> None:
        """Wait until something has changed, or for some time."""
        self._sleeping = self._client.run(Deferred[None]())
        timer = None if seconds is None else self._client.reactor.callLater(seconds, self._wake)
        try:
            await self._sleeping
        finally:
            self._sleeping = None
            if timer is not None and timer.active():
                timer.cancel()

    def _wake(self) -> None:
        sleeping, self._sleeping = self._sleeping, None
        if sleeping is not None:
            sleeping.callback(None)

    def _failed(self, failure: Failure) -> None:
        """The cluster refuses the registration, or the client is closed, or this library is wrong."""
        self._closed = True
        self._failure = failure
        if not failure.check(ClientError):
            self._log.failure("The registration of {key} has ended", failure, key=self.key)
        self._end_waiting(None, failure)
