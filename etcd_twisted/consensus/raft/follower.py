"""
What a machine knows of the leader's log in its term, and answers it (Raft paper, section 5.3).

The counterpart of L{etcd_twisted.consensus.raft.leader}. Must never acknowledge an entry that is not on disk, or of
which it is not known that the leader has the same.
"""

from etcd_twisted.consensus.raft.keeper import LogKeeper
from etcd_twisted.consensus.raft.log import RaftLog
from etcd_twisted.consensus.raft.messages import Append, AppendReply


class Following:
    """
    One term of a machine that does not lead.

    @ivar leader_commit: the highest commit index that the leader has told; the log may not reach so far.
    """

    def __init__(self, term: int, log: RaftLog, keeper: LogKeeper) -> None:
        self.leader_commit = 0
        self._term = term
        self._log = log
        self._keeper = keeper
        self._matched = 0
        self._unanswered: Append | None = None

    def appended(self, append: Append, commit: int) -> tuple[int, AppendReply | None]:
        """
        Take the leader's entries.

        @param commit: the commit index.
        @return: the commit index that it is now, and the answer; C{None} when that has to wait for the disk, or the
            leader does not need it.
        """
        self.leader_commit = max(self.leader_commit, append.commit)
        if not self._agrees(append, commit):
            return commit, self._rejection(append, commit)
        self._keeper.merge(append.entries, commit)
        self._matched = max(self._matched, append.last_index)
        commit = max(commit, min(append.commit, append.last_index))
        if append.entries and self._keeper.durable < self._matched:
            self._unanswered = append
            return commit, None
        return commit, self._acknowledgement(append, commit) if append.round else None

    def _agrees(self, append: Append, commit: int) -> bool:
        """Whether this log has the entry before the first of these; what is committed is the same everywhere."""
        return append.prev_index <= commit or self._log.has(append.prev_index, append.prev_term)

    def persisted(self, commit: int) -> AppendReply | None:
        """More of the log is on disk; the answer that has waited for it."""
        append = self._unanswered
        if append is None:
            return None
        if self._keeper.durable >= self._matched:
            self._unanswered = None
        return self._acknowledgement(append, commit)

    def installed(self, index: int) -> AppendReply:
        """A snapshot of what is committed up to C{index} was put in the place of the state machine; the answer."""
        self._matched = max(self._matched, index)
        if self._keeper.durable >= self._matched:
            self._unanswered = None
        return AppendReply(self._term, 0, index, index)

    def _known(self, commit: int) -> int:
        """Up to where this log is on disk and the leader's, which has all that is committed."""
        return min(self._keeper.durable, max(self._matched, commit))

    def _acknowledgement(self, append: Append, commit: int) -> AppendReply:
        return AppendReply(self._term, append.round, self._known(commit), append.last_index)

    def _rejection(self, append: Append, commit: int) -> AppendReply:
        hint = self._log.last_of_term(append.prev_index - 1, append.prev_term)
        known = self._known(commit)
        return AppendReply(self._term, append.round, known, append.prev_index, True, hint, self._log.term(hint))
