"""
etcd as a process, on free ports, that ends with its test.
"""

import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from twisted.internet import reactor
from twisted.internet.interfaces import IReactorProcess, IReactorTime

from etcd_twisted.client import Client, ClientError, Timeouts, Tls
from etcd_twisted.testing.child_process import ChildProcess, spawn
from etcd_twisted.testing.ports import free_ports
from tests.certificates import Authority
from tests.processes.cluster import together, until

ETCD = shutil.which("etcd")

MISSING = None if ETCD else "etcd is not installed (apt-get install etcd-server)"
"""Why these tests are skipped, if they are."""

_BRIEF = Timeouts(total_seconds=1.0)


class Scope(Protocol):
    """What a machine ends with: a test, say."""

    def mktemp(self) -> str:
        """Returns a path at which there is nothing yet."""

    def addCleanup(self, function: Callable[..., Any], /, *arguments: Any) -> None:
        """Has a function called at the end."""


class EtcdMachine:
    """
    A machine that can be started again and again on the same ports and data directory.

    @ivar name: its name.
    @ivar url: where it serves clients.
    @ivar peer_url: where other machines reach it.
    @ivar data: its data directory.
    @ivar discovery: the URL at which it finds the other machines of its cluster, if it does not know them.
    """

    child: ChildProcess

    def __init__(
        self,
        test: Scope,
        name: str,
        authority: Authority | None = None,
        token: str = "etcd",
        flags: Sequence[str] = (),
    ) -> None:
        """
        @param authority: gives it its certificate, and wants one of the same authority of its clients.
        @param token: what tells its cluster from others at the same addresses.
        @param flags: further options.
        """
        self.name = name
        port, peer_port = free_ports(2)
        scheme = "http" if authority is None else "https"
        self.url = f"{scheme}://127.0.0.1:{port}"
        self.peer_url = f"http://127.0.0.1:{peer_port}"
        self.token = token
        self.discovery: str | None = None
        self._test = test
        self._directory = Path(test.mktemp()).resolve()
        self._directory.mkdir()
        self.data = self._directory / "data"
        self._peers: Sequence[EtcdMachine] = [self]
        self._tls: Tls | None = None
        self._flags: tuple[str | Path, ...] = tuple(flags)
        if authority is not None:
            certificate, key = authority.certificate(name)
            self._flags += ("--cert-file", certificate, "--key-file", key)
            self._flags += ("--trusted-ca-file", authority.path, "--client-cert-auth")
            self._tls = Tls(authority.path, certificate, key)

    def join(self, peers: "Sequence[EtcdMachine]") -> None:
        """Be in a cluster of these when it starts, itself among them."""
        self._peers = peers

    async def start(self) -> None:
        """Start the process, and return when the machine is well, which takes a quorum of its cluster."""
        cluster = ",".join(f"{each.name}={each.peer_url}" for each in self._peers)
        command: list[str | Path] = [str(ETCD), "--name", self.name, "--data-dir", self.data]
        command += ["--listen-client-urls", self.url, "--advertise-client-urls", self.url]
        command += ["--listen-peer-urls", self.peer_url, "--initial-advertise-peer-urls", self.peer_url]
        if self.discovery is None:
            command += ["--initial-cluster", cluster, "--initial-cluster-token", self.token]
        else:
            command += ["--discovery", self.discovery]
        command += ["--strict-reconfig-check=false", *self._flags]
        self.child = spawn(cast(IReactorProcess, reactor), command, self._directory, {"ETCD_ENABLE_V2": "true"})
        self._test.addCleanup(self.child.stop)
        client = Client(
            self.url, reactor=cast(IReactorTime, reactor), tls=self._tls, timeouts=_BRIEF, refresh_seconds=None
        )
        try:
            await until(lambda: self._is_well(client), f"{self.name} is well")
        finally:
            await client.close()

    async def _is_well(self, client: Client) -> bool | None:
        if self.child.status is not None:
            raise RuntimeError(f"etcd has ended with status {self.child.status}: {self.child.errors}")
        try:
            return await client.health() or None
        except ClientError:
            return None

    async def kill(self) -> None:
        """End the process as a crash would, and return when it has ended."""
        self.child.signal(signal.SIGKILL)
        await self.child.when_ended()

    async def stop(self) -> None:
        """Tell the process to stop, and return when it has ended."""
        self.child.signal(signal.SIGTERM)
        await self.child.when_ended()

    async def start_afresh(self, token: str) -> None:
        """Start it again with nothing in it, as another cluster."""
        shutil.rmtree(self.data)
        self.token = token
        await self.start()


async def start_cluster(test: Scope, size: int, authority: Authority | None = None) -> list[EtcdMachine]:
    """Returns the machines of a cluster that serves."""
    machines = [EtcdMachine(test, f"machine{number}", authority) for number in range(size)]
    for machine in machines:
        machine.join(machines)
    await together(machine.start() for machine in machines)
    return machines
