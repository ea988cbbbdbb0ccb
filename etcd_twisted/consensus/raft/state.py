"""
The Raft state of one machine (Raft paper, figure 2), for those who drive the core or report on it to read.

This module must never change anything: only L{etcd_twisted.consensus.raft.core.Raft} does.
"""

import enum

from etcd_twisted.consensus.raft.ballot import Ballot
from etcd_twisted.consensus.raft.election_timer import ElectionTimer
from etcd_twisted.consensus.raft.entries import Configuration, Member, data_bytes
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
    The Raft state of one machine.

    @ivar machine_id: the id of this machine.
    @ivar term: the current term. It never decreases.
    @ivar role: the role of this machine in that term.
    @ivar leader: the machine id of the leader in this term; C{None} while it is not known.
    @ivar leadership: what this machine knows as the leader, for others to read only; C{None} while it does not lead.
    @ivar deposition: why this machine stopped leading the last time; C{None} if it never did.
    @ivar log: the log in memory, for others to read only.
    """

    def __init__(self, machine_id: str, ballot: Ballot, log: RaftLog, timer: ElectionTimer) -> None:
        self.machine_id = machine_id
        self.term = ballot.term
        self.role = Role.FOLLOWER
        self.leader: str | None = None
        self.leadership: Leader | None = None
        self.deposition: Deposition | None = None
        self._ballot = ballot
        self._timer = timer
        self.log = log
        self._following = Follower(self.term, log)

    @property
    def soft_state(self) -> tuple[object, ...]:
        """What observers are told about when it changes: the role, the term, the leader and the group."""
        leadership, log = self.leadership, self.log
        return (
            self.role,
            self.term,
            self.leader,
            leadership is not None and leadership.handover is None,
            leadership is not None and log.applying_index >= leadership.starts,
            log.configurations.index,
        )

    @property
    def deadline(self) -> float:
        """When the core has to be told the time, even if nothing else happens."""
        leadership = self.leadership
        if leadership is not None:
            return leadership.next_beat if leadership.progress else float("inf")
        return self._timer.due if self._may_stand else float("inf")

    # Who leads

    @property
    def leads(self) -> bool:
        """Whether this machine leads and takes proposals."""
        return self.leadership is not None and self.leadership.handover is None

    @property
    def leads_own_term(self) -> bool:
        """Whether this machine leads and has committed an entry of its term, so that it knows what is committed."""
        return self.leadership is not None and self.log.commit_index >= self.leadership.starts

    @property
    def accepts_proposals(self) -> bool:
        """
        Whether this machine leads, has applied all that was committed before, and continues to lead. Until then its
        copy may lack the users, and rights that were revoked may still be in it. A leader that is handing over, or is
        being taken out of the group, might not learn the outcome of a proposal.
        """
        leadership = self.leadership
        return (
            leadership is not None
            and leadership.stays
            and leadership.handover is None
            and self.log.applying_index >= leadership.starts
        )

    def holds_lease(self, now: float) -> bool:
        """Returns whether this machine leads, knows what is committed, and no other machine can lead now."""
        leadership = self.leadership
        return leadership is not None and self.log.commit_index >= leadership.starts and leadership.holds_lease(now)

    # Who is in the group

    @property
    def configuration(self) -> Configuration:
        """The newest configuration in the log, committed or not (dissertation, section 4.1)."""
        return self.log.configurations.current

    @property
    def configuration_index(self) -> int:
        """The index of the entry that holds L{configuration}."""
        return self.log.configurations.index

    @property
    def settled_configuration_index(self) -> int:
        """The index of the newest configuration that is known to be committed."""
        return self.log.configurations.index_at(self.log.commit_index)

    @property
    def is_reconfiguring(self) -> bool:
        """Whether the newest configuration is not known to be committed."""
        return self.log.configurations.index > self.log.commit_index

    def member(self, machine_id: str) -> Member | None:
        """Returns the name and the addresses of a machine in L{configuration}; C{None} if it is not there."""
        return self.log.configurations.current.members.get(machine_id)

    def has_member(self, machine_id: str) -> bool:
        """
        Returns whether a machine is in the group, or was in it before changes that are not known to be committed.
        Until they are committed, it may lead.
        """
        log = self.log
        if log.configurations.index <= log.commit_index:  # as nearly always, and asked for each message
            return machine_id in log.configurations.current
        return any(machine_id in each for each in log.configurations.since(log.commit_index))

    @property
    def members(self) -> set[str]:
        """The ids of all machines for which L{has_member} is true."""
        return {
            machine_id
            for each in self.log.configurations.since(self.log.commit_index)
            for machine_id in (*each.voters, *each.learners)
        }

    @property
    def _may_stand(self) -> bool:
        """
        Whether this machine has a vote, or had one before a change that is not known to be committed. It may be the
        only one with the entry of that change, and then the others can't continue without it (dissertation, section
        4.2.2).
        """
        log = self.log
        if log.configurations.index <= log.commit_index:  # as nearly always, and asked in each turn
            return self.machine_id in log.configurations.current.voters
        return any(self.machine_id in each.voters for each in log.configurations.since(log.commit_index))

    @property
    def has_vote(self) -> bool:
        """Whether this machine is a voter, by a configuration that is known to be committed."""
        return self.machine_id in self.configuration.voters and not self.is_reconfiguring

    # The log

    @property
    def commit_index(self) -> int:
        """The index of the last entry that is known to be committed."""
        return self.log.commit_index

    @property
    def leader_commit(self) -> int:
        """The highest commit index that the leader of this term has sent. The log may not reach that far."""
        return self._following.leader_commit

    @property
    def last_index(self) -> int:
        """The index of the last entry, durable or not."""
        return self.log.last_index

    def committed_bytes_after(self, index: int) -> int:
        """
        Returns how many bytes of data the committed entries after C{index} hold, as far as they are in memory.
        """
        return data_bytes(self.log.between(index + 1, self.log.commit_index + 1))

    # What is left to do

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to make durable or to apply."""
        log = self.log
        applied = log.applying_index >= min(log.commit_index, log.durable_index)
        return applied and self._ballot.is_durable and log.durable_index == log.last_index
