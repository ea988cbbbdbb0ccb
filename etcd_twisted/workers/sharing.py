"""
The reactor that frontends get in a worker: what one of them listens at, it listens at in all workers.

This module must never change the reactor itself.
"""

import socket
from typing import Any, cast

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IReactorSocket
from zope.interface import directlyProvides, providedBy

from etcd_twisted.interfaces import IReactor


class SharingReactor:
    """A reactor whose TCP ports other processes of the same user may listen at too. The system spreads connections."""

    def __init__(self, reactor: IReactor) -> None:
        self._reactor = reactor
        directlyProvides(self, *providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(
        self, port: int, factory: IProtocolFactory, backlog: int = 50, interface: str = ""
    ) -> IListeningPort:
        """See L{twisted.internet.interfaces.IReactorTCP}."""
        family = socket.AF_INET6 if ":" in interface else socket.AF_INET
        with socket.socket(family) as listening:
            listening.setblocking(False)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            try:
                listening.bind((interface, port))
                listening.listen(backlog)
            except OSError as error:
                raise CannotListenError(interface, port, error) from error
            adopted: IListeningPort = cast(IReactorSocket, self._reactor).adoptStreamPort(
                listening.fileno(), family, cast(Any, factory)
            )
            return adopted
