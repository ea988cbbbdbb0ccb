"""
The peer port as a frontend.

This module must never serve anything itself: it only puts the parts of the port together.
"""

from collections.abc import Callable, Mapping

from zope.interface import implementer

from etcd_twisted.config import Config
from etcd_twisted.frontends import IFrontend
from etcd_twisted.interfaces import IReactor, IReplica
from etcd_twisted.logs.rate_limit import RateLimitedLog
from etcd_twisted.net.listening import ListenAddress, further
from etcd_twisted.net.port import Opening, PortService
from etcd_twisted.net.tls import peer_port_tls
from etcd_twisted.peer.connected_machines import ConnectedMachines
from etcd_twisted.peer.incoming import PortContext
from etcd_twisted.peer.port import HttpSite, PeerPort
from etcd_twisted.peer.responder import Responder

HttpSiteMaker = Callable[[IReactor, Config, IReplica], HttpSite]
"""Makes what answers HTTP on the port."""


@implementer(IFrontend)
class PeerFrontend:
    """Serves machines and administrators from the replica. It is built in, and so has no options."""

    name = "peer"

    def __init__(self, connected: ConnectedMachines, http_site: HttpSiteMaker) -> None:
        """
        @param connected: the machines that have connected to this one; shared with the transport.
        @param http_site: makes what answers administrators.
        """
        self._connected = connected
        self._http_site = http_site

    def service(
        self,
        reactor: IReactor,
        config: Config,
        options: Mapping[str, str],  # noqa: ARG002  # see the class
        replica: IReplica,
    ) -> PortService:
        """See L{IFrontend}."""
        raft = replica.peer
        context = PortContext(
            reactor, raft, Responder(replica, raft), self._connected, RateLimitedLog(reactor), config.http_read_timeout
        )
        listen_address = ListenAddress(config.peer_bind_addr, config.given_as("peer-bind-addr"), "--peer-bind-addr")
        port = PeerPort(context, self._http_site(reactor, config, replica))
        tls = peer_port_tls(config)
        also = [
            Opening(address, port, tls)  # TLS is spoken at all of them or at none
            for address, _ in further(config, "also-peer-bind-addr", config.also_peer_bind_addr)
        ]
        return PortService(reactor, listen_address, port, tls, also=also)
