"""
What a leader does about who is in the cluster (spec, section 3: "Joining", "Standby", "Membership safety").

Takes machines in, first as learners, and gives them a vote when they have the log; takes out those that shall go, that
are too many or that have been silent for too long. Must never begin a change while another is not done, nor take out
a machine when that would leave no quorum of those that are heard.
"""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from etcd_twisted.consensus.cluster_keys import stored_config
from etcd_twisted.consensus.proposals.proposer import Proposer
from etcd_twisted.consensus.raft import quorum
from etcd_twisted.consensus.raft.core import ConfigurationError, NotLeaderError
from etcd_twisted.consensus.raft.entries import Configuration, Member
from etcd_twisted.consensus.raft.progress import Phase, Progress
from etcd_twisted.consensus.raft.state import RaftState
from etcd_twisted.consensus.reconfiguration.forbidden import ForbiddenMachines, check_name
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.interfaces.cluster import JoinRequest
from etcd_twisted.interfaces.cluster_config import ClusterConfig
from etcd_twisted.keyspace.space import KeySpace

LOOK = 0.1
"""How often a leader looks whether there is anything to do, in seconds."""

ALIVE = 1.0
"""Who was heard within so many seconds is alive, or within L{_ELECTIONS} election timeouts if these are longer."""

_ELECTIONS = 2

_CLOSE = 1_000
"""A learner that lacks no more entries than this may get a vote: it has the rest before long."""

_CLOSE_BYTES = 8 << 20
"""
Nor more bytes of what is committed: from its vote on the others may have to wait until it has them. What is not
committed they lack too.
"""

_Change = Callable[[], Coroutine[Any, Any, None]]
"""Something to do about the group."""


def alive_for(election: float) -> float:
    """
    For how many seconds a machine that says nothing more counts as alive.

    @param election: how long a leader may be silent, in seconds.
    """
    return max(ALIVE, _ELECTIONS * election)


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
    """What the leader changes about the group; does nothing while this machine does not lead."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        raft: RaftState,
        proposer: Proposer,
        keyspace: KeySpace,
        defaults: ClusterConfig,
        forbidden: ForbiddenMachines,
        election: float,
    ) -> None:
        """
        @param keyspace: where it is kept what is set for the cluster.
        @param defaults: what holds as long as nobody has set it.
        @param forbidden: knows which machines are kept out.
        @param election: how long a leader may be silent, in seconds.
        """
        self._clock = clock
        self._raft = raft
        self._proposer = proposer
        self._keyspace = keyspace
        self._defaults = defaults
        self._forbidden = forbidden
        self._patience = alive_for(election)
        self._lock = DeferredLock()
        self._looking = LoopingCall(self._look)
        self._looking.clock = clock
        self._changing: Deferred[None] | None = None

    def start(self) -> None:
        """This machine leads from here on."""
        if not self._looking.running:
            self._looking.start(LOOK, now=False).addErrback(self._broken)

    def _broken(self, failure: Failure) -> None:
        self._log.failure("The group's members are not looked after", failure)

    def stop(self) -> None:
        """It no longer leads."""
        if self._looking.running:
            self._looking.stop()
        if self._changing is not None:
            self._changing.cancel()

    def _config(self) -> ClusterConfig:
        return stored_config(self._keyspace.root) or self._defaults

    @property
    def _configuration(self) -> Configuration:
        return self._raft.configuration

    def _heard(self, machine_id: str) -> float:
        """When a machine was heard last, as far as this leader knows."""
        raft = self._raft
        if raft.leadership is None:
            raise NotLeaderError
        if machine_id == raft.machine_id:
            return self._clock.seconds()
        return raft.leadership.progress[machine_id].heard

    def _alive(self, machine_id: str) -> bool:
        return self._heard(machine_id) > self._clock.seconds() - self._patience

    # What is asked for

    async def join(self, request: JoinRequest) -> None:
        """
        See L{etcd_twisted.interfaces.IRaftPeer.join}.

        @raise NotLeaderError: this machine does not lead.
        """
        await self._lock.run(lambda: ensureDeferred(self._join(request)))

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
        if request.machine_id not in self._configuration and self._count() >= self._config().active_size:
            raise EtcdError(ErrorCode.NO_MORE_PEER, request.name)
        await self._change(with_member(self._configuration, request.machine_id, member))

    def _check_settled(self) -> None:
        """See to it that the group is what a quorum knows it to be: what is not committed may be lost again."""
        raft = self._raft
        if not raft.leads_own_term or raft.is_reconfiguring:
            raise EtcdError(ErrorCode.RAFT_INTERNAL, "another change of the group is not done yet; try again")

    def _count(self) -> int:
        return len(self._configuration.voters) + len(self._configuration.learners)

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
                if self._alive(machine_id):
                    raise EtcdError(ErrorCode.KEY_EXISTS, f"a machine named {other.name} is alive")
                self._log.warn("{name} has come back without its data: it begins anew", name=other.name)
                await self._take_out(machine_id)
                return

    async def move(self, machine_id: str, peer_url: str) -> None:
        """
        See L{etcd_twisted.interfaces.IReplica.move}.

        @raise NotLeaderError: this machine does not lead.
        """
        await self._lock.run(lambda: ensureDeferred(self._move(machine_id, peer_url)))

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
        await self._change(with_member(configuration, machine_id, member))

    async def remove(self, name: str) -> None:
        """
        See L{etcd_twisted.interfaces.IReplica.remove}.

        @raise NotLeaderError: this machine does not lead.
        """
        await self._lock.run(lambda: ensureDeferred(self._remove(name)))

    async def _remove(self, name: str) -> None:
        machine_id = self._called(name)
        if machine_id is None:
            raise EtcdError(ErrorCode.KEY_NOT_FOUND, f"no machine {name} is in the cluster")
        await self._take_out(machine_id)

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
        await self._lock.run(lambda: ensureDeferred(self._forbid(name, by)))

    async def _forbid(self, name: str, by: str) -> None:
        """It is kept out first and taken out then, as it would come back at once."""
        machine_id = self._called(name)
        if machine_id is not None:
            self._checked_removal(machine_id)
        await self._forbidden.keep_out(name, machine_id, by)
        if machine_id is not None and machine_id in self._configuration:
            await self._take_out(machine_id)

    async def _take_out(self, machine_id: str) -> None:
        """
        @raise EtcdError: 300 when those that are left could not go on.
        """
        await self._change(self._checked_removal(machine_id))

    def _checked_removal(self, machine_id: str) -> Configuration:
        """
        The group without a machine.

        @raise EtcdError: 300 when those that are left could not go on.
        """
        configuration = without(self._configuration, machine_id)
        alive = sum(self._alive(each) for each in configuration.voters)
        if not configuration.voters or alive < quorum.size(len(configuration.voters)):
            raise EtcdError(
                ErrorCode.RAFT_INTERNAL, "too few machines are alive to go on without that one: start others first"
            )
        return configuration

    async def _change(self, configuration: Configuration) -> None:
        try:
            await self._proposer.reconfigure(configuration)
        except ConfigurationError as error:
            raise EtcdError(ErrorCode.RAFT_INTERNAL, str(error)) from error

    # What it does of itself

    def _look(self) -> None:
        raft = self._raft
        busy = self._changing is not None or self._lock.locked
        if busy or not raft.leads or not raft.leads_own_term or raft.is_reconfiguring:
            return
        change = self._promotion() or self._removal()
        if change is not None:
            self._changing = ensureDeferred(self._do(change))
            self._changing.addErrback(self._not_done)
            self._changing.addCallback(self._done)

    async def _do(self, change: _Change) -> None:
        await self._lock.run(lambda: ensureDeferred(change()))

    def _not_done(self, failure: Failure) -> None:
        self._log.info("The group was not changed: {reason}", reason=failure.getErrorMessage())

    def _done(self, _: None) -> None:
        self._changing = None

    def _promotion(self) -> _Change | None:
        """Give a vote to a learner that has the log."""
        raft = self._raft
        if raft.leadership is None:
            return None
        for learner in raft.configuration.learners:
            if self._alive(learner) and self._is_close(raft.leadership.progress[learner]):
                return partial(self._change, with_voter(raft.configuration, learner))
        return None

    def _is_close(self, progress: Progress) -> bool:
        """Whether a machine has the log, or is about to."""
        raft = self._raft
        if progress.phase is not Phase.REPLICATE or progress.match + _CLOSE < raft.last_index:
            return False
        return raft.committed_bytes_after(progress.match) <= _CLOSE_BYTES

    def _removal(self) -> _Change | None:
        """Take out who is silent for too long or one too many: who is silent, then who came last; never the leader."""
        config = self._config()
        configuration = self._configuration
        others = [
            each
            for each in (*configuration.learners, *reversed(configuration.voters))
            if each != self._raft.machine_id
        ]
        silent = sorted((each for each in others if not self._alive(each)), key=self._heard)
        too_long = self._clock.seconds() - config.remove_delay
        if silent and self._heard(silent[0]) <= too_long:
            return partial(self._remove_for, silent[0], "it was silent for too long")
        if self._count() > config.active_size and others:
            return partial(self._remove_for, (silent or others)[0], "there are too many machines")
        return None

    async def _remove_for(self, machine_id: str, reason: str) -> None:
        member = self._configuration.members.get(machine_id)
        name = machine_id if member is None else member.name
        self._log.info("Taking {name} out of the cluster: {reason}", name=name, reason=reason)
        await self._take_out(machine_id)
