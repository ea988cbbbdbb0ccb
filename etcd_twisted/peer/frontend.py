"""
The peer port as a frontend.

Must never serve anything itself: it only puts the port's parts together.
"""

from collections.abc import Mapping

from zope.interface import implementer

from etcd_twisted.config import Config
from etcd_twisted.frontends import IFrontend
from etcd_twisted.httpd.browsers import BrowserPolicy
from etcd_twisted.httpd.site import Site
from etcd_twisted.interfaces import IReactor, IReplica
from etcd_twisted.logs.rate_limit import Complaints
from etcd_twisted.net.listening import Place
from etcd_twisted.net.port import PortService
from etcd_twisted.net.tls import peer_port_tls
from etcd_twisted.peer.admin import AdminPages
from etcd_twisted.peer.answering import Answering
from etcd_twisted.peer.incoming import Host
from etcd_twisted.peer.port import PeerPort
from etcd_twisted.peer.visitors import Visitors
from etcd_twisted.referral import longest_wait

MOST_ADMINISTRATORS = 64
"""How many connections there may be that speak HTTP."""


@implementer(IFrontend)
class PeerFrontend:
    """Serves machines and administrators from the replica. It is built in: nobody can give it options."""

    name = "peer"

    def __init__(self, visitors: Visitors) -> None:
        """
        @param visitors: where those who connect are entered, to be shared with the transport.
        """
        self._visitors = visitors

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
            reactor, raft, Answering(replica, raft), self._visitors, Complaints(reactor), config.http_read_timeout
        )
        site = Site(
            reactor,
            AdminPages(replica, reactor, longest_wait(config)),
            None,
            MOST_ADMINISTRATORS,
            config.max_request_bytes,
            config.http_read_timeout,
            config.http_write_timeout,
            browsers=BrowserPolicy.of(config),
        )
        place = Place(config.peer_bind_addr, config.given_as("peer-bind-addr"), "--peer-bind-addr")
        return PortService(reactor, place, PeerPort(host, site), peer_port_tls(config))
