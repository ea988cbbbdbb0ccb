"""
A machine's term, its vote in that term, and the votes that it receives (Raft paper, figure 2: currentTerm and
votedFor).

Terms only grow, and a machine gives at most one vote in each of them, even across restarts: it may send nothing in a
term before L{Ballot.is_durable} is true. This module must never decide who gets a vote.
"""

from collections.abc import Collection

from etcd_twisted.consensus.raft import quorum
from etcd_twisted.consensus.raft.entries import HardState


class Ballot:
    """
    The term and the votes of one machine; see the module.

    @ivar is_durable: whether the term and the vote are on disk.
    @ivar is_handed_out: whether L{to_persist} has nothing left to return.
    """

    def __init__(self, hard_state: HardState) -> None:
        """
        @param hard_state: the one that was made durable last.
        """
        self._state = self._durable = self._handed_out = hard_state
        self.is_durable = self.is_handed_out = True
        self._votes: set[str] = set()

    @property
    def term(self) -> int:
        """The current term of this machine. It never decreases."""
        return self._state.term

    @property
    def vote(self) -> str:
        """The id of the machine that this one voted for in this term, or C{""} if it has not voted."""
        return self._state.vote

    def enter(self, term: int, vote: str = "") -> None:
        """
        Enter a later term.

        @raise ValueError: the term is not later than the current one.
        """
        if term <= self.term:
            raise ValueError(f"term {term} does not follow term {self.term}")
        self._become(HardState(term, vote))

    def give(self, candidate: str) -> None:
        """
        Vote for a machine.

        @raise ValueError: this machine has voted for another one in this term.
        """
        if self.vote not in ("", candidate):
            raise ValueError(f"the vote of term {self.term} was given to {self.vote}")
        self._become(HardState(self.term, candidate))

    def _become(self, state: HardState) -> None:
        self._state = state
        self.is_durable = state == self._durable
        self.is_handed_out = state == self._handed_out

    # The disk

    def to_persist(self) -> HardState | None:
        """Returns the hard state to make durable, or C{None} if it was handed out before."""
        if self.is_handed_out:
            return None
        self._handed_out = self._state
        self.is_handed_out = True
        return self._state

    def persisted(self, hard_state: HardState) -> None:
        """Note that a hard state that L{to_persist} returned is durable."""
        self._durable = hard_state
        self.is_durable = hard_state == self._state

    # The votes of others

    def ask(self, *voters: str) -> None:
        """Start a new count, in which C{voters} have given their votes already."""
        self._votes = set(voters)

    def count(self, voter: str) -> None:
        """Count the vote of a machine. A second vote of the same machine changes nothing."""
        self._votes.add(voter)

    def is_won(self, voters: Collection[str]) -> bool:
        """Returns whether a quorum of C{voters} has given its vote."""
        return len(self._votes.intersection(voters)) >= quorum.size(len(voters))
