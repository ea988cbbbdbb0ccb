"""
What a leader knows and does in its term: how much of the log each machine has, what to send it, and whether this
machine still leads.

It is a part of the Raft core (L{etcd_twisted.consensus.raft.core}), and as pure. It keeps these rules: no machine is
sent entries faster than it takes them; a round of heartbeats that a quorum has answered proves that this machine led
when the round was sent (dissertation, section 6.4), and that no other can lead for a while after that (the lease,
section 6.4.1).

It must never write to the log, nor decide what is committed.
"""

from collections import deque

import attrs

from etcd_twisted.consensus.raft import quorum
from etcd_twisted.consensus.raft.entries import Configuration, data_bytes
from etcd_twisted.consensus.raft.limits import RaftLimits
from etcd_twisted.consensus.raft.log import RaftLog, fitting
from etcd_twisted.consensus.raft.messages import Append, AppendReply, InstallSnapshot, Message, TimeoutNow
from etcd_twisted.consensus.raft.progress import Phase, Progress

LEASE_ELECTIONS = 0.75
"""
How long a lease lasts, in election timeouts. No machine votes for another one within an election timeout of hearing
from its leader. The lease is shorter than that, so that the clocks may differ by a third in their speed.
"""

QUORUM_TIMEOUT_ELECTIONS = 2.0
"""How many election timeouts a leader continues to lead without hearing from a quorum."""

Outgoing = tuple[str, Message | InstallSnapshot]
"""The id of a machine, and the message for it."""


@attrs.frozen(slots=True)
class Timing:
    """
    The two times that elections depend on, in seconds.

    @ivar heartbeat_seconds: how often a leader sends heartbeats.
    @ivar election_timeout_seconds: the least time that a leader may be silent before another one is elected.
    """

    heartbeat_seconds: float = 0.05
    election_timeout_seconds: float = 0.2


@attrs.frozen
class Deposition:
    """
    Why a leader stopped leading.

    @ivar term: the term in which it led.
    @ivar newer_term: the later term that it learned of; 0 when it stopped for another reason.
    @ivar heard_from: the id of the machine that is in that term.
    @ivar handed_over: whether it was handing over to another machine.
    @ivar unanswered_seconds: how long no quorum had answered it; 0 when it stopped for another reason.
    @ivar removed: whether it was taken out of the group.
    """

    term: int
    newer_term: int = 0
    heard_from: str = ""
    handed_over: bool = False
    unanswered_seconds: float = 0.0
    removed: bool = False


@attrs.define
class Handover:
    """A leader handing over: to whom, until when it is tried, and whether that machine was told to stand."""

    target: str
    until: float
    told: bool = False


class Leader:
    """
    One term of one leader.

    @ivar starts: the index of the first entry of this term.
    @ivar progress: the progress of every other member, by id.
    @ivar stays: whether this machine is still in the group, and so continues to lead.
    @ivar alone: whether this machine is the only voter, and so a quorum by itself.
    @ivar votes: whether this machine has a vote.
    @ivar next_beat: when the next round of heartbeats is due, if there are other members.
    @ivar handover: the handover under way; C{None} while there is none.
    """

    def __init__(
        self,
        machine_id: str,
        term: int,
        log: RaftLog,
        configuration: Configuration,
        timing: Timing,
        limits: RaftLimits,
        now: float,
    ) -> None:
        self.starts = log.last_index + 1
        self.progress: dict[str, Progress] = {}
        self._id = machine_id
        self._term = term
        self._log = log
        self._timing = timing
        self._limits = limits
        self._configuration = configuration
        self._round = 0
        self.next_beat = now
        self._sent: deque[tuple[int, float]] = deque()
        self._confirmed = now
        self._confirmed_round = 0
        self._reads: deque[tuple[int, int]] = deque()
        self.handover: Handover | None = None
        self._lease_ended = False
        self.alone = False
        self.reconfigure(configuration, now)

    def reconfigure(self, configuration: Configuration, now: float) -> None:
        """Lead a group that has changed."""
        if self.alone:
            self._confirmed = now
        self._configuration = configuration
        self.alone = configuration.voters == (self._id,)
        self.stays = self._id in configuration
        self.votes = self._id in configuration.voters
        others = {each for each in (*configuration.voters, *configuration.learners) if each != self._id}
        self.progress = {
            each: self.progress.get(each) or Progress(self._log.last_index + 1, now, self._limits)
            for each in sorted(others)
        }
        self._note_confirmed()

    # What others have

    def answered(self, sender: str, reply: AppendReply, now: float) -> None:
        """Handle a reply of this term."""
        progress = self.progress.get(sender)
        if progress is None:
            return  # it was removed meanwhile
        if reply.index > self._log.last_index:
            return  # its log is not this leader's
        progress.heard = now
        if reply.round > progress.round:
            progress.round = reply.round
            self._note_confirmed()
        progress.matched(reply.index)
        if progress.phase is Phase.SNAPSHOT:
            if progress.match + 1 >= self._log.first_index:
                progress.next = progress.match + 1
                progress.replicate()
        elif reply.rejected:
            self._rejected(progress, reply)
        elif progress.phase is Phase.PROBE and reply.asked >= progress.next - 1 >= self._log.first_index - 1:
            progress.replicate()
        elif progress.phase is Phase.PROBE and reply.asked == 0 and progress.next < self._log.first_index:
            progress.asking = True

    def _rejected(self, progress: Progress, reply: AppendReply) -> None:
        if reply.asked <= progress.match:
            return  # a late answer to an older question
        if progress.phase is Phase.PROBE and reply.asked != progress.next - 1:
            return
        agrees = min(self._log.last_of_term(reply.hint_index, reply.hint_term), reply.asked - 1)
        progress.probe(agrees + 1)

    def unreachable(self, machine_id: str) -> None:
        """Note that the last messages to a machine may be lost."""
        progress = self.progress.get(machine_id)
        if progress is not None and progress.phase is Phase.REPLICATE:
            progress.probe(progress.match + 1)
            progress.asking = False  # it is asked with the next heartbeat

    def snapshot_ended(self, machine_id: str) -> None:
        """Note that a snapshot has arrived or was given up, and find out what the machine has."""
        progress = self.progress.get(machine_id)
        if progress is not None and progress.phase is Phase.SNAPSHOT:
            progress.probe(progress.match + 1)
            progress.asking = False

    @property
    def needed(self) -> int | None:
        """The first entry that any machine heard from lately needs, or C{None} if no machine was heard from."""
        lately = self.next_beat - self._timing.election_timeout_seconds
        needed = [each.needed for each in self.progress.values() if each.heard > lately and each.needed > 1]
        return min(needed, default=None)

    def durable_on_quorum(self, own: int) -> int:
        """
        Returns the highest index up to which a quorum has the log on disk.

        @param own: the index up to which this machine has it.
        """
        return quorum.reached(
            [own if voter == self._id else self.progress[voter].match for voter in self._configuration.voters]
        )

    # Whether it leads still

    def _note_confirmed(self) -> None:
        reached = quorum.reached(
            [self._round if voter == self._id else self.progress[voter].round for voter in self._configuration.voters]
        )
        self._confirmed_round = max(self._confirmed_round, reached)
        while self._sent and self._sent[0][0] <= self._confirmed_round:
            self._confirmed = self._sent.popleft()[1]

    def lost_quorum(self, now: float) -> bool:
        """Returns whether no quorum has answered for so long that this machine should stop leading."""
        timeout = QUORUM_TIMEOUT_ELECTIONS * self._timing.election_timeout_seconds
        return not self.alone and now >= self._confirmed + timeout

    def unanswered_seconds(self, now: float) -> float:
        """Returns how many seconds ago the last round was sent that a quorum has answered."""
        return now - self._confirmed

    def holds_lease(self, now: float) -> bool:
        """Returns whether no other machine can lead now."""
        if self.alone:
            return True
        lease = LEASE_ELECTIONS * self._timing.election_timeout_seconds
        return not self._lease_ended and now < self._confirmed + lease

    def read(self, token: int) -> None:
        """Have a read confirmed by a round that begins after this call."""
        self._reads.append((token, self._round + 1))

    def confirmed_reads(self) -> list[int]:
        """Returns the tokens of the reads that were confirmed. Each is returned once."""
        confirmed = []
        while self._reads and (self.alone or self._reads[0][1] <= self._confirmed_round):
            confirmed.append(self._reads.popleft()[0])
        return confirmed

    # Handing over

    def transfer(self, now: float) -> str | None:
        """
        Hand over to the voter that has most of the log, among those heard from lately.

        @return: its machine id, or C{None} if there is no such voter.
        """
        lately = now - self._timing.election_timeout_seconds
        able = [
            (self.progress[voter].match, voter)
            for voter in self._configuration.voters
            if voter != self._id and self.progress[voter].heard > lately
        ]
        if not able:
            return None
        target = max(able)[1]
        self.handover = Handover(target, now + self._timing.election_timeout_seconds)
        return target

    def _hand_over(self, now: float) -> list[Outgoing]:
        handover = self.handover
        if handover is None:
            return []
        if now >= handover.until:
            self.handover = None
            return []
        if handover.told or self.progress[handover.target].match < self._log.last_index:
            return []
        handover.told = True
        self._lease_ended = True  # the target may stand without waiting for this leader, however late it is told to
        return [(handover.target, TimeoutNow(self._term))]

    def final_messages(self, now: float) -> list[Outgoing]:
        """Returns what a leader sends as it leaves the group: the entries that others lack, and a handover (4.2.2)."""
        target = self.transfer(now)
        messages = self.due(now)
        if target is not None and self.handover is not None and not self.handover.told:
            messages.append((target, TimeoutNow(self._term)))
        return messages

    # What to send

    def due(self, now: float) -> list[Outgoing]:
        """
        Returns what to send now: the entries that each machine lacks, and a heartbeat to all of them when one is due.
        There is nothing to send while L{progress} is empty.
        """
        beat = now >= self.next_beat or (bool(self._reads) and self._reads[-1][1] > self._round)
        if beat:
            self._round += 1
            self.next_beat = now + self._timing.heartbeat_seconds
            self._sent.append((self._round, now))
            self._note_confirmed()
        messages: list[Outgoing] = []
        for machine_id, progress in self.progress.items():
            for each in self._due_to(progress, beat):
                messages.append((machine_id, each))  # noqa: PERF401  # a comprehension is a call, and most are empty
        return messages if self.handover is None else messages + self._hand_over(now)

    def _due_to(self, progress: Progress, beat: bool) -> list[Message | InstallSnapshot]:
        if progress.phase is Phase.SNAPSHOT:
            return [self._heartbeat()] if beat else []
        if progress.next < self._log.first_index:
            return self._behind_the_log(progress, beat)
        if progress.phase is Phase.PROBE:
            if not (beat or progress.asking):
                return []
            progress.asking = False
            return [self._append(progress, 0)]
        return self._replicate(progress, beat)

    def _replicate(self, progress: Progress, beat: bool) -> list[Message | InstallSnapshot]:
        messages: list[Message | InstallSnapshot] = []
        while progress.next <= self._log.last_index and progress.has_room:
            messages.append(self._append(progress, min(progress.room, self._limits.batch_bytes)))
        if not messages and beat:
            messages.append(self._append(progress, 0))
        elif not messages and progress.commit < min(self._log.commit_index, progress.next - 1):
            messages.append(self._told_commit(progress))
        if beat and progress.is_waiting:
            messages.append(self._heartbeat())  # it overtakes long messages, and is answered before a sync ends
        return messages

    def _append(self, progress: Progress, room: int) -> Append:
        """Returns the next batch for a machine, or without room a question whether it has the entry before."""
        before = progress.next - 1
        entries = self._log.between(progress.next, progress.next + self._limits.batch_entries) if room else ()
        entries = fitting(entries, room)
        commit, last = self._log.commit_index, before + len(entries)
        progress.commit = min(commit, last)
        if entries:
            progress.sent(last, data_bytes(entries))
        return Append(self._term, self._round, before, self._log.term(before), commit, entries)

    def _told_commit(self, progress: Progress) -> Append:
        """Returns the commit index alone. A machine that has the entry before need not answer it."""
        before = progress.next - 1
        progress.commit = min(self._log.commit_index, before)
        return Append(self._term, 0, before, self._log.term(before), self._log.commit_index)

    def _heartbeat(self) -> Append:
        """
        Returns a heartbeat that compares nothing. Its commit index shows a machine that lags behind that it does.
        """
        return Append(self._term, self._round, 0, 0, self._log.commit_index)

    def _behind_the_log(self, progress: Progress, beat: bool) -> list[Message | InstallSnapshot]:
        """
        Send a snapshot to a machine whose entries are no longer in the log, once an answer shows it is reachable.
        """
        if progress.asking and progress.phase is Phase.PROBE:
            progress.await_snapshot(self._log.snapshot_index)
            return [InstallSnapshot(self._term)]
        if progress.phase is Phase.REPLICATE:
            progress.probe(progress.match + 1)
            progress.asking = False
        return [self._heartbeat()] if beat else []
