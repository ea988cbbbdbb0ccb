"""
Tests of what a machine's log says when the others die, and when they are back.
"""

from twisted.trial.unittest import TestCase

from tests.processes.cluster import Cluster


class QuorumLogTests(TestCase):
    """Two of three processes are killed."""

    timeout = 240

    async def test_loss_of_the_majority_is_logged(self) -> None:
        """
        The machine that is left logs at once which machines are missing and what that means, and later that it is
        over.
        """
        cluster = Cluster(self, 3)
        await cluster.start()
        left, *others = await cluster.followers()
        others.append(await cluster.leader())
        for machine in others:
            await cluster.kill(machine)
        meaning = "1 of 3 machines answers; 2 are needed; writes are refused; missing: "
        await left.child.when_printed(f"There is no majority: {meaning}")
        said = left.child.output
        (warning,) = [line for line in said.splitlines() if "There is no majority" in line]
        for machine in others:
            self.assertIn(f"missing: {machine.name} ({machine.peer_url}) since 20", warning)
            self.assertIn(f"{machine.name} ({machine.peer_url}) is not connected any more: ", said)
        self.assertNotIn("closed cleanly", said)
        await others[0].start()
        await left.child.when_printed("The cluster has a leader again after ")
        await left.child.when_printed(f"Connected to {others[0].name} ({others[0].peer_url}) again, after ")
