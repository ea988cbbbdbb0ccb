"""
A simulated network between machines: it can lose, delay, double and reorder messages, and ways can be cut.

As in production, a machine has one connection to each other machine, and sends its messages to that machine over it;
the other end decides whether it takes them when the connection is made. What is sent while a way is cut is lost, or
arrives when the way is open again. This module must never change a message, nor carry anything for a process that has
ended.
"""

from collections.abc import Callable
from random import Random
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from etcd_twisted.interfaces import IRaftPeer
from etcd_twisted.testing.simulation.schedule import Process, Schedule


class LostError(Exception):
    """The connection was lost, or there is none."""


@attrs.define
class Weather:
    """
    How bad the network is.

    @ivar loss: the share of the messages that are lost.
    @ivar doubling: the share that arrives twice.
    @ivar late: the share that arrives much later than others.
    @ivar latency: about how many seconds a message takes.
    @ivar spread: by which factors of C{latency} messages differ, at the least and at the most.
    @ivar lateness: how many seconds a late message takes at the most.
    @ivar kept: the share of what is sent while the way is cut that arrives when it is open again.
    @ivar piece: how many bytes of a snapshot are sent at a time.
    """

    loss: float = 0.0
    doubling: float = 0.0
    late: float = 0.0
    latency: float = 0.001
    spread: tuple[float, float] = (0.3, 2.0)
    lateness: float = 0.5
    kept: float = 0.3
    piece: int = 1_000


class Visitor(Protocol):
    """A connection that another machine has made."""

    def check(self) -> bool:
        """Returns whether it is open, as far as this end can know."""

    def send_back(self, payload: bytes) -> bool:
        """Send a message to the machine that has made it. Returns whether it is open."""


class BreakableTransport(Protocol):
    """A transport, as the network knows it."""

    process: Process

    def lose_connections(self, name: str | None = None) -> None:
        """Lose the connections to the host of this name, or all of them."""


@attrs.define
class Host:
    """
    What can be reached at one peer URL.

    @ivar name: what ways are cut by.
    @ivar process: the process that listens there, or C{None}.
    @ivar peer: what that process does for other machines, or C{None}.
    @ivar visitors: the connections that other machines have made to it, by their ids.
    @ivar on_visit: called with the id of a machine that has connected, and its host.
    """

    name: str
    process: Process | None = None
    peer: IRaftPeer | None = None
    visitors: dict[str, Visitor] = attrs.field(factory=dict)
    on_visit: "Callable[[str, Host], None]" = lambda _machine_id, _host: None

    @property
    def up(self) -> bool:
        """Whether a process runs there."""
        return self.process is not None and self.process.alive

    @property
    def answers(self) -> bool:
        """Whether a process runs there that takes connections just now."""
        return self.process is not None and self.process.alive and not self.process.paused


class Network:
    """
    The network between the machines of a cluster.

    @ivar weather: how bad it is.
    @ivar cut: the ways on which nothing arrives: the names of the host that sends and of the one that should receive.
    @ivar hosts: the hosts by their peer URLs.
    @ivar older: the names of hosts of a version that does not answer a question for its status.
    @ivar reconnect_seconds: how long it takes at the most to connect again after a connection is lost.
    @ivar refused_seconds: how long it takes at the most until a machine asks again that was refused.
    @ivar answer_seconds: how long an answer is waited for.
    @ivar prompt: whether a machine learns at once that nobody can be reached, and does not wait for an answer.
    @ivar carried: how many messages have arrived.
    @ivar on_piece: called when a piece of a snapshot is about to be sent, with its offset.
    @ivar on_the_way: returns what arrives of a piece of a snapshot.
    """

    def __init__(self, schedule: Schedule, weather: Weather | None = None) -> None:
        self.weather = Weather() if weather is None else weather
        self.older: set[str] = set()
        self.reconnect_seconds = 0.3
        self.refused_seconds = 5.0
        self.answer_seconds = 2.0
        self.prompt = False
        self.carried = 0
        self.on_piece: Callable[[int], object] = lambda _offset: None
        self.on_the_way: Callable[[bytes], bytes] = lambda data: data
        self.cut: set[tuple[str, str]] = set()
        self.hosts: dict[str, Host] = {}
        self._schedule = schedule
        self._random: Random = schedule.random
        self._waiting: list[tuple[str, str, Callable[[], object]]] = []
        self._transports: list[BreakableTransport] = []

    def host(self, peer_url: str) -> Host:
        """Returns the host at a peer URL, whose name is the URL if it is new."""
        return self.hosts.setdefault(peer_url, Host(peer_url))

    def isolate(self, name: str) -> None:
        """Cut a host off from all others, and break its connections."""
        others = {host.name for host in self.hosts.values()} - {name}
        self.cut |= {way for other in others for way in ((name, other), (other, name))}
        self.break_connections(name)

    def break_connections(self, name: str) -> None:
        """Break all connections of a host, from either end."""
        for transport in self._transports:
            transport.lose_connections(None if transport.process.name == name else name)

    def register(self, transport: BreakableTransport) -> None:
        """Remember a transport whose connections may break; those of processes that have ended are forgotten."""
        self._transports = [each for each in self._transports if each.process.alive]
        self._transports.append(transport)

    def heal(self) -> None:
        """Open all ways. What was kept meanwhile arrives now."""
        self.cut.clear()
        self._let_through()

    def clear(self) -> None:
        """Forget all hosts and connections."""
        self.hosts.clear()
        self._waiting.clear()
        self._transports.clear()

    def open(self, ways: set[tuple[str, str]]) -> None:
        """Open these ways again. What was kept meanwhile arrives now."""
        self.cut -= ways
        self._let_through()

    def _let_through(self) -> None:
        waiting, self._waiting = self._waiting, []
        for sender, receiver, arrive in waiting:
            if (sender, receiver) in self.cut:
                self._waiting.append((sender, receiver, arrive))
            else:
                arrive()

    def carry(self, sender: str, receiver: Host, kind: str, deliver: Callable[..., object], *args: Any) -> None:
        """Have a host that runs now receive something later, if it is not lost."""
        if self._random.random() < self.weather.loss:
            return
        copies = 2 if self._random.random() < self.weather.doubling else 1
        for _ in range(copies):
            self._carry_one(sender, receiver, kind, deliver, args)

    def _carry_one(
        self, sender: str, receiver: Host, kind: str, deliver: Callable[..., object], args: tuple[Any, ...]
    ) -> None:
        process = receiver.process
        if process is None:
            return

        def arrive() -> None:
            if (sender, receiver.name) not in self.cut:
                self._schedule.after(0, process, kind, deliver, *args)
            elif self._random.random() < self.weather.kept:
                self._waiting.append((sender, receiver.name, arrive))

        self._schedule.after(self.delay(), None, "carried", arrive)

    def delay(self) -> float:
        """Returns how many seconds the next message takes."""
        weather = self.weather
        if self._random.random() < weather.late:
            return self._random.uniform(0, weather.lateness)
        return weather.latency * self._random.uniform(*weather.spread)

    def is_open(self, sender: str, receiver: str) -> bool:
        """Returns whether the way from one host to another and the way back are open."""
        return (sender, receiver) not in self.cut and (receiver, sender) not in self.cut

    def ask(self, process: Process, host: Host, ask: Callable[[IRaftPeer], "Deferred[Any]"]) -> "Deferred[Any]":
        """
        Ask a machine a question.

        @param process: the process that asks.
        @return: fires with the answer, or fails with L{LostError}.
        """
        answer: Deferred[Any] = Deferred()
        if not host.answers or host.peer is None or (self.prompt and not self.is_open(process.name, host.name)):
            return fail(LostError(f"{host.name} does not answer"))
        asked = host.process

        def come_back(result: Any) -> None:
            if not answer.called:
                answer.callback(result)

        def answered(result: Any) -> None:
            if asked is not None and asked.alive and process.alive:
                back = Host(process.name, process)
                self.carry(host.name, back, "answer", come_back, result)

        def arrive() -> None:
            if host.peer is not None and not answer.called:
                ask(host.peer).addBoth(answered)

        self.carry(process.name, host, "question", arrive)
        process.after(self.answer_seconds, "lost", come_back, Failure(LostError(f"{host.name} does not answer")))
        return answer
