"""
Tests that what a cluster acknowledged is there, whichever of its machines are killed, and whenever.

C{KILL_ROUNDS} says how often to kill, and C{KILL_SEED} repeats the choices of a run that failed, as far as the timing
of real processes can be repeated.
"""

import os
import random
import sys

from twisted.trial.unittest import TestCase

from tests.processes.cluster import Cluster, Member, SteadyWriter, together

ROUNDS = int(os.environ.get("KILL_ROUNDS", "2"))
SEED = int(os.environ.get("KILL_SEED") or random.SystemRandom().getrandbits(32))

WRITERS = 8
HASTY = ("--peer-election-timeout", "200")
"""The default timeout, because elections may happen at any time here."""

PROGRESSES = (5, 40)
"""The least and the most that one writer has acknowledged before the next kill."""


class ClusterKillTests(TestCase):
    """One, two or all of three machines are killed by C{kill -9}, over and over under load."""

    timeout = 240 + 60 * ROUNDS

    async def test_kills_lose_nothing_acknowledged(self) -> None:
        """Snapshots are taken all the time, so that some kills come while one is taken or sent."""
        print(f"KILL_SEED={SEED}", file=sys.__stdout__)
        chance = random.Random(SEED)
        cluster = Cluster(self, 3, "--snapshot-count", "50", *HASTY)
        await cluster.start()
        writers = [SteadyWriter(self, cluster, f"/kills/{number}") for number in range(WRITERS)]
        for _ in range(ROUNDS):
            await self._round(cluster, writers, chance)
        await together(writer.reached(1) for writer in writers)
        await together(writer.stop() for writer in writers)
        keys = await cluster.converge()
        self.assertEqual([writer.lost(keys) for writer in writers], [[]] * WRITERS, f"KILL_SEED={SEED}")
        self.assertGreater(sum(len(writer.acknowledged) for writer in writers), ROUNDS * PROGRESSES[0])

    async def _round(self, cluster: Cluster, writers: list[SteadyWriter], chance: random.Random) -> None:
        await chance.choice(writers).reached(chance.randint(*PROGRESSES))
        victims = await self._victims(cluster, chance)
        await cluster.kill(*victims)
        if 2 * len(victims) < len(cluster.machines):
            await chance.choice(writers).reached(chance.randint(*PROGRESSES))
        await together(victim.start() for victim in victims)

    async def _victims(self, cluster: Cluster, chance: random.Random) -> list[Member]:
        """Returns the leader, or some machines."""
        if chance.random() < 0.5:
            return [await cluster.leader()]
        return chance.sample(cluster.machines, chance.randint(1, len(cluster.machines)))
