"""
The site of the fast door: an HTTP port whose connections take common requests straight to the site's handler.

This module must never do what its connections, or what they share, should do.
"""

from twisted.internet.interfaces import IAddress

from etcd_twisted.httpd.fast.channel import FastChannel
from etcd_twisted.httpd.fast.shared import SharedSite


class FastSite(SharedSite):
    """A site whose connections begin at the fast door."""

    def connection(self, addr: IAddress | None) -> FastChannel:
        """Returns a new connection."""
        return FastChannel(self, addr)
