"""
Whether this machine is still in its cluster: it asks the leader, and stands by if it was removed.

A machine may be removed before it has the log. The members do not know it then, nor does it know them, so nobody can
tell it: it has to ask. This module must never make it stand by because of what anybody but the leader of its own
cluster says.
"""

from collections.abc import Awaitable, Callable

from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from etcd_twisted.backoff import LONGEST_PAUSE_SECONDS, Backoff
from etcd_twisted.cluster.joining import ROUND_PAUSE_SECONDS, Joining
from etcd_twisted.cluster.known_machines import KnownMachines
from etcd_twisted.cluster.local_machine import LocalMachine
from etcd_twisted.interfaces import IReplica
from etcd_twisted.interfaces.cluster import ClusterView

NOT_SERVING_SECONDS = 5.0
"""A member that has not served for so long asks whether it still is one."""


class ExclusionCheck:
    """
    Finds out whether this machine was removed.

    @ivar in_doubt: whether it may have been removed while it was busy with something else.
    """

    def __init__(
        self, clock: IReactorTime, local: LocalMachine, replica: IReplica, joining: Joining, known: KnownMachines
    ) -> None:
        self.in_doubt = False
        self._clock = clock
        self._local = local
        self._replica = replica
        self._joining = joining
        self._known = known

    async def stand_by(self, view: ClusterView) -> None:
        """Make this machine a standby of the cluster that a view describes, and note the members of that cluster."""
        await self._local.stand_by(view)
        self._known.note(each.peer_url for each in view.machines)

    async def stand_by_if_excluded(self) -> bool:
        """
        Ask whether this machine is in the cluster, and stand by if it is not.

        @return: whether anybody could say.
        """
        self._known.note(self._known.of_cluster())
        view = await self._joining.leaders_view()
        if view is None:
            return False
        if not self._local.is_among(view):
            await self.stand_by(view)
        elif self._local.machine not in view.machines:
            await self.announce()
        return True

    async def ask_until_known(self) -> None:
        """
        Ask until somebody can say whether this machine is in the cluster. The first pauses are short: a machine that
        was sent to a leader that was removed waits until it knows the next leader.
        """
        backoff = Backoff(lambda: 1.0)
        while not await self.stand_by_if_excluded():
            pause_seconds = backoff.next()
            if pause_seconds >= LONGEST_PAUSE_SECONDS:
                await self._known.search(self._local.name)
            await self._pause(pause_seconds)

    async def announce(self) -> None:
        """
        Tell the leader this machine's name and addresses, again and again until the leader has noted them. A machine
        that may have been removed has to find that out first, so it returns then.
        """
        while not await self._joining.announce():
            await self._known.search(self._local.name)
            await self._pause(ROUND_PAUSE_SECONDS)
            if self.in_doubt:
                return

    async def when_serving(self, ask: Callable[[], Awaitable[bool]]) -> None:
        """
        Returns when this machine serves or stands by.

        @param ask: has it ask whether it was removed; returns whether anybody could say.
        """
        replica = self._replica
        while not replica.serving and not replica.standby:
            try:
                await replica.when_serving().addTimeout(NOT_SERVING_SECONDS, self._clock)
            except defer.TimeoutError:
                if not await ask():
                    await self._known.search(self._local.name)

    async def _pause(self, seconds: float) -> None:
        await deferLater(self._clock, seconds, lambda: None)
