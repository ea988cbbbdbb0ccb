"""
Asks other machines on the way into a cluster, and explains why one does not answer.

This module must never wait for long.
"""

import attrs
import msgspec
from twisted.internet.defer import TimeoutError  # noqa: A004 - it is no other name for Python's

from etcd_twisted.cluster.http_client import NoResponseError, RetryingHttpClient
from etcd_twisted.peer.client import PeerClient, UnreachableError
from etcd_twisted.peer.outgoing import AnswerError, DisconnectedError

_CONNECTED = (TimeoutError, AnswerError, DisconnectedError)
"""Errors that occur although somebody listens."""


class _ListedMember(msgspec.Struct):
    """A machine on the page C{/v2/members} of a port for clients."""

    name: str
    peer_urls: list[str] = msgspec.field(name="peerURLs")
    client_urls: list[str] = msgspec.field(name="clientURLs")


class _Members(msgspec.Struct):
    members: list[_ListedMember]


_decode_members = msgspec.json.Decoder(_Members).decode


@attrs.frozen
class ClusterClient(PeerClient):
    """
    Asks machines, and finds out what is wrong where none answers.

    @ivar http: for ports that do not speak AMP.
    """

    http: RetryingHttpClient

    async def explain(self, peer_url: str, error: UnreachableError) -> str:
        """
        Returns why nobody answered at C{peer_url}, for people: above all, whether it is a port for clients. This takes
        a request of its own.
        """
        mistaken = await self._explain_client_port(peer_url) if isinstance(error.__cause__, _CONNECTED) else ""
        return mistaken or str(error)

    async def _explain_client_port(self, url: str) -> str:
        """
        Returns where the peer port is, if this is a port for clients; there, a request of another machine gets no
        answer, since it never becomes an HTTP request.
        """
        try:
            members = _decode_members((await self.http.request_once("GET", f"{url}/v2/members")).body).members
        except (NoResponseError, msgspec.DecodeError):
            return ""
        port = f"{url} is a port for clients"
        for member in members:
            if url in member.client_urls:
                return f"{port}: the peer port of {member.name} is {', '.join(member.peer_urls)}"
        return f"{port}; the peer ports are {', '.join(each for member in members for each in member.peer_urls)}"
