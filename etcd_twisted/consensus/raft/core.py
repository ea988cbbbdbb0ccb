"""
The Raft core: what a machine decides.

Sans-I/O: it never opens a file or a socket, never reads a clock and knows no Deferreds. In go the time, messages,
proposals, reads and the news of finished syncs; out come, whenever the driver asks, what to make durable, what to
send, what to apply and what to answer: L{Raft.to_persist}, L{Raft.to_send}, L{Raft.to_apply}, L{Raft.to_answer}.
Nothing is handed out twice. The driver persists one record after the other, and may do the rest meanwhile. Times are
seconds of a clock that is not set back; the same inputs and the same seed give the same outputs.

The rules kept here (Raft paper, figure 2): a term and a vote are durable before anything is sent in it; an entry
counts for the quorum once it is durable; only an entry of the leader's own term is committed by counting; nothing is
applied before it is committed and durable here; a read is answered only by a leader that has committed in its own
term and was confirmed since (dissertation, 6.4). Who has heard from a leader within an election timeout, or has only
just started, votes for nobody else, and nobody begins a new term without having asked whether it could win (9.6).

A configuration counts as soon as it is in the log (dissertation, 4.1); there is never more than one that is not
committed, and it has one voter more or less than the one before.
"""

import enum

from etcd_twisted.consensus.raft.ballot import Ballot
from etcd_twisted.consensus.raft.configurations import (
    ConfigurationError,
    bootstrap,
    decode_configuration,
    encode_configuration,
)
from etcd_twisted.consensus.raft.election_timer import ElectionTimer
from etcd_twisted.consensus.raft.entries import Configuration, Entry, EntryKind, HardState, Record, SnapshotMetadata
from etcd_twisted.consensus.raft.follower import Following
from etcd_twisted.consensus.raft.keeper import LogKeeper
from etcd_twisted.consensus.raft.leader import Deposition, Leadership, Outgoing, Timing
from etcd_twisted.consensus.raft.log import RaftLog
from etcd_twisted.consensus.raft.messages import Append, AppendReply, Message, TimeoutNow, VoteReply, VoteRequest

__all__ = [
    "ConfigurationError",
    "NotLeaderError",
    "Raft",
    "Role",
    "bootstrap",
    "decode_configuration",
    "encode_configuration",
]


@enum.unique
class Role(enum.Enum):
    """What a machine is in its term (Raft paper, section 5.1)."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


class NotLeaderError(Exception):
    """Only a leader takes reads, and proposals while it is not handing over."""

    def __init__(self) -> None:
        super().__init__("this machine does not lead")


class Raft:
    """
    One machine's state (Raft paper, figure 2).

    @ivar machine_id: this machine.
    @ivar role: what it is.
    @ivar leader: the leader's machine id in this term, C{None} while unknown.
    @ivar commit_index: the last entry known to be committed.
    @ivar leadership: what a leader knows of the others; to be looked at only. C{None} for one that does not lead.
    @ivar deposition: why this machine stopped leading last; C{None} if it never did.
    """

    def __init__(
        self,
        machine_id: str,
        snapshot: SnapshotMetadata,
        hard_state: HardState,
        log: RaftLog,
        timing: Timing,
        seed: int,
        now: float,
    ) -> None:
        """
        @param snapshot: what the log follows; index 0 for none.
        @param hard_state: as it was last made durable.
        @param log: as it was last made durable.
        """
        self.machine_id = machine_id
        self.role = Role.FOLLOWER
        self.leader: str | None = None
        self.commit_index = snapshot.index
        self.leadership: Leadership | None = None
        self.deposition: Deposition | None = None
        self._log = log
        self._timing = timing
        self._ballot = Ballot(hard_state)
        self._keeper = LogKeeper(snapshot, log)
        self._following = Following(self.term, log, self._keeper)
        self._outbox: list[Outgoing] = []
        self._configurations = self._keeper.configurations
        self._timer = ElectionTimer(timing.election, seed, now)

    # What it knows

    @property
    def term(self) -> int:
        """The term that it is in."""
        return self._ballot.term

    @property
    def configuration(self) -> Configuration:
        """The newest in the log, committed or not (dissertation, section 4.1)."""
        return self._configurations.current

    @property
    def configuration_index(self) -> int:
        """The index of the entry that holds L{configuration}."""
        return self._configurations.index

    @property
    def settled_configuration_index(self) -> int:
        """The index of the newest configuration that is known to be committed."""
        return self._configurations.index_at(self.commit_index)

    def has_member(self, machine_id: str) -> bool:
        """
        Whether a machine is in the group, or was before changes that are not known to be committed: as long as they
        are not, it may lead.
        """
        return any(machine_id in each for each in self._configurations.since(self.commit_index))

    @property
    def members(self) -> set[str]:
        """All for which L{has_member} is true."""
        return {
            machine_id
            for each in self._configurations.since(self.commit_index)
            for machine_id in (*each.voters, *each.learners)
        }

    def committed_bytes_after(self, index: int) -> int:
        """How many bytes of data the entries behind C{index} hold that are committed, as far as they are there."""
        return sum(len(each.data) for each in self._log.between(index + 1, self.commit_index + 1))

    @property
    def leads(self) -> bool:
        """Whether this machine leads and takes proposals."""
        return self.leadership is not None and not self.leadership.transferring

    @property
    def leads_own_term(self) -> bool:
        """Whether this machine leads and has committed an entry of its term: only then it knows what is committed."""
        return self.leadership is not None and self.commit_index >= self.leadership.starts

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
            and not leadership.transferring
            and self.commit_index >= leadership.starts
        )

    @property
    def leader_commit(self) -> int:
        """The highest commit index that a leader of this term has told; the log may not reach so far."""
        return self._following.leader_commit

    @property
    def last_index(self) -> int:
        """The index of the last entry, durable or not."""
        return self._log.last_index

    @property
    def deadline(self) -> float:
        """When L{tick} is to be called, though nothing else happens."""
        if self.leadership is not None:
            return self.leadership.deadline
        return self._timer.due if self._may_stand else float("inf")

    def term_at(self, index: int) -> int:
        """
        The term of an entry.

        @raise IndexError: it is not in memory any more, or not yet.
        """
        return self._log.term(index)

    def holds_lease(self, now: float) -> bool:
        """Whether this machine leads, knows what is committed, and nobody else can lead now."""
        return self.leads_own_term and self.leadership is not None and self.leadership.holds_lease(now)

    # Time

    def tick(self, now: float) -> None:
        """Time has passed."""
        if self.leadership is not None:
            if self.leadership.lost_quorum(now):
                unanswered = self.leadership.unanswered_seconds(now)
                self.deposition = Deposition(self.term, unanswered_seconds=unanswered)
                self._follow(self.term, None, now)
        elif now >= self._timer.due and self._may_stand:
            if self._ballot.is_durable:
                self.campaign(now)
            else:
                self._timer.restart(now)  # the disk is slower than that: another term would not make it faster

    @property
    def _may_stand(self) -> bool:
        """
        Whether it has a vote, or had one before a change that is not known to be committed: it may be the only one
        that has the entry, and the others can't go on without it then (dissertation, section 4.2.2).
        """
        return any(self.machine_id in each.voters for each in self._configurations.since(self.commit_index))

    # Elections (paper, section 5.2; dissertation, section 9.6)

    def campaign(self, now: float) -> None:
        """Ask whether it would be elected, and stand if so. The only voter need not ask."""
        self.leadership = None
        self.leader = None
        self._timer.restart(now)
        if self.configuration.voters == (self.machine_id,):
            self._stand(False, now)
            return
        self.role = Role.PRE_CANDIDATE
        self._ballot.ask(self.machine_id)
        self._ask_for_votes(self.term + 1, pre=True, transfer=False)

    def _stand(self, transfer: bool, now: float) -> None:
        self.role = Role.CANDIDATE
        self.leader = None
        self._timer.restart(now)
        self._enter(self.term + 1, self.machine_id)
        self._ballot.ask()  # its own counts once it is durable
        self._ask_for_votes(self.term, pre=False, transfer=transfer)

    def _enter(self, term: int, vote: str = "") -> None:
        """Go on to a later term, of whose leader nothing is known."""
        self._ballot.enter(term, vote)
        self._following = Following(term, self._log, self._keeper)

    def _ask_for_votes(self, term: int, pre: bool, transfer: bool) -> None:
        request = VoteRequest(term, self._log.last_index, self._log.last_term, pre, transfer)
        self._outbox += [(voter, request) for voter in self.configuration.voters if voter != self.machine_id]

    def _count_vote(self, voter: str, now: float) -> None:
        self._ballot.count(voter)
        if not self._ballot.is_won(self.configuration.voters):
            return
        if self.role is Role.PRE_CANDIDATE:
            self._stand(False, now)
        else:
            self._lead(now)

    def _lead(self, now: float) -> None:
        """Become the leader, and commit an entry of the new term at once: only that commits what came before."""
        self.role = Role.LEADER
        self.leader = self.machine_id
        self.leadership = Leadership(self.machine_id, self.term, self._log, self.configuration, self._timing, now)
        self.leadership.commit = self.commit_index
        self._append(EntryKind.EMPTY, b"")

    def _follow(self, term: int, leader: str | None, now: float) -> None:
        """Be a follower, in a term that is not older."""
        if term > self.term:
            self._enter(term)
        if self.role is not Role.FOLLOWER or leader is not None:
            self._timer.restart(now)
        self.role = Role.FOLLOWER
        self.leader = leader
        self.leadership = None

    def _follow_into(self, term: int, sender: str, now: float) -> None:
        """Go on to the later term that another machine told of; who leads in it is not known yet."""
        if self.leadership is not None:
            self.deposition = Deposition(self.term, term, sender, self.leadership.transferring)
        self._follow(term, None, now)

    # Messages

    def receive(self, sender: str, message: Message, now: float) -> None:
        """Take a message of another machine."""
        if isinstance(message, VoteRequest):
            self._vote_asked(sender, message, now)
            return
        if message.term > self.term and not (isinstance(message, VoteReply) and message.pre and message.granted):
            self._follow_into(message.term, sender, now)
        if message.term < self.term:
            if isinstance(message, Append):  # one that no longer leads, and should know
                self._outbox.append((sender, AppendReply(self.term, 0, 0, message.prev_index, rejected=True)))
            return
        match message:
            case Append():
                self._appended(sender, message, now)
            case AppendReply():
                self._answered(sender, message, now)
            case VoteReply():
                self._voted(sender, message, now)
            case TimeoutNow():
                if self._may_stand and self.leadership is None:
                    self._stand(True, now)

    def _vote_asked(self, candidate: str, request: VoteRequest, now: float) -> None:
        if (self.leadership is not None or self._timer.heard_lately(now)) and not request.transfer:
            return
        last = (self._log.last_term, self._log.last_index)
        up_to_date = (request.last_term, request.last_index) >= last
        if request.pre:
            granted = request.term > self.term and up_to_date
            self._outbox.append((candidate, VoteReply(request.term if granted else self.term, granted, pre=True)))
            return
        if request.term > self.term:
            self._follow_into(request.term, candidate, now)
        current = request.term == self.term
        granted = current and up_to_date and self._ballot.vote in ("", candidate) and self.leader is None
        if granted:
            self._timer.restart(now)
            self._ballot.give(candidate)
        self._outbox.append((candidate, VoteReply(self.term, granted)))

    def _voted(self, voter: str, reply: VoteReply, now: float) -> None:
        if reply.pre:
            if self.role is Role.PRE_CANDIDATE and reply.granted and reply.term == self.term + 1:
                self._count_vote(voter, now)
        elif self.role is Role.CANDIDATE and reply.granted:
            self._count_vote(voter, now)

    # Following (paper, section 5.3)

    def _appended(self, leader: str, append: Append, now: float) -> None:
        self._timer.heard(now)
        self._follow(self.term, leader, now)
        self.commit_index, reply = self._following.appended(append, self.commit_index)
        if reply is not None:
            self._outbox.append((leader, reply))

    # Leading

    def _answered(self, sender: str, reply: AppendReply, now: float) -> None:
        if self.leadership is not None:
            self.leadership.answered(sender, reply, now)
            self._commit(now)

    def propose(self, data: bytes) -> int:
        """
        Add a command to the log.

        @return: the index it will have if it is committed.
        @raise NotLeaderError: this machine does not lead, or is handing over.
        """
        leadership = self.leadership
        if leadership is None or leadership.transferring:
            raise NotLeaderError
        return self._append(EntryKind.COMMAND, data)

    def propose_configuration(self, configuration: Configuration, now: float) -> int:
        """
        Change the group by one voter, or by learners, or by what is said of a member (dissertation, section 4.1).

        @return: the index at which it will be committed.
        @raise NotLeaderError: this machine does not lead, or is handing over.
        @raise ConfigurationError: another change is not committed yet, or this one is too much at once.
        """
        if not self.leads or self.leadership is None:
            raise NotLeaderError
        if not self.leads_own_term or self.configuration_index > self.commit_index:
            raise ConfigurationError("another change of the group is not done yet; try again")
        self._configurations.check_change(configuration)
        index = self._append(EntryKind.CONFIGURATION, encode_configuration(configuration))
        self.leadership.reconfigure(configuration, now)
        return index

    def _append(self, kind: EntryKind, data: bytes) -> int:
        return self._keeper.add(self.term, kind, data)

    def read(self, token: int) -> None:
        """
        Ask for a linearizable read: C{token} comes out of L{to_answer} when the state machine may be read. It never
        does when this machine stops leading before.

        @raise NotLeaderError: this machine does not lead.
        """
        if self.leadership is None:
            raise NotLeaderError
        self.leadership.read(token)

    def transfer(self, now: float) -> bool:
        """
        Hand over to another machine, within an election timeout or not at all (dissertation, section 3.10).

        @return: whether there is one to hand over to.
        """
        return self.leadership is not None and self.leadership.transfer(now) is not None

    def unreachable(self, machine_id: str) -> None:
        """What was sent to a machine last may be lost."""
        if self.leadership is not None:
            self.leadership.unreachable(machine_id)

    def snapshot_ended(self, machine_id: str) -> None:
        """A snapshot that was sent has arrived, or was given up."""
        if self.leadership is not None:
            self.leadership.snapshot_ended(machine_id)

    def _commit(self, now: float) -> None:
        leadership = self.leadership
        if leadership is None:
            return
        index = leadership.durable_on_quorum(self._keeper.durable)
        if index > self.commit_index and index >= leadership.starts:
            self.commit_index = leadership.commit = index
            if self.machine_id not in self.configuration.voters and index >= self.configuration_index:
                self._leave(now)

    def _leave(self, now: float) -> None:
        """This machine was taken out of the group, and has led it to the end of that change (dissertation, 4.2.2)."""
        if self.leadership is not None:
            self._outbox += self.leadership.last_words(now)
            self.deposition = Deposition(self.term, removed=True)
        self._follow(self.term, None, now)

    # The disk

    def persisted(self, record: Record, now: float) -> None:
        """A record from L{to_persist} is durable."""
        if record.hard_state is not None:
            self._ballot.persisted(record.hard_state)
            if self.role is Role.CANDIDATE and self._ballot.is_durable:
                self._timer.restart(now)  # only now the others are asked
                self._count_vote(self.machine_id, now)
        if record.entries:
            self._keeper.persisted(record.entries)
            if self.leader is not None and self.leadership is None:
                reply = self._following.persisted(self.commit_index)
                if reply is not None:
                    self._outbox.append((self.leader, reply))
            self._commit(now)

    def compacted(self, index: int) -> None:
        """A durable snapshot stands for the log up to C{index}, which was applied."""
        self._keeper.compacted(index, None if self.leadership is None else self.leadership.needed)

    def wants_snapshot(self, sender: str, term: int, index: int, now: float) -> bool:
        """Whether the snapshot that a leader offers is of use; hearing of it counts as hearing from the leader."""
        if term > self.term:
            self._follow_into(term, sender, now)
        if term < self.term:
            return False
        self._timer.heard(now)
        self._follow(term, sender, now)
        return index > self.commit_index

    def install(self, snapshot: SnapshotMetadata) -> bool:
        """
        Go on from a durable snapshot of the leader, which the state machine has become (paper, figure 13).

        @return: whether the log agrees with it, and the part behind it stays.
        """
        agrees = self._keeper.installed(snapshot)
        self.commit_index = snapshot.index
        if self.leader is not None and self.leadership is None:
            self._outbox.append((self.leader, self._following.installed(snapshot.index)))
        return agrees

    # Outputs

    def to_persist(self) -> Record | None:
        """What to make durable, in one append; C{None} for nothing."""
        if self._ballot.is_handed_out and self._keeper.is_handed_out:
            return None
        return Record(self._ballot.to_persist(), self._keeper.to_persist())

    @property
    def has_new_entries(self) -> bool:
        """
        Whether it leads, and has entries that its own disk was not given: to all appearance, others still wait for
        them. All else that they are sent, they don't wait for.
        """
        return self.leadership is not None and not self._keeper.is_handed_out

    def to_send(self, now: float) -> list[Outgoing]:
        """What to send; nothing while a term or a vote is not durable."""
        if not self._ballot.is_durable:
            return []
        messages, self._outbox = self._outbox, []
        if self.leadership is not None:
            messages += self.leadership.due(now)
        return messages

    def to_apply(self, most: int) -> tuple[Entry, ...]:
        """The next committed entries, C{most} at the most, in order."""
        return self._keeper.to_apply(self.commit_index, most)

    @property
    def has_to_apply(self) -> bool:
        """Whether L{to_apply} has more."""
        return min(self.commit_index, self._keeper.durable) > self._keeper.taken

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to make durable or to apply."""
        saved = self._ballot.is_durable and self._keeper.durable == self._log.last_index
        return saved and not self.has_to_apply

    def to_answer(self) -> list[tuple[int, int]]:
        """The tokens of the reads that may be answered, each with the index that must be applied before."""
        if self.leadership is None or not self.leads_own_term:
            return []
        return [(token, self.commit_index) for token in self.leadership.confirmed_reads()]
