"""
Measures from outside how long a server does not react: one small request every few milliseconds on one kept
connection.

An answer can't come while the server's reactor is held up, so the slowest answer is at least as long as the longest
stall.
"""

import statistics
import time
from collections.abc import Callable

import attrs

from benchmarks import crowd, load
from benchmarks.errors import BenchmarkError
from benchmarks.servers import Server

PATH = "/v2/keys/bench/k1"
PAUSE_SECONDS = 0.002

WRITERS = 4
"""Few connections write beside the probe, so that it seldom queues behind their requests."""


@attrs.frozen
class Answers:
    """
    The answer times of a period, in milliseconds.

    @ivar median: the usual one.
    @ivar slowest: the largest.
    """

    median: float
    slowest: float


def ask(port: int, finished: Callable[[], bool]) -> Answers:
    """
    Requests one key again and again.

    @param finished: whether it is enough; called after each answer.
    @raise BenchmarkError: an answer is no success.
    """
    times = []
    with crowd.Connection(port) as connection:
        request = crowd.get(PATH)
        while not finished():
            times.append(connection.ask(request) * 1000)
            time.sleep(PAUSE_SECONDS)
    return Answers(statistics.median(times), max(times))


def quiet(server: Server, seconds: int) -> Answers:
    """Returns the answer times while nobody else makes requests."""
    until = time.monotonic() + seconds
    return ask(server.port, lambda: time.monotonic() >= until)


def writing(server: Server, seconds: int) -> tuple[Answers, int]:
    """
    Returns the answer times while a few connections write as fast as they can.

    @return: the answer times, and how many snapshots were completed meanwhile.
    """
    seen = before = server.snapshots()
    writer = load.begin(server.url, "PUT", WRITERS, seconds)

    def finished() -> bool:
        # This is checked each time, because a server soon deletes what a newer snapshot replaces.
        nonlocal seen
        seen = seen | server.snapshots()
        return writer.poll() is not None

    try:
        return ask(server.port, finished), len(seen - before)
    finally:
        load.finish(writer, seconds + 30)


def snapshotting(server: Server, seconds: int) -> tuple[Answers, int]:
    """
    Does the same with a server whose writes should cross the snapshot threshold.

    @raise BenchmarkError: there was no snapshot.
    """
    answers, taken = writing(server, seconds)
    if taken == 0:
        raise BenchmarkError(
            f"{server.name} took no snapshot in {seconds} s of writing: a smaller --snapshot-count makes it take one"
        )
    return answers, taken
