"""
The faults and their times, drawn from the seed.

They must never make a cluster lose what it was promised to keep: only one machine may lose its disk, and only while
all others are there.
"""

from collections.abc import Callable
from typing import Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from etcd_twisted.errors import EtcdError, RequestDroppedError
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from etcd_twisted.testing.simulation.disk_threads import SimulatedDiskThread
from etcd_twisted.testing.simulation.machine import SimulatedMachine
from etcd_twisted.testing.simulation.network import Network, Weather
from etcd_twisted.testing.simulation.schedule import Schedule
from etcd_twisted.testing.simulation.workers import SimulatedWorker
from tests.simulation.plan import WORKER_KINDS, Plan


class World(Protocol):
    """What the faults need."""

    schedule: Schedule
    network: Network
    machines: dict[str, SimulatedMachine]

    def tell(self, text: str) -> None:
        """Adds a line to the story."""

    def add_machine(self) -> None:
        """Adds a machine, if there is another one."""

    def leader(self) -> SimulatedMachine | None:
        """The machine that leads, or None if no machine leads."""

    def addresses_known(self) -> bool:
        """Whether all machines are at the addresses that the others have."""

    def voters(self) -> set[str]:
        """The names of the machines that have a vote, as far as it is committed."""

    def broken(self, problem: BaseException | None) -> None:
        """Something happened that must never happen."""


Fault = Callable[[], None]


class Faults:
    """
    Random faults, one after the other, until they are stopped.

    @ivar stopped: whether no new fault begins.
    """

    def __init__(self, world: World, plan: Plan) -> None:
        self.stopped = False
        self._world = world
        self._random = world.schedule.random
        self._pause = plan.fault_pause
        self._clocks = plan.clocks
        self._lost_disk = False
        self._cursed_until = 0.0
        self._group_may_shrink = bool({"remove", "configure"}.intersection(plan.kinds))
        kinds = (*plan.kinds, *(WORKER_KINDS if plan.workers else ()))
        self._kinds: list[Fault] = [getattr(self, f"_{kind}") for kind in kinds]
        self._later()

    def _later(self) -> None:
        self._world.schedule.after(self._pause * self._random.uniform(0.1, 2.0), None, "fault", self._go_wrong)

    def _go_wrong(self) -> None:
        if not self.stopped:
            self._random.choice(self._kinds)()
            self._later()

    def _after(self, shortest: float, longest: float, call: Callable[..., object], *args: object) -> None:
        self._world.schedule.after(self._random.uniform(shortest, longest), None, "fault", call, *args)

    def _some_machine(self) -> SimulatedMachine:
        return self._world.machines[self._random.choice(list(self._world.machines))]

    # Machines

    def _crash(self) -> None:
        machine = self._some_machine()
        machine.crash()
        self._stay_away(machine)

    def _stay_away(self, machine: SimulatedMachine) -> None:
        """Now and then a machine stays away so long that the others continue without it."""
        if self._random.random() < 0.3:
            machine.wanted = False
            self._after(0.5, 6.0, machine.start)

    def _crash_leader(self) -> None:
        leader = self._world.leader()
        if leader is not None:
            leader.crash()
            self._stay_away(leader)

    def _curse_leaders(self) -> None:
        """For a while no leader lasts, so that logs diverge."""
        self._cursed_until = self._world.schedule.now + self._random.uniform(1.0, 5.0)
        leader = self._world.leader()
        if leader is not None:
            self.elected(leader)

    def elected(self, leader: SimulatedMachine) -> None:
        """Called when a machine becomes the leader."""
        if self._world.schedule.now >= self._cursed_until or self.stopped:
            return
        delay = self._random.choice([0.0, 0.002, 0.02])
        chance = self._random.random()
        if chance < 0.4:
            self._after(0.0, delay, leader.crash)
        elif chance < 0.8:
            ways = {(leader.name, each) for each in self._world.machines if each != leader.name}
            self._after(0.0, delay, self._cut, ways, f"{leader.name}, which leads, is not heard")

    def _crash_in_a_write(self) -> None:
        """The machine crashes after some more calls of its disk."""
        machine = self._world.leader() if self._random.random() < 0.5 else self._some_machine()
        if machine is not None and machine.is_up:
            machine.disk.changes_until_crash = self._random.randrange(self._random.choice([4, 30]))

    def _crash_all(self) -> None:
        for machine in self._world.machines.values():
            machine.crash()

    def _restart(self) -> None:
        """Restarts machines in order, as for a new version."""
        machine = self._world.leader() if self._random.random() < 0.7 else self._some_machine()
        if machine is not None:
            machine.stop()

    def _hold_up(self) -> None:
        self._hold(self._some_machine())

    def _hold_up_leader(self) -> None:
        leader = self._world.leader()
        if leader is not None:
            self._hold(leader)

    def _hold(self, machine: SimulatedMachine) -> None:
        process = machine.process
        if process is not None and process.alive and not process.paused:
            self._world.tell(f"{machine.name} is held up")
            process.pause()
            self._after(0.01, 1.0, self._let_go, machine)

    def _let_go(self, machine: SimulatedMachine) -> None:
        process = machine.process
        if process is not None and process.paused:
            self._world.tell(f"{machine.name} goes on")
            process.resume()

    def _some_worker(self) -> SimulatedWorker | None:
        run = self._some_machine().run
        if run is None or run.workers is None or not run.workers.running:
            return None
        return self._random.choice(list(run.workers.running.values()))

    def _kill_worker(self) -> None:
        worker = self._some_worker()
        if worker is not None:
            self._world.tell(f"{worker.process.name} is killed")
            worker.end()

    def _hold_up_worker(self) -> None:
        """The worker lags, and goes on when its machine may have cut it off."""
        worker = self._some_worker()
        if worker is not None and worker.process.alive:
            self._world.tell(f"{worker.process.name} is held up")
            worker.process.pause()
            self._after(0.01, 2.0, worker.process.resume)

    def _move(self) -> None:
        """Machines come back at new addresses, one after the other."""
        if self._world.addresses_known():
            self._some_machine().move()

    def _set_clock(self) -> None:
        self._some_machine().wall_ahead = self._random.uniform(-self._clocks, self._clocks)

    # Disks

    def _slow_disk(self) -> None:
        run = self._some_machine().run
        if run is not None and isinstance(run.disk_thread, SimulatedDiskThread):
            run.disk_thread.slowness = self._random.choice([5.0, 30.0, 200.0])
            self._after(0.1, 2.0, setattr, run.disk_thread, "slowness", 1.0)

    def _fail_disk(self) -> None:
        """A call fails; the machine should end then, and finds its disk whole when it is started again."""
        machine = self._some_machine()
        if machine.is_up and not machine.disk_fails:
            self._world.tell(f"the disk of {machine.name} is about to fail")
            machine.fail_disk(self._random.randrange(30))
            self._after(1.0, 3.0, machine.mend_disk)

    def _lose_disk(self) -> None:
        """
        A machine comes back with an empty disk, once, while all others are there. This does not happen while any
        machine might be removed, because the remaining group would need this one.
        """
        machine = self._some_machine()
        voters = self._world.voters()
        up = {each.name for each in self._world.machines.values() if each.is_up}
        others_go_on = machine.name in voters and len(voters) >= 3 and voters <= up and self._world.addresses_known()
        if self._lost_disk or not others_go_on or self._group_may_shrink:
            return
        if machine.is_first:
            return  # it does not know the others yet, and would begin a cluster of its own
        self._lost_disk = True
        self._world.tell(f"{machine.name} loses its disk")
        machine.erase()
        if machine.config.initial_cluster is not None:  # as one of those that begin the cluster, it would not start
            machine.config = attrs.evolve(machine.config, initial_cluster_state="existing")

    # The network

    def _names(self) -> list[str]:
        names = list(self._world.machines)
        self._random.shuffle(names)
        return names

    def _cut(self, ways: set[tuple[str, str]], what: str) -> None:
        self._world.tell(what)
        self._world.network.cut |= ways
        self._after(0.1, 3.0, self._open, ways, what)

    def _open(self, ways: set[tuple[str, str]], what: str) -> None:
        self._world.tell(f"no longer: {what}")
        self._world.network.open(ways)

    def _part(self) -> None:
        names = self._names()
        at = self._random.randrange(1, len(names))
        one, other = names[:at], names[at:]
        ways = {(a, b) for a in one for b in other}
        self._cut(ways | {(b, a) for a, b in ways}, f"{one} and {other} are apart")

    def _isolate(self) -> None:
        leader = self._world.leader()
        if leader is None:
            return
        ways = {(leader.name, each) for each in self._world.machines if each != leader.name}
        self._cut(ways | {(b, a) for a, b in ways}, f"{leader.name}, which leads, is alone")

    def _cut_one_way(self) -> None:
        names = self._names()
        one = names[0]
        others = [each for each in names[1:] if self._random.random() < 0.6] or names[1:]
        if self._random.random() < 0.5:
            self._cut({(one, each) for each in others}, f"{one} is not heard by {others}")
        else:
            self._cut({(each, one) for each in others}, f"{one} does not hear {others}")

    def _lose_connections(self) -> None:
        run = self._some_machine().run
        if run is not None:
            run.transport.lose_connections()

    def _change_weather(self) -> None:
        random = self._random
        self._world.network.weather = Weather(
            loss=random.choice([0.0, 0.0, 0.02, 0.2]),
            doubling=random.choice([0.0, 0.05, 0.3]),
            late=random.choice([0.0, 0.02, 0.2]),
            latency=random.choice([0.0005, 0.002, 0.02]),
            piece=random.choice([200, 1_000, 60_000]),
        )

    # The group

    def _remove(self) -> None:
        leader = self._world.leader()
        replica = None if leader is None else leader.replica
        if leader is None or replica is None or leader.process is None:
            return
        name = self._some_machine().name
        self._world.tell(f"{name} is to be removed")
        leader.process.after(0, "remove", lambda: self._watch_over(replica.remove(name)))

    def _configure(self) -> None:
        leader = self._world.leader()
        replica = None if leader is None else leader.replica
        if leader is None or replica is None or leader.process is None:
            return
        config = ClusterConfig(self._random.choice([3, 5, 9]), self._random.choice([2.0, 4.0, 1800.0]), 1.0)
        self._world.tell(f"the cluster is to have {config}")
        leader.process.after(0, "configure", lambda: self._watch_over(replica.configure(config)))

    def _watch_over(self, done: "Deferred[None]") -> None:
        """Watches a change of the group, which may be refused, and whose outcome may be unknown."""
        done.addErrback(lambda failure: failure.trap(EtcdError, RequestDroppedError) and None)
        done.addErrback(self._unexpected)

    def _unexpected(self, failure: Failure) -> None:
        self._world.broken(failure.value)

    def _add(self) -> None:
        self._world.add_machine()

    # The end of the faults

    def stop(self) -> None:
        """Ends all faults and repairs what is broken."""
        self.stopped = True
        world = self._world
        world.network.weather = Weather()
        world.network.heal()
        for machine in world.machines.values():
            if machine.disk_fails:
                machine.mend_disk()
            machine.disk.changes_until_crash = machine.disk.changes_until_failure = None
            if machine.run is not None and isinstance(machine.run.disk_thread, SimulatedDiskThread):
                machine.run.disk_thread.slowness = 1.0
            self._let_go(machine)
            machine.start()
