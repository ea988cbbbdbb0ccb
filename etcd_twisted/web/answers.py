"""
Answers of the client port in the API's own terms: with the key space's index, or with an error of its table.

Must never know how they are sent: the key endpoint and the pages beside the keys both answer with these.
"""

import msgspec

from etcd_twisted.errors import MESSAGES, ErrorCode, EtcdError, http_status
from etcd_twisted.http.answers import Body, Response
from etcd_twisted.interfaces import IReplica
from etcd_twisted.keyspace.events import encode_json

JSON = b"Content-Type: application/json\r\n"


class _Error(msgspec.Struct, rename="camel"):
    """The body of an answer that is an error (spec, section 1, "Answers")."""

    error_code: int
    message: str
    cause: str
    index: int


def success(replica: IReplica, status: int, index: int, body: Body) -> Response:
    """A successful answer about keys, at C{index} of the key space."""
    fields = JSON + b"X-Etcd-Index: %d\r\nX-Raft-Index: %d\r\nX-Raft-Term: %d\r\n"
    return Response(status, fields % (index, replica.raft_index, replica.term), body)


def failure(error: EtcdError, index: int) -> Response:
    """
    An error as an answer.

    @param index: the key space's, for an error that has none of its own.
    """
    index = error.index or index
    return Response(http_status(error.code), JSON + b"X-Etcd-Index: %d\r\n" % index, _error_body(error, index))


def no_key(cause: str, index: int) -> Response:
    """The path means no key. Like the reference's, this answer says nothing of the key space in its headers."""
    error = EtcdError(ErrorCode.INVALID_FORM, cause)
    return Response(http_status(error.code), JSON, _error_body(error, index))


def broken(index: int) -> Response:
    """Something went wrong that nobody expected; the client is told no more than that."""
    return failure(EtcdError(ErrorCode.RAFT_INTERNAL, "an error in the server; its log says more"), index)


def _error_body(error: EtcdError, index: int) -> bytes:
    return encode_json(_Error(error.code, MESSAGES[error.code], error.cause, index)) + b"\n"
