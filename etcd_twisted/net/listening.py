"""
Opens a port, or says in one line why it can't be opened.

This module must never try an address other than the one that was asked for.
"""

import errno
import os
import socket
from collections.abc import Iterable

import attrs
from twisted.internet.endpoints import quoteStringArgument, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IListeningPort,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
    IStreamServerEndpoint,
)

from etcd_twisted.config import Config
from etcd_twisted.config.addresses import Address, Endpoint, Listener
from etcd_twisted.errors import StartError
from etcd_twisted.interfaces import IReactor
from etcd_twisted.net.secure import SecureFactory

_BACKLOG = 4_096
"""How many connections may wait to be accepted: with fewer, many watchers that return at once have to retry."""


@attrs.frozen
class ListenAddress:
    """
    Where to listen, and which setting says so.

    @ivar address: the address, or the endpoint string.
    @ivar given_as: the setting, as in C{--bind-addr}, C{ETCD_ADDR} or C{machine0.toml: addr}.
    @ivar option: the flag that sets it, even if something else did.
    """

    address: Address | Endpoint
    given_as: str
    option: str

    def __str__(self) -> str:
        return f"{self.given_as} {self.address}"


def further(config: Config, name: str, listeners: Iterable[Listener]) -> list[tuple[ListenAddress, bool]]:
    """
    Returns further addresses to listen on, each with whether TLS is spoken there, if it is by the port.

    @param name: the option that sets them.
    """
    given_as, option = config.given_as(name), f"--{name}"
    return [(ListenAddress(each.where, given_as, option), each.tls is not False) for each in listeners]


async def listen(
    reactor: IReactor,
    wanted: ListenAddress,
    factory: IProtocolFactory,
    tls: IOpenSSLServerConnectionCreator | None = None,
) -> IListeningPort:
    """
    Listen on a port.

    A host name is looked up on the reactor's thread: nothing is served yet that this could delay.

    @param tls: how the port speaks TLS; C{None} if it does not.
    @raise StartError: the port can't be opened; one line with the setting and the remedy.
    """
    address = wanted.address
    if isinstance(address, Address):
        endpoint = _tcp_endpoint(reactor, wanted, address)
    else:
        endpoint = _string_endpoint(reactor, wanted, address)
    served = factory if tls is None else SecureFactory(tls, factory, reactor)
    try:
        port: IListeningPort = await endpoint.listen(served)
    except CannotListenError as error:
        # For a Unix socket whose lock another process holds, it has no error number.
        code = error.socketError.errno if isinstance(error.socketError, OSError) else errno.EADDRINUSE
        raise StartError(f"{wanted} can't be listened on: {_remedy(wanted, code)}") from error
    except OSError as error:
        raise StartError(f"{wanted} can't be listened on: {_remedy(wanted, error.errno)}") from error
    return port


def _tcp_endpoint(reactor: IReactor, wanted: ListenAddress, address: Address) -> IStreamServerEndpoint:
    """Returns the endpoint of a TCP port."""
    family, host = _resolved(wanted, address)
    kind = "tcp6" if family == socket.AF_INET6 else "tcp"
    text = f"{kind}:{address.port}:interface={quoteStringArgument(host)}:backlog={_BACKLOG}"
    endpoint: IStreamServerEndpoint = serverFromString(reactor, text)
    return endpoint


def _resolved(wanted: ListenAddress, address: Address) -> tuple[socket.AddressFamily, str]:
    """Returns the address family of a host, and its first address."""
    try:
        (family, _, _, _, sockaddr), *_ = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as error:
        reason = f"the host name can't be looked up ({error.strerror})"
        raise StartError(f"{wanted}: {reason}: {_another_address(wanted)}") from error
    return family, str(sockaddr[0])


def listening_sockets(wanted: ListenAddress, address: Address, count: int) -> list[socket.socket]:
    """
    Returns sockets that listen on one address, each for a process of its own: the system spreads connections over
    them.

    @raise StartError: see L{listen}. A socket of another process is in the way even if it would share the address.
    """
    opened: list[socket.socket] = []
    try:
        family, host = _resolved(wanted, address)
        port = address.port
        for _ in range(count):
            opened.append(socket.socket(family))
            opened[-1].setblocking(False)
            opened[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if len(opened) > 1:
                opened[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            opened[-1].bind((host, port))
            opened[-1].listen(_BACKLOG)
            # The first one shares the port only when it listens: until then, it is refused beside any other.
            opened[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            port = opened[0].getsockname()[1]
    except OSError as error:
        for each in opened:
            each.close()
        raise StartError(f"{wanted} can't be listened on: {_remedy(wanted, error.errno)}") from error
    return opened


def _string_endpoint(reactor: IReactor, wanted: ListenAddress, given: Endpoint) -> IStreamServerEndpoint:
    """
    Returns the endpoint that a string describes.

    Each type of endpoint parses its arguments in its own way, and raises its own errors when it can't.
    """
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, given.text)
    except Exception as error:
        if given.text.startswith("systemd:") and isinstance(error, LookupError):
            remedy = "start it through its .socket unit"
            raise StartError(f"{wanted} names a socket that this process was not given; {remedy}") from error
        reason = f"{type(error).__name__}: {error}"
        raise StartError(f"{wanted} is not an endpoint that can be listened on ({reason})") from error
    return endpoint


def _remedy(wanted: ListenAddress, code: int | None) -> str:
    if isinstance(wanted.address, Endpoint):
        return "another program uses it" if code == errno.EADDRINUSE else os.strerror(code or 0)
    match code:
        case errno.EADDRINUSE:
            return "another program uses it: stop that, or choose another port"
        case errno.EACCES:
            return "this user may not open it: choose a port above 1023"
        case errno.EADDRNOTAVAIL:
            return f"it is not an address of this machine: {_another_address(wanted)}"
    return os.strerror(code or 0)


def _another_address(wanted: ListenAddress) -> str:
    return f"give {wanted.option} the address to listen on, as in 0.0.0.0"
