"""
From a request to the command that it means (spec, section 1, "PUT", "POST", "DELETE", "Later additions").

This module must never look at the key space: whether a command succeeds is decided when it is applied.
"""

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.keyspace.commands import (
    Change,
    CompareAndDelete,
    CompareAndSwap,
    Create,
    CreateInOrder,
    Delete,
    Refresh,
    Set,
    SetOrSwap,
    SetTtl,
    Update,
)
from etcd_twisted.web.forms import Parameters, expiry, flag, index

_SWAP = "CompareAndSwap"


def put(form: Parameters, key: str, now: int) -> Change:
    """
    Returns the command of a C{PUT}.

    @param now: microseconds since the epoch.
    @raise EtcdError: the parameters are missing, bad or contradictory.
    """
    expires = expiry(form, now, "Update")
    exists = flag(form, "prevExist")
    missing = "prevExist" in form and not exists
    if flag(form, "refresh"):
        until = _refreshed_until(form, expires)
        if not missing:
            return _refresh(form, key, now, until)
    directory = flag(form, "dir")
    value = form.get("value", "")
    new_value = "" if directory else value
    if missing:
        return Create(key, now, new_value, directory, expires)
    if "prevValue" in form or "prevIndex" in form:
        previous_value, previous_index = _conditions(form, _SWAP)
        if previous_value is None and previous_index == 0 and not exists:
            return SetOrSwap(key, now, value, directory, expires)
        return CompareAndSwap(key, now, value, expires, previous_value, previous_index)
    if exists:
        if not ("value" in form or "ttl" in form or "dir" in form):
            raise EtcdError(ErrorCode.VALUE_OR_TTL_REQUIRED, "Update")
        return Update(key, now, value, directory, expires)
    return Set(key, now, new_value, directory, expires)


def _refreshed_until(form: Parameters, expires: int | None) -> int:
    """
    Returns when the TTL of a refresh ends. A refresh needs a TTL and must have no value. The causes are etcd 3.4's.

    @raise EtcdError: 211 or 212.
    """
    if form.get("value"):
        raise EtcdError(ErrorCode.REFRESH_WITH_VALUE, "A value was provided on a refresh")
    if expires is None:
        raise EtcdError(ErrorCode.REFRESH_WITHOUT_TTL, "No TTL value set")
    return expires


def _refresh(form: Parameters, key: str, now: int, expires: int) -> Change:
    """Returns the command that changes the TTL and keeps the value."""
    if "prevValue" in form or "prevIndex" in form:
        previous_value, previous_index = _conditions(form, _SWAP)
        return CompareAndSwap(key, now, None, expires, previous_value, previous_index)
    return Refresh(key, now, expires) if flag(form, "prevExist") else SetTtl(key, now, expires)


def _conditions(form: Parameters, cause: str) -> tuple[str | None, int]:
    """Returns the value and the index that a file must have: C{None} and 0 for any."""
    value = form.get("prevValue")
    if value == "":
        raise EtcdError(ErrorCode.PREVIOUS_VALUE_REQUIRED, cause)
    return value, index(form, "prevIndex", cause)


def post(form: Parameters, key: str, now: int) -> Change:
    """Returns the command of a C{POST}; see L{put}."""
    expires = expiry(form, now, "Create")
    directory = flag(form, "dir")
    return CreateInOrder(key, now, "" if directory else form.get("value", ""), directory, expires)


def delete(form: Parameters, key: str, now: int) -> Change:
    """Returns the command of a C{DELETE}; see L{put}."""
    directory, recursive = flag(form, "dir"), flag(form, "recursive")
    if "prevValue" in form or "prevIndex" in form:
        previous_value, previous_index = _conditions(form, "CompareAndDelete")
        return CompareAndDelete(key, now, previous_value, previous_index)
    return Delete(key, now, directory, recursive)
