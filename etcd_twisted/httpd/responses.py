"""
Responses to requests: a status, header lines and a body, independent of how they are sent.

This module must never know what a port serves, nor of sockets, nor of L{twisted.web}.
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
    A body that consists of events, which are sent as they happen.

    It is a base class, and not a C{typing.Protocol}, since every response is asked whether its body is one, which
    takes a protocol much longer.

    @ivar stream: whether all events are sent, and not only the first one.
    """

    __slots__ = ()

    stream: bool

    @abstractmethod
    def begin(self, send: Callable[[bytes], None], end: Callable[[], None]) -> None:
        """
        Begin to wait for events.

        @param send: called with each event: once, or until L{cancel} for a L{stream}.
        @param end: called when no more events can come, although more are expected.
        """

    @abstractmethod
    def cancel(self) -> None:
        """Stop waiting: nothing is sent from now on."""

    @abstractmethod
    def pause(self) -> None:
        """Send nothing until L{resume}."""

    @abstractmethod
    def resume(self) -> None:
        """Send what happened since L{pause}, and continue."""

    @property
    @abstractmethod
    def buffered_bytes(self) -> int:
        """The size of the events that have happened and could not be sent, because of L{pause}."""


Body = bytes | Iterator[bytes] | Events
"""The whole body; or pieces, which are asked for as fast as they can be sent; or events, as they happen."""


class Response(msgspec.Struct, eq=False):
    """
    The response to a request.

    @ivar status: the HTTP status.
    @ivar fields: its own header lines, each with its line end. The door adds the lines about the connection, the
        length and the server.
    @ivar body: see L{Body}. For a C{HEAD} request it is the body of the C{GET} request, and is not sent.
    """

    status: int
    fields: bytes
    body: Body


def _nobody(_: Response) -> None:
    """Ignore a response that nobody wants any more."""


class Later(msgspec.Struct, eq=False):
    """
    A response that will come, for one listener: what a Deferred does, at a fraction of the cost.

    It must never cost more than a few attributes: each change of a key makes one.

    @ivar listener: gets the response; C{None} while nobody listens. Those who answer often may call it themselves,
        and use L{answer} only without it.
    @ivar response: the response, if it came before the listener. Those who listen often may set L{listener}
        themselves, and use L{listen} only with a response.
    """

    listener: Callable[[Response], None] | None = None
    response: Response | None = None
    _source: Deferred[Response] | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether somebody may still want the response."""
        return self.listener is not _nobody

    def answer(self, response: Response) -> None:
        """Give the response to the listener. Called once."""
        if self.listener is None:
            self.response = response  # nobody listens yet
        else:
            self.listener(response)

    def follow(self, begin: "Callable[[], Deferred[Response]]") -> None:
        """Answer with what C{begin} returns, which is not called if nobody wants the response any more."""
        if self.is_wanted:
            self._source = begin()
            self._source.addCallback(self.answer)

    def listen(self, listener: Callable[[Response], None]) -> None:
        """Call C{listener} with the response, at once if it is there. The listener must not raise."""
        if self.response is None:
            self.listener = listener
        else:
            listener(self.response)

    def cancel(self) -> None:
        """Note that nobody wants the response any more."""
        self.listener = _nobody
        if self._source is not None:
            self._source.cancel()


AnyResponse = Response | Later | Deferred[Response]
"""A response, now or later. The Deferred never fires with a failure."""


def as_deferred(response: "Later | Deferred[Response]") -> "Deferred[Response]":
    """Returns a response that will come as a Deferred, for callers that do more with it than send it."""
    if isinstance(response, Deferred):
        return response

    def cancel(deferred: "Deferred[Response]") -> None:
        response.cancel()
        deferred.callback(plain(500, "the client is gone"))

    deferred: Deferred[Response] = Deferred(cancel)
    response.listen(deferred.callback)
    return deferred


def plain(status: int, text: str, fields: bytes = b"") -> Response:
    """Returns a response with a line of text."""
    return Response(status, TEXT + fields, text.encode() + b"\n")


def json_message(status: int, message: str, fields: bytes = b"") -> Response:
    """
    Returns a response with an error that is not in the API's table, in the form of etcd 2 and 3.4: their clients show
    the message, and none takes it for success.
    """
    return Response(status, JSON + fields, msgspec.json.encode({"message": message}) + b"\n")
