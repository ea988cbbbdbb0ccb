"""
What is answered: a status, header lines and a body, before anybody has to know how they are sent.

Must never know of sockets or of L{twisted.web}: every door of the client port sends these.
"""

from collections.abc import Iterator

import attrs
import msgspec

from etcd_twisted.errors import MESSAGES, ErrorCode, EtcdError, http_status
from etcd_twisted.http.watches import Watch
from etcd_twisted.interfaces import IReplica
from etcd_twisted.keyspace.events import encode_json

Body = bytes | Iterator[bytes] | Watch
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


_JSON = b"Content-Type: application/json\r\n"


class _Error(msgspec.Struct, rename="camel"):
    """The body of an answer that is an error (spec, section 1, "Answers")."""

    error_code: int
    message: str
    cause: str
    index: int


def success(replica: IReplica, status: int, index: int, body: Body) -> Response:
    """A successful answer about keys, at C{index} of the key space."""
    fields = _JSON + b"X-Etcd-Index: %d\r\nX-Raft-Index: %d\r\nX-Raft-Term: %d\r\n"
    return Response(status, fields % (index, replica.raft_index, replica.term), body)


def failure(error: EtcdError, index: int) -> Response:
    """
    An error as an answer.

    @param index: the key space's, for an error that has none of its own.
    """
    index = error.index or index
    return Response(http_status(error.code), _JSON + b"X-Etcd-Index: %d\r\n" % index, _error_body(error, index))


def no_key(cause: str, index: int) -> Response:
    """The path means no key. Like the reference's, this answer says nothing of the key space in its headers."""
    error = EtcdError(ErrorCode.INVALID_FORM, cause)
    return Response(http_status(error.code), _JSON, _error_body(error, index))


def _error_body(error: EtcdError, index: int) -> bytes:
    return encode_json(_Error(error.code, MESSAGES[error.code], error.cause, index)) + b"\n"


def plain(status: int, text: str, fields: bytes = b"") -> Response:
    """A line of text."""
    return Response(status, b"Content-Type: text/plain; charset=utf-8\r\n" + fields, text.encode() + b"\n")
