"""
Locks of machines that do not lead: what clients ask of them is done by the leader, which is asked for it.

The module has both ends: L{LeaderLocks} asks, on a follower, and L{answer} answers, on the leader. It must never have
a client's entry made twice, nor say that nothing was done if the leader may have done it.
"""

from collections.abc import Awaitable

import attrs
import msgspec
from twisted.internet.defer import Deferred, ensureDeferred

from etcd_twisted.auth.checks import insufficient_credentials
from etcd_twisted.auth.rights import Rights
from etcd_twisted.errors import ErrorCode, EtcdError, RequestDroppedError
from etcd_twisted.interfaces import IReplica
from etcd_twisted.web.modules.locks import EntryReference, LockRequest, Locks
from etcd_twisted.web.modules.queue_entry import LeadershipLostError


class UnansweredError(RequestDroppedError):
    """The leader was asked and has not answered. To ask again does no harm."""


class _Acquire(msgspec.Struct, array_like=True, frozen=True, tag="acquire"):
    request: LockRequest

    @property
    def directory(self) -> str:
        return self.request.directory


class _Renew(msgspec.Struct, array_like=True, frozen=True, tag="renew"):
    entry: EntryReference
    ttl_seconds: int

    @property
    def directory(self) -> str:
        return self.entry.directory


class _Release(msgspec.Struct, array_like=True, frozen=True, tag="release"):
    entry: EntryReference

    @property
    def directory(self) -> str:
        return self.entry.directory


class _Holder(msgspec.Struct, array_like=True, frozen=True, tag="holder"):
    directory: str


_Question = _Acquire | _Renew | _Release | _Holder


class _Done(msgspec.Struct, array_like=True, frozen=True, tag="done"):
    """It is done. C{index} and C{value} are those of an entry, if the question is for one, and 0 if there is none."""

    index: int = 0
    value: str = ""


class _Refused(msgspec.Struct, array_like=True, frozen=True, tag="refused"):
    code: ErrorCode
    cause: str
    index: int


class _Lost(msgspec.Struct, array_like=True, frozen=True, tag="lost"):
    """The machine no longer leads. C{index} is the client's entry in the queue."""

    index: int


_encode = msgspec.msgpack.Encoder().encode
_decode_question = msgspec.msgpack.Decoder(_Question).decode
_decode_answer = msgspec.msgpack.Decoder(_Done | _Refused | _Lost).decode


@attrs.frozen
class LeaderLocks:
    """
    Does what L{Locks} does for one user, by asking the leader.
    """

    _replica: IReplica
    _user: str

    async def acquire(self, request: LockRequest) -> int:
        """See L{Locks.acquire}."""
        named = bool(request.value) or request.index is not None  # the next leader finds the entry of such a client
        return (await self._ask(_Acquire(request), named)).index

    async def renew(self, entry: EntryReference, ttl_seconds: int) -> None:
        """See L{Locks.renew}."""
        await self._ask(_Renew(entry, ttl_seconds), True)

    async def release(self, entry: EntryReference) -> None:
        """See L{Locks.release}."""
        await self._ask(_Release(entry), False)

    async def holder(self, directory: str) -> tuple[int, str] | None:
        """See L{Locks.holder}."""
        found = await self._ask(_Holder(directory), True)
        return (found.index, found.value) if found.index else None

    async def _ask(self, question: _Question, repeatable: bool) -> _Done:
        """
        @param repeatable: whether to ask another leader does no harm if this one does not answer.
        """
        try:
            data = await self._replica.ask_leader(_encode(question), self._user)
        except ConnectionError as error:
            if repeatable:
                raise UnansweredError(str(error)) from error
            cause = "the leader was asked and has not answered; whether it was done is unknown"
            raise EtcdError(ErrorCode.RAFT_INTERNAL, cause, self._replica.index) from error
        try:
            answer: _Done | _Refused | _Lost = _decode_answer(data)
        except msgspec.MsgspecError as error:
            cause = f"the leader's answer can't be read: {error}"
            raise EtcdError(ErrorCode.RAFT_INTERNAL, cause, self._replica.index) from error
        if isinstance(answer, _Refused):
            raise EtcdError(answer.code, answer.cause, answer.index)
        if isinstance(answer, _Lost):
            raise LeadershipLostError(answer.index)
        return answer


def may_use(rights: Rights, directory: str, writes: bool) -> bool:
    """
    Returns whether somebody may use a lock.

    @param directory: the key of the directory that holds the queue.
    @param writes: whether the queue is changed, or read.
    """
    return rights.may_write(directory) if writes else rights.may_read(directory)


def answer(locks: Locks, data: bytes, rights: Rights) -> "Deferred[bytes]":
    """
    Answer a question of L{LeaderLocks}. Cancelling the Deferred does what cancelling the method of L{Locks} does.

    @param rights: those of the user who asks. The other machine may not have heard that they are fewer now.
    @return: errbacks with L{RequestDroppedError} if this machine does not lead, and nothing was done.
    """
    return ensureDeferred(_answer(locks, data, rights))


async def _answer(locks: Locks, data: bytes, rights: Rights) -> bytes:
    question = _decode_question(data)
    try:
        if not may_use(rights, question.directory, not isinstance(question, _Holder)):
            raise insufficient_credentials()
        return _encode(await _do(locks, question))
    except LeadershipLostError as lost:
        return _encode(_Lost(lost.index))
    except EtcdError as error:
        return _encode(_Refused(error.code, error.cause, error.index))


async def _do(locks: Locks, question: _Question) -> _Done:
    if isinstance(question, _Acquire):
        return _Done(await locks.acquire(question.request))
    if isinstance(question, _Holder):
        return _Done(*(await locks.holder(question.directory) or ()))
    done: Awaitable[None] = (
        locks.renew(question.entry, question.ttl_seconds)
        if isinstance(question, _Renew)
        else locks.release(question.entry)
    )
    await done
    return _Done()
