"""
Keys as paths: cleaning, hiding, and which key lies below which.

A clean key begins with C{/}, has no empty, C{.} or C{..} segment and no trailing slash; the root is C{/}.
Everything in the key space but L{clean} expects clean keys. Must never know what the tree holds.
"""

from collections.abc import Iterator

from etcd_twisted.errors import ErrorCode, EtcdError

ROOT = "/"

MOST_SEGMENTS = 256
"""
How many segments the key of a new node may have. A recursive listing shows each directory on the way with its whole
key, so it grows with the product of depth and length.
"""

LONGEST_KEY_BYTES = 16_384
"""How long it may be in UTF-8, in bytes."""

LONGEST_NAME_IN_ORDER = "/" + "9" * 20
"""The longest name that an in-order key may get, with its slash: an index of 64 bits."""

SURELY_SHORT = 2 * MOST_SEGMENTS - len(LONGEST_NAME_IN_ORDER)
"""A key of so few characters is within both limits, in order or not: each segment takes a slash and a character."""


def clean(path: str) -> str:
    """
    A path as a clean key: repeated and trailing slashes and C{.} dropped, C{..} resolved, never above the root.

    (spec, section 1, "Keys")
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
    Check that a node may be made at a clean key.

    Only for what is about to be logged: a command in the log is carried out whatever its key.

    @param in_order: whether the node is to get a name of its own below C{key}.
    @raise EtcdError: 209, with the limit that the key exceeds.
    """
    if in_order:
        key += LONGEST_NAME_IN_ORDER
    whose = "the key that this makes" if in_order else "the key"
    if (count := key.count("/")) > MOST_SEGMENTS:
        raise EtcdError(ErrorCode.INVALID_FIELD, f"{whose} has {count} segments; at most {MOST_SEGMENTS} are allowed")
    if (length := len(key.encode())) > LONGEST_KEY_BYTES:
        problem = f"{whose} is {length} bytes long; at most {LONGEST_KEY_BYTES} are allowed"
        raise EtcdError(ErrorCode.INVALID_FIELD, problem)


def join(parent: str, name: str) -> str:
    """The key of the child C{name} of the directory C{parent}."""
    return parent + name if parent == ROOT else f"{parent}/{name}"


def parent(key: str) -> str:
    """The key of the directory that holds C{key}; the root's is the root."""
    return key[: key.rfind("/")] or ROOT


def with_parents(key: str) -> Iterator[str]:
    """The key, then the directory that holds it, and so on up to the root; one at a time, for all of them are long."""
    yield key
    while key != ROOT:
        key = parent(key)
        yield key


def segments(key: str) -> list[str]:
    """A key's segments, from the top; none for the root."""
    return key[1:].split("/") if key != ROOT else []


def is_below(key: str, directory: str) -> bool:
    """Whether C{key} lies in C{directory}, at any depth. No key lies below itself."""
    if directory == ROOT:
        return key != ROOT
    return key.startswith(directory) and key[len(directory) : len(directory) + 1] == "/"


def is_hidden(key: str, seen_from: str = ROOT) -> bool:
    """
    Whether a segment of C{key} below C{seen_from} begins with C{_}.

    @param seen_from: the directory that is listed or watched; C{key} lies below it.
    """
    return "/_" in (key if seen_from == ROOT else key[len(seen_from) :])
