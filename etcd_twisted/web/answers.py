"""
Answers about keys: with the key space's index, or why a path means no key or there is no answer.

Must never know how they are sent.
"""

from twisted.logger import Logger
from twisted.python.failure import Failure

from etcd_twisted.errors import ErrorCode, EtcdError, http_status
from etcd_twisted.httpd.answers import JSON, Body, Response
from etcd_twisted.httpd.pages import no_such_page
from etcd_twisted.interfaces import IReplica
from etcd_twisted.web.failures import broken, error_body, failure


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
