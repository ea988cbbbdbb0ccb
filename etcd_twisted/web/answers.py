"""
Answers: about keys, with the key space's index, and errors of the API's table, the same on the client port and on the
peer port.

Must never know how they are sent, nor tell a client more than the table and the cause: what nobody expected is the
log's.
"""

import msgspec
from twisted.logger import Logger
from twisted.python.failure import Failure

from etcd_twisted.errors import MESSAGES, ErrorCode, EtcdError, http_status
from etcd_twisted.httpd.pages import no_such_page
from etcd_twisted.httpd.responses import JSON, Body, Response
from etcd_twisted.httpd.targets import unescape
from etcd_twisted.interfaces import IReplica
from etcd_twisted.keyspace.events import encode_json


class _Error(msgspec.Struct, rename="camel"):
    """The body of an answer that is an error (spec, section 1, "Answers")."""

    error_code: int
    message: str
    cause: str
    index: int


def success(replica: IReplica, status: int, index: int, body: Body, kind: bytes = JSON) -> Response:
    """
    A successful answer about keys, at C{index} of the key space.

    @param kind: the header line that says what the body is.
    """
    fields = kind + b"X-Etcd-Index: %d\r\nX-Raft-Index: %d\r\nX-Raft-Term: %d\r\n"
    return Response(status, fields % (index, replica.raft_index, replica.term), body)


def no_key(cause: str, index: int) -> Response:
    """The path has a bad escape. Like the reference's, this answer says nothing of the key space in its headers."""
    error = EtcdError(ErrorCode.INVALID_FORM, cause)
    return Response(http_status(error.code), JSON, error_body(error, index))


def failed(replica: IReplica, request: object, reason: Failure, log: Logger) -> Response:
    """
    What became of a request for a page that was not answered.

    @param log: is told of what nobody expected.
    """
    missing = no_such_page(reason)
    if missing is not None:
        return missing
    if isinstance(reason.value, EtcdError):
        return failure(reason.value, replica.index)
    log.failure("A request failed: {request}", failure=reason, request=request)
    return broken(replica.index)


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
