"""
When a machine stands for election, and how long it stays with a leader that it has heard (Raft paper, section 5.2;
dissertation, section 4.2.3).

Must never read a clock: it is told the time.
"""

import random


class ElectionTimer:
    """
    See the module.

    @ivar due: when the machine stands, unless it hears of a leader before.
    """

    def __init__(self, election: float, seed: int, now: float) -> None:
        """
        @param election: the election timeout, in seconds.
        @param now: when the machine was started. It may have heard a leader just before, and promised it not to vote.
        """
        self.due = 0.0
        self._election = election
        self._random = random.Random(seed)  # noqa: S311  # nobody is kept out by it
        self._heard = now
        self.restart(now)

    def restart(self, now: float) -> None:
        """Wait anew, for one to two election timeouts: some machine is then the first."""
        self.due = now + self._election * self._random.uniform(1.0, 2.0)

    def heard(self, now: float) -> None:
        """The leader was heard."""
        self._heard = now

    def heard_lately(self, now: float) -> bool:
        """Whether the leader was heard within an election timeout, so that no other gets a vote."""
        return now < self._heard + self._election
