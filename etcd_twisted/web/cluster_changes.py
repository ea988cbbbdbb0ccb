"""
Changes of the members and of the cluster's configuration, which clients may ask any machine for: the leader makes
them, and a machine that does not lead has the leader do so, or redirects the client.

The module has both ends: L{ClusterChanges} asks, on a follower, and answers, on the leader. It must never say that
nothing was done if the leader may have done it.
"""

from collections.abc import Callable
from typing import cast

import attrs
import msgspec
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime

from etcd_twisted.auth.checks import insufficient_credentials
from etcd_twisted.auth.rights import rights_of
from etcd_twisted.errors import CannotForwardError, ErrorCode, EtcdError, RequestDroppedError
from etcd_twisted.httpd.responses import Response
from etcd_twisted.interfaces import IReplica
from etcd_twisted.interfaces.cluster import Machine
from etcd_twisted.web.admin_changes import (
    AdminChange,
    AllowMachine,
    Configure,
    RemoveMachine,
    change_as_administrator,
    machine_removed,
)
from etcd_twisted.web.api_options import ETCD04, ApiOptions
from etcd_twisted.web.api_responses import error_response
from etcd_twisted.web.member_changes import (
    AddMember,
    MemberChange,
    MoveMember,
    RemoveMember,
    change_members,
    is_forbidden,
    member_error,
    member_removed,
)
from etcd_twisted.web.members import find_member
from etcd_twisted.web.redirects import LeaderWait

ClusterChange = MemberChange | AdminChange


class _Answer(msgspec.Struct, array_like=True, frozen=True):
    """The response of the leader, for the follower to pass on."""

    status: int
    fields: bytes
    body: bytes


@attrs.frozen
class _Removal:
    """
    The removal of a member.

    @ivar forbids: whether the member is to be kept out.
    @ivar response: the response once that is done.
    """

    name: str
    forbids: bool
    response: Response


_encode = msgspec.msgpack.Encoder().encode
_decode_change = msgspec.msgpack.Decoder(
    AddMember | MoveMember | RemoveMember | RemoveMachine | AllowMachine | Configure
).decode
_decode_answer = msgspec.msgpack.Decoder(_Answer).decode


class ClusterChanges:
    """Makes the changes, wherever the leader is."""

    def __init__(
        self,
        replica: IReplica,
        clock: IReactorTime,
        leader_wait_seconds: float,
        forwards: bool = False,
        options: ApiOptions = ETCD04,
    ) -> None:
        """
        @param leader_wait_seconds: how long a change waits for a leader.
        @param forwards: whether a machine that does not lead asks the leader for its clients, and does not redirect
            them unless it has to.
        """
        self._replica = replica
        self._wait = LeaderWait(replica, clock, leader_wait_seconds)
        self._forwards = forwards
        self._options = options

    async def make(self, change: ClusterChange, user: str, refer: Callable[[Machine], Response]) -> Response:
        """
        Make a change here if this machine leads; otherwise have the leader make it, or redirect the client.

        @param user: the user who wants the change. Only root may have any made.
        @param refer: returns the response that sends the client to a machine.
        @raise EtcdError: it was not made, or nobody knows whether it was.
        """

        async def elsewhere(leader: Machine) -> Response:
            if not self._forwards:
                return refer(leader)
            try:
                return await self._ask(change, user)
            except CannotForwardError:
                return refer(leader)

        self._check(user)
        return await self._wait.at_leader(lambda: self._make(change, user), elsewhere)

    def _check(self, user: str) -> None:
        if not rights_of(self._replica.auth, user).is_root:
            raise insufficient_credentials()

    async def _make(self, change: ClusterChange, user: str) -> Response:
        self._check(user)
        if isinstance(change, MemberChange):
            return await change_members(self._replica, self._options, change)
        return await change_as_administrator(self._replica, change)

    async def _ask(self, change: ClusterChange, user: str) -> Response:
        """Have the leader make a change."""
        removal = self._removal(change)
        try:
            answer = _decode_answer(await self._replica.ask_leader(_encode(change), user))
        except ConnectionError as error:
            if removal is not None and await self._is_done(removal):
                return removal.response
            cause = "the leader was asked and has not answered; whether it was done is unknown"
            raise EtcdError(ErrorCode.RAFT_INTERNAL, cause, self._replica.index) from error
        except msgspec.MsgspecError as error:
            cause = f"the leader's answer can't be read, and whether it was done is unknown: {error}"
            raise EtcdError(ErrorCode.RAFT_INTERNAL, cause, self._replica.index) from error
        return Response(answer.status, answer.fields, answer.body)

    def _removal(self, change: ClusterChange) -> _Removal | None:
        """Returns what a change does if it removes a member."""
        if isinstance(change, RemoveMember):
            found = find_member(self._replica, self._options, change.member_id)
            if found is not None and found[1].name:
                name, forbids = found[1].name, is_forbidden(self._options, change)
                return _Removal(name, forbids, member_removed(self._options, change, name))
        elif isinstance(change, RemoveMachine) and self._has(change.name):
            return _Removal(change.name, change.by is not None, machine_removed(change))
        return None

    def _has(self, name: str) -> bool:
        return any(machine.name == name for machine in self._replica.shown_members().values())

    async def _is_done(self, removal: _Removal) -> bool:
        """
        Returns whether a member is certainly removed, by what the next leader confirms. A leader that was removed
        itself can't answer the machine that asked it, which no longer keeps a connection to it. Nor may it answer a
        follower that was removed, which stands by as soon as the leader says that it is not a member.
        """

        async def here() -> Response:
            await self._replica.confirm_reads()
            return removal.response

        async def elsewhere(_: Machine) -> Response:
            if not self._replica.standby:
                await self._replica.confirm_at_leader(recent=False)
            return removal.response

        try:
            await self._wait.at_leader(here, elsewhere)
        except (EtcdError, ConnectionError, RequestDroppedError):
            return False
        if self._replica.standby:
            return removal.name == self._replica.name and not removal.forbids
        is_out = not self._has(removal.name)
        return is_out and (not removal.forbids or removal.name in {each.name for each in self._replica.forbidden()})

    def answer(self, question: bytes, user: str) -> "Deferred[bytes] | None":
        """
        Make a change that another machine asks for, which may not have heard that the user is not root any more.

        @return: fires with the answer, and errbacks with L{RequestDroppedError} if this machine does not lead, and
            nothing was done; C{None} if the question is about something else.
        """
        try:
            change = _decode_change(question)
        except msgspec.MsgspecError:
            return None
        return ensureDeferred(self._answer(change, user))

    async def _answer(self, change: ClusterChange, user: str) -> bytes:
        if not self._replica.is_leader:
            raise RequestDroppedError("this machine does not lead")
        try:
            response = await self._make(change, user)
        except EtcdError as error:
            is_member_change = isinstance(change, MemberChange)
            response = member_error(error) if is_member_change else error_response(error, self._replica.index)
        return _encode(_Answer(response.status, response.fields, cast(bytes, response.body)))
