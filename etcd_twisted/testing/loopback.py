"""
Machines of this process on real ports of the loopback address, for tests with the real reactor.

They start faster than processes do, but can't be killed: L{etcd_twisted.testing.machine_process} is for that. This
module must never leave anything open or running after L{LoopbackCluster.close}, nor use a port that others can reach.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etcd_twisted.client import Client, Timeouts
from etcd_twisted.config import Address, Config
from etcd_twisted.interfaces import IReactor
from etcd_twisted.testing.ports import free_ports
from etcd_twisted.testing.simulation.machine import MachineFailedError

if TYPE_CHECKING:
    from etcd_twisted.service import EtcdService


class LoopbackMachine:
    """
    A machine that can be started again and again on the same ports and data directory.

    @ivar config: what it is started with.
    @ivar url: where it serves clients.
    @ivar service: its service, the last one started; C{None} before that.
    """

    def __init__(
        self,
        reactor: IReactor,
        directory: Path,
        name: str,
        peers: Sequence[Address],
        settings: Mapping[str, Any],
    ) -> None:
        """
        @param directory: its data directory, which it makes.
        @param peers: the peer ports of machines that take it in; none if it begins a cluster.
        @param settings: more fields of the L{Config}.
        """
        port, peer_port = free_ports(2)
        fields: dict[str, Any] = {
            "name": name,
            "data_dir": directory,
            "addr": f"127.0.0.1:{port}",
            "peer_addr": f"127.0.0.1:{peer_port}",
            "peers": tuple(peers),
        }
        self.config = Config(**(fields | dict(settings)))
        self.url = self.config.client_url
        self.service: EtcdService | None = None
        self._reactor = reactor

    @property
    def is_running(self) -> bool:
        """Whether it was started and not stopped since."""
        return self.service is not None and bool(self.service.running)

    @property
    def is_leader(self) -> bool:
        """Whether it runs and leads."""
        return self.service is not None and self.is_running and self.service.replica.is_leader

    async def start(self) -> None:
        """Start it, and return when it serves or stands by."""
        # Klein imports Twisted's global reactor, which whoever imports the testing kit may not have chosen yet.
        from etcd_twisted.service import EtcdService  # noqa: PLC0415

        self.service = service = EtcdService(self._reactor, self.config, self._failed)
        service.startService()
        await service.started

    def _failed(self, reason: str) -> None:
        raise MachineFailedError(f"{self.config.name}: {reason}")

    async def stop(self) -> None:
        """Stop it as a program is stopped in order: another machine leads before its ports are closed."""
        if self.service is not None and self.service.running:
            await self.service.stopService()


class LoopbackCluster:
    """
    Machines that are in one cluster, or one machine alone::

        cluster = LoopbackCluster(reactor, Path(self.mktemp()))
        self.addCleanup(cluster.close)
        await cluster.start(3)
        await cluster.client().set("/color", "blue")

    @ivar machines: the machines, in the order in which they came.
    """

    def __init__(self, reactor: IReactor, directory: Path, **settings: Any) -> None:
        """
        @param directory: where the machines have their data; it is made if it is not there.
        @param settings: fields of the L{Config} of each machine, such as C{watch_history=100}.
        """
        self.machines: list[LoopbackMachine] = []
        self._reactor = reactor
        self._directory = directory
        self._settings = settings
        self._clients: list[Client] = []

    async def start(self, size: int = 1) -> None:
        """Start machines, and return when all of them serve."""
        for _ in range(size):
            await self.add()

    async def add(self) -> LoopbackMachine:
        """Start one more machine, and return it when it serves."""
        number = len(self.machines)
        peers = [self.machines[0].config.peer_addr] if self.machines else []
        self._directory.mkdir(parents=True, exist_ok=True)
        name = f"machine{number}"
        machine = LoopbackMachine(self._reactor, self._directory / name, name, peers, self._settings)
        self.machines.append(machine)
        await machine.start()
        return machine

    @property
    def leader(self) -> LoopbackMachine | None:
        """The machine that leads, or C{None} while none does."""
        return next((machine for machine in self.machines if machine.is_leader), None)

    def client(
        self,
        timeouts: Timeouts = Timeouts(),  # noqa: B008  # it is frozen
        credentials: tuple[str, str] | None = None,
    ) -> Client:
        """
        Returns a client that knows all machines that there are by now. The end of the cluster closes it.

        @param timeouts: how long its requests may take.
        @param credentials: a user's name and password.
        """
        urls = [machine.url for machine in self.machines]
        client = Client(urls, reactor=self._reactor, credentials=credentials, timeouts=timeouts)
        self._clients.append(client)
        return client

    async def close(self) -> None:
        """Close the clients, and stop the machines."""
        clients, self._clients = self._clients, []
        for client in clients:
            await client.close()
        for machine in reversed(self.machines):
            await machine.stop()
