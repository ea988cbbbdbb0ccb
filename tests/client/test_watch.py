"""Watches, against a machine on a real port."""

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.trial.unittest import TestCase

from etcd_twisted.client import Client, ClientClosed, Event, HistoryLost, Watch, WatchClosed
from tests.processes.machine import Machine

HISTORY = 20
"""How many events the machine keeps."""


class WatchTests(TestCase):
    async def setUp(self) -> None:
        self.machine = Machine(self)
        await self.machine.embed(watch_history=HISTORY)
        assert IReactorTime.providedBy(reactor)
        self.client = Client(self.machine.url, reactor=reactor)
        self.addCleanup(self.client.close)

    async def values(self, watch: Watch, count: int) -> list[str | None]:
        """Returns the values of the next events."""
        found = []
        for _ in range(count):
            item = await watch.next()
            assert isinstance(item, Event), item
            found.append(item.node.value)
        return found

    async def index(self) -> int:
        return (await self.client.list("/")).index.etcd_index

    async def test_it_goes_on_from_an_index(self) -> None:
        start = await self.index()
        values = [str(number) for number in range(HISTORY)]
        for value in values[:10]:
            await self.client.set(f"/jobs/{value}", value)
        watch = self.client.watch("/jobs", recursive=True, after_index=start)
        self.addCleanup(watch.close)
        self.assertEqual(await self.values(watch, 10), values[:10])
        for value in values[10:]:
            await self.client.set(f"/jobs/{value}", value)
        self.assertEqual(await self.values(watch, 10), values[10:])

    async def test_only_its_own_key_is_seen(self) -> None:
        start = await self.index()
        watch = self.client.watch("/mine", after_index=start)
        self.addCleanup(watch.close)
        for key in ("/other", "/mine", "/mine2", "/other", "/mine"):
            await self.client.set(key, key)
        self.assertEqual(await self.values(watch, 2), ["/mine", "/mine"])

    async def test_removals_are_events(self) -> None:
        await self.client.set("/dir/key", "1")
        watch = self.client.watch("/dir/key", after_index=await self.index())
        self.addCleanup(watch.close)
        await self.client.remove_directory("/dir", recursive=True)
        event = await watch.next()
        assert isinstance(event, Event)
        self.assertEqual((event.node.key, event.is_removal), ("/dir", True))

    async def test_lost_history_is_an_item_with_the_state(self) -> None:
        start = await self.index()
        for number in range(HISTORY + 5):
            await self.client.set("/key", str(number))
        watch = self.client.watch("/key", after_index=start)
        self.addCleanup(watch.close)
        lost = await watch.next()
        assert isinstance(lost, HistoryLost)
        assert lost.node is not None
        self.assertEqual(lost.node.value, str(HISTORY + 4))
        await self.client.set("/key", "next")
        self.assertEqual(await self.values(watch, 1), ["next"])

    async def test_lost_history_of_what_does_not_exist(self) -> None:
        start = await self.index()
        for number in range(HISTORY + 5):
            await self.client.set("/other", str(number))
        watch = self.client.watch("/key", after_index=start)
        self.addCleanup(watch.close)
        lost = await watch.next()
        assert isinstance(lost, HistoryLost)
        self.assertEqual((lost.node, lost.index.etcd_index), (None, await self.index()))

    async def test_close_ends_the_loop(self) -> None:
        watch = self.client.watch("/key")

        async def consume() -> list[object]:
            return [item async for item in watch]

        consumed = Deferred.fromCoroutine(consume())
        watch.close()
        self.assertEqual(await consumed, [])
        with self.assertRaises(WatchClosed):
            await watch.next()

    async def test_closing_out_of_the_loop_leaves_nothing(self) -> None:
        """The reactor is clean even if the consumer closes the watch while the watch itself is delivering."""
        start = await self.index()
        for number in range(HISTORY + 5):
            await self.client.set("/key", str(number))
        watch = self.client.watch("/key", after_index=start)
        async for item in watch:
            self.assertIsInstance(item, HistoryLost)
            watch.close()

    async def test_a_closed_client_ends_the_loop_with_an_error(self) -> None:
        watch = self.client.watch("/key")
        waiting = watch.next()
        await self.client.close()
        with self.assertRaises(ClientClosed):
            await waiting
        with self.assertRaises(ClientClosed):
            await watch.next()

    async def test_a_cancelled_next_loses_nothing(self) -> None:
        watch = self.client.watch("/key", after_index=await self.index())
        self.addCleanup(watch.close)
        waiting = watch.next()
        waiting.cancel()
        with self.assertRaises(CancelledError):
            await waiting
        await self.client.set("/key", "1")
        self.assertEqual(await self.values(watch, 1), ["1"])

    async def test_for_each_waits_for_the_function(self) -> None:
        watch = self.client.watch("/key", after_index=await self.index())
        seen: list[str | None] = []
        gates: list[Deferred[None]] = []

        def take(item: Event | HistoryLost) -> Deferred[None]:
            seen.append(item.node.value if item.node else None)
            gates.append(Deferred())
            arrived.callback(None)
            return gates[-1]

        arrived: Deferred[None] = Deferred()
        done = watch.for_each(take)
        await self.client.set("/key", "1")
        await self.client.set("/key", "2")
        await arrived
        self.assertEqual(seen, ["1"])
        arrived = Deferred()
        gates[0].callback(None)
        await arrived
        self.assertEqual(seen, ["1", "2"])
        watch.close()
        gates[1].callback(None)
        await done

    async def test_for_each_ends_with_the_function_that_fails(self) -> None:
        watch = self.client.watch("/key", after_index=await self.index())

        def take(_: object) -> None:
            raise ZeroDivisionError

        done = watch.for_each(take)
        await self.client.set("/key", "1")
        with self.assertRaises(ZeroDivisionError):
            await done
        with self.assertRaises(WatchClosed):
            await watch.next()

    async def test_it_goes_on_after_the_machine_was_restarted(self) -> None:
        machine = Machine(self, "machine1")
        await machine.start()
        client = Client(machine.url)
        self.addCleanup(client.close)
        await client.set("/key", "1")
        watch = client.watch("/key", after_index=1)
        self.addCleanup(watch.close)
        self.assertEqual(await self.values(watch, 1), ["1"])
        await machine.kill()
        await machine.start()
        await client.set("/key", "2")
        self.assertEqual(await self.values(watch, 1), ["2"])
