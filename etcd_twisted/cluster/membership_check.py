"""
Checks whether a machine that this one does not know is in its cluster, by asking those that it knows.

A machine that was away or is new does not know all members, and anybody may claim to be one. This module must never
take a stranger's own word for it: only what is said at an address where this machine knows a member, or one that it
was told of there.
"""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from etcd_twisted.errors import EtcdError
from etcd_twisted.interfaces import IRaftPeer
from etcd_twisted.interfaces.cluster import ClusterView
from etcd_twisted.logs.rate_limit import RateLimitedLog
from etcd_twisted.peer.client import UnreachableError

ROUND_INTERVAL_SECONDS = 0.1
"""The shortest time from one round of asking to the next."""

MAX_ASKED_PER_ROUND = 64
"""About so many machines are asked in one round. It is more than a cluster has."""

_T = TypeVar("_T")


class ClusterDescriber(Protocol):
    """Asks other machines who is in their cluster."""

    async def describe(self, peer_url: str) -> ClusterView:
        """
        Returns the cluster of the machine at C{peer_url}.

        @raise UnreachableError: nobody answers there.
        """


class MembershipCheck:
    """The check that one machine makes, whenever an unknown one claims to be in its cluster."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        client: ClusterDescriber,
        group: IRaftPeer,
        own_url: str,
        known: Callable[[], Iterable[str]],
    ) -> None:
        """
        @param group: takes what others say.
        @param own_url: this machine's peer URL.
        @param known: returns the peer URLs of the machines to ask first.
        """
        self._clock = clock
        self._client = client
        self._group = group
        self._own_url = own_url
        self._known = known
        self._rate_limited_log = RateLimitedLog(clock)
        self._task: Deferred[None] | None = None
        self._wanted = False
        self._stopped = False

    def ask(self) -> None:
        """Ask others: at once, or soon if they were asked just now."""
        self._wanted = True
        if self._task is None and not self._stopped:
            self._task = task = ensureDeferred(self._ask_while_wanted())
            task.addErrback(self._failed)
            task.addCallback(self._done)
            if task.called:
                self._task = None

    def stop(self) -> None:
        """Ask no more."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()

    def _done(self, _: None) -> None:
        self._task = None

    def _failed(self, failure: Failure) -> None:
        if not self._stopped:
            self._log.failure("Asking who is in the cluster failed", failure)

    async def _ask_while_wanted(self) -> None:
        while self._wanted and not self._stopped:
            self._wanted = False
            await self._ask_all()
            await deferLater(self._clock, ROUND_INTERVAL_SECONDS, lambda: None)

    async def _ask_all(self) -> None:
        """Ask the known machines, and those that they name if they know a newer configuration than this machine."""
        asked = {self._own_url: None}
        unasked = dict.fromkeys(each for each in self._known() if each not in asked)
        confirmed = False
        while unasked and len(asked) < MAX_ASKED_PER_ROUND:
            asked |= unasked
            views = await together(self._ask(url) for url in unasked)
            newer = [view for view in views if view is not None]
            confirmed = confirmed or bool(newer)
            unasked = {each.peer_url: None for view in newer for each in view.machines if each.peer_url not in asked}
        if not confirmed and self._group.has_unconfirmed():
            others = ", ".join(list(asked)[1:]) or "nobody, as none is known"
            self._rate_limited_log.warn(
                "unconfirmed",
                f"A machine that this one does not know claims to be in its cluster, and no other confirms it (asked "
                f"{others}); if it is, start this machine with --peers that name others of the cluster",
            )

    async def _ask(self, url: str) -> ClusterView | None:
        """Returns what the machine there says, if it is newer. The group gets it at once, however long others take."""
        try:
            view = await self._client.describe(url)
        except (UnreachableError, EtcdError) as error:
            self._log.debug("{url} does not say who is in the cluster: {error}", url=url, error=error)
            return None
        return view if self._group.learn_members(view) else None


async def together(work: "Iterable[Coroutine[Any, Any, _T]]") -> list[_T]:
    """Returns the result of each."""
    results: list[_T] = await gatherResults([ensureDeferred(each) for each in work], consumeErrors=True)
    return results
