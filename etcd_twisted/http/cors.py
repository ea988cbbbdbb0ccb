"""
What lets a page of another origin read the answers of a port (the Fetch standard, section 3.2, "CORS protocol").

Must never allow an origin that was not named, nor let a cache give one origin what was made for another.
"""

from collections.abc import Collection

from twisted.web.http_headers import Headers

from etcd_twisted.http.answers import Answer, Response, as_deferred

ANY = "*"
"""Stands for every origin."""

_METHODS = b"Access-Control-Allow-Methods: GET, HEAD, PUT, POST, DELETE, OPTIONS\r\n"
_HEADERS = b"Access-Control-Allow-Headers: accept, content-type, authorization\r\n"
_MAX_AGE = b"Access-Control-Max-Age: 600\r\n"
"""Seconds for which a browser need not ask again."""


class Cors:
    """Which origins may read a port's answers, and what of these."""

    def __init__(self, origins: Collection[str], exposed: Collection[str]) -> None:
        """
        @param origins: as browsers send them, in small letters; L{ANY} among them stands for all.
        @param exposed: the header fields that a page may read beside those that it always may.
        """
        self._any = ANY in origins
        self._origins = frozenset(origin.encode() for origin in origins)
        self._vary = b"" if self._any else b"Vary: Origin\r\n"
        self._exposed = b"Access-Control-Expose-Headers: %s\r\n" % ", ".join(exposed).encode()

    def fields(self, request: Headers) -> bytes:
        """
        The header lines for an answer.

        @param request: the header of what is answered.
        """
        origin = self._allowed(request)
        return origin + self._exposed + self._vary if origin else self._vary

    def preflight(self, request: Headers) -> Response:
        """The answer to C{OPTIONS}, by which a browser asks whether it may send the request that it has."""
        origin = self._allowed(request)
        return Response(200, origin + _METHODS + _HEADERS + _MAX_AGE + self._vary if origin else self._vary, b"")

    def _allowed(self, request: Headers) -> bytes:
        """The header line that allows the request's origin; none for one that may not read."""
        if self._any:
            return b"Access-Control-Allow-Origin: *\r\n"
        for origin in request.getRawHeaders(b"Origin", ()):
            if origin in self._origins:
                return b"Access-Control-Allow-Origin: %s\r\n" % origin
        return b""


def with_fields(answer: Answer, fields: bytes) -> Answer:
    """An answer with more header lines."""
    if isinstance(answer, Response):
        return _with(answer, fields)
    return as_deferred(answer).addCallback(_with, fields)


def _with(response: Response, fields: bytes) -> Response:
    return Response(response.status, response.fields + fields, response.body)
