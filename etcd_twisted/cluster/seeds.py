"""
The seeds of a machine: named by C{--discovery}, then by C{--peers} and C{--peers-file} (spec, section 3), or by a
static list: C{--initial-cluster} or C{--discovery-srv}.

All of them are tried, one after the other. If several machines are started together, the directory of C{--discovery}
says which one is the first. This module must never let a machine that has been in a cluster begin another one, nor
make two machines the first; nor resolve a name: whoever connects does that.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.internet.interfaces import IResolver
from twisted.logger import Logger

from etcd_twisted.cluster.discovery import REFRESH_SECONDS, RETRY_SECONDS, Discovery
from etcd_twisted.cluster.initial_group import check_alone, list_option
from etcd_twisted.cluster.membership_check import ClusterDescriber
from etcd_twisted.config import Config
from etcd_twisted.config.addresses import Address
from etcd_twisted.config.initial_cluster import InitialCluster, normalized_peer_url
from etcd_twisted.errors import ConfigError, StartError
from etcd_twisted.peer.client import UnreachableError


class ConfiguredSeeds:
    """
    The seeds that a configuration names; see L{etcd_twisted.cluster.known_machines.SeedSource}.

    @ivar registration_due_seconds: how long after it serves this machine should register for discovery.
    """

    _log = Logger()

    def __init__(
        self,
        config: Config,
        discovery: Discovery | None,
        client: ClusterDescriber,
        resolver: Callable[[], IResolver],
    ) -> None:
        """
        @param discovery: the directory that C{--discovery} names.
        @param client: asks other machines.
        @param resolver: returns what asks the name servers, for C{--discovery-srv}.
        @raise ConfigError: the file of C{--peers-file} can't be used.
        """
        self.registration_due_seconds = 0.0
        self._config = config
        self._named = named_machines(config)
        self._discovery = discovery
        self._client = client
        self._resolver = resolver
        self._logged_problem = ""

    async def initial_cluster(self) -> InitialCluster | None:
        """See L{etcd_twisted.cluster.known_machines.SeedSource}."""
        config = self._config
        if config.initial_cluster is not None or config.discovery_srv is None:
            return config.initial_cluster
        # It is on the client library, which nothing else in a start needs.
        from etcd_twisted.cluster.service_records import initial_cluster_of  # noqa: PLC0415

        return await initial_cluster_of(config.discovery_srv, list_option(config), self._resolver)

    async def _listed(self) -> list[str]:
        """
        Returns the peer URLs of the other machines of the static list, if there is one.

        @raise StartError: what names them can't be used.
        """
        listed = await self.initial_cluster()
        own = normalized_peer_url(self._config.peer_url)
        return [] if listed is None else [url for each in listed.machines if own not in each.urls for url in each.urls]

    async def find(self, name: str) -> list[str]:
        """
        See L{etcd_twisted.cluster.known_machines.SeedSource}. If the directory can't be used, that is only a warning
        as long as other machines are named too.
        """
        listed = await self._listed()
        if listed:
            check_alone(self._config)
            return listed
        if self._discovery is None and not self._named and self._config.initial_cluster_state == "existing":
            state = self._config.given_as("initial-cluster-state")
            raise StartError(f"{state} existing: no other machine is named; list the cluster in --initial-cluster")
        if self._discovery is None:
            return self._named or await self._at_own_address()
        try:
            discovered = await self._discovery.find(name, self._config.peer_url)
        except StartError as error:
            if not self._named:
                raise
            self.registration_due_seconds = RETRY_SECONDS
            self._warn(error)
            return self._named
        self.registration_due_seconds = REFRESH_SECONDS
        if discovered:
            return [*discovered, *self._named]
        return await self._named_with_a_cluster()

    async def _named_with_a_cluster(self) -> list[str]:
        """
        Returns the machines that are named beside the directory in which this one is the first, if one of them has a
        cluster already. If none has, they wait for this one.
        """
        clusters = await gatherResults([ensureDeferred(self._has_cluster(url)) for url in self._named])
        return self._named if any(clusters) else []

    async def _at_own_address(self) -> list[str]:
        """
        Returns nothing, unless another machine answers at this one's own address: a cluster that refuses this machine
        is better than a second cluster.
        """
        if not self._config.peers and self._config.peers_file is None:
            return []
        return [self._config.peer_url] if await self._has_cluster(self._config.peer_url) else []

    async def _has_cluster(self, peer_url: str) -> bool:
        """Returns whether a member of a cluster answers at a peer URL."""
        try:
            return bool((await self._client.describe(peer_url)).cluster_id)
        except UnreachableError:
            return False

    async def find_again(self, name: str) -> list[str]:
        """
        See L{etcd_twisted.cluster.known_machines.SeedSource}. If the directory or the name servers can't be used, the
        log says so once.
        """
        return [*await self._discovered(name), *self._named]

    async def _discovered(self, name: str) -> list[str]:
        try:
            if self._discovery is None:
                return await self._listed()
            others = await self._discovery.find_again(name, self._config.peer_url)
        except StartError as error:
            self._warn(error)
            return []
        self._logged_problem = ""
        return others

    def _warn(self, error: StartError) -> None:
        """Log once what is wrong with the directory."""
        if str(error) != self._logged_problem:
            self._logged_problem = str(error)
            self._log.warn("{error}", error=error)


def named_machines(config: Config) -> list[str]:
    """
    Returns the peer URLs of C{--peers}, then those of C{--peers-file}, each once, without this machine's own.

    @raise ConfigError: the file can't be used.
    """
    addresses = [*config.peers]
    if config.peers_file is not None:
        addresses += read_peers_file(config.peers_file, config.given_as("peers-file"))
    scheme = urlsplit(config.peer_url).scheme
    return [address.url(scheme) for address in _others(addresses, config.peer_addr)]


def read_peers_file(path: Path, given_as: str) -> list[Address]:
    """
    Returns the addresses in a file: with commas between them or each on a line, with a comment after a C{#}.

    @param given_as: how the file was given, as in C{--peers-file}.
    @raise ConfigError: the file can't be read, is empty, or has something else in it; the error names the line.
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
        # The machine would take itself for the first one.
        raise ConfigError(f"{file}: has no address in it; write the peer addresses of the cluster's machines there")
    return addresses


def _addresses(text: str, file: str) -> Iterator[Address]:
    for number, line in enumerate(text.splitlines(), 1):
        for item in line.partition("#")[0].split(","):
            text_of_address = item.strip()
            if text_of_address:
                try:
                    yield Address.parse_reachable(text_of_address)
                except ValueError as error:
                    raise ConfigError(f"{file}: line {number}: {text_of_address!r}: {error}") from error


def _others(addresses: Iterable[Address], own: Address) -> Iterator[Address]:
    """Yields each address once, without this machine's own. A host name may differ in case, or end in a dot."""
    seen = {_normalized(own)}
    for address in addresses:
        if _normalized(address) not in seen:
            seen.add(_normalized(address))
            yield address


def _normalized(address: Address) -> tuple[str, int]:
    return address.host.removesuffix(".").lower(), address.port
