"""
Keys as paths: cleaning, hiding, and which key lies below which.

A clean key begins with C{/}, has no empty, C{.} or C{..} segment and no trailing slash; the root is C{/}.
Everything in the key space but L{clean} expects clean keys. Must never know what the tree holds.
"""

ROOT = "/"


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


def join(parent: str, name: str) -> str:
    """The key of the child C{name} of the directory C{parent}."""
    return parent + name if parent == ROOT else f"{parent}/{name}"


def parent(key: str) -> str:
    """The key of the directory that holds C{key}; the root's is the root."""
    return key[: key.rfind("/")] or ROOT


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
