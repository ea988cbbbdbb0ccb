"""
A follower's side of forwarding: has the leader put commands into the log and confirm reads, for clients of this
machine.

All commands of one turn of the reactor go to the leader in one request, and it answers with the log indexes of their
entries. From there on, this machine waits for their outcomes as a leader does for its own (L{Proposals}): it learns
them when it applies the entries itself, so that whoever was answered finds the change in this machine's copy.

A request is sent once. This module must never report that a command was not made while the leader may have put it into
the log, nor let a read proceed that the leader did not confirm.
"""

import heapq
import itertools
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from etcd_twisted.auth.state import GUEST
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
    Request,
    decode_answer,
    encode,
)
from etcd_twisted.consensus.proposals.pending import Proposal, Proposals, outcome_callback
from etcd_twisted.consensus.proposals.proposer import MOST_WAITING_BYTES, encoded
from etcd_twisted.consensus.reads import tell
from etcd_twisted.consensus.state_machine import StateMachine
from etcd_twisted.errors import EtcdError, RequestDroppedError
from etcd_twisted.interfaces import ConfirmationCallback, OutcomeCallback
from etcd_twisted.keyspace.commands import Change
from etcd_twisted.keyspace.events import Event
from etcd_twisted.waiters import Waiters

MOST_REQUESTS = 8
"""How many requests with commands may be at the leader. The commands of further turns gather for the next one."""

MOST_COMMANDS = 256
"""How many commands are in one request."""

BATCH_BYTES = 1 << 20
"""How many bytes of commands are in one request, unless one command alone has more."""

_Waiting = tuple[bytes, str | None, OutcomeCallback]
"""An encoded command, who wants it, and what is called with its outcome."""


class Leadership(Protocol):
    """What a forwarder has to know of the leader."""

    @property
    def machine_id(self) -> str:
        """The id of this machine if it may lead itself, so that there is nothing to forward then."""

    @property
    def leader(self) -> str | None:
        """The id of the leader; C{None} while none is known."""


class RequestCarrier(Protocol):
    """What takes requests to the leader."""

    def forward(self, machine_id: str, request: bytes) -> "Deferred[bytes]":
        """See L{etcd_twisted.interfaces.ITransport.forward}."""


class Forwarder:
    """
    The forwarder of one member; see the module.

    @ivar applying: the confirmed reads, as a heap: the log index that some wait for, a number that keeps them in
        order, and what is called then.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        raft: Leadership,
        transport: RequestCarrier,
        proposals: Proposals,
        machine: StateMachine,
        unknown: Callable[[], Exception],
        too_much: Callable[[], Exception],
        timeout_seconds: float,
    ) -> None:
        """
        @param unknown: makes the error for a command of which it is unknown whether it was made.
        @param too_much: makes the error for a command that there is no room for.
        @param timeout_seconds: how long the answer of a leader may take once another machine leads, or none.
        """
        self.applying: list[tuple[int, int, list[ConfirmationCallback]]] = []
        self._clock = clock
        self._raft = raft
        self._transport = transport
        self._proposals = proposals
        self._machine = machine
        self._unknown = unknown
        self._too_much = too_much
        self._timeout_seconds = timeout_seconds
        self._commands: list[_Waiting] = []
        self._waiting_bytes = 0
        self._reads: dict[bool, list[ConfirmationCallback]] = {}
        """The reads of this turn: those that a lease suffices for (C{True}), and the others."""
        self._numbers = itertools.count()
        self._turn: IDelayedCall | None = None
        self._requests = 0
        self._asked: dict[Deferred[bytes], str] = {}
        """The requests that have no answer, each with the leader that was asked."""
        self._overdue: IDelayedCall | None = None
        self._none = Waiters()

    # What doors ask for

    def forward(self, command: Change, user: str | None) -> "Deferred[Event]":
        """See L{etcd_twisted.interfaces.IReplica.forward}."""
        made: Deferred[Event] = Deferred()
        try:
            self.submit(command, user, outcome_callback(made))
        except EtcdError as error:
            return fail(error)
        return made

    def submit(self, command: Change, user: str | None, on_outcome: OutcomeCallback) -> None:
        """
        Do what L{forward} does, for less than a Deferred costs.

        @param on_outcome: called once, later, with what L{forward} fires or errbacks with.
        @raise EtcdError: the command is refused, or there is no room for it.
        """
        try:
            data = encoded(command)
        except EtcdError as error:
            error.index = self._machine.keyspace.index
            raise
        if self._waiting_bytes > MOST_WAITING_BYTES:
            raise self._too_much()
        self._commands.append((data, user, on_outcome))
        self._waiting_bytes += len(data)
        if self._turn is None:
            self._turn = self._clock.callLater(0, self._send)

    def confirm(self, recent: bool) -> "Deferred[None]":
        """See L{etcd_twisted.interfaces.IReplica.confirm_at_leader}."""
        confirmed: Deferred[None] = Deferred()
        self.submit_read(recent, outcome_callback(confirmed))
        return confirmed

    def submit_read(self, recent: bool, on_confirmed: ConfirmationCallback) -> None:
        """
        Do what L{confirm} does, for less than a Deferred costs.

        @param on_confirmed: called once, later, with C{None} or with what L{confirm} errbacks with.
        """
        reads = self._reads.get(recent)
        if reads is None:
            self._reads[recent] = [on_confirmed]
            self._soon()
        else:
            reads.append(on_confirmed)

    def ask(self, question: bytes, user: str) -> "Deferred[bytes]":
        """See L{etcd_twisted.interfaces.IReplica.ask_leader}."""
        asked = self._request(Ask(question, user))

        def answered(answer: Answer) -> "Deferred[bytes]":
            if not isinstance(answer, Answered):
                raise _not_leading(answer)
            applied: Deferred[bytes] = Deferred()
            # It is done, even if this machine is removed or loses the leader before it has applied what that had.
            self.once_applied(answer.index, [lambda _error: applied.callback(answer.answer)])
            return applied

        return asked.addCallback(answered)

    def _soon(self) -> None:
        if self._turn is None:
            self._turn = self._clock.callLater(0, self._send)

    # Requests to the leader

    def _send(self) -> None:
        self._turn = None
        reads, self._reads = self._reads, {}
        for recent, waiting in reads.items():
            self._request(Confirm(recent)).addCallbacks(
                self._confirmed, self._not_confirmed, (waiting,), errbackArgs=(waiting,)
            )
        while self._commands and self._requests < MOST_REQUESTS:
            batch = self._next_batch()
            self._requests += 1
            self._proposals.expect()
            placing = self._request(_proposed(batch))
            placed = placing.addCallbacks(self._placed, self._not_placed, (batch,), errbackArgs=(batch,))
            placed.addErrback(self._failed).addCallback(self._has_room)
        self._tell_if_none()

    def _next_batch(self) -> list[_Waiting]:
        size = count = 0
        for data, _, _ in self._commands[:MOST_COMMANDS]:
            if count and size + len(data) > BATCH_BYTES:
                break
            size += len(data)
            count += 1
        batch, self._commands = self._commands[:count], self._commands[count:]
        self._waiting_bytes -= size
        return batch

    def _request(self, request: Request) -> "Deferred[Answer]":
        """
        Send a request to the leader. Errbacks with L{RequestDroppedError} if it was not sent, and with
        L{ConnectionError} if it was and there is no answer.
        """
        leader = self._raft.leader
        if leader is None or leader == self._raft.machine_id:
            return fail(RequestDroppedError("another machine may lead"))
        answered = self._transport.forward(leader, encode(request))
        self._asked[answered] = leader
        return answered.addBoth(self._has_answer, answered).addCallback(_decoded)

    def _has_answer(self, result: "bytes | Failure", answered: "Deferred[bytes]") -> "bytes | Failure":
        given_up = self._asked.pop(answered, None) is None
        self._tell_if_none()
        return Failure(ConnectionError("the machine that was asked has not answered")) if given_up else result

    def _failed(self, failure: Failure) -> None:
        self._log.failure("Forwarding changes to the leader failed", failure)

    def _has_room(self, _: None) -> None:
        self._requests -= 1
        if self._commands:
            self._soon()
        self._tell_if_none()

    # The outcomes of commands

    def _placed(self, answer: Answer, batch: list[_Waiting]) -> None:
        outcomes: list[int | Refusal] = [DROPPED] * len(batch)
        term = 0
        if isinstance(answer, Placed) and len(answer.outcomes) == len(batch):
            outcomes, term = answer.outcomes, answer.term
        elif not isinstance(answer, NotLeading):
            self._not_placed(Failure(ConnectionError("it gave no answer to the request")), batch)
            return
        for (data, _, on_outcome), outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Refusal):
                self._tell(on_outcome, outcome.error())
            elif outcome == DROPPED:
                self._tell(on_outcome, RequestDroppedError("the machine that was asked does not lead"))
            else:
                proposal = Proposal(None, term, len(data), on_outcome)
                self._proposals.place(outcome, proposal, self._machine.applied_index)
        self._proposals.expect_no_longer()

    def _not_placed(self, failure: Failure, batch: list[_Waiting]) -> None:
        self._proposals.expect_no_longer()
        for _, _, on_outcome in batch:
            self._tell(on_outcome, self._unknown() if failure.check(ConnectionError) else failure.value)

    def _tell(self, callback: Callable[[Any], None], result: object) -> None:
        """Call back. If the callback raises, that is logged, so that others still get their answers."""
        try:
            callback(result)
        except Exception:
            self._log.failure("Going on with an answer of the leader failed")

    # Reads

    def _confirmed(self, answer: Answer, waiting: list[ConfirmationCallback]) -> None:
        if not isinstance(answer, Confirmed):
            self._not_confirmed(Failure(_not_leading(answer)), waiting)
            return
        self.once_applied(answer.index, waiting)

    def _not_confirmed(self, failure: Failure, waiting: list[ConfirmationCallback]) -> None:
        lost = failure.check(ConnectionError)
        tell(waiting, RequestDroppedError(str(failure.value)) if lost else failure.value)

    def once_applied(self, index: int, waiting: list[ConfirmationCallback]) -> None:
        """
        Call back once this machine has applied the entry of a log index: with C{None}, or with an error if another
        machine may lead meanwhile.
        """
        if self._machine.applied_index >= index:
            tell(waiting, None)
        else:
            heapq.heappush(self.applying, (index, next(self._numbers), waiting))

    def applied(self, index: int) -> None:
        """Let the reads proceed that wait for an index up to C{index}, which is applied."""
        applying = self.applying
        while applying and applying[0][0] <= index:
            tell(heapq.heappop(applying)[2], None)
        self._tell_if_none()

    # Events

    def changed(self) -> None:
        """
        Follow a change of the leader: reads that were confirmed have to be confirmed again, as this machine may never
        apply what they wait for, and the answers of a machine that does not lead may never come.
        """
        waiting, self.applying = self.applying, []
        for _, _, reads in waiting:
            tell(reads, RequestDroppedError("another machine may lead"))
        is_late = any(leader != self._raft.leader for leader in self._asked.values())
        if is_late and self._overdue is None:
            self._overdue = self._clock.callLater(self._timeout_seconds, self._give_up)
        self._tell_if_none()

    def _give_up(self) -> None:
        """Wait no longer for machines that do not lead."""
        self._overdue = None
        self._cancel([each for each, leader in self._asked.items() if leader != self._raft.leader])

    def _cancel(self, requests: "list[Deferred[bytes]]") -> None:
        for each in requests:
            del self._asked[each]
        for each in requests:
            each.cancel()

    def when_none(self) -> "Deferred[None]":
        """Returns a Deferred that fires when nobody waits for the leader."""
        return succeed(None) if self._is_idle else self._none.wait()

    @property
    def _is_idle(self) -> bool:
        return not (self._commands or self._reads or self._requests or self._asked or self.applying)

    def _tell_if_none(self) -> None:
        if self._none.waiting and self._is_idle:
            self._none.fire()

    def stop(self, error: Exception) -> None:
        """Fail all who wait; with C{error} those whose requests were not sent."""
        for call in (self._turn, self._overdue):
            if call is not None:
                call.cancel()
        self._turn = self._overdue = None
        commands, self._commands = self._commands, []
        reads, self._reads = self._reads, {}
        applying, self.applying = self.applying, []
        self._waiting_bytes = 0
        for _, _, on_outcome in commands:
            self._tell(on_outcome, error)
        for waiting in (*reads.values(), *(each for _, _, each in applying)):
            tell(waiting, error)
        self._cancel(list(self._asked))
        self._none.fire()


def _proposed(batch: list[_Waiting]) -> Propose:
    users = [user for _, user, _ in batch]
    only_guests = all(user == GUEST for user in users)
    return Propose([data for data, _, _ in batch], [] if only_guests else users)


def _decoded(data: bytes) -> Answer:
    try:
        answer: Answer = decode_answer(data)
    except msgspec.MsgspecError as error:
        raise ConnectionError(f"an answer that can't be read: {error}") from error
    return answer


def _not_leading(answer: Answer) -> RequestDroppedError:
    return RequestDroppedError(f"the machine that was asked does not lead, but has {type(answer).__name__}")
