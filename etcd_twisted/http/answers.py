"""
What is answered: a status, header lines and a body, before anybody has to know how they are sent.

Must never know what a port serves, nor of sockets, nor of L{twisted.web}.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import attrs

TEXT = b"Content-Type: text/plain; charset=utf-8\r\n"
"""The header line of an answer that is text."""


class Events(ABC):
    """
    A body that comes as things happen.

    A class to inherit from, and no C{typing.Protocol}: every request would pay for asking whether its body is one.

    @ivar stream: whether every event is told; else the first one only.
    """

    __slots__ = ()

    stream: bool

    @abstractmethod
    def begin(self, send: Callable[[bytes], None], end: Callable[[], None]) -> None:
        """
        Have events sent.

        @param send: called with each event: once, or with C{stream} until L{cancel}.
        @param end: called when no more can come, though not all did.
        """

    @abstractmethod
    def cancel(self) -> None:
        """Wait no longer; nothing is sent from here on."""

    @abstractmethod
    def hold(self) -> None:
        """Send nothing until L{release}."""

    @abstractmethod
    def release(self) -> None:
        """There is room again: send what happened meanwhile, and go on."""

    @property
    @abstractmethod
    def waiting_bytes(self) -> int:
        """How much has happened that could not be sent, since the waiting began."""


Body = bytes | Iterator[bytes] | Events
"""All at once; or in pieces, to be asked for as fast as they can be sent; or as events happen."""


@attrs.define(eq=False)
class Response:
    """
    An answer.

    @ivar status: the HTTP status.
    @ivar fields: the header lines of its own, each with its line end; the lines about the connection, the length
        and the server are the door's.
    @ivar body: see L{Body}. Where the request is a C{HEAD} it is what C{GET} would get, and not to be sent.
    """

    status: int
    fields: bytes
    body: Body


def plain(status: int, text: str, fields: bytes = b"") -> Response:
    """A line of text."""
    return Response(status, TEXT + fields, text.encode() + b"\n")
