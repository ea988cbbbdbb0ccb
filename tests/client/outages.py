"""
Writes through one client while machines are killed, and what must hold of them afterwards, whatever server there is.
"""

from collections.abc import Awaitable, Sequence
from typing import Protocol

import attrs
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.trial.unittest import TestCase

from etcd_twisted.client import Client, ConnectionFailed, KeyNotFound, OutcomeUnknown
from tests.processes.cluster import until

WRITERS = 4
"""How many write at a time, so that a machine that dies has something under way."""

PATIENT_SECONDS = 60.0
"""How long a read may take that has to succeed."""

_DIRECTORY = "/log"


class Killable(Protocol):
    """A machine of a test."""

    url: str

    def kill(self) -> Awaitable[None]:
        """End its process as a crash would."""

    def start(self) -> Awaitable[None]:
        """Start it again, and return when it serves clients."""


@attrs.define
class Ledger:
    """
    What became of the writes.

    @ivar acknowledged: the values that were written, by key.
    @ivar unknown: the values of which the client could not say whether they were.
    @ivar failed: the values of which the client has said that they were not.
    """

    acknowledged: dict[str, str] = attrs.field(factory=dict)
    unknown: list[str] = attrs.field(factory=list)
    failed: list[str] = attrs.field(factory=list)


class Writers:
    """
    Several that make in-order keys, one after the other.

    @ivar ledger: what became of them.
    """

    def __init__(self, test: TestCase, client: Client) -> None:
        self.ledger = Ledger()
        self._client = client
        self._stopped = False
        self._count = 0
        self._writing: list[Deferred[None]] = [ensureDeferred(self._write()) for _ in range(WRITERS)]
        test.addCleanup(self._abort)

    async def _write(self) -> None:
        ledger = self.ledger
        while not self._stopped:
            self._count += 1
            value = str(self._count)
            try:
                event = await self._client.create_in_order(_DIRECTORY, value)
            except OutcomeUnknown:
                ledger.unknown.append(value)
            except ConnectionFailed:
                ledger.failed.append(value)
            else:
                ledger.acknowledged[event.node.key] = value

    async def until_more(self, count: int) -> None:
        """Wait until so many more writes are acknowledged."""
        wanted = len(self.ledger.acknowledged) + count

        async def reached() -> bool | None:
            return True if len(self.ledger.acknowledged) >= wanted else None

        await until(reached, f"{count} more writes")

    async def stop(self) -> None:
        """End, and return when no write is under way."""
        self._stopped = True
        for writing in self._writing:
            await writing

    def _abort(self) -> None:
        self._stopped = True
        for writing in self._writing:
            writing.addErrback(lambda failure: failure.trap(CancelledError, OutcomeUnknown, ConnectionFailed) and None)
            writing.cancel()


async def kill_leaders(test: TestCase, client: Client, machines: Sequence[Killable], rounds: int) -> Ledger:
    """
    Kill the leader, over and over, while there are writes, and check that each write was made once or not at all, as
    the client has said. Returns what the client has said.
    """
    writers = Writers(test, client)
    for _ in range(rounds):
        await writers.until_more(20)
        leader = await client.leader(timeout_seconds=PATIENT_SECONDS)
        (machine,) = (each for each in machines if each.url in leader.client_urls)
        await machine.kill()
        await writers.until_more(20)
        await machine.start()
    await writers.stop()
    reading = await client.list(_DIRECTORY, quorum=True, timeout_seconds=PATIENT_SECONDS)
    check(test, writers.ledger, {node.key: str(node.value) for node in reading.nodes})
    return writers.ledger


def check(test: TestCase, ledger: Ledger, found: dict[str, str]) -> None:
    """Check what the client has said of the writes against what is there."""
    test.assertEqual({key: found.get(key) for key in ledger.acknowledged}, ledger.acknowledged)
    values = list(found.values())
    test.assertEqual(sorted(values), sorted(set(values)), "a write was made twice")
    test.assertEqual(set(values) & set(ledger.failed), set(), "a write was made that was said to have failed")
    test.assertLessEqual(set(values), {*ledger.acknowledged.values(), *ledger.unknown})


async def read_through_outages(test: TestCase, client: Client, machines: Sequence[Killable]) -> None:
    """Kill each machine in turn, and check that reads are answered all the time, whichever machine answers."""
    await client.set("/read", "1")
    for machine in machines:
        await machine.kill()
        for _ in range(5):
            test.assertTrue((await client.get("/")).node.directory)
        test.assertEqual((await client.get("/read", quorum=True, timeout_seconds=PATIENT_SECONDS)).value, "1")
        with test.assertRaises(KeyNotFound):
            await client.get("/none", quorum=True, timeout_seconds=PATIENT_SECONDS)
        await machine.start()
        await until_all_serve(client, machines)


async def until_all_serve(client: Client, machines: Sequence[Killable]) -> None:
    """Wait until all machines say that they are well."""

    async def all_serve() -> bool | None:
        for machine in machines:
            if not await client.health(machine.url):
                return None
        return True

    await until(all_serve, "all machines are well")
