"""
Answers without what differs from one run to the next: the values of indexes, and the time.

The order of the indexes of an answer stays, and which of them are equal. A time has to be a time, and a TTL a TTL.
"""

import datetime
import re
from collections.abc import Iterator
from typing import Any

_INDEXES = ("createdIndex", "modifiedIndex", "index")

_OLDER_WORDINGS = {
    "Key Not Found": "Key not found",
    "Test Failed": "Compare failed",
    "Already exists": "Key already exists",
}
"""The specification has both texts; the server sends those on the right."""


def normal(answer: Any, exact: bool) -> Any:
    """
    Normalizes a decoded answer, so that it can be compared with another.

    @param exact: whether indexes stay as they are.
    """
    ranks = {} if exact else {index: f"#{rank}" for rank, index in enumerate(sorted(set(_indexes(answer))))}
    return _normal(answer, ranks)


def _indexes(value: Any) -> Iterator[int]:
    if isinstance(value, list):
        for each in value:
            yield from _indexes(each)
    elif isinstance(value, dict):
        for name, each in value.items():
            if name in _INDEXES:
                yield each
            else:
                yield from _indexes(each)


def _normal(value: Any, ranks: dict[int, str]) -> Any:
    if isinstance(value, list):
        return sorted((_normal(each, ranks) for each in value), key=lambda node: str(node["key"]))
    if not isinstance(value, dict):
        return value
    return {name: _field(name, each, ranks) for name, each in value.items()}


def _field(name: str, value: Any, ranks: dict[int, str]) -> Any:
    if name in _INDEXES:
        return ranks.get(value, value)
    if name == "expiration":
        return f"a time: {datetime.datetime.fromisoformat(value).tzinfo is not None}"
    if name == "ttl":
        return f"some seconds: {type(value) is int and value > 0}"
    if name == "message":
        return _OLDER_WORDINGS.get(value, value)
    if name in {"key", "cause"}:
        return re.sub(r"\d+", lambda number: ranks.get(int(number[0]), number[0]), value)
    return _normal(value, ranks)
