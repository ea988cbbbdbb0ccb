"""
What is answered: a status, header lines and a body, before anybody has to know how they are sent.

Must never know what a port serves, nor of sockets, nor of L{twisted.web}.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import msgspec
from twisted.internet.defer import Deferred

JSON = b"Content-Type: application/json\r\n"
"""The header line of an answer that is JSON."""

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


class Response(msgspec.Struct, eq=False):
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


def _nobody(_: Response) -> None:
    """The listener to an answer that nobody wants."""


class Later:
    """
    An answer that is to come, for one listener: what a Deferred of it is, at a fraction of the cost.

    Must never cost more than a few attributes: each change has one.
    """

    __slots__ = ("_listener", "_response", "_source")

    def __init__(self) -> None:
        self._listener: Callable[[Response], None] | None = None
        self._response: Response | None = None
        self._source: Deferred[Response] | None = None

    def answer(self, response: Response) -> None:
        """Here it is. To be called once."""
        if self._listener is None:
            self._response = response  # nobody listens yet
        else:
            self._listener(response)

    def follow(self, begin: "Callable[[], Deferred[Response]]") -> None:
        """It is what C{begin} brings, which is not called when nobody wants the answer any more."""
        if self._listener is not _nobody:
            self._source = begin()
            self._source.addCallback(self.answer)

    def listen(self, listener: Callable[[Response], None]) -> None:
        """Have C{listener} called with the answer, at once if it is there. It must not raise."""
        if self._response is None:
            self._listener = listener
        else:
            listener(self._response)

    def cancel(self) -> None:
        """Nobody wants the answer any more."""
        self._listener = _nobody
        if self._source is not None:
            self._source.cancel()


Answer = Response | Later | Deferred[Response]
"""An answer, now or when it is there. The Deferred never errbacks."""


def as_deferred(answer: "Later | Deferred[Response]") -> "Deferred[Response]":
    """An answer that is to come, for those who do more with it than to send it."""
    if isinstance(answer, Deferred):
        return answer

    def cancel(deferred: "Deferred[Response]") -> None:
        answer.cancel()
        deferred.callback(plain(500, "the client is gone"))

    deferred: Deferred[Response] = Deferred(cancel)
    answer.listen(deferred.callback)
    return deferred


def plain(status: int, text: str, fields: bytes = b"") -> Response:
    """A line of text."""
    return Response(status, TEXT + fields, text.encode() + b"\n")


def json_message(status: int, message: str, fields: bytes = b"") -> Response:
    """
    An error that is none of the API's table, as etcd 2 and 3.4 answer these: their clients show the message, and none
    takes it for success.
    """
    return Response(status, JSON + fields, msgspec.json.encode({"message": message}) + b"\n")
