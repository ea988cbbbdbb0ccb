"""
Errors of the API's table as HTTP answers, the same on the client port and on the peer port.

Must never tell a client more than the table and the cause: what nobody expected is the log's.
"""

import msgspec

from etcd_twisted.errors import MESSAGES, ErrorCode, EtcdError, http_status
from etcd_twisted.httpd.answers import JSON, Response
from etcd_twisted.httpd.targets import unescape
from etcd_twisted.keyspace.events import encode_json


class _Error(msgspec.Struct, rename="camel"):
    """The body of an answer that is an error (spec, section 1, "Answers")."""

    error_code: int
    message: str
    cause: str
    index: int


def failure(error: EtcdError, index: int) -> Response:
    """
    An error as an answer.

    @param index: the key space's, for an error that has none of its own.
    """
    index = error.index or index
    return Response(http_status(error.code), JSON + b"X-Etcd-Index: %d\r\n" % index, error_body(error, index))


def broken(index: int) -> Response:
    """Something went wrong that nobody expected; the client is told no more than that."""
    return failure(EtcdError(ErrorCode.RAFT_INTERNAL, "an error in the server; its log says more"), index)


def undecodable(path: bytes, index: int) -> Response | None:
    """
    The answer to a request whose path can't be decoded; C{None} for any other.

    @param path: as it came.
    """
    try:
        unescape(path)
    except ValueError as error:
        return failure(EtcdError(ErrorCode.INVALID_FORM, f"the path has {error}"), index)
    return None


def error_body(error: EtcdError, index: int) -> bytes:
    """The error as a line of JSON."""
    return encode_json(_Error(error.code, MESSAGES[error.code], error.cause, index)) + b"\n"
