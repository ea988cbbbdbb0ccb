"""
What may be seen of one machine's Raft state (Raft paper, figure 2), by whoever drives the core or reports on it.

Must never change anything: only L{etcd_twisted.consensus.raft.core.Raft} does.
"""

import enum

from etcd_twisted.consensus.raft.ballot import Ballot
from etcd_twisted.consensus.raft.entries import Configuration
from etcd_twisted.consensus.raft.follower import Follower
from etcd_twisted.consensus.raft.leader import Deposition, Leader
from etcd_twisted.consensus.raft.log import RaftLog


@enum.unique
class Role(enum.Enum):
    """What a machine is in its term (Raft paper, section 5.1)."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


class RaftState:
    """
    One machine's.

    @ivar machine_id: this machine.
    @ivar term: the term that it is in. It never goes back.
    @ivar role: what it is.
    @ivar leader: the leader's machine id in this term, C{None} while unknown.
    @ivar leadership: what a leader knows of the others; to be looked at only. C{None} for one that does not lead.
    @ivar deposition: why this machine stopped leading last; C{None} if it never did.
    """

    def __init__(self, machine_id: str, ballot: Ballot, log: RaftLog) -> None:
        self.machine_id = machine_id
        self.term = ballot.term
        self.role = Role.FOLLOWER
        self.leader: str | None = None
        self.leadership: Leader | None = None
        self.deposition: Deposition | None = None
        self._ballot = ballot
        self._log = log
        self._following = Follower(self.term, log)

    @property
    def soft_state(self) -> tuple[object, ...]:
        """What of it may change without anything being written: the role, the term, the leader and the group."""
        leadership, log = self.leadership, self._log
        return (
            self.role,
            self.term,
            self.leader,
            leadership is not None and leadership.handover is None,
            leadership is not None and log.commit_index >= leadership.starts,
            log.configurations.index,
        )

    # Who leads

    @property
    def leads(self) -> bool:
        """Whether this machine leads and takes proposals."""
        return self.leadership is not None and self.leadership.handover is None

    @property
    def leads_own_term(self) -> bool:
        """Whether this machine leads and has committed an entry of its term: only then it knows what is committed."""
        return self.leadership is not None and self._log.commit_index >= self.leadership.starts

    @property
    def leads_on(self) -> bool:
        """
        Whether this machine leads, knows what is committed, and goes on to lead: it is not handing over, nor being
        taken out, when it would not learn what becomes of what is proposed.
        """
        leadership = self.leadership
        return (
            leadership is not None
            and leadership.stays
            and leadership.handover is None
            and self._log.commit_index >= leadership.starts
        )

    def holds_lease(self, now: float) -> bool:
        """Returns whether this machine leads, knows what is committed, and nobody else can lead now."""
        return self.leads_own_term and self.leadership is not None and self.leadership.holds_lease(now)

    # Who is in the group

    @property
    def configuration(self) -> Configuration:
        """The newest in the log, committed or not (dissertation, section 4.1)."""
        return self._log.configurations.current

    @property
    def configuration_index(self) -> int:
        """The index of the entry that holds L{configuration}."""
        return self._log.configurations.index

    @property
    def settled_configuration_index(self) -> int:
        """The index of the newest configuration that is known to be committed."""
        return self._log.configurations.index_at(self._log.commit_index)

    @property
    def is_reconfiguring(self) -> bool:
        """Whether the newest configuration is not known to be committed."""
        return self._log.configurations.index > self._log.commit_index

    def has_member(self, machine_id: str) -> bool:
        """
        Returns whether a machine is in the group, or was before changes that are not known to be committed: as long
        as they are not, it may lead.
        """
        return any(machine_id in each for each in self._log.configurations.since(self._log.commit_index))

    @property
    def members(self) -> set[str]:
        """All for which L{has_member} is true."""
        return {
            machine_id
            for each in self._log.configurations.since(self._log.commit_index)
            for machine_id in (*each.voters, *each.learners)
        }

    @property
    def has_vote(self) -> bool:
        """Whether this machine counts in the group, by a configuration that is known to be committed."""
        return self.machine_id in self.configuration.voters and not self.is_reconfiguring

    # The log

    @property
    def commit_index(self) -> int:
        """The index of the last entry that is known to be committed."""
        return self._log.commit_index

    @property
    def leader_commit(self) -> int:
        """The highest commit index that a leader of this term has told; the log may not reach so far."""
        return self._following.leader_commit

    @property
    def last_index(self) -> int:
        """The index of the last entry, durable or not."""
        return self._log.last_index

    @property
    def snapshot_index(self) -> int:
        """Up to which index the newest snapshot stands for the log."""
        return self._log.snapshot_index

    def term_at(self, index: int) -> int:
        """
        Returns the term of an entry.

        @raise IndexError: it is not in memory any more, or not yet.
        """
        return self._log.term(index)

    def committed_bytes_after(self, index: int) -> int:
        """
        Returns how many bytes of data the entries behind C{index} hold that are committed, as far as they are there.
        """
        return sum(len(each.data) for each in self._log.between(index + 1, self._log.commit_index + 1))

    # What is left to do

    @property
    def has_new_entries(self) -> bool:
        """
        Whether it leads, and has entries that its own disk was not given: to all appearance, others still wait for
        them. All else that they are sent, they don't wait for.
        """
        return self.leadership is not None and not self._log.is_handed_out

    @property
    def has_to_apply(self) -> bool:
        """Whether there are entries that are committed and durable, and that were not handed out to be applied."""
        log = self._log
        return log.commit_index > log.applying_index < log.durable_index

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to make durable or to apply."""
        saved = self._ballot.is_durable and self._log.durable_index == self._log.last_index
        return saved and not self.has_to_apply
