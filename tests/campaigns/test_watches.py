"""
Watches of a simulated cluster whose leaders die and whose network is cut: each change comes once and in order.

C{make watch-campaign} tries more changes and more seeds.
"""

import os
from collections.abc import Callable, Iterator

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.client import Client, ConnectionFailed, Event, HistoryLost, KeyExists, OutcomeUnknown, Watch
from etcd_twisted.testing import Settings, SimulatedCluster, SimulatedMachine, Weather
from tests.client.follower import CHANGES, Follower, written

SEEDS = int(os.environ.get("WATCH_SEEDS", "2"))

DIRECTORY = "/watched"

WRITERS = 10
"""How many write at a time."""

PAUSE_SECONDS = 0.2
"""How long each of them pauses after each change."""

OUTAGE_SECONDS = 3.0
"""How long a machine is down, or a network is cut."""

SLOW_SECONDS = 0.01
"""How long a slow consumer takes over each change."""


class Watcher(Follower):
    """
    A client on a host of its own, and a watch of the directory.

    @ivar host: the name of the host.
    """

    def __init__(self, world: "World", number: int, slow: bool = False) -> None:
        self.host = f"watcher{number}"
        super().__init__(self.host, DIRECTORY)
        self._world = world
        self._slow = slow
        urls = [machine.config.client_url for machine in world.machines]
        agent = world.cluster.agent(self.host)
        chance = world.cluster.schedule.random.random
        # It begins with another machine than the other watchers.
        self._client = Client(
            urls[number:] + urls[:number], reactor=world.cluster.clock, agent=agent, chance=lambda: 0.0
        )
        self._watch = Watch(
            world.cluster.clock,
            self._client._sender,
            DIRECTORY,
            True,
            world.start_index,
            chance,
            self._client._openings,
        )
        self.ended = self._watch.for_each(self._take)

    def _take(self, item: Event | HistoryLost) -> Deferred[None] | None:
        self.take(item)
        return deferLater(self._world.cluster.clock, SLOW_SECONDS) if self._slow else None

    def close(self) -> None:
        self._watch.close()
        self._client.close()


class World:
    """
    A cluster, some that write the numbers from 0 on, each to a key of its own, and some that watch.

    @ivar written: how many numbers were written.
    """

    def __init__(self, test: SynchronousTestCase, seed: int, settings: Settings, watchers: int = 4) -> None:
        self.test = test
        self.cluster = test.enterContext(SimulatedCluster(seed, settings))
        self.machines = self.cluster.start(3)
        self.written = 0
        self._writer = self.cluster.client("writer")
        self.start_index = self.cluster.result_of(self._writer.make_directory(DIRECTORY)).index.etcd_index
        self.watchers = [Watcher(self, number % 3, slow=number == 3) for number in range(watchers)]
        numbers = iter(range(CHANGES))
        self.writing = gatherResults([Deferred.fromCoroutine(self._write(numbers)) for _ in range(WRITERS)])

    async def _write(self, numbers: Iterator[int]) -> None:
        for number in numbers:
            while not await self._is_written(number):
                pass
            self.written += 1
            await deferLater(self.cluster.clock, PAUSE_SECONDS)

    async def _is_written(self, number: int) -> bool:
        try:
            await self._writer.create(f"{DIRECTORY}/{number}", str(number))
        except (OutcomeUnknown, ConnectionFailed):
            return False
        except KeyExists:  # it was made by an attempt of which that was not known
            return True
        return True

    def until_written(self, share: float) -> None:
        """Go on until this share of the changes is made."""
        self.until(lambda: self.written >= share * CHANGES)

    def until(self, condition: Callable[[], bool]) -> None:
        """Go on until a condition holds, or somebody has failed."""
        watching = [watcher.ended for watcher in self.watchers]
        self.cluster.advance_until(lambda: condition() or any(each.called for each in watching), 600.0)
        for each in watching:
            if each.called:
                self.cluster.result_of(each)

    def kill_leader(self) -> None:
        leader = self.cluster.await_leader()
        leader.crash()
        self.cluster.advance(OUTAGE_SECONDS)
        leader.start()

    def at(self, machine: SimulatedMachine) -> list[str]:
        """Returns the hosts of the watchers that began with a machine."""
        return [f"watcher{self.machines.index(machine)}"]

    def cut_off(self, machine: SimulatedMachine, hosts: list[str]) -> None:
        """Cut a machine and some hosts off from all others."""
        others = [each for each in self.machines if each is not machine]
        elsewhere = [host for host in ("writer", *(each.host for each in self.watchers)) if host not in hosts]
        self.cluster.partition([machine, *hosts], [*others, *elsewhere])
        self.cluster.advance(OUTAGE_SECONDS)
        self.cluster.heal()

    def live_through_everything(self) -> None:
        """Three leaders die, and the network is cut twice, while the changes are made."""
        self.until_written(0.1)
        self.kill_leader()
        self.until_written(0.3)
        leader = self.cluster.await_leader()
        self.cut_off(leader, self.at(leader))
        self.until_written(0.5)
        self.kill_leader()
        self.until_written(0.65)
        self.cluster.await_leader()
        follower = self.cluster.followers()[0]
        self.cut_off(follower, self.at(follower))
        self.until_written(0.85)
        self.kill_leader()
        self.test.assertLess(self.written, CHANGES)

    def finish(self) -> None:
        """Wait until everything has come, and a little more in case something comes twice."""
        self.cluster.result_of(self.writing, 600.0)
        self.until(lambda: all(len(watcher.seen) >= CHANGES for watcher in self.watchers))
        self.cluster.advance(OUTAGE_SECONDS)
        changes = written(self.cluster.result_of(self._writer.list(DIRECTORY, quorum=True)))
        self.test.assertEqual(len(changes), CHANGES)
        for watcher in self.watchers:
            watcher.close()
            self.cluster.result_of(watcher.ended)
            self.test.assertEqual(watcher.seen, changes)


class WatchClusterTests(SynchronousTestCase):
    """What the watchers check themselves fails the test, see L{Follower}."""

    def test_each_change_comes_once_and_in_order(self) -> None:
        """The machines keep all events."""
        for seed in range(SEEDS):
            world = World(self, seed, Settings(history=2 * CHANGES))
            world.live_through_everything()
            world.finish()
            self.assertEqual([watcher.lost for watcher in world.watchers], [0, 0, 0, 0], f"seed {seed}")

    def test_in_bad_weather(self) -> None:
        world = World(self, 100, Settings(history=2 * CHANGES))
        world.cluster.network.weather = Weather(loss=0.02, doubling=0.02, late=0.02)
        world.live_through_everything()
        world.finish()

    def test_what_is_lost_is_told(self) -> None:
        """The machines keep few events. The state that takes their place holds what was lost."""
        world = World(self, 200, Settings(history=20))
        world.until_written(0.05)
        machine = world.machines[1]
        world.cluster.partition(world.at(machine), world.machines)
        machine.crash()
        world.cluster.advance(OUTAGE_SECONDS)
        machine.start()
        world.cluster.heal()
        world.live_through_everything()
        world.finish()
        self.assertGreater(world.watchers[1].lost, 0)

    def test_a_machine_that_is_cut_off_is_left(self) -> None:
        """It sends nothing, but its clients still reach all machines."""
        world = World(self, 300, Settings(history=2 * CHANGES), watchers=3)
        world.until_written(0.2)
        world.cluster.settle()
        follower = world.cluster.followers()[0]
        world.cluster.isolate(follower)
        world.until_written(1.0)
        world.finish()
