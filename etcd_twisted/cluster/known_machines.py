"""
The addresses of other machines that this one knows, and where it looks for more.

This module must never forget an address while there is room for it: the machine may be found there once the others are
gone.
"""

import math
from collections.abc import Iterable
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from etcd_twisted.config.initial_cluster import InitialCluster
from etcd_twisted.consensus.recovery import Recovered
from etcd_twisted.interfaces import IReplica

MIN_SEARCH_INTERVAL_SECONDS = 5.0
"""A search asks others, such as the cluster that serves a discovery directory, and so is not made all the time."""

MAX_KNOWN_URLS = 64
"""This is more than a cluster has, and leaves room for addresses at which machines used to be."""


class SeedSource(Protocol):
    """Finds machines that this one does not know."""

    async def initial_cluster(self) -> InitialCluster | None:
        """
        Returns the static list of the machines that begin a cluster together; C{None} if there is none.

        @raise StartError: what names them can't be used.
        """

    async def find(self, name: str) -> list[str]:
        """
        Find machines for one that has never been in a cluster.

        @param name: this machine's name.
        @return: their peer URLs; none for the first machine of a cluster.
        @raise StartError: what names them can't be used.
        """

    async def find_again(self, name: str) -> list[str]:
        """
        Find machines for one that is in a cluster.

        @return: their peer URLs, as many as can be found.
        """


class KnownMachines:
    """
    The addresses of other machines.

    @ivar urls: the peer URLs to ask, in this order; at most L{MAX_KNOWN_URLS}.
    """

    def __init__(self, clock: IReactorTime, replica: IReplica, own_url: str, source: SeedSource) -> None:
        """
        @param own_url: this machine's peer URL.
        @param source: finds more machines.
        """
        self.urls: list[str] = []
        self._clock = clock
        self._replica = replica
        self._own_url = own_url
        self._source = source
        self._next_search = -math.inf

    def note(self, urls: Iterable[str]) -> None:
        """Put these URLs before the ones that are known already."""
        self.urls = list(dict.fromkeys([*urls, *self.urls]))[:MAX_KNOWN_URLS]

    def note_members(self, recovered: Recovered) -> None:
        """Note where the members are that were found on the disk, for when this machine has to ask them."""
        own_id = "" if recovered.identity is None else recovered.identity.machine_id
        members = recovered.configuration.members
        self.note(member.peer_url for machine_id, member in members.items() if machine_id != own_id)

    def of_cluster(self) -> list[str]:
        """Returns where others of the cluster are or were: first the leader and those that the replica knows."""
        leader = self._replica.leader()
        machines = sorted(self._replica.machines(), key=lambda machine: machine != leader)
        others = [each.peer_url for each in machines if each.peer_url != self._own_url]
        return list(dict.fromkeys([*others, *self.urls]))

    def described(self, url: str) -> str:
        """Returns how the log names the machine at a peer URL: with its name, if that is known."""
        names = [each.name for each in self._replica.machines() if each.peer_url == url]
        return f"{names[0]} ({url})" if names else f"the machine at {url}"

    async def find(self, name: str) -> None:
        """
        Look for machines for one that has never been in a cluster.

        @param name: this machine's name.
        @raise StartError: what names them can't be used.
        """
        self.note(await self._source.find(name))

    async def search(self, name: str) -> None:
        """Look for more machines, for when none of the known ones answers, unless it did so a moment ago."""
        now = self._clock.seconds()
        if now >= self._next_search:
            self._next_search = now + MIN_SEARCH_INTERVAL_SECONDS
            self.note(await self._source.find_again(name))
