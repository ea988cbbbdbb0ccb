"""
Places where processes wait for each other.

This module must never let anybody pass while the store says that it is closed.
"""

import secrets

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from etcd_twisted.client import Client, ClientError, Event, KeyNotFound, Node
from etcd_twisted.client.recipes.claim import Claim, give_up
from etcd_twisted.client.recipes.contender import own_name
from etcd_twisted.client.recipes.errors import NotOpened
from etcd_twisted.client.recipes.lease import RETRY_FRACTION, Lease, monotonic
from etcd_twisted.client.recipes.lock import DEFAULT_TTL_SECONDS
from etcd_twisted.client.recipes.paths import normal_key
from etcd_twisted.client.recipes.waiting import may_pass, pause, until_event

RETRY_SECONDS = 0.3
"""How long the pause is after a request that has failed and may succeed soon."""


class Barrier:
    """
    A barrier that opens once a number of parties wait at it::

        barrier = Barrier(client, "/barriers/start", 3)
        await barrier.wait()

    I{What it guarantees.} Nobody passes before so many parties have waited at the same time, each with a key that is
    kept alive by its TTL. Then all of them pass, also those that were cut off at that moment, and everybody who comes
    later: the barrier stays open until L{reset}. Waiting parties learn of the opening only.

    I{What no lease can guarantee.} A party that has died counts until its TTL is over. So the barrier may open with
    one that has died a moment ago.
    """

    _log = Logger()

    def __init__(
        self,
        client: Client,
        directory: str,
        parties: int,
        *,
        ttl_seconds: int = DEFAULT_TTL_SECONDS,
        name: str | None = None,
    ) -> None:
        """
        @param directory: the directory of the barrier. Nothing else should be in it.
        @param parties: how many must wait for it to open. Each must say the same.
        @param ttl_seconds: for how long a party counts that has died.
        @param name: what the key of a party says, for people who look at it; by default the host's name and the
            process's id.
        @raise ValueError: C{parties} or C{ttl_seconds} is below 1.
        """
        if parties < 1:
            raise ValueError(f"parties is {parties}, but at least 1 must wait")
        if ttl_seconds < 1:
            raise ValueError(f"ttl_seconds is {ttl_seconds}, but at least 1 is needed")
        self._client = client
        self._directory = normal_key(directory)
        self._parties = f"{self._directory}/parties"
        self._open = f"{self._directory}/open"
        self._count = parties
        self._ttl_seconds = ttl_seconds
        self._name = own_name() if name is None else name
        self._now = monotonic(client.reactor)

    def wait(self, timeout_seconds: float | None = None) -> "Deferred[None]":
        """
        Wait until the barrier is open. Cancelling the Deferred gives up, and removes the key of this party; so does
        every failure.

        It fails if the cluster can't be reached when it begins. After that it waits out everything.

        @param timeout_seconds: for how long to wait; C{None} for as long as it takes.
        @raise NotOpened: (as a failure) that time is over.
        """
        return Deferred.fromCoroutine(self._wait(timeout_seconds))

    def reset(self) -> "Deferred[None]":
        """
        Close the barrier, and begin anew. Do it when all parties have passed: one that has not noticed yet that the
        barrier was open waits again.
        """
        return Deferred.fromCoroutine(self._reset())

    async def _reset(self) -> None:
        try:
            await self._client.delete(self._open)
        except KeyNotFound:
            return

    async def _wait(self, timeout_seconds: float | None) -> None:
        until = None if timeout_seconds is None else self._now() + timeout_seconds
        lease = await self._join()
        while True:
            try:
                is_open = lease is not None and await self._until_open(lease, until)
            except (ClientError, CancelledError):
                if lease is not None:
                    await give_up(lease, "the party has given up")
                raise
            if lease is not None:
                await give_up(lease, "the party has passed, or its key may be gone")
            if is_open:
                return
            lease = await self._join_again(until)

    async def _join(self) -> Lease | None:
        key = f"{self._parties}/{secrets.token_hex(16)}"
        return await Claim(self._client, key, self._ttl_seconds, self._name).make()

    async def _join_again(self, until: float | None) -> Lease | None:
        try:
            return await self._join()
        except ClientError as error:
            if not may_pass(error):
                raise
            self._log.info("Can't wait at {directory} now: {reason}", directory=self._directory, reason=str(error))
        self._remaining(until)
        await pause(self._client, self._ttl_seconds * RETRY_FRACTION)
        return None

    def _remaining(self, until: float | None) -> float | None:
        """
        Returns how much time is left.

        @raise NotOpened: none is.
        """
        if until is None:
            return None
        if self._now() >= until:
            raise NotOpened(f"{self._directory} did not open in time")
        return until - self._now()

    async def _until_open(self, lease: Lease, until: float | None) -> bool:
        """Returns whether the barrier is open; otherwise the party's key may be gone, so that it must join again."""
        while lease.is_held:
            try:
                reading = await self._client.list(self._directory, recursive=True, quorum=True)
                if self._is_open(reading.node):
                    return True
                parties = self._waiting(reading.node)
                if lease.created_index not in parties:
                    break
                if len(parties) >= self._count:
                    await self._client.set(self._open, self._name)
                    return True
            except KeyNotFound:
                break
            except ClientError as error:
                if not may_pass(error):
                    raise
                self._log.info("Can't look at {directory}: {reason}", directory=self._directory, reason=str(error))
                self._remaining(until)
                await pause(self._client, self._ttl_seconds * RETRY_FRACTION)
                continue
            seconds = self._remaining(until)
            index = reading.index.etcd_index
            await until_event(self._client, self._open, index, _is_made, lease.lost, seconds)
        return False

    def _is_open(self, barrier: Node) -> bool:
        return any(node.key == self._open for node in barrier.nodes)

    def _waiting(self, barrier: Node) -> set[int]:
        """Returns the created indexes of the keys of the parties."""
        nodes = next((node.nodes for node in barrier.nodes if node.key == self._parties), ())
        return {node.created_index for node in nodes}


class Gate:
    """
    A gate that one process closes, and at which others wait until it is open::

        gate = Gate(client, "/gates/maintenance")
        await gate.close()
        ...
        await gate.open()

    It is closed while its key exists, and open at first. I{What it guarantees:} whoever waits passes only if the gate
    was open at some time after L{wait} was called, by a quorum of the machines, and passes soon after it opens. I{What
    it can't guarantee:} somebody may close it again just then; a gate that is opened and closed at once may be missed.
    """

    _log = Logger()

    def __init__(self, client: Client, key: str) -> None:
        self._client = client
        self._key = normal_key(key)
        self._now = monotonic(client.reactor)

    def close(self, ttl_seconds: int | None = None) -> "Deferred[None]":
        """
        Close the gate, if it is not closed already.

        @param ttl_seconds: after how long it opens by itself; C{None} for never.
        """
        return self._client.set(self._key, own_name(), ttl_seconds=ttl_seconds).addCallback(lambda _: None)

    def open(self) -> "Deferred[None]":
        """Open the gate, if it is not open already."""
        return Deferred.fromCoroutine(self._open())

    async def _open(self) -> None:
        try:
            await self._client.delete(self._key)
        except KeyNotFound:
            return

    def wait(self, timeout_seconds: float | None = None) -> "Deferred[None]":
        """
        Wait until the gate is open. It fails if the cluster can't be reached when it begins; after that it waits out
        everything. Cancelling the Deferred ends the wait.

        @param timeout_seconds: for how long to wait; C{None} for as long as it takes.
        @raise NotOpened: (as a failure) that time is over.
        """
        return Deferred.fromCoroutine(self._wait(timeout_seconds))

    async def _wait(self, timeout_seconds: float | None) -> None:
        until = None if timeout_seconds is None else self._now() + timeout_seconds
        has_looked = False
        while True:
            index: int | None = None
            try:
                index = (await self._client.get(self._key, quorum=True)).index.etcd_index
            except KeyNotFound:
                return
            except ClientError as error:
                if not (has_looked and may_pass(error)):
                    raise
                self._log.info("Can't look at {key}: {reason}", key=self._key, reason=str(error))
            has_looked = True
            seconds = None if until is None else until - self._now()
            if seconds is not None and seconds <= 0:
                raise NotOpened(f"{self._key} did not open in time")
            if index is None:
                await pause(self._client, RETRY_SECONDS)
            else:
                await until_event(self._client, self._key, index, _is_removed, Deferred(), seconds)


def _is_made(event: Event) -> bool:
    return not event.is_removal


def _is_removed(event: Event) -> bool:
    return event.is_removal
