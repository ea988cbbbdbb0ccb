"""
Tests of the simulated cluster: it forms, goes on without a machine, and loses only what nobody has synced.
"""

import secrets

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.client import ClientClosed
from etcd_twisted.errors import ErrorCode, EtcdError, RequestDroppedError, StartError
from etcd_twisted.testing.simulation.cluster import SimulatedCluster
from etcd_twisted.testing.simulation.machine import MachineFailedError
from etcd_twisted.testing.simulation.settings import Settings


class SimulatedClusterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = self.enterContext(SimulatedCluster())

    def values(self, key: str) -> list[str]:
        return [machine.get(key) for machine in self.cluster.running]

    def test_a_cluster_forms(self) -> None:
        """All machines have what was set, and only the leader can set it."""
        machines = self.cluster.start(3)
        self.assertEqual(list(self.cluster.machines.values()), machines)
        event = self.cluster.put("/key", "value")
        self.assertEqual((event.node.key, event.node.value), ("/key", "value"))
        self.assertEqual(self.values("/key"), ["value"] * 3)
        for follower in self.cluster.followers():
            self.failureResultOf(follower.put("/key", "other"), RequestDroppedError)

    def test_one_machine_is_a_cluster(self) -> None:
        (machine,) = self.cluster.start(1)
        self.cluster.put("/key", "value")
        self.assertEqual(machine.get("/key"), "value")
        self.assertIs(self.cluster.leader(), machine)
        self.assertRaises(EtcdError, machine.get, "/other")
        self.assertEqual(self.assertRaises(EtcdError, machine.get, "/").code, ErrorCode.NOT_A_FILE)

    def test_the_leader_is_cut_off(self) -> None:
        """The others elect a new leader. When the network is whole again, all machines agree."""
        self.cluster.start(3)
        before = self.cluster.await_leader()
        self.cluster.isolate(before)
        self.cluster.advance_until(lambda: self.cluster.leader() not in (before, None))
        after = self.cluster.await_leader()
        self.cluster.result_of(after.put("/key", "new"))
        self.assertRaises(EtcdError, before.get, "/key")
        self.cluster.heal()
        self.cluster.settle()
        self.assertEqual(self.values("/key"), ["new"] * 3)

    def test_a_minority_acknowledges_nothing(self) -> None:
        self.cluster.start(3)
        leader = self.cluster.await_leader()
        self.cluster.partition([leader], self.cluster.followers())
        answer: Deferred[object] = leader.put("/key", "lost?")
        self.cluster.advance(1.0)
        self.assertNoResult(answer)
        self.assertRaises(AssertionError, self.cluster.result_of, Deferred(), 1.0)
        self.cluster.result_of(self.cluster.await_leader().put("/key", "kept"))
        self.cluster.heal()
        self.cluster.settle()
        self.assertEqual(self.values("/key"), ["kept"] * 3)
        self.assertEqual(self.failureResultOf(answer, EtcdError).value.code, ErrorCode.RAFT_INTERNAL)

    def test_all_machines_lose_their_power(self) -> None:
        """Every acknowledged write is there when they have come back."""
        machines = self.cluster.start(3)
        self.cluster.put("/key", "value")
        for machine in machines:
            machine.crash()
        self.assertEqual(self.cluster.running, [])
        self.assertIsNone(self.cluster.leader())
        for machine in machines:
            machine.start()
        self.cluster.settle()
        self.assertEqual(self.values("/key"), ["value"] * 3)

    def test_a_machine_stops_in_order(self) -> None:
        """The leader hands over, and comes back as a follower."""
        self.cluster.start(3)
        leader = self.cluster.await_leader()
        leader.stop()
        self.cluster.advance_until(lambda: leader.process is None)
        self.assertRaises(RuntimeError, leader.put, "/key", "value")
        self.cluster.put("/key", "value")
        leader.start()
        self.cluster.settle()
        self.assertEqual(leader.get("/key"), "value")

    def test_a_disk_fails(self) -> None:
        """The machine ends, and comes back when the disk works again."""
        self.cluster.start(3)
        follower = self.cluster.followers()[0]
        follower.fail_disk()
        self.cluster.put("/key", "value")
        self.cluster.advance_until(lambda: follower.process is None)
        follower.mend_disk()
        follower.start()
        self.cluster.settle()
        self.assertEqual(follower.get("/key"), "value")
        self.flushLoggedErrors(OSError)

    def test_a_disk_fails_unexpectedly(self) -> None:
        """The test learns of a machine that cannot go on."""
        (machine,) = self.cluster.start(1)
        machine.disk.changes_until_failure = 0
        machine.put("/key", "value").addErrback(lambda _: None)
        self.assertRaises(MachineFailedError, self.cluster.advance, 1.0)
        self.flushLoggedErrors(OSError)

    def test_a_paused_machine_is_cut_off(self) -> None:
        """It is back as soon as it goes on."""
        self.cluster.start(3)
        leader = self.cluster.await_leader()
        leader.pause()
        self.cluster.advance_until(lambda: self.cluster.leader() not in (leader, None))
        self.cluster.result_of(self.cluster.await_leader().put("/key", "value"))
        leader.resume()
        self.cluster.settle()
        self.assertEqual(leader.get("/key"), "value")

    def test_keys_expire(self) -> None:
        """The simulated clocks make them expire without waiting."""
        (machine,) = self.cluster.start(1)
        self.cluster.result_of(machine.put("/key", "value", ttl_seconds=3_600))
        self.cluster.advance(3_590)
        self.assertEqual(machine.get("/key"), "value")
        self.cluster.advance(20)
        self.assertRaises(EtcdError, machine.get, "/key")

    def test_the_clock_of_the_code_under_test(self) -> None:
        """It advances with the cluster."""
        called: list[float] = []
        began = self.cluster.clock.seconds()
        self.cluster.clock.callLater(2.0, lambda: called.append(self.cluster.clock.seconds()))
        self.cluster.advance(1.0)
        self.assertEqual(called, [])
        self.cluster.advance(1.5)
        self.assertAlmostEqual(called[0], began + 2.0, 2)

    def test_launch_fires_when_the_machine_serves(self) -> None:
        (machine,) = self.cluster.start(1)
        machine.crash()
        self.cluster.result_of(machine.launch())
        self.cluster.put("/key", "value")

    def test_launch_fails_when_the_machine_does_not_start(self) -> None:
        """The machine that it should join is down."""
        (first,) = self.cluster.start(1)
        first.crash()
        second = self.cluster.add()
        self.cluster.advance_until(lambda: second.process is None, 60.0)
        launched = second.launch()
        self.assertRaises(StartError, self.cluster.result_of, launched, 60.0)
        self.assertIsNone(second.process)

    def test_a_supervisor_starts_a_process_again(self) -> None:
        cluster = self.enterContext(SimulatedCluster(1, Settings(supervised=True)))
        (machine,) = cluster.start(1)
        machine.crash()
        self.assertEqual(cluster.running, [])
        cluster.advance_until(lambda: machine.replica is not None and machine.replica.serving)


class SeedTests(SynchronousTestCase):
    def digest(self, seed: int) -> int:
        with SimulatedCluster(seed) as cluster:
            cluster.start(3)
            cluster.result_of(cluster.await_leader().put("/key", "value"))
            return cluster.schedule.digest

    def test_the_same_seed_does_the_same(self) -> None:
        self.assertEqual(self.digest(1), self.digest(1))
        self.assertNotEqual(self.digest(1), self.digest(2))

    def test_nothing_is_left_behind(self) -> None:
        """There are neither files nor changed functions."""
        token_hex = secrets.token_hex
        with SimulatedCluster() as cluster:
            cluster.start(1)
            root = cluster.disks.root
            self.assertTrue(root.exists())
        self.assertFalse(root.exists())
        self.assertIs(secrets.token_hex, token_hex)

    def test_the_end_closes_clients(self) -> None:
        with SimulatedCluster(1) as cluster:
            cluster.start(1)
            client = cluster.client()
            cluster.result_of(client.set("/key", "1"))
            waiting = client.watch("/key").next()
        self.failureResultOf(waiting, ClientClosed)
