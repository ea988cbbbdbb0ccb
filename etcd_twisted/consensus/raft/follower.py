"""
What a machine knows of the leader's log in its term, and answers it (Raft paper, section 5.3).

The counterpart of L{etcd_twisted.consensus.raft.leader}. Must never acknowledge an entry that is not on disk, or of
which it is not known that the leader has the same.
"""

from etcd_twisted.consensus.raft.log import RaftLog
from etcd_twisted.consensus.raft.messages import Append, AppendReply


class Follower:
    """
    One term of a machine that does not lead.

    @ivar leader_commit: the highest commit index that the leader has told; the log may not reach so far.
    """

    def __init__(self, term: int, log: RaftLog) -> None:
        self.leader_commit = 0
        self._term = term
        self._log = log
        self._matched = 0
        self._unanswered: Append | None = None

    def appended(self, append: Append) -> AppendReply | None:
        """
        Take the leader's entries, and what it says is committed.

        @return: the answer; C{None} when that has to wait for the disk, or the leader does not need it.
        """
        log = self._log
        self.leader_commit = max(self.leader_commit, append.commit)
        if not self._agrees(append):
            return self._rejection(append)
        log.merge(append.entries)
        self._matched = max(self._matched, append.last_index)
        log.commit_index = max(log.commit_index, min(append.commit, append.last_index))
        if append.entries and log.durable_index < self._matched:
            self._unanswered = append
            return None
        return self._acknowledgement(append) if append.round else None

    def _agrees(self, append: Append) -> bool:
        """Whether this log has the entry before the first of these; what is committed is the same everywhere."""
        log = self._log
        return append.prev_index <= log.commit_index or log.has(append.prev_index, append.prev_term)

    def persisted(self) -> AppendReply | None:
        """More of the log is on disk; returns the answer that has waited for it."""
        append = self._unanswered
        if append is None:
            return None
        if self._log.durable_index >= self._matched:
            self._unanswered = None
        return self._acknowledgement(append)

    def installed(self, index: int) -> AppendReply:
        """A snapshot of what is committed up to C{index} was put in the place of the state machine; the answer."""
        self._matched = max(self._matched, index)
        if self._log.durable_index >= self._matched:
            self._unanswered = None
        return AppendReply(self._term, 0, index, index)

    @property
    def _known(self) -> int:
        """Up to where this log is on disk and the leader's, which has all that is committed."""
        return min(self._log.durable_index, max(self._matched, self._log.commit_index))

    def _acknowledgement(self, append: Append) -> AppendReply:
        return AppendReply(self._term, append.round, self._known, append.last_index)

    def _rejection(self, append: Append) -> AppendReply:
        hint = self._log.last_of_term(append.prev_index - 1, append.prev_term)
        hint_term = self._log.term(hint)
        return AppendReply(self._term, append.round, self._known, append.prev_index, True, hint, hint_term)
