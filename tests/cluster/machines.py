"""
Machines with a lifecycle (L{etcd_twisted.cluster.lifecycle}), real replicas and disks, and a network in memory.
"""

import json
from typing import Any

from etcd_twisted.cluster.lifecycle import Lifecycle
from etcd_twisted.config import Config
from etcd_twisted.config.addresses import Address
from etcd_twisted.consensus.storage.storage import Storage
from etcd_twisted.errors import StartError
from etcd_twisted.interfaces.cluster import Machine
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from tests.consensus.cluster import Cluster, ClusterMachine, ClusterTestCase

SYNC_INTERVAL_SECONDS = 5.0
"""How often a standby checks whether it can join."""


class LifecycleMachine(ClusterMachine):
    """
    A machine that begins, joins, comes back and stands by on its own.

    @ivar config: may be replaced while the machine is down.
    @ivar seeds: the peer URLs that it is told of.
    @ivar sought: the names with which L{find} was called.
    @ivar sought_again: the names with which L{find_again} was called.
    """

    def __init__(self, cluster: Cluster, number: int, seeds: tuple["LifecycleMachine", ...], **settings: Any) -> None:
        self.seeds = [machine.url for machine in seeds]
        self.sought: list[str] = []
        self.sought_again: list[str] = []
        self.storage: Storage | None = None
        self.configure(**({"name": f"machine{number}", "port": number} | settings))
        super().__init__(cluster, number)

    def configure(self, port: int, name: str | None, **settings: Any) -> None:
        """Sets its name and addresses from its next start on."""
        given: dict[str, Any] = {
            "name": name,
            "addr": Address("clients", 4000 + port),
            "peer_addr": Address("peers", 7000 + port),
            "sources": {"peers": "--peers"},
        }
        self.config = Config(**(given | settings))
        self.machine = Machine(name or "", self.config.client_url, self.config.peer_url)

    def _begin(self) -> None:
        self.machine = Machine(self.config.name or "", self.config.client_url, self.config.peer_url)
        super()._begin()
        self.lifecycle = Lifecycle(self.clock, self.config, self.participation, self.peers, self.transport, self)

    async def find(self, name: str) -> list[str]:
        """See L{etcd_twisted.cluster.known_machines.SeedSource}."""
        self.sought.append(name)
        return self.seeds

    async def find_again(self, name: str) -> list[str]:
        """See L{etcd_twisted.cluster.known_machines.SeedSource}."""
        self.sought_again.append(name)
        return self.seeds

    def _note_excluded(self) -> None:
        super()._note_excluded()
        self.lifecycle.excluded()

    def _note_claimed(self) -> None:
        self.lifecycle.claimed()

    async def _start(self) -> None:
        self.storage = Storage.open(self.path, "--data-dir", self.config.force)
        await self.lifecycle.begin(self.storage, self.disk)  # type: ignore[arg-type]
        await self.lifecycle.when_serving()

    async def _stop(self) -> None:
        self.lifecycle.stop()
        await self.participation.hand_over()
        await super()._stop()

    def close_files(self) -> None:
        """Unlocks the directory."""
        storage = self.lifecycle.storage or self.storage
        if storage is not None:
            storage.close()

    @property
    def is_member(self) -> bool:
        """Whether it takes part and has a vote."""
        return self.up and self.replica.serving and not self.replica.standby

    @property
    def identity(self) -> dict[str, Any]:
        """Its identity, as its directory has it."""
        return dict(json.loads((self.path / "identity.json").read_text()))


class LifecycleTestCase(ClusterTestCase):
    def setUp(self) -> None:
        self.group = self.cluster(defaults=ClusterConfig(active_size=3, sync_interval=SYNC_INTERVAL_SECONDS))

    def add(self, *seeds: LifecycleMachine, **settings: Any) -> LifecycleMachine:
        """Returns a machine that is not started yet."""
        number = len(self.group.machines) + 1
        machine = LifecycleMachine(self.group, number, seeds, **settings)
        self.group.machines.append(machine)
        return machine

    def start(self, *seeds: LifecycleMachine, **settings: Any) -> LifecycleMachine:
        """Returns a machine that is started, and serves or stands by."""
        machine = self.add(*seeds, **settings)
        self.group.finish(machine.start())
        return machine

    def three(self) -> list[LifecycleMachine]:
        """Returns as many machines as there is room for."""
        first = self.start()
        return [first, self.start(first), self.start(first)]

    def refusal(self, machine: LifecycleMachine) -> str:
        """Returns why a machine does not start."""
        with self.assertRaises(StartError) as caught:
            self.group.finish(machine.start(), 60.0)
        machine.crash()
        text = str(caught.exception)
        self.assertNotIn("\n", text)
        return text

    def members(self) -> list[str]:
        return [machine.name for machine in self.group.await_leader().replica.machines()]
