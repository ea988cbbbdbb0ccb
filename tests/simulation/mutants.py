"""
Cores with one rule broken each, as one might break it by mistake: the checks have to find every one of them.

Only tests may use this module.
"""

import contextlib
from collections.abc import Callable, Iterator
from unittest import mock

from twisted.internet.defer import Deferred, succeed

from etcd_twisted.consensus import local_member
from etcd_twisted.consensus.clocks.cluster_time import ClusterTime
from etcd_twisted.consensus.forwarding.forwarder import Forwarder
from etcd_twisted.consensus.proposals.pending import Proposals
from etcd_twisted.consensus.raft.core import Raft
from etcd_twisted.consensus.raft.entries import HardState, Record
from etcd_twisted.consensus.raft.leader import Leader
from etcd_twisted.consensus.raft.messages import VoteRequest
from etcd_twisted.consensus.reads import tell
from etcd_twisted.consensus.storage.disk_thread import AsyncStorage
from etcd_twisted.errors import RequestDroppedError
from etcd_twisted.workers.copy import Copy


class VotesTwice(Raft):
    """Forgets whom it has voted for in its term."""

    def _vote_asked(self, candidate: str, request: VoteRequest, now: float) -> None:
        if not request.pre and request.term == self.term:
            self._ballot._become(HardState(self.term, ""))
        super()._vote_asked(candidate, request, now)


class CommitsOldTerms(Raft):
    """Commits by counting the copies of entries from terms before its own (Raft paper, figure 8)."""

    def _commit(self, now: float) -> None:
        leadership = self.leadership
        if leadership is not None:
            index = leadership.durable_on_quorum(self.log.durable_index)
            if leadership.starts > index > self.commit_index:
                self.log.commit_index = index
        super()._commit(now)


def votes_twice() -> contextlib.AbstractContextManager[object]:
    """Grants a vote twice in a term."""
    return mock.patch.object(local_member, "Raft", VotesTwice)


def commits_old_terms() -> contextlib.AbstractContextManager[object]:
    """Commits an entry of an old term by counting."""
    return mock.patch.object(local_member, "Raft", CommitsOldTerms)


def acknowledges_before_the_sync() -> contextlib.AbstractContextManager[object]:
    """Counts what is not on the disk yet as if it were."""

    def append(self: AsyncStorage, record: Record, _wait_seconds: float = 0.0) -> "Deferred[None]":
        self.run(self.storage.log.append, record)
        return succeed(None)

    return mock.patch.object(AsyncStorage, "append", append)


def reads_under_a_lapsed_lease() -> contextlib.AbstractContextManager[object]:
    """Makes a leader believe that it has a lease as long as it believes that it leads."""
    return mock.patch.object(Leader, "holds_lease", return_value=True)


def reads_without_asking() -> contextlib.AbstractContextManager[object]:
    """Makes a leader answer reads without confirmation of its leadership."""

    def confirmed_reads(self: Leader) -> list[int]:
        tokens = [token for token, _ in self._reads]
        self._reads.clear()
        return tokens

    return mock.patch.object(Leader, "confirmed_reads", confirmed_reads)


def leads_by_its_own_clock() -> contextlib.AbstractContextManager[object]:
    """Makes a new leader expire keys by its own wall clock."""
    lead = ClusterTime.lead

    def lead_anew(self: ClusterTime, term: int) -> None:
        if term != self.term:
            lead(self, term)
            self.ahead_seconds = self._wall_ahead_seconds()

    return mock.patch.object(ClusterTime, "lead", lead_anew)


def follows_a_clock_that_is_set() -> contextlib.AbstractContextManager[object]:
    """Makes a leader expire keys by its wall clock, whenever that is set."""

    def adjust(self: ClusterTime, is_free: bool) -> None:  # noqa: ARG001  # as it is called
        if self._leads:
            self.ahead_seconds = self._wall_ahead_seconds()

    return mock.patch.object(ClusterTime, "adjust", adjust)


def reads_before_it_has_applied() -> contextlib.AbstractContextManager[object]:
    """Makes whoever asks the leader to confirm a read not wait until its own copy is as new."""
    return mock.patch.object(Forwarder, "once_applied", lambda _self, _index, waiting: tell(waiting, None))


def takes_unknown_for_dropped() -> contextlib.AbstractContextManager[object]:
    """Makes a worker whose machine is gone report that what was in the machine's log is not done."""

    def stop(self: Copy, error: Exception) -> None:
        self.forwarder.stop(error)
        self._proposals.fail(RequestDroppedError())

    return mock.patch.object(Copy, "stop", stop)


def mixes_up_the_changes_of_a_turn() -> contextlib.AbstractContextManager[object]:
    """Puts the changes of a turn into the log in the reverse order, and takes it for the order in which they came."""
    log = Proposals.log

    def log_in_reverse(self: Proposals, raft: Raft) -> None:
        data, proposals = zip(*self.new, strict=True)
        self.new = list(zip(reversed(data), proposals, strict=True))
        log(self, raft)

    return mock.patch.object(Proposals, "log", log_in_reverse)


Mutant = Callable[[], contextlib.AbstractContextManager[object]]

MUTANTS: list[Mutant] = [
    votes_twice,
    commits_old_terms,
    acknowledges_before_the_sync,
    reads_under_a_lapsed_lease,
    reads_without_asking,
    leads_by_its_own_clock,
    follows_a_clock_that_is_set,
    reads_before_it_has_applied,
    takes_unknown_for_dropped,
]


@contextlib.contextmanager
def nothing_broken() -> Iterator[None]:
    """Breaks nothing."""
    yield
