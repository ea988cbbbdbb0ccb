"""
One machine as a process that ends with its test: C{twistd etcd} of this source tree.
"""

from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from etcd_twisted.testing.child_process import ChildProcess
from etcd_twisted.testing.loopback import LoopbackMachine
from etcd_twisted.testing.machine_process import (
    FOREGROUND,
    SERVES,
    STANDS_BY,
    STOPPED,
    TWISTD,
    MachineProcess,
)
from tests.processes.client import Client

__all__ = ["FOREGROUND", "SERVES", "STANDS_BY", "STOPPED", "TWISTD", "Machine"]


class Machine(MachineProcess):
    """
    A machine of a test, whose cleanup ends every process that was started.

    @ivar pid_file: where its process id is, if C{twistd} is told so.
    @ivar client: a client of the client port, since the last start.
    """

    client: Client

    def __init__(self, test: TestCase, name: str | None = None) -> None:
        super().__init__(reactor, Path(test.mktemp()), name)
        self.pid_file = self.directory / "machine.pid"
        self._test = test

    def launch(
        self, *flags: str | Path, program: tuple[str, ...] = TWISTD, twistd: tuple[str, ...] = FOREGROUND
    ) -> ChildProcess:
        """See L{MachineProcess.launch}."""
        child = super().launch(*flags, program=program, twistd=twistd)
        self._test.addCleanup(child.stop)
        return child

    async def start(self, *flags: str | Path, program: tuple[str, ...] = TWISTD) -> None:
        """See L{MachineProcess.start}."""
        await super().start(*flags, program=program)
        self.client = self.connect(self.url)

    async def embed(self, **settings: Any) -> None:
        """
        Serves within this process, as a program that embeds the service does, until the test ends. This takes a small
        part of the time that starting a process takes.

        @param settings: fields of the L{Config}.
        """
        ports = {"addr": f"127.0.0.1:{self.port}", "peer_addr": f"127.0.0.1:{self.peer_port}"}
        machine = LoopbackMachine(reactor, self.data, "machine0", (), ports | settings)
        self._test.addCleanup(machine.stop)
        await machine.start()
        self.client = self.connect(self.url)

    def connect(self, url: str) -> Client:
        """Returns a client that the end of the test closes."""
        client = Client(url)
        self._test.addCleanup(client.close)
        return client

    async def when_watched(self, watchers: int) -> None:
        """Waits until exactly that many watchers wait for events, by polling, because nothing reports that."""
        for _ in range(6_000):
            statistics = (await self.client.request("GET", "/v2/stats/store")).json()
            if statistics["watchers"] == watchers:
                return
            await deferLater(reactor, 0.01, lambda: None)
        raise AssertionError(f"{watchers} watchers did not come: {statistics}")
