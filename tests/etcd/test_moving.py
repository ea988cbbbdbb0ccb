"""
Keys move between Debian's etcd 3.4 and a cluster of ours: exported, imported, mirrored.

The tests are short here. C{make move-campaign} has them with 100,000 keys, and mirrors for 10 minutes.
"""

import os
import random
import signal
import sys
from pathlib import Path
from typing import Any, cast

import attrs
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from etcd_twisted.client import Client, ClientError, NotADirectory, NotAFile, Timeouts
from etcd_twisted.client.large import walk
from etcd_twisted.ctl.export_format import ExportReader, ExportWriter, Header, NodeRecord
from etcd_twisted.testing.child_process import ChildProcess
from tests.etcd.machine import MISSING, EtcdMachine, start_cluster
from tests.processes.child import spawn
from tests.processes.cluster import Cluster, until

KEYS = int(os.environ.get("MOVE_KEYS", "4000"))
"""How many keys are moved; a hundredth as many directories."""

KILLS = int(os.environ.get("MOVE_KILLS", "4"))
"""How often an import is killed."""

MIRROR_SECONDS = float(os.environ.get("MIRROR_SECONDS", "15"))
"""How long a mirror runs under load."""

SEED = int(os.environ.get("MOVE_SEED", "0"))

TXETCDCTL = Path(sys.executable).with_name("txetcdctl")

_EXPIRY_TOLERANCE_SECONDS = 10.0

Tree = dict[str, tuple[str | None, float | None]]
"""The value of each key, C{None} for a directory, and when it expires."""


@attrs.frozen
class Ended:
    """What a command has done."""

    status: int
    output: str
    errors: str


class MovingTest(TestCase):
    """Commands run as processes."""

    timeout = 3_600
    skip = MISSING

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir()
        self.random = random.Random(SEED)

    def client(self, urls: str) -> Client:
        """Returns a client that the end of the test closes."""
        client = Client(urls, reactor=cast(IReactorTime, reactor), timeouts=Timeouts(30.0, 10.0, 2.0))
        self.addCleanup(client.close)
        return client

    def start(self, *arguments: str) -> ChildProcess:
        """Starts a command."""
        return spawn(self, [TXETCDCTL, *arguments], self.directory)

    async def type(self, *arguments: str) -> Ended:
        """Returns what a command has done."""
        child = self.start(*arguments)
        return Ended(await child.when_ended(), child.output, child.errors)

    async def succeed(self, *arguments: str) -> Ended:
        """Returns what a command has done, which has to succeed."""
        ended = await self.type(*arguments)
        self.assertEqual(ended.status, 0, ended)
        return ended

    async def tree(self, client: Client, directory: str = "/") -> Tree:
        """Returns everything below a directory."""
        tree: Tree = {}

        def begin(_: Any) -> Any:
            tree.clear()
            return take

        def take(node: Any) -> None:
            if node.key != directory:
                tree["/" + node.key[len(directory) :].lstrip("/")] = (node.value, node.expires_at)

        await walk(client, directory, begin)
        return tree

    def assertSameTree(self, found: Tree, expected: Tree) -> None:
        """Asserts that two trees are equal, but for what TTLs in whole seconds, and the mirror, add to expirations."""
        for tree in (found, expected):
            self.assertGreater(len(tree), 0)
        self.assertEqual(found.keys() ^ expected.keys(), set())
        different = []
        for key, (value, expires_at) in expected.items():
            there, there_expires_at = found[key]
            is_same = value == there and (expires_at is None) is (there_expires_at is None)
            is_late = abs((expires_at or 0.0) - (there_expires_at or 0.0)) > _EXPIRY_TOLERANCE_SECONDS
            if not is_same or is_late:
                different.append(key)
        self.assertEqual(different, [])


class ExportImportTests(MovingTest):
    """Keys with TTLs, and directories."""

    def made_up(self, count: int) -> Path:
        """Returns a file with keys in directories, half of them with TTLs."""
        path = self.directory / "made-up.jsonl"
        now = reactor.seconds()  # type: ignore[attr-defined]
        with path.open("wb") as file:
            writer = ExportWriter(file, Header("/", 1, now))
            directories = max(1, count // 100)
            for number in range(directories):
                expires_at = now + 7_200 if number % 7 == 0 else None
                writer.write(NodeRecord(f"/dir{number}", None, expires_at))
                for key in range(count // directories):
                    value = f"{number} {key} ☃ " + "x" * 40
                    writer.write(NodeRecord(f"/dir{number}/key {key}", value, now + 3_600 + key if key % 2 else None))
            writer.finish()
        return path

    async def test_there_and_back(self) -> None:
        """From etcd into a cluster and back into another etcd, whose trees are equal at the end."""
        first, second = EtcdMachine(self, "first"), EtcdMachine(self, "second")
        await first.start()
        await second.start()
        cluster = Cluster(self, 3)
        await cluster.start()
        urls = ",".join(machine.url for machine in cluster.machines)
        await self.succeed("-C", first.url, "import", str(self.made_up(KEYS)))
        original = await self.tree(self.client(first.url))
        self.assertEqual(len(original), KEYS + max(1, KEYS // 100))
        there, back = str(self.directory / "there.jsonl"), str(self.directory / "back.jsonl")
        await self.succeed("-C", first.url, "export", "-f", there)
        await self.succeed("-C", urls, "import", there)
        self.assertSameTree(await self.tree(self.client(urls)), original)
        await self.succeed("-C", urls, "export", "-f", back)
        await self.succeed("-C", second.url, "import", back)
        self.assertSameTree(await self.tree(self.client(second.url)), original)
        with open(back, "rb") as file:
            self.assertEqual(sum(1 for _ in ExportReader(file, back)), len(original))

    async def test_kills(self) -> None:
        """An import that is killed at random moments, and run again, ends with an equal tree."""
        cluster = Cluster(self, 3)
        await cluster.start()
        urls = ",".join(machine.url for machine in cluster.machines)
        path = self.made_up(KEYS)
        with path.open("rb") as file:
            nodes = [record for record in ExportReader(file, "") if isinstance(record, NodeRecord)]
        state = path.with_name(f"{path.name}.import-state")
        client = self.client(urls)
        done = 0
        for number in range(KILLS):
            latest = done + self.random.randrange(1, max(2, (len(nodes) - done) // (KILLS - number + 1)))
            child = self.start("-C", urls, "import", str(path))

            async def reached(latest: int = latest, child: ChildProcess = child) -> bool | None:
                if child.status is not None:
                    return True
                index = (await client.get("/")).index.etcd_index
                return True if index > latest else None

            await until(reached, f"the import has written {latest} keys")
            if child.status is None:
                child.signal(signal.SIGKILL)
            await child.when_ended()
            self.assertTrue(state.exists() or child.status == 0, child.errors)
            done = latest
        if state.exists():
            await self.succeed("-C", urls, "import", str(path))
        self.assertFalse(state.exists())
        expected: Tree = {node.key: (node.value, node.expires_at) for node in nodes}
        self.assertSameTree(await self.tree(client), expected)


class MirrorTests(MovingTest):
    """A mirror follows a source that somebody writes to."""

    async def write(self, client: Client, until_seconds: float, pause_seconds: float, least: int = 0) -> None:
        """Changes the source at random until a time, and until so many changes were made."""
        made = 0
        while made < least or reactor.seconds() < until_seconds:  # type: ignore[attr-defined]
            key = f"/app/{self.random.randrange(5)}/{self.random.randrange(20)}"
            choice = self.random.random()
            try:
                if choice < 0.7:
                    ttl_seconds = self.random.choice((None, None, 3, 600))
                    await client.set(key, str(self.random.random()), ttl_seconds=ttl_seconds)
                elif choice < 0.8:
                    await client.make_directory(f"{key}-d", ttl_seconds=self.random.choice((None, 3)))
                elif choice < 0.95:
                    await client.delete(key)
                else:
                    await client.remove_directory(f"/app/{self.random.randrange(5)}", recursive=True)
            except (NotAFile, NotADirectory):
                continue
            except ClientError:  # it is not there, or a leader has just died
                pass
            else:
                made += 1
            await deferLater(cast(Any, reactor), pause_seconds)

    async def test_leaders_die(self) -> None:
        """The leaders of both sides are killed over and over, and at the end the copy is equal."""
        source, target = await start_cluster(self, 3), Cluster(self, 3)
        await target.start()
        urls = ",".join(machine.url for machine in source), ",".join(machine.url for machine in target.machines)
        client, copy = self.client(urls[0]), self.client(urls[1])
        await client.set("/app/first", "1")
        options = ("--to", urls[1], "--to-directory", "/copy", "--report", "1s")
        mirror = self.start("-C", urls[0], "-o", "json", "mirror", *options, "/app")
        end = reactor.seconds() + MIRROR_SECONDS  # type: ignore[attr-defined]
        writing = ensureDeferred(self.write(client, end, 0.01, least=21))
        while reactor.seconds() < end - 5.0:  # type: ignore[attr-defined]
            leader = await client.leader()
            victim = next(machine for machine in source if machine.name == leader.name)
            await victim.kill()
            await deferLater(cast(Any, reactor), 2.0)
            await victim.start()
            ours = await target.leader()
            await target.kill(ours)
            await ours.start()
            await target.agree(target.machines)
        await writing
        await client.set("/app/last", "1")

        async def arrived() -> bool | None:
            return (await copy.get("/copy/last", quorum=True)).value == "1" or None

        async def same() -> bool | None:
            self.assertSameTree(await self.tree(copy, "/copy"), await self.tree(client, "/app"))
            return True

        async def patiently(probe: Any) -> bool | None:
            try:
                return cast("bool | None", await probe())
            except ClientError:
                return None

        await until(lambda: patiently(arrived), "the last key is copied")
        await until(lambda: patiently(same), "the copy is equal")
        self.assertIsNone(mirror.status, mirror.errors)
        mirror.signal(signal.SIGTERM)
        self.assertEqual(await mirror.when_ended(), 143, mirror.errors)
        (self.directory / "mirror.log").write_text(mirror.output + mirror.errors)

    async def test_version_3(self) -> None:
        """What C{etcdctl} lists in version 3 is what the source has, without its directories."""
        source, target = EtcdMachine(self, "source"), EtcdMachine(self, "target")
        await source.start()
        await target.start()
        client = self.client(source.url)
        await self.write(client, reactor.seconds() + 1.0, 0.0)  # type: ignore[attr-defined]
        mirror = self.start("-C", source.url, "mirror", "--to-v3", target.url, "--to-directory", "/copy", "/app")
        await self.write(client, reactor.seconds() + 3.0, 0.0)  # type: ignore[attr-defined]
        await client.set("/app/last", "1")

        async def listed() -> dict[str, str]:
            listing = spawn(
                self,
                ["etcdctl", "--endpoints", target.url, "get", "--prefix", "/"],
                self.directory,
                {"ETCDCTL_API": "3"},
            )
            self.assertEqual(await listing.when_ended(), 0, listing.errors)
            lines = listing.output.splitlines()
            return dict(zip(lines[::2], lines[1::2], strict=True))

        async def same() -> bool | None:
            tree = await self.tree(client, "/app")
            values = {f"/copy{key}": value for key, (value, _) in tree.items() if value is not None}
            self.assertEqual(await listed(), values)
            return True

        await until(same, "the copy is equal")
        mirror.signal(signal.SIGTERM)
        self.assertEqual(await mirror.when_ended(), 143, mirror.errors)
