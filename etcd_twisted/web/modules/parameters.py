"""
The parameters of a request to a module (api, "Lock Module" and "Leader Module"), and what is wrong with them.

This module must never look at the key space.
"""

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.web.forms import Parameters, expiry, unsigned
from etcd_twisted.web.modules.locks import EntryReference, LockRequest

INDEX = "index"
"""
The parameter that names an entry in the queue. A client that asks for a lock with it goes on to wait with the entry
that it has.
"""

_ACQUIRE = "Acquire"
_RENEW = "Renew"
_RELEASE = "Release"
_SET = "Set"


def lock_request(form: Parameters, directory: str, now: int) -> LockRequest:
    """
    Returns the request of a client that wants a lock.

    @param directory: the key of the directory that holds the queue.
    @param now: microseconds since the epoch.
    @raise EtcdError: 202 or 205.
    """
    return _lock_request(form, directory, now, form.get("value", ""))


def candidate_request(form: Parameters, directory: str, now: int) -> LockRequest:
    """
    Returns the request of a client that wants to lead; its name is the value of the entry.

    @raise EtcdError: 206, and those of L{lock_request}.
    """
    return _lock_request(form, directory, now, _name(form))


def _lock_request(form: Parameters, directory: str, now: int, value: str) -> LockRequest:
    ttl_seconds = _ttl_seconds(form, now, _ACQUIRE)
    timeout = unsigned(form["timeout"]) if form.get("timeout") else None
    if timeout is None and form.get("timeout"):
        raise EtcdError(ErrorCode.TIMEOUT_NOT_A_NUMBER, _ACQUIRE)
    index = _reference(form, directory, value).index
    return LockRequest(directory, ttl_seconds, value, index, timeout)


def renewal(form: Parameters, directory: str, now: int) -> tuple[EntryReference, int]:
    """
    Returns which entry to renew, and its new TTL in seconds.

    @raise EtcdError: 207, 202, or 100 for something that is not an index.
    """
    _check_reference(form, _RENEW)
    ttl_seconds = _ttl_seconds(form, now, _RENEW)
    return _reference(form, directory, form.get("value", "")), ttl_seconds


def released_entry(form: Parameters, directory: str) -> EntryReference:
    """
    Returns which entry to release.

    @raise EtcdError: 207, 208, or 100 for something that is not an index.
    """
    _check_reference(form, _RELEASE)
    if form.get(INDEX) and form.get("value"):
        raise EtcdError(ErrorCode.INDEX_AND_VALUE, _RELEASE)
    return _reference(form, directory, form.get("value", ""))


def resigning_candidate(form: Parameters, directory: str) -> EntryReference:
    """
    Returns which candidate no longer wants to lead.

    @raise EtcdError: 206.
    """
    return EntryReference(directory, None, _name(form))


def holder_field(form: Parameters) -> str:
    """
    Returns what the client wants to know about the holder of a lock: C{index} or C{value}.

    @raise EtcdError: 209.
    """
    field = form.get("field") or "value"
    if field not in ("index", "value"):
        raise EtcdError(ErrorCode.INVALID_FIELD, "Get")
    return field


def _name(form: Parameters) -> str:
    name = form.get("name")
    if not name:
        raise EtcdError(ErrorCode.NAME_REQUIRED, _SET)
    return name


def _ttl_seconds(form: Parameters, now: int, cause: str) -> int:
    if expiry(form, now, cause) is None:
        raise EtcdError(ErrorCode.TTL_NOT_A_NUMBER, cause)
    return int(form["ttl"])


def _check_reference(form: Parameters, cause: str) -> None:
    if not (form.get(INDEX) or form.get("value")):
        raise EtcdError(ErrorCode.INDEX_OR_VALUE_REQUIRED, cause)


def _reference(form: Parameters, directory: str, value: str) -> EntryReference:
    text = form.get(INDEX)
    if not text:
        return EntryReference(directory, None, value)
    index = unsigned(text)
    if index is None:  # no entry has such a name
        raise EtcdError(ErrorCode.KEY_NOT_FOUND, text)
    return EntryReference(directory, index, value)
