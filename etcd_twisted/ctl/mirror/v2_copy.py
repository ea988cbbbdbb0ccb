"""
A copy in a cluster of version 2 of the API.

This module must never remove anything that is not below the directory of the copy.
"""

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, FirstError, gatherResults

from etcd_twisted.client import ApiError, Client, KeyExists, KeyNotFound, NotADirectory, NotAFile, keys, large
from etcd_twisted.ctl.failures import SERVER_ERROR, CommandFailedError
from etcd_twisted.ctl.mirror.copies import POSITIONS, Entry, Position, decode_position, encode_position, name_of
from etcd_twisted.ctl.subtree import is_within

if TYPE_CHECKING:
    from etcd_twisted.client import Index, Node
    from etcd_twisted.client.listing import Take

WRITES_AT_ONCE = 64
"""How many writes are under way while many keys are set."""

_BULK_TIMEOUT_SECONDS = 10.0


class V2Copy:
    """See L{etcd_twisted.ctl.mirror.copies.Copy}."""

    has_directories = True

    def __init__(self, client: Client, directory: str) -> None:
        """@param directory: where the copy is."""
        self._client = client
        self._directory = directory
        self._position_key = f"/{POSITIONS}/{name_of(directory)}"

    async def load(self) -> Position | None:
        """See L{Copy}."""
        try:
            reading = await self._client.get(self._position_key, quorum=True)
        except KeyNotFound:
            return None
        return decode_position(reading.value or "", self._position_key)

    async def save(self, position: Position) -> None:
        """See L{Copy}."""
        await self._client.set(self._position_key, encode_position(position))

    async def entries(self) -> Mapping[str, Entry]:
        """See L{Copy}."""
        found: dict[str, Entry] = {}

        def take(node: "Node") -> None:
            if node.key != "/":
                found[node.key] = Entry(None if node.directory else node.value or "", node.expires_at)

        def begin(_: "Index") -> "Take":
            found.clear()
            return take

        try:
            await large.walk(self._client, self._directory, begin)
        except KeyNotFound:
            return {}
        return found

    async def put(self, key: str, value: str, ttl_seconds: int | None) -> None:
        """See L{Copy}."""
        try:
            await self._client.set(key, value, ttl_seconds=ttl_seconds)
        except NotAFile:
            await self.remove(key)
            await self._client.set(key, value, ttl_seconds=ttl_seconds)
        except NotADirectory as error:
            await self._make_way(key, error)
            await self._client.set(key, value, ttl_seconds=ttl_seconds)

    async def put_directory(self, key: str, ttl_seconds: int | None) -> None:
        """See L{Copy}."""
        if key == "/":
            return
        try:
            await self._client.make_directory(key, ttl_seconds=ttl_seconds)
        except NotADirectory as error:
            await self._make_way(key, error)
            await self._client.make_directory(key, ttl_seconds=ttl_seconds)
        except KeyExists:
            if (await self._client.get(key, quorum=True)).node.directory:
                await self._client.update_directory(key, ttl_seconds=ttl_seconds)
            else:
                await self.remove(key)
                await self._client.make_directory(key, ttl_seconds=ttl_seconds)

    async def put_all(self, entries: Iterable[tuple[str, str, int | None]]) -> None:
        """See L{Copy}."""
        bulk = large.bulk(self._client, _BULK_TIMEOUT_SECONDS)

        async def work(rest: Iterator[tuple[str, str, int | None]]) -> None:
            for key, value, ttl_seconds in rest:
                if not await bulk.send(keys.put(key, value, {}, ttl_seconds)):
                    await self.put(key, value, ttl_seconds)

        shared = iter(entries)
        try:
            workers = [Deferred.fromCoroutine(work(shared)) for _ in range(WRITES_AT_ONCE)]
            await gatherResults(workers, consumeErrors=True)
        except FirstError as error:
            error.subFailure.raiseException()
        finally:
            bulk.close()

    async def remove(self, key: str) -> None:
        """See L{Copy}."""
        if key == "/":
            for child in (await self._client.list("/", quorum=True)).nodes:
                await self.remove(child.key)
            return
        try:
            await self._client.remove_directory(key, recursive=True)
        except (KeyNotFound, NotADirectory):  # one of its parents is a key with a value
            return

    async def extend(self, key: str, ttl_seconds: int) -> None:
        """See L{Copy}."""
        try:
            await self._client.refresh(key, ttl_seconds)
        except (KeyNotFound, NotADirectory):
            return

    async def close(self) -> None:
        """See L{Copy}."""
        await self._client.close()

    async def _make_way(self, key: str, error: ApiError) -> None:
        """
        Remove the value at a parent of a key.

        @raise CommandFailedError: the parent is not in the copy.
        """
        parents = []
        while key != "/":
            key = posixpath.dirname(key)
            parents.append(key)
        for parent in reversed(parents):
            node = (await self._client.get(parent, quorum=True)).node
            if not node.directory:
                if not is_within(parent, self._directory):
                    text = f"{parent} of the target has a value, so that it can't hold the copy"
                    raise CommandFailedError(f"{text}: choose another directory with --to-directory", SERVER_ERROR)
                await self.remove(parent)
                return
        raise error
