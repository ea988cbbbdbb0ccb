"""
Every command of C{txetcdctl} with clusters of three machines of which one is down, and with Debian's etcd.
"""

import json
import signal
import sys
from pathlib import Path

from etcd_twisted.testing.child_process import ChildProcess
from tests.ctl.real_commands import RealCommandTest
from tests.ctl.test_json import COMMANDS, SCRIPT, check
from tests.etcd.machine import MISSING, start_cluster
from tests.processes.child import spawn
from tests.processes.cluster import Cluster, until

TXETCDCTL = Path(sys.executable).with_name("txetcdctl")

MORE = ("lock /lock true", "exec-watch --after-index 1 /dir/key no-such-program", "completion bash")
"""Commands for which tests in memory have no processes."""

CHANGES = (
    "member add machine9 http://127.0.0.1:{free}",
    "member update {added} http://127.0.0.1:{free}",
    "member remove {added}",
)
"""Commands that could take the majority from a cluster of etcd, where one that is added counts before it starts."""

FAIL = {"exec-watch": 1}
"""Commands that must fail here, with their statuses."""

ADMINISTRATION = ("machines", "config")
"""Commands for what etcd 2 and later do not have."""


class EveryCommandTests(RealCommandTest):
    """The script with all commands is typed."""

    timeout = 300

    async def run_all(self, statuses: dict[str, int], name: str = "machine0", more: tuple[str, ...] = MORE) -> None:
        """
        Runs all commands. What they print is as documented.

        @param statuses: the exit statuses of commands that differ here.
        @param name: the name of a machine.
        @param more: commands beside those of L{SCRIPT}.
        """
        statuses = FAIL | statuses
        seen = set()
        names = {"name": name, "free": 65_123, "added": ""}
        script = [*SCRIPT[:-3], *more, *SCRIPT[-3:]]
        for line in script:
            arguments = line.format(**names).split()
            words = arguments[2:] if arguments[0] == "--username" else arguments
            command = " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0]
            outcome = await self.type("-o", "json", "--total-timeout", "30s", *arguments, stdin=b"secret\n")
            self.assertEqual(outcome.status, statuses.get(command, statuses.get(words[0], 0)), f"{line}\n{outcome}")
            if outcome.status in (0, 5) and command in COMMANDS:
                for document in outcome.output.splitlines():
                    check(command, json.loads(document))
            if command == "member add":
                names["added"] = json.loads(outcome.output)["id"]
            seen.add(command)
        self.assertGreater(len(seen), 40)

    async def assertElects(self) -> None:
        """Asserts that a leader is elected, and resigns when it is interrupted."""
        child: ChildProcess = spawn(
            self, [TXETCDCTL, "elect", "/election", "x"], Path.cwd(), {"TXETCDCTL_ENDPOINTS": self.endpoints}
        )
        await child.when_printed("x\n")
        child.signal(signal.SIGINT)
        self.assertEqual((await child.when_ended(), child.errors), (130, ""))

    async def test_one_machine_is_down(self) -> None:
        """A follower of three. The others do everything; C{health} and C{top} say which one it is."""
        cluster = Cluster(self, 3)
        await cluster.start()
        down = (await cluster.followers())[0]
        self.endpoints = ",".join(each.url for each in cluster.machines)
        await cluster.kill(down)
        outcome = await self.type("health")
        self.assertEqual(outcome.status, 5)
        self.assertIn("cluster is degraded\n", outcome.output)
        self.assertIn(f"member {down.name} is unreachable: no machine has answered: {down.url}: ", outcome.output)
        shown = json.loads(await self.printed("-o", "json", "top", "--count", "1"))
        problems = {each["name"]: each["problem"] is not None for each in shown["machines"]}
        self.assertEqual(problems, {each.name: each is down for each in cluster.machines})
        self.assertIn("1 do not answer", await self.printed("top", "--count", "1"))
        running = next(each for each in cluster.machines if each is not down)
        await self.assertElects()
        await self.run_all({"health": 5}, running.name, (*MORE, *CHANGES))

    async def test_no_majority(self) -> None:
        """
        Reads work. A write that was refused is told from one of which nobody knows whether it was made, and both say
        what to do.
        """
        cluster = Cluster(self, 3)
        await cluster.start()
        self.endpoints = ",".join(each.url for each in cluster.machines)
        await self.printed("set", "/key", "x")
        leader = await cluster.leader()
        await cluster.kill(*[each for each in cluster.machines if each is not leader])
        self.assertEqual(await self.printed("get", "/key"), "x\n")

        async def unavailable() -> bool | None:
            outcome = await self.type("health")
            self.assertEqual(outcome.status, 5)
            return "cluster is unavailable\n" in outcome.output or None

        await until(unavailable, "the machine has noticed")
        # The machine waits for a leader for four election timeouts, and is not asked again with less time left.
        outcome = await self.type("--total-timeout", "7s", "set", "/key", "y")
        self.assertEqual(outcome.status, 2, outcome)
        self.assertIn(f"{leader.url}: Raft Internal Error (no leader is known; try again)", outcome.errors)
        self.assertIn("\nRemedy: too few machines run for one to lead: health shows which do\n", outcome.errors)
        self.endpoints = leader.url
        outcome = await self.type("--total-timeout", "500ms", "set", "/key", "y")
        self.assertEqual(outcome.status, 4, outcome)
        self.assertIn(f"{leader.url} has not answered: no answer within 0.5 seconds\nRemedy: read the", outcome.errors)
        self.assertIn("before you repeat it; health shows whether enough machines run", outcome.errors)

    async def test_etcd(self) -> None:
        """A cluster of etcd has all but the administrators' resource, for which the error says so."""
        machines = await start_cluster(self, 3)
        self.endpoints = machines[0].url
        await self.assertElects()
        await self.run_all(dict.fromkeys(ADMINISTRATION, 4), "machine0", (*MORE, *CHANGES))

    async def test_etcd_with_one_machine_down(self) -> None:
        machines = await start_cluster(self, 3)
        self.endpoints = ",".join(each.url for each in machines)
        await machines[2].kill()
        await self.assertElects()
        await self.run_all(dict.fromkeys(ADMINISTRATION, 4) | {"health": 5})

    if MISSING:
        test_etcd.skip = test_etcd_with_one_machine_down.skip = MISSING  # type: ignore[attr-defined]
