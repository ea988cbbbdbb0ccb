"""
etcdctl, etcd's own command-line tool, as it is in Debian's etcd-client.
"""

import shutil

import msgspec
from twisted.trial.unittest import TestCase

from tests.processes.child import Child, spawn
from tests.processes.machine import Machine

ETCDCTL = shutil.which("etcdctl")

REFUSED = 4
"""Its exit status when the server answers with an error."""


class EtcdctlTests(TestCase):
    """Its commands, as somebody would type them."""

    timeout = 60

    if ETCDCTL is None:
        skip = "etcdctl is not installed (apt-get install etcd-client)"

    async def setUp(self) -> None:
        """One machine."""
        self.machine = Machine(self)
        await self.machine.start()

    def start(self, *arguments: str) -> Child:
        """Start a command."""
        command = [str(ETCDCTL), "--endpoints", self.machine.url, *arguments]
        return spawn(self, command, self.machine.directory, {"ETCDCTL_API": "2"})

    async def run_command(self, *arguments: str) -> str:
        """What a command printed, that has to succeed."""
        child = self.start(*arguments)
        self.assertEqual((await child.ended(), child.errors), (0, ""), arguments)
        return child.output

    async def assertRefused(self, error: str, *arguments: str) -> None:
        """The server refuses a command, and the tool says why."""
        child = self.start(*arguments)
        self.assertEqual((await child.ended(), child.errors), (REFUSED, f"Error:  {error}\n"), arguments)

    async def test_keys(self) -> None:
        """C{set}, C{get}, C{mk}, C{update} and C{rm}."""
        self.assertEqual(await self.run_command("set", "/message", "Hello world"), "Hello world\n")
        self.assertEqual(await self.run_command("get", "/message"), "Hello world\n")
        self.assertEqual(await self.run_command("get", "--quorum", "/message"), "Hello world\n")
        self.assertEqual(await self.run_command("mk", "/other", "new"), "new\n")
        await self.assertRefused("105: Key already exists (/other) [3]", "mk", "/other", "newer")
        self.assertEqual(await self.run_command("update", "/message", "Hello etcd"), "Hello etcd\n")
        await self.assertRefused("100: Key not found (/none) [4]", "update", "/none", "x")
        self.assertEqual(await self.run_command("rm", "/message"), "PrevNode.Value: Hello etcd\n")
        await self.assertRefused("100: Key not found (/message) [5]", "get", "/message")

    async def test_outputs(self) -> None:
        """The other formats show the indexes."""
        await self.run_command("set", "/message", "Hello world")
        shown = msgspec.json.decode(await self.run_command("-o", "json", "get", "/message"))
        self.assertEqual(shown["action"], "get")
        self.assertEqual((shown["node"]["createdIndex"], shown["node"]["modifiedIndex"]), (2, 2))
        extended = await self.run_command("-o", "extended", "get", "/message")
        self.assertIn("Modified-Index: 2\n", extended)
        self.assertIn("Index: 2\n", extended)

    async def test_inOrder(self) -> None:
        """C{mk --in-order}."""
        for value in ("a", "b"):
            self.assertEqual(await self.run_command("mk", "--in-order", "/queue", value), f"{value}\n")
        self.assertEqual(await self.run_command("ls", "--sort", "/queue"), "/queue/2\n/queue/3\n")

    async def test_swap(self) -> None:
        """C{set} and C{rm} on a condition."""
        await self.run_command("set", "/key", "one")
        self.assertEqual(await self.run_command("set", "--swap-with-value", "one", "/key", "two"), "two\n")
        self.assertEqual(await self.run_command("set", "--swap-with-index", "3", "/key", "three"), "three\n")
        mismatch = "101: Compare failed ([one != three]) [4]"
        await self.assertRefused(mismatch, "set", "--swap-with-value", "one", "/key", "four")
        await self.assertRefused(mismatch, "rm", "--with-value", "one", "/key")
        await self.run_command("rm", "--with-index", "4", "/key")
        self.assertEqual(await self.run_command("ls"), "")

    async def test_directories(self) -> None:
        """C{mkdir}, C{setdir}, C{updatedir}, C{ls}, C{rmdir}, and C{rm} of a directory."""
        await self.run_command("mkdir", "/dir")
        await self.assertRefused("105: Key already exists (/dir) [2]", "mkdir", "/dir")
        await self.run_command("setdir", "/dir/empty")
        await self.run_command("set", "/dir/key", "x")
        await self.run_command("set", "/key", "x")
        self.assertEqual(await self.run_command("ls", "--sort", "-p"), "/dir/\n/key\n")
        self.assertEqual(
            await self.run_command("ls", "--recursive", "--sort", "-p", "/"), "/dir/\n/dir/empty/\n/dir/key\n/key\n"
        )
        await self.run_command("updatedir", "--ttl", "100", "/dir")
        self.assertEqual((await self.machine.client.get("/dir")).json()["node"]["ttl"], 100)
        await self.assertRefused("102: Not a file (/dir) [6]", "rm", "/dir")
        await self.assertRefused("108: Directory not empty (/dir) [6]", "rmdir", "/dir")
        await self.run_command("rmdir", "/dir/empty")
        await self.run_command("rm", "--recursive", "/dir")
        self.assertEqual(await self.run_command("ls"), "/key\n")

    async def test_ttl(self) -> None:
        """C{set --ttl}; the key goes when its time is over."""
        await self.run_command("set", "--ttl", "1", "/key", "x")
        expired = await self.run_command("-o", "json", "watch", "--after-index", "2", "/key")
        self.assertEqual(msgspec.json.decode(expired)["action"], "expire")

    async def test_watch(self) -> None:
        """C{watch} ends with the first event, of the future or of the past, or goes on for ever."""
        watching = self.start("watch", "--recursive", "/dir")
        await self.machine.when_watched(1)
        await self.run_command("set", "/dir/key", "Hello world")
        self.assertEqual((await watching.ended(), watching.output), (0, "[set] /dir/key\nHello world\n"))
        self.assertEqual(await self.run_command("watch", "--after-index", "1", "/dir/key"), "Hello world\n")
        forever = self.start("watch", "--forever", "--after-index", "1", "/dir/key")
        await forever.said("Hello world\n")
        await self.run_command("set", "/dir/key", "Hello etcd")
        await forever.said("Hello world\nHello etcd\n")

    async def test_execWatch(self) -> None:
        """C{exec-watch} runs a command for every event."""
        watching = self.start(
            *("exec-watch", "--recursive", "/dir", "--"),
            *("sh", "-c", "echo $ETCD_WATCH_ACTION $ETCD_WATCH_KEY $ETCD_WATCH_MODIFIED_INDEX $ETCD_WATCH_VALUE."),
        )
        await self.machine.when_watched(1)
        await self.run_command("set", "/dir/key", "one")
        await watching.said("set /dir/key 2 one.\n")
        await self.machine.when_watched(1)
        await self.run_command("rm", "/dir/key")
        await watching.said("delete /dir/key 3 .\n")
