"""
The static list of machines that C{--discovery-srv} finds: the SRV records under which the peer ports of a domain are.

The records don't tell names, so each machine is called after its address until it says its own name. This module must
never take a name server that fails for one that says that there is no record.
"""

from collections.abc import Callable

from twisted.internet.interfaces import IResolver

from etcd_twisted.client.errors import ConnectionFailed
from etcd_twisted.client.srv import PEER_SERVICES, find_urls
from etcd_twisted.config.initial_cluster import InitialCluster, normalized_peer_url
from etcd_twisted.errors import StartError


async def initial_cluster_of(domain: str, option: str, resolver: Callable[[], IResolver]) -> InitialCluster:
    """
    Returns the machines of a domain.

    @param option: how the domain was given, as in C{--discovery-srv}.
    @param resolver: returns what asks the name servers.
    @raise StartError: there are no records, or they can't be used.
    """
    names = " and ".join(service for service, _ in PEER_SERVICES)
    try:
        resolving = resolver()
        # All are found, and their order does not matter.
        found = [url for each in PEER_SERVICES for url in await find_urls(domain, (each,), resolving, lambda: 0.0)]
    except ConnectionFailed as error:
        raise StartError(f"{option} {domain}: {error}; see that the name servers answer") from error
    if not found:
        raise StartError(f"{option} {domain}: has no SRV records of machines; make some of {names}")
    try:
        urls = sorted({normalized_peer_url(url) for url in found})
        return InitialCluster.parse(",".join(f"{_name(url)}={url}" for url in urls))
    except ValueError as error:
        raise StartError(f"{option} {domain}: an SRV record can't be used: {error}; correct it") from error


def _name(url: str) -> str:
    """Returns what a machine is called until it says its name."""
    host, _, port = url.partition("://")[2].rpartition(":")
    return f"{host}-{port}"
