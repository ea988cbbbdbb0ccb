"""
Keys as paths: how they are cleaned, which are hidden, and which lies below which.

A clean key begins with C{/}, has no empty, C{.} or C{..} segment and no trailing slash; the root is C{/}. Everything
in the key space but L{clean} expects clean keys. This module must never know what the tree holds.
"""

from collections.abc import Iterator

from etcd_twisted.errors import ErrorCode, EtcdError

ROOT = "/"

CLUSTER_KEYS = "/_etcd"
"""The directory of the keys that the cluster keeps for itself."""

MAX_KEY_SEGMENTS = 256
"""
How many segments the key of a new node may have. A recursive listing shows each directory on the path with its whole
key, so its size grows with the product of depth and length.
"""

MAX_KEY_BYTES = 16_384
"""How long the key of a new node may be in UTF-8."""

LONGEST_IN_ORDER_NAME = "/" + "9" * 20
"""The longest name that an in-order key may get, with its slash: an index of 64 bits."""

SAFE_KEY_CHARACTERS = 2 * MAX_KEY_SEGMENTS - len(LONGEST_IN_ORDER_NAME)
"""
A key of at most so many characters is within both limits, even with an in-order name below it: each segment takes a
slash and a character.
"""


def clean(path: str) -> str:
    """
    Returns a path as a clean key (spec, section 1, "Keys"): without repeated and trailing slashes and C{.}, and with
    each C{..} resolved, which never leads above the root.
    """
    if path[:1] == "/" and path[-1] != "/" and "//" not in path and "/." not in path:
        return path
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            if segments:
                segments.pop()
        elif segment and segment != ".":
            segments.append(segment)
    return ROOT + "/".join(segments)


def check_size(key: str, in_order: bool = False) -> None:
    """
    Check that a new node may have this clean key.

    Only for commands that are about to be logged: a command in the log is applied whatever its key.

    @param in_order: whether the node gets an in-order name below C{key}.
    @raise EtcdError: 209, with the limit that the key exceeds.
    """
    if in_order:
        key += LONGEST_IN_ORDER_NAME
    whose = "the key that this makes" if in_order else "the key"
    if (count := key.count("/")) > MAX_KEY_SEGMENTS:
        problem = f"{whose} has {count} segments; at most {MAX_KEY_SEGMENTS} are allowed"
        raise EtcdError(ErrorCode.INVALID_FIELD, problem)
    if (length := len(key.encode())) > MAX_KEY_BYTES:
        problem = f"{whose} is {length} bytes long; at most {MAX_KEY_BYTES} are allowed"
        raise EtcdError(ErrorCode.INVALID_FIELD, problem)


def join(parent: str, name: str) -> str:
    """Returns the key of the child C{name} of the directory C{parent}."""
    return parent + name if parent == ROOT else f"{parent}/{name}"


def parent(key: str) -> str:
    """Returns the key of the directory that holds C{key}. The root's parent is the root."""
    return key[: key.rfind("/")] or ROOT


def with_parents(key: str) -> Iterator[str]:
    """Yields the key, its parent, and so on up to the root: one at a time, since all of them together may be long."""
    yield key
    while key != ROOT:
        key = parent(key)
        yield key


def is_below(key: str, directory: str) -> bool:
    """Returns whether C{key} lies in C{directory}, at any depth. No key lies below itself."""
    if directory == ROOT:
        return key != ROOT
    return key.startswith(directory) and key[len(directory) : len(directory) + 1] == "/"


def is_hidden(key: str, seen_from: str = ROOT) -> bool:
    """
    Returns whether a segment of C{key} below C{seen_from} begins with C{_}.

    @param seen_from: the directory that is listed or watched; C{key} lies below it.
    """
    return "/_" in (key if seen_from == ROOT else key[len(seen_from) :])
