"""
What the connections of a fast site share: how they tell a common request, how the responses begin, and the queues in
which they wait for bytes and for the end of a turn.

This module must never take a request for common that L{Channel} would refuse or understand otherwise.
"""
# Twisted's HTTP server has no types.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import re
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.tcp import Connection
from twisted.web.http_headers import Headers

from etcd_twisted.httpd.exchange import STATUS_LINES
from etcd_twisted.httpd.fast.heads import Heads
from etcd_twisted.httpd.fast.readers import HAS_EPOLL, Readers
from etcd_twisted.httpd.fast.sending import SendQueue
from etcd_twisted.httpd.handler import Handler
from etcd_twisted.httpd.ordinary.channel import Channel
from etcd_twisted.httpd.site import Site

LONGEST_COMMON_HEAD_BYTES = 1 << 13
"""How much of a head that is not complete is kept. The path and the query may have half of it each."""

_LINE = rb"(%s) %s(?=[/? ])([!->@-~]{0,4096}+)(?=[? ])\??+([!-~]{0,4096}+) HTTP/1\.1\r\n"
"""A request line, with room for what its method and the handler's prefix have to match."""

_FIELDS = rb"((?:[^\r]++\r\n)++)\r\n"
"""The rest of a head. It matches whatever L{Heads} can take for common, and more."""


class SharedSite(Site):
    """
    A site, with what its connections at the fast door share.

    @ivar heads: what the header lines of common requests say.
    @ivar sends: what is sent before the turn of the reactor ends.
    @ivar common_fields: header lines for the responses to common requests, none of which has an C{Origin}.
    @ivar beginnings: how the response to a common request begins, by its status.
    @ivar request_line: matches the request line of a common request for the handler. Its groups are the method, the
        path and the query.
    @ivar request_head: matches the whole head of such a request, with a further group for the header lines.
    """

    handler: Handler

    def __init__(self, *args: Any, **kw: Any) -> None:
        """See L{Site}. A fast site has to have a handler."""
        super().__init__(*args, **kw)
        self.heads = Heads(self.browsers, self.limits.body_bytes)
        self.sends = SendQueue(self.reactor)
        self._readers: Readers | None = None
        self.common_fields = b"" if self.cors is None else self.cors.fields(Headers())
        self.beginnings: dict[int, bytes] = {}
        methods = rb"[A-Z]{1,32}" if self.cors is None else rb"(?!OPTIONS )[A-Z]{1,32}"
        line = _LINE % (methods, re.escape(self.handler.prefix))
        self.request_line = re.compile(line)
        self.request_head = re.compile(line + _FIELDS)
        self._update_fields()

    def _update_fields(self) -> None:
        """See L{Site}."""
        super()._update_fields()
        fields = self.server_fields + self.common_fields
        self.beginnings = {status: line + fields for status, line in STATUS_LINES.items()}

    def share(self, connection: Connection) -> None:
        """Let a connection wait for bytes together with all others."""
        if self._readers is None and HAS_EPOLL:
            self._readers = Readers(connection.reactor, self.turns, self.sends)
        if self._readers is not None:
            self._readers.adopt(connection)

    def ordinary(self, addr: IAddress | None) -> Channel:
        """Returns what takes over a connection."""
        channel: Channel = super().connection(addr)
        return channel
