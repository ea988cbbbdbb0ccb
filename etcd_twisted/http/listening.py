"""
Opening a port, and saying in one line why it can't be opened.

Must never try another address than the one that was asked for.
"""

import errno
import os
import socket

import attrs
from twisted.internet.endpoints import quoteStringArgument, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IOpenSSLServerConnectionCreator, IProtocolFactory

from etcd_twisted.addresses import Address
from etcd_twisted.errors import StartError
from etcd_twisted.http.secure import SecureFactory
from etcd_twisted.interfaces import IReactor

_BACKLOG = 4_096
"""How many connections may wait to be taken: with fewer, thousands of watchers that return at once must try again."""


@attrs.frozen
class Place:
    """
    Where to listen, and what people call that.

    @ivar address: the address.
    @ivar given_as: where it comes from, as in C{--bind-addr}, C{ETCD_ADDR} or C{machine0.toml: addr}.
    @ivar option: the flag that sets it, whatever else does.
    """

    address: Address
    given_as: str
    option: str

    def __str__(self) -> str:
        return f"{self.given_as} {self.address}"


async def listen(
    reactor: IReactor,
    place: Place,
    factory: IProtocolFactory,
    tls: IOpenSSLServerConnectionCreator | None = None,
) -> IListeningPort:
    """
    Listen.

    A host name is looked up at once, on the reactor's thread: nothing is served yet that could wait for it.

    @param tls: how the port speaks TLS; C{None} if it does not.
    @raise StartError: it can't be listened on; one line with what was given and the remedy.
    """
    address = place.address
    try:
        (family, _, _, _, sockaddr), *_ = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as error:
        reason = f"the host name can't be looked up ({error.strerror})"
        raise StartError(f"{place}: {reason}: {_another_address(place)}") from error
    kind = "tcp6" if family == socket.AF_INET6 else "tcp"
    interface = quoteStringArgument(str(sockaddr[0]))
    endpoint = serverFromString(reactor, f"{kind}:{address.port}:interface={interface}:backlog={_BACKLOG}")
    served = factory if tls is None else SecureFactory(tls, factory, reactor)
    try:
        port: IListeningPort = await endpoint.listen(served)
    except CannotListenError as error:
        raise StartError(f"{place} can't be listened on: {_remedy(place, error.socketError.errno)}") from error
    return port


def _remedy(place: Place, code: int | None) -> str:
    match code:
        case errno.EADDRINUSE:
            return "another program uses it: stop that, or choose another port"
        case errno.EACCES:
            return "this user may not open it: choose a port above 1023"
        case errno.EADDRNOTAVAIL:
            return f"it is no address of this machine: {_another_address(place)}"
    return os.strerror(code or 0)


def _another_address(place: Place) -> str:
    return f"give {place.option} the address to listen on, as in 0.0.0.0"
