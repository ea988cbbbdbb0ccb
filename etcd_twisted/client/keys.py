"""
Requests about keys: what a method of the client becomes on the wire (C{api.md}, "Key Space Operations").

This module must never send anything.
"""

import posixpath
import urllib.parse
from collections.abc import Mapping

import attrs

from etcd_twisted.client.messages import Request


@attrs.frozen
class Condition:
    """
    What must hold of a key for a change to be made. At least one of the two is given.

    @ivar previous_value: the value that it must have.
    @ivar previous_index: the index at which it must have been modified last.
    """

    previous_value: str | None = None
    previous_index: int | None = None

    def __attrs_post_init__(self) -> None:
        if self.previous_value is None and self.previous_index is None:
            raise ValueError("a comparison needs a previous_value, a previous_index, or both")
        if self.previous_value == "":
            raise ValueError("the API can't compare with an empty previous_value; compare the previous_index")
        if self.previous_index is not None and self.previous_index < 1:
            raise ValueError(f"previous_index is {self.previous_index}, but indexes begin at 1")

    def form(self) -> dict[str, str]:
        """Returns it as parameters."""
        form = {} if self.previous_value is None else {"prevValue": self.previous_value}
        if self.previous_index is not None:
            form["prevIndex"] = str(self.previous_index)
        return form


def normal_key(key: str) -> str:
    """
    Returns a key as servers spell it: with one slash at its beginning and none at its end, and without empty segments,
    C{.} and C{..}.

    @raise TypeError: it is no text.
    """
    if not isinstance(key, str):
        raise TypeError(f"the key {key!r} is {type(key).__name__}, but keys are str")
    return posixpath.normpath("/" + key.lstrip("/"))


def target(key: str, query: Mapping[str, str] | None = None) -> str:
    """
    Returns the target of a request about a key.

    @param key: the key; the slash at its beginning may be left out.
    """
    path = "/v2/keys/" + urllib.parse.quote(normal_key(key)[1:], safe="/")  # etcd would redirect another spelling
    return f"{path}?{urllib.parse.urlencode(query)}" if query else path


def read(key: str, *, recursive: bool, sort: bool, consistent: bool, quorum: bool) -> Request:
    """Returns the request that reads a key or lists a directory."""
    flags = {"recursive": recursive, "sorted": sort, "consistent": consistent, "quorum": quorum}
    query = {name: "true" for name, wanted in flags.items() if wanted}
    return Request("GET", target(key, query), for_leader=consistent or quorum)


def put(key: str, value: str, parameters: Mapping[str, str], ttl_seconds: int | None) -> Request:
    """
    Returns a request that sets a key.

    @param parameters: what the request has beside the value and the TTL.
    @param ttl_seconds: how long the key shall live, or C{None} for ever.
    """
    return _write("PUT", key, {**parameters, "value": _text(key, value)}, ttl_seconds)


def put_without_value(key: str, parameters: Mapping[str, str], ttl_seconds: int | None) -> Request:
    """Returns a request that makes a directory, or changes a TTL; see L{put}."""
    return _write("PUT", key, parameters, ttl_seconds)


def set_(key: str, value: str, ttl_seconds: int | None) -> Request:
    """Returns the request that sets a key, whether it exists or not."""
    return put(key, value, {}, ttl_seconds)


def create(key: str, value: str, ttl_seconds: int | None) -> Request:
    """Returns the request that sets a key that does not exist."""
    return put(key, value, {"prevExist": "false"}, ttl_seconds)


def update(key: str, value: str, ttl_seconds: int | None) -> Request:
    """Returns the request that sets a key that exists."""
    return put(key, value, {"prevExist": "true"}, ttl_seconds)


def compare_and_swap(key: str, value: str, condition: Condition, ttl_seconds: int | None) -> Request:
    """Returns the request that sets a key if it is as expected."""
    return put(key, value, condition.form(), ttl_seconds)


def compare_and_delete(key: str, condition: Condition) -> Request:
    """Returns the request that removes a key if it is as expected."""
    return delete(key, condition.form())


def make_directory(directory: str, ttl_seconds: int | None) -> Request:
    """Returns the request that makes a directory that does not exist."""
    return put_without_value(directory, {"dir": "true", "prevExist": "false"}, ttl_seconds)


def update_directory(directory: str, ttl_seconds: int | None) -> Request:
    """Returns the request that gives a directory that exists another TTL."""
    return put_without_value(directory, {"dir": "true", "prevExist": "true"}, ttl_seconds)


def remove_directory(directory: str, recursive: bool) -> Request:
    """Returns the request that removes a directory, with everything in it or only if it is empty."""
    return delete(directory, {"recursive" if recursive else "dir": "true"})


def post(directory: str, value: str, ttl_seconds: int | None) -> Request:
    """Returns the request that makes an in-order key."""
    return _write("POST", directory, {"value": _text(directory, value)}, ttl_seconds)


def delete(key: str, parameters: Mapping[str, str]) -> Request:
    """Returns a request that removes a key or a directory."""
    return Request("DELETE", target(key, parameters), changes=True, for_leader=True)


def _write(method: str, key: str, parameters: Mapping[str, str], ttl_seconds: int | None) -> Request:
    ttl = {} if ttl_seconds is None else {"ttl": str(_whole_seconds(ttl_seconds))}
    return Request(method, target(key), {**parameters, **ttl}, changes=True, for_leader=True)


def _text(key: str, value: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"the value of {key!r} is {type(value).__name__}, but values are str: convert it first")
    return value


def _whole_seconds(ttl_seconds: int) -> int:
    if ttl_seconds < 0 or ttl_seconds != int(ttl_seconds):
        raise ValueError(f"ttl_seconds is {ttl_seconds!r}, but a TTL is a whole number of seconds, at least 0")
    return int(ttl_seconds)
