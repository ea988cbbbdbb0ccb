"""
A whole machine against the recorded answers: log, disk and expiry too.
"""

from tests.conformance.cases import ConformanceTest, with_scenarios
from tests.processes.machine import Machine


@with_scenarios
class SingleMachineTests(ConformanceTest):
    """A cluster of one."""

    async def served(self) -> str:
        """A machine with a data directory of its own."""
        machine = Machine(self)
        await machine.embed()
        return machine.url
