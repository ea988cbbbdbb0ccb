"""
The machines that are forbidden to join the cluster until they are allowed again (api, "Administration").

They are recorded in the key space, so that all machines know them and they outlast a change of the leader. This module
must never refuse a machine that is a member.
"""

from twisted.logger import Logger

from etcd_twisted.consensus.clocks.cluster_time import ClusterTime
from etcd_twisted.consensus.cluster_keys import forbidden_machines
from etcd_twisted.consensus.proposals.proposer import Proposer
from etcd_twisted.consensus.raft.state import RaftState
from etcd_twisted.consensus.state_machine import StateMachine
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.interfaces.cluster import NAME, Forbidden, JoinRequest, fingerprint
from etcd_twisted.keyspace.commands import Delete, Set


def check_name(name: str) -> None:
    """
    Check that a machine can have a name.

    @raise EtcdError: 100, no machine can.
    """
    if not NAME.fullmatch(name):
        raise EtcdError(ErrorCode.KEY_NOT_FOUND, f"no machine can be called {name[:300]!r}")


class ForbiddenMachines:
    """The forbidden machines, as the leader knows them."""

    _log = Logger()

    def __init__(
        self, cluster_id: str, raft: RaftState, state_machine: StateMachine, time: ClusterTime, proposer: Proposer
    ) -> None:
        self._cluster_id = cluster_id
        self._raft = raft
        self._state_machine = state_machine
        self._keyspace = state_machine.keyspace
        self._time = time
        self._proposer = proposer

    def check(self, request: JoinRequest) -> None:
        """
        Check that a machine may join.

        @raise EtcdError: 103, the machine is forbidden.
        """
        for each in self._of(request):
            leader = self._raft.member(self._raft.machine_id)
            raise EtcdError(ErrorCode.NO_MORE_PEER, each.refusal("" if leader is None else leader.peer_url))

    async def allow(self, request: JoinRequest) -> None:
        """Forbid a machine no longer, as it was added again."""
        for each in self._of(request):
            await self._proposer.propose(Delete(each.key, self._time.now()), always=True)
            self._log.info("{name} is no longer kept out of the cluster: it was added again", name=each.name)

    def _of(self, request: JoinRequest) -> list[Forbidden]:
        """Returns the records that forbid a machine to join."""
        known = fingerprint(self._cluster_id, request.machine_id)
        return [each for each in self._all() if each.name == request.name or each.fingerprint == known]

    async def keep_out(self, name: str, machine_id: str | None, by: str) -> None:
        """
        Log a record that forbids a machine to join the cluster.

        @param machine_id: the id of the member with that name, or C{None} if there is none. Then the fingerprint of an
            earlier record is kept, as a client that got no answer repeats its request.
        @param by: the address of the client that asks for it.
        """
        if machine_id is not None:
            known = fingerprint(self._cluster_id, machine_id)
        else:
            known = next((each.fingerprint for each in self._all() if each.name == name), "")
        now = self._time.now()
        record = Forbidden(name, by, now, known)
        await self._proposer.propose(Set(record.key, now, record.value), always=True)
        self._log.info("{name} is kept out of the cluster from now on: {by} forbade it", name=name, by=by)

    def _all(self) -> list[Forbidden]:
        return forbidden_machines(self._keyspace.root)
