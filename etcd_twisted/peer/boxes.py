"""
AMP boxes, read from a stream a piece at a time and within limits.

A box is keys and values, each with its length in two bytes before it, and a length of zero behind the last value.
Twisted's own parser does not limit what a box may hold, and takes several times as long.

Must never hold more of a box than is allowed, nor know what a box means.
"""

from collections.abc import Iterator

from twisted.protocols.amp import MAX_KEY_LENGTH

MOST_KEYS = 64
"""How many keys a box may have."""

Box = dict[bytes, bytes]
"""The values by their keys."""


class BoxError(ValueError):
    """These bytes are no box, or a larger one than is taken; the text says what is wrong."""


class BoxReader:
    """
    Reads a stream of boxes.

    @ivar most: how many bytes a box may take. It can be changed between two boxes.
    """

    def __init__(self, most: int) -> None:
        self.most = most
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
        The boxes that are complete with these bytes. Who does not take all of them can't read on.

        @raise BoxError: no more can be read from this stream.
        """
        if self._rest:
            data = self._rest + data
        box, key = self._box, self._key
        end = len(data)
        at = 0
        begin = -self._size  # of the box
        while end - at >= 2:
            length = data[at] << 8 | data[at + 1]
            behind = at + 2 + length
            if behind - begin > self.most:
                raise BoxError(f"a box of more than {self.most} bytes")
            if key is not None:
                if behind > end:
                    break
                box[key] = data[at + 2 : behind]
                key = None
            elif length == 0:
                whole, box = box, {}
                begin = behind
                yield whole
            elif length > MAX_KEY_LENGTH or len(box) == MOST_KEYS:
                raise BoxError(f"a key of {length} bytes, or more than {MOST_KEYS} of them")
            elif behind > end:
                break
            else:
                key = data[at + 2 : behind]
            at = behind
        self._box, self._key = box, key
        self._size = at - begin
        self._rest = data[at:]
