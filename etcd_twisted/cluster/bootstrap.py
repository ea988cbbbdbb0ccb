"""
The static boot: the machines of a list begin a cluster together, in any order, once a majority of them runs.

All of them begin with the same entry in the log, which gives each of them a vote. So anything after it takes a
majority of the list, and two halves never make two clusters.

A machine that has lost its data directory would have the id of one that has voted, and vote again. So every machine
asks the others before it takes part: it waits for a majority of the list, itself included, and does not start if one
of them knows that it has taken part before. Only if all who know it are down, and a majority has never run, is that
not noticed. This module must never change anything on disk.
"""

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from etcd_twisted.backoff import Backoff
from etcd_twisted.cluster.initial_group import InitialGroup
from etcd_twisted.cluster.membership_check import ClusterDescriber, together
from etcd_twisted.errors import EtcdError, StartError
from etcd_twisted.interfaces.cluster import ClusterView
from etcd_twisted.peer.client import UnreachableError

_JOIN = "to join it with an empty data directory, give --initial-cluster-state existing"
_DIFFERING = "would begin another cluster: give all machines the same list and the same --initial-cluster-token"


class Bootstrap:
    """
    One machine's part in a static boot, until it takes part in the cluster.

    @ivar group: the machines that begin the cluster.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, client: ClusterDescriber, group: InitialGroup, option: str) -> None:
        """
        @param client: asks other machines.
        @param option: how the list was given, as in C{--initial-cluster}.
        """
        self.group = group
        self._clock = clock
        self._client = client
        self._option = option
        self._logged: tuple[list[str], list[str]] | None = None

    async def when_ready(self) -> None:
        """
        Returns when a majority of the machines is there, this one included.

        @raise StartError: see L{is_ready}.
        """
        backoff = Backoff(lambda: 1.0)
        while not await self.is_ready():
            await deferLater(self._clock, backoff.next(), lambda: None)

    async def is_ready(self) -> bool:
        """
        Ask all other machines of the list once. Returns whether enough of them are there.

        @raise StartError: this machine must not begin the cluster.
        """
        others = self.group.others
        views = await together(self._view_of(urls) for urls in others.values())
        agreeing, differing = [], []
        for name, view in zip(others, views, strict=True):
            if view is not None and self._agrees(name, view):
                agreeing.append(name)
            elif view is not None and view.waits:
                differing.append(name)
        if len(others) + 1 - len(differing) < self.group.quorum:
            raise StartError(f"{self._option}: {', '.join(differing)} {_DIFFERING}")
        ready = 1 + len(agreeing) >= self.group.quorum
        if not ready:
            self._log_waiting(agreeing, differing)
        return ready

    def _agrees(self, name: str, view: ClusterView) -> bool:
        """
        Returns whether a machine begins the same cluster as this one, or has begun it. The fingerprint of this machine
        shows that: it follows from the whole list and the token. A machine that still reads its disk does not agree,
        since it does not know yet all that it knew.

        @raise StartError: that machine is in another cluster, or knows that this one has taken part before.
        """
        own = view.members().get(self.group.own_fingerprint)
        if own is not None:
            if own.client_url or self.group.own_fingerprint in view.heard:
                raise StartError(
                    f"{self._option}: {name} says that this machine has begun the cluster before; {_JOIN}"
                )
            return view.waits or bool(view.cluster_id)
        if view.cluster_id == self.group.cluster_id:
            raise StartError(f"{self._option}: {name} says that this machine is no longer in the cluster; {_JOIN}")
        if view.cluster_id:
            raise StartError(
                f"{self._option}: {name} is in the cluster {view.cluster_id}, but the list and --initial-cluster-token"
                f" make the cluster {self.group.cluster_id}; {_JOIN}"
            )
        return False

    def _log_waiting(self, agreeing: list[str], differing: list[str]) -> None:
        """Log for which machines this one waits, whenever these are others."""
        missing = sorted(self.group.others.keys() - agreeing)
        if (missing, differing) != self._logged:
            self._logged = (missing, differing)
            if differing:
                self._log.warn(
                    "{option}: {names} {problem}", option=self._option, names=", ".join(differing), problem=_DIFFERING
                )
            self._log.info(
                "Waits for {count} of {missing}: a majority of the machines of {option} begins the cluster",
                count=self.group.quorum - 1 - len(agreeing),
                missing=", ".join(missing),
                option=self._option,
            )

    async def _view_of(self, urls: tuple[str, ...]) -> ClusterView | None:
        """Returns what a machine says, at the first of its URLs at which it answers; C{None} if it answers at none."""
        for url in urls:
            try:
                return await self._client.describe(url)
            except (UnreachableError, EtcdError) as error:
                self._log.debug("{url} does not answer: {error}", url=url, error=error)
        return None
