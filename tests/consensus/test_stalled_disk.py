"""
Tests of a disk that stalls: whatever needs no sync goes on meanwhile.

The simulated clock shows what comes before the disk goes on. With a real disk thread, a reactor that waited for the
disk would never let it go on.
"""

import os
import threading
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.trial.unittest import TestCase

from etcd_twisted import client as client_library
from etcd_twisted.consensus.bounded_wait import RECORDS_IN_A_ROW
from etcd_twisted.testing.loopback import LoopbackCluster
from tests.consensus.cluster import ClusterMachine, ClusterTestCase
from tests.processes.client import Client
from tests.processes.machine import Machine

STALL_SECONDS = 0.4


class StalledMemberTests(ClusterTestCase):
    """One of three machines has a disk that stalls for longer than an election timeout."""

    def setUp(self) -> None:
        self.group = self.cluster()
        self.group.start(3)
        self.leader = self.group.leader
        self.term = self.leader.replica.term

    def check_led(self) -> None:
        """Checks that there was no election."""
        for machine in self.group.running:
            self.assertEqual(machine.replica.term, self.term)
            self.assertEqual(machine.replica.leader(), self.leader.replica.leader())
        self.assertTrue(self.leader.leads)

    def stall(self, machine: ClusterMachine) -> "Deferred[object]":
        """Has a disk stall, and the leader write. Returns what fires once the change is made."""
        machine.disk_thread.held = True
        write = self.leader.set("/k", "new")
        self.group.advance(0)
        return write

    def test_leaders_disk_stalls(self) -> None:
        """The others commit the change, but the leader applies nothing before it is on its own disk."""
        write = self.stall(self.leader)
        reads = [self.leader.replica.confirm_reads(), self.leader.replica.confirm_recent()]
        self.group.advance(STALL_SECONDS)
        self.assertNoResult(write)
        for read in reads:
            self.successResultOf(read)
        self.check_led()
        self.leader.disk_thread.held = False
        self.group.result_of(write)
        self.check_led()

    def test_followers_disk_stalls(self) -> None:
        follower = self.group.followers[0]
        write = self.stall(follower)
        read = follower.replica.confirm_at_leader(False)
        self.group.advance(STALL_SECONDS)
        self.successResultOf(write)
        self.assertNoResult(read)  # it waits until this machine has what was committed before
        self.check_led()
        follower.disk_thread.held = False
        self.group.result_of(read)
        self.check_led()


class StallingDisk:
    """
    Stands in for C{os.fdatasync}, by which the log gets to the disk.

    @ivar may_end: whether syncs may end.
    @ivar stalls: fires when the first sync has begun that may not end.
    """

    def __init__(self, directory: str = "") -> None:
        """@param directory: the part of the path by which the files are told whose syncs stall; all by default."""
        self.may_end = threading.Event()
        self.may_end.set()
        self.stalls: Deferred[None] = Deferred()
        self._directory = directory
        self._sync = os.fdatasync

    def sync(self, descriptor: int) -> None:
        """Syncs once that may end."""
        if not self.may_end.is_set() and self._directory in os.readlink(f"/proc/self/fd/{descriptor}"):
            reactor.callFromThread(self._tell)
            self.may_end.wait()
        self._sync(descriptor)

    def _tell(self) -> None:
        if not self.stalls.called:
            self.stalls.callback(None)


class StalledProcessTests(TestCase):
    """Real machines, whose disk stalls until requests that need no sync are answered."""

    timeout = 60

    async def test_lone_writers_disk_stalls(self) -> None:
        machine, disk = Machine(self), StallingDisk()
        self.patch(os, "fdatasync", disk.sync)
        self.addCleanup(disk.may_end.set)
        await machine.embed()
        for number in range(3 * RECORDS_IN_A_ROW):
            await machine.client.put("/k", value=str(number))
        disk.may_end.clear()
        written = ensureDeferred(machine.connect(machine.url).put("/k", value="last"))
        for path in ("/v2/keys/k", "/v2/keys/k?quorum=true", "/v2/stats/self", "/v2/members", "/metrics"):
            answer = await machine.client.request("GET", path)
            self.assertEqual(answer.status, 200)
        self.assertNoResult(written)
        disk.may_end.set()
        self.assertEqual((await written).status, 200)

    async def test_disk_of_a_follower_of_many_writers_stalls(self) -> None:
        """It has waited for the records before this one, though they hold many entries."""
        cluster = LoopbackCluster(reactor, Path(self.mktemp()))
        self.addCleanup(cluster.close)
        await cluster.start(3)
        leader = cluster.leader
        assert leader is not None
        follower = next(machine for machine in cluster.machines if machine is not leader)
        disk = StallingDisk(f"/{follower.config.name}/")
        self.patch(os, "fdatasync", disk.sync)
        self.addCleanup(disk.may_end.set)
        # The follower would not answer a change before it has applied it.
        client = client_library.Client([leader.url], reactor=reactor)
        self.addCleanup(client.close)
        for _ in range(3 * RECORDS_IN_A_ROW):
            await gatherResults([ensureDeferred(client.set("/k", str(number))) for number in range(10)])
        disk.may_end.clear()
        await client.set("/k", "last")
        await disk.stalls
        own = Client(follower.url)
        self.addCleanup(own.close)
        for path in ("/v2/keys/k", "/v2/stats/self", "/v2/members", "/metrics"):
            answer = await own.request("GET", path)
            self.assertEqual(answer.status, 200)
        self.assertNotEqual((await own.get("/k")).json()["node"]["value"], "last")
        disk.may_end.set()
