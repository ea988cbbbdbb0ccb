"""
AMP boxes, read from a stream a piece at a time and within limits.

A box is keys and values, each with its length in two bytes before it, and a length of zero behind the last value.
Twisted's own parser does not limit what a box may hold, and takes several times as long.

Must never hold more of a box than is allowed, nor know what a box means.
"""

from collections.abc import Iterator

from twisted.protocols.amp import MAX_KEY_LENGTH, AmpBox

MOST_KEYS = 64
"""How many keys a box may have."""

_LENGTH = 2
"""Bytes of a length."""


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
        self._box = AmpBox()
        self._key: bytes | None = None
        self._size = 0

    @property
    def has_part(self) -> bool:
        """Whether a box has begun that is not complete."""
        return self._size > 0 or bool(self._rest)

    def read(self, data: bytes) -> Iterator[AmpBox]:
        """
        The boxes that are complete with these bytes. Who does not take all of them can't read on.

        @raise BoxError: no more can be read from this stream.
        """
        if self._rest:
            data = self._rest + data
        at = 0
        end = len(data)
        while end - at >= _LENGTH:
            length = data[at] << 8 | data[at + 1]
            if length == 0 and self._key is None:
                at += _LENGTH
                box, self._box, self._size = self._box, AmpBox(), 0
                yield box
                continue
            self._expect(length)
            behind = at + _LENGTH + length
            if behind > end:
                break
            self._take(data[at + _LENGTH : behind])
            at = behind
        self._rest = data[at:]

    def _expect(self, length: int) -> None:
        """A key or a value of that many bytes comes."""
        if self._key is None and length > MAX_KEY_LENGTH:
            raise BoxError(f"a key of {length} bytes")
        if self._size + _LENGTH + length > self.most:
            raise BoxError(f"a box of more than {self.most} bytes")

    def _take(self, text: bytes) -> None:
        self._size += _LENGTH + len(text)
        if self._key is not None:
            self._box[self._key] = text
            self._key = None
        elif len(self._box) < MOST_KEYS:
            self._key = text
        else:
            raise BoxError(f"a box of more than {MOST_KEYS} keys")
