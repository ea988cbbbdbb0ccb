"""
The driver: lets the Raft core have its way with the disk, the other machines, the clock and the state machine.

The proposals of one turn of the reactor make one append and one message for each machine, whatever their number;
those that come while a sync is running go into the next one (group commit). What is committed is applied a
bounded number of entries a turn.

What it must never do: apply what is not durable, or go on after the disk failed.
"""

from collections import deque
from collections.abc import Iterable
from typing import Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from etcd_twisted.consensus.raft.core import NotLeaderError, Raft, Role
from etcd_twisted.consensus.raft.entries import Configuration, Entry, Record, SnapshotMetadata
from etcd_twisted.consensus.raft.messages import InstallSnapshot, Message
from etcd_twisted.interfaces.statistics import Durations
from etcd_twisted.waiters import Waiting


class Driven(Protocol):
    """What a driver needs beside the core."""

    def append(self, record: Record) -> "Deferred[None]":
        """Make a record durable; called again only when the Deferred has fired."""

    def room(self) -> int:
        """How many entries may be applied in this turn; asked again in the next one."""

    def apply(self, entry: Entry) -> None:
        """Take a committed entry; they come in order."""

    def batch_applied(self, entries: tuple[Entry, ...]) -> None:
        """All that come in this turn have been applied."""

    def send(self, machine_id: str, messages: list[Message]) -> None:
        """Send messages to another machine; they may be lost."""

    def send_snapshot(self, machine_id: str, term: int) -> None:
        """Send the newest snapshot to another machine, and say L{Driver.snapshot_ended} at last."""

    def changed(self) -> None:
        """The role, the term, the leader or the group have changed, as C{core} tells."""

    def failed(self, failure: Failure) -> None:
        """It can't go on; called once."""


class Driver:
    """
    Runs one core.

    @ivar core: to be looked at only; what it is told comes through here.
    @ivar applied: the index of the last entry that was applied, or is just being applied.
    @ivar commits: how long it took a quorum to have each batch of this leader, from when its own disk was given it.
    """

    def __init__(self, clock: IReactorTime, core: Raft, driven: Driven) -> None:
        self.core = core
        self.applied = core.commit_index
        self.commits = Durations()
        self._uncommitted: deque[tuple[int, float]] = deque()
        self._clock = clock
        self._driven = driven
        self._writing = False
        self._stopped = False
        self._running = False
        self._turn: IDelayedCall | None = None
        self._timer: IDelayedCall | None = None
        self._ticking: IDelayedCall | None = None
        self._reads: dict[int, Deferred[None]] = {}
        self._last_read = 0
        self._confirmed: deque[tuple[int, Deferred[None]]] = deque()
        self._answered = Waiting()
        self._drained: Deferred[None] | None = None
        self._seen: tuple[object, ...] = ()

    # What the replica asks for

    def start(self) -> None:
        """Begin to wait for a leader, or to be one; who is the only voter stands for election at once."""
        if self.core.configuration.voters == (self.core.machine_id,):
            self.core.campaign(self._now())
        self._wake()

    def _now(self) -> float:
        return self._clock.seconds()

    def propose(self, data: bytes) -> int:
        """
        Put a command into the log.

        @return: its index, at which it comes to C{apply} if it is committed.
        @raise NotLeaderError: this machine does not lead.
        """
        index = self.core.propose(data)
        self._wake()
        return index

    def propose_configuration(self, configuration: Configuration) -> int:
        """
        Change the group, see L{Raft.propose_configuration}.

        @return: its index.
        """
        index = self.core.propose_configuration(configuration, self._now())
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

    def holds_lease(self) -> bool:
        """Whether this machine is the only one that can lead now, and has applied all that is committed."""
        return self.core.holds_lease(self._now()) and self.applied >= self.core.commit_index

    def receive(self, sender: str, messages: Iterable[Message]) -> None:
        """Take messages of another machine."""
        now = self._now()
        behind = self.core.has_to_apply
        for message in messages:
            self.core.receive(sender, message, now)
        if behind or self._stopped or self._running or self.core.has_new_entries:
            self._wake()  # so much is done in a turn, or more entries may come in this one, to go with those
        else:
            self._run_now()

    def unreachable(self, machine_id: str) -> None:
        """What was sent to a machine last may be lost."""
        self.core.unreachable(machine_id)

    def snapshot_ended(self, machine_id: str) -> None:
        """A snapshot that was sent has arrived, or was given up."""
        self.core.snapshot_ended(machine_id)
        self._wake()

    def wants_snapshot(self, sender: str, term: int, index: int) -> bool:
        """Whether a snapshot that another machine offers is of use."""
        wanted = self.core.wants_snapshot(sender, term, index, self._now())
        self._wake()
        return wanted

    def install(self, snapshot: SnapshotMetadata) -> bool:
        """Go on from a snapshot that the state machine has become; whether the log behind it stays."""
        agrees = self.core.install(snapshot)
        self.applied = snapshot.index
        self._wake()
        return agrees

    def compacted(self, index: int) -> None:
        """A durable snapshot stands for the log up to C{index}."""
        self.core.compacted(index)

    def transfer(self) -> bool:
        """Hand over to another machine, see L{Raft.transfer}."""
        handing_over = self.core.transfer(self._now())
        self._wake()
        return handing_over

    def when_answered(self) -> "Deferred[None]":
        """Fires when no read waits to be confirmed, or to fail."""
        if not self._reads and not self._confirmed:
            return succeed(None)
        return self._answered.wait()

    def drain(self) -> "Deferred[None]":
        """Fires when nothing is left to write or to apply, or never will be because the disk failed."""
        if self._stopped or self._is_idle():
            return succeed(None)
        if self._drained is None:
            self._drained = Deferred()
        return self._drained

    def stop(self) -> None:
        """Do nothing more. Reads that are not confirmed never will be."""
        self._stopped = True
        confirmed = [read for _, read in self._confirmed]
        self._confirmed.clear()
        self._fail_reads(confirmed)
        self._answered.fire()
        if self._drained is not None:
            drained, self._drained = self._drained, None
            drained.callback(None)
        for call in (self._turn, self._timer, self._ticking):
            if call is not None:
                call.cancel()
        self._turn = self._timer = self._ticking = None

    # A turn

    def _wake(self) -> None:
        if self._turn is None and not self._stopped:
            self._turn = self._clock.callLater(0, self._run)

    def _run(self) -> None:
        self._turn = None
        self._running = True
        try:
            # What others wait for goes first: their way to the disk is the longer one. Else, who waits for an answer.
            steps = (self._send, self._persist, self._apply_some)
            if self.core.leadership is not None and not self.core.has_new_entries and not self._reads:
                steps = (self._apply_some, self._send, self._persist)
            for step in (*steps, self._answer_reads, self._tell_changes):
                if self._stopped:  # by whoever was told something in the step before
                    return
                step()
        except Exception:
            self.fail(Failure())
        finally:
            self._running = False
        self._say_if_drained()
        self._wait()

    def _wait(self) -> None:
        """Ring when the core wants to know the time."""
        if self._stopped or self._ticking is not None:
            return
        deadline = self.core.deadline
        if self._timer is not None:
            if self._timer.getTime() <= deadline:
                return  # it is looked at again then
            self._timer.cancel()
            self._timer = None
        if deadline < float("inf"):
            self._timer = self._clock.callLater(max(0.0, deadline - self._now()), self._rung)

    def _rung(self) -> None:
        self._timer = None
        leads = self.core.role is Role.LEADER
        if leads or self._now() >= self.core.deadline:
            # If this process was held up, what others have sent waits to be read: that has its turn before.
            self._ticking = self._clock.callLater(0, self._tick)
            if leads:
                self._run_now()  # heartbeats are not put off
        else:
            self._wait()

    def _tick(self) -> None:
        self._ticking = None
        self.core.tick(self._now())
        self._run_now()

    def _run_now(self) -> None:
        if self._turn is not None:
            self._turn.cancel()
        self._run()

    def _persist(self) -> None:
        if self._writing:
            return
        record = self.core.to_persist()
        if record is not None:
            if record.entries and self.core.leadership is not None:
                self._uncommitted.append((record.entries[-1].index, self._now()))
            self._writing = True
            self._driven.append(record).addCallback(self._persisted, record).addErrback(self.fail)

    def _persisted(self, _: None, record: Record) -> None:
        self._writing = False
        if self._stopped:
            return
        self.core.persisted(record, self._now())
        self._run_now()

    def _send(self) -> None:
        outgoing = self.core.to_send(self._now())
        if not outgoing:
            return
        messages: dict[str, list[Message]] = {}
        for machine_id, message in outgoing:
            if isinstance(message, InstallSnapshot):
                self._driven.send_snapshot(machine_id, message.term)
            else:
                messages.setdefault(machine_id, []).append(message)
        for machine_id, several in messages.items():
            self._driven.send(machine_id, several)

    def _apply_some(self) -> None:
        core = self.core
        while self._uncommitted and self._uncommitted[0][0] <= core.commit_index:
            self.commits.add(self._now() - self._uncommitted.popleft()[1])
        if not core.has_to_apply:
            return
        entries = core.to_apply(self._driven.room())
        for entry in entries:
            self.applied = entry.index  # and no further: who asks while they are applied relies on it
            self._driven.apply(entry)
        if entries:
            self._driven.batch_applied(entries)
        if core.has_to_apply:
            self._wake()

    def _is_idle(self) -> bool:
        return not self._writing and not self._running and self._turn is None and self.core.is_settled

    def _answer_reads(self) -> None:
        if not (self._reads or self._confirmed):
            return
        for token, index in self.core.to_answer():
            self._confirmed.append((index, self._reads.pop(token)))
        while self._confirmed and self._confirmed[0][0] <= self.applied:
            _, confirmed = self._confirmed.popleft()
            confirmed.callback(None)
        if self._reads and self.core.role is not Role.LEADER:
            self._fail_reads()
        if not self._reads and not self._confirmed:
            self._answered.fire()

    def _fail_reads(self, confirmed: Iterable["Deferred[None]"] = ()) -> None:
        """Those that wait to be confirmed, and some that are, can't be answered any more."""
        reads, self._reads = self._reads, {}
        for read in (*reads.values(), *confirmed):
            read.errback(NotLeaderError())

    def _tell_changes(self) -> None:
        core = self.core
        seen = (core.role, core.term, core.leader, core.leads, core.leads_own_term, core.configuration_index)
        if seen != self._seen:
            self._seen = seen
            if core.leadership is None:
                self._uncommitted.clear()
            self._driven.changed()

    def _say_if_drained(self) -> None:
        if self._drained is not None and self._is_idle():
            drained, self._drained = self._drained, None
            drained.callback(None)

    def fail(self, failure: Failure) -> None:
        """The disk or the state machine can't be trusted any more: stop for good."""
        if self._stopped:
            return
        self._stopped = True
        self._driven.failed(failure)
        self.stop()
