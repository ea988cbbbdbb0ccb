"""
Tests of listings that the page about backups has C{txetcdctl import} restore: one of etcd itself is written into a
machine, and back into etcd.
"""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from etcd_twisted.testing.ports import free_ports
from tests.ctl.test_processes import TXETCDCTL
from tests.processes.child import spawn
from tests.processes.client import Client
from tests.processes.cluster import until
from tests.processes.machine import Machine

RECORDED = Path(__file__).with_name("etcd-3.4-listing.json")
"""
The answer of etcd 3.4 (Debian's, with C{--enable-v2}) to C{GET /v2/keys/?recursive=true}: nested and empty
directories, keys and directories with a TTL, in-order keys, an empty value, values and names in other alphabets and
with characters that mean something in a URL. It had hidden keys too, which it does not list.
"""

LONGEST = 600
"""How many seconds of a TTL may pass until it is restored and read again."""

Keys = dict[str, tuple[str | None, int | None]]
"""The value of each key, C{None} for a directory, and its remaining TTL."""


def recorded_now() -> bytes:
    """Returns the recorded listing, with keys that expire as long from now on as they did from its record on."""

    def refresh(node: dict[str, Any]) -> None:
        if "ttl" in node:
            expires = datetime.now(UTC) + timedelta(seconds=node["ttl"])
            node["expiration"] = expires.isoformat().replace("+00:00", "Z")
        for child in node.get("nodes", []):
            refresh(child)

    listing = json.loads(RECORDED.read_bytes())
    refresh(listing["node"])
    return json.dumps(listing).encode()


def keys(node: dict[str, Any]) -> Keys:
    """Returns all nodes below the root of a listing."""
    found: Keys = {}
    for child in node.get("nodes", []):
        found[child["key"]] = (None if child.get("dir") else child["value"], child.get("ttl"))
        found |= keys(child)
    return found


class RestoreTests(TestCase):
    timeout = 240

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir()

    async def restore(self, url: str, listing: bytes) -> Keys:
        """Writes a listing, and returns what is listed afterwards."""
        (self.directory / "keys.json").write_bytes(listing)
        child = spawn(self, [TXETCDCTL, "-C", url, "--total-timeout", "60s", "import", "keys.json"], self.directory)
        self.assertEqual((await child.when_ended(), child.errors), (0, ""))
        return keys(json.loads(await self.listing(url))["node"])

    async def listing(self, url: str) -> bytes:
        client = Client(url)
        self.addCleanup(client.close)
        answer = await client.request("GET", "/v2/keys/?recursive=true&sorted=true&quorum=true")
        self.assertEqual(answer.status, 200)
        return answer.body

    def assertRestored(self, found: Keys, recorded: Keys) -> None:
        """Asserts that there are the same keys and values, with slightly shorter TTLs."""
        self.assertEqual({key: value for key, (value, _) in found.items()}, {k: v for k, (v, _) in recorded.items()})
        for key, (_, before) in recorded.items():
            after = found[key][1]
            if before is None:
                self.assertIsNone(after, key)
            else:
                self.assertTrue(before - LONGEST < (after or 0) <= before, f"{key}: {after} of {before}")

    async def test_recorded_listing_is_restored(self) -> None:
        """The root of the recorded listing has no key."""
        listing = recorded_now()
        recorded = keys(json.loads(listing)["node"])
        self.assertNotIn("key", json.loads(listing)["node"])
        self.assertGreater(len(recorded), 15)
        machine = Machine(self)
        await machine.start()
        self.assertRestored(await self.restore(machine.url, listing), recorded)

    async def test_listings_are_restored_into_etcd_and_back(self) -> None:
        """The keys go from a machine into the real etcd, and from that into a machine."""
        etcd = shutil.which("etcd")
        if etcd is None:
            self.skipTest("etcd is not installed (apt-get install etcd-server)")
        client_port, peer_port = free_ports(2)
        url, peer_url = f"http://127.0.0.1:{client_port}", f"http://127.0.0.1:{peer_port}"
        flags = ["--enable-v2", "--data-dir", "etcd", "--listen-client-urls", url, "--advertise-client-urls", url]
        flags += ["--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url]
        spawn(self, [etcd, *flags, "--initial-cluster", f"default={peer_url}"], self.directory)
        machine, second = Machine(self), Machine(self)
        await machine.start()
        recorded = await self.restore(machine.url, recorded_now())

        client = Client(url)
        self.addCleanup(client.close)

        async def answers() -> bool | None:
            return (await client.request("GET", "/health")).status == 200 or None

        await until(answers, "etcd answers")
        there = await self.restore(url, await self.listing(machine.url))
        self.assertRestored(there, recorded)
        await second.start()
        self.assertRestored(await self.restore(second.url, await self.listing(url)), there)
