"""
A program that embeds a machine with workers: this one.
"""

import sys
from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from etcd_twisted.errors import ConfigError, StartError
from etcd_twisted.service import EtcdService
from etcd_twisted.testing.loopback import LoopbackMachine
from tests.processes.machine import Machine


class EmbeddedTests(TestCase):
    """The machine is in this process, and its workers are not."""

    timeout = 240

    def machine(self, **settings: object) -> LoopbackMachine:
        machine = LoopbackMachine(reactor, Path(self.mktemp()), "machine0", (), {"workers": 1, **settings})
        self.addCleanup(machine.stop)
        return machine

    async def test_program_and_network_see_the_same_keys(self) -> None:
        """The program's own client needs no worker, and both see each other's changes. Nothing is left in the end."""
        machine = self.machine()
        await machine.start()
        assert machine.service is not None
        own = machine.service.client()
        await own.set("/a", "1")
        client = Machine(self).connect(machine.url)
        self.assertEqual((await client.get("/a", "?quorum=true")).json()["node"]["value"], "1")
        await client.put("/b", value="2")
        self.assertEqual((await own.get("/b")).value, "2")
        await machine.stop()
        self.assertFalse([each for each in reactor.getReaders() if "Relay" in type(each).__name__])

    async def test_start_fails_when_no_worker_can_be_started(self) -> None:
        """The reason is in the error, and nothing is left open."""
        self.patch(sys, "executable", "/bin/false")
        machine = self.machine()
        service = EtcdService(reactor, machine.config, lambda _: None)
        service.startService()
        error = await self.assertFailure(service.started, StartError)
        await service.stopService()
        self.assertEqual(str(error), "--workers 1: a worker can't be started: it ended with status 1")

    def test_endpoint_that_cannot_be_shared_is_refused(self) -> None:
        """Before anything is opened."""
        machine = self.machine(bind_addr="ssl:4001:interface=127.0.0.1")
        error = self.assertRaises(ConfigError, EtcdService, reactor, machine.config, lambda _: None)
        self.assertIn("workers can't share it", str(error))
