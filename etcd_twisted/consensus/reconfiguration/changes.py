"""
What a leader is asked to change about who is in the cluster (spec, section 3: "Joining", "Standby", "Membership
safety").

Takes machines in, first as learners, and takes out those that shall go. Must never begin a change while another is
not done, nor take out a machine when that would leave no quorum of those that are heard.
"""

from twisted.internet.defer import DeferredLock, ensureDeferred
from twisted.logger import Logger

from etcd_twisted.consensus.cluster_keys import stored_config
from etcd_twisted.consensus.proposals.proposer import Proposer
from etcd_twisted.consensus.raft import quorum
from etcd_twisted.consensus.raft.core import ConfigurationError
from etcd_twisted.consensus.raft.entries import Configuration, Member
from etcd_twisted.consensus.raft.state import RaftState
from etcd_twisted.consensus.reconfiguration.forbidden import ForbiddenMachines, check_name
from etcd_twisted.consensus.reconfiguration.liveness import Liveness
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.interfaces.cluster import JoinRequest
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from etcd_twisted.keyspace.space import KeySpace


def with_member(configuration: Configuration, machine_id: str, member: Member) -> Configuration:
    """The same group with a machine called and reached as C{member} says; a new one is a learner."""
    learners = configuration.learners
    if machine_id not in configuration:
        learners = (*learners, machine_id)
    return Configuration(configuration.voters, learners, {**configuration.members, machine_id: member})


def with_voter(configuration: Configuration, machine_id: str) -> Configuration:
    """The same group with a learner that has a vote now."""
    learners = tuple(each for each in configuration.learners if each != machine_id)
    return Configuration((*configuration.voters, machine_id), learners, configuration.members)


def without(configuration: Configuration, machine_id: str) -> Configuration:
    """The same group without a machine."""
    return Configuration(
        tuple(each for each in configuration.voters if each != machine_id),
        tuple(each for each in configuration.learners if each != machine_id),
        {each: member for each, member in configuration.members.items() if each != machine_id},
    )


class MembershipChanges:
    """
    What the leader changes about the group.

    @ivar lock: held while a change is under way.
    """

    _log = Logger()

    def __init__(
        self,
        raft: RaftState,
        proposer: Proposer,
        keyspace: KeySpace,
        defaults: ClusterConfig,
        forbidden: ForbiddenMachines,
        liveness: Liveness,
    ) -> None:
        """
        @param keyspace: where it is kept what is set for the cluster.
        @param defaults: what holds as long as nobody has set it.
        @param forbidden: knows which machines are kept out.
        @param liveness: knows which machines are alive.
        """
        self.lock = DeferredLock()
        self._raft = raft
        self._proposer = proposer
        self._keyspace = keyspace
        self._defaults = defaults
        self._forbidden = forbidden
        self._liveness = liveness

    def config(self) -> ClusterConfig:
        """Returns what is set for the cluster."""
        return stored_config(self._keyspace.root) or self._defaults

    def count(self) -> int:
        """Returns how many machines are in the group, with or without a vote."""
        return len(self._configuration.voters) + len(self._configuration.learners)

    @property
    def _configuration(self) -> Configuration:
        return self._raft.configuration

    # What is asked for

    async def join(self, request: JoinRequest) -> None:
        """
        See L{etcd_twisted.interfaces.IRaftPeer.join}.

        @raise NotLeaderError: this machine does not lead.
        """
        await self.lock.run(lambda: ensureDeferred(self._join(request)))

    async def _join(self, request: JoinRequest) -> None:
        member = Member(request.name, request.client_url, request.peer_url)
        configuration = self._configuration
        if configuration.members.get(request.machine_id) == member and request.machine_id in configuration:
            self._check_settled()
            return
        if request.machine_id not in configuration:
            self._forbidden.check(request)
        self._check_address(request.machine_id, member)
        await self._free_name(request)
        if request.machine_id not in self._configuration and self.count() >= self.config().active_size:
            raise EtcdError(ErrorCode.NO_MORE_PEER, request.name)
        await self.change(with_member(self._configuration, request.machine_id, member))

    def _check_settled(self) -> None:
        """See to it that the group is what a quorum knows it to be: what is not committed may be lost again."""
        raft = self._raft
        if not raft.leads_own_term or raft.is_reconfiguring:
            raise EtcdError(ErrorCode.RAFT_INTERNAL, "another change of the group is not done yet; try again")

    def _check_address(self, machine_id: str, member: Member) -> None:
        for other_id, other in self._configuration.members.items():
            if other_id == machine_id or other.name == member.name:
                continue
            for url in (member.peer_url, member.client_url):
                if url in (other.peer_url, other.client_url):
                    raise EtcdError(ErrorCode.PEER_ADDRESS_EXISTS, f"{url} is the address of {other.name}")

    async def _free_name(self, request: JoinRequest) -> None:
        """Take out a machine of the same name that has lost its data and is now another one."""
        for machine_id, other in self._configuration.members.items():
            if other.name == request.name and machine_id != request.machine_id:
                if self._liveness.alive(machine_id):
                    raise EtcdError(ErrorCode.KEY_EXISTS, f"a machine named {other.name} is alive")
                self._log.warn("{name} has come back without its data: it begins anew", name=other.name)
                await self.take_out(machine_id)
                return

    async def move(self, machine_id: str, peer_url: str) -> None:
        """
        See L{etcd_twisted.interfaces.IReplica.move}.

        @raise NotLeaderError: this machine does not lead.
        """
        await self.lock.run(lambda: ensureDeferred(self._move(machine_id, peer_url)))

    async def _move(self, machine_id: str, peer_url: str) -> None:
        configuration = self._configuration
        before = configuration.members.get(machine_id)
        if before is None or machine_id not in configuration:
            raise EtcdError(ErrorCode.KEY_NOT_FOUND, f"no machine {machine_id} is in the cluster")
        member = Member(before.name, before.client_url, peer_url)
        if member == before:
            self._check_settled()
            return
        if machine_id == self._raft.machine_id:
            cause = f"{before.name} leads and is at {before.peer_url}: start it with another --peer-addr to move it"
            raise EtcdError(ErrorCode.INVALID_FIELD, cause)
        self._check_address(machine_id, member)
        await self.change(with_member(configuration, machine_id, member))

    async def remove(self, name: str) -> None:
        """
        See L{etcd_twisted.interfaces.IReplica.remove}.

        @raise NotLeaderError: this machine does not lead.
        """
        await self.lock.run(lambda: ensureDeferred(self._remove(name)))

    async def _remove(self, name: str) -> None:
        machine_id = self._called(name)
        if machine_id is None:
            raise EtcdError(ErrorCode.KEY_NOT_FOUND, f"no machine {name} is in the cluster")
        await self.take_out(machine_id)

    def _called(self, name: str) -> str | None:
        """The id of the member of a name."""
        members = self._configuration.members.items()
        return next((machine_id for machine_id, member in members if member.name == name), None)

    async def forbid(self, name: str, by: str) -> None:
        """
        Remove a machine, and keep it out; see L{etcd_twisted.interfaces.IReplica.remove}.

        @raise NotLeaderError: this machine does not lead.
        """
        check_name(name)
        await self.lock.run(lambda: ensureDeferred(self._forbid(name, by)))

    async def _forbid(self, name: str, by: str) -> None:
        """It is kept out first and taken out then, as it would come back at once."""
        machine_id = self._called(name)
        if machine_id is not None:
            self._checked_removal(machine_id)
        await self._forbidden.keep_out(name, machine_id, by)
        if machine_id is not None and machine_id in self._configuration:
            await self.take_out(machine_id)

    async def take_out(self, machine_id: str) -> None:
        """
        Take a machine out of the group; whoever calls has the L{lock}.

        @raise EtcdError: 300 when those that are left could not go on.
        """
        await self.change(self._checked_removal(machine_id))

    def _checked_removal(self, machine_id: str) -> Configuration:
        """
        The group without a machine.

        @raise EtcdError: 300 when those that are left could not go on.
        """
        configuration = without(self._configuration, machine_id)
        alive = sum(self._liveness.alive(each) for each in configuration.voters)
        if not configuration.voters or alive < quorum.size(len(configuration.voters)):
            raise EtcdError(
                ErrorCode.RAFT_INTERNAL, "too few machines are alive to go on without that one: start others first"
            )
        return configuration

    async def change(self, configuration: Configuration) -> None:
        """
        Make the group another one; whoever calls has the L{lock}.

        @raise EtcdError: 300 when it can't be changed now.
        """
        try:
            await self._proposer.reconfigure(configuration)
        except ConfigurationError as error:
            raise EtcdError(ErrorCode.RAFT_INTERNAL, str(error)) from error
