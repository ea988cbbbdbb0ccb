"""A watch through a proxy that breaks its connections at random."""

from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from etcd_twisted.testing import LoopbackCluster
from tests.client.watch_through_proxy import follow_through_cuts


class WatchProxyTests(TestCase):
    timeout = 300

    async def test_each_change_comes_once_and_in_order(self) -> None:
        cluster = LoopbackCluster(reactor, Path(self.mktemp()))
        self.addCleanup(cluster.close)
        await cluster.start()
        await follow_through_cuts(self, cluster.machines[0].url, seed=1)
