"""
Opening a port, and saying in one line why it can't be opened.
"""

import errno
import os
import socket

from twisted.internet.endpoints import quoteStringArgument, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory

from etcd_twisted.addresses import Address
from etcd_twisted.errors import StartError

_BACKLOG = 4_096
"""How many connections may wait to be taken: with fewer, thousands of watchers that return at once must try again."""

_REMEDIES = {
    errno.EADDRINUSE: "another program uses it: stop that, or choose another port",
    errno.EACCES: "this user may not open it: choose a port above 1023",
    errno.EADDRNOTAVAIL: "it is no address of this machine",
}


async def listen(reactor: object, option: str, address: Address, factory: IProtocolFactory) -> IListeningPort:
    """
    Listen on an address.

    A host name is looked up at once, on the reactor's thread: nothing is served yet that could wait for it.

    @param option: what the address was given as, for the error.
    @raise StartError: it can't be listened on; one line with the option, the address and the remedy.
    """
    try:
        (family, _, _, _, sockaddr), *_ = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as error:
        raise StartError(f"{option} {address}: the host name can't be looked up: {error.strerror}") from error
    kind = "tcp6" if family == socket.AF_INET6 else "tcp"
    interface = quoteStringArgument(str(sockaddr[0]))
    endpoint = serverFromString(reactor, f"{kind}:{address.port}:interface={interface}:backlog={_BACKLOG}")
    try:
        port: IListeningPort = await endpoint.listen(factory)
    except CannotListenError as error:
        code = error.socketError.errno or 0
        remedy = _REMEDIES.get(code, os.strerror(code))
        raise StartError(f"{option} {address} can't be listened on: {remedy}") from error
    return port
