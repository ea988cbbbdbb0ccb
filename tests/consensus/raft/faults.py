"""
A group with every kind of fault: messages are lost, late, doubled or out of order, machines pause, or crash in the
middle of a write, disks are slow, snapshots are taken, and the group changes meanwhile; all from a seed.

After every step the properties of the paper's figure 3 are checked, and the promises about leases and reads.
"""

import contextlib
import random

from etcd_twisted.consensus.raft.entries import Configuration, Entry
from etcd_twisted.consensus.raft.errors import ConfigurationError, NotLeaderError
from etcd_twisted.consensus.raft.limits import RaftLimits
from etcd_twisted.consensus.raft.messages import (
    AppendReply,
    InstallSnapshot,
    Message,
    VoteReply,
    decode_messages,
    encode_messages,
)
from etcd_twisted.consensus.raft.state import Role
from tests.consensus.raft.group import LONG, Group, Machine, Sent, Snapshot

IDS = "abcdefg"


class Faults(Group):
    """
    A group with faults.

    @ivar acknowledged: the index of everything that a leader has committed.
    """

    def __init__(self, seed: int, voters: str, limits: RaftLimits) -> None:
        super().__init__(voters, limits=limits)
        self.random = random.Random(seed)
        self.acknowledged = 0
        self.log: dict[tuple[int, int], tuple[Entry, int]] = {}
        self.votes: dict[tuple[str, int], str] = {}
        self.asked: dict[tuple[str, int], int] = {}
        self.reads = 0
        self.proposals = 0
        self.lossy = self.random.choice([0.0, 0.05, 0.2])
        self.doubling = self.random.choice([0.0, 0.1])
        self.delay = self.random.choice([0.001, 0.005, 0.02, 0.08])
        self.slowness = self.random.choice([0.0, 0.005, 0.05])
        self.calm = self.random.choice([3, 10, 30])
        self.late: list[tuple[float, Sent]] = []
        self.syncs: dict[str, float] = {}
        self.paused: dict[str, float] = {}

    # Steps

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.now += self.random.uniform(0, 0.02)
            if self.random.random() < 0.3 / self.calm:
                self.random.choice(
                    [self.crash_one, self.cut_some, self.heal, self.transfer, self.lose_touch, self.pause_one]
                    + [self.start_one, self.change_group, self.snapshot_one, self.isolate_leader] * 2
                )()
            if self.random.random() < 0.5:
                self.use()
            self.turn()
        self.end()

    def turn(self) -> None:
        self.look_at_leases()
        for machine_id, machine in list(self.machines.items()):
            if self.is_paused(machine_id):
                continue
            if machine.core.deadline <= self.now:
                machine.core.tick(self.now)
            if machine.write():
                self.syncs[machine_id] = self.now + self.random.expovariate(1 / self.slowness) if self.slowness else 0
            if self.syncs.get(machine_id, 0) <= self.now:
                machine.sync(self.now)
            self.send_from(machine)
            machine.apply()
            self.look_at(machine)
        arriving = sorted((each for each in self.late if each[0] <= self.now), key=lambda each: each[0])
        self.late = [each for each in self.late if each[0] > self.now]
        for due, letter in arriving:
            if self.is_paused(letter.receiver):
                self.late.append((due, letter))
                continue
            self.deliver(letter)
            if letter.receiver in self.machines:
                self.look_at(self.machines[letter.receiver])
        for _ in range(len(self.snapshots)):
            snapshot = self.snapshots.popleft()
            if self.random.random() < 0.9 or self.is_paused(snapshot.receiver):
                self.snapshots.append(snapshot)
            else:
                self.deliver_snapshot(snapshot)
        self.look_at_leases()

    def send_from(self, machine: Machine) -> None:
        sender = machine.core.machine_id
        for receiver, message in machine.core.to_send(self.now):
            if isinstance(message, InstallSnapshot):
                disk = machine.disk
                self.snapshots.append(Snapshot(sender, receiver, message.term, disk.snapshot, disk.state))
                continue
            if isinstance(message, AppendReply):
                assert message.index <= machine.disk.last_index, "acknowledged before it is durable"
            if isinstance(message, VoteReply) and message.granted and not message.pre:
                assert machine.disk.hard_state.term >= message.term
                assert self.votes.setdefault((sender, message.term), receiver) == receiver, "voted twice"
            self.post(sender, receiver, decode_messages(encode_messages([message])))

    def post(self, sender: str, receiver: str, messages: list[Message]) -> None:
        while self.random.random() >= self.lossy:
            due = self.now + self.random.expovariate(1 / self.delay)
            self.late += [(due, Sent(sender, receiver, message)) for message in messages]
            if self.random.random() >= self.doubling:
                return

    # Faults

    def crash_one(self) -> None:
        if self.machines:
            machine_id = self.random.choice(sorted(self.machines))
            machine = self.machines[machine_id]
            if self.random.random() < 0.5 and machine._writing is not None and not machine._written:
                machine.disk.append(machine._writing)  # it was written, and nobody knows
            self.crash(machine_id)
            for key in [key for key in self.asked if key[0] == machine_id]:
                del self.asked[key]

    def start_one(self) -> None:
        down = sorted(set(self.disks) - set(self.machines))
        if down:
            self.start(self.random.choice(down))

    def start(self, machine_id: str) -> None:
        super().start(machine_id)
        self.machines[machine_id].slow = True

    def cut_some(self) -> None:
        some = self.random.sample(sorted(self.disks), self.random.randint(1, len(self.disks)))
        others = self.random.sample(sorted(self.disks), self.random.randint(1, len(self.disks)))
        self.cut(some, others)
        if self.random.random() < 0.5:
            self.cut(others, some)

    def isolate_leader(self) -> None:
        for machine_id in self.leaders_now():
            self.isolate(machine_id, *self.random.sample(sorted(self.disks), self.random.randint(0, 1)))

    def pause_one(self) -> None:
        """Pauses a machine, as a process that is held up: its messages wait."""
        for machine_id in self.random.choice([self.leaders_now(), sorted(self.machines)])[:1]:
            self.paused[machine_id] = self.now + self.random.uniform(0, 3 * LONG)

    def is_paused(self, machine_id: str) -> bool:
        return self.paused.get(machine_id, 0) > self.now

    def snapshot_one(self) -> None:
        if self.machines:
            machine = self.machines[self.random.choice(sorted(self.machines))]
            if machine.applied > machine.disk.snapshot.index:
                machine.take_snapshot()

    def lose_touch(self) -> None:
        for machine in self.machines.values():
            machine.core.unreachable(self.random.choice(IDS))

    def transfer(self) -> None:
        for machine in self.machines.values():
            if self.random.random() < 0.3:
                machine.core.transfer(self.now)

    def change_group(self) -> None:
        for machine in list(self.machines.values()):
            core = machine.core
            if core.role is not Role.LEADER:
                continue
            voters, learners = list(core.configuration.voters), list(core.configuration.learners)
            machine_id = self.random.choice(IDS)
            if machine_id in voters and len(voters) > 1:
                voters.remove(machine_id)
            elif machine_id in learners:
                learners.remove(machine_id)
                if self.random.random() < 0.7:
                    voters.append(machine_id)
            elif machine_id not in voters:
                if machine_id not in self.disks:
                    self.add(machine_id, Configuration(()))
                learners.append(machine_id)
            with contextlib.suppress(ConfigurationError, NotLeaderError):
                core.propose_configuration(Configuration(tuple(voters), tuple(learners)), self.now)

    def use(self) -> None:
        for machine_id, machine in self.machines.items():
            if machine.core.role is not Role.LEADER:
                continue
            if machine.core.leads:
                self.proposals += 1
                machine.core.propose(b"%d" % self.proposals)
            if self.random.random() < 0.3:
                self.reads += 1
                self.asked[machine_id, self.reads] = self.acknowledged
                machine.core.read(self.reads)

    # Checks

    def look_at(self, machine: Machine) -> None:
        core = machine.core
        self._check(machine)
        log = core.log
        for index in range(max(log.first_index, log.last_index - 20), log.last_index + 1):
            each, before = log._at(index), log.term(index - 1)
            known = self.log.setdefault((index, each.term), (each, before))
            assert known == (each, before), "two logs do not match"
            assert before <= each.term <= core.term
        self.acknowledged = max(self.acknowledged, core.commit_index)
        if core.role is Role.LEADER and core.term == max(self.leaders):
            last = min(self.acknowledged, log.last_index)
            assert log.last_index >= self.acknowledged, "a leader lacks what is committed"
            if last >= log.first_index and last in self.committed:
                assert log.term(last) == self.committed[last].term
        assert core.commit_index <= log.last_index
        for token, _ in machine.answered:
            before = self.asked.pop((core.machine_id, token))
            assert core.commit_index >= before, "a stale read"
        machine.answered.clear()

    def look_at_leases(self) -> None:
        holders = [each for each, core in self._cores() if not self.is_paused(each) and core.holds_lease(self.now)]
        assert len(holders) <= 1, f"{holders} both hold a lease"
        for each in holders:
            assert self[each].commit_index >= self.acknowledged, f"{each} has a stale lease"

    # The end

    def end(self) -> None:
        """Ends the faults; the group must go on."""
        self.heal()
        self.paused.clear()
        self.lossy = self.doubling = self.slowness = 0
        self.delay = 0.002
        for machine_id in sorted(set(self.disks) - set(self.machines)):
            self.start(machine_id)
        until = self.now + 50 * LONG
        self.change_group = lambda: None  # type: ignore[method-assign]
        while self.now < until:
            self.now += 0.005
            self.turn()
            if self.is_whole() and self.now > until - 40 * LONG:
                break
        else:
            raise AssertionError("they do not come to an end: " + self.describe())

    def is_whole(self) -> bool:
        leaders = [core for _, core in self._cores() if core.role is Role.LEADER]
        if len(leaders) != 1 or not leaders[0].leads_own_term:
            return False
        (leader,) = leaders
        if leader.leads and self.proposals % 2 == 0:
            self.proposals += 1
            leader.propose(b"last")
        members = [*leader.configuration.voters, *leader.configuration.learners]
        reached = {(self[each].commit_index, len(self.machines[each].state)) for each in members}
        return len(reached) == 1 and leader.commit_index == leader.last_index

    def describe(self) -> str:
        return "; ".join(
            f"{each} {core.role.value} {core.term} commit {core.commit_index} of {core.last_index}"
            f" {core.configuration.voters} {core.configuration.learners}"
            for each, core in self._cores()
        )
