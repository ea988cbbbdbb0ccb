"""
Data directories that Debian's etcd has written under load, with users, and after which it was stopped or killed: what
is read of them is what etcd itself lists when it is started again. And those of machines of this program that run.
"""

import contextlib
import itertools
import json
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import DeferredList, ensureDeferred
from twisted.trial.unittest import TestCase

from etcd_twisted.client import ApiError, Client, ClientError, Reading
from etcd_twisted.datadir.content import Content
from etcd_twisted.datadir.etcd.directory import EtcdDirectory, read_etcd_directory
from etcd_twisted.datadir.from_etcd import convert
from etcd_twisted.datadir.operations import NewMachine, check, make_from_etcd, read_etcd
from etcd_twisted.datadir.trees import walk
from etcd_twisted.errors import StorageError
from etcd_twisted.keyspace.nodes import File
from etcd_twisted.keyspace.paths import is_hidden
from tests.etcd.machine import MISSING, EtcdMachine
from tests.processes.child import spawn
from tests.processes.machine import Machine

_TXETCDCTL = Path(sys.executable).with_name("txetcdctl")
_MOMENTS = 6
_WRITERS = 8
_SNAPSHOT_COUNT = "150"

Listing = dict[str, tuple[Any, ...]]


class _Load:
    """
    Requests of many kinds, one after the other, until the server is gone.

    @ivar count: how many were answered.
    """

    def __init__(self, client: Client, seed: int) -> None:
        self.count = 0
        self._client = client
        self._random = random.Random(seed)

    async def run(self) -> None:
        """Send requests until one is not answered."""
        while True:
            try:
                with contextlib.suppress(ApiError):  # what is refused is in the log too
                    await self._request()
            except ClientError:
                return
            self.count += 1

    async def _request(self) -> None:
        client, choose = self._client, self._random
        directory = f"/load/{choose.randrange(5)}"
        key = f"{directory}/{choose.randrange(12)}"
        value = choose.choice(["", 'é\n"', "x" * choose.randrange(1500)])
        ttl = choose.choice([None, None, 1, 2, 5_000])
        kind = choose.randrange(10)
        if kind < 3:
            await client.set(key, value, ttl_seconds=ttl)
        elif kind == 3:
            await client.create(f"{key}/below", value, ttl_seconds=ttl)
        elif kind == 4:
            await client.update(key, value, ttl_seconds=ttl)
        elif kind == 5:
            await client.create_in_order(f"/load/queue{choose.randrange(3)}", value, ttl_seconds=ttl)
        elif kind == 6:
            await client.refresh(key, ttl_seconds=choose.choice([1, 5_000]))
        elif kind == 7:
            await client.compare_and_swap(key, value, previous_value="x")
        elif kind == 8:
            await client.delete(key)
        elif choose.random() < 0.5:
            await client.make_directory(f"/load/{choose.randrange(20)}", ttl_seconds=ttl)
        else:
            await client.remove_directory(directory, recursive=choose.random() < 0.3)


MOST_SECONDS = 60.0
"""What expires within this time is not compared: it may be gone when etcd lists."""


def lasting(reading: Reading) -> Listing:
    """Returns what a server has listed, by key, without what expires soon."""
    lists: Listing = {}
    soon: list[str] = []
    for each in reading.node.walk():
        is_over = each.expires_at is not None and each.expires_at < time.time() + MOST_SECONDS
        if is_over or _is_below(each.key, soon):
            soon.append(each.key)
        elif each.key != "/":
            ends = None if each.expires_at is None else round(each.expires_at, 3)
            value = None if each.directory else each.value
            lists[each.key] = (value, each.created_index, each.modified_index, ends)
    return lists


def _is_below(key: str, directories: list[str]) -> bool:
    return any(key.startswith(f"{each}/") for each in directories)


def held(content: Content, seconds: float) -> Listing:
    """Returns what a listing of this would show, without what expires within some seconds."""
    shown: Listing = {}
    soon: list[str] = []
    for key, node in walk(content.state.root):
        ends = None if node.expires is None else node.expires / 1_000_000
        if (ends is not None and ends < time.time() + seconds) or _is_below(key, soon):
            soon.append(key)
        elif not is_hidden(key):
            value = node.value if isinstance(node, File) else None
            shown[key] = (value, node.created, node.modified, None if ends is None else round(ends, 3))
    return shown


class EtcdDirectoryTests(TestCase):
    skip = MISSING
    timeout = 600

    async def setUp(self) -> None:
        self.machine = EtcdMachine(self, "m0", flags=("--snapshot-count", _SNAPSHOT_COUNT))
        self.client = Client(self.machine.url, reactor=reactor, refresh_seconds=None)
        self.addCleanup(self.client.close)
        await self.machine.start()

    def read(self) -> EtcdDirectory:
        return read_etcd_directory(self.machine.data)

    async def under_load(self, seed: int, requests: int) -> None:
        """Send requests of many kinds at a time, and end etcd while they are under way."""
        loads = [_Load(self.client, seed * _WRITERS + each) for each in range(_WRITERS)]
        running = DeferredList([ensureDeferred(each.run()) for each in loads], fireOnOneErrback=True)
        while sum(each.count for each in loads) < requests:
            await self.client.set("/progress", str(sum(each.count for each in loads)))
        if seed % 2:
            await self.machine.kill()
        else:
            await self.machine.stop()
        await running

    async def test_under_load(self) -> None:
        """At each of several moments: keys, directories, values, indexes and the ends of TTLs are those of etcd."""
        await self.client.set("/_hidden", "value")
        await self.client.auth.add_role("r", read=["/a/*"], write=["/b", "/c/*"])
        await self.client.auth.add_user("root", "secret", roles=["root"])
        await self.client.auth.add_user("alice", "password", roles=["r"])
        await self.client.auth.enable()
        root = Client(self.machine.url, reactor=reactor, credentials=("root", "secret"), refresh_seconds=None)
        self.addCleanup(root.close)
        choose = random.Random(1)
        for moment in range(_MOMENTS):
            await self.under_load(moment, choose.randrange(20, 900))
            found = self.read()
            content = convert(found).content
            await self.machine.start()
            reading = await self.client.list("/", recursive=True, sort=True, quorum=True)
            lists, has = lasting(reading), held(content, MOST_SECONDS)
            self.assertEqual({key: lists.get(key) for key in has}, has)
            self.assertEqual(lists, has)
            # Its start sets the member's name again, and what has expired since then counts too.
            self.assertGreaterEqual(reading.index.etcd_index, found.store.index + 1)
            users = {each.name: each.roles for each in await root.auth.users()}
            self.assertEqual({name: user.roles for name, user in found.auth.users.items()}, users)
            self.assertTrue(found.auth.enabled)
        self.assertGreater(found.snapshot_index, 0)

    async def test_import(self) -> None:
        """A machine of this program goes on from it with the next index, and users have their passwords."""
        await self.client.auth.add_user("root", "secret", roles=["root"])
        await self.client.set("/ttl", "x", ttl_seconds=5_000)
        await self.client.create_in_order("/queue", "x")
        await self.client.make_directory("/empty")
        before = await self.client.list("/", recursive=True, sort=True, quorum=True)
        await self.machine.kill()
        machine = Machine(self, "m0")
        etcd, converted, _ = read_etcd(self.machine.data, None)
        make_from_etcd(etcd, converted, machine.data, NewMachine(None, machine.url, machine.peer_url))
        await machine.start()
        client = Client(machine.url, reactor=reactor, refresh_seconds=None)
        self.addCleanup(client.close)
        after = await client.list("/", recursive=True, sort=True, quorum=True)
        shown = {key: each for key, each in lasting(after).items() if not key.startswith("/_etcd")}
        self.assertEqual(shown, lasting(before))
        self.assertEqual(after.index.etcd_index, before.index.etcd_index)
        event = await client.create_in_order("/queue", "y")
        index = before.index.etcd_index + 1
        self.assertEqual((event.node.key, event.node.modified_index), (f"/queue/{index:020}", index))
        await client.auth.enable()
        for password, user in (("secret", True), ("wrong", False)):
            with_password = Client(machine.url, reactor=reactor, credentials=("root", password), refresh_seconds=None)
            self.addCleanup(with_password.close)
            if user:
                self.assertEqual([each.name for each in await with_password.auth.users()], ["root"])
            else:
                await self.assertFailure(with_password.auth.users(), ClientError)

    async def test_in_use(self) -> None:
        """A directory of a running etcd is refused, and etcd does not notice."""
        error = self.assertRaises(StorageError, self.read)
        self.assertIn("in use by a running etcd", str(error))
        await self.client.set("/a", "b")


class RunningMachineTests(TestCase):
    """A machine of this program is backed up while it is written to, and takes snapshots of its own."""

    timeout = 300

    async def test_backups(self) -> None:
        """Each backup has all that was acknowledged before it began, and so has the directory after a kill."""
        machine = Machine(self, "m0")
        await machine.start("--snapshot-count", "200")
        client = Client(machine.url, reactor=reactor, refresh_seconds=None)
        self.addCleanup(client.close)
        acknowledged = [0]

        async def write(name: int) -> None:
            with contextlib.suppress(ClientError):
                for number in itertools.count():
                    event = await client.set(f"/{name}/{number % 100}", "x" * 300)
                    acknowledged.append(event.node.modified_index)

        writing = DeferredList([ensureDeferred(write(name)) for name in range(_WRITERS)], fireOnOneErrback=True)
        for number in range(5):
            before = max(acknowledged)
            path = machine.directory / f"backup{number}"
            command = [_TXETCDCTL, "-o", "json", "backup", "--data-dir", machine.data, "--running", path]
            child = spawn(self, command, machine.directory)
            self.assertEqual((await child.when_ended(), child.errors), (0, ""))
            self.assertGreaterEqual(json.loads(child.output)["index"], before)
        machine.child.signal(signal.SIGKILL)
        await writing
        self.assertGreaterEqual(check(machine.data).fields["index"], max(acknowledged))
