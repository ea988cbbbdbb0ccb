"""
Clients of the cluster: they write, read and watch, each at its own pace, and record the answers.

They reach the machines that are up over a network of their own, which may lose a request or an answer too. They must
never look into a machine otherwise than a protocol that serves clients does.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from etcd_twisted.consensus.proposals.pending import outcome_callback
from etcd_twisted.consensus.replica import Replica
from etcd_twisted.errors import ErrorCode, EtcdError, RequestDroppedError
from etcd_twisted.keyspace.commands import (
    Change,
    CompareAndDelete,
    CompareAndSwap,
    Create,
    CreateInOrder,
    Delete,
    Set,
    Update,
)
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.nodes import File, Node
from etcd_twisted.keyspace.watchers import Watcher
from etcd_twisted.testing.simulation.machine import MachineRun, SimulatedMachine
from etcd_twisted.testing.simulation.schedule import Process, Schedule
from etcd_twisted.testing.simulation.workers import SimulatedWorker
from tests.simulation.history import Operation, Outcome, Read
from tests.simulation.linearizability import NEVER
from tests.simulation.plan import Plan

_PATIENCE = 6.0
"""The number of seconds after which a client gives a request up."""

_TRIES = 8
"""How many machines a client tries, one after the other, until one takes its request."""

_SECOND = 1_000_000

TIME_STEP = 65_536
"""In microseconds: by the rest of its time on division by this, a command is told from all others."""


class Machines(Protocol):
    """What clients need that send requests to machines."""

    schedule: Schedule
    machines: dict[str, SimulatedMachine]
    plan: Plan

    def broken(self, problem: BaseException | None) -> None:
        """Something happened that must never happen."""


class World(Machines, Protocol):
    """What clients need."""

    operations: list[Operation]

    def lease_used(self) -> None:
        """A read is answered by a lease."""


class Link:
    """The network between clients and machines, or the workers of machines that have some."""

    def __init__(self, world: Machines, to_workers: bool = True) -> None:
        """@param to_workers: whether requests to a machine with workers come to one of these."""
        self.world = world
        self._to_workers = to_workers

    def delay(self) -> float:
        """Returns how long a request or an answer takes."""
        random = self.world.schedule.random
        return random.uniform(0.0002, 0.002) if random.random() < 0.97 else random.uniform(0.01, 0.3)

    def request(
        self, machine: SimulatedMachine, handle: Callable[[Replica], Any], answered: Callable[[Any], None]
    ) -> None:
        """
        Sends a request to a machine.

        @param answered: called with the outcome, which may be a Failure, or with C{None} if nobody was there. It is
            not called if the outcome is unknown.
        """
        schedule, together = self.world.schedule, self.world.plan.together_seconds
        arrives = schedule.now + self.delay()
        if together:
            arrives = math.ceil(arrives / together) * together
        schedule.at(arrives, None, "request", self._arrive, machine, handle, answered)

    def _arrive(
        self, machine: SimulatedMachine, handle: Callable[[Replica], Any], answered: Callable[[Any], None]
    ) -> None:
        server = self._server(machine)
        if server is None:
            self.world.schedule.after(self.delay(), None, "refusal", answered, None)
            return
        server.process.after(0, "handle", self._handle, server.process, server.replica, handle, answered)

    def _server(self, machine: SimulatedMachine) -> MachineRun | SimulatedWorker | None:
        """Returns what serves the clients of a machine; None if nothing does."""
        run = machine.run
        if run is None or not machine.is_up:
            return None
        if run.workers is None or not self._to_workers:
            return run
        loaded = run.workers.loaded
        return self.world.schedule.random.choice(loaded) if loaded else None

    def _handle(
        self, process: Process, replica: Replica, handle: Callable[[Replica], Any], answered: Callable[[Any], None]
    ) -> None:
        def done(result: Any) -> None:
            if process.alive:
                self.world.schedule.after(self.delay(), None, "reply", answered, result)

        maybeDeferred(handle, replica).addBoth(done)


Make = Callable[[int, int], Change]
"""Makes a change, from the operation's number and the time."""


class Client:
    """
    A client that makes one request after the other.

    @ivar stopped: whether it makes no more requests.
    """

    def __init__(self, world: World, name: str, keys: list[str], pause: float) -> None:
        """
        @param keys: the keys that it works on.
        @param pause: how long it waits between requests, about, in seconds.
        """
        self.stopped = False
        self.name = name
        self._world = world
        self._random = world.schedule.random
        self._link = Link(world)
        self._keys = keys
        self._pause = pause
        self._believed: dict[str, str | None] = {}
        self._leader = ""
        self._tries = 0
        self._waits_for: Operation | None = None
        self._rest()

    @property
    def waits(self) -> bool:
        """Whether it waits for an answer."""
        return self._waits_for is not None

    def _rest(self) -> None:
        self._world.schedule.after(self._pause * self._random.uniform(0.1, 2.0), None, "client", self._act)

    def _act(self) -> None:
        if not self.stopped:
            self._tries = 0
            self._ask(self._choose())

    # Requests

    def _choose(self) -> Make | Read:
        raise NotImplementedError

    def _value(self, number: int) -> str:
        """Returns a unique value, now and then a long one."""
        return f"v{number}" + "-" * (self._random.randrange(1_000) if self._random.random() < 0.1 else 0)

    def _ask(self, make: Make | Read) -> None:
        """Makes the request, as another operation each time: one that was not done before may be done now."""
        if self.stopped:
            return
        machine = self._machine()
        number = len(self._world.operations)
        schedule = self._world.schedule
        request = make if isinstance(make, Read) else make(number, number)
        operation = self._waits_for = Operation(number, self.name, request, schedule.now)
        self._world.operations.append(operation)
        self._tries += 1
        schedule.after(_PATIENCE, None, "patience", self._give_up, operation)
        self._link.request(machine, self._handler(operation, make), partial(self._answered, operation, make))

    def _machine(self) -> SimulatedMachine:
        machines = self._world.machines
        if self._world.plan.forwards:
            return machines[self._random.choice(list(machines))]
        if self._leader in machines and self._random.random() < 0.9:
            return machines[self._leader]
        return machines[self._random.choice(list(machines))]

    def _handler(self, operation: Operation, make: Make | Read) -> Callable[[Replica], Any]:
        if isinstance(make, Read):
            return partial(self._read, make)
        return partial(_change, self._world.plan.forwards, operation, make)

    def _read(self, read: Read, replica: Replica) -> "Deferred[Any]":
        if self._world.plan.forwards:
            confirmed = replica.confirm_at_leader(read.lease)
        else:
            confirmed = replica.confirm_recent() if read.lease else replica.confirm_reads()
        if read.lease and confirmed.called and replica.is_leader:
            self._world.lease_used()
        return confirmed.addCallback(lambda _: _found(replica, read.key)).addErrback(_hint, replica)

    # Answers

    def _give_up(self, operation: Operation) -> None:
        if self._waits_for is operation:
            self._waits_for = None
            self._leader = ""
            self._rest()

    def _answered(self, operation: Operation, make: Make | Read, result: Any) -> None:
        if self._waits_for is not operation:
            return  # it has given up, and will never know
        self._waits_for = None
        self._note(operation, result)
        if operation.outcome is Outcome.NOT_DONE and self._tries < _TRIES:
            pause = 0.001 if self._leader else self._random.uniform(0.01, 0.2)
            self._world.schedule.after(pause, None, "again", self._ask, make)
        else:
            self._learn(operation)
            self._rest()

    def _note(self, operation: Operation, result: Any) -> None:
        operation.answered = self._world.schedule.now
        if result is None:
            operation.outcome = Outcome.NOT_DONE
            self._leader = ""
        elif isinstance(result, Failure):
            self._note_failure(operation, result.value)
        elif isinstance(result, Event):
            operation.outcome = Outcome.DONE
            operation.event, operation.index = result, result.index
        else:
            operation.outcome = Outcome.DONE
            operation.index, operation.node = result

    def _note_failure(self, operation: Operation, error: BaseException | None) -> None:
        if error is not None:
            error.__traceback__ = error.__context__ = None  # they would keep whole machines in memory
        if isinstance(error, _ElsewhereError):
            operation.outcome = Outcome.NOT_DONE
            self._leader = error.leader
        elif isinstance(error, EtcdError) and error.code < ErrorCode.RAFT_INTERNAL:
            operation.outcome = Outcome.REFUSED
            operation.error, operation.index = error, error.index
        elif isinstance(error, EtcdError):
            operation.answered = NEVER
            self._leader = ""
        else:
            self._world.broken(error)

    def _learn(self, operation: Operation) -> None:
        """Learns more about a key."""
        if isinstance(operation.node, File):
            self._believed[operation.key] = operation.node.value
        elif operation.event is not None:
            self._believed[operation.key] = operation.event.node.value
        elif operation.outcome is Outcome.REFUSED and operation.error is not None:
            if operation.error.code is ErrorCode.COMPARE_FAILED:
                self._believed[operation.key] = operation.error.cause.rstrip("]").rsplit(" ", 1)[1]
            else:
                self._believed.pop(operation.key, None)


class KeyClient(Client):
    """Changes and reads files in all ways, which other clients use too."""

    def _choose(self) -> Make | Read:
        key = self._random.choice(self._keys)
        known = self._believed.get(key)
        chance = self._random.random()
        if chance < 0.4:
            return Read(key, lease=chance < 0.2)
        if chance < 0.6:
            return lambda number, now: Set(key, now, self._value(number))
        if chance < 0.7:
            return lambda number, now: Create(key, now, self._value(number))
        if chance < 0.75:
            return lambda number, now: Update(key, now, self._value(number))
        if chance < 0.82:
            return lambda _, now: Delete(key, now)
        if known is not None and chance < 0.95:
            return lambda number, now: CompareAndSwap(key, now, self._value(number), None, known)
        if known is not None:
            return lambda _, now: CompareAndDelete(key, now, known)
        return Read(key, lease=True)


class TemporaryClient(Client):
    """Puts files that expire after a while, and looks whether they are there."""

    def _choose(self) -> Make | Read:
        key = self._random.choice(self._keys)
        if self._random.random() < 0.5:
            return Read(key, lease=self._random.random() < 0.5)
        lasts = int(self._random.uniform(0.2, 3.0) * _SECOND)
        return lambda number, now: Set(key, now, self._value(number), False, now + lasts)


class QueueClient(Client):
    """Puts in-order files into directories, takes some out, and lists them."""

    def _choose(self) -> Make | Read:
        key = self._random.choice(self._keys)
        chance = self._random.random()
        if chance < 0.3:
            return Read(key, lease=chance < 0.15)
        known = self._believed.get("")
        if known is not None and chance < 0.6:
            self._believed.pop("")
            return lambda _, now: Delete(known, now)
        return lambda number, now: CreateInOrder(key, now, self._value(number))

    def _learn(self, operation: Operation) -> None:
        if isinstance(operation.request, CreateInOrder) and operation.event is not None:
            self._believed[""] = operation.event.node.key


class Watching:
    """
    A client that watches everything below a key, from the beginning on, at one machine after the other.

    @ivar seen: the events, in the order of their arrival.
    @ivar gaps: the indexes up to which it may have missed events, according to a machine.
    """

    def __init__(self, world: World, name: str, key: str) -> None:
        self.seen: list[Event] = []
        self.gaps: list[tuple[int, int]] = []
        self.key = key
        self.name = name
        self._world = world
        self._random = world.schedule.random
        self._link = Link(world)
        self._next = 1
        self._at: Process | None = None
        self._watcher: Watcher | None = None
        self._replica: Replica | None = None
        self._tries = 0
        self._try()

    def _try(self) -> None:
        machines = self._world.machines
        machine = machines[self._random.choice(list(machines))]
        self._at = None
        self._tries = number = self._tries + 1
        self._link.request(machine, partial(self._watch, number, machine), partial(self._answered, number))
        self._world.schedule.after(self._random.uniform(2.0, 8.0), None, "watcher", self._move, number)

    @property
    def reached(self) -> int:
        """The index up to which it has seen everything; 0 while it watches nowhere, or still has events to receive."""
        replica = self._replica
        if self._at is None or not self._at.alive or replica is None or replica.keyspace.hub.backlog:
            return 0
        return replica.index

    def lost(self, process: Process) -> None:
        """A process has ended."""
        if self._at is process:
            self._later()

    def _later(self) -> None:
        self._at = None
        self._tries += 1
        self._world.schedule.after(self._random.uniform(0.01, 0.3), None, "watcher", self._try)

    def _move(self, number: int) -> None:
        """Goes to another machine, whether or not this one is still there."""
        if number == self._tries:
            if self._watcher is not None and self._at is not None:
                self._watcher.cancel()
            self._try()

    def _watch(self, number: int, machine: SimulatedMachine, replica: Replica) -> None:
        if number != self._tries or not replica.serving:
            raise RequestDroppedError
        since = self._next
        try:
            self._watcher = replica.watch(
                self.key, True, True, since, partial(self._told, number), partial(self._ended, number)
            )
        except EtcdError as error:
            if error.code is not ErrorCode.HISTORY_CLEARED:
                raise
            self.gaps.append((since, error.index))
            self._next = error.index + 1
            raise RequestDroppedError from error
        self._at, self._replica = _process_of(machine, replica), replica

    def _answered(self, number: int, result: Any) -> None:
        if number != self._tries:
            return
        if isinstance(result, Failure) and not result.check(RequestDroppedError):
            self._world.broken(result.value)
        elif isinstance(result, Failure) or self._at is None:
            self._later()

    def _told(self, number: int, event: Event) -> None:
        if number == self._tries:
            self.seen.append(event)
            self._next = event.index + 1

    def _ended(self, number: int) -> None:
        if number == self._tries:
            self._later()


def _process_of(machine: SimulatedMachine, replica: Replica) -> Process:
    """Returns the process of a machine, or of one of its workers, whose replica this is."""
    run = machine.run
    assert run is not None
    workers = () if run.workers is None else run.workers.running.values()
    return next(each.process for each in (run, *workers) if each.replica is replica)


class _ElsewhereError(Exception):
    """The request was not carried out: another machine may lead."""

    def __init__(self, leader: str) -> None:
        super().__init__(leader)
        self.leader = leader


def _hint(failure: Failure, replica: Replica) -> Failure:
    """Returns the leader that a redirect would name."""
    if not failure.check(RequestDroppedError):
        return failure
    leader = replica.leader()
    return Failure(_ElsewhereError("" if leader is None or leader.name == replica.name else leader.name))


def _change(forwards: bool, operation: Operation, make: Make, replica: Replica) -> "Deferred[Event]":
    """
    Makes a change as of now, in the way in which the client API does: its time makes it unique, and determines when a
    key expires.

    @param forwards: whether a machine that does not lead has the leader make it.
    """
    command = make(operation.number, replica.now() // TIME_STEP * TIME_STEP - TIME_STEP + operation.number)
    operation.request = command
    changed: Deferred[Event] = Deferred()
    if not replica.submit(command, outcome_callback(changed)):
        changed = replica.forward(command) if forwards else replica.propose(command)
    return changed.addErrback(_hint, replica)


def _found(replica: Replica, key: str) -> tuple[int, Node | None]:
    try:
        return replica.index, replica.get(key)
    except EtcdError as error:
        if error.code is not ErrorCode.KEY_NOT_FOUND:
            raise
        return replica.index, None
