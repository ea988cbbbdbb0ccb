"""Locks in a simulated cluster, whose machines crash, stop, and are cut off from each other and from clients."""

from random import Random

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.client import Client, ClientError
from etcd_twisted.client.recipes import Hold, Lock
from etcd_twisted.testing import SimulatedCluster, SimulatedMachine

DIRECTORY = "/locks/it"
TTL_SECONDS = 5
CONTENDERS = 3
FAULTS = 12
SEEDS = 2


class _Campaign:
    """
    Contenders that take a lock and give it up, over and over, while the cluster has faults. At any step of the
    simulation at most one of them holds it, and each holder has a higher token than all before it.

    @ivar holds: what was held, in order.
    @ivar errors: how often an acquisition or a release failed.
    """

    def __init__(self, test: SynchronousTestCase, cluster: SimulatedCluster, seed: int) -> None:
        self.holds: list[Hold] = []
        self.clients: list[Client] = []
        self.errors = 0
        self._test = test
        self._cluster = cluster
        self._random = Random(seed)
        self._holder = "host0"
        self._going_on = True
        self._after_step = cluster.schedule.after_step
        cluster.schedule.after_step = self._check
        cluster.start(3)
        self._contending = [Deferred.fromCoroutine(self._contend(number)) for number in range(CONTENDERS)]

    def _check(self, process: object) -> None:
        self._after_step(process)  # type: ignore[arg-type]
        self._test.assertLessEqual(sum(hold.is_held for hold in self.holds[-2 * CONTENDERS :]), 1)

    def client(self, host: str) -> Client:
        urls = [machine.config.client_url for machine in self._cluster.machines.values()]
        client = Client(urls, reactor=self._cluster.clock, agent=self._cluster.agent(host), chance=self._random.random)
        self.clients.append(client)
        return client

    async def _contend(self, number: int) -> None:
        lock = Lock(self.client(f"host{number}"), DIRECTORY, ttl_seconds=TTL_SECONDS, name=str(number))
        while self._going_on:
            try:
                hold = await lock.acquire()
                self.holds.append(hold)
                self._holder = f"host{number}"
                await self._work(hold)
                await lock.release()
            except ClientError:
                self.errors += 1
                await deferLater(self._cluster.clock, 0.5)

    async def _work(self, hold: Hold) -> None:
        """Work for a while, or until the lock is lost."""
        lost = hold.lost
        working = self._cluster.clock.callLater(self._random.choice((0.2, 3.0)) * TTL_SECONDS, lost.cancel)
        try:
            await lost
        except CancelledError:
            return
        working.cancel()

    def fault(self) -> None:
        """Have something go wrong for a while."""
        cluster, random = self._cluster, self._random
        machine = random.choice(list(cluster.machines.values()))
        leader = cluster.leader() or machine
        hosts = [f"host{number}" for number in range(CONTENDERS)]
        away = random.choice((0.3, 2.0)) * random.uniform(0.5, 1.5) * TTL_SECONDS
        kind = random.randrange(7)
        if kind < 2:
            victim = leader if kind else machine
            victim.crash()
            cluster.advance(away)
            victim.start()
        elif kind == 2:
            leader.pause()
            cluster.advance(away)
            leader.resume()
        else:
            groups: list[list[SimulatedMachine | str]]
            others = [each for each in cluster.machines.values() if each is not leader]
            if kind == 3:
                groups = [[leader, self._holder], [*others, *(host for host in hosts if host != self._holder)]]
            elif kind < 6:
                groups = [[self._holder], list(cluster.machines.values())]
            else:
                groups = [list(hosts), list(cluster.machines.values())]
            cluster.partition(*groups)
            cluster.advance(away)
            cluster.heal()
        cluster.advance(random.uniform(0.0, TTL_SECONDS))

    def finish(self) -> None:
        """Have everybody hold it once more, and end."""
        cluster = self._cluster
        cluster.settle()
        before = len(self.holds)
        cluster.advance_until(lambda: len(self.holds) >= before + CONTENDERS, 20 * TTL_SECONDS)
        self._going_on = False
        cluster.advance_until(lambda: all(each.called for each in self._contending), 20 * TTL_SECONDS)
        for each in self._contending:
            self._test.successResultOf(each)
        tokens = [hold.fencing_token for hold in self.holds]
        self._test.assertEqual(tokens, sorted(set(tokens)))
        for client in self.clients:
            client.close()


class LockTests(SynchronousTestCase):
    def run_campaign(self, seed: int) -> _Campaign:
        with SimulatedCluster(seed=seed) as cluster:
            campaign = _Campaign(self, cluster, seed)
            for _ in range(FAULTS):
                campaign.fault()
            campaign.finish()
        return campaign

    def test_at_most_one_holds_it_whatever_fails(self) -> None:
        for seed in range(SEEDS):
            self.run_campaign(seed)
