"""
Tests of the log of a whole process: what it contains from start to end, and where it goes.
"""

import json
import os
import signal
from typing import Any

from twisted.trial.unittest import TestCase

from etcd_twisted import __version__
from tests.processes.cluster import until
from tests.processes.machine import FOREGROUND, STOPPED, Machine


class LogTests(TestCase):
    """Tests of one machine that gets a few requests and is stopped."""

    timeout = 240

    def setUp(self) -> None:
        self.machine = Machine(self)

    async def use(self) -> None:
        """Makes a few requests, and stops the machine."""
        await self.machine.client.put("/k", value="secret")
        self.assertEqual(await self.machine.terminate(), STOPPED)

    def in_order(self, said: str, *lines: str) -> None:
        """Asserts that each of these is logged once, and in this order."""
        at = 0
        for line in lines:
            self.assertEqual(said.count(line), 1, f"{line!r} in {said}")
            self.assertGreater(said.index(line), at - 1, f"{line!r} in {said}")
            at = said.index(line)

    async def test_log_has_what_an_operator_has_to_know(self) -> None:
        """The log has the life of a machine, and nothing of what its clients do."""
        await self.machine.start("--name", "machine0")
        await self.use()
        said = self.machine.child.output
        self.in_order(
            said,
            f"etcd_twisted {__version__} starts (Python 3.",
            f") for {self.machine.url} and {self.machine.peer_url}, with its data in {self.machine.data}",
            "machine0 stands for election in term 2",
            "machine0 leads in term 2",
            f"machine0 serves clients at {self.machine.url} and machines at {self.machine.peer_url}",
            "Received SIGTERM",
            "machine0 stops",
        )
        self.assertNotIn("/v2/keys", said)
        self.assertNotIn("#debug", said)

    async def test_requests_are_logged_when_asked_for(self) -> None:
        """The log has each request, without its content."""
        await self.machine.start("-vv")
        await self.machine.client.get("/none", "?wait=maybe")
        await self.machine.client.request("GET", "/version")
        await self.use()
        said = self.machine.child.output
        self.assertRegex(said, r"\[etcd_twisted\.requests#debug\] PUT /v2/keys/k: 201 after \d+\.\d ms\n")
        self.assertRegex(said, r"\] GET /v2/keys/none: 400 after ")
        self.assertRegex(said, r"\] GET /version: 200 after ")
        self.assertNotIn("secret", said)
        self.assertNotIn("maybe", said)

    async def test_every_line_is_a_json_object(self) -> None:
        """Every line is an object."""
        await self.machine.start("--name", "machine0", "--log-format", "json")
        await self.use()
        self.check(self.machine.child.output)

    def check(self, text: str) -> None:
        lines: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
        for line in lines:
            self.assertLessEqual({"time", "level", "logger", "message"}, set(line))
        (led,) = [line for line in lines if "leads" in line["message"]]
        self.assertEqual(led["fields"], {"leader": "machine0", "term": 2})
        self.assertEqual(lines[-1]["message"], "Server Shut Down.")

    async def test_log_goes_to_a_file_and_is_rotated(self) -> None:
        """The log goes where C{twistd}'s own option says, and a signal rotates it; nothing goes to standard output."""
        file = self.machine.directory / "etcd.log"
        self.machine.launch(
            *("--name", "machine0", "--log-format", "json"), twistd=(*FOREGROUND, "--logfile", str(file))
        )
        self.machine.client = self.machine.connect(self.machine.url)
        await until(self.serves, "the machine serves")
        os.kill(self.machine.child.pid, signal.SIGUSR1)
        before = file.with_name("etcd.log.1")

        async def rotated() -> bool | None:
            return True if before.exists() else None

        await until(rotated, "the log is begun anew")
        await self.use()
        self.assertEqual(self.machine.child.output, "")
        self.assertIn("machine0 stops", file.read_text())
        self.check(before.read_text() + file.read_text())

    async def serves(self) -> bool | None:
        answer = await self.machine.client.request("GET", "/health")
        return True if answer.status == 200 else None
