"""
The Raft core: what a machine decides.

Sans-I/O: it never opens a file or a socket, never reads a clock and knows no Deferreds. In go proposals, reads and
the news of finished syncs: L{Raft.propose}, L{Raft.read}, L{Raft.persisted}, L{Raft.compacted}. Out come, whenever the
driver asks, what to make durable, what to apply and what to answer: L{Raft.to_persist}, L{Raft.to_apply},
L{Raft.to_answer}. Nothing is handed out twice. The driver persists one record after the other, and may apply and
answer meanwhile.

The rules kept here (Raft paper, figure 2): a term and a vote are durable before they are acted on; an entry counts
for the quorum once it is durable; only an entry of the leader's own term is committed by counting; nothing is applied
before it is committed; a read is answered only by a leader that has committed in its own term (dissertation, 6.4).

It serves a group of one voter, which is its own quorum: such a group has nobody to send to and no time-outs to wait
for, so there are neither messages nor ticks.
"""

import enum

import msgspec

from etcd_twisted.consensus.entries import Configuration, Entry, EntryKind, HardState, Record
from etcd_twisted.consensus.log import RaftLog


@enum.unique
class Role(enum.Enum):
    """What a machine is in its term (Raft paper, section 5.1)."""

    FOLLOWER = "follower"
    CANDIDATE = "candidate"
    LEADER = "leader"


RECORD_BYTES = 64 << 20
"""How many bytes of commands go into one record, unless one alone has more: it must fit into a frame of the log."""


class NotLeaderError(Exception):
    """Only the leader takes proposals and reads."""


encode_configuration = msgspec.msgpack.Encoder().encode
decode_configuration = msgspec.msgpack.Decoder(Configuration).decode


def bootstrap(machine_id: str) -> Record:
    """The first record of a new group: a configuration of one voter, which nobody else can contradict."""
    configuration = Configuration((machine_id,))
    entry = Entry(1, 1, EntryKind.CONFIGURATION, encode_configuration(configuration))
    return Record(HardState(1, ""), (entry,))


class Raft:
    """
    One machine's state (Raft paper, figure 2).

    @ivar role: what it is.
    @ivar term: its term.
    @ivar leader: the leader's machine id in this term, C{None} while unknown.
    @ivar commit_index: the last entry known to be committed.
    @ivar configuration: the newest one in the log, committed or not (dissertation, section 4.1).
    """

    def __init__(
        self, machine_id: str, configuration: Configuration, hard_state: HardState, log: RaftLog
    ) -> None:
        """
        @param configuration: that of the snapshot which the log follows.
        @param hard_state: as it was last made durable.
        @param log: as it was last made durable.
        @raise ValueError: the group has other voters than this machine.
        """
        self.role = Role.FOLLOWER
        self.leader: str | None = None
        self._id = machine_id
        self._log = log
        self.term = hard_state.term
        self._vote = hard_state.vote
        self._unsaved_hard_state: HardState | None = None
        self._handed_out = self._durable = log.last_index
        self.commit_index = log.first_index - 1
        self._handed_to_apply = self.commit_index
        self._own_term_starts = 0
        self._waiting_reads: list[int] = []
        self._answered_reads: list[tuple[int, int]] = []
        self.configuration = configuration
        for entry in log.between(log.first_index, log.last_index + 1):
            self._adopt(entry)
        if self.configuration.voters != (machine_id,):
            raise ValueError(
                f"machine {machine_id} can't run alone in a group of the machines {self.configuration.voters}"
            )

    @property
    def leads_own_term(self) -> bool:
        """Whether this machine leads and has committed an entry of its term: only then it knows what is committed."""
        return self.role is Role.LEADER and self.commit_index >= self._own_term_starts

    @property
    def last_index(self) -> int:
        """The index of the last entry, durable or not."""
        return self._log.last_index

    def _adopt(self, entry: Entry) -> None:
        if entry.kind is EntryKind.CONFIGURATION:
            self.configuration = decode_configuration(entry.data)

    # Inputs

    def campaign(self) -> None:
        """Stand for election in a new term (Raft paper, section 5.2)."""
        self.role = Role.CANDIDATE
        self.term += 1
        self._vote = self._id
        self.leader = None
        self._unsaved_hard_state = HardState(self.term, self._vote)

    def propose(self, data: bytes) -> int:
        """
        Add a command to the log.

        @return: the index it will have if it is committed.
        @raise NotLeaderError: this machine does not lead.
        """
        if self.role is not Role.LEADER:
            raise NotLeaderError
        return self._append(EntryKind.COMMAND, data)

    def _append(self, kind: EntryKind, data: bytes) -> int:
        entry = Entry(self._log.last_index + 1, self.term, kind, data)
        self._log.extend((entry,))
        return entry.index

    def read(self, token: int) -> None:
        """
        Ask for a linearizable read: C{token} comes out of L{to_answer} when the state machine may be read.

        @raise NotLeaderError: this machine does not lead.
        """
        if self.role is not Role.LEADER:
            raise NotLeaderError
        self._waiting_reads.append(token)
        self._answer_reads()

    def persisted(self, record: Record) -> None:
        """A record from L{to_persist} is durable."""
        if record.hard_state is not None and record.hard_state.term == self.term and self.role is Role.CANDIDATE:
            self._lead()  # its own vote is the quorum
        if record.entries:
            self._durable = record.entries[-1].index
            self._commit()

    def compacted(self, index: int) -> None:
        """A durable snapshot stands for the log up to C{index}, which was applied."""
        self._log.compact(index)

    # Decisions

    def _lead(self) -> None:
        """Become the leader, and commit an entry of the new term at once: only that commits what came before."""
        self.role = Role.LEADER
        self.leader = self._id
        self._own_term_starts = self._append(EntryKind.EMPTY, b"")

    def _commit(self) -> None:
        if self.role is Role.LEADER and self._durable >= self._own_term_starts:
            self.commit_index = max(self.commit_index, self._durable)
            self._answer_reads()

    def _answer_reads(self) -> None:
        if self._waiting_reads and self.leads_own_term:
            self._answered_reads.extend((token, self.commit_index) for token in self._waiting_reads)
            self._waiting_reads.clear()

    # Outputs

    def to_persist(self) -> Record | None:
        """What to make durable, in one append; C{None} for nothing."""
        if self._unsaved_hard_state is None and self._log.last_index == self._handed_out:
            return None
        entries = _fitting(self._log.between(self._handed_out + 1, self._log.last_index + 1))
        record = Record(self._unsaved_hard_state, entries)
        self._unsaved_hard_state = None
        self._handed_out += len(entries)
        return record

    def to_apply(self, most: int) -> tuple[Entry, ...]:
        """The next committed entries, C{most} at the most, in order."""
        stop = min(self.commit_index, self._handed_to_apply + most) + 1
        committed = self._log.between(self._handed_to_apply + 1, stop)
        self._handed_to_apply = stop - 1
        return committed

    def to_answer(self) -> list[tuple[int, int]]:
        """The tokens of the reads that may be answered, each with the index that must be applied before."""
        reads, self._answered_reads = self._answered_reads, []
        return reads


def _fitting(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """As many of the first entries as go into one record; at least one, if there is one."""
    size = 0
    for count, entry in enumerate(entries):
        size += len(entry.data)
        if size > RECORD_BYTES and count:
            return entries[:count]
    return entries
