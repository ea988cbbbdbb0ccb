"""
The meaning of request targets in any spelling. Also percent-encoding, and making a stranger's bytes printable.

Clients put a base URL and a path together in many ways: with too many slashes, with raw UTF-8 instead of escapes, or
as a whole URL. All of these mean the same, and are served without a redirect.

This module must never change the part of a path that follows a prefix, nor the query: they belong to the page that
serves the request. This module must never guess: what can't be decoded is refused.
"""

import binascii
import re
from collections.abc import Sequence
from itertools import islice
from urllib.parse import unquote_to_bytes

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2}).{0,2}", re.DOTALL)
_MOST_BYTES_SHOWN = 40
_RAW = re.compile(rb"[\x80-\xff]")
_ODD = re.compile(rb"%|//|/\.|\A[^/]")
"""Matches every path that has a shorter spelling."""

MOST_SEGMENTS = 512
"""
How many segments a path may have up to what it names. The name of a lock has at most half as many. A longer path is
not looked at, since a target that consists of slashes would take longer than other requests can wait.
"""

_LONGEST_DECODED_BYTES = 64
"""A longer segment is not decoded: even with escapes, it can be neither a part of a prefix nor dots."""

_SEGMENT = re.compile(rb"(?:/|%2[Ff])([^/%]*(?:%(?!2[Ff])[^/%]*)*)")
_ABSOLUTE = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://([^/?]*)(.*)", re.DOTALL)


def target_of(line: bytes) -> bytes:
    """Returns the target in a request line that may be damaged or cut off. It is empty if there is none."""
    _, _, rest = line.partition(b" ")
    target = rest.partition(b" ")[0]
    return target if target[:1] == b"/" or b"://" in target else b""


def with_escapes(line: bytes) -> bytes:
    """Returns a request line with the raw bytes of its target percent-encoded."""
    if line.isascii() or line.count(b" ") != 2:
        return line
    method, target, version = line.split(b" ")
    return b" ".join((method, _RAW.sub(lambda found: b"%%%02X" % found[0][0], target), version))


def split(target: bytes) -> tuple[bytes, bytes]:
    """
    Split off the scheme and host that the client of a proxy adds to a request target (RFC 9112, section 3.2.2).

    @return: the host, which is empty if there is none, and the rest.
    """
    found = None if target[:1] == b"/" else _ABSOLUTE.match(target)
    if found is None:
        return b"", target
    host, rest = found.groups()
    return host, rest if rest[:1] == b"/" else b"/" + rest


def is_too_deep(target: bytes) -> bool:
    """Returns whether a target has so many segments that it names nothing. Then it should not be cleaned."""
    return target.partition(b"?")[0].count(b"/") > MOST_SEGMENTS


def below(target: bytes, prefix: bytes) -> bytes | None:
    """
    Returns what follows a prefix as it came: a path, which is empty or begins with a slash, and a query if there is
    one. Returns None if the target does not have the prefix.

    Only the prefix is cleaned: C{//v2/keys/../x} is C{/../x} below C{/v2/keys}.
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
    Returns a path without repeated slashes, C{.} and C{..}; a slash at its end stays.

    @param prefixes: what follows one of these stays as it came.
    """
    if not _ODD.search(path):
        return path
    found = _found(path, prefixes)
    if found is not None:
        return b"".join(found)
    names: list[bytes] = []
    for name in path.split(b"/"):
        _follow(names, _decoded(name), name)
    return b"/" + b"/".join(names) + (b"/" if names and path.endswith(b"/") else b"")


def _found(path: bytes, prefixes: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """Returns the first of the prefixes that a path has, however it is spelled, and what follows it."""
    wanted = {tuple(prefix[1:].split(b"/")): prefix for prefix in prefixes}
    longest = max(map(len, wanted), default=0)
    names: list[bytes] = []
    for found in islice(_SEGMENT.finditer(path), MOST_SEGMENTS):
        name = _decoded(found[1])
        _follow(names, name, name)
        prefix = wanted.get(tuple(names)) if len(names) <= longest else None
        if prefix is not None:
            rest = path[found.end() :]
            return prefix, rest if rest[:1] in b"/" else b"/" + rest[3:]
    return None


def _decoded(name: bytes) -> bytes:
    """Returns a segment without its escapes, or as it is if it can't be anything that is known here."""
    return unquote_to_bytes(name) if b"%" in name and len(name) <= _LONGEST_DECODED_BYTES else name


def _follow(names: list[bytes], decoded: bytes, name: bytes) -> None:
    """Add a segment to the names so far, or go up one level for two dots."""
    if decoded == b"..":
        del names[-1:]
    elif decoded not in (b"", b"."):
        names.append(name)


_PERCENT = ord("%")  # a number, as to look for bytes in bytes takes Python six times as long


class BadEscapeError(ValueError):
    """A text has a bad escape."""


def unescape(text: bytes) -> str:
    """
    Returns a text percent-decoded once, as UTF-8.

    @raise BadEscapeError: there is a bad escape. The message names it, as in "has ... in".
    @raise ValueError: the result is not UTF-8. The message has the same form.
    """
    if _PERCENT in text:
        # With = for %, escapes are those of quoted-printable. Its decoder is in C, thirty times as fast as urllib's.
        # It accepts bad escapes, but a good one makes the text shorter by two bytes, and a bad one by less. Only a
        # soft line break would make it shorter still.
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
    """Returns a stranger's bytes as printable text for an error, cut off if they are long."""
    return text[:_MOST_BYTES_SHOWN].decode("ascii", "backslashreplace")
