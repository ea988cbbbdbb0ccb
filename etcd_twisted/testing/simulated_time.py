"""
Time that goes on only when a test says so.

This module must never wait for real time.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred

_T = TypeVar("_T")


def _never() -> bool:
    return False


class SimulatedTime(ABC):
    """What a test does with time, whatever is simulated."""

    @abstractmethod
    def _run(self, seconds: float, met: Callable[[], bool]) -> bool:
        """
        Let everything happen that happens in this many seconds, or until a condition is met.

        @return: whether it is met.
        """

    @abstractmethod
    def describe(self) -> str:
        """Returns how things stand, for the message of an assertion."""

    def advance(self, seconds: float) -> None:
        """Let everything happen that happens in this many seconds."""
        self._run(seconds, _never)

    def advance_until(self, condition: Callable[[], bool], most_seconds: float = 10.0) -> None:
        """
        Let things happen until a condition holds.

        @raise AssertionError: it does not hold within C{most_seconds}.
        """
        if not self._run(most_seconds, condition):
            name = getattr(condition, "__qualname__", condition)
            raise AssertionError(f"{name} does not hold within {most_seconds} seconds: {self.describe()}")

    def result_of(self, deferred: "Deferred[_T]", most_seconds: float = 10.0) -> _T:
        """
        Advance until a Deferred has fired, and return its result or raise its exception.

        @raise AssertionError: it does not fire within C{most_seconds}.
        """
        results: list[_T] = []
        failures: list[BaseException] = []
        deferred.addCallbacks(results.append, lambda failure: failures.append(failure.value))
        self.advance_until(lambda: bool(results or failures), most_seconds)
        if failures:
            raise failures[0]
        return results[0]
