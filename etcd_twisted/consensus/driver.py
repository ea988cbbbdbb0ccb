"""
The driver: lets the Raft core have its way with the disk and the state machine.

One turn of the reactor makes one append, whatever the number of proposals in it; proposals that come while a sync is
running go into the next one (group commit). What is committed is applied a bounded number of entries a turn.

What it must never do: apply what is not durable, or go on after the disk failed.
"""

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from etcd_twisted.consensus.core import NotLeaderError, Raft
from etcd_twisted.consensus.entries import Entry, Record


class Driver:
    """
    Runs one core.

    @ivar core: to be looked at only; what it is told comes through here.
    @ivar applied: the index of the last entry that was applied.
    """

    def __init__(
        self,
        clock: IReactorTime,
        core: Raft,
        append: Callable[[Record], "Deferred[None]"],
        room: Callable[[], int],
        apply: Callable[[tuple[Entry, ...]], None],
        fatal: Callable[[Failure], None],
    ) -> None:
        """
        @param append: makes a record durable; called again only when the Deferred has fired.
        @param room: how many entries may be applied in this turn; asked again in the next one.
        @param apply: takes committed entries, in order.
        @param fatal: called once, with the reason, when it can't go on.
        """
        self.core = core
        self.applied = core.commit_index
        self._clock = clock
        self._append = append
        self._room = room
        self._apply = apply
        self._fatal = fatal
        self._writing = False
        self._stopped = False
        self._turn: IDelayedCall | None = None
        self._reads: dict[int, Deferred[None]] = {}
        self._last_read = 0
        self._confirmed: list[tuple[int, Deferred[None]]] = []
        self._drained: Deferred[None] | None = None

    # What the replica asks for

    def campaign(self) -> None:
        """Stand for election."""
        self.core.campaign()
        self._wake()

    def propose(self, data: bytes) -> int:
        """
        Put a command into the log.

        @return: its index, at which it comes to C{apply} if it is committed.
        @raise NotLeaderError: this machine does not lead.
        """
        index = self.core.propose(data)
        self._wake()
        return index

    def confirm_read(self) -> "Deferred[None]":
        """
        Fires when everything that was committed before the call is applied and this machine is known to lead; errbacks
        with L{NotLeaderError} when that won't be.

        @raise NotLeaderError: this machine does not lead.
        """
        self._last_read += 1
        self.core.read(self._last_read)
        confirmed: Deferred[None] = Deferred()
        self._reads[self._last_read] = confirmed
        self._wake()
        return confirmed

    def compacted(self, index: int) -> None:
        """A durable snapshot stands for the log up to C{index}."""
        self.core.compacted(index)

    def drain(self) -> "Deferred[None]":
        """Fires when nothing is left to write, to apply or to answer, or never will be because the disk failed."""
        if self._stopped or self._is_idle():
            return succeed(None)
        if self._drained is None:
            self._drained = Deferred()
        return self._drained

    def stop(self) -> None:
        """Do nothing more. Reads that are not confirmed never will be."""
        self._stopped = True
        reads = [*self._reads.values(), *(read for _, read in self._confirmed)]
        self._reads.clear()
        self._confirmed.clear()
        for read in reads:
            read.errback(NotLeaderError())
        if self._drained is not None:
            drained, self._drained = self._drained, None
            drained.callback(None)
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    # A turn

    def _wake(self) -> None:
        if self._turn is None and not self._stopped:
            self._turn = self._clock.callLater(0, self._run)

    def _run(self) -> None:
        self._turn = None
        try:
            self._persist()
            self._apply_some()
            self._answer_reads()
            self._say_if_drained()
        except Exception:
            self.fail(Failure())

    def _persist(self) -> None:
        if self._writing:
            return
        record = self.core.to_persist()
        if record is not None:
            self._writing = True
            self._append(record).addCallback(self._persisted, record).addErrback(self.fail)

    def _persisted(self, _: None, record: Record) -> None:
        self._writing = False
        if self._stopped:
            return
        self.core.persisted(record)
        if self._turn is not None:
            self._turn.cancel()
        self._run()

    def _apply_some(self) -> None:
        entries = self.core.to_apply(self._room())
        if entries:
            self.applied = entries[-1].index
            self._apply(entries)
        if self.applied < self.core.commit_index:
            self._wake()

    def _is_idle(self) -> bool:
        at_rest = not self._writing and self._turn is None and self.applied == self.core.last_index
        return at_rest and not self._reads and not self._confirmed

    def _answer_reads(self) -> None:
        for token, index in self.core.to_answer():
            self._confirmed.append((index, self._reads.pop(token)))
        while self._confirmed and self._confirmed[0][0] <= self.applied:
            _, confirmed = self._confirmed.pop(0)
            confirmed.callback(None)

    def _say_if_drained(self) -> None:
        if self._drained is not None and self._is_idle():
            drained, self._drained = self._drained, None
            drained.callback(None)

    def fail(self, failure: Failure) -> None:
        """The disk or the state machine can't be trusted any more: stop for good."""
        if self._stopped:
            return
        self._stopped = True
        self._fatal(failure)
        self.stop()
