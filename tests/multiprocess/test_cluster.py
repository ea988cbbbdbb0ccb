"""
Three machines with workers each.
"""

from twisted.trial.unittest import TestCase

from tests.multiprocess.writers import QueueWriters
from tests.processes.cluster import Cluster
from tests.processes.machine import STOPPED


class ClusterTests(TestCase):
    """Each machine has two workers."""

    timeout = 480

    async def test_leader_is_killed_and_machines_are_restarted_in_turn(self) -> None:
        """
        No acknowledged write is lost or doubled when the leader is killed under writers, nor when one machine after
        the other is restarted.
        """
        cluster = Cluster(self, 3, "--workers", "2")
        await cluster.start()
        leader = await cluster.leader()
        writers = QueueWriters(self, [each.url for each in await cluster.followers()], 12)
        await writers.progress()
        await leader.kill()
        await writers.progress()
        await leader.start()
        await cluster.agree(cluster.machines)
        await writers.stop()
        await writers.compare(leader.client)
        again = QueueWriters(self, [leader.url], 4)
        await again.progress()
        for machine in cluster.machines:
            self.assertEqual(await machine.terminate(), STOPPED)
            await machine.start()
            await cluster.agree(cluster.machines)
        await again.progress()
        await again.stop()
        keys = await cluster.converge()
        indexes = dict(keys.values())
        done = {item for each in (writers, again) for writer in each.writers for item in writer.done.items()}
        self.assertEqual(done - set(indexes.items()), set())
