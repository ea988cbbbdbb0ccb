"""
An HTTP port as a service.

This module must never know what is served on it.
"""

from collections.abc import Callable

from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.web.resource import IResource

from etcd_twisted.config import Config
from etcd_twisted.httpd.browsers import BrowserPolicy, Cors
from etcd_twisted.httpd.door import Door
from etcd_twisted.httpd.fast import FastSite
from etcd_twisted.httpd.limits import Limits
from etcd_twisted.httpd.site import Site
from etcd_twisted.httpd.usage import Usage
from etcd_twisted.interfaces import IReactor
from etcd_twisted.net.listening import ListenAddress
from etcd_twisted.net.port import PortService


def http_service(
    reactor: IReactor,
    config: Config,
    address: ListenAddress,
    most_connections: int,
    resource: IResource,
    door: Door | None = None,
    tls: IOpenSSLServerConnectionCreator | None = None,
    closing: Callable[[], None] = lambda: None,
    usage: Usage | None = None,
    cors: Cors | None = None,
) -> PortService:
    """
    Returns a service that serves C{resource}, and C{door} before it, within the configured limits.

    @param most_connections: see L{Limits}.
    @param door: see L{Site}.
    @param tls: see L{PortService}.
    @param closing: see L{PortService}.
    @param usage: see L{Site}.
    @param cors: see L{Site}.
    """
    # Below TLS there is no socket to write to at once, and it is the ordinary channel that limits the handshake.
    kind = Site if door is None or tls is not None else FastSite
    site = kind(
        reactor,
        resource,
        door,
        Limits.of(config, most_connections),
        usage,
        cors,
        BrowserPolicy.of(config),
    )
    return PortService(reactor, address, site, tls, closing)
