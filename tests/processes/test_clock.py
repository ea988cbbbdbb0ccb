"""
The system's clock is set back while a machine serves.
"""

import os
import signal
import sys

from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import TestCase

from tests.processes.clock_set_back import DONE, READY
from tests.processes.machine import STOPPED, Machine


class SetBackTests(TestCase):
    """Nobody waits for the clock to make up for it."""

    timeout = 240

    async def test_setBack(self) -> None:
        """Writes are answered, who waits is told, and a key that is written afterwards expires."""
        machine = Machine(self)
        await machine.start(program=(sys.executable, "-m", "tests.processes.clock_set_back"))
        told = ensureDeferred(machine.client.get("/a", "?wait=true"))
        await machine.when_watched(1)
        os.kill(machine.child.pid, signal.SIGUSR1)
        await machine.child.said(READY)
        written = await machine.client.put("/a", value="x")
        self.assertEqual((written.status, (await told).json()), (201, written.json()))
        await machine.child.said(DONE)
        written = await machine.client.put("/a", value="y", ttl="1")
        self.assertEqual(written.json()["node"]["ttl"], 1)
        expired = await machine.client.get("/a", f"?wait=true&waitIndex={written.index + 1}")
        self.assertEqual(expired.json()["action"], "expire")
        self.assertEqual(await machine.terminate(), STOPPED)
