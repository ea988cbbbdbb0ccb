"""
Raft cores without anything around them: disks whose syncs happen when the test decides, a network in which the test
decides what arrives, and a clock that only the test moves. Everything happens in the same order each time.

The group is not made of the simulated machines of L{etcd_twisted.testing}: the core is sans-I/O, so its tests need no
processes, files or transports, and they decide about every single message and sync.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import attrs

from etcd_twisted.consensus.raft.core import Raft
from etcd_twisted.consensus.raft.entries import Configuration, Entry, EntryKind, HardState, Record, SnapshotMetadata
from etcd_twisted.consensus.raft.leader import Outgoing, Timing
from etcd_twisted.consensus.raft.limits import DEFAULT_LIMITS, RaftLimits
from etcd_twisted.consensus.raft.log import RaftLog
from etcd_twisted.consensus.raft.messages import InstallSnapshot, Message, TimeoutNow, VoteReply
from etcd_twisted.consensus.raft.state import Role

TIMING = Timing(heartbeat_seconds=0.05, election_timeout_seconds=0.2)

NONE_TRAILING = RaftLimits(trailing_entries=0)
"""Limits with which nothing that a snapshot covers stays in the log."""

LONG = 2 * TIMING.election_timeout_seconds
"""After how long without a leader a machine stands for election."""

ALL = 1_000_000
"""More entries than there are."""

MOST_STEPS = 10_000
"""After how many steps the group counts as going round in circles."""


def entry(index: int, term: int, data: bytes = b"", kind: EntryKind = EntryKind.COMMAND) -> Entry:
    return Entry(index, term, kind, data)


def entries_of(terms: Iterable[int], first: int = 1) -> tuple[Entry, ...]:
    """Returns entries of these terms, from index C{first} on, each with data of its own."""
    return tuple(entry(index, term, b"%d.%d" % (term, index)) for index, term in enumerate(terms, first))


@attrs.define
class Disk:
    """
    What one machine has made durable.

    @ivar state: what the state machine holds as of the snapshot.
    """

    snapshot: SnapshotMetadata
    state: tuple[bytes, ...] = ()
    hard_state: HardState = attrs.field(factory=HardState)
    entries: list[Entry] = attrs.field(factory=list)

    def append(self, record: Record) -> None:
        if record.hard_state is not None:
            self.hard_state = record.hard_state
        if record.entries:
            first = record.entries[0].index
            self.entries = [each for each in self.entries if each.index < first]
            assert first == self.last_index + 1, f"a gap before entry {first}"
            self.entries += record.entries

    @property
    def last_index(self) -> int:
        return self.entries[-1].index if self.entries else self.snapshot.index

    def save(self, snapshot: SnapshotMetadata, state: tuple[bytes, ...], keep: bool) -> None:
        """
        Saves a snapshot.

        @param keep: whether the log continues after it.
        """
        self.snapshot, self.state = snapshot, state
        self.entries = [each for each in self.entries if keep and each.index > snapshot.index]

    def recover(self) -> RaftLog:
        log = RaftLog(self.snapshot.index, self.snapshot.term, self.snapshot.configuration)
        log.extend(self.entries)
        return log


class Machine:
    """
    A core, its disk, and its state machine.

    @ivar state: the data of every command that was applied.
    @ivar answered: each read that may be answered: its token, and how many commands the state machine had then.
    @ivar slow: whether writes wait for L{sync}.
    """

    def __init__(
        self, machine_id: str, disk: Disk, seed: int = 0, now: float = 0.0, limits: RaftLimits = DEFAULT_LIMITS
    ) -> None:
        self.disk = disk
        self.core = Raft(machine_id, disk.hard_state, disk.recover(), TIMING, seed, now, limits)
        self.state = list(disk.state)
        self.applied = disk.snapshot.index
        self.answered: list[tuple[int, int]] = []
        self.slow = False
        self._writing: Record | None = None
        self._written = False

    def write(self) -> bool:
        """Hands the next record to the disk unless another one is being written, and returns whether it did."""
        if self._writing is None:
            self._writing = self.core.to_persist()
            return self._writing is not None
        return False

    def sync(self, now: float) -> bool:
        """Makes durable what was handed to the disk, and returns whether there was anything."""
        if self._writing is None:
            return False
        record, self._writing = self._writing, None
        if not self._written:
            self.disk.append(record)
        self._written = False
        self.core.persisted(record, now)
        return True

    def save(self, now: float) -> list[Record]:
        """Makes everything durable, and returns the records."""
        saved = []
        while self.write() or self._writing is not None:
            assert self._writing is not None
            saved.append(self._writing)
            self.sync(now)
        return saved

    def apply(self) -> bool:
        """Applies what is committed, answers the reads that waited for it, and returns whether there was anything."""
        entries = self.core.to_apply(ALL)
        for each in entries:
            assert each.index == self.applied + 1
            self.applied = each.index
            if each.kind is EntryKind.COMMAND:
                self.state.append(each.data)
        answers = self.core.to_answer()
        for token, index in answers:
            assert self.applied >= index or self.core.commit_index >= index
            self.answered.append((token, len(self.state)))
        return bool(entries or answers)

    def take_snapshot(self) -> None:
        """Takes a snapshot of what was applied."""
        core = self.core
        term = self.term_at(self.applied)
        *_, configuration = (each for index, each in core.log.configurations if index <= self.applied)
        snapshot = SnapshotMetadata(self.applied, term, configuration)
        self.disk.save(snapshot, tuple(self.state), keep=True)
        core.compacted(self.applied)

    def term_at(self, index: int) -> int:
        return self.core.log.term(index)

    def take_in(self, snapshot: SnapshotMetadata, state: tuple[bytes, ...]) -> None:
        """Becomes what another machine's snapshot contains. What was handed to the disk before is written before."""
        if self._writing is not None and not self._written:
            self.disk.append(self._writing)
            self._written = True
        keep = self.core.install(snapshot)
        self.disk.save(snapshot, state, keep)
        if keep and self.disk.last_index < snapshot.index:
            self.disk.entries.clear()
        self.state = list(state)
        self.applied = snapshot.index


def alone(
    machine_id: str,
    voters: str,
    terms: Iterable[int] = (),
    hard_state: HardState | None = None,
    learners: str = "",
    now: float = -LONG,
    limits: RaftLimits = DEFAULT_LIMITS,
) -> Machine:
    """
    Returns one machine of a group whose others are played by the test. Each character of C{voters} and C{learners} is
    one.

    @param terms: the terms of its entries.
    @param now: when it was started; long ago, so that it has made no promise to a leader.
    """
    entries = list(entries_of(terms))
    if hard_state is None:
        hard_state = HardState(entries[-1].term if entries else 0)
    configuration = Configuration(tuple(voters), tuple(learners))
    disk = Disk(SnapshotMetadata(0, 0, configuration), (), hard_state, entries)
    return Machine(machine_id, disk, now=now, limits=limits)


def sent(machine: Machine, now: float = 0.0) -> list[Outgoing]:
    """Returns what a machine has to send once everything is on its disk."""
    machine.save(now)
    return machine.core.to_send(now)


def elect(machine: Machine, now: float = 0.0) -> None:
    """Has a machine elected by those that the test plays, and drops its messages."""
    core = machine.core
    core.campaign(now)
    for pre in (True, False):
        term = core.term + pre
        machine.save(now)
        for voter in core.configuration.voters:
            if voter != core.machine_id:
                core.receive(voter, VoteReply(term, True, pre), now)
    assert core.role is Role.LEADER
    sent(machine, now)


class Sent(NamedTuple):
    """A message in flight."""

    sender: str
    receiver: str
    message: Message


class Snapshot(NamedTuple):
    """A snapshot in flight."""

    sender: str
    receiver: str
    term: int
    metadata: SnapshotMetadata
    state: tuple[bytes, ...]


class Group:
    """
    A group of machines.

    @ivar limits: the limits of machines that start from now on.
    @ivar machines: the machines that run, by machine id.
    @ivar disks: the disks of all machines.
    @ivar network: the messages in flight, oldest first.
    @ivar snapshots: the snapshots in flight, oldest first.
    @ivar passes: decides which messages are not lost.
    @ivar lost: the messages that were lost.
    @ivar snapshots_pass: whether snapshots arrive; those that do not are held back.
    """

    def __init__(
        self,
        voters: str,
        learners: str = "",
        terms: Mapping[str, Iterable[int]] | None = None,
        limits: RaftLimits = DEFAULT_LIMITS,
    ) -> None:
        """@param terms: the terms of each machine's entries."""
        self.limits = limits
        self.now = 0.0
        self.machines: dict[str, Machine] = {}
        self.disks: dict[str, Disk] = {}
        self.network: deque[Sent] = deque()
        self.snapshots: deque[Snapshot] = deque()
        self.passes: Callable[[Sent], bool] = lambda _: True
        self.lost: list[Sent] = []
        self.snapshots_pass = True
        self.leaders: dict[int, str] = {}
        self.committed: dict[int, Entry] = {}
        self._cut: set[tuple[str, str]] = set()
        self._starts = 0
        configuration = Configuration(tuple(voters), tuple(learners))
        for machine_id in voters + learners:
            entries = list(entries_of((terms or {}).get(machine_id, ())))
            self.add(machine_id, configuration, entries)

    def add(self, machine_id: str, configuration: Configuration, entries: list[Entry] | None = None) -> None:
        """Starts a machine that has not existed before."""
        entries = entries or []
        term = entries[-1].term if entries else 0
        self.disks[machine_id] = Disk(SnapshotMetadata(0, 0, configuration), (), HardState(term), entries)
        self.start(machine_id)

    def __getitem__(self, machine_id: str) -> Raft:
        return self.machines[machine_id].core

    # Faults

    def start(self, machine_id: str) -> None:
        """Starts a machine from what is on its disk."""
        self._starts += 1
        self.machines[machine_id] = Machine(machine_id, self.disks[machine_id], self._starts, self.now, self.limits)

    def crash(self, machine_id: str) -> None:
        """Crashes a machine; what is not on its disk is lost."""
        del self.machines[machine_id]

    def cut(self, senders: Iterable[str], receivers: Iterable[str]) -> None:
        """Lets nothing that C{senders} send arrive at C{receivers}."""
        receivers = tuple(receivers)
        self._cut.update((sender, receiver) for sender in senders for receiver in receivers)

    def isolate(self, *machine_ids: str) -> None:
        """Cuts these machines off from the others, and the others from them."""
        others = [each for each in self.disks if each not in machine_ids]
        self.cut(machine_ids, others)
        self.cut(others, machine_ids)

    def heal(self) -> None:
        """Lets everything arrive again."""
        self._cut.clear()
        self.passes = lambda _: True
        self.snapshots_pass = True

    # Steps

    def settle(self) -> None:
        """Lets everything happen that can happen without time passing."""
        for _ in range(MOST_STEPS):
            if not self.step():
                return
        raise AssertionError("they go round in circles")

    def step(self) -> bool:
        """Runs one turn of every machine, delivers what was sent in it, and returns whether there was anything."""
        busy = False
        for machine in list(self.machines.values()):
            busy |= machine.write()
            if not machine.slow:
                busy |= machine.sync(self.now)
            self._send(machine)
            busy |= machine.apply()
            self._check(machine)
        busy |= bool(self.network)
        while self.network:
            self.deliver(self.network.popleft())
        if self.snapshots_pass:
            busy |= bool(self.snapshots)
            while self.snapshots:
                self.deliver_snapshot(self.snapshots.popleft())
        return busy

    def _send(self, machine: Machine) -> None:
        sender = machine.core.machine_id
        for receiver, message in machine.core.to_send(self.now):
            if not isinstance(message, InstallSnapshot):
                self.network.append(Sent(sender, receiver, message))
            else:
                disk = machine.disk
                self.snapshots.append(Snapshot(sender, receiver, message.term, disk.snapshot, disk.state))

    def deliver(self, letter: Sent) -> None:
        if letter[:2] in self._cut or letter.receiver not in self.machines or not self.passes(letter):
            self.lost.append(letter)
            return
        self[letter.receiver].receive(letter.sender, letter.message, self.now)

    def deliver_snapshot(self, snapshot: Snapshot) -> None:
        sender, receiver, term, metadata, state = snapshot
        machine = self.machines.get(receiver)
        if machine is None or (sender, receiver) in self._cut:
            pass
        elif machine.core.wants_snapshot(sender, term, metadata.index, self.now):
            machine.take_in(metadata, state)
        if sender in self.machines:
            self[sender].snapshot_ended(receiver)

    def advance(self, seconds: float) -> None:
        """Lets time pass."""
        end = self.now + seconds
        self.settle()
        for _ in range(MOST_STEPS):
            self.now = min([end, *(machine.core.deadline for machine in self.machines.values())])
            for machine in list(self.machines.values()):
                if machine.core.deadline <= self.now:
                    machine.core.tick(self.now)
            self.settle()
            if self.now >= end:
                return
        raise AssertionError("they go round in circles")

    def _check(self, machine: Machine) -> None:
        """Checks the paper's figure 3: a term has one leader, and what is committed is the same everywhere."""
        core = machine.core
        if core.role is Role.LEADER:
            assert self.leaders.setdefault(core.term, core.machine_id) == core.machine_id, "two leaders"
        first = max(core.log.first_index, len(self.committed) - 50)
        for each in core.log.between(first, core.commit_index + 1):
            assert self.committed.setdefault(each.index, each) == each, f"{core.machine_id}: {each}"

    # Questions and requests

    def leader(self) -> str:
        """Returns the machine that leads in the newest term."""
        return max((core.term, each) for each, core in self._cores() if core.role is Role.LEADER)[1]

    def leaders_now(self) -> list[str]:
        """Returns all machines that believe that they lead."""
        return [each for each, core in self._cores() if core.role is Role.LEADER]

    def _cores(self) -> list[tuple[str, Raft]]:
        return [(each, machine.core) for each, machine in self.machines.items()]

    def elect(self, machine_id: str) -> None:
        """Has a machine stand for election, as a leader would, and lets time pass until all know that it leads."""
        core = self[machine_id]
        core.receive("", TimeoutNow(core.term), self.now)
        self.advance(2 * TIMING.heartbeat_seconds)
        assert self.leader() == machine_id

    def propose(self, data: bytes) -> int:
        """Has the leader log a command, and returns its index."""
        return self[self.leader()].propose(data)

    def states(self) -> dict[str, list[bytes]]:
        """Returns what the state machines hold."""
        return {each: machine.state for each, machine in self.machines.items()}
