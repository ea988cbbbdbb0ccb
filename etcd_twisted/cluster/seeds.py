"""
Where a machine is told to look for others: C{--discovery}, then C{--peers} and C{--peers-file} (spec, section 3).

All that are named are tried, one after the other. Of machines that are started together the directory of
C{--discovery} says which one is the first. Must never have a machine that has been of a cluster begin another one, nor
be the first of several; nor look a name up: who is there is found out by whoever connects to them.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.logger import Logger

from etcd_twisted.cluster.discovery import AGAIN, REFRESH, Discovery
from etcd_twisted.cluster.membership_check import Describing
from etcd_twisted.config import Config
from etcd_twisted.config.addresses import Address
from etcd_twisted.errors import ConfigError, StartError
from etcd_twisted.peer.client import UnreachableError


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
        """
        See L{etcd_twisted.cluster.lifecycle.Seeds}. A directory that can't be used is a warning if others are named
        too.
        """
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
        """
        See L{etcd_twisted.cluster.lifecycle.Seeds}. If the directory can't be used, the log says so once.
        """
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


def seeds(config: Config) -> list[str]:
    """
    The peer URLs of C{--peers}, then those of C{--peers-file}, each once, without this machine's own.

    @raise ConfigError: the file can't be used.
    """
    addresses = [*config.peers]
    if config.peers_file is not None:
        addresses += read_peers_file(config.peers_file, config.given_as("peers-file"))
    scheme = urlsplit(config.peer_url).scheme
    return [address.url(scheme) for address in _others(addresses, config.peer_addr)]


def read_peers_file(path: Path, given_as: str) -> list[Address]:
    """
    The addresses in a file: with commas between them or each on a line, with a comment after a C{#}.

    @param given_as: how the file was given, as in C{--peers-file}.
    @raise ConfigError: it can't be read, has something else in it, or nothing; one line that names it, and the line.
    """
    file = f"{given_as} {path if str(path).isprintable() else repr(str(path))}"
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        remedy = "name a file with the peer addresses of the cluster's machines, or leave it out"
        raise ConfigError(f"{file}: can't be read: {error.strerror}; {remedy}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: is not UTF-8 text, at byte {error.start}; save it as UTF-8") from error
    addresses = list(_addresses(text, file))
    if not addresses:
        # Or the machine would take itself for the first one.
        raise ConfigError(f"{file}: has no address in it; write the peer addresses of the cluster's machines there")
    return addresses


def _addresses(text: str, file: str) -> Iterator[Address]:
    for number, line in enumerate(text.splitlines(), 1):
        for item in line.partition("#")[0].split(","):
            written = item.strip()
            if written:
                try:
                    yield Address.parse_reachable(written)
                except ValueError as error:
                    raise ConfigError(f"{file}: line {number}: {written!r}: {error}") from error


def _others(addresses: Iterable[Address], own: Address) -> Iterator[Address]:
    """Each address once, and this machine's own not at all. A host name may differ in case, or have a last dot."""
    seen = {_plain(own)}
    for address in addresses:
        if _plain(address) not in seen:
            seen.add(_plain(address))
            yield address


def _plain(address: Address) -> tuple[str, int]:
    return address.host.removesuffix(".").lower(), address.port
