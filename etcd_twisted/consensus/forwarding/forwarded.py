"""
The leader's side of forwarding: does what followers ask for their clients, see L{Forwarded}.

It must never pass a request on to another machine: two machines that disagree about who leads would send it to and
fro. It must never log a command with a time by which this machine would not expire keys, nor one that its user may
not have carried out.
"""

import msgspec
from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed
from twisted.python.failure import Failure

from etcd_twisted.auth.checks import MARK, check_change
from etcd_twisted.auth.state import CurrentAuth
from etcd_twisted.consensus.clocks.cluster_time import ClusterTime
from etcd_twisted.consensus.forwarding.requests import (
    DROPPED,
    Answer,
    Answered,
    Ask,
    Confirm,
    Confirmed,
    NotLeading,
    Placed,
    Propose,
    Refusal,
    Wanted,
    decode_request,
    encode,
)
from etcd_twisted.consensus.node import Node
from etcd_twisted.consensus.proposals.proposer import Proposer
from etcd_twisted.consensus.raft.errors import NotLeaderError
from etcd_twisted.consensus.raft.state import RaftState
from etcd_twisted.consensus.state_machine import StateMachine
from etcd_twisted.errors import ErrorCode, EtcdError, RequestDroppedError
from etcd_twisted.interfaces import AnswerQuestion
from etcd_twisted.keyspace.commands import Change

MOST_LATE_MICROSECONDS = 250_000
"""A command that was made earlier than this, by the cluster time, has its times set anew, and so has a later one."""

_decode_change = msgspec.msgpack.Decoder(Change).decode


class Forwarded:
    """Does what other machines ask for their clients."""

    def __init__(
        self, raft: RaftState, node: Node, machine: StateMachine, proposer: Proposer, time: ClusterTime
    ) -> None:
        self._raft = raft
        self._node = node
        self._machine = machine
        self._proposer = proposer
        self._time = time
        self._auth = CurrentAuth()

    def answer(self, data: bytes, answer_question: AnswerQuestion | None) -> "Deferred[bytes]":
        """
        Do what another machine asks. Cancelling the Deferred withdraws what is not done yet.

        @param answer_question: answers the questions of L{Ask}; C{None} if nobody here does.
        @return: fires with the answer. Errbacks with L{ValueError} if this is no request.
        """
        try:
            request = decode_request(data)
        except msgspec.MsgspecError as error:
            return fail(ValueError(f"no forwarded request: {error}"))
        if not self._raft.accepts_proposals:
            return succeed(encode(NotLeading()))
        if isinstance(request, Propose):
            done: Deferred[Answer] = self._place(request)
        elif isinstance(request, Confirm):
            done = self._confirm(request.recent)
        else:
            done = self._answer_question(request, answer_question)
        return done.addErrback(_not_leading).addCallback(encode)

    # Commands

    def _place(self, request: Propose) -> "Deferred[Answer]":
        """Put commands into the log: those at once for which there is room, and the others as soon as there is."""
        term, outcomes, wanted = self._raft.term, list[int | Refusal](), request.wanted()
        for position, (data, user) in enumerate(wanted):
            if not self._proposer.has_room:
                return ensureDeferred(self._place_in_time(term, outcomes, wanted[position:]))
            outcomes.append(self._place_one(data, user, term))
        return succeed(Placed(term, outcomes))

    async def _place_in_time(self, term: int, outcomes: list[int | Refusal], rest: list[Wanted]) -> Answer:
        for data, user in rest:
            try:
                await self._proposer.when_room(len(data))
            except RequestDroppedError:
                outcomes.append(DROPPED)
            except EtcdError as error:
                outcomes.append(Refusal.of(error))
            else:
                outcomes.append(self._place_one(data, user, term))
        return Placed(term, outcomes)

    def _place_one(self, data: bytes, user: str | None, term: int) -> int | Refusal:
        if not self._raft.accepts_proposals or self._raft.term != term:
            return DROPPED
        try:
            command = _decode_change(data)
            if user is not None:  # a right may have been revoked that the other machine still knows
                auth = self._auth.of(self._machine.keyspace)
                if auth.enabled or MARK in command.key:
                    check_change(auth, user, command)
            return self._proposer.place(self._timed(command))
        except msgspec.MsgspecError as error:
            return Refusal(ErrorCode.INVALID_FIELD, f"not a command: {error}", self._machine.keyspace.index)
        except EtcdError as error:
            return Refusal.of(error)

    def _timed(self, command: Change) -> Change:
        """
        Returns a command with times of this machine's, if the other one did not know the cluster time well. A TTL
        lasts as long as the client asked for.
        """
        now = self._time.now()
        ahead = command.time - now
        if -MOST_LATE_MICROSECONDS <= ahead <= 0:
            return command
        expires: int | None = getattr(command, "expires", None)
        if expires is None:
            return msgspec.structs.replace(command, time=now)
        return msgspec.structs.replace(command, time=now, expires=expires - ahead)

    # Reads and questions

    def _confirm(self, recent: bool) -> "Deferred[Answer]":
        if recent and self._node.holds_lease():
            return succeed(self._confirmed(None))
        return self._node.confirm_read().addCallback(self._confirmed)

    def _confirmed(self, _: None) -> Answer:
        return Confirmed(self._machine.applied_index)

    def _answer_question(self, request: Ask, answer_question: AnswerQuestion | None) -> "Deferred[Answer]":
        if answer_question is None:
            return succeed(NotLeading())
        return answer_question(request.question, request.user).addCallback(self._answered)

    def _answered(self, answer: bytes) -> Answer:
        return Answered(self._machine.applied_index, answer)


def _not_leading(failure: Failure) -> Answer:
    failure.trap(NotLeaderError, RequestDroppedError)
    return NotLeading()
