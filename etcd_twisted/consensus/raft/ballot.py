"""
A machine's term, its vote in it, and the votes that it gets (Raft paper, figure 2: currentTerm and votedFor).

Terms only grow, and in each of them one vote is given at the most, also across restarts: nothing may be said in a term
before L{Ballot.is_durable}. Must never decide who gets a vote.
"""

from collections.abc import Collection

from etcd_twisted.consensus.raft import quorum
from etcd_twisted.consensus.raft.entries import HardState


class Ballot:
    """
    See the module.

    @ivar is_durable: whether the term and the vote are on disk.
    @ivar is_handed_out: whether L{to_persist} has nothing.
    """

    def __init__(self, hard_state: HardState) -> None:
        """
        @param hard_state: as it was last made durable.
        """
        self._state = self._durable = self._handed_out = hard_state
        self.is_durable = self.is_handed_out = True
        self._votes: set[str] = set()

    @property
    def term(self) -> int:
        """The term that this machine is in."""
        return self._state.term

    @property
    def vote(self) -> str:
        """The machine id that it has voted for in this term, or C{""}."""
        return self._state.vote

    def enter(self, term: int, vote: str = "") -> None:
        """
        Go on to a later term.

        @raise ValueError: it is not later.
        """
        if term <= self.term:
            raise ValueError(f"term {term} does not follow term {self.term}")
        self._become(HardState(term, vote))

    def give(self, candidate: str) -> None:
        """
        Vote for a machine.

        @raise ValueError: the vote of this term was given to another.
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
        """Returns what is to be made durable and was not handed out before."""
        if self.is_handed_out:
            return None
        self._handed_out = self._state
        self.is_handed_out = True
        return self._state

    def persisted(self, hard_state: HardState) -> None:
        """What L{to_persist} gave is durable."""
        self._durable = hard_state
        self.is_durable = hard_state == self._state

    # The votes of others

    def ask(self, *voters: str) -> None:
        """Begin to count, with the votes of C{voters}."""
        self._votes = set(voters)

    def count(self, voter: str) -> None:
        """A machine has given its vote; more than once is as good as once."""
        self._votes.add(voter)

    def is_won(self, voters: Collection[str]) -> bool:
        """Whether a quorum of C{voters} has given its vote."""
        return len(self._votes.intersection(voters)) >= quorum.size(len(voters))
