"""
The one table of what can be set: the fields of L{Settings}.

Flags, environment variables, the keys of the TOML file and the help text all follow from the table, and
C{docs/configuration.md} is checked against it. This module must never compare one setting with another: that is
L{etcd_twisted.config.config.Config}'s.
"""

from pathlib import Path

import attrs

from etcd_twisted.config.addresses import Address, Endpoint, Listener
from etcd_twisted.config.converters import (
    address,
    addresses,
    initial_cluster,
    listeners,
    listening,
    number,
    path,
    switch,
    texts,
    whole,
)
from etcd_twisted.config.initial_cluster import InitialCluster
from etcd_twisted.config.option import option, repeated_option, with_options
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
    DOMAIN,
    FILE,
    FOLLOWER_REQUESTS,
    FRONTEND,
    HOST_NAMES,
    IN_ORDER_KEYS,
    INITIAL_CLUSTER,
    INITIAL_CLUSTER_STATE,
    INITIAL_CLUSTER_TOKEN,
    LISTENER,
    LISTENING_ADDRESS,
    LOG_FORMAT,
    MACHINE_NAME,
    MEMBER_IDS,
    MILLISECONDS,
    PROFILE,
    REMOVE_DELAY,
    SWITCH,
    SYNC_INTERVAL,
    TIMEOUT,
    VERBOSITY,
    VERSION_MEDIA_TYPE,
    WORKERS,
    ZERO_PREV_INDEX,
    reachable_address,
)

_MIB = 1024 * 1024


@attrs.frozen(field_transformer=with_options)
class Settings:
    """
    Everything that can be set, each value checked by itself and with the default filled in.

    A field takes a value, or a text as its option has it. What can't be used raises a
    L{etcd_twisted.errors.ConfigError} with the name of the field.

    Each field declares its option. The order is that of the help text.
    """

    profile: str = attrs.field(
        default="etcd04",
        metadata=option(PROFILE, "The version of etcd whose API and defaults this machine has: 0.4, or 2."),
    )
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
            reachable_address("--bind-addr"),
            "The address that clients are told to reach this machine at.",
            etcd2="127.0.0.1:2379",
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
    also_bind_addr: tuple[Listener, ...] = attrs.field(
        default=(),
        converter=listeners,
        metadata=repeated_option(
            LISTENER,
            "A further address, URL or endpoint to listen on for clients; may be given several times.",
        ),
    )
    metrics_bind_addr: tuple[Listener, ...] = attrs.field(
        default=(),
        converter=listeners,
        metadata=repeated_option(
            LISTENER,
            "An address, URL or endpoint where only metrics and health are served; may be given several times.",
        ),
    )
    peer_addr: Address = attrs.field(
        default=Address("127.0.0.1", 7001),
        converter=address,
        metadata=option(
            reachable_address("--peer-bind-addr"),
            "The address that other machines are told to reach this one at.",
            etcd2="127.0.0.1:2380",
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
    also_peer_bind_addr: tuple[Listener, ...] = attrs.field(
        default=(),
        converter=listeners,
        metadata=repeated_option(
            LISTENER,
            "A further address, URL or endpoint to listen on for other machines; may be given several times.",
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
    initial_cluster: InitialCluster | None = attrs.field(
        default=None,
        converter=attrs.converters.optional(initial_cluster),
        metadata=option(INITIAL_CLUSTER, "The machines that begin a cluster together, each with its peer URL."),
    )
    initial_cluster_state: str = attrs.field(
        default="new",
        metadata=option(
            INITIAL_CLUSTER_STATE, "Whether these machines begin a cluster, or have one that this machine joins."
        ),
    )
    initial_cluster_token: str = attrs.field(
        default="etcd-cluster",
        metadata=option(INITIAL_CLUSTER_TOKEN, "Makes the ids of this cluster differ from those of another one."),
    )
    discovery_srv: str | None = attrs.field(
        default=None,
        metadata=option(DOMAIN, "The domain whose SRV records name the machines that begin a cluster together."),
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
        metadata=option(MILLISECONDS, "How often the leader sends a heartbeat.", etcd2="100"),
    )
    peer_election_timeout: int = attrs.field(
        default=200,
        converter=whole,
        metadata=option(
            MILLISECONDS,
            "How long the leader may be silent, at the least, before another is elected.",
            etcd2="1000",
        ),
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
        metadata=option(COUNT, "How many log entries are applied from one snapshot to the next, at the least."),
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
    in_order_keys: str = attrs.field(
        default="plain",
        metadata=option(
            IN_ORDER_KEYS,
            "How a new cluster names in-order keys: by the index alone, or by 20 digits, with zeros in front.",
            etcd2="padded",
        ),
    )
    member_ids: str = attrs.field(
        default="name",
        metadata=option(
            MEMBER_IDS, "What clients are shown as the id of a machine: its name, or 16 hex digits.", etcd2="hex"
        ),
    )
    zero_prev_index: str = attrs.field(
        default="compare",
        metadata=option(
            ZERO_PREV_INDEX,
            "What prevIndex=0 means: a comparison that every index passes, or nothing, as if it were not given.",
            etcd2="ignore",
        ),
    )
    version_media_type: str = attrs.field(
        default="negotiated",
        metadata=option(
            VERSION_MEDIA_TYPE,
            "How /version is shown: as text or JSON, as the client accepts, or as JSON to all.",
            etcd2="json",
        ),
    )
    workers: int = attrs.field(
        default=0,
        converter=whole,
        metadata=option(
            WORKERS,
            "How many processes of their own serve clients, each from a copy of the key space;"
            " 0 if the one that takes part in consensus does.",
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
