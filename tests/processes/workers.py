"""
What tests of machines with workers know of these: their processes, by what the machine's log says.
"""

import os
import re
import signal

from tests.processes.cluster import until
from tests.processes.machine import Machine

_SERVES = re.compile(r"Worker ([0-9]+) serves clients, in process ([0-9]+)")


def worker_pids(machine: Machine) -> dict[int, int]:
    """Returns the processes of the workers that served last, by number."""
    return {int(number): int(pid) for number, pid in _SERVES.findall(machine.child.output)}


def runs(pid: int) -> bool:
    """Returns whether a process runs. One that has ended and is not waited for does not."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def until_ended(*pids: int) -> None:
    """Waits until none of these processes runs."""

    async def ended() -> bool | None:
        return None if any(map(runs, pids)) else True

    await until(ended, f"the processes {pids} have ended")


async def kill_worker(machine: Machine, number: int) -> int:
    """Kills a worker, and waits until it serves again. Returns its new process."""
    killed = worker_pids(machine)[number]
    os.kill(killed, signal.SIGKILL)

    async def back() -> int | None:
        pid = worker_pids(machine)[number]
        return None if pid == killed else pid

    return await until(back, f"worker {number} serves again")
