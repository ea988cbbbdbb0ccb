"""
Keys below a directory, and below another one in its place.

This module must never look at anything but texts.
"""

import posixpath
from collections.abc import Iterator

import attrs


def normal(key: str) -> str:
    """Returns a key as servers spell it: with one slash at its beginning, and none at its end."""
    return posixpath.normpath("/" + key.lstrip("/"))


def is_within(key: str, directory: str) -> bool:
    """Returns whether a key is a directory itself or below it."""
    return directory in {"/", key} or key.startswith(f"{directory}/")


def parents_of(key: str) -> Iterator[str]:
    """Returns the directories that a key is in, but for the root, beginning with the highest."""
    end = key.find("/", 1)
    while end > 0:
        yield key[:end]
        end = key.find("/", end + 1)


@attrs.frozen
class Move:
    """
    A directory that is copied to another one.

    @ivar source: the directory.
    @ivar target: the other one.
    """

    source: str = attrs.field(converter=normal)
    target: str = attrs.field(converter=normal)

    def moved(self, key: str) -> str | None:
        """Returns the key in the other directory, or C{None} for one that is not below this one."""
        if not is_within(key, self.source):
            return None
        rest = key[len(self.source) :] if self.source != "/" else key
        if self.target == "/":
            return rest or "/"
        return self.target if rest == "/" else self.target + rest
