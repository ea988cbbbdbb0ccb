"""
Simulated time, and a simulated network: what every cluster in memory is made of.

This module must never know what is simulated: it has no machines.
"""

from collections.abc import Callable
from typing import TypeVar

from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.web.iweb import IAgent

from etcd_twisted.client.body import BytesBody
from etcd_twisted.testing.simulation.network import Network, Weather
from etcd_twisted.testing.simulation.schedule import Process, Schedule
from etcd_twisted.testing.simulation.streams import Streams, agent_of

_T = TypeVar("_T")

CLIENTS = "clients"
"""The name of the host of clients, unless they say otherwise."""


class Simulation:
    """
    A clock that the test advances, and a network.

    @ivar schedule: what is to happen next, and the one source of chance.
    @ivar network: what carries messages between machines; its C{weather} can be made bad.
    @ivar streams: the connections of clients over the network.
    @ivar process: what the code under test runs in.
    @ivar clock: a clock for the code under test, which goes on with the simulation.
    """

    def __init__(self, schedule: Schedule, weather: Weather | None = None) -> None:
        self.schedule = schedule
        self.network = Network(schedule, weather)
        self.streams = Streams(self.network, schedule)
        self.process = Process(schedule, "test", 0.0, 1.0)
        self.clock = self.process.clock

    def agent(self, host: str = CLIENTS) -> IAgent:
        """
        Returns an agent for the code under test: it makes requests over the simulated network, and takes L{clock}.

        @param host: the name of the host that the code runs on, for cutting it off. Agents of one host are cut off
            together.
        """
        return agent_of(self.streams, host, self.process)

    def http(self, host: str = CLIENTS) -> HTTPClient:
        """
        Returns a treq client for code under test that uses treq itself. Its requests are those of L{agent}.

        One that is made with C{HTTPClient(cluster.agent())} could send no bodies, as treq's own need a real reactor.
        """
        return HTTPClient(self.agent(host), data_to_body_producer=BytesBody)

    def describe(self) -> str:
        """Returns how things stand, for the message of an assertion."""
        return f"{self.schedule.now:.3f} seconds have passed"

    def advance(self, seconds: float) -> None:
        """Let everything happen that happens in this many seconds."""
        self.schedule.run_until(self.schedule.now + seconds)

    def advance_until(self, condition: Callable[[], bool], most_seconds: float = 10.0) -> None:
        """
        Let things happen until a condition holds.

        @raise AssertionError: it does not hold within C{most_seconds}.
        """
        if not self.schedule.run_until(self.schedule.now + most_seconds, condition):
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
