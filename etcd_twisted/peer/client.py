"""
Makes one request of a machine that need not know this one: to admit a machine, to remove one, to describe the cluster.

This module must never wait for long, nor go on to another machine than the one that was named: the caller decides
that.
"""

from typing import Any

import attrs
from twisted.internet.defer import ensureDeferred
from twisted.protocols import amp

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.interfaces import IReactor
from etcd_twisted.interfaces.cluster import ClusterView, JoinReply, JoinRequest
from etcd_twisted.net.reasons import reason_of
from etcd_twisted.net.tls import ClientTls
from etcd_twisted.peer.commands import Describe, Join, Leave, RefusedError, VersionError
from etcd_twisted.peer.dialer import Dialer
from etcd_twisted.peer.outgoing import CONNECTION_ERRORS, OutgoingConnection


class UnreachableError(Exception):
    """A machine can't be reached; the text says why."""


@attrs.frozen
class PeerClient:
    """
    Makes requests of machines, each on a connection of its own.

    @ivar tls: for machines whose URL asks for TLS; C{None} if none is configured.
    @ivar describe_timeout_seconds: how long a machine may take to say who is in the cluster.
    @ivar change_timeout_seconds: how long a cluster may take to agree on a change.
    """

    reactor: IReactor
    tls: ClientTls | None
    describe_timeout_seconds: float = attrs.field(default=5.0, kw_only=True)
    change_timeout_seconds: float = attrs.field(default=15.0, kw_only=True)

    async def describe(self, peer_url: str) -> ClusterView:
        """
        Returns the cluster of the machine at C{peer_url}.

        @raise UnreachableError: nobody answers there.
        """
        answer = await self._request(peer_url, self.describe_timeout_seconds, Describe)
        view: ClusterView = answer["view"]
        return view

    async def join(self, peer_url: str, request: JoinRequest) -> JoinReply:
        """
        Ask the leader at C{peer_url} to admit a machine, or to note its new addresses.

        @raise EtcdError: see L{etcd_twisted.interfaces.IRaftPeer.join}.
        @raise UnreachableError: nobody answers there. The leader may do it all the same.
        """
        answer = await self._request(peer_url, self.change_timeout_seconds, Join, request=request)
        reply: JoinReply = answer["reply"]
        return reply

    async def leave(self, peer_url: str, name: str) -> None:
        """
        Ask the leader at C{peer_url} to remove a machine.

        @raise EtcdError: see L{etcd_twisted.interfaces.IReplica.remove}.
        @raise UnreachableError: nobody answers there. The leader may do it all the same.
        """
        await self._request(peer_url, self.change_timeout_seconds, Leave, name=name)

    async def _request(
        self, peer_url: str, timeout_seconds: float, command: type[amp.Command], **arguments: object
    ) -> dict[str, Any]:
        answered = ensureDeferred(self._exchange(peer_url, command, arguments))
        try:
            return await answered.addTimeout(timeout_seconds, self.reactor)
        except RefusedError as error:
            raise error.error() from error
        except VersionError as error:
            raise EtcdError(ErrorCode.RAFT_INTERNAL, str(error)) from error
        except CONNECTION_ERRORS as error:
            raise UnreachableError(f"{peer_url} can't be asked: {reason_of(error)}") from error

    async def _exchange(
        self, peer_url: str, command: type[amp.Command], arguments: dict[str, object]
    ) -> dict[str, Any]:
        connection = OutgoingConnection(self.reactor)
        await Dialer(self.reactor, self.tls).dial(peer_url, connection)
        try:
            return await connection.request(command, **arguments)
        finally:
            connection.abort()
            await connection.when_lost()
