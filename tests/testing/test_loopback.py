"""Machines of this process on real ports."""

from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.interfaces import IReactorTime
from twisted.trial.unittest import TestCase

from etcd_twisted.client import ClientClosed
from etcd_twisted.testing import LoopbackCluster


class LoopbackTests(TestCase):
    timeout = 60

    def cluster(self, **settings: Any) -> LoopbackCluster:
        cluster = LoopbackCluster(reactor, Path(self.mktemp()) / "new", **settings)
        self.addCleanup(cluster.close)
        return cluster

    async def test_machine_on_loopback_stops_and_starts_again(self) -> None:
        cluster = self.cluster()
        await cluster.start()
        client = cluster.client()
        await client.set("/key", "1")
        (machine,) = cluster.machines
        await machine.stop()
        self.assertFalse(machine.is_running)
        self.assertIsNone(cluster.leader)
        await machine.start()
        self.assertEqual((await client.get("/key")).value, "1")
        self.assertIs(cluster.leader, machine)

    async def test_cluster_on_loopback_survives_its_leader(self) -> None:
        cluster = self.cluster(watch_history=50)
        await cluster.start(3)
        client = cluster.client()
        self.assertEqual(await client.machines(), tuple(machine.url for machine in cluster.machines))
        self.assertEqual({machine.config.watch_history for machine in cluster.machines}, {50})
        assert cluster.leader is not None
        await cluster.leader.stop()
        await client.set("/key", "1")

    async def test_closing_ends_machines_and_clients(self) -> None:
        cluster = self.cluster()
        await cluster.start()
        client = cluster.client()
        waiting = client.watch("/key").next()
        assert IReactorTime.providedBy(reactor)
        await cluster.close()
        with self.assertRaises(ClientClosed):
            await waiting
        self.assertFalse(cluster.machines[0].is_running)
