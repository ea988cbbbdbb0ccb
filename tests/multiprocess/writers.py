"""
Writers that go on when their connections are lost, and know of each value what became of it.
"""

import itertools

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.processes.client import GONE, Client
from tests.processes.cluster import until

_UNKNOWN = "unknown"
"""What the cause says of a write of which nobody knows whether it was done."""

_numbers = itertools.count()


class QueueWriter:
    """
    Puts values into a queue, each once, over one connection at a time.

    @ivar done: the values whose writes were acknowledged, with their indexes.
    @ivar refused: the values whose writes were refused, and so must not be there.
    @ivar unknown: the values of which nobody knows.
    @ivar lost: how many connections were lost.
    """

    def __init__(self, url: str) -> None:
        self.done: dict[str, int] = {}
        self.refused: list[str] = []
        self.unknown: list[str] = []
        self.lost = 0
        self.stopping = False
        self._url = url

    async def run(self) -> None:
        """Writes until it is told to stop."""
        client = Client(self._url)
        while not self.stopping:
            value = f"v{next(_numbers)}"
            try:
                answer = await client.post("/queue", value=value)
            except GONE:
                self.unknown.append(value)
                self.lost += 1
                await client.close()
                client = Client(self._url)
                await deferLater(reactor, 0.01, lambda: None)
                continue
            if answer.status == 201:
                self.done[value] = answer.json()["node"]["modifiedIndex"]
            elif answer.status == 500 and answer.json()["errorCode"] == 300:
                (self.unknown if _UNKNOWN in answer.json()["cause"] else self.refused).append(value)
            else:
                raise AssertionError(answer)
        await client.close()


class QueueWriters:
    """Several writers of one queue."""

    def __init__(self, test: TestCase, urls: list[str], count: int) -> None:
        self.writers = [QueueWriter(urls[number % len(urls)]) for number in range(count)]
        self._test = test
        self._running: Deferred[object] = gatherResults(
            [ensureDeferred(writer.run()) for writer in self.writers], consumeErrors=True
        )
        test.addCleanup(self.stop)

    async def stop(self) -> None:
        """Stops all writers."""
        for writer in self.writers:
            writer.stopping = True
        running, self._running = self._running, gatherResults([])
        await running

    async def progress(self, more: int = 5) -> None:
        """Waits until each writer has so many more writes acknowledged."""
        wanted = [len(writer.done) + more for writer in self.writers]

        async def reached() -> bool | None:
            enough = all(len(each.done) >= least for each, least in zip(self.writers, wanted, strict=True))
            return True if enough else None

        await until(reached, f"each writer has {more} more writes acknowledged")

    async def compare(self, client: Client) -> None:
        """Asserts that each write was made once if acknowledged, not if refused, at most once otherwise."""
        test = self._test
        answer = await client.request("GET", "/v2/keys/queue?quorum=true")
        found = [(node["value"], node["modifiedIndex"]) for node in answer.json()["node"]["nodes"]]
        values = {value for value, _ in found}
        test.assertEqual(len(found), len(values), "a value is there twice")
        done = {item for writer in self.writers for item in writer.done.items()}
        test.assertEqual(done - set(found), set(), "acknowledged, and lost")
        test.assertEqual({value for writer in self.writers for value in writer.refused} & values, set(), "refused")
        known = {value for writer in self.writers for value in (*writer.done, *writer.unknown)}
        test.assertEqual(values - known, set(), "nobody wrote them")
