"""
Tests of the memory that the processes of a cluster take for what clients send, and of the limit on the key space.

The bounds are generous: these tests find a cost that grows faster than what is sent, not a few megabytes.
"""

import re
from functools import partial
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.processes.cluster import STEADY, Cluster, Member, until
from tests.processes.machine import Machine

MIB = 1 << 20


def peak_bytes(machine: Machine) -> int:
    """Returns the most memory that a machine's process has ever had."""
    status = Path(f"/proc/{machine.child.pid}/status").read_text()
    found = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    assert found is not None, status
    return 1024 * int(found[1])


class MemoryTests(TestCase):
    """Tests of three machines, each of which has all that is written."""

    timeout = 240

    async def setUp(self) -> None:
        self.cluster = Cluster(self, 3, *STEADY, "--watch-history-bytes", str(16 * MIB))
        await self.cluster.start()
        self.leader = await self.cluster.leader()
        self.before = {machine: peak_bytes(machine) for machine in self.cluster.machines}

    async def assert_grown(self, most_bytes: int) -> None:
        """Asserts that no machine has ever had so much more memory than at the beginning."""
        await self.cluster.converge()
        for machine in self.cluster.machines:
            self.assertLess(peak_bytes(machine) - self.before[machine], most_bytes, machine.name)

    async def test_deep_keys_take_bounded_memory(self) -> None:
        """
        A key that is too deep is refused, and the deepest allowed one costs what its directories do, also when it is
        listed and removed.
        """
        client = self.leader.client
        for _ in range(5):
            answer = await client.put("/a" * 31_000, value="x")
            self.assertEqual((answer.status, answer.json()["errorCode"]), (400, 209))
            self.assertIn("at most 256 are allowed", answer.json()["cause"])
            self.assertEqual((await client.request("DELETE", "/v2/keys" + "/a" * 31_000)).status, 404)
        for number in range(50):
            self.assertEqual((await client.put(f"/{number}" + "/a" * 255, value="x", ttl="600")).status, 201)
        listing = await client.get("/", "?recursive=true")
        self.assertEqual(listing.body.count(b'"value":'), 50)
        for number in range(50):
            self.assertEqual((await client.request("DELETE", f"/v2/keys/{number}?recursive=true")).status, 200)
        await self.assert_grown(100 * MIB)

    async def test_large_values_take_bounded_memory(self) -> None:
        """
        Consecutive values take as much memory as the history and the log may have, and not as much as all of them had.
        """
        for number in range(25):
            answer = await self.leader.client.put("/large", value=f"{number:04}" * MIB)
            self.assertIn(answer.status, (200, 201))
        outdated = await self.leader.client.get("/large", "?wait=true&waitIndex=5")
        self.assertEqual((outdated.status, outdated.json()["errorCode"]), (400, 401))
        await self.assert_grown(300 * MIB)


class QuotaTests(TestCase):
    """Tests of the quota as users and operators see it."""

    timeout = 240

    async def test_writes_are_refused_until_something_is_deleted(self) -> None:
        """
        Writes are refused until something is deleted, whichever machine leads; each machine knows that, also after a
        restart.
        """
        cluster = Cluster(self, 3, *STEADY, "--quota-bytes", str(MIB))
        await cluster.start()
        leader = await cluster.leader()
        self.assertEqual((await leader.client.put("/large", value="x" * (MIB - 3_000))).status, 201)
        await self.assert_full(cluster)
        await leader.child.when_printed("% of the quota (--quota-bytes 1048576)")
        await leader.child.when_printed("Delete keys, or restart the machines with a larger --quota-bytes")
        await leader.kill()
        await self.assert_full(cluster)
        await leader.start()
        await self.assert_full(cluster)
        led = (await cluster.leader()).client
        self.assertEqual((await led.request("DELETE", "/v2/keys/large")).status, 200)
        self.assertEqual((await led.put("/other", value="y" * 5_000)).status, 201)

    async def assert_full(self, cluster: Cluster) -> None:
        leader = await cluster.leader()
        answer = await leader.client.put("/other", value="y" * 5_000)
        self.assertEqual((answer.status, answer.json()["errorCode"]), (500, 300))
        self.assertIn("bytes that --quota-bytes allows: this write was not made", answer.json()["cause"])
        self.assertEqual((await leader.client.put("/large", value="x" * (MIB - 3_000))).status, 200)
        for machine in cluster.running:
            await until(partial(self.alarms, machine), f"{machine.name} has the alarm")

    async def alarms(self, machine: Member) -> bool | None:
        page = (await machine.client.request("GET", "/metrics")).body.decode()
        return "etcd_twisted_store_quota_alarm 1.0" in page or None
