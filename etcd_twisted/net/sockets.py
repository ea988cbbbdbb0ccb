"""
Reaches the socket of a connection, asks the system about it, and sets its options.

Twisted writes in the next turn of the reactor, and asks the system before and after whether there is room. What is
short and urgent is sent with L{write_now} instead. That reads three attributes of Twisted's TCP connections that are
not documented: C{socket}, and C{dataBuffer} and C{_tempDataBuffer}, which hold what waits to be sent. A Twisted
without them fails every test of what is built on this.

This module must never fail for a connection that is not TCP, nor take it for TCP, nor send anything ahead of what
waits.
"""

import select
import socket
import struct
import sys
from typing import Any

from twisted.internet.interfaces import ITCPTransport, ITransport
from twisted.internet.tcp import Connection
from twisted.protocols.policies import ProtocolWrapper

from etcd_twisted.net.memory import MemoryTransport

_KNOWS_BYTES_TAKEN = sys.platform == "linux"
_BYTES_ACKED = struct.Struct("@120xQ")
"""The position of C{tcpi_bytes_acked} in Linux's C{struct tcp_info}, see linux/tcp.h."""

_END = getattr(select, "POLLRDHUP", 0)
"""
The event that tells that the other side sends no more. On a system without it, only a connection that was reset counts
as ended.
"""

UNACKNOWLEDGED_TIMEOUT_SECONDS = 2.0
"""How long the other side may acknowledge nothing of what was sent before the connection is given up."""

UNSENT_BYTES = 128 * 1024
"""How much the system accepts before it has sent it. An urgent message waits for no more than that."""

_TCP_NOTSENT_LOWAT = 25  # Linux; Python has a name for it from 3.12 on


def tcp_socket(transport: ITransport | None) -> socket.socket | None:
    """Returns the socket of a TCP connection, below TLS if there is any, or None for any other connection."""
    handle = _socket(transport)
    # Twisted's Unix connections say that they are TCP too.
    return None if handle is None or handle.family == socket.AF_UNIX else handle


def _socket(transport: ITransport | None) -> socket.socket | None:
    if not ITCPTransport.providedBy(transport):
        return None
    below: Any = transport
    while isinstance(below, ProtocolWrapper):
        below = below.transport
    handle: socket.socket = below.getHandle()
    return handle


def bytes_taken(transport: ITransport | None) -> int | None:
    """
    Returns how many bytes the other side's system has acknowledged on a TCP connection, or its protocol on one in
    memory. Returns None where that can't be known: on other connections, and for TCP on systems other than Linux.
    """
    if isinstance(transport, MemoryTransport):
        return transport.bytes_taken
    handle = tcp_socket(transport)
    if handle is None or handle.fileno() < 0 or not _KNOWS_BYTES_TAKEN:
        return None
    information = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size)
    if len(information) < _BYTES_ACKED.size:
        return None
    taken: int = _BYTES_ACKED.unpack(information)[0]
    return taken


def has_gone(transport: ITransport | None) -> bool:
    """Returns whether the other side has ended a connection, even if what it sent before has not been read yet."""
    if isinstance(transport, MemoryTransport):
        return transport.has_ended
    return _is_so(transport, _END)


def has_input(transport: ITransport | None) -> bool:
    """Returns whether there is something to be read on a connection, or the other side has ended it."""
    return _is_so(transport, select.POLLIN | _END)


def _is_so(transport: ITransport | None, events: int) -> bool:
    handle = _socket(transport)
    if handle is None or handle.fileno() < 0:
        return False
    state = select.poll()
    state.register(handle, events)
    return bool(state.poll(0))


def write_now(connection: Connection, data: bytes) -> None:
    """
    Send bytes: at once if nothing waits to be sent, without asking the reactor whether there is room.

    @param connection: the connection itself, without anything wrapped around it.
    """
    transport: Any = connection
    if transport.dataBuffer or transport._tempDataBuffer or not transport.connected:
        transport.write(data)
        return
    try:
        sent = transport.socket.send(data)
    except OSError:
        sent = 0  # there is no room, or the connection has ended, which the reactor notices in its next turn
    if sent != len(data):
        transport.write(data[sent:])


def keep_alive(transport: ITransport | None) -> None:
    """Have the system end a connection whose other side has silently disappeared, after a minute and a half."""
    handle = tcp_socket(transport)
    if handle is None:
        return
    handle.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4)):
        handle.setsockopt(socket.IPPROTO_TCP, option, value)


def tune(transport: ITransport | None, unacknowledged_timeout_seconds: float) -> None:
    """
    Have small messages sent at once, and have the connection end when the other side has disappeared.

    @param unacknowledged_timeout_seconds: see L{UNACKNOWLEDGED_TIMEOUT_SECONDS}. A connection on which nothing is sent
        is probed, and ends a little later.
    """
    handle = tcp_socket(transport)
    if handle is None:
        return
    handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    handle.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    pause_seconds = max(1, round(unacknowledged_timeout_seconds / 2))
    for option, value in (
        (socket.TCP_KEEPIDLE, pause_seconds),
        (socket.TCP_KEEPINTVL, pause_seconds),
        (socket.TCP_KEEPCNT, 2),
        (socket.TCP_USER_TIMEOUT, round(unacknowledged_timeout_seconds * 1e3)),
        (_TCP_NOTSENT_LOWAT, UNSENT_BYTES),
    ):
        handle.setsockopt(socket.IPPROTO_TCP, option, value)
