"""
What a request target names, however it is spelled; percent-encoding, and bytes of strangers made fit to be shown.

Clients put a base URL and a path together in many ways: with too many slashes, with raw UTF-8 instead of escapes, or
as a whole URL. All of these mean the same and are served without a redirect. Must never change the part of a path
behind a prefix, nor the query: they belong to the page that serves the request. Must never guess either: what can't be
decoded is refused.
"""

import binascii
import re
from collections.abc import Sequence
from itertools import islice
from urllib.parse import unquote_to_bytes

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2}).{0,2}", re.DOTALL)
_LONGEST_SHOWN = 40
_RAW = re.compile(rb"[\x80-\xff]")
_ODD = re.compile(rb"%|//|/\.|\A[^/]")
"""Every path that has a shorter spelling matches this."""

MOST_SEGMENTS = 512
"""
In how many segments a path has to come to what it names: the name of a lock has at most half as many. To look at a
target that consists of slashes takes longer than others can wait.
"""

_LONGEST_KNOWN = 64
"""How long a segment may be that is a part of a prefix, or dots, with all its escapes, in bytes."""

_SEGMENT = re.compile(rb"(?:/|%2[Ff])([^/%]*(?:%(?!2[Ff])[^/%]*)*)")
_ABSOLUTE = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://([^/?]*)(.*)", re.DOTALL)


def target_of(line: bytes) -> bytes:
    """The target in a request line, be it damaged or cut off; empty where there is none."""
    _, _, rest = line.partition(b" ")
    target = rest.partition(b" ")[0]
    return target if target[:1] == b"/" or b"://" in target else b""


def with_escapes(line: bytes) -> bytes:
    """A request line with raw bytes of its target percent-encoded."""
    if line.isascii() or line.count(b" ") != 2:
        return line
    method, target, version = line.split(b" ")
    return b" ".join((method, _RAW.sub(lambda found: b"%%%02X" % found[0][0], target), version))


def split(target: bytes) -> tuple[bytes, bytes]:
    """
    A request target without the scheme and host that a client of a proxy puts there (RFC 9112, section 3.2.2).

    @return: the host, empty where there is none, and the rest.
    """
    found = None if target[:1] == b"/" else _ABSOLUTE.match(target)
    if found is None:
        return b"", target
    host, rest = found.groups()
    return host, rest if rest[:1] == b"/" else b"/" + rest


def is_too_deep(target: bytes) -> bool:
    """Whether a target below no prefix has so many segments that it names nothing. It should not be cleaned then."""
    return target.partition(b"?")[0].count(b"/") > MOST_SEGMENTS


def below(target: bytes, prefix: bytes) -> bytes | None:
    """
    What stands behind a prefix, as it came: a path, which is empty or begins with a slash, and a query, if there is
    one. C{None} for a target that is not below it.

    Only what stands before is cleaned: C{//v2/keys/../x} is C{/../x} below C{/v2/keys}.
    """
    if target.startswith(prefix) and target[len(prefix) : len(prefix) + 1] in b"/?":
        return target[len(prefix) :]
    path, mark, query = target.partition(b"?")
    if not _ODD.search(path):
        return None
    found = _found(path, (prefix,))
    return None if found is None else found[1] + mark + query


def cleaned(path: bytes, prefixes: Sequence[bytes] = ()) -> bytes:
    """
    A path without repeated slashes, C{.} and C{..}; a slash at its end stays.

    @param prefixes: what stands behind one of these stays as it came.
    """
    if not _ODD.search(path):
        return path
    found = _found(path, prefixes)
    if found is not None:
        return b"".join(found)
    names: list[bytes] = []
    for name in path.split(b"/"):
        _go_on(names, _decoded(name), name)
    return b"/" + b"/".join(names) + (b"/" if names and path.endswith(b"/") else b"")


def _found(path: bytes, prefixes: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """The first of the prefixes that a path comes to, however it is spelled, and what stands behind it."""
    wanted = {tuple(prefix[1:].split(b"/")): prefix for prefix in prefixes}
    longest = max(map(len, wanted), default=0)
    names: list[bytes] = []
    for found in islice(_SEGMENT.finditer(path), MOST_SEGMENTS):
        name = _decoded(found[1])
        _go_on(names, name, name)
        prefix = wanted.get(tuple(names)) if len(names) <= longest else None
        if prefix is not None:
            rest = path[found.end() :]
            return prefix, rest if rest[:1] in b"/" else b"/" + rest[3:]
    return None


def _decoded(name: bytes) -> bytes:
    """A segment without its escapes; one that can be nothing that is known here stays as it is."""
    return unquote_to_bytes(name) if b"%" in name and len(name) <= _LONGEST_KNOWN else name


def _go_on(names: list[bytes], decoded: bytes, name: bytes) -> None:
    """Follow one segment of a path."""
    if decoded == b"..":
        del names[-1:]
    elif decoded not in (b"", b"."):
        names.append(name)


class BadEscapeError(ValueError):
    """A text has a bad escape."""


def unescape(text: bytes) -> str:
    """
    Percent-decode, once, to UTF-8.

    @raise BadEscapeError: there is a bad escape; says which, for "has ... in".
    @raise ValueError: the outcome is not UTF-8; says so in the same way.
    """
    if b"%" in text:
        # With = for %, escapes are those of quoted-printable, whose decoder is in C and thirty times as fast as
        # urllib's. It lets bad escapes pass, but each good one makes the text shorter by two and a bad one by less.
        # Only a soft line break would make it shorter still.
        plain = binascii.a2b_qp(text.replace(b"=", b"%3D").replace(b"%", b"="))
        good = len(text) - 2 * text.count(b"%")
        if len(plain) != good or b"%\r" in text or b"%\n" in text:
            bad = _BAD_ESCAPE.search(text)
            raise BadEscapeError(f'the bad escape "{shown(bad[0] if bad else text)}"')
        text = plain
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"bytes that are not UTF-8 ({shown(text[error.start : error.end])})") from None


def shown(text: bytes) -> str:
    """Bytes of a stranger, fit for an error."""
    return text[:_LONGEST_SHOWN].decode("ascii", "backslashreplace")
