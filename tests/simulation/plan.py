"""
The parameters of a run, drawn from its seed: how large and fast it is, how many faults there are, and of which kinds.

Few kinds of faults at a time find more than all kinds always, so each run has its own. A plan must never depend on
anything but the seed.
"""

from random import Random
from typing import Self

import attrs

KINDS = (
    "crash",
    "crash_leader",
    "crash_in_a_write",
    "crash_all",
    "curse_leaders",
    "restart",
    "hold_up",
    "hold_up_leader",
    "set_clock",
    "slow_disk",
    "fail_disk",
    "lose_disk",
    "move",
    "part",
    "isolate",
    "cut_one_way",
    "lose_connections",
    "change_weather",
    "remove",
    "configure",
    "add",
)
"""All kinds of faults, by the names of the methods of L{tests.simulation.faults.Faults} that make them."""

WORKER_KINDS = ("kill_worker", "hold_up_worker")
"""The kinds of faults that there are in addition if machines have workers."""

_BUSY_PAUSE = 0.05
"""Clients that wait for less than this between requests are busy, in seconds."""

LEASES_HOLD = 1.3
"""How much faster than another one a clock may be while leases still hold."""


@attrs.frozen
class Plan:
    """
    The parameters of a run.

    @ivar machines: how many there are at the beginning.
    @ivar spread: how much faster than the slowest clock another one may be.
    @ivar clocks: how far a wall clock may be ahead of the right time, or behind it, in seconds.
    @ivar history: how many events are kept for watchers.
    @ivar snapshot_count: how many entries are applied from one snapshot to the next; C{None} for no snapshots.
    @ivar batch: how many entries go into one message, and all other limits are small too; C{None} to leave all limits
        as they are.
    @ivar keys: how many keys clients share.
    @ivar clients: how many change and read these.
    @ivar client_pause: how long they wait between requests, about, in seconds.
    @ivar kinds: the kinds of faults.
    @ivar fault_pause: how long it takes from one fault to the next, about, in seconds.
    @ivar forms_first: whether there are no faults before the cluster has formed.
    @ivar trouble: for how many seconds there are faults.
    @ivar forwards: whether clients ask any machine, and those that do not lead ask the leader for them. No seed draws
        this, so that each seed gives the same run as ever.
    @ivar listed: whether the machines are of a static list, and begin together. No seed draws this either.
    @ivar workers: how many workers each machine has; if there are any, clients ask these. No seed draws this either.
    @ivar profile: see L{etcd_twisted.testing.simulation.machine.Settings}. No seed draws this either.
    """

    machines: int
    spread: float
    clocks: float
    history: int
    snapshot_count: int | None
    batch: int | None
    keys: int
    clients: int
    client_pause: float
    kinds: tuple[str, ...]
    fault_pause: float
    forms_first: bool
    trouble: float = 12.0
    forwards: bool = False
    listed: bool = False
    workers: int = 0
    profile: str = "etcd04"

    @property
    def leases_hold(self) -> bool:
        """Whether the clocks are near enough to each other."""
        return self.spread <= LEASES_HOLD

    @property
    def together_seconds(self) -> float:
        """
        Requests of busy clients come to machines at multiples of this, so that several come in one turn of a reactor,
        and their changes go into the log together. It is 0 if requests come at any time.
        """
        return 0.01 if self.client_pause < _BUSY_PAUSE else 0.0

    @classmethod
    def draw(cls, random: Random) -> Self:
        """Returns a plan for a run."""
        return cls(
            machines=random.choice([3, 5]),
            spread=random.choice([1.0, 1.0, 1.1, LEASES_HOLD, 3.0]),
            clocks=random.choice([0.5, 60.0, 3600.0]),
            history=random.choice([20, 1_000]),
            snapshot_count=random.choice([None, 20, 50, 200]),
            batch=random.choice([None, 1, 1, 4]),
            keys=random.choice([1, 3, 6]),
            clients=random.randrange(2, 6),
            client_pause=random.choice([0.02, 0.1, 0.3]),
            kinds=tuple(each for each in KINDS if random.random() < 0.5) or KINDS,
            fault_pause=random.choice([0.2, 0.5, 1.5]),
            forms_first=random.random() < 0.8,
        )
