"""
Tests of restored copies of data directories: what the page about backups promises of a whole cluster.
"""

import shutil

from twisted.trial.unittest import TestCase

from tests.processes.cluster import Cluster, together
from tests.processes.machine import STOPPED


class WholeClusterTests(TestCase):
    """The directories of all machines are copied while none of them runs."""

    timeout = 240

    async def test_majority_is_restored(self) -> None:
        """
        Two of three directories are restored, and what was done since the copy is lost. The third machine has an empty
        directory.
        """
        cluster = Cluster(self, 3)
        await cluster.start()
        await cluster.put("/before", "kept")
        statuses = await together(machine.terminate() for machine in cluster.machines)
        self.assertEqual(set(statuses), {STOPPED})
        for machine in cluster.machines:
            shutil.copytree(machine.data, machine.directory / "backup")

        await together(machine.start() for machine in cluster.machines)
        await cluster.put("/after", "a mistake")
        await together(machine.terminate() for machine in cluster.machines)

        *restored, empty = cluster.machines
        for machine in cluster.machines:
            shutil.rmtree(machine.data)
        for machine in restored:
            (machine.directory / "backup").rename(machine.data)
        await together(machine.start() for machine in restored)
        await cluster.put("/again", "written")
        await empty.start()
        await cluster.agree(cluster.machines)
        keys = {key: value for key, (value, _) in (await cluster.converge()).items() if not key.startswith("/_")}
        self.assertEqual(keys, {"/before": "kept", "/again": "written"})

    async def test_one_of_three_waits_for_a_majority(self) -> None:
        """A machine whose directory alone is restored waits for a majority, and serves nobody."""
        cluster = Cluster(self, 3)
        await cluster.start()
        machine = cluster.machines[0]
        await together(each.terminate() for each in cluster.machines)
        child = machine.launch()
        await child.when_printed("Can't connect to ")
        client = machine.connect(machine.url)
        answer = await client.put("/alone", value="x")
        self.assertEqual((answer.status, answer.json()["errorCode"]), (500, 300))
        self.assertNotIn("serves clients at", child.output)
