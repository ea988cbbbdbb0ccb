"""
One machine as a process: C{twistd etcd} of this source tree, on free loopback ports and in a directory of the test.
"""

import signal
import sys
import sysconfig
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from etcd_twisted.config import Config
from etcd_twisted.config.addresses import Address
from etcd_twisted.service import EtcdService
from etcd_twisted.testing.ports import free_ports
from tests.processes.child import Child, spawn
from tests.processes.client import Client

TWISTD = (sys.executable, str(Path(sysconfig.get_path("scripts")) / "twistd"))
"""The program as it is."""

FOREGROUND = ("-n", "--pidfile=")
"""C{twistd} stays what was started, logs to its standard output, and leaves no file about itself."""

SERVES = "serves clients at"
"""What the log says when requests are answered."""

STANDS_BY = "is a standby"
"""What it says when others answer them."""

STOPPED = -signal.SIGTERM
"""The status of a machine that was asked to end and did: C{twistd} raises the signal again when all is done."""


class Machine:
    """
    A machine that can be started again and again with the same ports and data directory.

    @ivar directory: where it runs.
    @ivar data: its data directory, made by the machine.
    @ivar pid_file: where its process id is, if C{twistd} is told so.
    @ivar child: its process, the last one started.
    @ivar client: talks to the client port, since the last start.
    """

    child: Child
    client: Client

    def __init__(self, test: TestCase) -> None:
        """
        @param test: its cleanup ends whatever was started.
        """
        self.directory = Path(test.mktemp()).resolve()
        self.directory.mkdir(parents=True)
        self.data = self.directory / "data"
        self.pid_file = self.directory / "machine.pid"
        self.port, self.peer_port = free_ports(2)
        self._test = test

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def peer_url(self) -> str:
        """Where administrators find it."""
        return f"http://127.0.0.1:{self.peer_port}"

    def arguments(self) -> list[str]:
        """The flags that it always has."""
        return [
            *("--data-dir", str(self.data)),
            *("--addr", f"127.0.0.1:{self.port}", "--peer-addr", f"127.0.0.1:{self.peer_port}"),
        ]

    def launch(
        self, *flags: str | Path, program: tuple[str, ...] = TWISTD, twistd: tuple[str, ...] = FOREGROUND
    ) -> Child:
        """
        Start the process, and leave it to the caller what becomes of it.

        @param twistd: the flags of C{twistd} itself.
        """
        command = [*program, *twistd, "etcd", *self.arguments(), *flags]
        self.child = spawn(self._test, command, self.directory)
        return self.child

    async def start(self, *flags: str | Path, program: tuple[str, ...] = TWISTD) -> None:
        """Start the process, and wait until it serves, or stands by."""
        self.launch(*flags, program=program)
        await self.child.said(SERVES, STANDS_BY)
        self.client = self.connect(self.url)

    async def embed(self, **settings: Any) -> None:
        """
        Serve within this process, as in a program that embeds the service, until the test ends. That starts in a small
        part of the time that a process takes.

        @param settings: fields of the L{Config}.
        """
        config = Config(
            name="machine0",
            data_dir=self.data,
            addr=Address("127.0.0.1", self.port),
            peer_addr=Address("127.0.0.1", self.peer_port),
            **settings,
        )
        service = EtcdService(reactor, config, self._test.fail)
        self._test.addCleanup(service.stopService)
        service.startService()
        await service.started
        self.client = self.connect(self.url)

    def connect(self, url: str) -> Client:
        """A client that the end of the test closes."""
        client = Client(url)
        self._test.addCleanup(client.close)
        return client

    async def when_watched(self, watchers: int) -> None:
        """Return when exactly so many wait for events; nobody is told of that, so it is asked for until it is so."""
        for _ in range(6_000):
            statistics = (await self.client.request("GET", "/v2/stats/store")).json()
            if statistics["watchers"] == watchers:
                return
            await deferLater(reactor, 0.01, lambda: None)
        raise AssertionError(f"{watchers} watchers did not come: {statistics}")

    async def kill(self) -> None:
        """End the process as a crash would."""
        self.child.signal(signal.SIGKILL)
        await self.child.ended()

    async def terminate(self) -> int:
        """Ask the process to end; its status."""
        self.child.signal(signal.SIGTERM)
        return await self.child.ended()
