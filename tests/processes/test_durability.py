"""
Tests that what was acknowledged is there after C{kill -9}, whenever it comes.

C{KILL_ROUNDS} says how often to kill, and C{KILL_SEED} repeats the moments and values of a run that failed, as far as
the timing of real processes can be repeated.
"""

import os
import random
import sys

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.processes import writers
from tests.processes.ledger import Ledger
from tests.processes.machine import STOPPED, TWISTD, Machine

ROUNDS = int(os.environ.get("KILL_ROUNDS", "3"))
SEED = int(os.environ.get("KILL_SEED") or random.SystemRandom().getrandbits(32))

SMALL_SEGMENTS = (sys.executable, "-m", "tests.processes.small_segments", "32768")

PROGRESSES = (150, 600)
"""The least and the most writes to see before a kill."""

LONGEST_DELAY = 0.1
"""How many seconds after the last of these writes a kill may come."""


class KillTests(TestCase):
    """A machine is killed by C{kill -9} under load, over and over in the same directory."""

    timeout = 240 + 60 * ROUNDS

    async def test_kills_lose_nothing_acknowledged(self) -> None:
        """
        Every acknowledged write is there, nothing is there that nobody asked for, and no index comes twice.

        Snapshots are taken all the time. In every other round the log's segments are small, so that the kill may come
        while one is begun or deleted.
        """
        print(f"KILL_SEED={SEED}", file=sys.__stdout__)
        chance = random.Random(SEED)
        machine = Machine(self)
        ledger = Ledger()
        for number in range(ROUNDS):
            await self._round(machine, ledger, chance, TWISTD if number % 2 else SMALL_SEGMENTS)
        await machine.start()
        await ledger.compare(machine.client)
        self.assertEqual(ledger.problems, [], f"KILL_SEED={SEED}")
        self.assertGreater(ledger.told, ROUNDS * PROGRESSES[0])
        self.assertGreater(len(list(machine.data.glob("snapshots/*.snapshot"))), 0)
        oldest = min(int(path.stem) for path in machine.data.glob("log/*.log"))
        self.assertGreater(oldest, 1, "no segment of the log was ever deleted")
        self.assertEqual(await machine.terminate(), STOPPED)

    async def _round(self, machine: Machine, ledger: Ledger, chance: random.Random, program: tuple[str, ...]) -> None:
        await machine.start("--snapshot-count", str(chance.randint(20, 200)), program=program)
        if ledger.keys:
            await ledger.compare(machine.client)
            self.assertEqual(ledger.problems, [], f"KILL_SEED={SEED}")
        reached = ledger.reached(chance.randint(*PROGRESSES))
        writing = writers.write(ledger, machine.client, chance)
        await reached
        await deferLater(reactor, chance.uniform(0, LONGEST_DELAY), lambda: None)
        await machine.kill()
        await writing
