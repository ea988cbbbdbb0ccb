"""
AMP boxes: reads them from a stream, puts payloads into boxes of L{Deliver}, and takes payloads out again.

A box consists of keys and values, each after its length in two bytes, and ends with a length of zero. Twisted's own
parser does not limit what a box may hold, and takes several times as long.

Machines send each other thousands of payloads a second. So a payload that fits into one AMP value is written and read
without the detour through the command's arguments; the box is the same. A longer payload takes more keys, a very long
one more boxes, and boxes of other payloads may go between these.

This module must never hold more of a box, or of a payload, than is allowed.
"""
# Twisted's AMP has no types.
# mypy: disallow-untyped-calls=False, warn-return-any=False

from collections.abc import Iterator
from struct import Struct

from twisted.protocols.amp import COMMAND, MAX_KEY_LENGTH, MAX_VALUE_LENGTH, AmpBox

from etcd_twisted.peer.commands import Deliver

MAX_KEYS = 64
"""How many keys a box may have."""

MAX_SHORT_PAYLOAD_BYTES = MAX_VALUE_LENGTH
"""A payload up to this size fits into one value, and so into one box, which may go between those of another."""

PAYLOAD_BYTES_PER_BOX = 4 * MAX_SHORT_PAYLOAD_BYTES
"""How much of a payload goes into one box. A heartbeat waits for no more than that."""

MAX_BOX_BYTES = PAYLOAD_BYTES_PER_BOX + 4096
"""How large such a box may be, with what it holds beside the payload."""

MAX_PAYLOAD_BYTES = 1 << 30
"""A payload holds what goes into one record of the log, or less."""

_PAYLOAD = b"payload"
_pack_length = Struct("!H").pack
_END = _pack_length(0)
_START = AmpBox({COMMAND: Deliver.commandName}).serialize()[: -len(_END)] + _pack_length(len(_PAYLOAD)) + _PAYLOAD

Box = dict[bytes, bytes]
"""Values by their keys."""


class BoxError(ValueError):
    """These bytes are not a box, or it is too large; the text says what is wrong."""


class BoxReader:
    """
    Reads a stream of boxes.

    @ivar max_box_bytes: how large a box may be. It can be changed between two boxes.
    """

    def __init__(self, max_box_bytes: int) -> None:
        self.max_box_bytes = max_box_bytes
        self._rest = b""
        self._box: Box = {}
        self._key: bytes | None = None
        self._size = 0

    @property
    def has_part(self) -> bool:
        """Whether a box has begun that is not complete."""
        return self._size > 0 or bool(self._rest)

    def read(self, data: bytes) -> Iterator[Box]:
        """
        Yields the boxes that are complete with these bytes. The caller has to take all of them before it reads on.

        @raise BoxError: nothing more can be read from this stream.
        """
        if self._rest:
            data = self._rest + data
        box, key = self._box, self._key
        end = len(data)
        at = 0
        begin = -self._size  # where the box begins
        while end - at >= 2:
            length = data[at] << 8 | data[at + 1]
            behind = at + 2 + length
            if behind - begin > self.max_box_bytes:
                raise BoxError(f"a box of more than {self.max_box_bytes} bytes")
            if key is not None:
                if behind > end:
                    break
                box[key] = data[at + 2 : behind]
                key = None
            elif length == 0:
                whole, box = box, {}
                begin = behind
                yield whole
            elif length > MAX_KEY_LENGTH or len(box) == MAX_KEYS:
                raise BoxError(f"a key of {length} bytes, or more than {MAX_KEYS} of them")
            elif behind > end:
                break
            else:
                key = data[at + 2 : behind]
            at = behind
        self._box, self._key = box, key
        self._size = at - begin
        self._rest = data[at:]


def short_box(payload: bytes) -> bytes:
    """Returns the box that carries a payload of at most L{MAX_SHORT_PAYLOAD_BYTES}, as it goes over the wire."""
    return b"".join((_START, _pack_length(len(payload)), payload, _END))


def payload_boxes(payload: bytes) -> Iterator[bytes]:
    """Yields the boxes that carry a payload, as they go over the wire. Each is made when it is needed."""
    if len(payload) <= MAX_SHORT_PAYLOAD_BYTES:
        yield short_box(payload)
        return
    starts = range(0, len(payload), PAYLOAD_BYTES_PER_BOX)
    for start in starts:
        yield _box(payload[start : start + PAYLOAD_BYTES_PER_BOX], more=start != starts[-1])


def _box(part: bytes, more: bool) -> bytes:
    box: AmpBox = Deliver.makeArguments({"payload": part, "more": more}, None)
    box[COMMAND] = Deliver.commandName
    return box.serialize()


class PayloadAssembler:
    """Puts the payloads of one connection together."""

    def __init__(self, max_payload_bytes: int = MAX_PAYLOAD_BYTES) -> None:
        self._max_payload_bytes = max_payload_bytes
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def has_part(self) -> bool:
        """Whether the rest of a payload is to come."""
        return bool(self._parts)

    def take(self, box: Box) -> bytes | None:
        """
        Returns the payload that is complete with this box of L{Deliver}; C{None} if it is not.

        @raise BoxError: this is not such a box, or the payload is too long.
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
        if self._size > self._max_payload_bytes:
            raise BoxError(f"a payload of more than {self._max_payload_bytes} bytes")
        self._parts.append(payload)
        if arguments["more"]:
            return None
        parts, self._parts, self._size = self._parts, [], 0
        return b"".join(parts)
