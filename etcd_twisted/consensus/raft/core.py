"""
The Raft core: what a machine decides.

Sans-I/O: it never opens a file or a socket, never reads a clock and knows no Deferreds. In go the time, messages,
proposals, reads and the news of finished syncs; out come, whenever the node asks, what to make durable, what to
send, what to apply and what to answer: L{Raft.to_persist}, L{Raft.to_send}, L{Raft.to_apply}, L{Raft.to_answer}.
Nothing is handed out twice. The node persists one record after the other, and may do the rest meanwhile. Times are
seconds of a clock that is not set back; the same inputs and the same seed give the same outputs.

The rules kept here (Raft paper, figure 2): a term and a vote are durable before anything is sent in it; an entry
counts for the quorum once it is durable; only an entry of the leader's own term is committed by counting; nothing is
applied before it is committed and durable here; a read is answered only by a leader that has committed in its own
term and was confirmed since (dissertation, 6.4). Who has heard from a leader within an election timeout, or has only
just started, votes for nobody else, and nobody begins a new term without having asked whether it could win (9.6).

A configuration counts as soon as it is in the log (dissertation, 4.1); there is never more than one that is not
committed, and it has one voter more or less than the one before.
"""

from etcd_twisted.consensus.raft.ballot import Ballot
from etcd_twisted.consensus.raft.configurations import (
    ConfigurationError,
    bootstrap,
    decode_configuration,
    encode_configuration,
)
from etcd_twisted.consensus.raft.election_timer import ElectionTimer
from etcd_twisted.consensus.raft.entries import Configuration, Entry, EntryKind, HardState, Record, SnapshotMetadata
from etcd_twisted.consensus.raft.follower import Follower
from etcd_twisted.consensus.raft.leader import Deposition, Leader, Outgoing, Timing
from etcd_twisted.consensus.raft.log import RaftLog
from etcd_twisted.consensus.raft.messages import Append, AppendReply, Message, TimeoutNow, VoteReply, VoteRequest
from etcd_twisted.consensus.raft.state import RaftState, Role

__all__ = [
    "ConfigurationError",
    "NotLeaderError",
    "Raft",
    "Role",
    "bootstrap",
    "decode_configuration",
    "encode_configuration",
]


class NotLeaderError(Exception):
    """Only a leader takes reads, and proposals while it is not handing over."""

    def __init__(self) -> None:
        super().__init__("this machine does not lead")


class Raft(RaftState):
    """
    One machine's part in the group: what is done about what comes in.

    It has one method for each input and each output, and one for each step between them that the paper names.
    """

    def __init__(
        self, machine_id: str, hard_state: HardState, log: RaftLog, timing: Timing, seed: int, now: float
    ) -> None:
        """
        @param hard_state: as it was last made durable.
        @param log: as it was last made durable; from here on only this changes it.
        """
        super().__init__(machine_id, Ballot(hard_state), log, ElectionTimer(timing.election, seed, now))
        self._timing = timing
        self._outbox: list[Outgoing] = []

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
        self.term = term
        self._following = Follower(term, self.log)

    def _ask_for_votes(self, term: int, pre: bool, transfer: bool) -> None:
        request = VoteRequest(term, self.log.last_index, self.log.last_term, pre, transfer)
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
        self.leadership = Leader(self.machine_id, self.term, self.log, self.configuration, self._timing, now)
        self.log.append(self.term, EntryKind.EMPTY, b"")

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
            self.deposition = Deposition(self.term, term, sender, self.leadership.handover is not None)
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
        last = (self.log.last_term, self.log.last_index)
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
        reply = self._following.appended(append)
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
        if leadership is None or leadership.handover is not None:
            raise NotLeaderError
        return self.log.append(self.term, EntryKind.COMMAND, data)

    def propose_configuration(self, configuration: Configuration, now: float) -> int:
        """
        Change the group by one voter, or by learners, or by what is said of a member (dissertation, section 4.1).

        @return: the index at which it will be committed.
        @raise NotLeaderError: this machine does not lead, or is handing over.
        @raise ConfigurationError: another change is not committed yet, or this one is too much at once.
        """
        if not self.leads or self.leadership is None:
            raise NotLeaderError
        if not self.leads_own_term or self.is_reconfiguring:
            raise ConfigurationError("another change of the group is not done yet; try again")
        self.log.configurations.check_change(configuration)
        index = self.log.append(self.term, EntryKind.CONFIGURATION, encode_configuration(configuration))
        self.leadership.reconfigure(configuration, now)
        return index

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
        log = self.log
        index = log.durable_index if leadership.alone else leadership.durable_on_quorum(log.durable_index)
        if index > log.commit_index and index >= leadership.starts:
            log.commit_index = index
            if not leadership.votes and not self.is_reconfiguring:
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
            self.log.persisted(record.entries)
            if self.leader is not None and self.leadership is None:
                reply = self._following.persisted()
                if reply is not None:
                    self._outbox.append((self.leader, reply))
            self._commit(now)

    def compacted(self, index: int) -> None:
        """A durable snapshot stands for the log up to C{index}, which was applied."""
        self.log.compact(index, None if self.leadership is None else self.leadership.needed)

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
        agrees = self.log.install(snapshot)
        if self.leader is not None and self.leadership is None:
            self._outbox.append((self.leader, self._following.installed(snapshot.index)))
        return agrees

    # Outputs

    def to_persist(self) -> Record | None:
        """Returns what to make durable, in one append; C{None} for nothing."""
        log = self.log
        entries = log.to_persist() if log.handed_out_index < log.last_index else ()
        if self._ballot.is_handed_out:
            return Record(None, entries) if entries else None
        return Record(self._ballot.to_persist(), entries)

    def to_send(self, now: float) -> list[Outgoing]:
        """Returns what to send; nothing while a term or a vote is not durable."""
        if not self._ballot.is_durable:
            return []
        messages, self._outbox = self._outbox, []
        if self.leadership is not None and self.leadership.progress:
            messages += self.leadership.due(now)
        return messages

    def to_apply(self, most: int) -> tuple[Entry, ...]:
        """Returns the next committed entries, C{most} at the most, in order."""
        return self.log.to_apply(most)

    def to_answer(self) -> list[tuple[int, int]]:
        """Returns the tokens of the reads that may be answered, each with the index that must be applied before."""
        if self.leadership is None or not self.leads_own_term:
            return []
        return [(token, self.commit_index) for token in self.leadership.confirmed_reads()]
