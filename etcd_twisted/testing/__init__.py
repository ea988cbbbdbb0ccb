"""
Stand-ins, machines and clusters for tests, of this project and of programs that use it: see C{docs/testing.md}.

Nothing here is needed to run a machine, and nothing else in the package imports it. This package must never need trial
or any other test framework: a test that uses this may be written for any of them.
"""

from etcd_twisted.testing.loopback import LoopbackCluster, LoopbackMachine
from etcd_twisted.testing.machine_process import MachineProcess
from etcd_twisted.testing.memory_machine import MemoryMachine
from etcd_twisted.testing.ports import free_ports
from etcd_twisted.testing.replica import FakeReplica
from etcd_twisted.testing.simulation.cluster import SimulatedCluster
from etcd_twisted.testing.simulation.machine import MachineFailedError, SimulatedMachine
from etcd_twisted.testing.simulation.network import Weather
from etcd_twisted.testing.simulation.settings import Settings
from etcd_twisted.testing.stub_agent import (
    REFUSED,
    Hang,
    NoConnection,
    Outcome,
    Reply,
    Sent,
    StubAgent,
    StubResponse,
)

__all__ = [
    "REFUSED",
    "FakeReplica",
    "Hang",
    "LoopbackCluster",
    "LoopbackMachine",
    "MachineFailedError",
    "MachineProcess",
    "MemoryMachine",
    "NoConnection",
    "Outcome",
    "Reply",
    "Sent",
    "Settings",
    "SimulatedCluster",
    "SimulatedMachine",
    "StubAgent",
    "StubResponse",
    "Weather",
    "free_ports",
]
