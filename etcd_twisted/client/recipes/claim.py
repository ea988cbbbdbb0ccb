"""
A key of a given name that one process at a time can have, kept alive by its TTL.

The value has a token that only this attempt has. So the request that makes the key can be sent again when its outcome
is unknown, and is never taken for somebody else's. This module must never leave a key behind that can be removed.
"""

import secrets

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from etcd_twisted.client import Client, ClientError, KeyExists, KeyNotFound, OutcomeUnknown
from etcd_twisted.client.recipes.lease import RETRY_FRACTION, Lease, monotonic
from etcd_twisted.client.recipes.waiting import may_pass, pause, shielded

CLEANUP_SECONDS = 5.0
"""For how long a key that is not needed is tried to be deleted. After that, it is left to its TTL."""

_log = Logger()


class Claim:
    """One attempt to make a key."""

    def __init__(self, client: Client, key: str, ttl_seconds: int, text: str) -> None:
        """
        @param text: what the key says beside the token.
        """
        self._client = client
        self._key = key
        self._ttl_seconds = ttl_seconds
        self._value = f"{secrets.token_hex(16)} {text}"
        self._now = monotonic(client.reactor)
        self._leaving = False

    async def make(self) -> Lease | None:
        """
        Returns the lease, or C{None} if somebody else has the key. If this is cancelled or fails, the key is removed.
        """
        making = Deferred.fromCoroutine(self._make())
        try:
            return await shielded(making)
        except CancelledError:
            self._leaving = True
            try:
                lease = await making  # if the key is made, it could not be removed otherwise
            except ClientError as error:
                _log.info("Did not make {key}: {reason}", key=self._key, reason=str(error))
            else:
                if lease is not None:
                    await give_up(lease, "the attempt was given up")
            raise

    async def _make(self) -> Lease | None:
        sent_at: float | None = None  # when the first request was sent whose outcome is unknown
        while True:
            now = self._now()
            try:
                event = await self._client.create(self._key, self._value, ttl_seconds=self._ttl_seconds)
                return Lease(self._client, event.node, self._ttl_seconds, now)
            except KeyExists:
                if sent_at is None:
                    return None
            except OutcomeUnknown as error:
                _log.info("May have made {key}: {reason}", key=self._key, reason=str(error))
                sent_at = now if sent_at is None else sent_at
            try:
                node = (await self._client.get(self._key, quorum=True)).node
            except KeyNotFound:  # it is not made yet; the same request can be sent again
                if self._leaving:
                    raise CancelledError from None
            except ClientError as error:
                if self._leaving or not may_pass(error) or self._now() >= sent_at + self._ttl_seconds:
                    raise
            else:
                if node.value != self._value:
                    return None
                return Lease(self._client, node, self._ttl_seconds, sent_at)
            await pause(self._client, self._ttl_seconds * RETRY_FRACTION)


async def give_up(lease: Lease, reason: str) -> None:
    """Remove a key that is not needed. What can't be removed expires."""
    lease.end(reason, released=True)
    try:
        await lease.remove(min(CLEANUP_SECONDS, lease.ttl_seconds))
    except ClientError as error:
        _log.warn("{key} is left to expire: {reason}", key=lease.key, reason=str(error))
