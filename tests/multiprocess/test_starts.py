"""
Starts of machines with workers, beside others and after a crash.
"""

from twisted.trial.unittest import TestCase

from tests.processes.machine import Machine
from tests.processes.workers import until_ended, worker_pids


class StartTests(TestCase):
    """The machines have workers."""

    timeout = 240

    async def test_workers_end_with_their_machine(self) -> None:
        """When the consensus process is killed, nobody listens any more; it can start again at once."""
        machine = Machine(self, "machine0")
        await machine.start("--workers", "2")
        await machine.client.put("/a", value="1")
        pids = worker_pids(machine).values()
        await machine.kill()
        await until_ended(*pids)
        await machine.start("--workers", "2")
        self.assertEqual((await machine.client.get("/a")).json()["node"]["value"], "1")

    async def test_address_of_another_machine_is_refused(self) -> None:
        """Two machines never share an address, though their workers do."""
        machine, second = Machine(self, "machine0"), Machine(self, "machine1")
        await machine.start("--workers", "1")
        second.port = machine.port
        child = second.launch("--workers", "1")
        self.assertEqual(await child.when_ended(), 1)
        self.assertIn(f"--addr 127.0.0.1:{machine.port} can't be listened on: another program uses it", child.errors)
        self.assertEqual(len(child.errors.splitlines()), 1, child.errors)
