"""
The records of members, as the leader keeps them; see L{etcd_twisted.interfaces.member_records}.

They are in the key space, so that all machines know them and they outlast a change of the leader. This module must
never change the group.
"""

from twisted.logger import Logger

from etcd_twisted.consensus.clocks.cluster_time import ClusterTime
from etcd_twisted.consensus.cluster_keys import member_records
from etcd_twisted.consensus.proposals.proposer import Proposer
from etcd_twisted.consensus.raft.state import RaftState
from etcd_twisted.consensus.state_machine import StateMachine
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.interfaces.cluster import fingerprint
from etcd_twisted.interfaces.ids import new_id
from etcd_twisted.interfaces.member_records import MemberRecord
from etcd_twisted.keyspace.commands import Delete, Set


class MemberRecords:
    """The records, as the leader reads and changes them. The caller holds the lock of the changes of the group."""

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

    def check_current(self) -> None:
        """
        Check that the copy has all that earlier leaders have logged.

        @raise EtcdError: 300, it does not yet.
        """
        if self._state_machine.applied_term != self._raft.term:
            raise EtcdError(ErrorCode.RAFT_INTERNAL, "this leader is catching up with its log; try again")

    def awaited(self) -> list[MemberRecord]:
        """Returns the machines that are awaited."""
        return [record for record in member_records(self._keyspace.root) if record.awaited]

    def awaited_at(self, peer_url: str) -> MemberRecord | None:
        """Returns the machine that is awaited at a peer URL, or C{None}."""
        return next((record for record in self.awaited() if record.peer_url == peer_url), None)

    def awaited_as(self, member_id: str) -> MemberRecord | None:
        """Returns the machine that is awaited and shown by an id, or C{None}."""
        return next((record for record in self.awaited() if record.id == member_id), None)

    async def add(self, peer_url: str) -> str:
        """Await a machine at a peer URL. Returns its id."""
        record = MemberRecord(new_id(), peer_url)
        await self._store(record)
        self._log.info("A machine is awaited at {peer_url}, as member {id}", peer_url=peer_url, id=record.id)
        return record.id

    async def move(self, record: MemberRecord, peer_url: str) -> None:
        """Await a machine elsewhere."""
        await self._store(MemberRecord(record.id, peer_url))

    async def note_arrival(self, record: MemberRecord, machine_id: str) -> None:
        """
        Note that an awaited machine has come: it is shown by this id from here on, and by no other.

        @param machine_id: its own id.
        """
        known = fingerprint(self._cluster_id, machine_id)
        for other in self._of(known):
            await self._store(MemberRecord(other.id, removed=True))
        await self._store(MemberRecord(record.id, record.peer_url, known))

    async def note_removal(self, machine_id: str) -> None:
        """
        Note that a machine is removed for good.

        @param machine_id: its own id.
        """
        known = fingerprint(self._cluster_id, machine_id)
        records = [record for record in member_records(self._keyspace.root) if record.fingerprint == known]
        if not records:
            records = [MemberRecord(known)]
        for record in records:
            if not record.removed:
                await self._store(MemberRecord(record.id, fingerprint=known, removed=True))

    def _of(self, known: str) -> list[MemberRecord]:
        """Returns the record of a member, if it has one, by its fingerprint."""
        records = member_records(self._keyspace.root)
        return [record for record in records if record.fingerprint == known and not record.removed]

    async def dismiss(self, record: MemberRecord, for_good: bool) -> None:
        """
        Await a machine no longer.

        @param for_good: whether to remember that there was such a member.
        """
        if for_good:
            await self._store(MemberRecord(record.id, removed=True))
        else:
            await self._proposer.propose(Delete(record.key, self._time.now()), always=True)

    async def _store(self, record: MemberRecord) -> None:
        await self._proposer.propose(Set(record.key, self._time.now(), record.value), always=True)
