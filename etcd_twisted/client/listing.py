"""
A recursive listing as a stream of nodes, so that a large one is never held in memory.

A node is told of as soon as it is known: a directory before what is in it, as soon as its C{nodes} begin. What the
listing says of it after these (its indexes, with every server of this API) is not known then. This module must never
take half a listing for a whole one, nor lose a TTL.
"""

import enum
from collections.abc import Callable
from datetime import datetime
from typing import Any

import ijson  # type: ignore[import-untyped]
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IResponse

from etcd_twisted.client.answers import index_of
from etcd_twisted.client.errors import UnexpectedAnswer
from etcd_twisted.client.results import Index, Node

Take = Callable[[Node], None]
"""Takes a node, without what is in it."""

_SCALARS = frozenset(("string", "number", "boolean", "null"))


class _Context(enum.Enum):
    """What an object or a list of the JSON is."""

    ANSWER = enum.auto()
    NODE = enum.auto()
    NODES = enum.auto()
    OTHER = enum.auto()


class ListingError(ValueError):
    """What was read is no listing. The text says why."""


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)  # the others draw where it is


class ListingParser:
    """
    Reads the JSON of an answer to a C{GET}, in pieces.

    @ivar count: how many nodes it has had so far.
    """

    def __init__(self, take: Take) -> None:
        """@param take: called with each node, parents first."""
        self.count = 0
        self._take = take
        self._events: Any = ijson.sendable_list()
        self._parser: Any = ijson.basic_parse_coro(self._events)
        self._contexts: list[_Context] = []
        self._nodes: list[dict[str, Any]] = []  # those that have begun and not ended
        self._name = ""  # of the field that is next
        self._is_complete = False

    def feed(self, data: bytes) -> None:
        """
        Take a piece.

        @raise ListingError: this is no listing.
        """
        try:
            self._parser.send(data)
        except ijson.JSONError as error:
            raise ListingError(f"it is not JSON: {_first_line(error)}") from error
        self._read()

    def close(self) -> None:
        """
        Take the end.

        @raise ListingError: something is missing.
        """
        try:
            self._parser.close()
        except ijson.JSONError as error:
            raise ListingError(f"it is cut off: {_first_line(error)}") from error
        self._read()
        if not self._is_complete:
            raise ListingError("it is JSON, but no answer of this API: it has no node")

    def _read(self) -> None:
        contexts = self._contexts
        for event, value in self._events:
            if event == "map_key":
                self._name = value
            elif event in _SCALARS:
                if contexts and contexts[-1] is _Context.NODE:
                    self._nodes[-1][self._name] = value
            elif event == "start_map":
                self._begin_map(contexts[-1] if contexts else None)
            elif event == "start_array":
                self._begin_array(contexts[-1] if contexts else None)
            elif contexts.pop() is _Context.NODE:
                self._end_node()
        del self._events[:]

    def _begin_map(self, context: "_Context | None") -> None:
        if context is None:
            self._contexts.append(_Context.ANSWER)
        elif context is _Context.NODES or (context is _Context.ANSWER and self._name == "node"):
            self._contexts.append(_Context.NODE)
            self._nodes.append({})
        else:
            self._contexts.append(_Context.OTHER)

    def _begin_array(self, context: "_Context | None") -> None:
        if context is _Context.NODE and self._name == "nodes":
            self._emit(self._nodes[-1])
            self._contexts.append(_Context.NODES)
        else:
            self._contexts.append(_Context.OTHER)

    def _end_node(self) -> None:
        node = self._nodes.pop()
        if "emitted" not in node:
            self._emit(node)
        elif ("expiration" in node) != node["emitted"]:
            raise ListingError(f"the TTL of {node.get('key', '/')!r} stands behind its nodes")
        self._is_complete = not self._nodes

    def _emit(self, fields: dict[str, Any]) -> None:
        expiration = fields.get("expiration")
        key, value = fields.get("key", "/"), fields.get("value")
        if expiration is None and "ttl" in fields:
            raise ListingError(f"{key!r} has a ttl, but no expiration")
        try:
            expires_at = None if expiration is None else datetime.fromisoformat(expiration).timestamp()
        except (TypeError, ValueError) as error:
            raise ListingError(f"{key!r} has the expiration {expiration!r}: {error}") from error
        directory = bool(fields.get("dir"))
        if not isinstance(key, str) or not (directory or isinstance(value, str)):
            raise ListingError(f"{key!r} is neither a key with a value nor a directory")
        indexes = fields.get("createdIndex", 0), fields.get("modifiedIndex", 0)
        fields["emitted"] = expiration is not None
        self.count += 1
        self._take(Node(key, None if directory else value, directory, (), *indexes, fields.get("ttl"), expires_at))


class _ListingBody(Protocol):
    """
    Reads a listing from a connection.

    @ivar ended: fires when it is read. Cancelling it closes the connection.
    """

    def __init__(self, parser: ListingParser) -> None:
        self.ended: Deferred[None] = Deferred(lambda _: self._give_up())
        self._parser = parser

    def _give_up(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()

    def _fail(self) -> None:
        failure = Failure()
        if not self.ended.called:
            self.ended.errback(failure)
        self._give_up()

    def dataReceived(self, data: bytes) -> None:
        """Take some of it."""
        if self.ended.called:
            return
        try:
            self._parser.feed(data)
        except Exception:  # it is what the listing fails with
            self._fail()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Take the end of it."""
        if self.ended.called:
            return
        if not reason.check(ResponseDone, PotentialDataLoss):
            self.ended.errback(reason)
            return
        try:
            self._parser.close()
        except Exception:  # see above
            self._fail()
        else:
            self.ended.callback(None)


async def read_listing(response: IResponse, begin: Callable[[Index], Take]) -> Index:
    """
    Read the listing that an answer brings, and return where the machine stood.

    @param begin: called with that before the first node; returns what takes the nodes.
    @raise UnexpectedAnswer: it is no listing.
    """
    index = index_of(response.headers)
    body = _ListingBody(ListingParser(begin(index)))
    response.deliverBody(body)
    try:
        await body.ended
    except ListingError as error:
        raise UnexpectedAnswer(response.code, b"", str(error)) from error
    return index
