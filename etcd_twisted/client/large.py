"""
What takes many requests, or a large answer: a listing that is read as a stream, and writes by the thousand.

This module must never hold what it moves.
"""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.web.iweb import IResponse

from etcd_twisted.client import keys
from etcd_twisted.client.bulk import Bulk
from etcd_twisted.client.client import Client
from etcd_twisted.client.errors import ClientError
from etcd_twisted.client.listing import Take, read_listing
from etcd_twisted.client.results import Index

LISTING_TIMEOUT_SECONDS = 600.0
"""How long a large listing may take in all."""


def walk(client: Client, directory: str, begin: Callable[[Index], Take], *, quorum: bool = True) -> "Deferred[Index]":
    """
    List a directory and everything below it, but for hidden nodes, in one read: the nodes are as they were at one
    index.

    @param begin: called with where the machine stood; returns what takes the nodes, parents first, the directory
        itself before all others. If a connection breaks, another machine is asked, and this is called again.
    @param quorum: whether the nodes are to be the newest for certain; see L{Client.get}.
    @return: fires with where the machine stood when all nodes have been taken.
    @raise KeyNotFound: (as a failure) the directory does not exist.
    """

    async def read(_: str, response: IResponse) -> Index:
        return await read_listing(response, begin)

    request = keys.read(directory, recursive=True, sort=False, consistent=False, quorum=quorum)
    return client._sender.open(request, read, LISTING_TIMEOUT_SECONDS, LISTING_TIMEOUT_SECONDS)


def bulk(client: Client, timeout_seconds: float) -> Bulk:
    """
    Returns what writes much with a client's addresses, certificates and credentials. Close it before the client.

    @param timeout_seconds: how long one write may take.
    """
    sender, connections = client._sender, client._connections
    if connections is None:  # somebody's own agent sends the requests
        return Bulk(client.reactor, None, None, timeout_seconds)

    async def find() -> str:
        try:
            urls: tuple[str, ...] = (await client.leader()).client_urls
        except ClientError:  # any machine will do
            urls = ()
        known = sender.machines.known()
        return next((url for url in urls if url in known), sender.machines.order(for_leader=True)[0])

    return Bulk(
        client.reactor,
        connections.endpoint_of,
        lambda: Deferred.fromCoroutine(find()),
        timeout_seconds,
        sender.authorization,
        lambda: client.cluster_id,
    )
