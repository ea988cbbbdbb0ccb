"""
The interface of what serves the requests below one path without a detour through L{twisted.web}'s resources.

This module must never know of connections: a handler takes a request, and returns a response.
"""

from typing import Protocol

import msgspec

from etcd_twisted.httpd.responses import AnyResponse

RELAYED = b"X-Etcd-Relayed"
"""The header of a request that a standby makes for a client of its own."""


class Authorization(bytes):
    """
    The value of an C{Authorization} header in a block of header lines that comes again and again. It is kept with the
    block, so that what is found out about it is found out once.

    @ivar found: for whoever reads the header: what it was found out for, and the user.
    """

    found: "tuple[object, str] | None" = None


class ParsedRequest(msgspec.Struct, eq=False):
    """
    A request as it came, and who makes it.

    @ivar path: what follows the handler's prefix, still percent-encoded: empty, or beginning with C{/}.
    @ivar query: what follows the C{?}.
    @ivar content_type: C{None} where the request has none.
    @ivar authorization: the C{Authorization} header; C{None} where the request has none. Several headers are joined as
        HTTP says, which makes none of them valid.
    @ivar common_name: the common name of the client's certificate, where the port requires one; otherwise C{None}.
    @ivar relayed: whether a standby made the request for a client of its own; see L{etcd_twisted.web.relay}.
    @ivar user: the user who makes the request, for its handler to find out; C{None} until that is done.
    @ivar conceals: whether the user may change the key and not read it, for its handler to find out.
    """

    method: bytes
    path: bytes
    query: bytes = b""
    content_type: bytes | None = None
    body: bytes = b""
    authorization: bytes | None = None
    common_name: str | None = None
    relayed: bool = False
    user: str | None = None
    conceals: bool = False


class Handler(Protocol):
    """
    Serves the requests below one path.

    @ivar prefix: that path, without a slash at its end.
    """

    prefix: bytes

    def target_of_alias(self, target: bytes) -> bytes | None:
        """
        Returns what a target without the prefix means below it, which is a path and maybe a query, or C{None} if the
        target is not the handler's.
        """

    def handle(self, request: ParsedRequest) -> AnyResponse:
        """
        Returns the response to a request, which may be an error. A L{Later} is not answered yet.

        A caller that no longer wants a later response cancels it.
        """
