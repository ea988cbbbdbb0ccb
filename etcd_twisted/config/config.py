"""
What the service is told before it starts: L{Config}, checked and with its defaults filled in.

Must never know how it was told: flags, variables and files are L{etcd_twisted.config.settings}' and
L{etcd_twisted.config.loading}'s business.
"""

from collections.abc import Mapping
from pathlib import Path

import attrs

from etcd_twisted.config.addresses import Address, Endpoint
from etcd_twisted.errors import ConfigError

_CLIENTS = Address("127.0.0.1", 4001)
_PEERS = Address("127.0.0.1", 7001)


@attrs.frozen
class Config:
    """
    Everything that can be set, checked and with its defaults filled in. C{Config()} is a machine with the defaults.

    @ivar name: this machine's name, or L{None} for a UUID kept in the data directory.
    @ivar data_dir: the directory of the log and the snapshots.
    @ivar addr: where clients are told to reach this machine.
    @ivar bind_addr: where to listen for clients.
    @ivar peer_addr: where other machines are told to reach this one.
    @ivar peer_bind_addr: where to listen for other machines.
    @ivar peers: where to look for members of the cluster to join.
    @ivar peers_file: a file that says the same.
    @ivar discovery: the URL of a directory of another cluster, where the machines of a new one find each other.
    @ivar force: whether to forget what the data directory holds.
    @ivar cert_file: the certificate of the client port, which speaks TLS when there is one.
    @ivar key_file: its key.
    @ivar ca_file: the authority that clients have to have a certificate of.
    @ivar peer_cert_file: the certificate of the peer port, likewise.
    @ivar peer_key_file: its key.
    @ivar peer_ca_file: the authority that other machines have to have a certificate of.
    @ivar peer_heartbeat_interval: how often the leader is heard, in milliseconds.
    @ivar peer_election_timeout: how long it may be silent at the least before another is elected, in milliseconds.
    @ivar max_retry_attempts: how often others are asked before a machine that is to join gives up.
    @ivar cluster_active_size: how many machines take part in consensus, until that is set for the cluster.
    @ivar cluster_remove_delay: after how many seconds a silent machine is taken out, likewise.
    @ivar cluster_sync_interval: how often a standby looks for a place, in seconds, likewise.
    @ivar snapshot: whether to take snapshots and shorten the log.
    @ivar snapshot_count: how many entries are applied from one snapshot to the next.
    @ivar watch_history: how many events are kept for watchers that ask for the past.
    @ivar watch_history_bytes: how large these events may be together, in bytes.
    @ivar quota_bytes: how large the key space may get, in bytes; 0 for any size.
    @ivar max_request_bytes: the longest request body, in bytes.
    @ivar http_read_timeout: how long a client may take to send a request, in seconds.
    @ivar http_write_timeout: how long a client may take nothing of an answer, in seconds.
    @ivar cors: the origins whose pages may read what clients are answered, as they were given; see L{origins}.
    @ivar allowed_hosts: names that browsers may use this machine by, as they were given; see L{hosts}.
    @ivar verbosity: how much is logged, see L{etcd_twisted.logs.observers.observer}.
    @ivar log_format: how it is written, likewise.
    @ivar frontends: further protocols to serve, each C{NAME[:option=value...]}.
    @ivar sources: how options were given, by their names in the table; see L{given_as}. Has no part in comparisons.
    """

    name: str | None = None
    data_dir: Path = attrs.field()
    addr: Address = _CLIENTS
    bind_addr: Address | Endpoint = attrs.field()
    peer_addr: Address = _PEERS
    peer_bind_addr: Address | Endpoint = attrs.field()
    peers: tuple[Address, ...] = ()
    peers_file: Path | None = None
    discovery: str | None = None
    force: bool = False
    cert_file: Path | None = None
    key_file: Path | None = None
    ca_file: Path | None = None
    peer_cert_file: Path | None = None
    peer_key_file: Path | None = None
    peer_ca_file: Path | None = None
    peer_heartbeat_interval: int = 50
    peer_election_timeout: int = 200
    max_retry_attempts: int = 3
    cluster_active_size: int = 9
    cluster_remove_delay: float = 1800.0
    cluster_sync_interval: float = 5.0
    snapshot: bool = True
    snapshot_count: int = 10000
    watch_history: int = 1000
    watch_history_bytes: int = 64 * 1024 * 1024
    quota_bytes: int = 2 * 1024 * 1024 * 1024
    max_request_bytes: int = 10 * 1024 * 1024
    http_read_timeout: float = 10.0
    http_write_timeout: float = 10.0
    cors: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    verbosity: int = 0
    log_format: str = "text"
    frontends: tuple[str, ...] = ()
    sources: Mapping[str, str] = attrs.field(factory=dict, eq=False, repr=False, kw_only=True)

    @data_dir.default
    def _named_directory(self) -> Path:
        return Path(f"{self.name or 'default'}.etcd")

    @bind_addr.default
    def _advertised(self) -> Address:
        return self.addr

    @peer_bind_addr.default
    def _advertised_to_peers(self) -> Address:
        return self.peer_addr

    def __attrs_post_init__(self) -> None:
        for port, address in (("", self.addr), ("peer-", self.peer_addr)):
            try:
                address.check_reachable(f"--{port}bind-addr")
            except ValueError as error:
                raise ConfigError(f"{self.given(f'{port}addr')}: {error}") from error
            certificate, key, authority = (f"{port}{kind}-file" for kind in ("cert", "key", "ca"))
            for option, needed in ((certificate, key), (key, certificate), (authority, certificate)):
                if self._value(option) is not None and self._value(needed) is None:
                    raise ConfigError(f"{self.given(option)} needs --{needed} too")

    def _value(self, option: str) -> object:
        return getattr(self, option.replace("-", "_"))

    @property
    def client_url(self) -> str:
        """Where clients are told to reach this machine."""
        return self.addr.url("https" if self.cert_file else "http")

    @property
    def peer_url(self) -> str:
        """Where other machines and administrators are told to reach it."""
        return self.peer_addr.url("https" if self.peer_cert_file else "http")

    @property
    def origins(self) -> frozenset[str]:
        """Each origin of L{cors} by itself; C{*} stands for all."""
        return frozenset(origin for text in self.cors for origin in text.split(","))

    @property
    def hosts(self) -> frozenset[str]:
        """Each host of L{allowed_hosts} by itself; C{*} stands for all."""
        return frozenset(host for text in self.allowed_hosts for host in text.split(","))

    def given_as(self, option: str) -> str:
        """
        How the value of an option was given, for errors: C{--addr}, C{ETCD_ADDR} or C{machine0.toml: addr}.

        Where nobody gave one it is the flag. An address to listen on that follows the advertised one was given as
        that one was.

        @param option: its name in L{OPTIONS}, as in C{bind-addr}.
        """
        if option in self.sources:
            return self.sources[option]
        if option == "bind-addr" and self.bind_addr == self.addr:
            return self.given_as("addr")
        if option == "peer-bind-addr" and self.peer_bind_addr == self.peer_addr:
            return self.given_as("peer-addr")
        return f"--{option}"

    def given(self, option: str) -> str:
        """
        How the value of an option was given, and the value, on one line.

        @param option: as for L{given_as}; the field of that name has the value.
        """
        value = str(self._value(option))
        return f"{self.given_as(option)} {value if value.isprintable() else repr(value)}"
