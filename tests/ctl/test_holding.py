"""
What is held while a process lives: locks and leaderships; and C{top}, which goes on until it is interrupted.
"""

import json
import signal
import sys
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.ctl.test_json import check
from tests.processes.child import ChildProcess, spawn
from tests.processes.cluster import until
from tests.processes.machine import Machine

TXETCDCTL = Path(sys.executable).with_name("txetcdctl")


class HoldingTests(TestCase):
    """One machine is asked."""

    timeout = 120

    async def setUp(self) -> None:
        """Starts the machine."""
        self.machine = Machine(self)
        await self.machine.embed()

    def start(self, *arguments: str) -> ChildProcess:
        """Starts a command."""
        settings = {"TXETCDCTL_ENDPOINTS": self.machine.url, "TXETCDCTL_TOTAL_TIMEOUT": "60s"}
        return spawn(self, [TXETCDCTL, *arguments], self.machine.directory, settings)

    async def keys_in(self, directory: str) -> list[str]:
        """Returns the keys in a directory."""
        listing = (await self.machine.client.get(directory)).json()
        return [each["key"] for each in listing["node"].get("nodes", ())]

    async def when_contended(self, directory: str) -> None:
        """Waits until two processes want something."""

        async def contended() -> bool | None:
            return len(await self.keys_in(directory)) == 2 or None

        await until(contended, "there are two contenders")

    async def test_lock_with_a_command(self) -> None:
        """The command knows the lock's key, reads the standard input, and its status is the tool's."""
        child = self.start("lock", "/lock", "sh", "-c", "read line; echo $line $ETCD_LOCK_KEY $ETCD_LOCK_REV; exit 7")
        child.transport.write(b"a line\n")
        self.assertEqual((await child.when_ended(), child.errors), (7, ""))
        words = child.output.split()
        self.assertEqual(words, ["a", "line", f"/lock/{words[3]}", words[3]])
        self.assertEqual(await self.keys_in("/lock"), [])

    async def test_locks_exclude_each_other(self) -> None:
        """Who waits gets it when the holder is interrupted, which gives it up at once. The JSON is as documented."""
        first = self.start("-o", "json", "lock", "--ttl", "100", "/lock")
        await first.when_printed("\n")
        second = self.start("lock", "/lock", "--", "echo", "mine")
        await self.when_contended("/lock")
        self.assertEqual(second.output, "")
        first.signal(signal.SIGINT)
        self.assertEqual((await first.when_ended(), first.errors), (130, ""))
        check("lock", json.loads(first.output))
        self.assertEqual((await second.when_ended(), second.output, second.errors), (0, "mine\n", ""))

    async def test_command_ends_before_the_lock_does(self) -> None:
        """A signal for the tool ends the command first, which takes its time; then the lock is free."""
        program = 'trap "echo ending; echo done; exit" TERM; echo $ETCD_LOCK_KEY; while :; do sleep 0.05; done'
        child = self.start("lock", "--ttl", "100", "/lock", "sh", "-c", program)
        await child.when_printed("\n")
        child.signal(signal.SIGTERM)
        self.assertEqual((await child.when_ended(), child.errors), (143, ""))
        self.assertEqual(child.output.splitlines()[1:], ["ending", "done"])
        self.assertEqual(await self.keys_in("/lock"), [])

    async def test_lost_lock_ends_the_command(self) -> None:
        """Somebody has removed its key, which is noticed when it is renewed, after a third of its TTL."""
        child = self.start("lock", "--ttl", "6", "/lock", "sh", "-c", "echo running; exec sleep 1000")
        await child.when_printed("running\n")
        (key,) = await self.keys_in("/lock")
        await self.machine.client.delete(key)
        self.assertEqual(await child.when_ended(), 4)
        self.assertIn("Error:  the lock was lost (", child.errors)
        self.assertIn("), and sh was ended", child.errors)

    async def test_elections(self) -> None:
        """The leader leads until it is interrupted, others see who it is, and the next one follows."""
        listening = self.start("-o", "json", "elect", "--listen", "/election")
        await listening.when_printed('{"value":null}\n')
        first = self.start("-o", "json", "elect", "--ttl", "100", "/election", "first")
        await listening.when_printed('{"value":"first"}\n')
        second = self.start("elect", "--ttl", "100", "/election", "second")
        await self.when_contended("/election")
        first.signal(signal.SIGINT)
        self.assertEqual((await first.when_ended(), first.errors), (130, ""))
        await listening.when_printed('{"value":"second"}\n')
        second.signal(signal.SIGTERM)
        self.assertEqual((await second.when_ended(), second.errors), (143, ""))
        self.assertEqual(second.output.splitlines()[1], "second")
        listening.signal(signal.SIGINT)
        self.assertEqual((await listening.when_ended(), listening.errors), (130, ""))
        for line in (first.output + listening.output).splitlines():
            check("elect", json.loads(line))

    async def test_top(self) -> None:
        """It counts what others do meanwhile, and goes on until Ctrl-C."""
        child = self.start("-o", "json", "top", "--interval", "200ms")

        async def counted() -> bool | None:
            await self.machine.client.put("/key", value="x")
            lines = child.output.splitlines(keepends=True)
            documents = [json.loads(line) for line in lines if line.endswith("\n")]
            return any(each["machines"][0]["writesPerSecond"] for each in documents) or None

        await until(counted, "top has counted writes")
        child.signal(signal.SIGINT)
        self.assertEqual((await child.when_ended(), child.errors), (130, ""))
        for line in child.output.splitlines():
            document = json.loads(line)
            check("top", document)
            self.assertEqual((document["leader"], document["machines"][0]["lag"]), ("machine0", 0))
