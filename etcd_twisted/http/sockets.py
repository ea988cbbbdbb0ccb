"""
Reaching the socket of a connection.

Must never take another connection for a TCP one.
"""

import socket
from typing import Any

from twisted.internet.interfaces import ITCPTransport, ITransport
from twisted.protocols.policies import ProtocolWrapper


def tcp_socket(transport: ITransport | None) -> socket.socket | None:
    """The socket of a TCP connection, below TLS if there is any; C{None} of any other connection."""
    if not ITCPTransport.providedBy(transport):
        return None
    below: Any = transport
    while isinstance(below, ProtocolWrapper):
        below = below.transport
    handle: socket.socket = below.getHandle()
    # Twisted's Unix connections say that they are TCP too.
    return None if handle.family == socket.AF_UNIX else handle
