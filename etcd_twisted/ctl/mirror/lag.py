"""
How far a copy is behind its source.

The index of the source is read once a second. Such a reading is passed when the copy has that index, or when the watch
is connected and has nothing more to bring. The lag is the age of the oldest reading that is not passed, or of the last
one if the source does not answer. This module must never hold up what is copied.
"""

from collections import Counter, deque
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from etcd_twisted.client import ClientError, KeyNotFound

if TYPE_CHECKING:
    from etcd_twisted.client import Client

READING_SECONDS = 1.0
"""How often the index of the source is read."""


class Lag:
    """
    The progress of a mirror, as far as it is known.

    @ivar source_index: the highest index of the source that was seen.
    @ivar applied_index: the index up to which the copy has everything.
    @ivar changes: how many changes were made in the copy, by their action.
    @ivar resyncs: how often the copy was compared with the source.
    @ivar retries: how often a request to the target was repeated.
    """

    def __init__(self, client: "Client", directory: str) -> None:
        """@param client: a client of the source."""
        self.source_index = 0
        self.applied_index = 0
        self.changes: Counter[str] = Counter()
        self.resyncs = 0
        self.retries = 0
        self._client = client
        self._directory = directory
        self._readings: deque[tuple[float, int]] = deque()
        self._passed_at = client.reactor.seconds()
        self._reading: Deferred[None] | None = None

    def start(self) -> None:
        """Begin to read the index of the source."""
        self._reading = Deferred.fromCoroutine(self._read())

    async def stop(self) -> None:
        """End that."""
        if self._reading is not None:
            self._reading.addErrback(lambda _: None)  # it is cancelled, or the client was closed
            self._reading.cancel()
            await self._reading

    def apply(self, index: int) -> None:
        """Take note that the copy has everything up to an index."""
        self.applied_index = max(self.applied_index, index)
        self.source_index = max(self.source_index, index)
        while self._readings and self._readings[0][1] <= self.applied_index:
            self._passed_at = self._readings.popleft()[0]

    def caught_up(self) -> None:
        """Take note that the watch is connected, and has brought everything."""
        if self._readings:
            self._passed_at = self._readings[-1][0]
            self._readings.clear()

    @property
    def seconds(self) -> float:
        """How far the copy is behind, in seconds."""
        behind = self._client.reactor.seconds() - self._passed_at
        return 0.0 if not self._readings and behind <= 2 * READING_SECONDS else behind

    async def _read(self) -> None:
        reactor: Any = self._client.reactor
        while True:
            asked_at = reactor.seconds()
            try:
                index = (await self._client.get(self._directory, timeout_seconds=READING_SECONDS)).index.etcd_index
            except KeyNotFound as error:
                index = error.index
            except ClientError:
                index = None
            if index is not None:
                self.source_index = max(self.source_index, index)
                self._readings.append((asked_at, index))
                self.apply(self.applied_index)
            await deferLater(reactor, READING_SECONDS)
