"""
Reaching the socket of a connection, and what the system is told about it.

Twisted writes in its next turn, and asks the system before and after: what is short, and has to be there soon, goes
by L{write_now}. For that three names of Twisted's TCP connections are read that are not documented: C{socket}, and
C{dataBuffer} and C{_tempDataBuffer}, what waits to be sent. A Twisted without them fails every test of what is built
on this.

Must never fail for a connection that is no TCP, nor take it for one, nor send anything ahead of what waits.
"""

import select
import socket
import struct
import sys
from typing import Any

from twisted.internet.interfaces import ITCPTransport, ITransport
from twisted.internet.tcp import Connection
from twisted.protocols.policies import ProtocolWrapper

_KNOWS_BYTES_TAKEN = sys.platform == "linux"
_BYTES_ACKED = struct.Struct("@120xQ")
"""Where C{tcpi_bytes_acked} stands in Linux's C{struct tcp_info}, see linux/tcp.h."""

_END = getattr(select, "POLLRDHUP", 0)
"""The other side sends no more. Where the system has no word for that, only a connection that was reset has ended."""

SILENCE = 2.0
"""After how many seconds in which nothing that was sent was acknowledged a connection is given up."""

UNSENT_BYTES = 128 * 1024
"""How much the system holds that it has not sent yet: what goes ahead of other things waits for no more than that."""

_TCP_NOTSENT_LOWAT = 25  # Linux; Python has a name for it from 3.12 on


def tcp_socket(transport: ITransport | None) -> socket.socket | None:
    """The socket of a TCP connection, below TLS if there is any; C{None} of any other connection."""
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
    How many bytes the other side's system has acknowledged on a TCP connection; C{None} where that can't be known, on
    other connections and other systems than Linux.
    """
    handle = tcp_socket(transport)
    if handle is None or handle.fileno() < 0 or not _KNOWS_BYTES_TAKEN:
        return None
    information = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size)
    if len(information) < _BYTES_ACKED.size:
        return None
    taken: int = _BYTES_ACKED.unpack(information)[0]
    return taken


def has_gone(transport: ITransport | None) -> bool:
    """Whether the other side of a connection has ended it, although what it sent before was not read yet."""
    handle = _socket(transport)
    if handle is None or handle.fileno() < 0:
        return False
    state = select.poll()
    state.register(handle, _END)
    return bool(state.poll(0))


def write_now(connection: Connection, data: bytes) -> None:
    """
    Send, at once when nothing waits to be sent: the reactor need not be asked when there is room.

    @param connection: it itself, not what is wrapped around it.
    """
    transport: Any = connection
    if transport.dataBuffer or transport._tempDataBuffer or not transport.connected:
        transport.write(data)
        return
    try:
        sent = transport.socket.send(data)
    except OSError:
        sent = 0  # there is no room, or no connection any more, of which the reactor is told in its next turn
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
