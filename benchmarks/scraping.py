"""
Measures the cost of monitoring: the requests per second of one etcd_twisted that is scraped for its metrics every
second or not.

The same server is loaded all the time, in turns with a scraper beside the load and without.
"""

import statistics
import sys
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks import load, tables, throughput
from benchmarks.errors import BenchmarkError
from benchmarks.rounds import order
from benchmarks.servers import EtcdTwisted, Server

INTERVAL = 1.0
"""Seconds from one scrape to the next: Prometheus itself scrapes every quarter of a minute or less often."""

SCRAPES = 500
"""How many scrapes are made to measure one; the system counts in hundredths of a second."""

SCRAPED, ALONE = "scraped", "not scraped"


class Scraper:
    """
    Scrapes a server's metrics, from the beginning of a C{with} to its end.

    @ivar scrapes: how many were answered.
    """

    def __init__(self, server: Server, interval: float = INTERVAL) -> None:
        """
        @param interval: seconds from one scrape to the next.
        """
        self.scrapes = 0
        self._server = server
        self._interval = interval
        self._stopped = threading.Event()
        self._problem: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="scraper")

    def _run(self) -> None:
        while True:
            try:
                answer = self._server.get("/metrics")
            except Exception as failure:
                self._problem = failure
                return
            if answer.status != 200 or b"etcd_server_has_leader" not in answer.body:
                self._problem = BenchmarkError(f"/metrics is answered with {answer.status}: {answer.body[:200]!r}")
                return
            self.scrapes += 1
            if self._stopped.wait(self._interval):
                return

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """@raise BenchmarkError: a scrape was not answered as it should be."""
        self._stopped.set()
        self._thread.join()
        if self._problem is not None and value is None:
            raise BenchmarkError(f"the metrics could not be scraped: {self._problem}") from self._problem


def run(directory: Path, rounds: int, seconds: int, connections: Sequence[int]) -> str:
    """
    Starts the server, measures, and stops it.

    @param seconds: how long it is loaded for each cell and round, each time with and without a scraper.
    @return: the processor time of one scrape, and the table; the ratio is what remains while it is scraped.
    """
    load.executable()
    cells = [throughput.Cell(verb, count) for verb in throughput.VERBS for count in connections]
    with EtcdTwisted(directory) as server:
        server.start()
        throughput.fill(server, load.KEYS)
        taken = cost(server)

        rates: dict[tuple[str, throughput.Cell], list[float]] = {}
        for turn in order(cells, (SCRAPED, ALONE), rounds):
            with Scraper(server) if turn.name == SCRAPED else nullcontext():
                rate = load.run(server.url, turn.work.verb, turn.work.connections, seconds).rate
            rates.setdefault((turn.name, turn.work), []).append(rate)
            print(f"round {turn.number}: {turn.work}: {turn.name} {rate:,.0f}/s", file=sys.stderr)
    rows = [["", f"{SCRAPED} /s", f"{ALONE} /s", "ratio"]]
    rows += [_row(str(cell), rates[SCRAPED, cell], rates[ALONE, cell]) for cell in cells]
    scrape = f"one scrape of an idle server takes {taken * 1e3:.2f} ms of the processor"
    return f"{scrape}\n\n{tables.aligned(rows)}"


def _row(work: str, scraped: Sequence[float], alone: Sequence[float]) -> list[str]:
    """
    Returns the medians of both, and of the ratios of each round, because the other load of the machine changes from
    round to round.
    """
    ratio = statistics.median(one / other for one, other in zip(scraped, alone, strict=True))
    return [work, f"{statistics.median(scraped):,.0f}", f"{statistics.median(alone):,.0f}", f"{ratio:.2f}"]


def cost(server: Server) -> float:
    """
    Returns how long a server works for a scrape while nobody else makes requests, in seconds, including its
    connection.

    @raise BenchmarkError: a scrape was not answered as it should be.
    """
    before = server.processor_seconds()
    for _ in range(SCRAPES):
        if server.get("/metrics").status != 200:
            raise BenchmarkError("the metrics could not be scraped")
    return (server.processor_seconds() - before) / SCRAPES
