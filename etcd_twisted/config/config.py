"""
The configuration of a machine: L{Config}, whose fields are the one table of what can be set.

Flags, environment variables, the keys of the TOML file and the help text all follow from the table, and
C{docs/configuration.md} is checked against it. This module must never know where a value came from, except for its
name in errors: only L{etcd_twisted.config.loading} knows flags, variables and files.
"""

from collections.abc import Mapping
from pathlib import Path

import attrs

from etcd_twisted.config.addresses import Address, Endpoint
from etcd_twisted.config.option import Option, option, options_of, repeated_option
from etcd_twisted.config.value_types import (
    ACTIVE_SIZE,
    ADDRESSES,
    BODY_BYTES,
    BYTES,
    BYTES_OR_ZERO,
    CORS_ORIGINS,
    COUNT,
    DIRECTORY,
    DIRECTORY_URL,
    FILE,
    FRONTEND,
    HOST_NAMES,
    LISTENING_ADDRESS,
    LOG_FORMAT,
    MACHINE_NAME,
    MILLISECONDS,
    REMOVE_DELAY,
    SWITCH,
    SYNC_INTERVAL,
    TIMEOUT,
    VERBOSITY,
    reachable_address,
)
from etcd_twisted.errors import ConfigError

_MIB = 1024 * 1024


@attrs.frozen
class Config:
    """
    Everything that can be set, checked and with its defaults filled in. C{Config()} is a machine with the defaults.

    Each field declares its option. The order is that of the help text.

    @ivar sources: how options were given, by their names; see L{given_as}. Has no part in comparisons.
    """

    name: str | None = option(
        MACHINE_NAME,
        "This machine's name in the cluster: letters, digits, '.', '_' and '-'.",
        None,
        default_text="a UUID kept in the data directory",
    )
    data_dir: Path = option(
        DIRECTORY,
        "The directory of the log and the snapshots.",
        attrs.Factory(lambda config: Path(f"{config.name or 'default'}.etcd"), takes_self=True),
        default_text="NAME.etcd, or default.etcd when no name is given",
    )
    addr: Address = option(
        reachable_address("--bind-addr"),
        "The address that clients are told to reach this machine at.",
        Address("127.0.0.1", 4001),
    )
    bind_addr: Address | Endpoint = option(
        LISTENING_ADDRESS,
        "The address or endpoint to listen on for clients; without a port, on that of --addr.",
        attrs.Factory(lambda config: config.addr, takes_self=True),
        default_text="the value of --addr",
    )
    peer_addr: Address = option(
        reachable_address("--peer-bind-addr"),
        "The address that other machines are told to reach this one at.",
        Address("127.0.0.1", 7001),
    )
    peer_bind_addr: Address | Endpoint = option(
        LISTENING_ADDRESS,
        "The address or endpoint to listen on for other machines; without a port, on that of --peer-addr.",
        attrs.Factory(lambda config: config.peer_addr, takes_self=True),
        default_text="the value of --peer-addr",
    )
    peers: tuple[Address, ...] = option(
        ADDRESSES, "Peer addresses of members of the cluster that this machine is to join.", ()
    )
    peers_file: Path | None = option(
        FILE, "A file of such addresses, with commas between them or each on a line.", None
    )
    discovery: str | None = option(
        DIRECTORY_URL, "A directory of another cluster, where the machines of a new one find each other.", None
    )
    force: bool = option(SWITCH, "Whether to forget everything that the data directory holds, and begin anew.", False)
    cert_file: Path | None = option(
        FILE,
        "The certificate of the client port, with the chain behind it, in PEM; the port then speaks TLS.",
        None,
    )
    key_file: Path | None = option(FILE, "The key of --cert-file, in PEM.", None)
    ca_file: Path | None = option(FILE, "The authority that clients have to have a certificate of, in PEM.", None)
    peer_cert_file: Path | None = option(
        FILE, "The certificate of the peer port, with the chain behind it, in PEM; the port then speaks TLS.", None
    )
    peer_key_file: Path | None = option(FILE, "The key of --peer-cert-file, in PEM.", None)
    peer_ca_file: Path | None = option(
        FILE, "The authority that other machines have to have a certificate of, in PEM.", None
    )
    peer_heartbeat_interval: int = option(MILLISECONDS, "How often the leader sends a heartbeat.", 50)
    peer_election_timeout: int = option(
        MILLISECONDS, "How long the leader may be silent, at the least, before another is elected.", 200
    )
    max_retry_attempts: int = option(
        COUNT, "How often a machine that is to join a cluster asks before it gives up.", 3
    )
    cluster_active_size: int = option(
        ACTIVE_SIZE, "How many machines take part in consensus, until that is set for the cluster.", 9
    )
    cluster_remove_delay: float = option(
        REMOVE_DELAY,
        "How long a machine may be silent before it is removed, until that is set for the cluster.",
        1800.0,
    )
    cluster_sync_interval: float = option(
        SYNC_INTERVAL, "How often a standby checks whether it can join, until that is set for the cluster.", 5.0
    )
    snapshot: bool = option(
        SWITCH, "Whether to take snapshots of the key space and drop the part of the log that they stand for.", True
    )
    snapshot_count: int = option(COUNT, "How many log entries are applied from one snapshot to the next.", 10000)
    watch_history: int = option(COUNT, "How many events are kept for watchers that ask for past ones.", 1000)
    watch_history_bytes: int = option(BYTES, "How large these events may be together, in bytes.", 64 * _MIB)
    quota_bytes: int = option(
        BYTES_OR_ZERO, "How large the key space may get, in bytes; 0 for any size.", 2 * 1024 * _MIB
    )
    max_request_bytes: int = option(BODY_BYTES, "The longest request body that a client may send.", 10 * _MIB)
    http_read_timeout: float = option(TIMEOUT, "How long a client may take to send a request.", 10.0)
    http_write_timeout: float = option(TIMEOUT, "How long a client may take nothing of an answer.", 10.0)
    cors: tuple[str, ...] = repeated_option(
        CORS_ORIGINS,
        "The origins whose web pages may read what clients are answered, or * for all; may be given several times.",
    )
    allowed_hosts: tuple[str, ...] = repeated_option(
        HOST_NAMES,
        "Further host names that browsers may use this machine by, or * for all; may be given several times.",
    )
    verbosity: int = option(
        VERBOSITY,
        "How much is logged: 0 for what an operator has to know, 1 for more, 2 for every request too.",
        0,
        letter="v",
    )
    log_format: str = option(
        LOG_FORMAT, "How it is logged: lines for people, or an object of JSON on each line.", "text"
    )
    frontends: tuple[str, ...] = repeated_option(
        FRONTEND, "A further protocol to serve; may be given several times.", name="frontend"
    )
    sources: Mapping[str, str] = attrs.field(factory=dict, eq=False, repr=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        for port, address in (("", self.addr), ("peer-", self.peer_addr)):
            try:
                address.check_reachable(f"--{port}bind-addr")
            except ValueError as error:
                raise ConfigError(f"{self.given(f'{port}addr')}: {error}") from error
            certificate, key, authority = (f"{port}{kind}-file" for kind in ("cert", "key", "ca"))
            for name, needed in ((certificate, key), (key, certificate), (authority, certificate)):
                if self._value(name) is not None and self._value(needed) is None:
                    raise ConfigError(f"{self.given(name)} needs --{needed} too")

    def _value(self, name: str) -> object:
        return getattr(self, name.replace("-", "_"))

    @property
    def client_url(self) -> str:
        """The URL of this machine that clients use."""
        return self.addr.url("https" if self.cert_file else "http")

    @property
    def peer_url(self) -> str:
        """The URL of this machine that other machines and administrators use."""
        return self.peer_addr.url("https" if self.peer_cert_file else "http")

    @property
    def origins(self) -> frozenset[str]:
        """Each origin of L{cors} by itself; C{*} stands for all."""
        return frozenset(origin for text in self.cors for origin in text.split(","))

    @property
    def hosts(self) -> frozenset[str]:
        """Each host of L{allowed_hosts} by itself; C{*} stands for all."""
        return frozenset(host for text in self.allowed_hosts for host in text.split(","))

    def given_as(self, name: str) -> str:
        """
        Returns how the value of an option was given, for errors: C{--addr}, C{ETCD_ADDR} or C{machine0.toml: addr}.

        This is the flag if nobody gave a value. An address to listen on that follows the advertised one was given as
        that one was.

        @param name: the option's name, as in C{bind-addr}.
        """
        if name in self.sources:
            return self.sources[name]
        if name == "bind-addr" and self.bind_addr == self.addr:
            return self.given_as("addr")
        if name == "peer-bind-addr" and self.peer_bind_addr == self.peer_addr:
            return self.given_as("peer-addr")
        return f"--{name}"

    def given(self, name: str) -> str:
        """
        Returns how the value of an option was given, and the value, on one line.

        @param name: as for L{given_as}; the option's field has the same name.
        """
        value = str(self._value(name))
        return f"{self.given_as(name)} {value if value.isprintable() else repr(value)}"


CONFIG_FILE = Option(FILE.form, FILE.parse, FILE.metavar, "A TOML file to read settings from.", name="config")

OPTIONS: tuple[Option, ...] = (CONFIG_FILE, *options_of(Config))
"""Everything that can be set, in the order of the help text."""
