"""
Where a machine is told to look for others: C{--discovery}, then C{--peers} and C{--peers-file} (spec, section 3).

Must never have a machine that has been of a cluster begin another one, nor be the first of several.
"""

from twisted.logger import Logger

from etcd_twisted.config import Config
from etcd_twisted.errors import StartError
from etcd_twisted.peer.client import UnreachableError
from etcd_twisted.peer.discovery import Discovery
from etcd_twisted.peer.seeds import seeds
from etcd_twisted.vouching import Describing


class Seeking:
    """
    One machine's.

    @ivar registered: whether this machine was registered for discovery just now.
    """

    _log = Logger()

    def __init__(self, config: Config, discovery: Discovery | None, peers: Describing) -> None:
        """
        @param discovery: the directory that C{--discovery} names.
        @raise ConfigError: the file of C{--peers-file} can't be used.
        """
        self.registered = False
        self._config = config
        self._told_of = seeds(config)
        self._discovery = discovery
        self._peers = peers
        self._said = ""

    async def find(self, name: str) -> list[str]:
        """See L{etcd_twisted.life.Seeds}."""
        if self._discovery is not None:
            others = await self._discovery.find(name, self._config.peer_url)
            self.registered = True
            return others
        return self._told_of or await self._at_own_address()

    async def _at_own_address(self) -> list[str]:
        """
        Nobody, unless another machine answers where this one is to be reached: a cluster that refuses this machine is
        better than a second cluster.
        """
        if not self._config.peers and self._config.peers_file is None:
            return []
        try:
            view = await self._peers.describe(self._config.peer_url)
        except UnreachableError:
            return []
        return [self._config.peer_url] if view.cluster_id else []

    async def find_again(self, name: str) -> list[str]:
        """See L{etcd_twisted.life.Seeds}. If the directory can't be used that is told in the log, once."""
        return [*await self._discovered(name), *self._told_of]

    async def _discovered(self, name: str) -> list[str]:
        if self._discovery is None:
            return []
        try:
            others = await self._discovery.find_again(name, self._config.peer_url)
        except StartError as error:
            if str(error) != self._said:
                self._said = str(error)
                self._log.warn("{error}", error=error)
            return []
        self._said = ""
        return others
