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
from etcd_twisted.auth.state import AuthState, CurrentAuth
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
        term, wanted = self._raft.term, request.wanted()
        outcomes = self._place_some(wanted)
        if len(outcomes) < len(wanted):
            return ensureDeferred(self._place_in_time(term, outcomes, wanted[len(outcomes) :]))
        return succeed(Placed(term, outcomes))

    def _place_some(self, wanted: list[Wanted]) -> list[int | Refusal]:
        """
        Put commands into the log together, until there is no room for the next one. Returns what became of them.
        """
        outcomes: list[int | Refusal] = []
        place, auth, now = self._proposer.place, self._auth.of(self._machine.keyspace), self._time.now()
        for data, user in wanted:
            try:
                index = place(self._checked(data, user, auth, now))
            except EtcdError as error:
                outcomes.append(Refusal.of(error))
                continue
            if not index:
                break
            outcomes.append(index)
        self._node.log_proposals()
        return outcomes

    async def _place_in_time(self, term: int, outcomes: list[int | Refusal], rest: list[Wanted]) -> Answer:
        for data, user in rest:
            try:
                if self._leads(term):
                    await self._proposer.when_room(len(data))
                if not self._leads(term):
                    raise RequestDroppedError
                command = self._checked(data, user, self._auth.of(self._machine.keyspace), self._time.now())
                outcomes.append(self._proposer.place_after_wait(command))
            except RequestDroppedError:
                outcomes.append(DROPPED)
            except EtcdError as error:
                outcomes.append(Refusal.of(error))
        return Placed(term, outcomes)

    def _leads(self, term: int) -> bool:
        """Returns whether this machine still leads in a term."""
        return self._raft.accepts_proposals and self._raft.term == term

    def _checked(self, data: bytes, user: str | None, auth: AuthState, now: int) -> Change:
        """
        Returns the command to log, with times of this machine's if the other one did not know the cluster time well.

        @raise EtcdError: this is no command, or the user may not have it carried out.
        """
        try:
            command = _decode_change(data)
        except msgspec.MsgspecError as error:
            cause = f"not a command: {error}"
            raise EtcdError(ErrorCode.INVALID_FIELD, cause, self._machine.keyspace.index) from error
        # A right may have been revoked that the other machine still knows.
        if user is not None and (auth.enabled or MARK in command.key):
            check_change(auth, user, command)
        return command if -MOST_LATE_MICROSECONDS <= command.time - now <= 0 else _retimed(command, now)

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


def _retimed(command: Change, now: int) -> Change:
    """Returns a command as if it were made now. A TTL lasts as long as the client asked for."""
    expires: int | None = getattr(command, "expires", None)
    if expires is None:
        return msgspec.structs.replace(command, time=now)
    return msgspec.structs.replace(command, time=now, expires=expires - (command.time - now))


def _not_leading(failure: Failure) -> Answer:
    failure.trap(NotLeaderError, RequestDroppedError)
    return NotLeading()
