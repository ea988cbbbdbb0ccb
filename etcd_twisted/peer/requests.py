"""
What a stranger asks for, checked before anybody acts on it.

Must never let anything into the log that could not be a machine's.
"""

import re

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.interfaces.cluster import NAME, JoinRequest
from etcd_twisted.peer.dialing import PeerUrlError, read_peer_url

_ID = re.compile(r"[0-9a-f]{16}")


def is_id(text: str) -> bool:
    """Whether it could be the id of a machine or a cluster."""
    return _ID.fullmatch(text) is not None


def check_join(request: JoinRequest) -> None:
    """
    See to it that a machine that is called and reached like this can be registered.

    @raise EtcdError: it can't; says what is wrong.
    """
    if not is_id(request.machine_id) or not (is_id(request.cluster_id) or request.cluster_id == ""):
        raise EtcdError(ErrorCode.INVALID_FIELD, "ids should be 16 hex digits")
    if not NAME.fullmatch(request.name):
        raise EtcdError(ErrorCode.INVALID_FIELD, f"name: {request.name[:300]!r} should be letters, digits, . _ and -")
    for url in (request.client_url, request.peer_url):
        try:
            read_peer_url(url)
        except PeerUrlError as error:
            raise EtcdError(ErrorCode.INVALID_FIELD, str(error)) from error
