"""
What a member knows of its group: the leader, the members, their statuses, and whether its own copy is up to date.

This module must never change anything, nor ask another machine.
"""

import math

from etcd_twisted import __version__
from etcd_twisted.consensus.clocks.cluster_time import Clocks
from etcd_twisted.consensus.machines import members_of
from etcd_twisted.consensus.monitoring.statuses import Statuses
from etcd_twisted.consensus.raft.entries import Configuration, Member
from etcd_twisted.consensus.raft.state import RaftState, Role
from etcd_twisted.consensus.state_machine import StateMachine
from etcd_twisted.interfaces.cluster import Health, Machine, MachineStatus, StatusReport


class GroupState:
    """
    The group of one member; see the module.

    @ivar cluster_id: the id of the group's cluster.
    @ivar raft: this machine's Raft state, to be read only.
    @ivar state_machine: the state machine to which this machine applies the log.
    """

    def __init__(
        self,
        cluster_id: str,
        own: Member,
        clocks: Clocks,
        raft: RaftState,
        state_machine: StateMachine,
        statuses: Statuses,
    ) -> None:
        """
        @param own: the name and the addresses that this machine was started with.
        @param statuses: the statuses that the other machines report.
        """
        self.cluster_id = cluster_id
        self.raft = raft
        self.state_machine = state_machine
        self._own = own
        self._clocks = clocks
        self._statuses = statuses
        self._began = clocks.monotonic.seconds()

    # This machine

    @property
    def name(self) -> str:
        """This machine's name."""
        return self._own.name

    @property
    def term(self) -> int:
        """The current term."""
        return self.raft.term

    @property
    def accepts_proposals(self) -> bool:
        """See L{RaftState.accepts_proposals}."""
        return self.raft.accepts_proposals

    @property
    def has_vote(self) -> bool:
        """See L{RaftState.has_vote}."""
        return self.raft.has_vote

    @property
    def own_entry_is_current(self) -> bool:
        """Whether the group, as of the last applied entry, has this machine under its own name and addresses."""
        return self.state_machine.configuration.members.get(self.raft.machine_id) == self._own

    @property
    def is_caught_up(self) -> bool:
        """
        Whether the key space holds all that the leader had committed when this machine last heard from it. Until the
        leader has committed an entry of its own term, no machine knows how much that is. A leader whose address has
        changed first makes its new one known.
        """
        raft, applied_index = self.raft, self.state_machine.applied_index
        if raft.leadership is not None:
            return raft.leads_own_term and applied_index >= raft.commit_index and self.own_entry_is_current
        is_up_to_date = raft.leader is not None and applied_index >= raft.leader_commit
        return is_up_to_date and self.state_machine.applied_term == raft.term

    @property
    def role(self) -> str:
        """The role of this machine in one word; see L{StatusReport}."""
        raft = self.raft
        if raft.accepts_proposals:
            return "leader"
        if raft.machine_id not in raft.configuration.voters:
            return "learner"
        return "candidate" if raft.role in (Role.CANDIDATE, Role.PRE_CANDIDATE) else "follower"

    def report(self) -> StatusReport:
        """Returns what this machine tells others about itself."""
        return report(self._clocks, self)

    @property
    def uptime_seconds(self) -> float:
        """How many seconds this machine has been a member since it was started."""
        return self._clocks.monotonic.seconds() - self._began

    # All machines

    @property
    def configuration(self) -> Configuration:
        """
        The group as of the last applied entry. Until this machine has applied all that its log held at the start, it
        is the newest group in the log, as without a quorum no machine knows which of the entries are committed.
        """
        state_machine = self.state_machine
        if state_machine.has_all_from_before and state_machine.configuration.members:
            return state_machine.configuration
        return self.raft.configuration

    def members(self) -> dict[str, Machine]:
        """Returns the machines of the group, by id."""
        return members_of(self.configuration)

    def leader(self) -> Machine | None:
        """
        Returns the leader, or C{None} while none is known, or while it has not said yet where it serves clients.
        """
        raft = self.raft
        if raft.leader is None or (raft.leadership is not None and not raft.accepts_proposals):
            return None
        member = raft.member(raft.leader)
        return (
            None
            if member is None or not member.client_url
            else Machine(member.name, member.client_url, member.peer_url)
        )

    @property
    def has_own_entry(self) -> bool:
        """Whether the newest group in the log, committed or not, has this machine."""
        return self.raft.machine_id in self.raft.configuration

    @property
    def is_reconfiguring(self) -> bool:
        """Whether that group is not known to be committed."""
        return self.raft.is_reconfiguring

    def label(self, machine_id: str) -> str:
        """Returns what log lines call a machine: its name and its peer URL, if they are known here."""
        member = self.raft.member(machine_id)
        return f"the machine {machine_id}" if member is None else f"{member.name} ({member.peer_url})"

    def statuses(self) -> dict[str, MachineStatus]:
        """See L{etcd_twisted.interfaces.IReplica.statuses}."""
        raft = self.raft
        return self._statuses.all(raft.machine_id, raft.configuration.members, self.report())

    def health(self) -> Health:
        """See L{etcd_twisted.interfaces.IReplica.health}."""
        leader = self.leader()
        voters = frozenset(self.raft.configuration.voters)
        return Health(self.statuses(), voters, "" if leader is None else leader.name)


def report(clocks: Clocks, group: GroupState | None) -> StatusReport:
    """
    Returns what this machine tells others about itself.

    @param group: the group of this machine; C{None} while it is not a member.
    """
    time = clocks.cluster
    error = time.error_seconds
    return StatusReport(
        int(clocks.wall() * 1e6),
        time.now(),
        None if error is None else math.ceil(error * 1e6),
        "" if group is None else group.role,
        0 if group is None else group.raft.term,
        0 if group is None else group.state_machine.applied_index,
        __version__,
        0 if group is None else int(group.uptime_seconds * 1e6),
        time.term,
    )
