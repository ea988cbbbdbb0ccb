"""
Answers the requests of members and strangers, and decides who counts as a member.

This module must never take messages from a machine that is of another cluster, speaks another version of the protocol
or is not a member, nor let anything into the log that could not be a machine's.
"""

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.protocols import amp

from etcd_twisted.errors import ErrorCode, EtcdError, RequestDroppedError
from etcd_twisted.interfaces import IRaftPeer, IReplica
from etcd_twisted.interfaces.cluster import NAME, PROTOCOL_VERSION, Admission, JoinRequest
from etcd_twisted.interfaces.ids import is_id
from etcd_twisted.peer import commands
from etcd_twisted.peer.dialer import PeerUrlError, read_peer_url
from etcd_twisted.peer.forwarded import ForwardedRequests

Values = dict[str, Any]
"""The arguments or the results of a command, by their names."""


class Requester(Protocol):
    """
    The connection that a request comes on.

    @ivar sender: the id of the machine, once it is admitted; empty for a stranger.
    @ivar forwarded: the requests that it forwards.
    """

    sender: str
    forwarded: ForwardedRequests

    def admit(self, sender: str, name: str, peer_url: str, received: Callable[[bytes], None]) -> None:
        """
        Take this for the connection of a member from here on.

        @param peer_url: where the member says that it is; empty if it does not say so.
        @param received: takes the payloads that the member sends.
        """


class Responder:
    """Answers with what a replica says and does."""

    def __init__(self, replica: IReplica, raft: IRaftPeer) -> None:
        self._replica = replica
        self._raft = raft
        self._handlers: dict[type[amp.Command], Callable[..., Values | Deferred[Values]]] = {
            commands.Hello: self._hello,
            commands.OfferSnapshot: lambda *args, **values: ensureDeferred(self._offer_snapshot(*args, **values)),
            commands.SnapshotPiece: lambda *args, **values: ensureDeferred(self._snapshot_piece(*args, **values)),
            commands.Join: lambda *args, **values: ensureDeferred(self._join(*args, **values)),
            commands.Leave: lambda *args, **values: ensureDeferred(self._leave(*args, **values)),
            commands.Describe: self._describe,
            commands.Status: self._status,
            commands.Forward: self._forward,
            commands.Withdraw: self._withdraw,
        }

    def respond(
        self, requester: Requester, command: type[amp.Command], arguments: Values
    ) -> "Values | Deferred[Values]":
        """
        Returns the results of a command.

        @raise Exception: one of the command's errors, or a fault of this program; also by errback.
        """
        return self._handlers[command](requester, **arguments)

    def _hello(
        self,
        requester: Requester,
        version: int,
        cluster_id: str,
        sender: str,
        name: str,
        configuration_index: int,
        receiver: str,
        peer_url: str | None,
    ) -> Values:
        raft = self._raft
        if version != PROTOCOL_VERSION:
            raise commands.VersionError(f"version {PROTOCOL_VERSION} of the protocol is spoken here, not {version}")
        if not raft.machine_id:
            raise commands.IdleError("this machine takes no part in consensus now")
        if cluster_id != raft.cluster_id:
            raise commands.ClusterError(f"this machine is not in the cluster {cluster_id[:16]!r}")
        if receiver != raft.machine_id:
            raise commands.MachineError(f"this is not the machine {receiver[:16]!r}")
        if not is_id(sender) or sender == raft.machine_id or requester.sender not in ("", sender):
            raise commands.MachineError(f"this can't be the machine {sender[:16]!r}")
        admission = raft.admission(sender, configuration_index)
        if admission is Admission.UNCONFIRMED:
            raise commands.IdleError(f"no member has confirmed yet that {sender} is in the cluster")
        if admission is Admission.STRANGER:
            raise commands.NotMemberError(f"the machine {sender} is not in the cluster")
        requester.admit(sender, name, peer_url or "", lambda payload: raft.received(sender, payload))
        return {"machine_id": raft.machine_id, "commands": list(commands.COMMANDS)}

    async def _offer_snapshot(self, requester: Requester, metadata: bytes, head: bytes, size: int) -> Values:
        try:
            return {"offset": await self._raft.snapshot_offered(requester.sender, metadata, head, size)}
        except (ValueError, OSError) as error:
            raise commands.SnapshotError(str(error)) from error

    async def _snapshot_piece(self, requester: Requester, offset: int, data: bytes) -> Values:
        try:
            await self._raft.snapshot_piece(requester.sender, offset, data)
        except (ValueError, OSError) as error:
            raise commands.SnapshotError(str(error)) from error
        return {}

    def _forward(self, requester: Requester, number: int, data: bytes, more: bool | None) -> "Deferred[Values]":
        request = requester.forwarded.take(number, data, bool(more))
        if request is None:
            return succeed({"answer": b""})
        answer = requester.forwarded.answer(number, self._raft.forwarded(requester.sender, request))
        return answer.addCallback(lambda answer: {"answer": answer})

    def _withdraw(self, requester: Requester, number: int) -> Values:
        requester.forwarded.withdraw(number)
        return {}

    async def _join(self, _: Requester, request: JoinRequest) -> Values:
        if request.version != PROTOCOL_VERSION:
            error = f"version {PROTOCOL_VERSION} of the protocol is spoken here, not {request.version}"
            raise commands.VersionError(error)
        try:
            check_join(request)
            return {"reply": await self._raft.join(request)}
        except EtcdError as error:
            raise commands.RefusedError.carrying(error) from error

    async def _leave(self, _: Requester, name: str) -> Values:
        try:
            await self._replica.remove(name)
        except EtcdError as error:
            raise commands.RefusedError.carrying(error) from error
        except RequestDroppedError as error:
            not_now = EtcdError(ErrorCode.RAFT_INTERNAL, str(error), self._replica.index)
            raise commands.RefusedError.carrying(not_now) from error
        return {}

    def _describe(self, _: Requester) -> Values:
        return {"view": self._raft.describe()}

    def _status(self, _: Requester) -> Values:
        return {"report": self._raft.status()}


def check_join(request: JoinRequest) -> None:
    """
    Check that a machine with this name and these addresses can be registered.

    @raise EtcdError: it can't; the error says what is wrong.
    """
    if not is_id(request.machine_id) or not (is_id(request.cluster_id) or request.cluster_id == ""):
        raise EtcdError(ErrorCode.INVALID_FIELD, "ids should be 16 hex digits")
    if not NAME.fullmatch(request.name):
        raise EtcdError(ErrorCode.INVALID_FIELD, f"name: {request.name[:300]!r} should be letters, digits, . _ and -")
    for url in (request.client_url, request.peer_url):
        try:
            read_peer_url(url)
        except PeerUrlError as error:
            raise EtcdError(ErrorCode.INVALID_FIELD, str(error)) from error
