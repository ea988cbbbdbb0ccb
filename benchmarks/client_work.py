"""
What the client library costs in the process that uses it; L{benchmarks.client} runs this as a program of its own.

C{python -m benchmarks.client_work URL ROUNDS REQUESTS WATCHES} prints one line of JSON.
"""

import gc
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import attrs
import treq
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react

from etcd_twisted.client import Client

KEY = "/benchmark/key"
VALUE = "x" * 64
WATCHED = "/benchmark/watched"

WARM_UP_REQUESTS = 200
"""How many requests are made before any is measured: connections are made, and code is loaded."""

WARM_UP_WATCHES = 20


@attrs.frozen
class Costs:
    """
    What a round of requests took, or what something takes in memory.

    @ivar treq_seconds: the processor time of each bare C{treq.get}, that of each round.
    @ivar client_seconds: likewise, of each C{get} of the client.
    @ivar treq_elapsed_seconds: the time until the answer to each bare C{treq.get} is there, one for each round.
    @ivar client_elapsed_seconds: likewise, of each C{get} of the client.
    @ivar watch_bytes: how much memory each watch takes.
    """

    treq_seconds: list[float]
    client_seconds: list[float]
    treq_elapsed_seconds: list[float]
    client_elapsed_seconds: list[float]
    watch_bytes: float


def resident_bytes() -> int:
    """Returns how much memory this process has."""
    gc.collect()
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


class _Times:
    """The times of many requests: the processor's, and until the answer is there."""

    def __init__(self) -> None:
        self._processor: list[float] = []
        self._elapsed: list[float] = []

    async def of(self, request: Callable[[], Awaitable[object]]) -> None:
        """Make a request, and note its times."""
        processor, elapsed = time.process_time(), time.perf_counter()
        await request()
        self._processor.append(time.process_time() - processor)
        self._elapsed.append(time.perf_counter() - elapsed)

    def typical(self) -> tuple[float, float]:
        """
        Returns the median of the processor's times, and which time until the answer one in ten does not exceed: most
        others are longer because other processes had the core.
        """
        return statistics.median(self._processor), statistics.quantiles(self._elapsed, n=10)[0]


async def _round(requests: int, *kinds: Callable[[], Awaitable[object]]) -> list[tuple[float, float]]:
    """Makes requests of each kind in turns, and returns the typical times of each."""
    times = [_Times() for _ in kinds]
    for _ in range(requests):
        for each, kind in zip(times, kinds, strict=True):
            await each.of(kind)
    return [each.typical() for each in times]


async def _measure(url: str, client: Client, rounds: int, requests: int, watches: int) -> Costs:
    await client.set(KEY, VALUE)

    async def bare() -> None:
        response = await treq.get(f"{url}/v2/keys{KEY}")
        await response.content()

    async def ours() -> None:
        await client.get(KEY)

    await _round(WARM_UP_REQUESTS, bare, ours)
    times = [await _round(requests, bare, ours) for _ in range(rounds)]
    return Costs(
        [treq_times[0] for treq_times, _ in times],
        [client_times[0] for _, client_times in times],
        [treq_times[1] for treq_times, _ in times],
        [client_times[1] for _, client_times in times],
        await _watch_bytes(client, watches),
    )


async def _watch_bytes(client: Client, count: int) -> float:
    """Returns how much memory each of many watches takes, while all of them wait."""

    async def connected(number: int) -> None:
        watch = client.watch(f"{WATCHED}/{number}")
        await watch.connected()

    async def many(numbers: range) -> None:
        await gatherResults([Deferred.fromCoroutine(connected(number)) for number in numbers])

    await many(range(WARM_UP_WATCHES))
    before = resident_bytes()
    await many(range(WARM_UP_WATCHES, WARM_UP_WATCHES + count))
    return (resident_bytes() - before) / count


def main(reactor: Any, url: str, rounds: str, requests: str, watches: str) -> "Deferred[None]":
    """Measures and prints."""

    async def run() -> None:
        client = Client(url, reactor=reactor)
        costs = await _measure(url, client, int(rounds), int(requests), int(watches))
        print(json.dumps(attrs.asdict(costs)))
        await client.close()

    return Deferred.fromCoroutine(run())


if __name__ == "__main__":
    react(main, sys.argv[1:])
