"""
Checks whether keys with a TTL end in time, by the simulation's own time, which no machine knows.

  - No key ends earlier than its TTL after it was granted, by a clock as fast as the fastest one.
  - No key ends much later than its TTL, as long as there is a leader.

Both allow for the error of the readings of the leader's clock, see L{etcd_twisted.consensus.clocks.cluster_time}. A
machine that takes the lead without having heard the leader's time may end early what was granted before; it must never
let a key live longer than its TTL from then on.

The checks must never be more lenient than that.
"""

from functools import partial
from typing import Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from etcd_twisted.consensus.clocks.cluster_time import SLEW, Inheritance
from etcd_twisted.consensus.replica import Replica
from etcd_twisted.errors import EtcdError, RequestDroppedError
from etcd_twisted.keyspace import tree
from etcd_twisted.keyspace.commands import Create
from etcd_twisted.keyspace.events import Event
from etcd_twisted.testing.simulation.machine import SimulatedMachine
from tests.simulation.clients import Link, Machines
from tests.simulation.invariants import Violation
from tests.simulation.reference import Reference

DIRECTORY = "/leases"

PROMPT = 0.2
"""Within how many seconds of its end a key has to be gone, and how exact the checks are."""

LATE = 6.0
"""How many seconds a leader may need to remove a key that has ended: others may not hear it, or its disk is slow."""

_SECOND = 1_000_000


@attrs.define
class _Lease:
    """
    A key with a TTL.

    @ivar granted: when the leader took the request.
    @ivar ttl: seconds.
    @ivar slack: the total error of the readings of the clocks until then, at most.
    """

    key: str
    granted: float
    ttl: float
    slack: float
    live: bool = False


class Leases:
    """
    The checks of leases.

    @ivar judged: how many keys have ended that could have ended too early or too late.
    """

    def __init__(self, reference: Reference, spread: float) -> None:
        """@param spread: how much faster than the slowest clock another one may be."""
        self.judged = 0
        self._reference = reference
        self._spread = spread
        self._looked = 0
        self._leases: dict[str, _Lease] = {}
        self._slack = 0.0
        self._begun_anew = 0.0
        self._anew_term = 0
        self._led_since: dict[int, float] = {}

    @property
    def waiting(self) -> list[str]:
        """The keys that have not ended."""
        return [key for key, lease in self._leases.items() if lease.live]

    def granted(self, key: str, ttl: float, now: float) -> None:
        """A leader takes a request."""
        self._leases[key] = _Lease(key, now, ttl, self._slack)

    def taken_over(self, term: int, inherited: Inheritance, now: float) -> None:
        """
        A machine takes the lead.

        @param inherited: what it knew of the cluster time.
        """
        self._led_since[term] = now
        error = inherited.error_seconds
        if error is None or inherited.term < self._anew_term:
            self._begun_anew, self._anew_term = now, term
        else:
            # The error is that of clocks that hardly drift, but these do, for as long as the reading is old.
            self._slack += error * self._spread + inherited.age_seconds * (self._spread - 1.0)

    def look(self, now: float) -> None:
        """
        Checks what was committed since the last call.

        @raise Violation: a key has ended too early or too late.
        """
        for index in range(self._looked + 1, self._reference.length + 1):
            self._looked = index
            command, result = self._reference.commands.get(index, (None, None))
            if isinstance(command, Create) and isinstance(result, Event) and command.key in self._leases:
                self._leases[command.key].live = True
            for key in self.waiting:
                if not self._is_there(index, key):
                    self._ended(self._leases[key], max(self._led_since.values(), default=now), now)

    def _is_there(self, index: int, key: str) -> bool:
        _, root = self._reference.states[index]
        return tree.look_up(root, key).node is not None

    def _ended(self, lease: _Lease, led_since: float, now: float) -> None:
        lease.live = False
        lasted = now - lease.granted
        slack = self._slack + SLEW * lasted + PROMPT
        if lease.granted >= self._begun_anew:
            self.judged += 1
            if lasted < lease.ttl / self._spread - slack:
                raise Violation(
                    f"{lease.key} ends too early: {lasted:.3f} s after it was granted for {lease.ttl:.3f} s;"
                    f" {slack:.3f} s may be wrong"
                )
        self._check_late(lease, max(led_since, self._begun_anew), now)

    def _check_late(self, lease: _Lease, led_since: float, now: float) -> None:
        """
        @param led_since: since when the last leader leads. What an earlier one proposed in time may be committed only
            when another one leads.
        """
        due = max(lease.granted, self._begun_anew) + lease.ttl
        if now > max(due, led_since) + self._slack + LATE:
            raise Violation(f"{lease.key} ends too late: it was due at {due:.3f}, and a leader led at {led_since:.3f}")

    def check_none_left(self, since: float, now: float) -> None:
        """
        @param since: when the faults ended.
        @raise Violation: a key should have ended.
        """
        for key in self.waiting:
            self._check_late(self._leases[key], since, now)


class World(Machines, Protocol):
    """What the client needs."""

    leases: Leases

    def leader(self) -> SimulatedMachine | None:
        """The machine that leads, or None if no machine leads."""

    def broken(self, problem: BaseException | None) -> None:
        """Something happened that must never happen."""


class LeaseClient:
    """
    A client that puts keys with a TTL, as the client port does.

    @ivar stopped: whether it puts no more.
    """

    def __init__(self, world: World, pause: float) -> None:
        """@param pause: how long it waits between requests, about, in seconds."""
        self.stopped = False
        self._world = world
        self._link = Link(world, to_workers=False)  # a lease is granted when its leader takes it
        self._random = world.schedule.random
        self._pause = pause
        self._count = 0
        self._rest()

    def _rest(self) -> None:
        self._world.schedule.after(self._pause * self._random.uniform(0.1, 2.0), None, "leases", self._act)

    def _act(self) -> None:
        if self.stopped:
            return
        machine = self._world.leader()
        if machine is not None:
            self._count += 1
            key = f"{DIRECTORY}/{self._count}"
            ttl = self._random.choice([0.5, 1.0, 2.0, 4.0])
            self._link.request(machine, partial(self._put, key, ttl), self._answered)
        self._rest()

    def _put(self, key: str, ttl: float, replica: Replica) -> "Deferred[Event]":
        if not replica.is_leader:
            raise RequestDroppedError
        now = replica.now()
        self._world.leases.granted(key, ttl, self._world.schedule.now)
        time = now // 65_536 * 65_536 - 1  # no other client has this time
        return replica.propose(Create(key, time, "", False, now + int(ttl * _SECOND)))

    def _answered(self, result: object) -> None:
        """The log has the outcome."""
        if isinstance(result, Failure) and not result.check(EtcdError, RequestDroppedError):
            self._world.broken(result.value)
