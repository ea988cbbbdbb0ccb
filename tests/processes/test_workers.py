"""
Tests of a machine with workers: the common case; tests.multiprocess has the others.
"""

from twisted.trial.unittest import TestCase

from tests.processes.machine import STOPPED, Machine
from tests.processes.workers import kill_worker, runs, worker_pids


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
