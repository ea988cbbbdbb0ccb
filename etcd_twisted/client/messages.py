"""
A request and its answer, as values.

This module must never import Twisted: C{txetcdctl} makes a request without it, as that takes less time to start.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import attrs


class ResponseHeaders(Protocol):
    """The headers of an answer, such as L{twisted.web.http_headers.Headers}."""

    def getRawHeaders(self, name: str) -> Sequence[str] | None:
        """Returns the values of a header, or C{None} if the answer lacks it."""


@attrs.frozen
class Request:
    """
    A request, as any machine would take it.

    @ivar method: the HTTP method.
    @ivar target: the path and the query, percent-encoded.
    @ivar form: what is sent as a form, or C{None} for no body.
    @ivar json: what is sent as JSON, or C{None}.
    @ivar changes: whether the request may change something, so that it must not be sent twice.
    @ivar for_leader: whether followers redirect it to the leader.
    @ivar accepted: the statuses that are answers to it, beside those of success.
    """

    method: str
    target: str
    form: Mapping[str, str] | None = None
    json: bytes | None = None
    changes: bool = False
    for_leader: bool = False
    accepted: frozenset[int] = frozenset()


@attrs.frozen
class Answer:
    """
    A whole answer.

    @ivar machine: the URL of the machine that gave it.
    @ivar status: its HTTP status.
    @ivar headers: its headers.
    @ivar body: its body.
    """

    machine: str
    status: int
    headers: ResponseHeaders
    body: bytes

    def header(self, name: str) -> str | None:
        """Returns the last value of a header, or C{None} if the answer lacks it."""
        return header_of(self.headers, name)


def header_of(headers: ResponseHeaders, name: str) -> str | None:
    """Returns the last value of a header, or C{None} if it is missing."""
    values = headers.getRawHeaders(name)
    return values[-1] if values else None
