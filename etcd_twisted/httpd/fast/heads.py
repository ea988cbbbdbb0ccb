"""
The header lines of common requests.

Clients send the same headers again and again: a block of header lines that was parsed once is remembered. What is not
common is left to L{twisted.web}, which knows all of HTTP.

This module must never take a request for common that L{twisted.web} or the L{BrowserPolicy} would refuse, or
understand in another way.
"""

import re

import attrs

from etcd_twisted.httpd.browsers import BrowserPolicy
from etcd_twisted.httpd.handler import RELAYED, Authorization

LONGEST_BLOCK_BYTES = 4_096
"""A longer block of header lines is not looked at."""

MOST_KNOWN_BLOCKS = 256
"""How many blocks are remembered at a time; before there are more, all are forgotten."""

_MOST_LINES = 100
"""A block with more header lines is not common."""

_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([!-~](?:[ -~]*[!-~])?)?[ \t]*\r\n")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
_UNCOMMON = frozenset((b"expect", b"origin", b"te", b"trailer", b"transfer-encoding", b"upgrade"))
_ONCE = (b"host", b"content-length", b"connection")


@attrs.frozen
class Head:
    """
    What header lines say about the body and the client.

    @ivar length: the length of the body in bytes.
    @ivar content_type: the type of the body; C{None} if they don't say.
    @ivar authorization: see L{etcd_twisted.httpd.handler.ParsedRequest}; likewise C{relayed}.
    """

    length: int
    content_type: bytes | None
    authorization: Authorization | None = None
    relayed: bool = False


class Heads(dict[bytes, Head | None]):
    """
    Maps blocks of header lines to what they say, or to C{None} if they are not common. A block consists of lines with
    their ends, without the empty line.

    It is a dictionary, so that it takes no call to look up a block that is known. A block that is not known is parsed.
    """

    def __init__(self, browsers: BrowserPolicy, longest_body_bytes: int) -> None:
        """
        @param longest_body_bytes: a request with a longer body is not common.
        """
        super().__init__()
        self._browsers = browsers
        self._longest_body_bytes = longest_body_bytes

    def __missing__(self, block: bytes) -> Head | None:
        """Parse a block for the first time."""
        if len(block) > LONGEST_BLOCK_BYTES:
            return None
        if len(self) >= MOST_KNOWN_BLOCKS:
            self.clear()
        head = _parsed(block, self._browsers)
        if head is not None and head.length > self._longest_body_bytes:
            head = None
        self[block] = head
        return head


def may_become_common(lines: bytes) -> bool:
    """Returns whether a request that begins with these complete header lines can still be a common one."""
    return _headers(lines) is not None


def has_bare_line_feed(data: bytes) -> bool:
    """Returns whether a line ends without a carriage return, which no common request's does."""
    return _BARE_LINE_FEED.search(data) is not None


def _parsed(block: bytes, browsers: BrowserPolicy) -> Head | None:
    headers = _headers(block)
    if headers is None or b"host" not in headers:
        return None
    if browsers.unknown_host(lambda name: headers.get(name, ())) is not None:
        return None
    (length,) = headers.get(b"content-length", (b"0",))
    authorization = headers.get(b"authorization")
    return Head(
        int(length),
        headers.get(b"content-type", (None,))[0],
        None if authorization is None else Authorization(b", ".join(authorization)),
        RELAYED.lower() in headers,
    )


def _headers(lines: bytes) -> dict[bytes, list[bytes]] | None:
    """Returns the values by name in lower case, or None if one of the lines is not common."""
    if lines.count(b"\n") > _MOST_LINES:
        return None
    position = 0
    headers: dict[bytes, list[bytes]] = {}
    while position < len(lines):
        line = _HEADER.match(lines, position)
        if line is None:
            return None
        name, value = line[1].lower(), line[2] or b""
        if name in _UNCOMMON or (name in _ONCE and name in headers):
            return None
        headers.setdefault(name, []).append(value)
        position = line.end()
    (length,) = headers.get(b"content-length", (b"0",))
    (connection,) = headers.get(b"connection", (b"keep-alive",))
    return headers if connection.lower() == b"keep-alive" and _LENGTH.fullmatch(length) else None
