"""
The peer port as a frontend.

Must never serve anything itself: it only puts the port's parts together.
"""

from collections.abc import Callable, Mapping

from zope.interface import implementer

from etcd_twisted.config import Config
from etcd_twisted.frontends import IFrontend
from etcd_twisted.interfaces import IReactor, IReplica
from etcd_twisted.logs.rate_limit import RateLimitedLog
from etcd_twisted.net.listening import ListenAddress
from etcd_twisted.net.port import PortService
from etcd_twisted.net.tls import peer_port_tls
from etcd_twisted.peer.answering import Answering
from etcd_twisted.peer.incoming import Host
from etcd_twisted.peer.port import HttpSite, PeerPort
from etcd_twisted.peer.visitors import Visitors

HttpSiteMaker = Callable[[IReactor, Config, IReplica], HttpSite]
"""Makes what answers those who speak HTTP on the port."""


@implementer(IFrontend)
class PeerFrontend:
    """Serves machines and administrators from the replica. It is built in: nobody can give it options."""

    name = "peer"

    def __init__(self, visitors: Visitors, http_site: HttpSiteMaker) -> None:
        """
        @param visitors: where those who connect are entered, to be shared with the transport.
        @param http_site: makes what answers administrators.
        """
        self._visitors = visitors
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
        host = Host(
            reactor, raft, Answering(replica, raft), self._visitors, RateLimitedLog(reactor), config.http_read_timeout
        )
        place = ListenAddress(config.peer_bind_addr, config.given_as("peer-bind-addr"), "--peer-bind-addr")
        port = PeerPort(host, self._http_site(reactor, config, replica))
        return PortService(reactor, place, port, peer_port_tls(config))
