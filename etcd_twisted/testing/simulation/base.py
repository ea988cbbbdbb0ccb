"""
Simulated time, and a simulated network: what every cluster in memory is made of.

This module must never know what is simulated: it has no machines.
"""

from collections.abc import Callable

from treq.client import HTTPClient
from twisted.web.iweb import IAgent

from etcd_twisted.client.body import BytesBody
from etcd_twisted.testing.simulated_time import SimulatedTime
from etcd_twisted.testing.simulation.network import Network, Weather
from etcd_twisted.testing.simulation.schedule import Process, Schedule
from etcd_twisted.testing.simulation.streams import Streams, agent_of

CLIENTS = "clients"
"""The name of the host of clients, unless they say otherwise."""


class Simulation(SimulatedTime):
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
        """See L{SimulatedTime}."""
        return f"{self.schedule.now:.3f} seconds have passed"

    def _run(self, seconds: float, met: Callable[[], bool]) -> bool:
        return self.schedule.run_until(self.schedule.now + seconds, met)
