"""A watch of etcd, through a proxy that breaks its connections at random."""

from twisted.trial.unittest import TestCase

from tests.client.watch_through_proxy import follow_through_cuts
from tests.etcd.machine import MISSING, EtcdMachine


class WatchProxyTests(TestCase):
    timeout = 300
    skip = MISSING

    async def test_each_change_comes_once_and_in_order(self) -> None:
        machine = EtcdMachine(self, "machine0")
        await machine.start()
        await follow_through_cuts(self, machine.url, seed=1)
