"""
The limits on what one client may make a port hold, and for how long.
"""

import attrs

from etcd_twisted.config import Config

LONGEST_HEAD_BYTES = 1 << 16
"""The longest request line and headers together."""


@attrs.frozen
class Limits:
    """
    The limits of a port.

    @ivar connections: how many connections there may be at a time; more are closed as soon as they are opened.
    @ivar body_bytes: the longest body of a request.
    @ivar read_timeout_seconds: how long a client may take to send a request, from its first byte to its last, and to
        complete a TLS handshake.
    @ivar write_timeout_seconds: how long a client may take no byte of an answer.
    @ivar idle_timeout_seconds: how long a connection may stay open without a request on it.
    @ivar refused_timeout_seconds: how long a client whose request was refused may go on sending, so that it can read
        the reason.
    @ivar stream_backlog_bytes: how many bytes may wait for the client of a stream of events that takes nothing. With
        more, it has only C{stream_backlog_timeout_seconds} instead of the write timeout.
    @ivar stream_backlog_timeout_seconds: how long a client may keep a stream waiting with more than that.
    """

    connections: int
    body_bytes: int
    read_timeout_seconds: float
    write_timeout_seconds: float
    idle_timeout_seconds: float = 60.0
    refused_timeout_seconds: float = 2.0
    stream_backlog_bytes: int = 1 << 20
    stream_backlog_timeout_seconds: float = 1.0

    @classmethod
    def of(cls, config: Config, connections: int) -> "Limits":
        """Returns the limits that are configured for every port of a machine."""
        return cls(connections, config.max_request_bytes, config.http_read_timeout, config.http_write_timeout)
