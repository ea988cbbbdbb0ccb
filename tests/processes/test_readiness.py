"""
Tests of what a machine sends to the service manager that started it, and when.
"""

from twisted.trial.unittest import TestCase

from tests.processes.child import ChildProcess, spawn
from tests.processes.machine import FOREGROUND, SERVES, STOPPED, TWISTD, Machine
from tests.processes.manager import Manager


class ReadinessTests(TestCase):
    timeout = 240

    def launch(self, machine: Machine, manager: Manager, *flags: str) -> ChildProcess:
        command = [*TWISTD, *FOREGROUND, "etcd", *machine.arguments(), *flags]
        machine.child = spawn(self, command, machine.directory, {"NOTIFY_SOCKET": manager.address})
        return machine.child

    async def test_machine_is_ready_once_and_stops_once(self) -> None:
        """
        The machine is ready once, when it serves, and stops once; the manager may listen at a path or an abstract
        name.
        """
        for abstract in (False, True):
            machine, manager = Machine(self), Manager(self, abstract)
            ready, stopping = manager.when_told("READY"), manager.when_told("STOPPING")
            self.launch(machine, manager, "--name", "machine0")
            self.assertEqual(await ready, f"machine0 serves {machine.url}")
            self.assertEqual((await machine.connect(machine.url).put("/message", value="x")).status, 201)
            self.assertEqual(await machine.terminate(), STOPPED)
            await stopping
            self.assertEqual(manager.states(), ["READY", "STOPPING"])
            self.assertIn("does not serve yet", manager.told[0]["STATUS"])

    async def test_machine_is_not_ready_before_it_serves(self) -> None:
        """One of two machines waits for the other, although it listens and answers that it has no leader."""
        machines = [Machine(self), Machine(self)]
        await machines[0].start("--name", "machine0")
        await machines[1].start("--name", "machine1", "--peers", f"127.0.0.1:{machines[0].peer_port}")
        for machine in machines:
            await machine.kill()
        manager = Manager(self)
        ready = manager.when_told("READY")
        self.launch(machines[0], manager)
        await machines[0].child.when_printed(f"starting on {machines[0].port}")
        answer = await machines[0].connect(machines[0].url).request("GET", "/health")
        self.assertEqual((answer.status, manager.states()), (503, []))
        self.assertNotIn(SERVES, machines[0].child.output)
        await machines[1].start()
        await ready
        await machines[0].child.when_printed(SERVES)

    async def test_refused_start_sends_the_reason(self) -> None:
        """The machine is never ready, and the manager gets the reason."""
        machine, other, manager = Machine(self), Machine(self), Manager(self)
        await other.start()
        machine.data = other.data
        refused = self.launch(machine, manager)
        self.assertEqual(await refused.when_ended(), 1)
        while len(manager.told) < 2:  # what it has sent is there, but may not have been read yet
            await manager.when_told("STATUS")
        self.assertEqual(manager.states(), [])
        self.assertEqual(f"twistd etcd: {manager.told[-1]['STATUS']}\n", refused.errors)
        self.assertIn("is in use by process", refused.errors)
