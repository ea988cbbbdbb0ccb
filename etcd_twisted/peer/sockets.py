"""
What the system is told about a connection between machines.

Must never fail for a connection that is no TCP.
"""

import socket

from twisted.internet.interfaces import ITransport

from etcd_twisted.http.sockets import tcp_socket

SILENCE = 2.0
"""After how many seconds in which nothing that was sent was acknowledged a connection is given up."""

UNSENT_BYTES = 128 * 1024
"""How much the system holds that it has not sent yet: what goes ahead of other things waits for no more than that."""

_TCP_NOTSENT_LOWAT = 25  # Linux; Python has a name for it from 3.12 on


def tune(transport: ITransport | None, silence: float) -> None:
    """
    Have small messages go at once, and a connection end when the other side is not there any more.

    @param silence: see L{SILENCE}. A connection on which nothing is sent is probed, and ends a little later.
    """
    handle = tcp_socket(transport)
    if handle is None:
        return
    handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    handle.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    pause = max(1, round(silence / 2))
    for option, value in (
        (socket.TCP_KEEPIDLE, pause),
        (socket.TCP_KEEPINTVL, pause),
        (socket.TCP_KEEPCNT, 2),
        (socket.TCP_USER_TIMEOUT, round(silence * 1e3)),
        (_TCP_NOTSENT_LOWAT, UNSENT_BYTES),
    ):
        handle.setsockopt(socket.IPPROTO_TCP, option, value)
