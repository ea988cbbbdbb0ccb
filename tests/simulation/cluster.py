"""
One run: a cluster, its clients, the faults and the checks, all from one seed.

A run begins with a cluster that forms. Then there are faults for a while. Then they stop, and before long the cluster
has to be whole again, and every client has to have the right answers.
"""

import contextlib
import gc
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from unittest import mock

import attrs
import msgspec
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from etcd_twisted.config import Config
from etcd_twisted.consensus.forwarding import forwarded
from etcd_twisted.consensus.raft import core
from etcd_twisted.consensus.raft.limits import RaftLimits
from etcd_twisted.consensus.reconfiguration.upkeep import PromotionLimits
from etcd_twisted.keyspace import snapshot
from etcd_twisted.keyspace.commands import Change
from etcd_twisted.keyspace.snapshot import dump
from etcd_twisted.net import memory
from etcd_twisted.testing.simulation.cluster import SimulatedCluster
from etcd_twisted.testing.simulation.disk import DISK_FAILURE, CrashError
from etcd_twisted.testing.simulation.machine import SimulatedMachine
from etcd_twisted.testing.simulation.schedule import Process
from etcd_twisted.testing.simulation.settings import Settings
from etcd_twisted.workers import feed
from tests.simulation.clients import TIME_STEP, Client, KeyClient, QueueClient, TemporaryClient, Watching
from tests.simulation.faults import Faults
from tests.simulation.history import Operation, Outcome
from tests.simulation.invariants import Invariants, Violation, member_of
from tests.simulation.leases import LeaseClient, Leases
from tests.simulation.plan import Plan
from tests.simulation.reference import Reference
from tests.simulation.verdicts import check_history, check_watching

_FORMS = 20.0
"""The number of seconds within which a cluster has to form."""

_RECOVERS = 40.0
"""The number of seconds within which the cluster has to recover."""


@attrs.frozen
class Report:
    """
    The result of a run.

    @ivar digest: of all that happened; the same for the same seed.
    @ivar seconds: how long it took, by the simulated clock.
    """

    seed: int
    digest: int
    steps: int
    seconds: float
    operations: int
    done: int
    elections: int
    entries: int

    def __str__(self) -> str:
        return (
            f"seed {self.seed}: {self.seconds:.0f} s, {self.steps} steps, {self.done} of {self.operations} operations"
            f" done, {self.elections} elections, {self.entries} entries, digest {self.digest:08x}"
        )


class Cluster(SimulatedCluster):
    """
    One run.

    @ivar machines: by name, in the order in which they came.
    @ivar story: the notable things that happened, each with its time.
    """

    def __init__(self, seed: int, tell: Callable[[str], None] | None = None, **changes: Any) -> None:
        """
        @param tell: called with each line of the story.
        @param changes: what differs from the seed's own L{Plan}.
        """
        super().__init__(seed)
        self.seed = seed
        self.operations: list[Operation] = []
        self.reference = Reference()
        self.plan = plan = attrs.evolve(Plan.draw(self.schedule.random), **changes)
        self.invariants = Invariants(self.reference, plan.leases_hold)
        self.leases = Leases(self.reference, plan.spread)
        self.settings = Settings(
            history=plan.history,
            snapshot_count=plan.snapshot_count,
            limits={"lone_records": LONE_RECORDS} | ({} if plan.batch is None else small_limits(plan.batch)),
            segment_bytes=SEGMENT_BYTES,
            supervised=True,
            profile=plan.profile,
            workers=plan.workers,
        )
        self._tell = tell
        self._clients: list[Client] = []
        self._watching: list[Watching] = []
        self._lease_client: LeaseClient | None = None
        self._faults: Faults | None = None
        self._leaders = 0

    # What machines, clients and faults call

    def tell(self, text: str) -> None:
        """Adds a line to the story."""
        if self._tell is not None:
            self._tell(f"{self.schedule.now:10.6f} {text}")

    def sent(self, sender: str, receiver: str, payload: bytes) -> None:
        """A machine sends messages to another one."""
        try:
            self.invariants.check_sent(sender, receiver, payload)
        except Violation as violation:
            self.broken(violation)

    def ended(self, process: Process) -> None:
        """A process of a machine has ended."""
        self.invariants.forget(process)
        for watching in self._watching:
            watching.lost(process)

    def lease_used(self) -> None:
        """A read is answered by a lease."""
        running = [(each.process, each.replica) for each in self.machines.values()]
        try:
            self.invariants.check_leases([(p, r) for p, r in running if p is not None and r is not None and p.alive])
        except Violation as violation:
            self.broken(violation)

    def leader(self) -> SimulatedMachine | None:
        """The leader of the newest term, or None if no machine leads."""
        leading = [(core.term, each) for each in self.machines.values() if (core := self._core(each)) and core.leads]
        return max(leading, key=lambda each: each[0])[1] if leading else None

    @staticmethod
    def _core(machine: SimulatedMachine) -> core.Raft | None:
        member = None if machine.replica is None else member_of(machine.replica)
        return None if member is None else member.raft

    def voters(self) -> set[str]:
        """The names of the machines that have a vote, as far as it is committed."""
        configuration = self.reference.configuration
        return {configuration.members[each].name for each in configuration.voters}

    def addresses_known(self) -> bool:
        """Whether all machines are at the addresses that the others have."""
        known = {member.name: member.peer_url for member in self.reference.configuration.members.values()}
        return all(known.get(each.name) == each.config.peer_url for each in self.machines.values())

    def add_machine(self) -> None:
        """Adds a machine, if there is another one."""
        if len(self.machines) >= self.plan.machines + 2:
            return
        random, plan = self.schedule.random, self.plan
        speed, wall_ahead = random.uniform(1.0, plan.spread), random.uniform(-plan.clocks, plan.clocks)
        number = len(self.machines)
        config = listed_config(number, plan.machines) if plan.listed and number < plan.machines else None
        self.include(SimulatedMachine(self, number, speed, wall_ahead, config)).start()

    def _after_step(self, process: Process | None) -> None:
        machine = None if process is None else self.machines.get(process.name)
        if process is not None and process.alive and machine is not None:
            replica = machine.replica
            if replica is not None:
                self.invariants.check(process, replica)
                self.leases.look(self.schedule.now)
                if len(self.invariants.leaders) > self._leaders:
                    self._elected(process)
        super()._after_step(process)

    def _elected(self, process: Process) -> None:
        self._leaders = len(self.invariants.leaders)
        replica = self.machines[process.name].replica
        if replica is not None:
            term, time = max(self.invariants.leaders), replica._time
            inherited = time.inherited if time.term == term else time.known
            self.leases.taken_over(term, inherited, self.schedule.now)
        self.tell(f"{process.name} leads in term {max(self.invariants.leaders)}")
        if self._faults is not None:
            self._faults.elected(self.machines[process.name])

    # The run

    def run(self) -> Report:
        """
        Runs from the beginning to the end.

        @raise Violation: something was not as it has to be.
        """
        with self._surroundings():
            problem = self._attempt()
            self._watching.clear()
            self._clients.clear()
        if problem is not None:
            raise Violation(f"seed {self.seed}: {problem}")
        return Report(
            self.seed,
            self.schedule.digest,
            self.schedule.steps,
            self.schedule.now,
            len(self.operations),
            sum(each.outcome in (Outcome.DONE, Outcome.REFUSED) for each in self.operations),
            len(self.invariants.leaders),
            self.reference.length,
        )

    def _attempt(self) -> str | None:
        """Returns the violation, as text: an exception would keep in memory everything that it went through."""
        try:
            self._form()
            faults = self._go_wrong()
            self._recover(faults)
            self._finish()
        except Violation as violation:
            return str(violation)
        except Exception:
            return traceback.format_exc()
        finally:
            self._problem = None
        return None

    @contextlib.contextmanager
    def _surroundings(self) -> Iterator[None]:
        gc.disable()
        observer = _LogObserver(self.broken)
        globalLogPublisher.addObserver(observer)
        try:
            with self._retimed_commands(), self._small_feeds(), self:
                yield
        finally:
            globalLogPublisher.removeObserver(observer)
            gc.enable()

    @contextlib.contextmanager
    def _retimed_commands(self) -> Iterator[None]:
        """
        Has leaders that give forwarded commands other times keep the part of these that makes a command unique, and
        notes the time that it had.
        """
        retimed = forwarded._retimed

        def retimed_uniquely(command: Change, now: int) -> Change:
            time = now // TIME_STEP * TIME_STEP - TIME_STEP + command.time % TIME_STEP
            self.reference.asked_times[(type(command).__name__, time)] = command.time
            return msgspec.structs.replace(retimed(command, now), time=time)

        with mock.patch.object(forwarded, "_retimed", retimed_uniquely):
            yield

    @contextlib.contextmanager
    def _small_feeds(self) -> Iterator[None]:
        """Has workers be loaded in many pieces, be sent entries in many frames, and be cut off when they are late."""
        with contextlib.ExitStack() as stack:
            if self.plan.workers:
                stack.enter_context(mock.patch.object(snapshot, "_CHUNK_BYTES", 2_000))
                stack.enter_context(mock.patch.object(feed, "ENTRIES_BYTES", 500))
                stack.enter_context(mock.patch.object(feed, "MOST_WAITING_BYTES", 50_000))
                stack.enter_context(mock.patch.object(memory, "_BUFFER_BYTES", 2_000))
            yield

    def _wait(self, what: str, most: float, met: Callable[[], bool]) -> None:
        """
        Lets time pass until the condition holds.

        @raise Violation: it took too long.
        """
        end = self.schedule.now + most
        while not met():
            if self.schedule.now >= end:
                raise Violation(f"{what}: not within {most} seconds; {self._state()}")
            self.schedule.run_until(min(end, self.schedule.now + 0.05))

    def _state(self) -> str:
        parts = [f"{self.reference.length} entries committed, voters {sorted(self.voters())}"]
        for machine in self.machines.values():
            core, replica = self._core(machine), machine.replica
            if replica is None:
                parts.append(f"{machine.name} down")
            elif core is None:
                parts.append(f"{machine.name} {'standby' if replica.standby else 'new'}")
            else:
                parts.append(
                    f"{machine.name} {core.role.value} in term {core.term}, commit {core.commit_index}, last"
                    f" {core.last_index}, voters {len(core.configuration.voters)}"
                )
        return "; ".join(parts)

    def _form(self) -> None:
        self.add_machine()
        if not self.plan.listed:
            self.schedule.run_until(0.2)
        while len(self.machines) < self.plan.machines:
            self.add_machine()
        if self.plan.forms_first:
            self._wait("the cluster forms", _FORMS, self._is_whole)
            self.tell(f"the cluster of {self.plan.machines} has formed")

    def _is_whole(self) -> bool:
        """Whether every machine is a voter that has everything, or a standby for which there is no room."""
        configuration = self.reference.configuration
        leader = self.leader()
        if configuration.learners or leader is None or leader.replica is None:
            return False
        voters = [configuration.members[each] for each in configuration.voters]
        addresses = {member.name: member.peer_url for member in voters}
        most = min(len(self.machines), leader.replica.cluster_config().active_size)
        return len(addresses) == most and all(self._is_well(each, addresses) for each in self.machines.values())

    def _is_well(self, machine: SimulatedMachine, addresses: dict[str, str]) -> bool:
        replica = machine.replica
        if replica is None or not machine.is_up:
            return False
        member = member_of(replica)
        if machine.name not in addresses:
            return replica.standby
        if addresses[machine.name] != machine.config.peer_url:
            return False
        return replica.serving and member is not None and member.state_machine.applied_index == self.reference.length

    def _go_wrong(self) -> Faults:
        plan = self.plan
        keys = [f"/k{number}" for number in range(plan.keys)]
        pause = plan.client_pause
        for number in range(plan.clients):
            self._clients.append(KeyClient(self, f"keys{number}", keys, pause))
        self._lease_client = LeaseClient(self, 0.3)
        self._clients.append(TemporaryClient(self, "temporary", ["/t/a", "/t/b"], pause * 3))
        self._clients += [QueueClient(self, f"queue{number}", ["/q"], pause * 2) for number in range(2)]
        self._watching = [Watching(self, f"watcher{key}", key) for key in ("/", "/q", "/k0")]
        self._faults = faults = Faults(self, plan)
        self.schedule.run_until(self.schedule.now + plan.trouble)
        return faults

    def _recover(self, faults: Faults) -> None:
        self.tell("nothing goes wrong any more")
        faults.stop()
        healed = self.schedule.now
        self._wait("all clients are answered again", _RECOVERS, partial(self._all_answered, healed))
        for client in (*self._clients, self._lease_client):
            if client is not None:
                client.stopped = True
        self._wait("the last answers come", _RECOVERS, lambda: not any(client.waits for client in self._clients))
        self._wait("the cluster is whole again", _RECOVERS, self._is_whole)
        self._wait("every lease ends", _RECOVERS, partial(self._leases_have_ended, healed))
        self._wait("the watchers are told everything", _RECOVERS, self._all_told)
        self._wait("all workers have what their machines have", _RECOVERS, self._all_fed)

    def _all_fed(self) -> bool:
        """Whether every worker serves as its machine does, and has the same index; its copy is compared then."""
        for run in [each.run for each in self.machines.values()]:
            if run is None or run.workers is None:
                continue
            if len(run.workers.loaded) < self.plan.workers:
                return False
            for worker in run.workers.loaded:
                mine, machines = worker.replica, run.replica
                if (mine.serving, mine.standby, mine.raft_index) != (
                    machines.serving,
                    machines.standby,
                    machines.raft_index,
                ):
                    return False
                if b"".join(dump(mine.keyspace.state())) != b"".join(dump(machines.keyspace.state())):
                    raise Violation(f"{worker.process.name} has another key space than its machine")
        return True

    def _leases_have_ended(self, healed: float) -> bool:
        self.leases.check_none_left(healed, self.schedule.now)
        return not self.leases.waiting

    def _all_answered(self, since: float) -> bool:
        told = {each.client for each in self.operations if each.called > since and each.outcome in _TOLD}
        return len(told) == len(self._clients)

    def _all_told(self) -> bool:
        return all(watching.reached >= self.reference.index for watching in self._watching)

    def _finish(self) -> None:
        check_history(self.reference, self.operations, self.plan.leases_hold)
        for watching in self._watching:
            check_watching(self.reference, watching, self.settings.history)


_TOLD = (Outcome.DONE, Outcome.REFUSED)


def listed_config(number: int, size: int) -> Config:
    """Returns the configuration of a machine of a static list."""
    listed = ",".join(f"machine{each}=http://127.0.0.1:{20_000 + each}" for each in range(size))
    addresses = {"addr": f"127.0.0.1:{10_000 + number}", "peer_addr": f"127.0.0.1:{20_000 + number}"}
    return Config(name=f"machine{number}", initial_cluster=listed, **addresses)


@implementer(ILogObserver)
class _LogObserver:
    """Collects every failure in the log, except those of disks that fail on purpose."""

    def __init__(self, broken: Callable[[BaseException | None], None]) -> None:
        self._broken = broken

    def __call__(self, event: LogEvent) -> None:
        failure = event.get("log_failure")
        if failure is None or failure.check(CrashError) or DISK_FAILURE in failure.getErrorMessage():
            return
        self._broken(failure.value)


LONE_RECORDS = 1
"""So few, so that nodes wait for their disks often."""

SEGMENT_BYTES = 8_192
"""The most bytes in a segment of a machine's log, so that it has several."""


def small_limits(batch: int) -> dict[str, Any]:
    """
    Returns those fields of L{ReplicaSettings} that are limits, so small that little load reaches them.

    @param batch: how many entries go into one message.
    """
    raft_limits = RaftLimits(
        record_bytes=1_000,
        trailing_entries=10,
        batch_entries=batch,
        batch_bytes=300,
        in_flight_batches=3,
        in_flight_bytes=1_200,
    )
    return {"raft_limits": raft_limits, "promotion": PromotionLimits(lag_entries=5)}
