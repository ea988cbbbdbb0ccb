"""
Machines that find their own place (L{etcd_twisted.cluster.lifecycle}), with real replicas and disks, and a network in
memory.
"""

import json
from typing import Any

from etcd_twisted.cluster.lifecycle import Lifecycle
from etcd_twisted.config import Config
from etcd_twisted.config.addresses import Address
from etcd_twisted.consensus.recovery import Storage
from etcd_twisted.errors import StartError
from etcd_twisted.interfaces.cluster import Machine
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from tests.consensus.cluster import Cluster, ClusterMachine, ClusterTestCase

SYNC = 5.0
"""How often a standby looks for a place."""


class LivingMachine(ClusterMachine):
    """
    A machine that finds its own place.

    @ivar config: may be replaced while it is down.
    @ivar seeds: the machines that it is told of.
    @ivar sought: the names for which others were looked for.
    @ivar sought_again: likewise, by a machine that was of a cluster.
    """

    def __init__(self, cluster: Cluster, number: int, seeds: tuple["LivingMachine", ...], **settings: Any) -> None:
        self.seeds = [machine.url for machine in seeds]
        self.sought: list[str] = []
        self.sought_again: list[str] = []
        self.storage: Storage | None = None
        self.configure(**({"name": f"machine{number}", "port": number} | settings))
        super().__init__(cluster, number)

    def configure(self, port: int, name: str | None, **settings: Any) -> None:
        """How it is called and reached from its next start on."""
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
        self.lifecycle = Lifecycle(self.clock, self.config, self.replica, self.peers, self.transport, self)

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
        await self.replica.hand_over()
        await super()._stop()

    def close_files(self) -> None:
        """Give the directory back."""
        storage = self.lifecycle.storage or self.storage
        if storage is not None:
            storage.close()

    @property
    def is_member(self) -> bool:
        """Whether it takes part and has a vote."""
        return self.up and self.replica.serving and not self.replica.standby

    @property
    def identity(self) -> dict[str, Any]:
        """What its directory says who it is."""
        return dict(json.loads((self.path / "identity.json").read_text()))


class LifecycleTestCase(ClusterTestCase):
    def setUp(self) -> None:
        self.group = self.cluster(defaults=ClusterConfig(active_size=3, sync_interval=SYNC))

    def add(self, *seeds: LivingMachine, **settings: Any) -> LivingMachine:
        """A machine that is not started yet."""
        number = len(self.group.machines) + 1
        machine = LivingMachine(self.group, number, seeds, **settings)
        self.group.machines.append(machine)
        return machine

    def start(self, *seeds: LivingMachine, **settings: Any) -> LivingMachine:
        """One that is, and serves or stands by."""
        machine = self.add(*seeds, **settings)
        self.group.finish(machine.start())
        return machine

    def three(self) -> list[LivingMachine]:
        """As many as there is place for."""
        first = self.start()
        return [first, self.start(first), self.start(first)]

    def refusal(self, machine: LivingMachine) -> str:
        """Why a machine does not start."""
        with self.assertRaises(StartError) as caught:
            self.group.finish(machine.start(), 60.0)
        machine.crash()
        text = str(caught.exception)
        self.assertNotIn("\n", text)
        return text

    def members(self) -> list[str]:
        return [machine.name for machine in self.group.await_leader().replica.machines()]
