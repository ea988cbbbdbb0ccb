"""
The peer port as a frontend.
"""

from collections.abc import Mapping
from typing import Any

from zope.interface import implementer

from etcd_twisted.config import Config
from etcd_twisted.errors import ConfigError
from etcd_twisted.http.service import HttpService
from etcd_twisted.http.site import Site
from etcd_twisted.interfaces import IFrontend, IReplica
from etcd_twisted.peer.admin import AdminApp


@implementer(IFrontend)
class PeerFrontend:
    """Serves administrators from the replica."""

    name = "peer"

    def service(self, reactor: Any, config: Config, options: Mapping[str, str], replica: IReplica) -> HttpService:
        """See L{IFrontend}."""
        if options:
            raise ConfigError(f"--frontend {self.name} has no option {next(iter(options))!r}; it has none at all")
        site = Site(
            reactor,
            AdminApp(replica).app.resource(),
            None,
            config.max_request_bytes,
            config.http_read_timeout,
            config.http_write_timeout,
        )
        return HttpService(reactor, "--peer-bind-addr", config.peer_bind_addr, site)
