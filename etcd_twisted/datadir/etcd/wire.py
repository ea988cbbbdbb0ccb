"""
The wire format of Protocol Buffers, as far as etcd's files need it.

A hand-written reader and not a library, since etcd's checksums do not cover everything: so this reader must refuse
what the rules of Protocol Buffers have a library ignore, such as unknown fields and missing ones. There are ten small
messages, and no code has to be generated for them.
"""

from collections.abc import Iterator, Mapping
from typing import Any

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MASK = (1 << 64) - 1
_LONGEST_VARINT_BYTES = 10


class WireError(ValueError):
    """The data is no message of the kind that it should be."""


def varint(data: bytes, offset: int) -> tuple[int, int]:
    """Returns the unsigned number of at most 64 bits at an offset, and the offset behind it."""
    value = shift = 0
    for position in range(offset, offset + _LONGEST_VARINT_BYTES):
        try:
            byte = data[position]
        except IndexError:
            raise WireError("a number is cut off") from None
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _MASK, position + 1
        shift += 7
    raise WireError("a number has more than 64 bits")


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """
    Yields the number and the value of each field of a message, in their order.

    @raise WireError: this is no message.
    """
    offset = 0
    while offset < len(data):
        tag, offset = varint(data, offset)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise WireError("a field has the number 0")
        if kind == _VARINT:
            value: int | bytes
            value, offset = varint(data, offset)
        elif kind == _BYTES:
            length, start = varint(data, offset)
            offset = start + length
            if offset > len(data):
                raise WireError(f"field {number} is cut off")
            value = data[start:offset]
        elif kind in (_FIXED64, _FIXED32):
            start, offset = offset, offset + (8 if kind == _FIXED64 else 4)
            if offset > len(data):
                raise WireError(f"field {number} is cut off")
            value = data[start:offset]
        else:
            raise WireError(f"field {number} is of the unknown kind {kind}")
        yield number, value


def message(data: bytes, kinds: Mapping[int, type], required: frozenset[int] = frozenset()) -> dict[int, Any]:
    """
    Returns the fields of a message by their numbers. Of a field that comes twice, the last one counts.

    @param kinds: for each field that there may be, C{int} or C{bytes}.
    @param required: the fields that there must be.
    @raise WireError: the message has other fields, or not all of those.
    """
    found: dict[int, Any] = {}
    for number, value in fields(data):
        kind = kinds.get(number)
        if kind is None or not isinstance(value, kind):
            raise WireError(f"it has a field {number} that does not belong there")
        found[number] = value
    if not required <= found.keys():
        raise WireError(f"field {min(required - found.keys())} is missing")
    return found


def signed(value: int) -> int:
    """Returns a number that was written as an C{int64}."""
    return value - (1 << 64) if value >> 63 else value


def text(value: bytes) -> str:
    """
    Returns a text as etcd shows it: each byte that is no UTF-8 becomes a replacement character, as in Go.
    """
    try:
        return value.decode()
    except UnicodeDecodeError:
        escaped = value.decode(errors="surrogateescape")
        return "".join("\ufffd" if "\ud800" <= each <= "\udfff" else each for each in escaped)
