"""
The changes of the membership that a leader makes unasked (spec, section 3: "Joining", "Standby", "Membership safety").

It gives a vote to the learners that have the log, and removes machines that have been silent for too long or exceed
the configured number. It must never begin a change before the previous one is done.
"""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import attrs
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from etcd_twisted.consensus.raft.progress import Phase, Progress
from etcd_twisted.consensus.raft.state import RaftState
from etcd_twisted.consensus.reconfiguration.changes import MembershipChanges, with_voter
from etcd_twisted.consensus.reconfiguration.liveness import Liveness

UPKEEP_INTERVAL_SECONDS = 0.1
"""How often a leader checks whether there is anything to do."""

_MembershipChange = Callable[[], Coroutine[Any, Any, None]]
"""A change of the group to make."""


@attrs.frozen
class PromotionLimits:
    """
    How much a learner may lack when it gets a vote. It receives the rest before long.

    @ivar lag_entries: the most entries that it may lack.
    @ivar lag_bytes: the most bytes of committed entries that it may lack, as commits may have to wait for it once it
        has a vote. Uncommitted entries do not count, as the voters lack them too.
    """

    lag_entries: int = 1_000
    lag_bytes: int = 8 << 20


class MembershipUpkeep:
    """The upkeep by one member. It does nothing while this machine does not lead."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        raft: RaftState,
        changes: MembershipChanges,
        liveness: Liveness,
        promotion: PromotionLimits,
    ) -> None:
        self._raft = raft
        self._changes = changes
        self._liveness = liveness
        self._promotion_limits = promotion
        self._loop = LoopingCall(self._begin_change_if_due)
        self._loop.clock = clock
        self._changing: Deferred[None] | None = None

    def start(self) -> None:
        """Begin, as this machine leads."""
        if not self._loop.running:
            self._loop.start(UPKEEP_INTERVAL_SECONDS, now=False).addErrback(self._broken)

    def _broken(self, failure: Failure) -> None:
        self._log.failure("The group's members are not looked after", failure)

    def stop(self) -> None:
        """Stop, as this machine no longer leads."""
        if self._loop.running:
            self._loop.stop()
        if self._changing is not None:
            self._changing.cancel()

    def _begin_change_if_due(self) -> None:
        raft = self._raft
        busy = self._changing is not None or self._changes.lock.locked
        if busy or not raft.leads or not raft.leads_own_term or raft.is_reconfiguring:
            return
        change = self._promotion() or self._removal()
        if change is not None:
            self._changing = ensureDeferred(self._do(change))
            self._changing.addErrback(self._not_done)
            self._changing.addCallback(self._done)

    async def _do(self, change: _MembershipChange) -> None:
        await self._changes.lock.run(lambda: ensureDeferred(change()))

    def _not_done(self, failure: Failure) -> None:
        self._log.info("The group was not changed: {reason}", reason=failure.getErrorMessage())

    def _done(self, _: None) -> None:
        self._changing = None

    def _promotion(self) -> _MembershipChange | None:
        """Returns the change that gives a vote to a learner that has the log, or C{None}."""
        raft = self._raft
        if raft.leadership is None:
            return None
        for learner in raft.configuration.learners:
            if self._liveness.alive(learner) and self._is_close(raft.leadership.progress[learner]):
                return partial(self._changes.change, with_voter(raft.configuration, learner))
        return None

    def _is_close(self, progress: Progress) -> bool:
        """Returns whether a machine has the log, or almost all of it."""
        raft, limits = self._raft, self._promotion_limits
        if progress.phase is not Phase.REPLICATE or progress.match + limits.lag_entries < raft.last_index:
            return False
        return raft.committed_bytes_after(progress.match) <= limits.lag_bytes

    def _removal(self) -> _MembershipChange | None:
        """
        Returns the change that removes a machine which was silent for too long or exceeds the configured number, or
        C{None}. Silent machines go first, then the newest members; the leader never goes. Nor does a machine that was
        silent from the beginning, as one of a static list is that has not come yet: it is still waited for.
        """
        configuration = self._raft.configuration
        others = [
            each
            for each in (*configuration.learners, *reversed(configuration.voters))
            if each != self._raft.machine_id
        ]
        if not others:
            return None
        config, liveness = self._changes.config(), self._liveness
        silent = sorted((each for each in others if not liveness.alive(each)), key=liveness.heard)
        gone = next((each for each in silent if self._has_come(each)), None)
        if gone is not None and liveness.silent_for(gone, config.remove_delay_seconds):
            return partial(self._remove_for, gone, "it was silent for too long")
        if self._changes.count() > config.active_size:
            return partial(self._remove_for, (silent or others)[0], "there are too many machines")
        return None

    def _has_come(self, machine_id: str) -> bool:
        """Returns whether a member has ever said where it serves clients."""
        member = self._raft.member(machine_id)
        return member is None or member.client_url != ""

    async def _remove_for(self, machine_id: str, reason: str) -> None:
        member = self._raft.member(machine_id)
        name = machine_id if member is None else member.name
        self._log.info("Taking {name} out of the cluster: {reason}", name=name, reason=reason)
        await self._changes.take_out(machine_id)
