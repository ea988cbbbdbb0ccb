"""
The sockets that the consensus process listens at for its workers.

Of an address, each worker has a socket of its own, and the system spreads connections over them. All workers accept
from the one socket of an endpoint, which systemd may have opened, or which is in the file system.

The consensus process holds all sockets, and never accepts from them: a connection that waits outlives the worker that
it waits for.
"""

import socket
from typing import Any, cast

import attrs
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory

from etcd_twisted.config import Config
from etcd_twisted.config.addresses import Address, Endpoint
from etcd_twisted.errors import ConfigError
from etcd_twisted.interfaces import IReactor
from etcd_twisted.net.listening import ListenAddress, further, listen, listening_sockets
from etcd_twisted.workers.control import SharedSocket
from etcd_twisted.workers.process import FIRST_SOCKET

_SHARED_KINDS = ("systemd:", "unix:", "tcp:", "tcp4:", "tcp6:")
"""The endpoints whose sockets workers can share: what comes over them is what the port is told."""


@attrs.frozen
class _Wanted:
    """
    An address to listen at.

    @ivar is_secure: whether TLS is spoken there, if it is by the port.
    """

    address: ListenAddress
    is_secure: bool


def wanted_sockets(config: Config) -> list[_Wanted]:
    """
    Returns where workers are to accept connections.

    @raise ConfigError: the sockets of an endpoint can't be shared.
    """
    first = ListenAddress(config.bind_addr, config.given_as("bind-addr"), "--bind-addr")
    also = further(config, "also-bind-addr", config.also_bind_addr)
    wanted = [_Wanted(first, True), *(_Wanted(where, is_secure) for where, is_secure in also)]
    for each in wanted:
        where = each.address.address
        if isinstance(where, Endpoint) and not where.text.startswith(_SHARED_KINDS):
            kinds = ", ".join(_SHARED_KINDS)
            raise ConfigError(
                f"{each.address}: workers can't share it; {config.given('workers')} needs {kinds} or an address"
            )
    return wanted


class Sockets:
    """
    The open sockets.

    @ivar descriptors: their file descriptors in this process.
    @ivar shared: the same sockets, as workers know them.
    """

    def __init__(self, reactor: IReactor, workers: int) -> None:
        self.descriptors: list[int] = []
        self.shared: list[SharedSocket] = []
        self._reactor = reactor
        self._workers = workers
        self._sockets: list[socket.socket] = []
        self._ports: list[IListeningPort] = []

    async def open(self, wanted: list[_Wanted]) -> None:
        """
        Listen.

        @raise StartError: a socket can't be opened.
        """
        for each in wanted:
            if isinstance(each.address.address, Address):
                opened = listening_sockets(each.address, each.address.address, self._workers)
                self._sockets += opened
                for owner, one in enumerate(opened, 1):
                    self._add(one.fileno(), one.family, each.is_secure, owner)
            else:
                factory = Factory()
                factory.noisy = False
                port: Any = await listen(self._reactor, each.address, factory)
                port.stopReading()  # what is accepted here would be lost
                self._ports.append(port)
                self._add(port.fileno(), port.socket.family, each.is_secure, None)

    def _add(self, descriptor: int, family: int, is_secure: bool, owner: int | None) -> None:
        self.shared.append(SharedSocket(FIRST_SOCKET + len(self.shared), family, is_secure, owner))
        self.descriptors.append(descriptor)

    async def close(self) -> None:
        """Close all sockets. The workers may still have them."""
        for each in self._sockets:
            each.close()
        for port in self._ports:
            await maybeDeferred(port.stopListening)
        self._sockets, self._ports = [], []

    @property
    def host(self) -> Any:
        """The address of the first socket."""
        if self._sockets:
            return self._sockets[0].getsockname()
        return cast(Any, self._ports[0]).getHost()
