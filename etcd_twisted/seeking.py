"""
Where a machine is told to look for others: C{--discovery}, then C{--peers} and C{--peers-file} (spec, section 3).

All that are named are tried, one after the other. Of machines that are started together the directory of
C{--discovery} says which one is the first. Must never have a machine that has been of a cluster begin another one, nor
be the first of several.
"""

from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.logger import Logger

from etcd_twisted.config import Config
from etcd_twisted.errors import StartError
from etcd_twisted.peer.client import UnreachableError
from etcd_twisted.peer.discovery import AGAIN, REFRESH, Discovery
from etcd_twisted.peer.seeds import seeds
from etcd_twisted.vouching import Describing


class Seeking:
    """
    One machine's.

    @ivar registration_due: in how many seconds this machine is to be registered for discovery, once it serves.
    """

    _log = Logger()

    def __init__(self, config: Config, discovery: Discovery | None, peers: Describing) -> None:
        """
        @param discovery: the directory that C{--discovery} names.
        @raise ConfigError: the file of C{--peers-file} can't be used.
        """
        self.registration_due = 0.0
        self._config = config
        self._told_of = seeds(config)
        self._discovery = discovery
        self._peers = peers
        self._said = ""

    async def find(self, name: str) -> list[str]:
        """See L{etcd_twisted.life.Seeds}. A directory that can't be used is a warning if others are named too."""
        if self._discovery is None:
            return self._told_of or await self._at_own_address()
        try:
            discovered = await self._discovery.find(name, self._config.peer_url)
        except StartError as error:
            if not self._told_of:
                raise
            self.registration_due = AGAIN
            self._warn(error)
            return self._told_of
        self.registration_due = REFRESH
        if discovered:
            return [*discovered, *self._told_of]
        return await self._named_with_a_cluster()

    async def _named_with_a_cluster(self) -> list[str]:
        """
        This machine is the first in the directory: those that are named beside it, if one of them has a cluster
        already. If none has, they wait for this one.
        """
        clusters = await gatherResults([ensureDeferred(self._has_cluster(url)) for url in self._told_of])
        return self._told_of if any(clusters) else []

    async def _at_own_address(self) -> list[str]:
        """
        Nobody, unless another machine answers where this one is to be reached: a cluster that refuses this machine is
        better than a second cluster.
        """
        if not self._config.peers and self._config.peers_file is None:
            return []
        return [self._config.peer_url] if await self._has_cluster(self._config.peer_url) else []

    async def _has_cluster(self, peer_url: str) -> bool:
        """Whether a member of a cluster answers there."""
        try:
            return bool((await self._peers.describe(peer_url)).cluster_id)
        except UnreachableError:
            return False

    async def find_again(self, name: str) -> list[str]:
        """See L{etcd_twisted.life.Seeds}. If the directory can't be used that is told in the log, once."""
        return [*await self._discovered(name), *self._told_of]

    async def _discovered(self, name: str) -> list[str]:
        if self._discovery is None:
            return []
        try:
            others = await self._discovery.find_again(name, self._config.peer_url)
        except StartError as error:
            self._warn(error)
            return []
        self._said = ""
        return others

    def _warn(self, error: StartError) -> None:
        """Log once what is wrong with the directory."""
        if str(error) != self._said:
            self._said = str(error)
            self._log.warn("{error}", error=error)
