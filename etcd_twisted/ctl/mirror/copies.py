"""
What a mirror can do to a copy, however it is kept.

All keys are those of the copy. This module must never decide what to do.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

import attrs
import msgspec

from etcd_twisted.ctl.failures import SERVER_ERROR, CommandFailedError

POSITIONS = "_txetcdctl/mirror"
"""Where the positions of mirrors are: a directory that no listing shows."""


class Position(msgspec.Struct, frozen=True):
    """
    How far a copy has come.

    @ivar cluster: the id of the source's cluster, or an empty text.
    @ivar directory: the directory there.
    @ivar index: the index of the last change that was made in the copy; 0 until it was the same for the first time.
    """

    cluster: str
    directory: str
    index: int


@attrs.frozen
class Entry:
    """
    The state of a key.

    @ivar value: the value; C{None} for a directory.
    @ivar expires_at: when it expires, in seconds since the epoch; C{None} for never.
    """

    value: str | None
    expires_at: float | None = None


class Copy(Protocol):
    """
    Keeps a copy. All methods may raise L{etcd_twisted.client.ConnectionFailed} or
    L{etcd_twisted.client.OutcomeUnknown}; then they may be called again.
    """

    @property
    def has_directories(self) -> bool:
        """Whether it knows directories."""

    async def load(self) -> Position | None:
        """Returns the position, or C{None} if no copy was begun."""

    async def save(self, position: Position) -> None:
        """Keep a position."""

    async def entries(self) -> Mapping[str, Entry]:
        """Returns everything below the directory of the copy."""

    async def put(self, key: str, value: str, ttl_seconds: int | None) -> None:
        """Set a key, and remove what is in its way."""

    async def put_directory(self, key: str, ttl_seconds: int | None) -> None:
        """Make a directory, or set the TTL of one that is there, and remove what is in its way."""

    async def put_all(self, entries: Iterable[tuple[str, str, int | None]]) -> None:
        """
        Set many keys, in any order.

        @param entries: keys, values and TTLs.
        """

    async def remove(self, key: str) -> None:
        """Remove a key or a directory, with everything in it, if it is there."""

    async def extend(self, key: str, ttl_seconds: int) -> None:
        """Give a key another TTL, if it is there, without any other change."""

    async def close(self) -> None:
        """Close connections."""


def name_of(directory: str) -> str:
    """Returns a directory of a copy as the name of its position."""
    return directory.strip("/").replace("~", "~0").replace("/", "~1") or "~"


def decode_position(text: str, key: str) -> Position:
    """
    Returns a position that was saved.

    @raise CommandFailedError: it is none.
    """
    try:
        return msgspec.json.decode(text, type=Position)
    except msgspec.MsgspecError as error:
        reason = f"{key} of the target, where the position should be, holds something else: {error}"
        raise CommandFailedError(f"{reason}; remove it, and begin again with --overwrite", SERVER_ERROR) from error


def encode_position(position: Position) -> str:
    """Returns a position as it is saved."""
    return msgspec.json.encode(position).decode()
