"""
The proposals of this machine that are not applied yet, and the callbacks that wait for their outcomes.

This machine has put them into the log as the leader, or the leader has done so for this machine, which forwards them.

A proposal is identified by the index and the term of its entry. Once an entry is applied at that index, the outcome is
known. Until then the proposal may still be committed, even if this machine no longer leads. This module must never
report that a change was not made while it may still be made.
"""

from collections.abc import Callable, Sequence
from itertools import islice, repeat
from operator import attrgetter
from typing import Any, ClassVar

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from etcd_twisted.consensus.raft.core import Raft
from etcd_twisted.consensus.raft.entries import Entry, index_of, term_of
from etcd_twisted.consensus.raft.errors import NotLeaderError
from etcd_twisted.errors import EtcdError, RequestDroppedError
from etcd_twisted.interfaces import OutcomeCallback
from etcd_twisted.keyspace.commands import Change
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.growth import MAX_GROWTH_PER_BYTE, MAX_GROWTH_PER_COMMAND
from etcd_twisted.waiters import Waiters

_MOST_EARLY_OUTCOMES = 10_000
"""Of how many entries the outcome is kept, in case that the leader put them into the log for this machine."""

_MOST_EARLY_BYTES = 64 << 20
"""How many bytes of data these entries may have together."""

_MAX_MEASURED_AT_ONCE = 2_000
"""Of how many proposals the growth is looked up at once, which takes about 10 ms."""


def outcome_callback(answer: "Deferred[Any]") -> OutcomeCallback:
    """Returns a callback that fires a Deferred with the outcome that it is called with."""

    def report(outcome: Event | Exception | None) -> None:
        if isinstance(outcome, Exception):
            answer.errback(outcome)
        else:
            answer.callback(outcome)

    return report


class Proposal(msgspec.Struct, frozen=True):
    """
    A change that is not applied yet.

    @ivar command: the command; C{None} for a change of the group, and for one that the leader put into the log for
        this machine: what was logged may differ from what was asked for.
    @ivar term: the term in which it was proposed.
    @ivar size: how many bytes of data its entry has.
    @ivar on_outcome: called once, with the outcome.
    """

    command: Change | None
    term: int
    size: int
    on_outcome: OutcomeCallback

    _log: ClassVar[Logger] = Logger()

    def tell(self, outcome: Event | Exception | None) -> None:
        """Report the outcome. If the callback raises, that is logged, so that others still get their outcomes."""
        try:
            self.on_outcome(outcome)
        except Exception:
            self._log.failure("Reporting the outcome of a change failed")


_size_of = attrgetter("size")


class Proposals:
    """
    All proposals of one machine that are not applied yet.

    @ivar new: those that are not in the log yet, in order, each with the data of its entry. The L{Proposer} adds each
        of them, and its bytes to L{size}.
    @ivar unchecked_bytes: how many more bytes new ones may have before there is another check of whether there is room
        for them. It is set to 0 when anything else may enlarge the key space.
    @ivar pending: those that are in the log and wait for their outcome, by the index of their entry. To be looked at
        only.
    @ivar size: how many bytes of data the entries of all of them have together.
    @ivar failed: how many proposals were not made, or may not have been made.
    @ivar expected: how many requests to put commands into the log the leader has not answered yet. Until then, the
        outcomes of all entries are kept: some of these may be what this machine has asked for.
    """

    def __init__(self, clock: IReactorTime, timeout_seconds: float, unknown: Callable[[], Exception]) -> None:
        """
        @param timeout_seconds: how long a proposer waits for the outcome once this machine no longer leads.
        @param unknown: makes the error for a change of which it is unknown whether it was made.
        """
        self.new: list[tuple[bytes, Proposal]] = []
        self.unchecked_bytes = 0
        self.size = 0
        self.failed = 0
        self.expected = 0
        self._early: dict[int, tuple[int, Event | EtcdError]] = {}
        self._early_bytes = 0
        self._leaders_term = 0
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._unknown = unknown
        self.pending: dict[int, Proposal] = {}
        self._growths: dict[int, int] = {}  # by index, for those proposals that L{growth} has looked at
        self._growth = self._measured_size = 0  # of these, together
        self._too_late: IDelayedCall | None = None
        self._none = Waiters()

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.new) + len(self.pending)

    def log(self, raft: Raft) -> None:
        """Put the new ones into the log together. They fail if this machine does not lead any more: none was made."""
        data, proposals = zip(*self.new, strict=True)
        try:
            if raft.term != proposals[0].term:
                raise NotLeaderError
            first = raft.propose(*data)
        except NotLeaderError:
            self._drop_new(RequestDroppedError("this machine no longer leads"))
            return
        self.new = []
        indexes = range(first, first + len(data))
        if self.pending.keys().isdisjoint(indexes):
            self.pending.update(zip(indexes, proposals, strict=True))
            return
        for index, proposal in zip(indexes, proposals, strict=True):
            self.size -= proposal.size
            self.add(index, proposal)

    def _drop_new(self, error: Exception) -> None:
        new, self.new = self.new, []
        for _, proposal in new:
            self.size -= proposal.size
            self._fail(proposal, error)
        self._tell_if_none()

    def add(self, index: int, proposal: Proposal) -> None:
        """
        Wait for the entry at C{index}. If another proposal waits there, its entry was replaced in this log, but may
        still be in the log of another machine.
        """
        replaced = self.pending.get(index)
        self.pending[index] = proposal
        self.size += proposal.size
        self.unchecked_bytes = 0
        if replaced is not None:
            self.size -= replaced.size
            self._forget_growths()
            self._fail(replaced, self._unknown())

    def anybody_waits(self) -> bool:
        """Returns whether the outcome of any entry is waited for here, or may be."""
        return bool(self.pending) or self.expected > 0

    # Those that the leader puts into the log for this machine

    def expect(self) -> None:
        """Keep the outcomes of entries that are applied from here on, as some may be those of proposals."""
        self.expected += 1

    def expect_no_longer(self) -> None:
        """The leader has answered, or never will. Every call of L{expect} is followed by one of this."""
        self.expected -= 1
        if not self.expected:
            self._early = {}
            self._early_bytes = 0

    def note(self, entry: Entry, outcome: Event | EtcdError) -> None:
        """Keep the outcome of an entry that was applied. There is a bound; beyond it, outcomes remain unknown."""
        if len(self._early) < _MOST_EARLY_OUTCOMES and self._early_bytes <= _MOST_EARLY_BYTES:
            self._early[entry.index] = (entry.term, outcome)
            self._early_bytes += len(entry.data)

    def place(self, index: int, proposal: Proposal, applied_index: int) -> None:
        """
        Wait for the entry that the leader has put at C{index}, which may be applied already.

        @param applied_index: the index of the last entry that was applied.
        """
        if index > applied_index:
            self.add(index, proposal)
            if proposal.term != self._leaders_term:
                self._limit_wait()
            return
        term, outcome = self._early.get(index, (0, None))
        if outcome is None:
            self._fail(proposal, self._unknown())
        elif term != proposal.term:
            self._fail(proposal, RequestDroppedError())
        else:
            proposal.tell(outcome)

    def growth(self, of_one: Callable[[Change], int]) -> int:
        """
        Returns by how many bytes the proposals may enlarge the key space together. If very many are new since the
        last call, some of them count with the most that proposals of their size can add.

        @param of_one: returns this for one change. It is called once for each proposal.
        """
        growths, known = self._growths, len(self._growths)
        for index, proposal in islice(self.pending.items(), known, known + _MAX_MEASURED_AT_ONCE):
            growths[index] = added = 0 if proposal.command is None else max(0, of_one(proposal.command))
            self._growth += added
            self._measured_size += proposal.size
        count = len(self.pending) - len(growths)
        return self._growth + MAX_GROWTH_PER_BYTE * (self.size - self._measured_size) + MAX_GROWTH_PER_COMMAND * count

    def _forget_growths(self) -> None:
        self._growths = {}
        self._growth = self._measured_size = 0

    def _fail(self, proposal: Proposal, error: Exception) -> None:
        self.failed += 1
        proposal.tell(error)

    def take(self, entries: Sequence[Entry]) -> list[Proposal | None]:
        """
        Returns the proposal of each entry that is about to be applied, or C{None} if another machine proposed it. The
        caller reports the outcomes to L{tell}.

        A proposal whose index another leader's entry has taken fails here: it was not made.
        """
        proposals = list(map(self.pending.pop, map(index_of, entries), repeat(None)))
        taken = list(filter(None, proposals))
        self.size -= sum(map(_size_of, taken))
        if self._growths:
            for entry, proposal in zip(entries, proposals, strict=True):
                if proposal is not None and (growth := self._growths.pop(entry.index, None)) is not None:
                    self._growth -= growth
                    self._measured_size -= proposal.size
        if len({*map(term_of, entries), *map(term_of, taken)}) > 1:
            proposals = list(map(self._unless_replaced, proposals, entries))
        return proposals

    def _unless_replaced(self, proposal: Proposal | None, entry: Entry) -> Proposal | None:
        if proposal is None or proposal.term == entry.term:
            return proposal
        self._fail(proposal, RequestDroppedError())
        return None

    def tell(
        self,
        entries: Sequence[Entry],
        proposals: Sequence[Proposal | None],
        outcomes: Sequence[Event | EtcdError | None],
    ) -> None:
        """Report the outcome of each entry to the proposal that L{take} has returned for it."""
        if self.expected or any(proposals):
            for entry, proposal, outcome in zip(entries, proposals, outcomes, strict=True):
                if proposal is not None:
                    proposal.tell(outcome)
                elif self.expected and outcome is not None:
                    self.note(entry, outcome)
        if self._none.waiting:
            self._tell_if_none()

    def stop_timeout(self, term: int) -> None:
        """
        End the time limit, as this machine leads and every proposal that is in its log will have an outcome. Those
        that another leader has put into its own log may not be there.

        @param term: the term in which this machine leads.
        """
        self._leaders_term = term
        if not any(each.command is None and each.size for each in self.pending.values()):
            self._wait_no_longer()

    def start_timeout(self, leaders_term: int) -> None:
        """
        Limit the wait, as this machine does not lead and may never learn the outcome of some proposals.

        @param leaders_term: the term of the leader, which sends what it has put into the log for this machine; 0 while
            no machine leads.
        """
        self._leaders_term = leaders_term
        if self.pending:
            self._limit_wait()

    def _limit_wait(self) -> None:
        if self._too_late is None:
            self._too_late = self._clock.callLater(self._timeout_seconds, self._give_up)

    def _give_up(self) -> None:
        self._too_late = None
        kept = {index: each for index, each in self.pending.items() if each.term == self._leaders_term}
        self._fail_others(kept, self._unknown())

    def _wait_no_longer(self) -> None:
        if self._too_late is not None:
            self._too_late.cancel()
            self._too_late = None

    def skip(self, index: int) -> None:
        """
        Fail the proposals up to C{index}: a snapshot covers these, and does not show whose entries were committed.
        """
        self.unchecked_bytes = 0
        skipped = [each for each in self.pending if each <= index]
        self._forget_growths()
        for each in skipped:
            proposal = self.pending.pop(each)
            self.size -= proposal.size
            self._fail(proposal, self._unknown())
        self._tell_if_none()

    def fail(self, error: Exception) -> None:
        """Fail all proposals with C{error}."""
        self._wait_no_longer()
        self._fail_others({}, error)
        self._drop_new(error)

    def _fail_others(self, kept: dict[int, Proposal], error: Exception) -> None:
        others = [each for index, each in self.pending.items() if index not in kept]
        self.pending = kept
        self.size -= sum(each.size for each in others)
        self._forget_growths()
        for each in others:
            self._fail(each, error)
        self._tell_if_none()

    def when_none(self) -> "Deferred[None]":
        """Returns a Deferred that fires when no proposal waits."""
        waiting = self._none.wait()
        self._tell_if_none()
        return waiting

    def _tell_if_none(self) -> None:
        if not self.pending and not self.new:
            self._none.fire()
