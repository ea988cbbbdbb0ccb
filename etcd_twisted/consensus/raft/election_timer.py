"""
When a machine stands for election, and how long it votes for nobody after it has heard from a leader (Raft paper,
section 5.2; dissertation, section 4.2.3).

This module must never read a clock: its callers pass the time in.
"""

import random


class ElectionTimer:
    """
    The timer of one machine; see the module.

    @ivar due: when the machine stands for election, unless it hears from a leader before.
    """

    def __init__(self, election_timeout_seconds: float, random_seed: int, now: float) -> None:
        """
        @param election_timeout_seconds: how long a leader may be silent.
        @param now: when the machine was started. It may have heard from a leader just before that, and so must not
            vote for another machine yet.
        """
        self.due = 0.0
        self._election_timeout_seconds = election_timeout_seconds
        self._random = random.Random(random_seed)  # noqa: S311  # nobody is kept out by it
        self._heard = now
        self.restart(now)

    def restart(self, now: float) -> None:
        """Start a new wait of one to two election timeouts, at random, so that one machine is the first to stand."""
        self.due = now + self._election_timeout_seconds * self._random.uniform(1.0, 2.0)

    def heard(self, now: float) -> None:
        """Note that this machine has heard from the leader."""
        self._heard = now

    def heard_lately(self, now: float) -> bool:
        """Returns whether this machine heard from the leader within an election timeout, so that it must not vote."""
        return now < self._heard + self._election_timeout_seconds
