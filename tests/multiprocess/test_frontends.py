"""
A frontend that runs in each worker.
"""

from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.trial.unittest import TestCase

from etcd_twisted.testing.ports import free_ports
from tests.processes.child import spawn
from tests.processes.machine import FOREGROUND, SERVES, STOPPED, TWISTD, Machine
from tests.processes.workers import worker_pids

PLUGIN = """
import os

from twisted.application.service import Service
from twisted.internet.defer import ensureDeferred
from twisted.internet.protocol import Factory, Protocol
from twisted.plugin import IPlugin
from zope.interface import implementer

from etcd_twisted.config import Endpoint
from etcd_twisted.errors import EtcdError
from etcd_twisted.frontends import IWorkerFrontend
from etcd_twisted.net import ListenAddress, listen


class Answer(Protocol):
    def connectionMade(self):
        try:
            value = self.factory.replica.get("/a").value
        except EtcdError as error:
            value = str(error)
        self.transport.write(f"{os.getpid()} {value}".encode())
        self.transport.loseConnection()


class Server(Service):
    def __init__(self, reactor, address, replica):
        self.reactor, self.address = reactor, address
        self.factory = Factory.forProtocol(Answer)
        self.factory.replica = replica

    def startService(self):
        super().startService()
        return ensureDeferred(self.listen())

    async def listen(self):
        self.port = await listen(self.reactor, self.address, self.factory)

    def stopService(self):
        super().stopService()
        return self.port.stopListening()


@implementer(IPlugin, IWorkerFrontend)
class Frontend:
    name = "value"

    def service(self, reactor, config, options, replica):
        return Server(reactor, ListenAddress(Endpoint(options["on"]), "on", "on"), replica)


frontend = Frontend()
"""


class Received(Protocol):
    """Collects what comes until the end."""

    def __init__(self) -> None:
        self.data = b""
        self.ended: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, _reason: object = None) -> None:
        self.ended.callback(self.data)


class FrontendTests(TestCase):
    """A plug-in that provides IWorkerFrontend."""

    timeout = 240

    async def test_frontend_runs_in_each_worker(self) -> None:
        """All workers listen at its port, each serves its own copy, and the consensus process does not."""
        machine = Machine(self, "machine0")
        plugins = machine.directory / "path" / "twisted" / "plugins"
        plugins.mkdir(parents=True)
        (plugins / "value_plugin.py").write_text(PLUGIN)
        (port,) = free_ports(1)
        frontend = f"value:on=tcp\\:{port}\\:interface=127.0.0.1"
        flags = ("--workers", "2", "--frontend", frontend)
        command = [*TWISTD, *FOREGROUND, "etcd", *machine.arguments(), *flags]
        environment = {"PYTHONPATH": str(Path(plugins).parent.parent)}
        machine.child = spawn(self, command, machine.directory, environment)
        await machine.child.when_printed(SERVES)
        await machine.connect(machine.url).put("/a", value="here")
        workers = set(worker_pids(machine).values())
        answered: set[int] = set()
        for _ in range(200):
            received = await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), Received())
            pid, value = (await received.ended).decode().split(" ", 1)
            self.assertIn(int(pid), workers)
            if value == "here":
                answered.add(int(pid))
            if answered == workers:
                break
        self.assertEqual(answered, workers)
        self.assertEqual(await machine.terminate(), STOPPED)
