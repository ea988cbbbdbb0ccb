"""
Requests about keys: what a method of the client becomes on the wire (C{api.md}, "Key Space Operations").

This module must never send anything.
"""

import urllib.parse
from collections.abc import Mapping

import attrs

from etcd_twisted.client.exchange import Request


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


def target(key: str, query: Mapping[str, str] | None = None) -> str:
    """
    Returns the target of a request about a key.

    @param key: the key; the slash at its beginning may be left out.
    """
    while "//" in key:
        key = key.replace("//", "/")  # as servers do; etcd would redirect
    path = "/v2/keys/" + urllib.parse.quote(key.lstrip("/"), safe="/")
    return f"{path}?{urllib.parse.urlencode(query)}" if query else path


def read(key: str, *, recursive: bool, sort: bool, consistent: bool, quorum: bool) -> Request:
    """Returns the request that reads a key or lists a directory."""
    flags = {"recursive": recursive, "sorted": sort, "consistent": consistent, "quorum": quorum}
    query = {name: "true" for name, wanted in flags.items() if wanted}
    return Request("GET", target(key, query), for_leader=consistent or quorum)


def put(key: str, parameters: Mapping[str, str], ttl_seconds: int | None, value: str | None = None) -> Request:
    """
    Returns a request that sets a key or a directory.

    @param parameters: what the request has beside the value and the TTL.
    @param ttl_seconds: how long the node shall live, or C{None} for ever.
    """
    return _write("PUT", key, value, ttl_seconds, parameters)


def post(directory: str, value: str, ttl_seconds: int | None) -> Request:
    """Returns the request that makes an in-order key."""
    return _write("POST", directory, value, ttl_seconds, {})


def delete(key: str, parameters: Mapping[str, str]) -> Request:
    """Returns a request that removes a key or a directory."""
    return Request("DELETE", target(key, parameters), changes=True, for_leader=True)


def _write(
    method: str, key: str, value: str | None, ttl_seconds: int | None, parameters: Mapping[str, str]
) -> Request:
    form = dict(parameters)
    if value is not None:
        if not isinstance(value, str):
            raise TypeError(f"the value of {key!r} is {type(value).__name__}, but values are str: decode it first")
        form["value"] = value
    if ttl_seconds is not None:
        form["ttl"] = str(_whole_seconds(ttl_seconds))
    return Request(method, target(key), form, changes=True, for_leader=True)


def _whole_seconds(ttl_seconds: int) -> int:
    if ttl_seconds < 0 or ttl_seconds != int(ttl_seconds):
        raise ValueError(f"ttl_seconds is {ttl_seconds!r}, but a TTL is a whole number of seconds, at least 0")
    return int(ttl_seconds)
