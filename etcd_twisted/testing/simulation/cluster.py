"""
A cluster in memory: machines on simulated clocks, with simulated disks and a simulated network between them.

Nothing happens but in L{SimulatedCluster.advance} and its relatives, and all chance comes from one seed: a test of the
same seed does the same, however busy the computer is. This module must never wait for real time.
"""

import contextlib
import gc
import os
import secrets
import socket
from collections.abc import Sequence
from types import TracebackType
from typing import Generic, Self, TypeVar
from unittest import mock

from etcd_twisted.client import Client, Timeouts
from etcd_twisted.keyspace import Event
from etcd_twisted.testing.simulation.base import CLIENTS, Simulation
from etcd_twisted.testing.simulation.disks import Disks
from etcd_twisted.testing.simulation.machine import SimulatedMachine
from etcd_twisted.testing.simulation.network import Weather
from etcd_twisted.testing.simulation.schedule import Process, Schedule
from etcd_twisted.testing.simulation.settings import Settings

FORMING_SECONDS = 20.0
"""How long a cluster may take to form, by the simulated clock."""

_PROCESS_ID = 1_000
_HOST_NAME = "host"

_M = TypeVar("_M", bound=SimulatedMachine)


class SimulatedMachines(Simulation, Generic[_M]):
    """
    Machines on one network. It is a context manager: within it the disks may fail, and at the end everything is freed.

    @ivar machines: the machines by name, in the order in which they came.
    @ivar disks: the disks of the machines.
    @ivar settings: for all processes that start from now on.
    """

    def __init__(self, schedule: Schedule, disks: Disks, settings: Settings, weather: Weather | None = None) -> None:
        super().__init__(schedule, weather)
        self.disks = disks
        self.machines: dict[str, _M] = {}
        self.settings = settings
        self._problem: BaseException | None = None
        self._installed = contextlib.ExitStack()
        self.schedule.after_step = self._after_step

    def __enter__(self) -> Self:
        random = self.schedule.random
        self._installed.enter_context(self.disks.installed())
        # Process ids and host names are written to disks, and what a crash leaves of it depends on how long that is.
        for module, name, replacement in (
            (secrets, "token_hex", lambda length: random.randbytes(length).hex()),
            (os, "getpid", lambda: _PROCESS_ID),
            (socket, "gethostname", lambda: _HOST_NAME),
        ):
            self._installed.enter_context(mock.patch.object(module, name, replacement))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End everything. What a process would tidy up late is tidied up here, while its disk is still there."""
        try:
            self.schedule.clear()
            self.network.clear()
            self.streams.clear()
            for machine in self.machines.values():
                machine.bury()
            gc.collect()
        finally:
            self._installed.close()
            self.disks.remove()

    # What machines ask for

    def tell(self, text: str) -> None:
        """See L{etcd_twisted.testing.simulation.machine.World}."""

    def sent(self, sender: str, receiver: str, payload: bytes) -> None:
        """See L{etcd_twisted.testing.simulation.machine.World}."""

    def ended(self, process: Process) -> None:
        """See L{etcd_twisted.testing.simulation.machine.World}."""

    def broken(self, problem: BaseException | None) -> None:
        """See L{World<etcd_twisted.testing.simulation.machine.World>}. The test gets the first one as an exception."""
        self._problem = self._problem or problem

    def _after_step(self, _: Process | None) -> None:
        if self._problem is not None:
            problem, self._problem = self._problem, None
            raise problem

    # Machines

    def include(self, machine: _M) -> _M:
        """Have a machine be one of these, and return it."""
        self.machines[machine.name] = machine
        return machine

    @property
    def running(self) -> list[_M]:
        """The machines on which a process runs that was not told to stop."""
        return [machine for machine in self.machines.values() if machine.is_up]

    # The network

    def partition(self, *groups: Sequence[SimulatedMachine | str]) -> None:
        """
        Cut all ways between these groups of machines. Ways that were cut before stay so, see L{heal}.

        @param groups: the machines, and the names of the hosts of clients, see L{agent}. Hosts that are in no group
            still reach all others.
        """
        names = [{each if isinstance(each, str) else each.name for each in group} for group in groups]
        for group in names:
            others = {name for each in names if each is not group for name in each}
            self.network.cut |= {way for a in group for b in others for way in ((a, b), (b, a))}

    def isolate(self, machine: _M) -> None:
        """Cut a machine off from all others. Clients still reach it."""
        self.partition([machine], [each for each in self.machines.values() if each is not machine])

    def heal(self) -> None:
        """Open all ways. Some of what was sent meanwhile arrives now."""
        self.network.heal()


class SimulatedCluster(SimulatedMachines[SimulatedMachine]):
    """
    Machines that are in one cluster, see L{SimulatedMachines}::

        with SimulatedCluster() as cluster:
            cluster.start(3)
    """

    def __init__(self, seed: int = 0, settings: Settings | None = None) -> None:
        """
        @param seed: decides everything that is left to chance.
        """
        schedule = Schedule(seed)
        super().__init__(schedule, Disks(schedule.random), Settings() if settings is None else settings)
        self._clients: list[Client] = []

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the clients, and end everything."""
        clients, self._clients = self._clients, []
        for client in clients:
            client.close()
        super().__exit__(kind, value, traceback)

    def add(self) -> SimulatedMachine:
        """Start one more machine, which asks those before it to take it in."""
        machine = self.include(SimulatedMachine(self, len(self.machines)))
        machine.start()
        return machine

    def start(self, size: int = 3) -> list[SimulatedMachine]:
        """Start machines, and advance until they are a cluster in which all have a vote."""
        first = self.add()
        self.advance_until(lambda: first.replica is not None and first.replica.serving)
        started = [first, *(self.add() for _ in range(size - 1))]
        self.advance_until(self.is_settled, FORMING_SECONDS)
        return started

    def client(
        self,
        host: str = CLIENTS,
        timeouts: Timeouts = Timeouts(),  # noqa: B008  # it is frozen
        credentials: tuple[str, str] | None = None,
    ) -> Client:
        """
        Returns a client that knows all machines that there are by now. The end of the cluster closes it.

        @param host: see L{agent}.
        @param timeouts: how long its requests may take.
        @param credentials: a user's name and password.
        """
        client = Client(
            [machine.config.client_url for machine in self.machines.values()],
            reactor=self.clock,
            agent=self.agent(host),
            credentials=credentials,
            timeouts=timeouts,
            chance=self.schedule.random.random,
        )
        self._clients.append(client)
        return client

    def leader(self) -> SimulatedMachine | None:
        """Returns the machine that leads, or C{None}. If several think so, it is the one of the highest term."""
        leading = [
            (each.replica.term, each) for each in self.machines.values() if each.replica and each.replica.is_leader
        ]
        return max(leading, key=lambda each: each[0])[1] if leading else None

    def await_leader(self) -> SimulatedMachine:
        """Advance until a machine leads, and return it."""
        self.advance_until(lambda: self.leader() is not None)
        leader = self.leader()
        assert leader is not None
        return leader

    def followers(self) -> list[SimulatedMachine]:
        """Returns the running machines that do not lead."""
        leader = self.leader()
        return [machine for machine in self.running if machine is not leader]

    def is_settled(self) -> bool:
        """
        Returns whether every member has a vote, and every running machine serves what the leader serves, or stands by.
        """
        leader = self.leader()
        if leader is None or leader.replica is None:
            return False
        replicas = [each.replica for each in self.running if each.replica is not None]
        applied = leader.replica.raft_index
        if not all(each.standby or (each.serving and each.raft_index == applied) for each in replicas):
            return False
        return leader.replica.health().voters == set(leader.replica.members())

    def settle(self) -> None:
        """Advance until the cluster L{is_settled}."""
        self.advance_until(self.is_settled)

    def put(self, key: str, value: str, ttl_seconds: int | None = None) -> Event:
        """Advance until the leader has set a key and every running machine has it, and return what happened."""
        event = self.result_of(self.await_leader().put(key, value, ttl_seconds))
        self.settle()
        return event

    def describe(self) -> str:
        """Returns what each machine is, for the message of an assertion."""
        return "; ".join(map(_description, self.machines.values()))


def _description(machine: SimulatedMachine) -> str:
    replica = machine.replica
    if replica is None:
        return f"{machine.name} is down"
    if replica.standby:
        return f"{machine.name} stands by"
    role = "leads" if replica.is_leader else "serves" if replica.serving else "starts"
    return f"{machine.name} {role} in term {replica.term}, applied {replica.raft_index}"
