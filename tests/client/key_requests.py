"""
Tests of requests about keys, for whatever server there is.
"""

from twisted.trial.unittest import TestCase

from etcd_twisted.client import (
    Client,
    CompareFailed,
    DirectoryNotEmpty,
    KeyExists,
    KeyNotFound,
    NotADirectory,
    NotAFile,
    RootReadOnly,
)


class KeyRequests(TestCase):
    """
    To be inherited by a test case that has a server.

    @ivar client: a client of it.
    """

    client: Client

    async def test_set_and_get(self) -> None:
        event = await self.client.set("/greeting", "Grüße, 世界 & =+%")
        self.assertEqual((event.action, event.previous_node), ("set", None))
        reading = await self.client.get("greeting")
        self.assertEqual(reading.value, "Grüße, 世界 & =+%")
        self.assertEqual(reading.node, event.node)
        self.assertEqual(reading.index.etcd_index, event.node.modified_index)

    async def test_odd_keys(self) -> None:
        for key in ("/with space", "/per%cent", "/ünï/cödé", "/question?mark", "/hash#mark", "/plus+and&and=equals"):
            await self.client.set(key, key)
            reading = await self.client.get(key, quorum=True)
            self.assertEqual((reading.node.key, reading.value), (key, key))

    async def test_slashes_that_say_nothing(self) -> None:
        await self.client.set("//dir///key", "1")
        for key in ("/dir/key", "dir/key", "/dir//key"):
            self.assertEqual((await self.client.get(key)).node.key, "/dir/key")
        self.assertEqual([node.key for node in (await self.client.list("/dir/")).nodes], ["/dir/key"])
        await self.client.remove_directory("/dir/", recursive=True)

    async def test_dots_are_steps_as_in_paths(self) -> None:
        await self.client.set("/dots/./other/../key", "1")
        for key in ("/dots/key", "/dots/./key", "/../dots/x/../key"):
            self.assertEqual((await self.client.get(key)).node.key, "/dots/key")
        await self.client.remove_directory("/dots/.", recursive=True)

    async def test_ttl(self) -> None:
        event = await self.client.set("/lease", "held", ttl_seconds=100)
        self.assertEqual(event.node.ttl_seconds, 100)
        assert event.node.expires_at is not None
        refreshed = await self.client.refresh("/lease", 200)
        self.assertEqual((refreshed.node.ttl_seconds, refreshed.node.value), (200, "held"))
        assert refreshed.node.expires_at is not None
        self.assertGreater(refreshed.node.expires_at, event.node.expires_at)
        permanent = await self.client.update("/lease", "kept")
        self.assertIsNone(permanent.node.ttl_seconds)

    async def test_create_and_update_ask_for_what_exists(self) -> None:
        with self.assertRaises(KeyNotFound):
            await self.client.update("/key", "1")
        await self.client.create("/key", "1")
        with self.assertRaises(KeyExists) as caught:
            await self.client.create("/key", "2")
        self.assertEqual((caught.exception.code, caught.exception.cause), (105, "/key"))
        self.assertEqual((await self.client.update("/key", "3")).node.value, "3")

    async def test_comparisons(self) -> None:
        first = (await self.client.set("/key", "1")).node
        with self.assertRaises(CompareFailed):
            await self.client.compare_and_swap("/key", "2", previous_value="0")
        swapped = await self.client.compare_and_swap("/key", "2", previous_index=first.modified_index)
        self.assertEqual((swapped.action, swapped.node.value, swapped.previous_node), ("compareAndSwap", "2", first))
        with self.assertRaises(CompareFailed):
            await self.client.compare_and_delete("/key", previous_index=first.modified_index)
        deleted = await self.client.compare_and_delete("/key", previous_value="2")
        self.assertTrue(deleted.is_removal)
        with self.assertRaises(KeyNotFound):
            await self.client.get("/key")

    async def test_directories(self) -> None:
        await self.client.make_directory("/services")
        with self.assertRaises(KeyExists):
            await self.client.make_directory("/services")
        await self.client.set("/services/web/1", "a")
        with self.assertRaises(NotAFile):
            await self.client.delete("/services")
        with self.assertRaises(DirectoryNotEmpty):
            await self.client.remove_directory("/services")
        with self.assertRaises(NotADirectory):
            await self.client.set("/services/web/1/below", "b")
        listing = await self.client.list("/services", recursive=True)
        self.assertEqual([node.key for node in listing.node.walk()], ["/services", "/services/web", "/services/web/1"])
        self.assertEqual((await self.client.update_directory("/services", ttl_seconds=60)).node.ttl_seconds, 60)
        await self.client.remove_directory("/services", recursive=True)
        with self.assertRaises(RootReadOnly):
            await self.client.remove_directory("/", recursive=True)

    async def test_in_order_keys_are_sorted_by_creation(self) -> None:
        values = [str(number) for number in range(12)]  # the keys' names go on from one digit to two
        for value in values:
            await self.client.create_in_order("/queue", value)
        listing = await self.client.list("/queue")
        self.assertEqual([node.value for node in listing.node.in_order()], values)
