"""
Responses of the API: those about keys, which carry the key space's index, and the errors of the API's table. They are
the same on the client port and on the peer port.

This module must never know how responses are sent, nor tell a client more about an error than the table and the cause:
what nobody expected goes into the log.
"""

import msgspec

from etcd_twisted.errors import MESSAGES, ErrorCode, EtcdError, http_status
from etcd_twisted.httpd.responses import JSON, Body, Response
from etcd_twisted.httpd.targets import unescape
from etcd_twisted.interfaces import IReplica
from etcd_twisted.keyspace.events import encode_json


class _ErrorBody(msgspec.Struct, rename="camel"):
    """The body of an error response (spec, section 1, "Answers")."""

    error_code: int
    message: str
    cause: str
    index: int


def success(
    replica: IReplica, status: int, body: Body, index: int | None = None, content_type: bytes = JSON
) -> Response:
    """
    Returns a successful response about keys.

    @param index: the index of the key space that it is about; C{None} for the current one.
    @param content_type: the whole header line.
    """
    current, raft_index, term = replica.indexes()
    shown = current if index is None else index
    fields = b"%sX-Etcd-Index: %d\r\nX-Raft-Index: %d\r\nX-Raft-Term: %d\r\n" % (content_type, shown, raft_index, term)
    return Response(status, fields, body)


def error_response(error: EtcdError, index: int) -> Response:
    """
    Returns the response for an error. That for missing rights has index 0, as in etcd.

    @param index: the index of the key space, for an error that has none.
    """
    index = 0 if error.code == ErrorCode.UNAUTHORIZED else error.index or index
    return Response(http_status(error.code), JSON + b"X-Etcd-Index: %d\r\n" % index, error_body(error, index))


def internal_error(index: int) -> Response:
    """Returns the response for an unexpected error. It tells the client no more than that."""
    return error_response(EtcdError(ErrorCode.RAFT_INTERNAL, "an error in the server; its log says more"), index)


def bad_escape(cause: str, index: int) -> Response:
    """Returns the response for a bad escape in a key. Like the reference's, its header has no indexes."""
    error = EtcdError(ErrorCode.INVALID_FORM, cause)
    return Response(http_status(error.code), JSON, error_body(error, index))


def undecodable_path(path: bytes, index: int) -> Response | None:
    """
    Returns the response to a request whose path can't be decoded, or C{None} if it can.

    @param path: percent-encoded.
    """
    try:
        unescape(path)
    except ValueError as error:
        return error_response(EtcdError(ErrorCode.INVALID_FORM, f"the path has {error}"), index)
    return None


def error_body(error: EtcdError, index: int) -> bytes:
    """Returns an error as a line of JSON."""
    return encode_json(_ErrorBody(error.code, MESSAGES[error.code], error.cause, index)) + b"\n"
