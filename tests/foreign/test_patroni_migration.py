"""
Patroni and its PostgreSQL are moved from etcd to machines of this project while PostgreSQL runs, and back, with the
commands of the page about migration.
"""

import re
import shlex
import signal
import sys
from pathlib import Path
from unittest import skipIf

from twisted.trial.unittest import TestCase

from tests.etcd import machine as etcd
from tests.foreign import programs
from tests.foreign.patroni import MISSING, Node
from tests.foreign.test_patroni import SETTINGS
from tests.processes.child import SOURCE, ChildProcess, spawn
from tests.processes.cluster import Cluster, until

PAGE = SOURCE / "docs" / "migration.md"


def commands() -> list[str]:
    """Returns the commands of the page's steps for Patroni."""
    section = PAGE.read_text().partition("\n## Patroni, for example\n")[2].partition("\n## ")[0]
    return re.findall(r"^ *\$ (.*)$", section, re.MULTILINE)


@skipIf((MISSING or etcd.MISSING) is not None, MISSING or etcd.MISSING or "")
class MigrationTests(TestCase):
    """Two nodes, three machines of etcd, and three machines of this project."""

    timeout = 600

    async def setUp(self) -> None:
        """Starts all of them, and bootstraps the nodes in etcd."""
        cluster = Cluster(self, 3)
        await cluster.start()
        self.etcd = [each.url for each in await etcd.start_cluster(self, 3)]
        self.ours = [each.url for each in cluster.machines]
        self.nodes = [Node(self, name, _ports(self.etcd), supervised=True) for name in ("node1", "node2")]
        primary, replica = self.nodes
        primary.start()
        await primary.becomes("primary")
        await primary.ask("PATCH", "/config", SETTINGS)
        replica.start()
        await replica.becomes("replica")
        await primary.sql("CREATE TABLE notes (note text)")

    def start(self, command: str, old: str, new: str) -> ChildProcess:
        """Starts a command of the page."""
        name, *arguments = shlex.split(command.replace("http://OLD:2379", old).replace("http://NEW:4001", new))
        program = programs.BIN / name if name == "patronictl" else Path(sys.executable).with_name(name)
        arguments = [str(self.nodes[0].path) if each == "patroni.yml" else each for each in arguments]
        return spawn(self, [program, *arguments], Path.cwd(), {"PYTHONPATH": "", "HOME": str(Path.cwd())})

    async def run_command(self, command: str, old: str, new: str) -> str:
        """Returns what a command of the page prints, which has to succeed."""
        child = self.start(command, old, new)
        self.assertEqual(await child.when_ended(), 0, f"{command}\n{child.output}{child.errors}")
        return child.output

    async def move(self, old: list[str], new: list[str], note: str, *options: str) -> None:
        """
        Takes the page's steps.

        @param note: what is written to PostgreSQL while Patroni is paused.
        @param options: further options of the mirror.
        """
        mirror, pause, resume, listing = commands()
        copying = self.start(mirror.replace(" --to ", f" {' '.join(options)} --to "), old[0], new[0])
        await copying.when_printed("0.0 s behind")
        await self.run_command(pause, old[0], new[0])
        told = copying.output.count("0.0 s behind")

        async def copied() -> bool | None:
            return copying.output.count("0.0 s behind") > told + 1 or None

        await until(copied, "the copy has what there was when Patroni was paused")
        copying.signal(signal.SIGINT)
        self.assertEqual(await copying.when_ended(), 130, copying.errors)
        for node in self.nodes:
            node.use(_ports(new))
            await node.restart()
            await node.becomes("primary" if node is self.nodes[0] else "replica")
        await self.nodes[0].sql(f"INSERT INTO notes VALUES ('{note}')")
        await self.run_command(resume, old[0], new[0])
        shown = await self.run_command(listing, old[0], new[0])
        self.assertRegex(shown, r"node1 .*\| Leader +\| running ")
        self.assertRegex(shown, r"node2 .*\| Replica +\| streaming ")

    async def test_moved_and_moved_back(self) -> None:
        """No node has been promoted, and PostgreSQL was never started again."""
        started = "SELECT pg_postmaster_start_time()"
        before = [await node.sql(started) for node in self.nodes]
        await self.move(self.etcd, self.ours, "moved")
        await self.move(self.ours, self.etcd, "moved back", "--overwrite")

        async def replicated() -> bool:
            for node in self.nodes:
                self.assertEqual(await node.sql("SELECT note FROM notes"), "moved\nmoved back")
            return True

        await until(replicated, "both nodes have what was written meanwhile")
        self.assertEqual([await node.sql(started) for node in self.nodes], before)
        self.assertEqual(await self.nodes[0].ask("GET", "/history"), [])


def _ports(urls: list[str]) -> list[int]:
    return [int(url.rpartition(":")[2]) for url in urls]
