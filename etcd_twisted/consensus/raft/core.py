"""
The Raft core: what a machine decides.

The core is sans-I/O: it must never open a file or a socket, read a clock or use Deferreds. The node passes in the
time, messages, proposals, reads and the completion of syncs, and asks for what to make durable, what to send, what to
apply and which reads to answer: L{Raft.to_persist}, L{Raft.to_send}, L{Raft.to_apply}, L{Raft.to_answer}. The core
hands out nothing twice. The node persists one record after the other, and may do the rest meanwhile. Times are
seconds of a clock that is never set back. The same inputs and the same random seed give the same outputs.

The core keeps these rules (Raft paper, figure 2): a term and a vote are durable before anything is sent in that term;
an entry counts toward the quorum only once it is durable; only an entry of the leader's own term is committed by
counting; nothing is applied before it is committed and durable here; only a leader that has committed an entry of its
own term, and was confirmed after the read arrived, answers a read (dissertation, 6.4). A machine that has heard from a
leader within an election timeout, or has only just started, votes for nobody else. No machine begins a new term
before it has asked whether it could win (9.6).

A configuration is in force as soon as it is in the log (dissertation, 4.1). At most one is uncommitted, and it has at
most one voter more or less than the one before.
"""

from etcd_twisted.consensus.raft.ballot import Ballot
from etcd_twisted.consensus.raft.configurations import encode_configuration
from etcd_twisted.consensus.raft.election_timer import ElectionTimer
from etcd_twisted.consensus.raft.entries import Configuration, Entry, EntryKind, HardState, Record, SnapshotMetadata
from etcd_twisted.consensus.raft.errors import ConfigurationError, NotLeaderError
from etcd_twisted.consensus.raft.follower import Follower
from etcd_twisted.consensus.raft.leader import Deposition, Leader, Outgoing, Timing
from etcd_twisted.consensus.raft.limits import DEFAULT_LIMITS, RaftLimits
from etcd_twisted.consensus.raft.log import RaftLog
from etcd_twisted.consensus.raft.messages import Append, AppendReply, Message, TimeoutNow, VoteReply, VoteRequest
from etcd_twisted.consensus.raft.state import RaftState, Role


class Raft(RaftState):
    """
    The part that one machine plays in the group: how it reacts to each input.

    It has one method for each input, for each output, and for each step between them that the paper names.
    """

    def __init__(
        self,
        machine_id: str,
        hard_state: HardState,
        log: RaftLog,
        timing: Timing,
        random_seed: int,
        now: float,
        limits: RaftLimits = DEFAULT_LIMITS,
    ) -> None:
        """
        @param hard_state: the one that was made durable last.
        @param log: the log as it was made durable last. From here on only this object changes it.
        """
        timer = ElectionTimer(timing.election_timeout_seconds, random_seed, now)
        super().__init__(machine_id, Ballot(hard_state), log, timer)
        self._timing = timing
        self._limits = limits
        self._outbox: list[Outgoing] = []

    # Time

    def tick(self, now: float) -> None:
        """Act on the time: stand for election, or stop leading without a quorum, when that is due."""
        if self.leadership is not None:
            if self.leadership.lost_quorum(now):
                unanswered = self.leadership.unanswered_seconds(now)
                self.deposition = Deposition(self.term, unanswered_seconds=unanswered)
                self._follow(self.term, None, now)
        elif now >= self._timer.due and self._may_stand:
            if self._ballot.is_durable:
                self.campaign(now)
            else:
                self._timer.restart(now)  # the disk is slower than the timeout, and another term would not speed it up

    # Elections (paper, section 5.2; dissertation, section 9.6)

    def campaign(self, now: float) -> None:
        """Ask the others whether this machine would be elected, and stand if it would. The only voter need not ask."""
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
        self._ballot.ask()  # its own vote counts once it is durable
        self._ask_for_votes(self.term, pre=False, transfer=transfer)

    def _enter(self, term: int, vote: str = "") -> None:
        """Enter a later term, whose leader is not known."""
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
        """Become the leader, and log an entry of the new term at once: committing it commits all that came before."""
        self.role = Role.LEADER
        self.leader = self.machine_id
        self.leadership = Leader(
            self.machine_id, self.term, self.log, self.configuration, self._timing, self._limits, now
        )
        self.log.append(self.term, EntryKind.EMPTY, b"")

    def _follow(self, term: int, leader: str | None, now: float) -> None:
        """Become a follower, in this term or a later one."""
        if term > self.term:
            self._enter(term)
        if self.role is not Role.FOLLOWER or leader is not None:
            self._timer.restart(now)
        self.role = Role.FOLLOWER
        self.leader = leader
        self.leadership = None

    def _follow_into(self, term: int, sender: str, now: float) -> None:
        """Enter the later term that another machine is in; its leader is not known yet."""
        if self.leadership is not None:
            self.deposition = Deposition(self.term, term, sender, self.leadership.handover is not None)
        self._follow(term, None, now)

    # Messages

    def receive(self, sender: str, message: Message, now: float) -> None:
        """Handle a message from another machine."""
        if isinstance(message, VoteRequest):
            self._vote_asked(sender, message, now)
            return
        if message.term > self.term and not (isinstance(message, VoteReply) and message.pre and message.granted):
            self._follow_into(message.term, sender, now)
        if message.term < self.term:
            if isinstance(message, Append):  # the sender no longer leads, and has to learn that
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

    def propose(self, *commands: bytes) -> int:
        """
        Add commands to the log.

        @return: the index that the entry of the first one has if it is committed. The others follow it.
        @raise NotLeaderError: this machine does not lead, or is handing over.
        """
        leadership = self.leadership
        if leadership is None or leadership.handover is not None:
            raise NotLeaderError
        return self.log.append_commands(self.term, commands)

    def propose_configuration(self, configuration: Configuration, now: float) -> int:
        """
        Change the group by one voter, by learners, or by the name or addresses of a member (dissertation, section
        4.1).

        @return: the index of the entry.
        @raise NotLeaderError: this machine does not lead, or is handing over.
        @raise ConfigurationError: another change is not committed yet, or this one changes too much at once.
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
        Begin a linearizable read. L{to_answer} returns C{token} once the read is confirmed, and never does if this
        machine stops leading before that.

        @raise NotLeaderError: this machine does not lead.
        """
        if self.leadership is None:
            raise NotLeaderError
        self.leadership.read(token)

    def transfer(self, now: float) -> bool:
        """
        Hand the lead over to another machine, within an election timeout or not at all (dissertation, section 3.10).

        @return: whether there is a machine to hand over to.
        """
        return self.leadership is not None and self.leadership.transfer(now) is not None

    def unreachable(self, machine_id: str) -> None:
        """Note that the last messages to a machine may be lost."""
        if self.leadership is not None:
            self.leadership.unreachable(machine_id)

    def snapshot_ended(self, machine_id: str) -> None:
        """Note that a snapshot has arrived at a machine, or that sending it was given up."""
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
        """
        Stop leading: this machine was taken out of the group, and that change is committed (dissertation, 4.2.2).
        """
        if self.leadership is not None:
            self._outbox += self.leadership.final_messages(now)
            self.deposition = Deposition(self.term, removed=True)
        self._follow(self.term, None, now)

    # The disk

    def persisted(self, record: Record, now: float) -> None:
        """Note that a record that L{to_persist} returned is durable."""
        if record.hard_state is not None:
            self._ballot.persisted(record.hard_state)
            if self.role is Role.CANDIDATE and self._ballot.is_durable:
                self._timer.restart(now)  # the vote requests go out only now
                self._count_vote(self.machine_id, now)
        if record.entries:
            self.log.persisted(record.entries)
            if self.leader is not None and self.leadership is None:
                reply = self._following.persisted()
                if reply is not None:
                    self._outbox.append((self.leader, reply))
            self._commit(now)

    def compacted(self, index: int) -> None:
        """Shorten the log: a durable snapshot covers it up to C{index}, which is applied."""
        needed = None if self.leadership is None else self.leadership.needed
        self.log.compact(index, needed, self._limits)

    def wants_snapshot(self, sender: str, term: int, index: int, now: float) -> bool:
        """Returns whether the snapshot that a leader offers is of use. The offer counts as hearing from the leader."""
        if term > self.term:
            self._follow_into(term, sender, now)
        if term < self.term:
            return False
        self._timer.heard(now)
        self._follow(term, sender, now)
        return index > self.commit_index

    def install(self, snapshot: SnapshotMetadata) -> bool:
        """
        Continue from a durable snapshot of the leader, to which the state machine was restored (paper, figure 13).

        @return: whether the log agrees with the snapshot, so that the entries after it stay.
        """
        agrees = self.log.install(snapshot)
        if self.leader is not None and self.leadership is None:
            self._outbox.append((self.leader, self._following.installed(snapshot.index)))
        return agrees

    # Outputs

    def to_persist(self) -> Record | None:
        """Returns what to make durable in one append, or C{None} if there is nothing."""
        log = self.log
        entries = log.to_persist(self._limits.record_bytes) if log.handed_out_index < log.last_index else ()
        if self._ballot.is_handed_out:
            return Record(None, entries) if entries else None
        return Record(self._ballot.to_persist(), entries)

    def to_send(self, now: float) -> list[Outgoing]:
        """Returns the messages to send. There are none while the term or the vote is not durable."""
        if not self._ballot.is_durable:
            return []
        messages, self._outbox = self._outbox, []
        if self.leadership is not None and self.leadership.progress:
            messages += self.leadership.due(now)
        return messages

    def to_apply(self, most_entries: int) -> tuple[Entry, ...]:
        """Returns the next committed entries in order, at most C{most_entries} of them."""
        return self.log.to_apply(most_entries)

    def to_answer(self) -> list[tuple[int, int]]:
        """Returns the tokens of confirmed reads, each with the index that must be applied before it is answered."""
        if self.leadership is None or not self.leads_own_term:
            return []
        return [(token, self.commit_index) for token in self.leadership.confirmed_reads()]
