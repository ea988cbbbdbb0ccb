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
from twisted.internet.interfaces import (
    IListeningPort,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
    IStreamServerEndpoint,
)

from etcd_twisted.config.addresses import Address, Endpoint
from etcd_twisted.errors import StartError
from etcd_twisted.interfaces import IReactor
from etcd_twisted.net.secure import SecureFactory

_BACKLOG = 4_096
"""How many connections may wait to be taken: with fewer, thousands of watchers that return at once must try again."""


@attrs.frozen
class Place:
    """
    Where to listen, and what people call that.

    @ivar address: the address, or the endpoint string.
    @ivar given_as: where it comes from, as in C{--bind-addr}, C{ETCD_ADDR} or C{machine0.toml: addr}.
    @ivar option: the flag that sets it, whatever else does.
    """

    address: Address | Endpoint
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
    endpoint = _tcp(reactor, place, address) if isinstance(address, Address) else _given(reactor, place, address)
    served = factory if tls is None else SecureFactory(tls, factory, reactor)
    try:
        port: IListeningPort = await endpoint.listen(served)
    except CannotListenError as error:
        # Of a Unix socket that another process holds the lock of it only says so in words.
        code = error.socketError.errno if isinstance(error.socketError, OSError) else errno.EADDRINUSE
        raise StartError(f"{place} can't be listened on: {_remedy(place, code)}") from error
    except OSError as error:
        raise StartError(f"{place} can't be listened on: {_remedy(place, error.errno)}") from error
    return port


def _tcp(reactor: IReactor, place: Place, address: Address) -> IStreamServerEndpoint:
    """A TCP port of an address."""
    try:
        (family, _, _, _, sockaddr), *_ = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as error:
        reason = f"the host name can't be looked up ({error.strerror})"
        raise StartError(f"{place}: {reason}: {_another_address(place)}") from error
    kind = "tcp6" if family == socket.AF_INET6 else "tcp"
    interface = quoteStringArgument(str(sockaddr[0]))
    text = f"{kind}:{address.port}:interface={interface}:backlog={_BACKLOG}"
    endpoint: IStreamServerEndpoint = serverFromString(reactor, text)
    return endpoint


def _given(reactor: IReactor, place: Place, given: Endpoint) -> IStreamServerEndpoint:
    """
    What an endpoint string means.

    Each type of endpoint reads its arguments in its own way, and fails in its own way when it can't.
    """
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, given.text)
    except Exception as error:
        if given.text.startswith("systemd:") and isinstance(error, LookupError):
            remedy = "start it through its .socket unit"
            raise StartError(f"{place} names a socket that this process was not given; {remedy}") from error
        reason = f"{type(error).__name__}: {error}"
        raise StartError(f"{place} is no endpoint that can be listened on ({reason})") from error
    return endpoint


def _remedy(place: Place, code: int | None) -> str:
    if isinstance(place.address, Endpoint):
        return "another program uses it" if code == errno.EADDRINUSE else os.strerror(code or 0)
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
