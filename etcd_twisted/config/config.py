"""
The configuration of a machine: L{Config}, whose fields are the one table of what can be set.

Flags, environment variables, the keys of the TOML file and the help text all follow from the table, and
C{docs/configuration.md} is checked against it. This module must never know where a value came from, except for its
name in errors: only L{etcd_twisted.config.loading} knows flags, variables and files.
"""

from collections.abc import Mapping
from pathlib import Path

import attrs

from etcd_twisted.config.addresses import Address, BindAddress, Endpoint
from etcd_twisted.config.converters import address, addresses, listening, number, path, switch, texts, whole
from etcd_twisted.config.option import Option, checked, option, options_of, repeated_option
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
    FOLLOWER_REQUESTS,
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

_MIN_HEARTBEATS_PER_ELECTION_TIMEOUT = 3
"""With these, a lost heartbeat is no reason for an election."""


def _field(name: str) -> str:
    """Returns the name of the field that an option sets."""
    return name.replace("-", "_")


@attrs.frozen(field_transformer=checked)
class Config:
    """
    Everything that can be set, checked and with its defaults filled in. C{Config()} is a machine with the defaults.

    A field takes a value, or a text as its option has it: C{Config(addr="127.0.0.1:4001", data_dir="machine0")}. What
    can't be used raises a L{ConfigError} with the name of the field or the option.

    Each field declares its option. The order is that of the help text.

    @ivar sources: how options were given, by their names; see L{given_as}. Has no part in comparisons.
    """

    name: str | None = attrs.field(
        default=None,
        metadata=option(
            MACHINE_NAME,
            "This machine's name in the cluster: letters, digits, '.', '_' and '-'.",
            default_text="a UUID kept in the data directory",
        ),
    )
    data_dir: Path = attrs.field(
        default=attrs.Factory(lambda config: Path(f"{config.name or 'default'}.etcd"), takes_self=True),
        converter=path,
        metadata=option(
            DIRECTORY,
            "The directory of the log and the snapshots.",
            default_text="NAME.etcd, or default.etcd when no name is given",
        ),
    )
    addr: Address = attrs.field(
        default=Address("127.0.0.1", 4001),
        converter=address,
        metadata=option(
            reachable_address("--bind-addr"), "The address that clients are told to reach this machine at."
        ),
    )
    bind_addr: Address | Endpoint = attrs.field(
        default=attrs.Factory(lambda config: config.addr, takes_self=True),
        converter=listening,
        metadata=option(
            LISTENING_ADDRESS,
            "The address or endpoint to listen on for clients; without a port, on that of --addr.",
            default_text="the value of --addr",
        ),
    )
    peer_addr: Address = attrs.field(
        default=Address("127.0.0.1", 7001),
        converter=address,
        metadata=option(
            reachable_address("--peer-bind-addr"), "The address that other machines are told to reach this one at."
        ),
    )
    peer_bind_addr: Address | Endpoint = attrs.field(
        default=attrs.Factory(lambda config: config.peer_addr, takes_self=True),
        converter=listening,
        metadata=option(
            LISTENING_ADDRESS,
            "The address or endpoint to listen on for other machines; without a port, on that of --peer-addr.",
            default_text="the value of --peer-addr",
        ),
    )
    peers: tuple[Address, ...] = attrs.field(
        default=(),
        converter=addresses,
        metadata=option(ADDRESSES, "Peer addresses of members of the cluster that this machine is to join."),
    )
    peers_file: Path | None = attrs.field(
        default=None,
        converter=attrs.converters.optional(path),
        metadata=option(FILE, "A file of such addresses, with commas between them or each on a line."),
    )
    discovery: str | None = attrs.field(
        default=None,
        metadata=option(
            DIRECTORY_URL, "A directory of another cluster, where the machines of a new one find each other."
        ),
    )
    force: bool = attrs.field(
        default=False,
        converter=switch,
        metadata=option(SWITCH, "Whether to forget everything that the data directory holds, and begin anew."),
    )
    cert_file: Path | None = attrs.field(
        default=None,
        converter=attrs.converters.optional(path),
        metadata=option(
            FILE, "The certificate of the client port, with the chain behind it, in PEM; the port then speaks TLS."
        ),
    )
    key_file: Path | None = attrs.field(
        default=None,
        converter=attrs.converters.optional(path),
        metadata=option(FILE, "The key of --cert-file, in PEM."),
    )
    ca_file: Path | None = attrs.field(
        default=None,
        converter=attrs.converters.optional(path),
        metadata=option(FILE, "The authority that clients have to have a certificate of, in PEM."),
    )
    peer_cert_file: Path | None = attrs.field(
        default=None,
        converter=attrs.converters.optional(path),
        metadata=option(
            FILE, "The certificate of the peer port, with the chain behind it, in PEM; the port then speaks TLS."
        ),
    )
    peer_key_file: Path | None = attrs.field(
        default=None,
        converter=attrs.converters.optional(path),
        metadata=option(FILE, "The key of --peer-cert-file, in PEM."),
    )
    peer_ca_file: Path | None = attrs.field(
        default=None,
        converter=attrs.converters.optional(path),
        metadata=option(FILE, "The authority that other machines have to have a certificate of, in PEM."),
    )
    peer_heartbeat_interval: int = attrs.field(
        default=50,
        converter=whole,
        metadata=option(MILLISECONDS, "How often the leader sends a heartbeat."),
    )
    peer_election_timeout: int = attrs.field(
        default=200,
        converter=whole,
        metadata=option(MILLISECONDS, "How long the leader may be silent, at the least, before another is elected."),
    )
    max_retry_attempts: int = attrs.field(
        default=3,
        converter=whole,
        metadata=option(COUNT, "How often a machine that is to join a cluster asks before it gives up."),
    )
    cluster_active_size: int = attrs.field(
        default=9,
        converter=whole,
        metadata=option(ACTIVE_SIZE, "How many machines take part in consensus, until that is set for the cluster."),
    )
    cluster_remove_delay: float = attrs.field(
        default=1800.0,
        converter=number,
        metadata=option(
            REMOVE_DELAY, "How long a machine may be silent before it is removed, until that is set for the cluster."
        ),
    )
    cluster_sync_interval: float = attrs.field(
        default=5.0,
        converter=number,
        metadata=option(
            SYNC_INTERVAL, "How often a standby checks whether it can join, until that is set for the cluster."
        ),
    )
    snapshot: bool = attrs.field(
        default=True,
        converter=switch,
        metadata=option(
            SWITCH, "Whether to take snapshots of the key space and drop the part of the log that they stand for."
        ),
    )
    snapshot_count: int = attrs.field(
        default=10000,
        converter=whole,
        metadata=option(COUNT, "How many log entries are applied from one snapshot to the next."),
    )
    watch_history: int = attrs.field(
        default=1000,
        converter=whole,
        metadata=option(COUNT, "How many events are kept for watchers that ask for past ones."),
    )
    watch_history_bytes: int = attrs.field(
        default=64 * _MIB,
        converter=whole,
        metadata=option(BYTES, "How large these events may be together, in bytes."),
    )
    quota_bytes: int = attrs.field(
        default=2 * 1024 * _MIB,
        converter=whole,
        metadata=option(BYTES_OR_ZERO, "How large the key space may get, in bytes; 0 for any size."),
    )
    follower_requests: str = attrs.field(
        default="forward",
        metadata=option(
            FOLLOWER_REQUESTS,
            "What a machine that does not lead does with requests that are the leader's: have the leader carry"
            " them out, or redirect the client.",
        ),
    )
    max_request_bytes: int = attrs.field(
        default=10 * _MIB,
        converter=whole,
        metadata=option(BODY_BYTES, "The longest request body that a client may send."),
    )
    http_read_timeout: float = attrs.field(
        default=10.0,
        converter=number,
        metadata=option(TIMEOUT, "How long a client may take to send a request."),
    )
    http_write_timeout: float = attrs.field(
        default=10.0,
        converter=number,
        metadata=option(TIMEOUT, "How long a client may take nothing of an answer."),
    )
    cors: tuple[str, ...] = attrs.field(
        default=(),
        converter=texts,
        metadata=repeated_option(
            CORS_ORIGINS,
            "The origins whose web pages may read what clients are answered, or * for all;"
            " may be given several times.",
        ),
    )
    allowed_hosts: tuple[str, ...] = attrs.field(
        default=(),
        converter=texts,
        metadata=repeated_option(
            HOST_NAMES,
            "Further host names that browsers may use this machine by, or * for all; may be given several times.",
        ),
    )
    verbosity: int = attrs.field(
        default=0,
        converter=whole,
        metadata=option(
            VERBOSITY,
            "How much is logged: 0 for what an operator has to know, 1 for more, 2 for every request too.",
            letter="v",
        ),
    )
    log_format: str = attrs.field(
        default="text",
        metadata=option(LOG_FORMAT, "How it is logged: lines for people, or an object of JSON on each line."),
    )
    frontends: tuple[str, ...] = attrs.field(
        default=(),
        converter=texts,
        metadata=repeated_option(
            FRONTEND, "A further protocol to serve; may be given several times.", name="frontend"
        ),
    )
    sources: Mapping[str, str] = attrs.field(factory=dict, eq=False, repr=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        for port in ("", "peer-"):
            self._complete_port(port)
            self._check_files(port)
        for own, other in (("addr", "peer-addr"), ("bind-addr", "peer-bind-addr")):
            one, two = getattr(self, _field(own)), getattr(self, _field(other))
            if one.overlaps(two):
                raise ConfigError(
                    f"{self.given(own)} and {self.given(other)} take the same port; give one of them another"
                )
        self._check_timing()

    def _complete_port(self, port: str) -> None:
        """
        Give the address to listen on the port of the advertised address, if it has none itself.

        @param port: the beginning of the names of the port's options.
        """
        address: Address = getattr(self, _field(f"{port}addr"))
        try:
            address.check_reachable(f"--{port}bind-addr")
        except ValueError as error:
            raise ConfigError(f"{self.given(f'{port}addr')}: {error}") from error
        field = _field(f"{port}bind-addr")
        if isinstance(bind := getattr(self, field), BindAddress):
            object.__setattr__(self, field, bind.complete(address.port))  # the object is frozen

    def _check_files(self, port: str) -> None:
        """
        Check that the files of TLS that need each other are there.

        @param port: as for L{_complete_port}.
        """
        certificate, key, authority = (f"{port}{kind}-file" for kind in ("cert", "key", "ca"))
        for name, needed in ((certificate, key), (key, certificate), (authority, certificate)):
            if getattr(self, _field(name)) is not None and getattr(self, _field(needed)) is None:
                raise ConfigError(f"{self.given(name)} needs --{needed} too")

    def _check_timing(self) -> None:
        """Check that a lost heartbeat is no reason for an election."""
        if self.peer_election_timeout < _MIN_HEARTBEATS_PER_ELECTION_TIMEOUT * self.peer_heartbeat_interval:
            election, heartbeat = self.given("peer-election-timeout"), self.given("peer-heartbeat-interval")
            raise ConfigError(
                f"{election} should be at least {_MIN_HEARTBEATS_PER_ELECTION_TIMEOUT} times {heartbeat}"
            )

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

    @property
    def forwards(self) -> bool:
        """Whether this machine, when it does not lead, asks the leader for its clients and does not redirect them."""
        return self.follower_requests == "forward"

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
        value = str(getattr(self, _field(name)))
        return f"{self.given_as(name)} {value if value.isprintable() else repr(value)}"


CONFIG_FILE = Option(FILE.form, FILE.parse, FILE.metavar, "A TOML file to read settings from.", name="config")

OPTIONS: tuple[Option, ...] = (CONFIG_FILE, *options_of(Config))
"""Everything that can be set, in the order of the help text."""
