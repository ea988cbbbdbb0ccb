"""
The node: connects the Raft core with the disk, the other machines, the clock and the state machine.

All proposals of one turn of the reactor go into one append and one message to each machine. Those that arrive while a
sync is running go into the next one (group commit). In each turn a bounded number of committed entries is applied.

The node must never apply what is not durable, or continue after the disk has failed.
"""

from collections import deque
from collections.abc import Iterable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from etcd_twisted.consensus.bounded_wait import BoundedWait
from etcd_twisted.consensus.node_interfaces import EntryApplier, LogOnDisk, MessageSender, NewProposals
from etcd_twisted.consensus.raft.core import Raft
from etcd_twisted.consensus.raft.entries import Configuration, Record, SnapshotMetadata
from etcd_twisted.consensus.raft.errors import NotLeaderError
from etcd_twisted.consensus.raft.messages import InstallSnapshot, Message
from etcd_twisted.consensus.raft.state import Role
from etcd_twisted.consensus.reads import ReadCallback, Reads
from etcd_twisted.interfaces.statistics import Durations
from etcd_twisted.waiters import Observers, Waiters


class Node:
    """
    Drives one Raft core.

    @ivar commits: how long each batch of this leader took to be committed, from when it was given to this disk.
    @ivar on_applied: called after entries were applied.
    @ivar on_change: called after a turn in which the role, the term, the leader or the group has changed.
    @ivar failed: a Deferred that errbacks with the reason if this node can't continue, before any waiter is failed.
    """

    def __init__(
        self,
        clock: IReactorTime,
        raft: Raft,
        disk: LogOnDisk,
        messenger: MessageSender,
        state_machine: EntryApplier,
        proposals: NewProposals,
        bounded_wait: BoundedWait | None = None,
    ) -> None:
        """
        @param raft: the core. Others may read it, but only this node calls what changes it.
        @param proposals: the proposals of this machine, which this node puts into the log.
        @param bounded_wait: decides when to wait for the disk; C{None} for never.
        """
        self.commits = Durations()
        self.on_applied: Observers = []
        self.on_change: Observers = []
        self.failed: Deferred[None] = Deferred()
        self._clock = clock
        self._now = clock.seconds
        self._raft = raft
        self._log = raft.log
        self._disk = disk
        self._messenger = messenger
        self._state_machine = state_machine
        self._proposals = proposals
        self._uncommitted: deque[tuple[int, float]] = deque()
        """The last index of each batch that this leader has given to its disk, and when it did so."""
        self._writing = False
        self._write_began = 0.0
        self._stopped = False
        self._running = False
        self._turn: IDelayedCall | None = None
        self._timer: IDelayedCall | None = None
        self._timer_due = float("inf")
        """When that timer is due."""
        self._ticking: IDelayedCall | None = None
        self._bounded_wait = bounded_wait
        self._waited: IDelayedCall | None = None
        """The call that allows the next wait for the disk, after one in this turn of the reactor."""
        self._written_at_once = False
        """Whether the record of this turn was durable before the turn ended."""
        self._reads = Reads()
        self._last_read = 0
        self._drained = Waiters()
        self._soft_state: tuple[object, ...] = ()

    # Requests

    def start(self) -> None:
        """Begin to follow or to stand for election. The only voter of a group stands at once."""
        if self._raft.configuration.voters == (self._raft.machine_id,):
            self._raft.campaign(self._now())
        self._wake()

    def propose(self, command: bytes) -> int:
        """Put a command into the log; see L{Raft.propose}. Call L{proposed} in the same turn of the reactor."""
        self.log_proposals()
        return self._raft.propose(command)

    def log_proposals(self) -> None:
        """Put all new proposals into the log now. Otherwise the next turn of this node does so."""
        if self._proposals.new:
            self._proposals.log(self._raft)

    def proposed(self) -> None:
        """
        Write what was proposed: with all that comes in this turn of the reactor, or at once for a lone writer.
        """
        if self._turn is None and not self._stopped:
            if self._writing and self._is_alone:
                return  # the turn after that record takes it
            bounded_wait, waited = self._bounded_wait, self._waited is not None
            is_lone = bounded_wait is not None and bounded_wait.lone
            if is_lone and not waited and not self._writing and not self._running:
                self._run()
            else:
                self._turn = self._clock.callLater(0, self._run)

    def propose_configuration(self, configuration: Configuration) -> int:
        """
        Change the group; see L{Raft.propose_configuration}.

        @return: the index of the entry.
        """
        self.log_proposals()
        index = self._raft.propose_configuration(configuration, self._now())
        self._wake()
        return index

    def submit_read(self, tell: ReadCallback) -> None:
        """
        Call C{tell} when everything that was committed before the call is applied and a quorum has confirmed that this
        machine leads; or with an error if this machine stops leading first.

        @raise NotLeaderError: this machine does not lead.
        """
        joining = self._reads.joining
        if joining is not None and self._raft.leadership is not None:
            joining.append(tell)  # it is woken up already, as it has not sent anything since
            return
        self._last_read += 1
        self._raft.read(self._last_read)
        self._reads.add(self._last_read, tell)
        self._wake()

    def confirm_read(self) -> "Deferred[None]":
        """
        Do what L{submit_read} does. Returns a Deferred that fires, or errbacks with L{NotLeaderError}.

        @raise NotLeaderError: this machine does not lead.
        """
        confirmed: Deferred[None] = Deferred()

        def tell(error: NotLeaderError | None) -> None:
            if error is None:
                confirmed.callback(None)
            else:
                confirmed.errback(error)

        self.submit_read(tell)
        return confirmed

    def holds_lease(self) -> bool:
        """Returns whether only this machine can lead now, and whether it has applied all that is committed."""
        return self._raft.holds_lease(self._now()) and self._state_machine.applied_index >= self._log.commit_index

    def receive(self, sender: str, messages: Iterable[Message]) -> None:
        """Handle messages from another machine."""
        now = self._now()
        behind = self._has_to_apply()
        for message in messages:
            self._raft.receive(sender, message, now)
        if behind or self._stopped or self._running or self._has_new_entries():
            self._wake()  # a turn is bounded, and more entries may arrive in this one and join the same append
        else:
            self._run_now()

    def unreachable(self, machine_id: str) -> None:
        """Note that the last messages to a machine may be lost."""
        self._raft.unreachable(machine_id)

    def wants_snapshot(self, sender: str, term: int, index: int) -> bool:
        """Returns whether a snapshot that another machine offers is of use."""
        wanted = self._raft.wants_snapshot(sender, term, index, self._now())
        self._wake()
        return wanted

    def install(self, snapshot: SnapshotMetadata) -> bool:
        """
        Continue from a snapshot that the state machine was restored from. Returns whether the log after it stays.
        """
        agrees = self._raft.install(snapshot)
        self._wake()
        return agrees

    def compacted(self, index: int) -> None:
        """Shorten the log in memory: a durable snapshot covers it up to C{index}."""
        self._raft.compacted(index)

    def transfer(self) -> bool:
        """Hand over to another machine; see L{Raft.transfer}. Returns whether there is one."""
        self.log_proposals()
        handing_over = self._raft.transfer(self._now())
        self._wake()
        return handing_over

    def when_answered(self) -> "Deferred[None]":
        """Returns a Deferred that fires when no read is waiting any more."""
        return self._reads.when_none()

    def drain(self) -> "Deferred[None]":
        """
        Returns a Deferred that fires when nothing is left to write or to apply, or when the disk has failed so that
        nothing more will be.
        """
        return succeed(None) if self._stopped or self._is_idle() else self._drained.wait()

    def stop(self) -> None:
        """Do nothing more. All waiting reads fail."""
        self._stopped = True
        self._reads.fail()
        self._drained.fire()
        for call in (self._turn, self._timer, self._ticking, self._waited):
            if call is not None:
                call.cancel()
        self._turn = self._timer = self._ticking = self._waited = None

    def fail(self, failure: Failure) -> None:
        """Stop for good: the disk or the state machine can no longer be trusted."""
        if self._stopped:
            return
        self._stopped = True
        self.failed.errback(failure)
        self.stop()

    # A turn

    def _wake(self) -> None:
        if self._turn is None and not self._stopped:
            self._turn = self._clock.callLater(0, self._run)

    def _run(self) -> None:
        self._turn = None
        self._running = True
        raft, reads = self._raft, self._reads
        try:
            # New entries go first, as their way to the other disks is the longest; without any, clients that wait do.
            steps = (self._send, self._persist, self._apply_some)
            if raft.leadership is not None and not reads.unconfirmed and not self._has_new_entries():
                steps = (self._apply_some, self._send, self._persist)
            while True:
                for step in steps:
                    if self._stopped:  # by an observer that the step before has called
                        return
                    step()
                if not self._written_at_once or self._has_nothing_to_add():
                    break
                steps = (self._apply_some, self._send, self._persist)
            if not self._stopped and (reads.unconfirmed or reads.confirmed):
                self._answer_reads()
            if not self._stopped and raft.soft_state != self._soft_state:
                self._tell_changes()
        except Exception:
            self.fail(Failure())
        finally:
            self._running = False
        if self._drained.waiting and self._is_idle():
            self._drained.fire()
        if not self._stopped and self._ticking is None and raft.deadline < self._timer_due:
            self._wait_until(raft.deadline)

    def _has_nothing_to_add(self) -> bool:
        """
        Returns whether nothing follows from a record that was durable at once: no message and no other record.
        """
        log = self._log
        return self._is_alone and log.applying_index == log.last_index == log.handed_out_index

    @property
    def _is_alone(self) -> bool:
        """Whether this machine leads, and sends messages to no other one."""
        leadership = self._raft.leadership
        return leadership is not None and not leadership.progress

    def _wait_until(self, deadline: float) -> None:
        """Set the timer for when the core has to be told the time. An earlier one stays: it looks again then."""
        if deadline < self._timer_due:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._clock.callLater(max(0.0, deadline - self._now()), self._on_timer)
            self._timer_due = deadline

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_due = float("inf")
        leads = self._raft.role is Role.LEADER
        if leads or self._now() >= self._raft.deadline:
            # If this process was held up, messages may be waiting in the sockets: let the reactor read them first.
            self._ticking = self._clock.callLater(0, self._tick)
            if leads:
                self._run_now()  # heartbeats must not wait for that
        else:
            self._wait_until(self._raft.deadline)

    def _tick(self) -> None:
        self._ticking = None
        self._raft.tick(self._now())
        self._run_now()

    def _run_now(self) -> None:
        if self._turn is not None:
            self._turn.cancel()
        self._run()

    def _persist(self) -> None:
        self._written_at_once = False
        if self._writing:
            return
        record = self._raft.to_persist()
        if record is None:
            return
        self._write_began = self._now()
        if record.entries and self._raft.leadership is not None:
            self._uncommitted.append((record.entries[-1].index, self._write_began))
        self._writing = True
        wait_seconds = self._wait_seconds(record)
        written = self._disk.append(record, wait_seconds)
        if written is None:
            self._persisted(None, record)
            return
        written.addCallback(self._persisted, record).addErrback(self.fail)
        if wait_seconds and self._writing and self._bounded_wait is not None:
            self._bounded_wait.timed_out()

    def _wait_seconds(self, record: Record) -> float:
        """Returns how long to wait for a record."""
        wait, follows = self._bounded_wait, self._raft.leadership is None
        seconds = 0.0 if wait is None else wait.seconds(len(record.entries), follows)
        if seconds and self._waited is not None:
            return 0.0  # others may have come meanwhile: the reactor looks after them first
        if seconds:
            self._waited = self._clock.callLater(0, self._may_wait_again)
        return seconds

    def _may_wait_again(self) -> None:
        self._waited = None

    def _persisted(self, _: None, record: Record) -> None:
        self._writing = False
        if self._stopped:
            return
        now = self._now()
        if self._bounded_wait is not None and (len(record.entries) == 1 or self._raft.leadership is None):
            self._bounded_wait.took(now - self._write_began)
        self._raft.persisted(record, now)
        if self._running:
            self._written_at_once = True  # the turn goes on with it
        else:
            self._run_now()

    def _send(self) -> None:
        self._reads.joining = None
        if self._proposals.new:
            self._proposals.log(self._raft)
        outgoing = self._raft.to_send(self._now())
        if not outgoing:
            return
        messages: dict[str, list[Message]] = {}
        for machine_id, message in outgoing:
            if isinstance(message, InstallSnapshot):
                self._messenger.send_snapshot(machine_id, message.term).addCallback(self._snapshot_ended, machine_id)
            else:
                messages.setdefault(machine_id, []).append(message)
        for machine_id, several in messages.items():
            self._messenger.send(machine_id, several)

    def _snapshot_ended(self, _: None, machine_id: str) -> None:
        self._raft.snapshot_ended(machine_id)
        self._wake()

    def _apply_some(self) -> None:
        if self._uncommitted:
            self._note_commits()
        if not self._has_to_apply():
            return
        most = self._state_machine.room()
        entries = self._raft.to_apply(most)
        if entries:
            self._state_machine.apply(entries)
            for tell in self.on_applied:
                tell()
        if len(entries) >= most and self._has_to_apply():
            self._wake()

    def _has_to_apply(self) -> bool:
        """Returns whether entries are committed and durable but were not yet handed out to be applied."""
        log = self._log
        return log.commit_index > log.applying_index < log.durable_index

    def _has_new_entries(self) -> bool:
        """
        Returns whether this machine leads and has entries, or will have some, that it has not given to its own disk
        yet. These are most likely not sent to the other machines either, and these machines wait for nothing else.
        """
        is_new = self._log.handed_out_index < self._log.last_index or bool(self._proposals.new)
        return is_new and self._raft.leadership is not None

    def _note_commits(self) -> None:
        while self._uncommitted and self._uncommitted[0][0] <= self._log.commit_index:
            self.commits.add(self._now() - self._uncommitted.popleft()[1])

    def _is_idle(self) -> bool:
        return not self._writing and not self._running and self._turn is None and self._raft.is_settled

    def _answer_reads(self) -> None:
        reads = self._reads
        for token, index in self._raft.to_answer():
            reads.confirm(token, index)
        reads.applied(self._state_machine.applied_index)
        if reads.unconfirmed and self._raft.role is not Role.LEADER:
            reads.fail_unconfirmed()

    def _tell_changes(self) -> None:
        self._soft_state = self._raft.soft_state
        if self._raft.leadership is None:
            self._uncommitted.clear()
        for tell in self.on_change:
            tell()
