"""
A property of connections in memory: whatever both ends do, and however the network delays it, bytes come once and in
order, and no protocol is called within one of its own calls or the other end's.
"""

from collections.abc import Callable
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Factory, Protocol, ServerFactory, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.config import Address
from etcd_twisted.net.memory import MemoryEndpoint
from etcd_twisted.testing.simulation.network import Network, Weather
from etcd_twisted.testing.simulation.schedule import Process, Schedule
from etcd_twisted.testing.simulation.streams import StreamEndpoint, Streams

STEPS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from(["write", "write", "write", "pause", "resume", "turn", "turn", "end", "half", "abort"]),
        st.sampled_from([1, 100, 70_000]),
    ),
    max_size=30,
)

MOST_ANSWERS = 5
"""How often each end answers what it gets, at once."""


class Busy:
    """
    Whether a protocol is on the stack.

    @ivar now: whether one is.
    """

    now = False


class Checked(Protocol):
    """An end that checks when it is called, and answers some of what it gets."""

    transport: Any

    def __init__(self, busy: Busy) -> None:
        self.busy = busy
        self.sent = b""
        self.got = b""
        self.lost: Failure | None = None
        self.closing = False
        self.answers = 0

    def _enter(self, work: Callable[[], None]) -> None:
        assert not self.busy.now, "called while a protocol is on the stack"
        assert self.lost is None, "called after its connection was lost"
        self.busy.now = True
        work()
        self.busy.now = False

    def write(self, data: bytes) -> None:
        if self.lost is None and not self.closing:
            self.sent += data
            self.transport.write(data)

    def do(self, step: str, data: bytes) -> None:
        """Do what one of the L{STEPS} says."""
        if step == "write":
            self.write(data)
            return
        self.closing = self.closing or step in {"end", "half", "abort"}
        {
            "pause": self.transport.pauseProducing,
            "resume": self.transport.resumeProducing,
            "end": self.transport.loseConnection,
            "half": self.transport.loseWriteConnection,
            "abort": self.transport.abortConnection,
        }[step]()

    def dataReceived(self, data: bytes) -> None:
        def work() -> None:
            assert data
            self.got += data
            if self.answers < MOST_ANSWERS:
                self.answers += 1
                self.write(b"answer")

        self._enter(work)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._enter(lambda: None)
        self.lost = reason


class PropertyTests(SynchronousTestCase):
    """L{MemoryTransport}, by itself and over the simulated network."""

    def run_steps(self, connect: Any, advance: Callable[[], object], steps: list[tuple[int, str, int]]) -> None:
        busy = Busy()
        servers: list[Checked] = []
        factory = ServerFactory()

        def build(_address: IPv4Address | None) -> Checked:
            servers.append(Checked(busy))
            return servers[-1]

        factory.buildProtocol = build  # type: ignore[method-assign,assignment]
        client_factory = Factory()
        client_factory.buildProtocol = lambda _: Checked(busy)  # type: ignore[method-assign,assignment]
        connecting = connect(factory).connect(client_factory)
        advance()
        client = self.successResultOf(connecting)
        ends = client, servers[0]
        for number, (who, step, size) in enumerate(steps, 1):
            if step == "turn":
                advance()
            elif ends[who].lost is None:
                ends[who].do(step, bytes([number]) * size)
        for _ in range(3):
            for end in ends:
                if end.lost is None:
                    end.transport.resumeProducing()
            advance()
        self.check(*ends, in_order={step for _, step, _ in steps}.isdisjoint({"end", "abort"}))
        self.check(*ends[::-1], in_order=False)

    def check(self, one: Checked, other: Checked, in_order: bool) -> None:
        """Checks what came to C{other}, and what both know of the end."""
        self.assertTrue(one.sent.startswith(other.got), "what came is not what was sent")
        if in_order:
            self.assertEqual((one.sent, other.sent), (other.got, one.got))
        if one.closing:
            self.assertTrue(one.lost and other.lost)

    @given(steps=STEPS)
    @example(steps=[(0, "half", 1), (1, "write", 1), (1, "end", 1)])
    def test_any_steps_keep_the_promises_in_memory(self, steps: list[tuple[int, str, int]]) -> None:
        clock: Any = Clock()

        def connect(factory: ServerFactory) -> MemoryEndpoint:
            return MemoryEndpoint(clock, lambda: factory, 4001, "It")

        self.run_steps(connect, lambda: clock.advance(0), steps)
        self.assertEqual(clock.getDelayedCalls(), [])

    @given(steps=STEPS, seed=st.integers(0, 100), loss=st.sampled_from([0.0, 0.2]))
    def test_over_the_network(self, steps: list[tuple[int, str, int]], seed: int, loss: float) -> None:
        schedule = Schedule(seed)
        network = Network(schedule, Weather(loss=loss, late=0.3))
        streams = Streams(network, schedule)
        process, client = (Process(schedule, name, 0.0, 1.0) for name in ("server", "client"))
        clock: IReactorTime = process.clock

        class Port:
            host = "server"

            def __init__(self, factory: ServerFactory) -> None:
                self.process = process
                self._factory = factory

            def factory(self, _port: int) -> ServerFactory:
                return self._factory

        def connect(factory: ServerFactory) -> StreamEndpoint:
            streams.listen(Address("127.0.0.1", 4001), Port(factory))
            return StreamEndpoint(streams, ("client", client), Address("127.0.0.1", 4001))

        self.run_steps(connect, lambda: schedule.run_until(schedule.now + 20), steps)
        self.assertEqual(clock.getDelayedCalls(), [])
        self.assertEqual(schedule.pending(), [])
