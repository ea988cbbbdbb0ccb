"""
Machines that begin, join, come back and stand by on their own, with real disks and a network that is never late.
"""

import json
from typing import Any

from etcd_twisted.cluster.lifecycle import Lifecycle
from etcd_twisted.consensus.storage.storage import Storage
from etcd_twisted.errors import StartError
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from etcd_twisted.testing.simulation.machine import MachineRun, SimulatedMachine
from tests.consensus.cluster import Cluster, ClusterMachine, ClusterTestCase

SYNC_INTERVAL_SECONDS = 5.0
"""How often a standby checks whether it can join."""


class LifecycleMachine(ClusterMachine):
    """
    A machine with a L{Lifecycle}.

    @ivar seeds: the peer URLs that it is told of.
    @ivar sought: the names with which L{find} was called.
    @ivar sought_again: the names with which L{find_again} was called.
    """

    def __init__(self, cluster: Cluster, number: int, seeds: tuple["LifecycleMachine", ...], **settings: Any) -> None:
        super().__init__(cluster, number, **settings)
        self.seeds = [machine.url for machine in seeds]
        self.sought: list[str] = []
        self.sought_again: list[str] = []

    async def find(self, name: str) -> list[str]:
        """See L{etcd_twisted.cluster.known_machines.SeedSource}."""
        self.sought.append(name)
        return self.seeds

    async def find_again(self, name: str) -> list[str]:
        """See L{etcd_twisted.cluster.known_machines.SeedSource}."""
        self.sought_again.append(name)
        return self.seeds

    async def _enter(self, running: MachineRun, storage: Storage) -> None:
        await SimulatedMachine._enter(self, running, storage)

    @property
    def lifecycle(self) -> Lifecycle:
        """What looks after its membership."""
        return self.latest.lifecycle

    @property
    def is_member(self) -> bool:
        """Whether it takes part and has a vote."""
        return self.process is not None and self.replica.serving and not self.replica.standby

    @property
    def identity(self) -> dict[str, Any]:
        """Its identity, as its directory has it."""
        return dict(json.loads((self.path / "identity.json").read_text()))


class LifecycleTestCase(ClusterTestCase):
    def setUp(self) -> None:
        self.group = self.cluster(defaults=ClusterConfig(active_size=3, sync_interval_seconds=SYNC_INTERVAL_SECONDS))

    def add(self, *seeds: LifecycleMachine, **settings: Any) -> LifecycleMachine:
        """Returns a machine that is not started yet."""
        machine = LifecycleMachine(self.group, len(self.group.machines) + 1, seeds, **settings)
        self.group.include(machine)
        return machine

    def start(self, *seeds: LifecycleMachine, **settings: Any) -> LifecycleMachine:
        """Returns a machine that is started, and serves or stands by."""
        machine = self.add(*seeds, **settings)
        self.group.result_of(machine.launch())
        return machine

    def three(self) -> list[LifecycleMachine]:
        """Returns as many machines as there is room for."""
        first = self.start()
        return [first, self.start(first), self.start(first)]

    def refusal(self, machine: LifecycleMachine) -> str:
        """Returns why a machine does not start."""
        with self.assertRaises(StartError) as caught:
            self.group.result_of(machine.launch(), 60.0)
        text = str(caught.exception)
        self.assertNotIn("\n", text)
        return text

    def members(self) -> list[str]:
        return [machine.name for machine in self.group.await_leader().replica.machines()]
