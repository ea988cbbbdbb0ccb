"""
What a follower knows of its leader's log in this term, and how it answers the leader (Raft paper, section 5.3).

It is the counterpart of L{etcd_twisted.consensus.raft.leader}. It must never acknowledge an entry that is not on disk,
or that the leader is not known to have too.
"""

from etcd_twisted.consensus.raft.log import RaftLog
from etcd_twisted.consensus.raft.messages import Append, AppendReply


class Follower:
    """
    What a machine that does not lead knows in one term.

    @ivar leader_commit: the highest commit index that the leader has sent. The log may not reach that far.
    """

    def __init__(self, term: int, log: RaftLog) -> None:
        self.leader_commit = 0
        self._term = term
        self._log = log
        self._matched = 0
        self._unanswered: Append | None = None

    def appended(self, append: Append) -> AppendReply | None:
        """
        Add the leader's entries to the log, and take over its commit index.

        @return: the answer, or C{None} when the answer has to wait for the disk or the leader needs none.
        """
        log, last_index = self._log, append.last_index
        self.leader_commit = max(self.leader_commit, append.commit)
        if not self._agrees(append):
            return self._rejection(append)
        log.merge(append.entries)
        self._matched = max(self._matched, last_index)
        log.commit_index = max(log.commit_index, min(append.commit, last_index))
        if append.entries and log.durable_index < self._matched:
            self._unanswered = append
            return None
        return self._acknowledgement(append) if append.round else None

    def _agrees(self, append: Append) -> bool:
        """
        Returns whether this log has the entry before the first of these. Committed entries are the same on all
        machines.
        """
        log = self._log
        return append.prev_index <= log.commit_index or log.has(append.prev_index, append.prev_term)

    def persisted(self) -> AppendReply | None:
        """Note that more of the log is on disk. Returns the answer that waited for that, or C{None}."""
        append = self._unanswered
        if append is None:
            return None
        if self._log.durable_index >= self._matched:
            self._unanswered = None
        return self._acknowledgement(append)

    def installed(self, index: int) -> AppendReply:
        """Note that the state machine was restored from a snapshot of C{index}. Returns the answer to the leader."""
        self._matched = max(self._matched, index)
        if self._log.durable_index >= self._matched:
            self._unanswered = None
        return AppendReply(self._term, 0, index, index)

    @property
    def _known(self) -> int:
        """The index up to which this log is on disk and agrees with the leader's, which has all committed entries."""
        return min(self._log.durable_index, max(self._matched, self._log.commit_index))

    def _acknowledgement(self, append: Append) -> AppendReply:
        return AppendReply(self._term, append.round, self._known, append.last_index)

    def _rejection(self, append: Append) -> AppendReply:
        hint = self._log.last_of_term(append.prev_index - 1, append.prev_term)
        hint_term = self._log.term(hint)
        return AppendReply(self._term, append.round, self._known, append.prev_index, True, hint, hint_term)
