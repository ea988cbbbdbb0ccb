"""
Whether a machine that this one does not know is of its cluster: those that it knows are asked.

Who was away, or is new, does not know everybody who is in the cluster by now, and anybody may say to be. Must never
take anyone's own word for it: only what is said at an address where this machine knows one of its cluster, or one that
it was told of there.
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
from etcd_twisted.logs.rate_limit import Complaints
from etcd_twisted.peer.client import UnreachableError

PAUSE = 0.1
"""Seconds from one round of asking to the next, at the least."""

MOST_ASKED = 64
"""How many machines are asked in one round, about: more than a cluster has."""

_T = TypeVar("_T")


class Describing(Protocol):
    """How another machine is asked."""

    async def describe(self, peer_url: str) -> ClusterView:
        """
        Who is in the cluster of the machine at C{peer_url}.

        @raise UnreachableError: nobody answers there.
        """


class Vouching:
    """One machine's."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        peers: Describing,
        group: IRaftPeer,
        own_url: str,
        known: Callable[[], Iterable[str]],
    ) -> None:
        """
        @param group: is told what others say.
        @param own_url: this machine's peer URL.
        @param known: the peer URLs of the machines that are asked first.
        """
        self._clock = clock
        self._peers = peers
        self._group = group
        self._own_url = own_url
        self._known = known
        self._complaints = Complaints(clock)
        self._task: Deferred[None] | None = None
        self._wanted = False
        self._stopped = False

    def ask(self) -> None:
        """Ask, soon: at once, if that was not done just now."""
        self._wanted = True
        if self._task is None and not self._stopped:
            self._task = task = ensureDeferred(self._ask_while_wanted())
            task.addErrback(self._broken)
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

    def _broken(self, failure: Failure) -> None:
        if not self._stopped:
            self._log.failure("Nobody is asked any more who is in the cluster", failure)

    async def _ask_while_wanted(self) -> None:
        while self._wanted and not self._stopped:
            self._wanted = False
            await self._ask_all()
            await deferLater(self._clock, PAUSE, lambda: None)

    async def _ask_all(self) -> None:
        """Ask those that are known, and those that are in the cluster by what these say, if it is news."""
        asked = {self._own_url: None}
        unasked = dict.fromkeys(each for each in self._known() if each not in asked)
        told = False
        while unasked and len(asked) < MOST_ASKED:
            asked |= unasked
            views = await _together(self._ask(url) for url in unasked)
            newer = [view for view in views if view is not None]
            told = told or bool(newer)
            unasked = {each.peer_url: None for view in newer for each in view.machines if each.peer_url not in asked}
        if not told and self._group.doubted():
            others = ", ".join(list(asked)[1:]) or "nobody, as none is known"
            self._complaints.say(
                "unconfirmed",
                f"A machine that this one does not know says to be of its cluster, and nobody else says so (asked "
                f"{others}); if it is, start this machine with --peers that name others of the cluster",
            )

    async def _ask(self, url: str) -> ClusterView | None:
        """What is said there, if it is news; the group is told as soon as it comes, however long others take."""
        try:
            view = await self._peers.describe(url)
        except (UnreachableError, EtcdError) as error:
            self._log.debug("{url} does not say who is in the cluster: {error}", url=url, error=error)
            return None
        return view if self._group.vouch(view) else None


async def _together(work: "Iterable[Coroutine[Any, Any, _T]]") -> list[_T]:
    """What each of them gives."""
    results: list[_T] = await gatherResults([ensureDeferred(each) for each in work], consumeErrors=True)
    return results
