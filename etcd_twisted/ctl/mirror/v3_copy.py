"""
A copy in a cluster of version 3 of etcd's API: one way, for those who leave.

Version 3 has no directories: a key is its whole path, and an empty directory is nothing. A key with a TTL gets a
lease, which is never revoked, since several keys may have it: it ends by itself. This module must never remove
anything that is not below the directory of the copy.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from twisted.internet.interfaces import IReactorTime

from etcd_twisted.ctl.failures import CommandFailedError
from etcd_twisted.ctl.mirror.copies import POSITIONS, Entry, Position, decode_position, encode_position, name_of
from etcd_twisted.ctl.mirror.v3_gateway import Gateway, delete, encoded, end_of, put

OPERATIONS_AT_ONCE = 100
"""How many keys one transaction sets: etcd takes 128 by default."""

BYTES_AT_ONCE = 2**20
"""How large the keys and values of one transaction may be together: etcd takes 1.5 MiB in all by default."""

LEASED = math.inf
"""When a key expires that has a lease: it is not asked for."""


class V3Copy:
    """See L{etcd_twisted.ctl.mirror.copies.Copy}."""

    has_directories = False

    def __init__(self, reactor: IReactorTime, gateway: Gateway, directory: str) -> None:
        """@param directory: where the copy is: the prefix of its keys, without the slash."""
        self._reactor = reactor
        self._gateway = gateway
        self._directory = directory
        self._position_key = f"{POSITIONS}/{name_of(directory)}"
        self._leases: dict[int, int] = {}  # by the second in which they end

    async def load(self) -> Position | None:
        """See L{Copy}."""
        text = await self._gateway.get(self._position_key)
        return None if text is None else decode_position(text, self._position_key)

    async def save(self, position: Position) -> None:
        """See L{Copy}."""
        await self._gateway.transact([put(self._position_key, encode_position(position))])

    async def entries(self) -> Mapping[str, Entry]:
        """See L{Copy}."""
        prefix = "/" if self._directory == "/" else f"{self._directory}/"
        found = {
            each.key: Entry(each.value, LEASED if each.lease else None) for each in await self._gateway.pairs(prefix)
        }
        alone = await self._gateway.get(self._directory)
        return found if alone is None else {self._directory: Entry(alone)} | found

    async def put(self, key: str, value: str, ttl_seconds: int | None) -> None:
        """See L{Copy}."""
        await self._put([key], [put(key, value, await self._lease(ttl_seconds))])

    async def _put(self, keys: list[str], operations: list[dict[str, Any]]) -> None:
        try:
            await self._gateway.transact(operations)
        except CommandFailedError as error:
            more = f", or one of {len(keys) - 1} others" if len(keys) > 1 else ""
            raise CommandFailedError(f"can't set {keys[0]}{more}: {error}", error.status, error.remedy) from error

    async def put_directory(self, key: str, ttl_seconds: int | None) -> None:
        """See L{Copy}: there are no directories, but a value may have been there before."""
        del ttl_seconds
        if key != "/":
            await self._gateway.transact([delete(key)])

    async def put_all(self, entries: Iterable[tuple[str, str, int | None]]) -> None:
        """See L{Copy}."""
        keys: list[str] = []
        operations: list[dict[str, Any]] = []
        size = 0
        for key, value, ttl_seconds in entries:
            more = len(key.encode()) + len(value.encode())
            if operations and (len(operations) == OPERATIONS_AT_ONCE or size + more > BYTES_AT_ONCE):
                await self._put(keys, operations)
                keys, operations, size = [], [], 0
            keys.append(key)
            operations.append(put(key, value, await self._lease(ttl_seconds)))
            size += more
        if operations:
            await self._put(keys, operations)

    async def remove(self, key: str) -> None:
        """See L{Copy}."""
        prefix = "/" if key == "/" else f"{key}/"
        operations = [delete(prefix, end_of(prefix))]
        await self._gateway.transact(operations if key == "/" else [delete(key), *operations])

    async def extend(self, key: str, ttl_seconds: int) -> None:
        """See L{Copy}."""
        lease = await self._lease(ttl_seconds)
        fields = {"key": encoded(key), "lease": str(lease), "ignore_value": True}
        try:
            await self._gateway.transact([{"requestPut": fields}])
        except CommandFailedError as error:
            if "key not found" not in str(error):
                raise

    async def close(self) -> None:
        """See L{Copy}."""
        await self._gateway.close()

    async def _lease(self, ttl_seconds: int | None) -> int:
        """Returns a lease for a TTL, or 0 for none. Keys that expire in the same second share one."""
        if ttl_seconds is None:
            return 0
        now = self._reactor.seconds()
        end = math.ceil(now + ttl_seconds)
        if end not in self._leases:
            for old in [each for each in self._leases if each <= now + 1]:
                del self._leases[old]
            self._leases[end] = await self._gateway.grant(max(1, math.ceil(end - now)))
        return self._leases[end]
