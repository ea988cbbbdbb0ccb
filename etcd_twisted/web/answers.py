"""
Answers about keys: with the key space's index, or why a path means no key.

Must never know how they are sent.
"""

from etcd_twisted.errors import ErrorCode, EtcdError, http_status
from etcd_twisted.failures import JSON, error_body
from etcd_twisted.http.answers import Body, Response
from etcd_twisted.interfaces import IReplica


def success(replica: IReplica, status: int, index: int, body: Body) -> Response:
    """A successful answer about keys, at C{index} of the key space."""
    fields = JSON + b"X-Etcd-Index: %d\r\nX-Raft-Index: %d\r\nX-Raft-Term: %d\r\n"
    return Response(status, fields % (index, replica.raft_index, replica.term), body)


def no_key(cause: str, index: int) -> Response:
    """The path means no key. Like the reference's, this answer says nothing of the key space in its headers."""
    error = EtcdError(ErrorCode.INVALID_FORM, cause)
    return Response(http_status(error.code), JSON, error_body(error, index))
