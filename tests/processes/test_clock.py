"""
Tests of a system clock that is set back while a machine serves, and of machines whose clocks differ.
"""

import os
import signal
import sys

from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import TestCase

from tests.processes.clock_ahead import AHEAD
from tests.processes.clock_set_back import DONE, READY
from tests.processes.cluster import Cluster, Member, until
from tests.processes.machine import STOPPED, Machine


class SetBackTests(TestCase):
    """Nothing waits for the clock to catch up."""

    timeout = 240

    async def test_machine_serves_while_the_clock_is_set_back(self) -> None:
        """Writes are answered, watchers see events, and a key that is written afterwards expires."""
        machine = Machine(self)
        await machine.start(program=(sys.executable, "-m", "tests.processes.clock_set_back"))
        told = ensureDeferred(machine.client.get("/a", "?wait=true"))
        await machine.when_watched(1)
        os.kill(machine.child.pid, signal.SIGUSR1)
        await machine.child.when_printed(READY)
        written = await machine.client.put("/a", value="x")
        self.assertEqual((written.status, (await told).json()), (201, written.json()))
        await machine.child.when_printed(DONE)
        written = await machine.client.put("/a", value="y", ttl="1")
        self.assertEqual(written.json()["node"]["ttl"], 1)
        expired = await machine.client.get("/a", f"?wait=true&waitIndex={written.index + 1}")
        self.assertEqual(expired.json()["action"], "expire")
        self.assertEqual(await machine.terminate(), STOPPED)


AHEAD_PROGRAM = (sys.executable, "-m", "tests.processes.clock_ahead")


class DifferentClocksTests(TestCase):
    """Two machines of three have clocks that are an hour ahead."""

    timeout = 240

    async def _clock_ahead(self, machine: Member, other: Member) -> float | None:
        """Returns how far ahead the clock of another machine is, according to one; C{None} while that is unknown."""
        page = (await machine.client.request("GET", "/metrics")).body.decode()
        name = f'etcd_twisted_machine_clock_ahead_seconds{{machine="{other.name}"}} '
        return next((float(line[len(name) :]) for line in page.splitlines() if line.startswith(name)), None)

    async def test_clocks_that_are_an_hour_ahead_change_no_ttl(self) -> None:
        """
        Each machine knows how far the others are ahead, and warns. When one that is ahead takes the lead, a key keeps
        its TTL and ends in time, and the machines that are left know that the first one is gone.
        """
        cluster = Cluster(self, 3)
        first, *others = cluster.machines
        await first.start()
        for machine in others:
            machine.others = [first]
            await machine.start(program=AHEAD_PROGRAM)
        await cluster.agree(cluster.machines)
        for machine in others:
            await until(lambda machine=machine: self._clock_ahead(machine, first), f"{machine.name} has asked")
            ahead = await until(lambda machine=machine: self._clock_ahead(first, machine), "it has asked")
            self.assertApproximates(ahead, AHEAD, 30)
        await first.child.when_printed("ahead of this machine's. Have NTP keep")
        written = await first.user.put("/short", value="x", ttl="5")
        await first.user.put("/long", value="x", ttl="600")
        await first.kill()
        leader = await cluster.leader()
        self.assertIn(leader, others)
        left = (await leader.user.get("/long", "?quorum=true")).json()["node"]["ttl"]
        self.assertTrue(500 < left <= 600, left)
        expired = await leader.client.get("/short", f"?wait=true&waitIndex={written.index + 1}")
        self.assertEqual(expired.json()["action"], "expire")

        async def missed() -> bool | None:
            return True if await self._clock_ahead(leader, first) is None else None

        await until(missed, f"{first.name} is missed")
