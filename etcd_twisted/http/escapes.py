"""
Percent-encoding, and bytes of strangers made fit to be shown.

Must never guess: what can't be decoded is refused.
"""

import binascii
import re

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2}).{0,2}", re.DOTALL)
_LONGEST_SHOWN = 40


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
