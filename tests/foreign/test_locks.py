"""
The locks of python-etcd and aio_etcd, whose users queue as in-order keys and sort these by name.

Where names are padded, a lock has one holder whatever the index is. Where they are not, that holds as long as all
names in a queue have the same number of digits: of 9 and 10, or 999 and 1000, both libraries take the greater for the
first.
"""

from typing import Any
from unittest import skipIf

from twisted.trial.unittest import TestCase

from tests.foreign.programs import MISSING, run_script
from tests.processes.client import Client
from tests.processes.cluster import Cluster, together
from tests.processes.machine import Machine

LIBRARIES = ("python-etcd", "aio_etcd")
AT_ONCE = 50


async def advance(client: Client, index: int) -> None:
    """Makes changes, until the next one has this index."""
    latest = (await client.get("/")).index
    if latest >= index:
        raise AssertionError(f"the index is {latest} already")
    while latest + 1 < index:
        changes = range(min(index - latest - 1, AT_ONCE))
        latest = max(answer.index for answer in await together(client.put("/filler", value="") for _ in changes))


@skipIf(MISSING is not None, MISSING or "")
class LocksTests(TestCase):
    timeout = 180

    async def assert_pair(self, in_order_keys: str, second: bool) -> None:
        """
        Asserts that one user gets a lock with the greatest index of some digits, and whether another one gets it too
        with the next index, which has a digit more.
        """
        for library in LIBRARIES:
            machine = Machine(self)
            await machine.embed(in_order_keys=in_order_keys)
            for index in (9, 999):
                await advance(machine.client, index)
                ports = [str(machine.port)] * 2
                told = await run_script(self, "contended_locks.py", library, "pair", f"lock{index}", *ports)
                self.assertEqual(told, [True, second], (library, index))

    async def crowd(self, cluster: Cluster, library: str, name: str) -> list[int]:
        """Asserts that a lock passes from one user to the next, and returns the indexes of their keys."""
        ports = [str(machine.port) for machine in cluster.machines]
        told: dict[str, Any] = await run_script(self, "contended_locks.py", library, "crowd", name, *ports)
        held = [int(key.rpartition("/")[2]) for key in told["keys"]]
        self.assertEqual((told["most"], len(held), held), (1, 18, sorted(held)))
        return held

    async def test_padded_names_of_two_users(self) -> None:
        """The second one does not get the lock."""
        await self.assert_pair("padded", second=False)

    async def test_padded_names_of_many_users(self) -> None:
        """Those with a digit more wait until those with a digit less have had the lock, through any machine."""
        for library in LIBRARIES:
            cluster = Cluster(self, 3, "--in-order-keys", "padded")
            await cluster.start()
            for index, room in ((10, 5), (1000, 25)):
                await advance(cluster.machines[0].client, index - room)
                held = await self.crowd(cluster, library, f"lock{index}")
                self.assertLess(held[0], index)
                self.assertGreater(held[-1], index)

    async def test_plain_names_of_two_users(self) -> None:
        """Both have the lock: this is why C{--in-order-keys padded} exists."""
        await self.assert_pair("plain", second=True)

    async def test_plain_names_of_many_users(self) -> None:
        """As long as all names have as many digits, the lock has one holder."""
        cluster = Cluster(self, 3, "--in-order-keys", "plain")
        await cluster.start()
        await advance(cluster.machines[0].client, 100)
        for library in LIBRARIES:
            self.assertLess((await self.crowd(cluster, library, library))[-1], 1000)
