"""
What is answered to machines and strangers: who may be heard, and what is done with what they ask.

Must never let one be heard who is of another cluster, speaks another version of the protocol, or is not a member, nor
let anything into the log that could not be a machine's.
"""

import re
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.protocols import amp

from etcd_twisted.errors import ErrorCode, EtcdError, NotDoneError
from etcd_twisted.interfaces import IRaftPeer, IReplica
from etcd_twisted.interfaces.cluster import NAME, PROTOCOL_VERSION, Admission, JoinRequest
from etcd_twisted.peer import commands
from etcd_twisted.peer.dialing import PeerUrlError, read_peer_url

_ID = re.compile(r"[0-9a-f]{16}")

Values = dict[str, Any]
"""An answer's, by their names in the command."""


class Asker(Protocol):
    """
    A connection, as far as it matters here.

    @ivar sender: the id of the machine, once it was admitted; empty for a stranger.
    """

    sender: str

    def admit(self, sender: str, name: str, received: Callable[[bytes], None]) -> None:
        """
        It is a member's from here on.

        @param received: takes the payloads that it sends.
        """


class Answering:
    """Answers from a replica."""

    def __init__(self, replica: IReplica, raft: IRaftPeer) -> None:
        self._replica = replica
        self._raft = raft
        self._answers: dict[type[amp.Command], Callable[..., Values | Deferred[Values]]] = {
            commands.Hello: self._hello,
            commands.OfferSnapshot: lambda *them, **those: ensureDeferred(self._offer_snapshot(*them, **those)),
            commands.SnapshotPiece: lambda *them, **those: ensureDeferred(self._snapshot_piece(*them, **those)),
            commands.Join: lambda *them, **those: ensureDeferred(self._join(*them, **those)),
            commands.Leave: lambda *them, **those: ensureDeferred(self._leave(*them, **those)),
            commands.Describe: self._describe,
            commands.Status: self._status,
        }

    def answer(self, asker: Asker, command: type[amp.Command], arguments: Values) -> "Values | Deferred[Values]":
        """
        The answer to a question.

        @raise Exception: one of the command's errors, or something here is broken; also by errback.
        """
        return self._answers[command](asker, **arguments)

    def _hello(
        self,
        asker: Asker,
        version: int,
        cluster_id: str,
        sender: str,
        name: str,
        configuration_index: int,
        receiver: str,
    ) -> Values:
        raft = self._raft
        if version != PROTOCOL_VERSION:
            raise commands.VersionError(f"version {PROTOCOL_VERSION} of the protocol is spoken here, not {version}")
        if not raft.machine_id:
            raise commands.IdleError("this machine takes no part in consensus now")
        if cluster_id != raft.cluster_id:
            raise commands.ClusterError(f"this machine is not of the cluster {cluster_id[:16]!r}")
        if receiver != raft.machine_id:
            raise commands.MachineError(f"this is not the machine {receiver[:16]!r}")
        if not is_id(sender) or sender == raft.machine_id or asker.sender not in ("", sender):
            raise commands.MachineError(f"this can't be the machine {sender[:16]!r}")
        admission = raft.admission(sender, configuration_index)
        if admission is Admission.UNCONFIRMED:
            raise commands.IdleError(f"nobody has told this machine yet that {sender} is in the cluster")
        if admission is Admission.STRANGER:
            raise commands.NotMemberError(f"the machine {sender} is not in the cluster")
        asker.admit(sender, name, lambda payload: raft.received(sender, payload))
        return {"machine_id": raft.machine_id, "commands": list(commands.COMMANDS)}

    async def _offer_snapshot(self, asker: Asker, metadata: bytes, head: bytes, size: int) -> Values:
        try:
            return {"offset": await self._raft.snapshot_offered(asker.sender, metadata, head, size)}
        except (ValueError, OSError) as error:
            raise commands.SnapshotError(str(error)) from error

    async def _snapshot_piece(self, asker: Asker, offset: int, data: bytes) -> Values:
        try:
            await self._raft.snapshot_piece(asker.sender, offset, data)
        except (ValueError, OSError) as error:
            raise commands.SnapshotError(str(error)) from error
        return {}

    async def _join(self, _: Asker, request: JoinRequest) -> Values:
        if request.version != PROTOCOL_VERSION:
            error = f"version {PROTOCOL_VERSION} of the protocol is spoken here, not {request.version}"
            raise commands.VersionError(error)
        try:
            check_join(request)
            return {"reply": await self._raft.join(request)}
        except EtcdError as error:
            raise commands.RefusedError.carrying(error) from error

    async def _leave(self, _: Asker, name: str) -> Values:
        try:
            await self._replica.remove(name)
        except EtcdError as error:
            raise commands.RefusedError.carrying(error) from error
        except NotDoneError as error:
            not_now = EtcdError(ErrorCode.RAFT_INTERNAL, str(error), self._replica.index)
            raise commands.RefusedError.carrying(not_now) from error
        return {}

    def _describe(self, _: Asker) -> Values:
        return {"view": self._raft.describe()}

    def _status(self, _: Asker) -> Values:
        return {"report": self._raft.status()}


def is_id(text: str) -> bool:
    """Whether it could be the id of a machine or a cluster."""
    return _ID.fullmatch(text) is not None


def check_join(request: JoinRequest) -> None:
    """
    See to it that a machine that is called and reached like this can be registered.

    @raise EtcdError: it can't; says what is wrong.
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
