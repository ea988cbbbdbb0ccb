"""
The client port as a frontend.

This module must never serve anything itself: it only puts the parts of the port together.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IReactorTCP
from twisted.internet.ssl import CertificateOptions
from twisted.web.resource import Resource
from zope.interface import implementer

from etcd_twisted.config import Config
from etcd_twisted.frontends import IFrontend
from etcd_twisted.httpd.browsers import BrowserPolicy, Cors
from etcd_twisted.httpd.fast.site import FastSite
from etcd_twisted.httpd.handler import Handler
from etcd_twisted.httpd.limits import Limits
from etcd_twisted.httpd.site import Site
from etcd_twisted.httpd.tracing import TracedHandler, TracedPages
from etcd_twisted.httpd.usage import Usage
from etcd_twisted.interfaces import IReactor, IReplica
from etcd_twisted.interfaces.statistics import IWorkers, StartTime
from etcd_twisted.logs.observers import HIGHEST_VERBOSITY
from etcd_twisted.net.listening import ListenAddress, further
from etcd_twisted.net.port import Opening, PortService
from etcd_twisted.net.tls import client_port_tls, tls_for_client_ports
from etcd_twisted.process import file_descriptors
from etcd_twisted.web.access import Access
from etcd_twisted.web.api_options import ApiOptions
from etcd_twisted.web.keys import KeyEndpoint
from etcd_twisted.web.late_pages import LatePages
from etcd_twisted.web.member_connections import MemberConnections
from etcd_twisted.web.redirects import leader_wait_seconds
from etcd_twisted.web.relay import Relay

if TYPE_CHECKING:
    from etcd_twisted.web.app import ClientPages, MetricsPages

MAX_METRICS_CONNECTIONS = 64
"""How many connections may be open at a time where only metrics and health are served."""

EXPOSED = ("X-Etcd-Index", "X-Raft-Index", "X-Raft-Term")
"""The headers of a response that pages of other origins may read."""


def name_cluster(site: Site, replica: IReplica) -> None:
    """
    Have each answer of a site say of which cluster it is, so that clients notice when another one takes its place.

    These are all answers, and not those about keys alone, since then nothing has to be done for an answer.
    """

    def name_it() -> None:
        cluster_id = replica.cluster_id.encode()
        site.set_own_fields(b"X-Etcd-Cluster-Id: %s\r\n" % cluster_id if cluster_id else b"")

    replica.on_cluster_id.append(name_it)
    name_it()


def standby_relay(reactor: IReactor, config: Config, replica: IReplica) -> Relay | None:
    """
    Returns what passes requests on while this machine is a standby, or C{None} if it redirects clients then. Where
    clients show certificates it does, since it can't show those.
    """
    if not config.forwards or config.ca_file is not None or not IReactorTCP.providedBy(reactor):
        return None
    return Relay(replica, MemberConnections(reactor, tls_for_client_ports(config)))


def client_site(
    reactor: IReactor,
    config: Config,
    replica: IReplica,
    resource: Resource,
    usage: Usage,
    access: Access,
    tls: CertificateOptions | None,
    relay: Relay | None,
) -> Site:
    """
    Returns what serves the connections of the client port.

    @param resource: serves all but the keys.
    @param relay: see L{standby_relay}.
    @param tls: how TLS is spoken there; C{None} if it is not.
    """
    cors = Cors(config.origins, EXPOSED) if config.origins else None
    handler: Handler = KeyEndpoint(
        replica,
        reactor,
        leader_wait_seconds(config),
        config.forwards,
        ApiOptions.of(config),
        access,
        relay,
    )
    if config.verbosity >= HIGHEST_VERBOSITY:
        resource, handler = TracedPages(resource, reactor), TracedHandler(handler, reactor)
    # Below TLS there is no socket to write to at once, and it is the ordinary channel that limits the handshake.
    kind = FastSite if tls is None else Site
    limits = Limits.of(config, file_descriptors.client_connections())
    site = kind(reactor, resource, handler, limits, usage, cors, BrowserPolicy.of(config))
    name_cluster(site, replica)
    return site


class LateClientPages(LatePages["ClientPages"]):
    """The pages of the client port, which also answer questions of other machines."""

    def __init__(
        self,
        reactor: IReactor,
        config: Config,
        replica: IReplica,
        usage: Usage,
        access: Access,
        relay: Relay | None,
        workers: IWorkers | None = None,
    ) -> None:
        """
        @param relay: see L{standby_relay}.
        @param workers: the processes that serve the port, if it is not this one.
        """
        wait_seconds, options = leader_wait_seconds(config), ApiOptions.of(config)
        # The machine may wait for its cluster before the pages are made, for hours.
        started = StartTime(replica.now(), reactor.seconds())

        def make() -> "ClientPages":
            from etcd_twisted.web.app import ClientPages  # noqa: PLC0415 - see LatePages

            return ClientPages(
                replica, reactor, usage, wait_seconds, config.forwards, options, access, relay, workers, started
            )

        super().__init__("etcd_twisted.web.app", make)
        self._replica = replica
        self._relay = relay
        replica.answer_questions(lambda question, user: self.pages().answer(question, user))

    def stop(self) -> None:
        """Do what the pages do, as far as there is something to do without them."""
        if self.made is not None:
            self.made.stop()
            return
        self._replica.answer_questions(None)
        if self._relay is not None:
            self._relay.stop()


def metrics_openings(
    reactor: IReactor, config: Config, pages: LateClientPages, tls: CertificateOptions | None
) -> list[Opening]:
    """Returns where only metrics and health are served."""

    def make() -> "MetricsPages":
        from etcd_twisted.web.app import MetricsPages  # noqa: PLC0415 - see LatePages

        return MetricsPages(pages)

    limits = Limits.of(config, MAX_METRICS_CONNECTIONS)
    metrics = Site(reactor, LatePages("etcd_twisted.web.app", make), None, limits, browsers=BrowserPolicy.of(config))
    return [
        Opening(where, metrics, tls if secure else None)
        for where, secure in further(config, "metrics-bind-addr", config.metrics_bind_addr)
    ]


@implementer(IFrontend)
class HttpFrontend:
    """
    Serves clients from the replica. It is built in and takes no options.

    @ivar pages: the pages of the last port that was made.
    """

    name = "http"
    pages: LateClientPages

    def service(
        self,
        reactor: IReactor,
        config: Config,
        options: Mapping[str, str],  # noqa: ARG002  # see the class
        replica: IReplica,
    ) -> PortService:
        """
        See L{IFrontend}.

        @raise ConfigError: a certificate or its key can't be used.
        """
        tls, usage, access = client_port_tls(config), Usage(), Access(replica, reactor)
        relay = standby_relay(reactor, config, replica)
        self.pages = pages = LateClientPages(reactor, config, replica, usage, access, relay)
        site = client_site(reactor, config, replica, pages, usage, access, tls, relay)
        also = [
            Opening(where, site, tls if secure else None)
            for where, secure in further(config, "also-bind-addr", config.also_bind_addr)
        ]
        also += metrics_openings(reactor, config, pages, tls)
        address = ListenAddress(config.bind_addr, config.given_as("bind-addr"), "--bind-addr")
        return PortService(reactor, address, site, tls, pages.stop, also)
