"""
What serves the requests below one path without a detour through L{twisted.web}'s resources.

Must never know of connections: a door is told what was asked, and returns what to answer.
"""

from typing import Protocol

import msgspec

from etcd_twisted.httpd.answers import Answer


class DoorRequest(msgspec.Struct, eq=False):
    """
    A request, as it came.

    @ivar path: what stands behind the door's prefix, still percent-encoded: empty, or beginning with C{/}.
    @ivar query: what stands behind the C{?}, without it.
    @ivar content_type: C{None} where the request has none.
    """

    method: bytes
    path: bytes
    query: bytes = b""
    content_type: bytes | None = None
    body: bytes = b""


class Door(Protocol):
    """
    See the module.

    @ivar prefix: the path, without a slash at its end.
    """

    prefix: bytes

    def handle(self, request: DoorRequest) -> Answer:
        """
        Answer a request; errors are answers too.

        To cancel an answer that is to come means that nobody wants it any more.
        """
