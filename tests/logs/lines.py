"""
Collects what is logged, for tests.
"""

from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase


class Log:
    """
    Collects what is logged until the end of the test.

    @ivar events: everything that was logged.
    """

    def __init__(self, test: SynchronousTestCase) -> None:
        self.events: list[LogEvent] = []
        self._waiting: list[tuple[str, Deferred[str]]] = []
        globalLogPublisher.addObserver(self._take)
        test.addCleanup(globalLogPublisher.removeObserver, self._take)

    def _take(self, event: LogEvent) -> None:
        self.events.append(event)
        for entry in list(self._waiting):
            beginning, said = entry
            if formatEvent(event).startswith(beginning):
                self._waiting.remove(entry)
                said.callback(formatEvent(event))

    @property
    def warnings(self) -> list[str]:
        """The lines at the level of a warning or above."""
        return [formatEvent(event) for event in self.events if event["log_level"] >= LogLevel.warn]

    @property
    def lines(self) -> list[str]:
        """The lines that operators see: those at the level of an information or above."""
        return [formatEvent(event) for event in self.events if event["log_level"] >= LogLevel.info]

    def when_said(self, beginning: str) -> "Deferred[str]":
        """Returns a Deferred that fires with the first line from now on that begins with that text."""
        said: Deferred[str] = Deferred()
        self._waiting.append((beginning, said))
        return said
