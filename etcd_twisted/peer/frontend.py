"""
The peer port as a frontend.

Must never serve anything itself: it only puts the port's parts together.
"""

from collections.abc import Mapping

from zope.interface import implementer

from etcd_twisted.config import Config
from etcd_twisted.http import descriptors
from etcd_twisted.http.listening import Place
from etcd_twisted.http.service import HttpService, http_service
from etcd_twisted.interfaces import IFrontend, IReactor, IReplica
from etcd_twisted.peer.admin import AdminApp


@implementer(IFrontend)
class PeerFrontend:
    """Serves administrators from the replica. It is built in: nobody can give it options."""

    name = "peer"

    def service(
        self,
        reactor: IReactor,
        config: Config,
        options: Mapping[str, str],  # noqa: ARG002  # see the class
        replica: IReplica,
    ) -> HttpService:
        """See L{IFrontend}."""
        place = Place(config.peer_bind_addr, config.given_as("peer-bind-addr"), "--peer-bind-addr")
        return http_service(reactor, config, place, descriptors.FOR_PEERS, AdminApp(replica).app.resource())
