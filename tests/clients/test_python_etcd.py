"""
python-etcd, the client library that most Python programs use (U{https://pypi.org/project/python-etcd/}).

The library blocks, so each call is made in a thread.
"""

import itertools
from collections.abc import Callable
from typing import Any

import etcd
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from etcd_twisted import __version__
from tests.processes.machine import Machine

HISTORY = 20


class PythonEtcdTests(TestCase):
    """These tests do what its documentation shows."""

    timeout = 240

    async def setUp(self) -> None:
        """Starts one machine and a client of it."""
        self.machine = Machine(self)
        await self.machine.embed(watch_history=HISTORY)
        self.etcd = await self.connect()

    async def connect(self) -> Any:
        """Makes a further client, which asks at once which machines there are."""
        return await self.call(etcd.Client, port=self.machine.port, read_timeout=120, allow_reconnect=True)

    def call(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> "Deferred[Any]":
        """Calls one of its methods."""
        return deferToThread(function, *arguments, **named)

    async def test_set_get_update_and_remove_a_key(self) -> None:
        await self.call(self.etcd.set, "/nodes/n1", "one")
        read = await self.call(self.etcd.get, "/nodes/n1")
        self.assertEqual((read.key, read.value, read.dir), ("/nodes/n1", "one", False))
        self.assertEqual((read.createdIndex, read.modifiedIndex, read.etcd_index), (2, 2, 2))
        read.value = "two"
        updated = await self.call(self.etcd.update, read)
        self.assertEqual((updated.action, updated.value, updated.createdIndex), ("compareAndSwap", "two", 2))
        self.assertTrue(await self.call(self.etcd.__contains__, "/nodes/n1"))
        removed = await self.call(self.etcd.pop, "/nodes/n1")
        self.assertEqual((removed.value, removed.modifiedIndex), ("two", 3))
        self.assertFalse(await self.call(self.etcd.__contains__, "/nodes/n1"))

    async def test_keys_and_values_may_be_unicode(self) -> None:
        await self.call(self.etcd.set, "/\u00fcber/\u96ea", "\u2603 & = +%\n")
        read = await self.call(self.etcd.read, "/\u00fcber", recursive=True)
        self.assertEqual([(each.key, each.value) for each in read.leaves], [("/\u00fcber/\u96ea", "\u2603 & = +%\n")])

    async def test_make_list_and_remove_directories(self) -> None:
        made = await self.call(self.etcd.write, "/dir", None, dir=True)
        self.assertTrue(made.dir)
        self.assertTrue(made.newKey)
        for key in ("/dir/b", "/dir/a", "/dir/sub/c"):
            await self.call(self.etcd.set, key, key[-1])
        listed = await self.call(self.etcd.read, "/dir", recursive=True, sorted=True)
        self.assertEqual([each.key for each in listed.leaves], ["/dir/a", "/dir/b", "/dir/sub/c"])
        self.assertEqual(
            [each.key for each in listed.get_subtree()], ["/dir", "/dir/a", "/dir/b", "/dir/sub", "/dir/sub/c"]
        )
        await self.assertFailure(self.call(self.etcd.delete, "/dir"), etcd.EtcdNotFile)
        await self.assertFailure(self.call(self.etcd.delete, "/dir", dir=True), etcd.EtcdDirNotEmpty)
        removed = await self.call(self.etcd.delete, "/dir", recursive=True)
        self.assertEqual((removed.action, removed.dir), ("delete", True))
        await self.assertFailure(self.call(self.etcd.read, "/dir"), etcd.EtcdKeyNotFound)

    async def test_append_in_order_keys(self) -> None:
        keys = [
            (await self.call(self.etcd.write, "/queue", value, append=True)).key
            for value in ("first", "second", "third")
        ]
        listed = await self.call(self.etcd.read, "/queue", sorted=True)
        self.assertEqual([each.key for each in listed.leaves], keys)
        self.assertEqual([each.value for each in listed.leaves], ["first", "second", "third"])

    async def test_compare_and_swap(self) -> None:
        """It works in all its forms."""
        await self.call(self.etcd.write, "/key", "one", prevExist=False)
        swapped = await self.call(self.etcd.test_and_set, "/key", "two", "one")
        self.assertEqual((swapped.action, swapped.value), ("compareAndSwap", "two"))
        await self.call(self.etcd.write, "/key", "three", prevIndex=swapped.modifiedIndex)
        await self.call(self.etcd.write, "/key", "four", prevExist=True)
        refused = [
            (etcd.EtcdCompareFailed, self.etcd.test_and_set, ("/key", "five", "one"), {}),
            (etcd.EtcdCompareFailed, self.etcd.delete, ("/key",), {"prevValue": "one"}),
            (etcd.EtcdCompareFailed, self.etcd.delete, ("/key",), {"prevIndex": 1}),
            (etcd.EtcdAlreadyExist, self.etcd.write, ("/key", "five"), {"prevExist": False}),
            (etcd.EtcdKeyNotFound, self.etcd.write, ("/other", "five"), {"prevExist": True}),
        ]
        for error, function, arguments, named in refused:
            await self.assertFailure(self.call(function, *arguments, **named), error)
        self.assertEqual((await self.call(self.etcd.get, "/key")).value, "four")
        await self.call(self.etcd.delete, "/key", prevValue="four")

    async def test_errors_are_exceptions(self) -> None:
        """The library has an exception for each of the API's errors, with the server's message."""
        await self.call(self.etcd.set, "/file", "x")
        await self.call(self.etcd.write, "/dir", None, dir=True)
        refused = [
            (etcd.EtcdKeyNotFound, self.etcd.get, ("/none",), {}),
            (etcd.EtcdKeyNotFound, self.etcd.delete, ("/none",), {}),
            (etcd.EtcdNotFile, self.etcd.set, ("/dir", "x"), {}),
            (etcd.EtcdNotDir, self.etcd.set, ("/file/below", "x"), {}),
            (etcd.EtcdRootReadOnly, self.etcd.delete, ("/",), {"recursive": True}),
            (etcd.EtcdValueError, self.etcd.write, ("/file", "x"), {"ttl": "soon"}),
        ]
        for error, function, arguments, named in refused:
            await self.assertFailure(self.call(function, *arguments, **named), error)
        raised = await self.assertFailure(self.call(self.etcd.get, "/none"), etcd.EtcdKeyNotFound)
        self.assertEqual(
            raised.payload,
            {"errorCode": 100, "message": "Key not found", "cause": "/none", "index": 3, "status": 404},
        )

    async def test_ttl_is_set_and_refreshed_by_python_etcd(self) -> None:
        """A TTL is set, shown and refreshed, and runs out."""
        written = await self.call(self.etcd.set, "/key", "x", ttl=100)
        self.assertIn(written.ttl, range(1, 101))
        read = await self.call(self.etcd.get, "/key")
        self.assertLessEqual(read.ttl, 100)
        watching = self.call(self.etcd.watch, "/key", index=read.modifiedIndex + 1)
        await self.machine.when_watched(1)
        refreshed = await self.call(self.etcd.refresh, "/key", ttl=200)
        self.assertIn(refreshed.ttl, range(101, 201))
        self.assertEqual(refreshed.value, "x")
        await self.call(self.etcd.set, "/key", "y", ttl=1)
        self.assertEqual((await watching).action, "set")
        expired = await self.call(self.etcd.watch, "/key", index=refreshed.modifiedIndex + 2)
        self.assertEqual((expired.action, expired.key), ("expire", "/key"))
        await self.assertFailure(self.call(self.etcd.get, "/key"), etcd.EtcdKeyNotFound)

    async def test_watch_waits_for_an_event(self) -> None:
        """The event may be the next one or a past one, or may not come."""
        watching = self.call(self.etcd.watch, "/dir", recursive=True)
        await self.machine.when_watched(1)
        written = await self.call((await self.connect()).set, "/dir/key", "x")
        seen = await watching
        self.assertEqual((seen.action, seen.key, seen.value), ("set", "/dir/key", "x"))
        self.assertEqual(seen.modifiedIndex, written.modifiedIndex)
        self.assertEqual(await self.call(self.etcd.watch, "/dir/key", index=seen.modifiedIndex), seen)
        await self.assertFailure(self.call(self.etcd.watch, "/dir/key", timeout=0.1), etcd.EtcdWatchTimedOut)
        await self.machine.when_watched(0)

    async def test_eternal_watch_yields_every_event(self) -> None:
        """Past and future events come in order."""
        for number in range(3):
            await self.call(self.etcd.set, "/key", str(number))

        def seen() -> list[str]:
            return [each.value for each in itertools.islice(self.etcd.eternal_watch("/key", index=2), 6)]

        watching = self.call(seen)
        await self.machine.when_watched(1)
        writer = await self.connect()
        for number in range(3, 6):
            await self.call(writer.set, "/key", str(number))
        self.assertEqual(await watching, ["0", "1", "2", "3", "4", "5"])

    async def test_forgotten_history_is_an_error(self) -> None:
        """A client that asks for events too old learns so, and where the history begins."""
        for number in range(HISTORY + 5):
            await self.call(self.etcd.set, "/key", str(number))
        late = self.call(self.etcd.watch, "/key", index=2)
        raised = await self.assertFailure(late, etcd.EtcdEventIndexCleared)
        self.assertRegex(str(raised), r"the requested history has been cleared \[\d+/2\]")

    async def test_lock_has_one_holder(self) -> None:
        """
        The library makes its lock of in-order keys with a TTL and of watches: one client holds it, and the other
        waits.
        """
        first, second = [etcd.Lock(await self.connect(), "job") for _ in range(2)]
        self.assertTrue(await self.call(first.acquire, lock_ttl=60))
        waiting = self.call(second.acquire, lock_ttl=60)
        await self.machine.when_watched(1)
        self.assertFalse(waiting.called)
        await self.call(first.release)
        self.assertTrue(await waiting)
        self.assertFalse(await self.call(lambda: first.is_acquired))
        await self.call(second.release)

    async def test_machines_and_counters(self) -> None:
        """The client lists the machines that it could reconnect to, and the store's counters."""
        self.assertEqual(await self.call(lambda: self.etcd.machines), [self.machine.url])
        before = await self.call(lambda: self.etcd.store_stats)
        await self.call(self.etcd.set, "/key", "x")
        after = await self.call(lambda: self.etcd.store_stats)
        self.assertEqual(after["setsSuccess"], before["setsSuccess"] + 1)
        self.assertEqual((await self.call(lambda: self.etcd.stats))["state"], "leader")

    async def test_version_is_json(self) -> None:
        """The library asks for C{/version} without an C{Accept} header."""
        self.assertEqual(await self.call(lambda: self.etcd.version), __version__)
        self.assertEqual(await self.call(lambda: self.etcd.cluster_version), __version__)

    async def test_leader_is_found_among_the_members(self) -> None:
        """The library looks up what C{leaderInfo.leader} says in the list of members, whatever their ids are."""
        leader = await self.call(lambda: self.etcd.leader)
        self.assertEqual((leader["name"], leader["clientURLs"]), ("machine0", [self.machine.url]))
        self.assertEqual(leader["id"], "machine0")
        hexadecimal = Machine(self)
        await hexadecimal.embed(member_ids="hex")
        client = await self.call(etcd.Client, port=hexadecimal.port, read_timeout=120)
        leader = await self.call(lambda: client.leader)
        self.assertEqual((leader["name"], leader["clientURLs"]), ("machine0", [hexadecimal.url]))
        self.assertRegex(leader["id"], "^[0-9a-f]{16}$")

    async def test_no_answer_lacks_the_cluster_id(self) -> None:
        """The library warns of each that does, and knows the cluster by it."""
        with self.assertNoLogs("etcd.client", "WARNING"):
            await self.call(self.etcd.set, "/key", "x")
            await self.call(lambda: self.etcd.leader)
            await self.call(lambda: self.etcd.stats)
            await self.assertFailure(self.call(self.etcd.get, "/none"), etcd.EtcdKeyNotFound)
        self.assertRegex(self.etcd.expected_cluster_id, "^[0-9a-f]{16}$")

    async def test_members_are_listed_by_id(self) -> None:
        members = await self.call(lambda: self.etcd.members)
        (member,) = members.values()
        self.assertEqual(members, {member["id"]: member})
        self.assertEqual((member["clientURLs"], member["peerURLs"]), ([self.machine.url], [self.machine.peer_url]))
