"""
The site on the peer port that serves administrators, within the configured limits.

This module must never import the pages itself: they are L{LatePages}.
"""

from typing import TYPE_CHECKING

from etcd_twisted.config import Config
from etcd_twisted.httpd.browsers import BrowserPolicy
from etcd_twisted.httpd.limits import Limits
from etcd_twisted.httpd.site import Site
from etcd_twisted.interfaces import IReactor, IReplica
from etcd_twisted.web.late_pages import LatePages
from etcd_twisted.web.redirects import leader_wait_seconds

if TYPE_CHECKING:
    from etcd_twisted.web.admin import AdminPages

MAX_ADMINISTRATOR_CONNECTIONS = 64
"""How many connections to the peer port may speak HTTP at a time."""


def late_admin_pages(reactor: IReactor, config: Config, replica: IReplica) -> "LatePages[AdminPages]":
    """Returns what administrators are served."""

    def make() -> "AdminPages":
        from etcd_twisted.web.admin import AdminPages  # noqa: PLC0415 - see LatePages

        return AdminPages(replica, reactor, leader_wait_seconds(config), config.forwards)

    return LatePages("etcd_twisted.web.admin", make)


def admin_site(
    reactor: IReactor, config: Config, replica: IReplica, pages: "LatePages[AdminPages] | None" = None
) -> Site:
    """
    Returns the site.

    @param pages: what it serves; C{None} if nobody else needs to know.
    """
    return Site(
        reactor,
        late_admin_pages(reactor, config, replica) if pages is None else pages,
        None,
        Limits.of(config, MAX_ADMINISTRATOR_CONNECTIONS),
        browsers=BrowserPolicy.of(config),
    )
