"""The recipes against servers in real time: a machine of ours, and etcd 3.4, which pads the names of in-order keys."""

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from etcd_twisted.client import Client, KeyNotFound
from etcd_twisted.client.recipes import Election, Hold, Lock, Registration, Semaphore
from tests.etcd.machine import MISSING, EtcdMachine
from tests.processes.machine import Machine

TTL_SECONDS = 2
"""For what is to expire."""

LONG_TTL_SECONDS = 60
"""For what is not to expire, however busy the computer is."""

REFRESHED_TTL_SECONDS = 15
"""For what is waited for that comes with a refresh, after a third of this."""


class ServerTest(TestCase):
    """Every recipe, used as a program would."""

    timeout = 240

    async def setUp(self) -> None:
        self.url = await self.serve()
        self.client = self.connect()

    async def serve(self) -> str:
        """Start a server, and return its URL."""
        raise NotImplementedError

    def connect(self) -> Client:
        assert IReactorTime.providedBy(reactor)
        client = Client(self.url, reactor=reactor)
        self.addCleanup(client.close)
        return client

    def wait(self, seconds: float) -> "Deferred[None]":
        return deferLater(reactor, seconds)


class Recipes:
    """The tests of L{ServerTest}, for each kind of server."""

    async def test_lock(self: "ServerTest") -> None:
        """Twelve contenders have their turns in order, though the names of their keys get longer."""
        order: list[tuple[int, int]] = []
        locks = [Lock(self.client, "/lock", ttl_seconds=LONG_TTL_SECONDS) for _ in range(12)]

        async def take(number: int, lock: Lock, first: Hold | None) -> None:
            hold = first or await lock.acquire()
            order.append((number, hold.fencing_token))
            await lock.release()

        first = await locks[0].acquire()
        taking = []
        for number, lock in enumerate(locks[1:], 1):
            taking.append(Deferred.fromCoroutine(take(number, lock, None)))
            while len((await self.client.list("/lock")).nodes) <= number:
                await self.wait(0.01)
        self.assertEqual(order, [])
        await take(0, locks[0], first)
        await gatherResults(taking)
        self.assertEqual([number for number, _ in order], list(range(12)))
        self.assertEqual(order, sorted(order, key=lambda each: each[1]))
        self.assertEqual((await self.client.list("/lock")).nodes, ())

    async def test_a_holder_stays_one(self: "ServerTest") -> None:
        """Its key expires later and later."""
        hold = await Lock(self.client, "/lock", ttl_seconds=9).acquire()
        first = (await self.client.get(hold.key)).node.expires_at
        assert first is not None
        while (await self.client.get(hold.key)).node.expires_at == first:
            await self.wait(0.1)
        self.assertTrue(hold.is_held)

    async def test_holder_that_dies(self: "ServerTest") -> None:
        dying = self.connect()
        hold = await Lock(dying, "/lock", ttl_seconds=TTL_SECONDS).acquire()
        waiting = Lock(self.client, "/lock", ttl_seconds=TTL_SECONDS).acquire()
        lost = hold.lost
        await dying.close()
        self.assertFalse((await lost).released)
        self.assertGreater((await waiting).fencing_token, hold.fencing_token)

    async def test_semaphore(self: "ServerTest") -> None:
        semaphores = [Semaphore(self.client, "/semaphore", 2, ttl_seconds=LONG_TTL_SECONDS) for _ in range(4)]
        first, _second = await semaphores[0].acquire(), await semaphores[1].acquire()
        third = semaphores[2].acquire()
        while len((await self.client.list("/semaphore")).nodes) < 3:
            await self.wait(0.01)
        self.assertFalse(third.called)
        await first.release()
        await third

    async def test_election(self: "ServerTest") -> None:
        election, other = (Election(self.client, "/election", ttl_seconds=LONG_TTL_SECONDS) for _ in range(2))
        observation = election.observe()
        self.assertIsNone(await observation.next())
        leadership = await election.campaign("a")
        self.assertEqual(await observation.next(), "a")
        waiting = other.campaign("b")
        while len((await self.client.list("/election")).nodes) < 2:  # or nobody might lead for a moment
            await self.wait(0.01)
        await leadership.resign()
        second = await waiting
        self.assertEqual(await observation.next(), "b")
        self.assertGreater(second.fencing_token, leadership.fencing_token)
        await second.resign()
        self.assertIsNone(await observation.next())
        observation.close()

    async def test_registration(self: "ServerTest") -> None:
        async with Registration(self.client, "/service/a", "1", ttl_seconds=REFRESHED_TTL_SECONDS) as registration:
            self.assertEqual((await self.client.get("/service/a")).value, "1")
            await registration.update("2")
            reading = await self.client.get("/service/a")
            self.assertEqual(reading.value, "2")
            watch = self.client.watch("/service/a", after_index=reading.index.etcd_index)
            await self.client.delete("/service/a")
            self.assertTrue((await watch.next()).is_removal)  # type: ignore[union-attr]  # nothing is lost
            self.assertEqual((await watch.next()).node.value, "2")  # type: ignore[union-attr]
            watch.close()
        with self.assertRaises(KeyNotFound):
            await self.client.get("/service/a")


class OurTests(Recipes, ServerTest):
    async def serve(self) -> str:
        machine = Machine(self)
        await machine.embed()
        return machine.url


class EtcdTests(Recipes, ServerTest):
    skip = MISSING

    async def serve(self) -> str:
        machine = EtcdMachine(self, "machine0")
        await machine.start()
        return machine.url
