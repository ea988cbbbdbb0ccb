"""
The changes of the membership that a leader is asked for (spec, section 3: "Joining", "Standby", "Membership safety").

It adds machines, first as learners, and removes machines. It must never begin a change before the previous one is
done, nor remove a machine if the machines that are alive would then be no quorum.
"""

from collections.abc import Callable

from twisted.internet.defer import DeferredLock, ensureDeferred
from twisted.logger import Logger

from etcd_twisted.consensus.cluster_keys import stored_config
from etcd_twisted.consensus.proposals.proposer import Proposer
from etcd_twisted.consensus.raft import quorum
from etcd_twisted.consensus.raft.entries import Configuration, Member
from etcd_twisted.consensus.raft.errors import ConfigurationError
from etcd_twisted.consensus.raft.state import RaftState
from etcd_twisted.consensus.reconfiguration.forbidden import ForbiddenMachines, check_name
from etcd_twisted.consensus.reconfiguration.liveness import Liveness
from etcd_twisted.consensus.reconfiguration.member_records import MemberRecords
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.interfaces.cluster import JoinRequest
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from etcd_twisted.keyspace.space import KeySpace


def with_member(configuration: Configuration, machine_id: str, member: Member) -> Configuration:
    """Returns the group with the name and addresses in C{member} for a machine. A new machine is a learner."""
    learners = configuration.learners
    if machine_id not in configuration:
        learners = (*learners, machine_id)
    return Configuration(configuration.voters, learners, {**configuration.members, machine_id: member})


def with_voter(configuration: Configuration, machine_id: str) -> Configuration:
    """Returns the group with a learner as a voter."""
    learners = tuple(each for each in configuration.learners if each != machine_id)
    return Configuration((*configuration.voters, machine_id), learners, configuration.members)


def without(configuration: Configuration, machine_id: str) -> Configuration:
    """Returns the group without a machine."""
    return Configuration(
        tuple(each for each in configuration.voters if each != machine_id),
        tuple(each for each in configuration.learners if each != machine_id),
        {each: member for each, member in configuration.members.items() if each != machine_id},
    )


class MembershipChanges:
    """
    Changes the group, as long as this machine leads.

    @ivar lock: held while a change is under way, so that there is only one at a time.
    @ivar on_move: called with the id of a member and its new peer URL, when that member says that it has moved. The
        group may not know it for some time: until another change is committed.
    """

    _log = Logger()

    def __init__(
        self,
        raft: RaftState,
        proposer: Proposer,
        keyspace: KeySpace,
        defaults: ClusterConfig,
        forbidden: ForbiddenMachines,
        records: MemberRecords,
        liveness: Liveness,
    ) -> None:
        """
        @param keyspace: the key space, which holds the cluster's configuration.
        @param defaults: the configuration as long as nobody has set one.
        @param forbidden: knows which machines are forbidden.
        @param records: knows which machines are awaited.
        @param liveness: knows which machines are alive.
        """
        self.lock = DeferredLock()
        self.on_move: list[Callable[[str, str], None]] = []
        self._raft = raft
        self._proposer = proposer
        self._keyspace = keyspace
        self._defaults = defaults
        self._forbidden = forbidden
        self._records = records
        self._liveness = liveness

    def config(self) -> ClusterConfig:
        """Returns the cluster's configuration."""
        return stored_config(self._keyspace.root) or self._defaults

    def count(self) -> int:
        """Returns how many machines are in the group, with or without a vote."""
        return len(self._configuration.voters) + len(self._configuration.learners)

    @property
    def _configuration(self) -> Configuration:
        return self._raft.configuration

    # Requests

    async def join(self, request: JoinRequest) -> None:
        """
        See L{etcd_twisted.interfaces.IRaftPeer.join}.

        @raise NotLeaderError: this machine does not lead.
        """
        self._tell_move(request)
        await self.lock.run(lambda: ensureDeferred(self._join(request)))

    def _tell_move(self, request: JoinRequest) -> None:
        """
        Tell that a member has moved, before the lock is free: the change that holds it may wait for this very member.

        The address is checked here, as nothing takes back what is told, and again under the lock, as another machine
        may get the address meanwhile.
        """
        known = self._configuration.members.get(request.machine_id)
        if self._raft.leadership is None or known is None or known.peer_url == request.peer_url:
            return
        self._check_address(request.machine_id, Member(request.name, request.client_url, request.peer_url))
        for tell in self.on_move:
            tell(request.machine_id, request.peer_url)

    async def _join(self, request: JoinRequest) -> None:
        member = Member(request.name, request.client_url, request.peer_url)
        configuration = self._configuration
        if configuration.members.get(request.machine_id) == member and request.machine_id in configuration:
            self._check_settled()
        elif request.machine_id in configuration:
            self._check_address(request.machine_id, member)
            if member.peer_url != configuration.members[request.machine_id].peer_url:
                self._check_not_awaited(member.peer_url)
            await self._free_name(request)
            await self.change(with_member(self._configuration, request.machine_id, member))
        else:
            await self._admit(request, member)
        await self._note_arrival(request)

    async def _admit(self, request: JoinRequest, member: Member) -> None:
        """Add a machine that is not in the group."""
        self._records.check_current()
        awaited = self._records.awaited_at(member.peer_url)
        if awaited is None:
            self._forbidden.check(request)
        self._check_address(request.machine_id, member)
        await self._free_name(request)
        if self._places() + (awaited is not None) <= 0:
            raise EtcdError(ErrorCode.NO_MORE_PEER, request.name)
        await self.change(with_member(self._configuration, request.machine_id, member))

    def _places(self) -> int:
        """Returns how many machines there is room for, beside those that are awaited."""
        return self.config().active_size - self.count() - len(self._records.awaited())

    async def _note_arrival(self, request: JoinRequest) -> None:
        """Note that a machine has come, if it was awaited. Its request is repeated if this is not done."""
        awaited = self._records.awaited_at(request.peer_url)
        if awaited is not None:
            await self._forbidden.allow(request)
            await self._records.note_arrival(awaited, request.machine_id)

    def _check_settled(self) -> None:
        """Check that the group is known to be committed: otherwise the entry that made it so may still be lost."""
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
                self._log.warn("{name} has come back without its data and starts over", name=other.name)
                await self.take_out(machine_id)
                return

    async def await_machine(self, peer_url: str) -> str:
        """
        See L{etcd_twisted.interfaces.IReplica.await_machine}.

        @raise NotLeaderError: this machine does not lead.
        """
        return await self.lock.run(lambda: ensureDeferred(self._await_machine(peer_url)))

    async def _await_machine(self, peer_url: str) -> str:
        self._records.check_current()
        self._check_free(peer_url)
        if self._places() <= 0:
            cause = f"the cluster has room for {self.config().active_size} machines, see activeSize"
            raise EtcdError(ErrorCode.NO_MORE_PEER, cause)
        return await self._records.add(peer_url)

    def _check_free(self, peer_url: str) -> None:
        """Check that no machine has an address, nor is awaited there."""
        self._check_address("", Member("", peer_url, peer_url))
        self._check_not_awaited(peer_url)

    def _check_not_awaited(self, peer_url: str) -> None:
        if self._records.awaited_at(peer_url) is not None:
            raise EtcdError(ErrorCode.PEER_ADDRESS_EXISTS, f"another machine is awaited at {peer_url}")

    async def dismiss(self, member_id: str, for_good: bool) -> None:
        """
        See L{etcd_twisted.interfaces.IReplica.dismiss}.

        @raise NotLeaderError: this machine does not lead.
        """
        await self.lock.run(lambda: ensureDeferred(self._dismiss(member_id, for_good)))

    async def _dismiss(self, member_id: str, for_good: bool) -> None:
        self._records.check_current()
        awaited = self._records.awaited_as(member_id)
        if awaited is None:
            raise EtcdError(ErrorCode.KEY_NOT_FOUND, f"no machine {member_id} is awaited")
        await self._records.dismiss(awaited, for_good)

    async def move(self, machine_id: str, peer_url: str) -> None:
        """
        See L{etcd_twisted.interfaces.IReplica.move}.

        @raise NotLeaderError: this machine does not lead.
        """
        await self.lock.run(lambda: ensureDeferred(self._move(machine_id, peer_url)))

    async def _move(self, machine_id: str, peer_url: str) -> None:
        configuration = self._configuration
        awaited = self._records.awaited_as(machine_id)
        if awaited is not None:
            if peer_url != awaited.peer_url:
                self._check_free(peer_url)
                await self._records.move(awaited, peer_url)
            return
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
        self._check_not_awaited(peer_url)
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
        """Returns the id of the member with a name, or C{None}."""
        members = self._configuration.members.items()
        return next((machine_id for machine_id, member in members if member.name == name), None)

    async def forbid(self, name: str, by: str) -> None:
        """
        Remove a machine, and forbid it to join again; see L{etcd_twisted.interfaces.IReplica.remove}.

        @raise NotLeaderError: this machine does not lead.
        """
        check_name(name)
        await self.lock.run(lambda: ensureDeferred(self._forbid(name, by)))

    async def _forbid(self, name: str, by: str) -> None:
        """Forbid the machine first and remove it then, as otherwise it would join again at once."""
        machine_id = self._called(name)
        if machine_id is not None:
            self._checked_removal(machine_id)
        await self._forbidden.keep_out(name, machine_id, by)
        if machine_id is not None and machine_id in self._configuration:
            await self._records.note_removal(machine_id)
            await self.take_out(machine_id)

    async def take_out(self, machine_id: str) -> None:
        """
        Remove a machine from the group. The caller holds the L{lock}.

        @raise EtcdError: 300, the others could not continue without it.
        """
        await self.change(self._checked_removal(machine_id))

    def _checked_removal(self, machine_id: str) -> Configuration:
        """
        Returns the group without a machine.

        @raise EtcdError: 300, the others could not continue without it.
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
        Change the group to C{configuration}. The caller holds the L{lock}.

        @raise EtcdError: 300, the group can't be changed now.
        """
        try:
            await self._proposer.reconfigure(configuration)
        except ConfigurationError as error:
            raise EtcdError(ErrorCode.RAFT_INTERNAL, str(error)) from error
