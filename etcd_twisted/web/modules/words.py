"""
What a request to a module says (api, "Lock Module" and "Leader Module"), and what is wrong with it.

Must never look at the key space.
"""

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.web.forms import Form, expiry, unsigned
from etcd_twisted.web.modules.locks import Named, Wish

INDEX = "index"
"""The parameter that names a place; with it, one who wants a lock waits on at the place that it has."""

_ACQUIRE = "Acquire"
_RENEW = "Renew"
_RELEASE = "Release"
_SET = "Set"


def wish(form: Form, directory: str, now: int) -> Wish:
    """
    What one asks for who wants a lock.

    @param directory: the key of the directory that the lock's line is in.
    @param now: microseconds since the epoch.
    @raise EtcdError: 202 or 205.
    """
    return _wish(form, directory, now, form.get("value", ""))


def candidacy(form: Form, directory: str, now: int) -> Wish:
    """
    The same for one who wants to lead: the name is the value.

    @raise EtcdError: 206, and those of L{wish}.
    """
    return _wish(form, directory, now, _name(form))


def _wish(form: Form, directory: str, now: int, value: str) -> Wish:
    ttl = _ttl(form, now, _ACQUIRE)
    timeout = unsigned(form["timeout"]) if form.get("timeout") else None
    if timeout is None and form.get("timeout"):
        raise EtcdError(ErrorCode.TIMEOUT_NOT_A_NUMBER, _ACQUIRE)
    named = _named(form, directory, value)
    return Wish(directory, ttl, value, named.index, timeout)


def renewal(form: Form, directory: str, now: int) -> tuple[Named, int]:
    """
    Which place is to be renewed, and its new TTL in seconds.

    @raise EtcdError: 207, 202, or 100 for an index that is none.
    """
    _check_named(form, _RENEW)
    ttl = _ttl(form, now, _RENEW)
    return _named(form, directory, form.get("value", "")), ttl


def release(form: Form, directory: str) -> Named:
    """
    Which place is to be given back.

    @raise EtcdError: 207, 208, or 100 for an index that is none.
    """
    _check_named(form, _RELEASE)
    if form.get(INDEX) and form.get("value"):
        raise EtcdError(ErrorCode.INDEX_AND_VALUE, _RELEASE)
    return _named(form, directory, form.get("value", ""))


def resignation(form: Form, directory: str) -> Named:
    """
    The place of one who does not want to lead any longer.

    @raise EtcdError: 206.
    """
    return Named(directory, None, _name(form))


def field(form: Form) -> str:
    """
    What is asked about a lock: C{index} or C{value}.

    @raise EtcdError: 209.
    """
    asked = form.get("field") or "value"
    if asked not in ("index", "value"):
        raise EtcdError(ErrorCode.INVALID_FIELD, "Get")
    return asked


def _name(form: Form) -> str:
    name = form.get("name")
    if not name:
        raise EtcdError(ErrorCode.NAME_REQUIRED, _SET)
    return name


def _ttl(form: Form, now: int, cause: str) -> int:
    if expiry(form, now, cause) is None:
        raise EtcdError(ErrorCode.TTL_NOT_A_NUMBER, cause)
    return int(form["ttl"])


def _check_named(form: Form, cause: str) -> None:
    if not (form.get(INDEX) or form.get("value")):
        raise EtcdError(ErrorCode.INDEX_OR_VALUE_REQUIRED, cause)


def _named(form: Form, directory: str, value: str) -> Named:
    text = form.get(INDEX)
    if not text:
        return Named(directory, None, value)
    index = unsigned(text)
    if index is None:  # no place has such a name
        raise EtcdError(ErrorCode.KEY_NOT_FOUND, text)
    return Named(directory, index, value)
