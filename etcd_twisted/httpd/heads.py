"""
The heads of common requests, understood at a glance.

Clients send the same headers again and again: a block of header lines that was read once is known from then on. What
is not common is left to L{twisted.web}, which knows all of HTTP. Must never take a request for common that
L{twisted.web} or the L{BrowserPolicy} would refuse, or understand in another way.
"""

import re

import attrs

from etcd_twisted.httpd.browsers import BrowserPolicy

LONGEST_BLOCK_BYTES = 4_096
"""A longer block of header lines is not looked at."""

MOST_KNOWN_BLOCKS = 256
"""How many blocks are remembered at a time; before there are more, all are forgotten."""

_MOST_LINES = 100
"""A block with more header lines is not common."""

_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([!-~](?:[ -~]*[!-~])?)?[ \t]*\r\n")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_UNCOMMON = frozenset((b"expect", b"origin", b"te", b"trailer", b"transfer-encoding", b"upgrade"))
_ONCE = (b"host", b"content-length", b"connection")


@attrs.frozen
class Head:
    """
    What header lines say.

    @ivar length: the body's, in bytes.
    @ivar content_type: the body's; C{None} if they don't say.
    """

    length: int
    content_type: bytes | None


class Heads(dict[bytes, Head | None]):
    """
    What blocks of header lines say, or C{None} where they are not common. A block has each line with its end, but not
    the empty line.

    A dictionary, so that it costs no call to look up a block that is known. One that is not known is read.
    """

    def __init__(self, browsers: BrowserPolicy) -> None:
        super().__init__()
        self._browsers = browsers

    def __missing__(self, block: bytes) -> Head | None:
        """Read a block for the first time."""
        if len(block) > LONGEST_BLOCK_BYTES:
            return None
        if len(self) >= MOST_KNOWN_BLOCKS:
            self.clear()
        head = self[block] = _read(block, self._browsers)
        return head


def may_become_common(lines: bytes) -> bool:
    """Whether a head that begins with these whole header lines can still turn out to be a common one."""
    return _headers(lines) is not None


def _read(block: bytes, browsers: BrowserPolicy) -> Head | None:
    headers = _headers(block)
    if headers is None or b"host" not in headers:
        return None
    if browsers.unknown_host(lambda name: headers.get(name, ())) is not None:
        return None
    (length,) = headers.get(b"content-length", (b"0",))
    return Head(int(length), headers.get(b"content-type", (None,))[0])


def _headers(lines: bytes) -> dict[bytes, list[bytes]] | None:
    """Returns the values by lower-case name, or C{None} if one of the lines is not common."""
    if lines.count(b"\n") > _MOST_LINES:
        return None
    at = 0
    headers: dict[bytes, list[bytes]] = {}
    while at < len(lines):
        line = _HEADER.match(lines, at)
        if line is None:
            return None
        name, value = line[1].lower(), line[2] or b""
        if name in _UNCOMMON or (name in _ONCE and name in headers):
            return None
        headers.setdefault(name, []).append(value)
        at = line.end()
    (length,) = headers.get(b"content-length", (b"0",))
    (connection,) = headers.get(b"connection", (b"keep-alive",))
    return headers if connection.lower() == b"keep-alive" and _LENGTH.fullmatch(length) else None
