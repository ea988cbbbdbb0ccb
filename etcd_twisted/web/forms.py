"""
What a request says: the one parser of query strings and urlencoded bodies (spec, section 1, "Parameters").

Strict: what can't be decoded is refused with what is wrong, never guessed at. Must never do more than one pass over a
body, which may be 10 MiB.
"""

from collections.abc import Mapping
from types import MappingProxyType

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.httpd.targets import shown, unescape
from etcd_twisted.keyspace.events import LAST_MOMENT

Form = Mapping[str, str]
"""Parameters by name, decoded."""

NO_PARAMETERS: Form = MappingProxyType({})

MOST_PARAMETERS = 1_000
"""More than anybody needs; a body of nothing but C{&} would else cost many times its size."""

_URLENCODED = b"application/x-www-form-urlencoded"
_SECOND = 1_000_000
_TRUE = ("true", "1", "t")
_FALSE = ("false", "0", "f")
_LARGEST_INDEX = 2**64 - 1
_MOST_DIGITS = 20


def parse(query: bytes, body: bytes = b"", content_type: bytes | None = None) -> Form:
    """
    The parameters of a request. Where a name is given twice the first value counts, and the body wins over the query.

    @param query: what stands behind the C{?}, as it came.
    @param body: empty for methods that have none.
    @param content_type: the body's; C{None} where the request has none.
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


def _refuse_other_type(content_type: bytes) -> None:
    kind = content_type.partition(b";")[0].strip().lower()
    if kind not in (b"", _URLENCODED):
        given = shown(kind)
        raise EtcdError(ErrorCode.INVALID_FORM, f"the body is {given}: it should be {_URLENCODED.decode()}")


def _read(text: bytes, form: dict[str, str], part: str) -> None:
    """Add the parameters in C{text} that C{form} has not yet."""
    try:
        plain = text.decode()
        escaped = "%" in plain or "+" in plain
    except UnicodeDecodeError:
        escaped = True  # to be told where
    if escaped:
        _read_escaped(text, form, part)
        return
    pairs = plain.split("&", MOST_PARAMETERS)
    if len(pairs) > MOST_PARAMETERS:
        raise _too_many(part)
    for pair in pairs:
        if pair:
            name, _, value = pair.partition("=")
            form.setdefault(name, value)


def _read_escaped(text: bytes, form: dict[str, str], part: str) -> None:
    """Like L{_read}, pair by pair, so that what can't be decoded can be named."""
    pairs = text.split(b"&", MOST_PARAMETERS)
    if len(pairs) > MOST_PARAMETERS:
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
    return EtcdError(ErrorCode.INVALID_FORM, f"the {part} has more than {MOST_PARAMETERS} parameters")


def _decode(text: bytes, part: str, name: bytes) -> str:
    if b"+" in text:
        text = text.replace(b"+", b" ")
    try:
        return unescape(text)
    except ValueError as error:
        raise EtcdError(ErrorCode.INVALID_FORM, f"the {part} has {error} in {shown(name)}") from None


def flag(form: Form, name: str) -> bool:
    """
    A boolean; one that is not there is false.

    @raise EtcdError: 209, with the name.
    """
    value = form.get(name)
    if value is None:
        return False
    value = value.lower()
    if value in _TRUE:
        return True
    if value not in _FALSE:
        raise EtcdError(ErrorCode.INVALID_FIELD, name)
    return False


def unsigned(text: str) -> int | None:
    """A whole number of at most 64 bits, C{None} when the text is none."""
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        return None
    number = int(text)
    return number if number <= _LARGEST_INDEX else None


def index(form: Form, name: str, cause: str) -> int:
    """
    An index of the key space; one that is not there is 0.

    @raise EtcdError: 203, with C{cause}.
    """
    text = form.get(name)
    if text is None:
        return 0
    number = unsigned(text)
    if number is None:
        raise EtcdError(ErrorCode.INDEX_NOT_A_NUMBER, cause)
    return number


def expiry(form: Form, now: int, cause: str) -> int | None:
    """
    When the C{ttl} ends, in microseconds since the epoch; C{None} when there is none, or an empty one.

    @param now: microseconds since the epoch.
    @raise EtcdError: 202, with C{cause}: it is no whole number of seconds, or ends after the year 9999.
    """
    text = form.get("ttl")
    if not text:
        return None
    seconds = unsigned(text)
    if seconds is None or now + seconds * _SECOND > LAST_MOMENT:
        raise EtcdError(ErrorCode.TTL_NOT_A_NUMBER, cause)
    return now + seconds * _SECOND
