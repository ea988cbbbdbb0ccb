"""
The heads of common requests, understood at a glance.

Clients send the same headers again and again: a block of header lines that was read once is known from then on. What
is not common is left to L{twisted.web}, which knows all of HTTP. Must never take a request for common that
L{twisted.web} or the L{BrowserPolicy} would refuse, or understand in another way.
"""

import re

import attrs

from etcd_twisted.httpd.browsers import BrowserPolicy

LONGEST = 4_096
"""How long a block of header lines may be to be looked at, in bytes."""

_MOST_LINES = 100
"""How many header lines are common."""

_MOST_KNOWN = 256
"""How many blocks are known at a time; with more, all are forgotten."""

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


class Heads:
    """Those that are known."""

    def __init__(self, browsers: BrowserPolicy) -> None:
        self._browsers = browsers
        self._known: dict[bytes, Head | None] = {}

    def read(self, block: bytes) -> Head | None:
        """
        What a block of header lines says; C{None} when they are not common.

        @param block: each line with its end, the empty one left out.
        """
        try:
            return self._known[block]
        except KeyError:
            return self._meet(block)

    def _meet(self, block: bytes) -> Head | None:
        if len(block) > LONGEST:
            return None
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        head = self._known[block] = _read(block, self._browsers)
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
