"""
Tests that this version serves all that is in data directories of earlier versions, and writes to them.
"""

import json
import shutil
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.processes.machine import Machine

WRITTEN = Path(__file__).with_name("earlier_versions")
"""
One directory for each version, named by the commit that wrote it: the data directory of a machine that was stopped,
with a snapshot and a log after it, and that machine's answer to C{GET /v2/keys/?recursive=true&sorted=true}. There are
files, an empty directory and one with files, in-order keys, a hidden key, keys with a TTL that ends in the year 2153,
and keys that were swapped, updated and deleted.
"""


class EarlierVersionsTests(TestCase):
    timeout = 60

    async def check(self, commit: str) -> None:
        machine = Machine(self)
        shutil.copytree(WRITTEN / commit / "data", machine.data)
        await machine.embed()
        answer = await machine.client.request("GET", "/v2/keys/?recursive=true&sorted=true")
        expected = json.loads((WRITTEN / commit / "listing.json").read_text())
        self.assertEqual(_without_ttl(answer.json()), _without_ttl(expected))
        hidden = await machine.client.request("GET", "/v2/keys/_hidden/x")
        self.assertEqual(hidden.json()["node"]["value"], "h")
        index = answer.index
        written = await machine.client.request("PUT", "/v2/keys/d/0?value=new&prevValue=value%200")
        self.assertEqual((written.status, written.index), (200, index + 1))

    async def test_directory_without_a_state_file_is_served(self) -> None:
        """The directory has neither C{state.json} nor the cluster in its snapshots."""
        await self.check("c514b48")

    async def test_directory_with_a_state_file_is_served(self) -> None:
        """The directory has the term, the vote and the newest segment in C{state.json}."""
        await self.check("d8ace87")


def _without_ttl(value: object) -> object:
    """Removes the remaining TTL, which depends on the time of the request."""
    if isinstance(value, dict):
        return {name: _without_ttl(each) for name, each in value.items() if name != "ttl"}
    return [_without_ttl(each) for each in value] if isinstance(value, list) else value
