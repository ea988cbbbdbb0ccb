"""
The parameters of a request: the only parser of query strings and urlencoded bodies (spec, section 1, "Parameters").

The parser is strict: parameters that can't be decoded are refused, with what is wrong, and never guessed. This module
must never make more than one pass over a body, which may have 10 MiB.
"""

from collections.abc import Mapping
from types import MappingProxyType

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.httpd.targets import shown, unescape
from etcd_twisted.keyspace.events import LAST_MOMENT, MICROSECONDS_PER_SECOND

Parameters = Mapping[str, str]
"""Decoded parameters, by name."""

NO_PARAMETERS: Parameters = MappingProxyType({})

MAX_PARAMETERS = 1_000
"""More than anybody needs. Without a limit, a body of nothing but C{&} would take many times its size."""

_URLENCODED = b"application/x-www-form-urlencoded"
_COMMON_TYPES = frozenset((None, _URLENCODED))
_TRUE = ("true", "1", "t")
_FALSE = ("false", "0", "f")
_MAX_INDEX = 2**64 - 1
_MAX_INDEX_DIGITS = 20
_AMPERSAND, _PERCENT, _PLUS = b"&%+"  # numbers, as to look for bytes in bytes takes Python six times as long


def parse(query: bytes, body: bytes = b"", content_type: bytes | None = None) -> Parameters:
    """
    Returns the parameters of a request. If a name is given twice, the first value counts, and the body comes before
    the query.

    @param query: what follows the C{?}, percent-encoded.
    @param body: empty for methods that have none.
    @param content_type: the type of the body; C{None} if the request does not give one.
    @raise EtcdError: 210, with what can't be decoded.
    """
    if not body:
        if not query:
            return NO_PARAMETERS
        form: dict[str, str] = {}
        _read(query, form, "query string")
        return form
    if content_type is not None and content_type != _URLENCODED:
        _refuse_other_type(content_type)
    form = {}
    _read(body, form, "body")
    if query:
        _read(query, form, "query string")
    return form


def plain_value(query: bytes, body: bytes, content_type: bytes | None) -> str | None:
    """
    Returns the value of a request that says nothing else and needs no decoding, as by far the most writes do, or
    C{None} for any other. L{parse} returns the same value.
    """
    if query or body[:6] != b"value=" or content_type not in _COMMON_TYPES:
        return None
    is_plain = body.isascii() and not (_AMPERSAND in body or _PERCENT in body or _PLUS in body)
    return body[6:].decode() if is_plain else None


def _refuse_other_type(content_type: bytes) -> None:
    kind = content_type.partition(b";")[0].strip().lower()
    if kind not in (b"", _URLENCODED):
        given = shown(kind)
        raise EtcdError(ErrorCode.INVALID_FORM, f"the body is {given}: it should be {_URLENCODED.decode()}")


def _read(text: bytes, form: dict[str, str], part: str) -> None:
    """Add the parameters in C{text} that C{form} does not have yet."""
    try:
        plain = text.decode()
        escaped = "%" in plain or "+" in plain
    except UnicodeDecodeError:
        escaped = True  # so that the error says where
    if escaped:
        _read_escaped(text, form, part)
        return
    pairs = plain.split("&", MAX_PARAMETERS)
    if len(pairs) > MAX_PARAMETERS:
        raise _too_many(part)
    for pair in pairs:
        if pair:
            name, _, value = pair.partition("=")
            form.setdefault(name, value)


def _read_escaped(text: bytes, form: dict[str, str], part: str) -> None:
    """Do what L{_read} does, pair by pair, so that an error names the pair that can't be decoded."""
    pairs = text.split(b"&", MAX_PARAMETERS)
    if len(pairs) > MAX_PARAMETERS:
        raise _too_many(part)
    for pair in pairs:
        if not pair:
            continue
        name, _, value = pair.partition(b"=")
        decoded = _decode(name, part, b"a name")
        if decoded not in form:
            form[decoded] = _decode(value, part, name)
        else:
            _decode(value, part, name)


def _too_many(part: str) -> EtcdError:
    return EtcdError(ErrorCode.INVALID_FORM, f"the {part} has more than {MAX_PARAMETERS} parameters")


def _decode(text: bytes, part: str, name: bytes) -> str:
    if b"+" in text:
        text = text.replace(b"+", b" ")
    try:
        return unescape(text)
    except ValueError as error:
        raise EtcdError(ErrorCode.INVALID_FORM, f"the {part} has {error} in {shown(name)}") from None


def flag(form: Parameters, name: str) -> bool:
    """
    Returns a boolean parameter, which is false unless it is given.

    @raise EtcdError: 209, with the name.
    """
    value = form.get(name)
    if value is None:
        return False
    given = boolean(value)
    if given is None:
        raise EtcdError(ErrorCode.INVALID_FIELD, name)
    return given


def boolean(text: str) -> bool | None:
    """Returns a boolean, or C{None} if the text is not one."""
    text = text.lower()
    if text in _TRUE:
        return True
    return False if text in _FALSE else None


def unsigned(text: str) -> int | None:
    """Returns a whole number of at most 64 bits, or C{None} if the text is not one."""
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_INDEX_DIGITS):
        return None
    number = int(text)
    return number if number <= _MAX_INDEX else None


def index(form: Parameters, name: str, cause: str) -> int:
    """
    Returns a parameter that is an index of the key space, which is 0 unless it is given.

    @raise EtcdError: 203, with C{cause}.
    """
    text = form.get(name)
    if text is None:
        return 0
    number = unsigned(text)
    if number is None:
        raise EtcdError(ErrorCode.INDEX_NOT_A_NUMBER, cause)
    return number


def without_zero_index(form: Parameters) -> Parameters:
    """Returns parameters without a C{prevIndex} of 0, which is no condition for etcd 2."""
    if unsigned(form["prevIndex"]) != 0:
        return form
    return {name: value for name, value in form.items() if name != "prevIndex"}


def expiry(form: Parameters, now: int, cause: str) -> int | None:
    """
    Returns when the C{ttl} ends, in microseconds since the epoch, or C{None} if there is none, or an empty one.

    @param now: microseconds since the epoch.
    @raise EtcdError: 202, with C{cause}: it is not a whole number of seconds, or it ends after the year 9999.
    """
    text = form.get("ttl")
    if not text:
        return None
    seconds = unsigned(text)
    if seconds is None or now + seconds * MICROSECONDS_PER_SECOND > LAST_MOMENT:
        raise EtcdError(ErrorCode.TTL_NOT_A_NUMBER, cause)
    return now + seconds * MICROSECONDS_PER_SECOND
