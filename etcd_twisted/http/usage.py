"""
How much a port is used: its connections, and its requests by method and kind of answer.

Must never cost a request more than one step in a dictionary, nor keep a line for each word that a stranger calls a
method.
"""

from collections.abc import Sized

import attrs

METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS")
"""Those that are counted by name."""

OTHER = "other"
"""What all others are counted as, and requests that could not be understood."""

_KNOWN = frozenset(method.encode() for method in METHODS)


@attrs.define(eq=False)
class Usage:
    """
    One port's.

    @ivar connected: the connections that are open.
    """

    connected: Sized = ()
    _answers: dict[tuple[bytes, int], int] = attrs.field(factory=dict)
    """By method and status."""

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self.connected)

    def count(self, method: bytes, status: int) -> None:
        """A request is answered, or its answer begins."""
        try:
            self._answers[method, status] += 1
        except KeyError:
            known = (method if method in _KNOWN else b"", status)
            self._answers[known] = self._answers.get(known, 0) + 1

    def requests(self) -> dict[tuple[str, str], int]:
        """How many there were by method and by class of status, as in C{("PUT", "2xx")}."""
        classes: dict[tuple[str, str], int] = {}
        for (method, status), count in self._answers.items():
            known = (method.decode() or OTHER, f"{status // 100}xx")
            classes[known] = classes.get(known, 0) + count
        return classes
