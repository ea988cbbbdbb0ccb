"""
Reads AMP boxes from a stream, piece by piece and within limits.

A box consists of keys and values, each after its length in two bytes, and ends with a length of zero. Twisted's own
parser does not limit what a box may hold, and takes several times as long.

This module must never hold more of a box than is allowed, nor know what a box means.
"""

from collections.abc import Iterator

from twisted.protocols.amp import MAX_KEY_LENGTH

MAX_KEYS = 64
"""How many keys a box may have."""

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
