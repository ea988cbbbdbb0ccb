"""
Payloads in boxes of L{Deliver}, and out of them again.

This is what machines do thousands of times a second, so the one box of a payload that fits into an AMP value is
written and read without a detour through the command's arguments; it is the same box. A longer one takes more keys, a
very long one more boxes, between which boxes of other payloads may go.

Must never hold more of a payload than is allowed.
"""
# Twisted's AMP has no types.
# mypy: disallow-untyped-calls=False, warn-return-any=False

from collections.abc import Iterator
from struct import Struct

from twisted.protocols.amp import COMMAND, MAX_VALUE_LENGTH, AmpBox

from etcd_twisted.peer.boxes import Box, BoxError
from etcd_twisted.peer.commands import Deliver

SHORT = MAX_VALUE_LENGTH
"""How many bytes of a payload go into one value; it takes one box then, and may go between those of another."""

BOX_BYTES = 4 * SHORT
"""How much of a payload goes into one box, and may be before a heartbeat."""

MOST_IN_BOX = BOX_BYTES + 4096
"""How many bytes such a box may take, with what stands beside the payload."""

LONGEST = 1 << 30
"""Bytes. A payload holds what goes into one record of the log, or less."""

_PAYLOAD = b"payload"
_pack_length = Struct("!H").pack
_END = _pack_length(0)
_START = AmpBox({COMMAND: Deliver.commandName}).serialize()[: -len(_END)] + _pack_length(len(_PAYLOAD)) + _PAYLOAD


def boxes(payload: bytes) -> Iterator[bytes]:
    """The boxes that carry a payload, as they go over the wire. Each is made when it is asked for."""
    if len(payload) <= SHORT:
        yield b"".join((_START, _pack_length(len(payload)), payload, _END))
        return
    starts = range(0, len(payload), BOX_BYTES)
    for start in starts:
        yield _box(payload[start : start + BOX_BYTES], more=start != starts[-1])


def _box(part: bytes, more: bool) -> bytes:
    box: AmpBox = Deliver.makeArguments({"payload": part, "more": more}, None)
    box[COMMAND] = Deliver.commandName
    return box.serialize()


class Assembly:
    """Puts the payloads of one connection together."""

    def __init__(self, longest: int = LONGEST) -> None:
        self._longest = longest
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def has_part(self) -> bool:
        """Whether more of a payload is to come."""
        return bool(self._parts)

    def take(self, box: Box) -> bytes | None:
        """
        The payload that is complete with this box of L{Deliver}; C{None} when it is not.

        @raise BoxError: it is no such box, or the payload is too long.
        """
        if len(box) == 2 and _PAYLOAD in box:
            return box[_PAYLOAD]
        try:
            arguments = Deliver.parseArguments(box, None)
        except (KeyError, TypeError) as error:
            raise BoxError(f"messages that can't be read: {error!r}") from error
        payload: bytes = arguments["payload"]
        if arguments["more"] is None:
            return payload
        self._size += len(payload)
        if self._size > self._longest:
            raise BoxError(f"a payload of more than {self._longest} bytes")
        self._parts.append(payload)
        if arguments["more"]:
            return None
        parts, self._parts, self._size = self._parts, [], 0
        return b"".join(parts)
