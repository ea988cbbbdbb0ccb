"""
A whole machine answers as recorded, with its log, disk and expiry.
"""

from tests.conformance.cases import ConformanceTest, with_scenarios
from tests.processes.machine import Machine


@with_scenarios
class SingleMachineTests(ConformanceTest):
    """The server is a cluster of one."""

    async def served(self) -> str:
        """Starts a machine with a data directory of its own."""
        machine = Machine(self)
        await machine.embed()
        return machine.url
