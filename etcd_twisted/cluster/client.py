"""
Asking other machines on the way into a cluster: what they are asked, and why one can't be asked.

Must never wait for long.
"""

import msgspec
from treq.client import HTTPClient
from twisted.internet.defer import TimeoutError  # noqa: A004 - it is no other name for Python's
from twisted.web.client import Agent

from etcd_twisted.cluster.http_client import Asker, NoAnswerError
from etcd_twisted.peer.client import PATIENCE, PeerClient, UnreachableError
from etcd_twisted.peer.outgoing import AnswerError, LostError

_CONNECTED = (TimeoutError, AnswerError, LostError)
"""Those that there are while somebody listens."""


class _Member(msgspec.Struct):
    """What the page C{/v2/members} of a port for clients says of a machine."""

    name: str
    peer_urls: list[str] = msgspec.field(name="peerURLs")
    client_urls: list[str] = msgspec.field(name="clientURLs")


class _Members(msgspec.Struct):
    members: list[_Member]


_decode_members = msgspec.json.Decoder(_Members).decode


class ClusterClient(PeerClient):
    """Asks machines, and finds out what is wrong where none answers."""

    async def explain(self, peer_url: str, error: UnreachableError) -> str:
        """
        Say why nobody answered at C{peer_url}, for people: if they have given a port for clients, that is what they
        should know. It takes a question of its own.
        """
        mistaken = await self._mistaken(peer_url) if isinstance(error.__cause__, _CONNECTED) else ""
        return mistaken or str(error)

    async def _mistaken(self, url: str) -> str:
        """
        Where the peer port is, if this is a port for clients: there the questions of machines are waited for to become
        an HTTP request.
        """
        http = Asker(self.reactor, HTTPClient(Agent(self.reactor)), 1, PATIENCE)
        try:
            members = _decode_members((await http.ask("GET", f"{url}/v2/members")).body).members
        except (NoAnswerError, msgspec.DecodeError):
            return ""
        port = f"{url} is a port for clients"
        for member in members:
            if url in member.client_urls:
                return f"{port}: the peer port of {member.name} is {', '.join(member.peer_urls)}"
        return f"{port}; the peer ports are {', '.join(each for member in members for each in member.peer_urls)}"
