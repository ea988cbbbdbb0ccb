"""
Tests of a machine with workers: the common case; tests.multiprocess has the others.
"""

from twisted.trial.unittest import TestCase

from tests.processes.machine import STOPPED, Machine
from tests.processes.workers import kill_worker, runs, until_ended, worker_pids


class WorkersTests(TestCase):
    """A machine with two workers."""

    timeout = 240

    async def test_life_of_a_machine_with_workers(self) -> None:
        """
        Workers serve keys, and relay all else. One that is killed comes back alone, and all end with the machine.
        """
        machine = Machine(self, "machine0")
        await machine.start("--workers", "2")
        before = worker_pids(machine)
        self.assertEqual(sorted(before), [1, 2])
        answer = await machine.client.put("/a", value="1")
        self.assertEqual((answer.status, answer.json()["node"]["value"]), (201, "1"))
        self.assertEqual((await machine.client.get("/a", "?quorum=true")).json()["node"]["value"], "1")
        members = (await machine.client.request("GET", "/v2/members")).json()["members"]
        self.assertEqual([each["name"] for each in members], ["machine0"])
        metrics = (await machine.client.request("GET", "/metrics")).body.decode()
        self.assertIn('etcd_twisted_http_requests_total{code="2xx",method="PUT"} 1.0', metrics)
        for number in before:
            self.assertIn(f'etcd_twisted_worker_cpu_seconds_total{{worker="{number}"}}', metrics)
        again = await kill_worker(machine, 1)
        self.assertEqual(worker_pids(machine), {**before, 1: again})
        self.assertIn("Worker 1 has ended with signal 9", machine.child.output)
        fresh = machine.connect(machine.url)
        self.assertEqual((await fresh.get("/a", "?quorum=true")).json()["node"]["value"], "1")
        self.assertEqual(await machine.terminate(), STOPPED)
        self.assertFalse(any(map(runs, worker_pids(machine).values())))

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
