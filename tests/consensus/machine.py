"""
A replica on a fake clock, whose disk is real but whose syncs happen when the test says so.

It is not a simulated machine of L{etcd_twisted.testing}: it is alone, and its tests look at what is done and not done
between two jobs of the disk and two turns of the reactor, while no time passes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from etcd_twisted.consensus.participation import Participation
from etcd_twisted.consensus.proposals.quota import QUOTA_BYTES
from etcd_twisted.consensus.raft.entries import Member
from etcd_twisted.consensus.recovery import come_back, found_cluster, recover
from etcd_twisted.consensus.settings import ReplicaSettings
from etcd_twisted.consensus.storage.data_directory import Identity
from etcd_twisted.consensus.storage.storage import Storage
from etcd_twisted.interfaces import ISnapshotFile, ITransport
from etcd_twisted.interfaces.cluster import Machine, StatusReport
from etcd_twisted.keyspace.commands import Set
from etcd_twisted.keyspace.nodes import File
from etcd_twisted.testing.simulation.disk_threads import ManualDiskThread
from etcd_twisted.testing.simulation.machine import EPOCH

MACHINE = Machine("machine0", "http://127.0.0.1:4001", "http://127.0.0.1:7001")
MEMBER = Member(MACHINE.name, MACHINE.client_url, MACHINE.peer_url)
IDENTITY = Identity("machine0", "0" * 16, "1" * 16)

SECOND = 1_000_000
"""In microseconds, as the key space counts them."""


@implementer(ITransport)
class NobodyElse:
    """The transport of a machine that is alone."""

    def connect(self, peers: Mapping[str, str]) -> None:
        assert not peers

    def send(self, machine_id: str, payload: bytes) -> bool:  # noqa: ARG002  # nothing is sent
        raise AssertionError(f"there is no {machine_id}")

    send_ahead = send

    def send_snapshot(self, machine_id: str, file: ISnapshotFile) -> "Deferred[None]":  # noqa: ARG002
        raise AssertionError(f"there is no {machine_id}")

    def forward(self, machine_id: str, request: bytes) -> "Deferred[bytes]":  # noqa: ARG002
        raise AssertionError(f"there is no {machine_id}")

    def ask_status(self, machine_id: str) -> "Deferred[StatusReport | None]":
        raise AssertionError(f"there is no {machine_id}")


class TestMachine:
    """
    One machine in one directory, started.

    @ivar clock: for its timers.
    @ivar wall_ahead: how many seconds the time by which keys expire is ahead of that.
    """

    __test__ = False

    def __init__(
        self,
        path: Path,
        snapshot_count: int | None = None,
        history: int = 1_000,
        clock: Clock | None = None,
        name: str | None = "machine0",
        quota_bytes: int = QUOTA_BYTES,
        **limits: Any,
    ) -> None:
        """
        @param limits: further fields of L{ReplicaSettings}.
        """
        self.name = name
        self.clock = clock or Clock()
        if clock is None:
            self.clock.advance(EPOCH)
        self.disk_thread = ManualDiskThread()
        self.fatal: list[str] = []
        self.wall_ahead = 0.0
        settings = ReplicaSettings(history, snapshot_count=snapshot_count, quota_bytes=quota_bytes, **limits)
        self.participation = Participation(self.clock, self.wall_clock, settings)
        self.replica = self.participation.replica
        self.participation.on_failure.append(self.fatal.append)
        self.storage = Storage.open(path, "--data-dir")
        self.started = ensureDeferred(self._start())
        self.started.addErrback(self._close_after_failure)

    def wall_clock(self) -> float:
        """The time by which keys expire."""
        return self.clock.seconds() + self.wall_ahead

    def _close_after_failure(self, failure: Failure) -> Failure:
        self.storage.close()
        return failure

    async def _start(self) -> None:
        recovered = await recover(self.storage, self.replica.keyspace, self.name, self.participation.turn)
        if recovered.identity is None:
            found_cluster(self.storage, recovered, IDENTITY, MEMBER)
        else:
            come_back(self.storage, recovered)
        self.participation.start(MACHINE, self.storage, self.disk_thread, recovered, NobodyElse())

    def settle(self) -> None:
        """Let everything happen that can happen without time going by."""
        while (self.clock.calls and self.clock.calls[0].getTime() <= self.clock.seconds()) or self.disk_thread.jobs:
            self.clock.advance(0)
            if self.disk_thread.jobs:
                self.disk_thread.run_one()

    def set(self, key: str, value: str = "", expires: int | None = None) -> "Deferred[Any]":
        return self.replica.propose(Set(key, self.replica.now(), value, False, expires))

    def stop(self) -> None:
        """Stop in order."""
        stopped = ensureDeferred(self.participation.stop())
        self.settle()
        assert stopped.called
        stopped.addErrback(lambda failure: failure.raiseException())
        self.storage.close()

    def crash(self) -> None:
        """Stop as a killed process does: what was not synced is lost, nothing is tidied up."""
        self.disk_thread.jobs.clear()
        self.storage.close()


class ReplicaTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def machine(
        self, snapshot_count: int | None = None, history: int = 1_000, quota_bytes: int = QUOTA_BYTES, **limits: Any
    ) -> TestMachine:
        machine = TestMachine(self.path, snapshot_count, history, quota_bytes=quota_bytes, **limits)
        machine.settle()
        self.successResultOf(machine.started)
        return machine

    def value(self, machine: TestMachine, key: str) -> str:
        node = machine.replica.get(key)
        assert isinstance(node, File)
        return node.value
