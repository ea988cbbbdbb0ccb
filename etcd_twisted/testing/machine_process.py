"""
A machine as a real process: C{twistd etcd} on free loopback ports, with its data in a directory of the test.

This module must never leave a process behind when L{MachineProcess.close} is called, nor use a port that others can
reach.
"""

import signal
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from twisted.internet.interfaces import IReactorProcess

from etcd_twisted.testing.child_process import ChildProcess, spawn
from etcd_twisted.testing.ports import free_ports

TWISTD = (sys.executable, str(Path(sysconfig.get_path("scripts")) / "twistd"))
"""The program that runs a machine."""

FOREGROUND = ("-n", "--pidfile=")
"""With these flags, C{twistd} stays the process that was started, logs to its standard output, and writes no file."""

SERVES = "serves clients at"
"""What the log contains when the machine answers requests."""

STANDS_BY = "is a standby"
"""What the log contains when the machine sends its clients to others."""

STOPPED = -signal.SIGTERM
"""The status of a machine that was told to stop and did: C{twistd} raises the signal again at the very end."""


def machine_arguments(
    data: Path, port: int, peer_port: int, name: str | None = None, peer_ports: Sequence[int] = ()
) -> list[str]:
    """
    Returns the arguments of C{twistd etcd} for a machine on the loopback address.

    @param data: the data directory.
    @param name: the name of the machine, or C{None} if it finds one itself.
    @param peer_ports: the peer ports of the machines that it asks to take it in; none if it begins a cluster.
    """
    arguments = ["--data-dir", str(data), "--addr", f"127.0.0.1:{port}", "--peer-addr", f"127.0.0.1:{peer_port}"]
    if name is not None:
        arguments += ["--name", name]
    if peer_ports:
        arguments += ["--peers", ",".join(f"127.0.0.1:{each}" for each in peer_ports)]
    return arguments


class MachineProcess:
    """
    A machine that can be started again and again on the same ports and data directory.

    @ivar name: its name, or C{None} if it finds one itself.
    @ivar directory: where it runs.
    @ivar data: its data directory, made by the machine.
    @ivar port: its client port.
    @ivar peer_port: its peer port.
    @ivar others: the machines that it asks to take it in, when it starts.
    @ivar child: its process, the last one started.
    """

    child: ChildProcess

    def __init__(
        self,
        reactor: IReactorProcess,
        directory: Path,
        name: str | None = None,
        others: "Sequence[MachineProcess]" = (),
    ) -> None:
        """
        @param directory: an empty directory; it is made if it is not there.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.directory = directory.resolve()
        self.data = self.directory / "data"
        self.port, self.peer_port = free_ports(2)
        self.others: list[MachineProcess] = list(others)
        self._reactor = reactor

    @property
    def url(self) -> str:
        """The URL of the client port."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def peer_url(self) -> str:
        """The URL of the peer port."""
        return f"http://127.0.0.1:{self.peer_port}"

    @property
    def is_running(self) -> bool:
        """Whether its process runs."""
        return hasattr(self, "child") and self.child.status is None

    def arguments(self) -> list[str]:
        """Returns the arguments of C{twistd etcd} that it always has."""
        others = [other.peer_port for other in self.others]
        return machine_arguments(self.data, self.port, self.peer_port, self.name, others)

    def launch(
        self, *flags: str | Path, program: tuple[str, ...] = TWISTD, twistd: tuple[str, ...] = FOREGROUND
    ) -> ChildProcess:
        """
        Start the process, and leave it to the caller what becomes of it.

        @param flags: more arguments of C{twistd etcd}.
        @param twistd: the flags of C{twistd} itself.
        """
        self.child = spawn(self._reactor, [*program, *twistd, "etcd", *self.arguments(), *flags], self.directory)
        return self.child

    async def start(self, *flags: str | Path, program: tuple[str, ...] = TWISTD) -> None:
        """Start the process, and return when it serves or stands by."""
        self.launch(*flags, program=program)
        await self.child.when_printed(SERVES, STANDS_BY)

    async def kill(self) -> None:
        """End the process as a crash does, and return when it has ended."""
        self.child.signal(signal.SIGKILL)
        await self.child.when_ended()

    async def terminate(self) -> int:
        """Tell the process to stop, and return its status when it has ended."""
        self.child.signal(signal.SIGTERM)
        return await self.child.when_ended()

    async def close(self) -> None:
        """Kill the process if it runs."""
        if self.is_running:
            await self.kill()
