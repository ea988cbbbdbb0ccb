"""Recipes against a machine on a real port, by the real clock."""

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.trial.unittest import TestCase

from etcd_twisted.client import Client
from etcd_twisted.client.recipes import Barrier, Cache, Counter, Gate, Mirror, PriorityQueue, Queue
from tests.processes.machine import Machine


class RealMachineTests(TestCase):
    async def setUp(self) -> None:
        self.machine = Machine(self)
        await self.machine.embed(watch_history=20)
        self.client = self.connect()

    def connect(self) -> Client:
        assert IReactorTime.providedBy(reactor)
        client = Client(self.machine.url, reactor=reactor)
        self.addCleanup(client.close)
        return client

    async def test_mirror(self) -> None:
        await self.client.set("/config/a", "1")
        async with Mirror(self.connect(), "/config") as mirror:
            self.assertEqual({key: node.value for key, node in mirror.items()}, {"/config/a": "1"})
            changed: Deferred[str] = Deferred()
            mirror.subscribe(lambda change: changed.callback(change.key))
            await self.client.set("/config/b/c", "2")
            self.assertEqual(await changed, "/config/b/c")
            self.assertEqual(mirror["/config/b/c"].value, "2")
            self.assertTrue(mirror.current)

    async def test_queue(self) -> None:
        queue, other = Queue(self.client, "/queue"), Queue(self.connect(), "/queue")
        waiting = other.take()
        values = [str(number) for number in range(12)]
        for value in values:
            await queue.put(value)
        first = await waiting
        taken = [first.value]
        await first.ack()
        for taker in (queue, other) * 5:
            async with await taker.take() as item:
                taken.append(item.value)
        last = await queue.take()
        await last.release()
        again = await other.take()
        self.assertEqual([*taken, again.value], values)
        await again.ack()
        left = (await self.client.list("/queue", recursive=True)).node
        self.assertEqual([node.key for node in left.walk() if not node.directory], [])

    async def test_queue_whose_taker_dies(self) -> None:
        dying = self.connect()
        await self.client.create_in_order("/queue/items", "work")
        item = await Queue(dying, "/queue", ttl_seconds=1).take()
        await dying.close()
        again = await Queue(self.client, "/queue", ttl_seconds=1).take()
        self.assertGreater(again.fencing_token, item.fencing_token)
        await again.ack()

    async def test_priority_queue(self) -> None:
        queue = PriorityQueue(self.client, "/queue")
        for value, priority in (("b", 10), ("a", 9), ("c", 10)):
            await queue.put(value, priority)
        self.assertEqual("".join([(await queue.take()).value for _ in range(3)]), "abc")

    async def test_counter(self) -> None:
        counters = [Counter(self.connect(), "/counter") for _ in range(5)]
        sums = await gatherResults([counter.add() for counter in counters for _ in range(4)])
        self.assertEqual(sorted(sums), list(range(1, 21)))
        self.assertEqual(await counters[0].get(), 20)

    async def test_barrier(self) -> None:
        await gatherResults([Barrier(self.connect(), "/barrier", 3).wait() for _ in range(3)])

    async def test_gate(self) -> None:
        gate = Gate(self.client, "/gate")
        await gate.close()
        waiting = Gate(self.connect(), "/gate").wait()
        await gate.open()
        await waiting

    async def test_cache(self) -> None:
        await self.client.set("/config/a", "1")
        async with Cache(self.client, "/config") as cache:
            while not cache.hits:
                self.assertEqual((await cache.get("/config/a")).value, "1")
