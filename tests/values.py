"""
Values for every option, and each of the ways in which they can be written.
"""

import json
from pathlib import Path

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.config.addresses import Address, BindAddress
from etcd_twisted.config.config import OPTIONS
from etcd_twisted.config.option import Option
from etcd_twisted.config.value_types import Form

IPS = st.ip_addresses().map(str).filter(lambda host: not Address(host, 1).is_unspecified)
HOSTS = IPS | st.sampled_from(["localhost", "machine0.example.com"])
# Clients and machines have ports of their own; the defaults are among them.
CLIENTS = st.builds(Address, HOSTS, st.integers(1, 4500))
MORE_CLIENTS = st.builds(Address, HOSTS, st.integers(4501, 5000))
PEERS = st.builds(Address, HOSTS, st.integers(5001, 60000))
MORE_PEERS = st.builds(Address, HOSTS, st.integers(60001, 64000))
COUNTS = st.integers(1, 2**63 - 1)
TIMEOUTS = st.floats(0.001, 86400) | st.integers(1, 86400)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
TOKENS = st.from_regex(r"[A-Za-z0-9/]{1,9}", fullmatch=True)
ORIGINS = st.builds("{}://{}".format, st.sampled_from(["http", "https"]), CLIENTS) | st.just("*")
NAMES = HOSTS.filter(lambda host: ":" not in host) | st.just("*")
DOMAINS = st.from_regex(r"([a-z]{1,5}\.){1,3}example\.com\.?", fullmatch=True)
MACHINE_URLS = st.dictionaries(PEERS, st.from_regex(r"[a-z][a-z0-9._-]{0,5}", fullmatch=True), min_size=1, max_size=5)
FRONTENDS = st.from_regex(r"[a-z]{1,8}(:[a-z]{1,5}=[!-~]{1,9}){0,2}", fullmatch=True)

# Each option has values as in a TOML file. C{as_text} has those that are written differently as text.
VALUES: dict[str, st.SearchStrategy[object]] = {
    "profile": st.sampled_from(["etcd04", "etcd2"]),
    "name": st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True),
    "data-dir": TEXTS,
    "addr": CLIENTS.map(str),
    "bind-addr": CLIENTS.map(str) | st.sampled_from(["systemd:domain=INET:index=0", "unix:/run/etcd.sock"]),
    "also-bind-addr": st.lists(MORE_CLIENTS, min_size=1, max_size=3, unique_by=lambda each: each.port).map(
        lambda several: [f"http://{each}" if each.port % 2 else str(each) for each in several]
    ),
    "metrics-bind-addr": st.integers(64_001, 65_535).map(lambda port: [f"http://127.0.0.1:{port}"]),
    "peer-addr": PEERS.map(str),
    "peer-bind-addr": PEERS.map(str) | st.sampled_from(["systemd:domain=INET:name=machines"]),
    "also-peer-bind-addr": st.lists(MORE_PEERS, min_size=1, max_size=2, unique_by=lambda each: each.port).map(
        lambda several: [str(each) for each in several]
    ),
    "peers": st.lists(PEERS.map(str), min_size=1, max_size=5).map(",".join),
    "peers-file": TEXTS,
    "discovery": st.builds("{}://{}/v2/keys/{}".format, st.sampled_from(["http", "https"]), CLIENTS, TOKENS),
    "initial-cluster": MACHINE_URLS.map(
        lambda names: ",".join(f"{name}=http://{address}" for address, name in names.items())
    ),
    "initial-cluster-state": st.sampled_from(["new", "existing"]),
    "initial-cluster-token": st.from_regex(r"[!-~]{1,9}", fullmatch=True),
    "discovery-srv": DOMAINS,
    "force": st.booleans(),
    "cert-file": TEXTS,
    "key-file": TEXTS,
    "ca-file": TEXTS,
    "peer-cert-file": TEXTS,
    "peer-key-file": TEXTS,
    "peer-ca-file": TEXTS,
    "peer-heartbeat-interval": st.integers(1, 60),
    "peer-election-timeout": st.integers(300, 60_000),
    "max-retry-attempts": COUNTS,
    "cluster-active-size": st.integers(3, 2**31 - 1),
    "cluster-remove-delay": st.floats(2, 2**31 - 1) | st.integers(2, 2**31 - 1),
    "cluster-sync-interval": st.floats(1, 86400) | st.integers(1, 86400),
    "snapshot": st.booleans(),
    "snapshot-count": COUNTS,
    "watch-history": COUNTS,
    "watch-history-bytes": COUNTS,
    "quota-bytes": st.integers(0, 2**63 - 1),
    "max-request-bytes": st.integers(1, 16 * 1024 * 1024),
    "http-read-timeout": TIMEOUTS,
    "http-write-timeout": TIMEOUTS,
    "cors": st.lists(st.lists(ORIGINS, min_size=1, max_size=3).map(",".join), min_size=1, max_size=3),
    "allowed-hosts": st.lists(st.lists(NAMES, min_size=1, max_size=3).map(",".join), min_size=1, max_size=3),
    "verbosity": st.integers(0, 2),
    "log-format": st.sampled_from(["text", "json"]),
    "follower-requests": st.sampled_from(["forward", "redirect"]),
    "in-order-keys": st.sampled_from(["plain", "padded"]),
    "member-ids": st.sampled_from(["name", "hex"]),
    "zero-prev-index": st.sampled_from(["compare", "ignore"]),
    "version-media-type": st.sampled_from(["negotiated", "json"]),
    "workers": st.integers(0, 64),
    "frontend": st.lists(FRONTENDS, min_size=1, max_size=3),
}
SOURCES = st.sets(st.sampled_from(["file", "environment", "flag"]))
# These settings have to be given together.
TOGETHER = [[f"{port}{kind}-file" for kind in ("cert", "key", "ca")] for port in ("", "peer-")]
SETTABLE = {option.name: option for option in OPTIONS if option.field is not None}


def as_text(value: object) -> str:
    """Returns a value as an environment variable has it."""
    if isinstance(value, list):
        return " ".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def as_flag(value: object) -> str | tuple[str, ...]:
    """Returns a value as L{load_config} takes it for a flag."""
    return tuple(value) if isinstance(value, list) else as_text(value)


def as_toml(value: object) -> str:
    """
    Returns a value as a TOML file has it. JSON's strings, numbers, booleans and lists are TOML's, except for DEL.
    """
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def as_field(option: Option, value: object) -> object:
    """Returns a value as L{Config} has it."""
    texts = value if isinstance(value, list) else [as_text(value)]
    parsed = tuple(option.parse(text) for text in texts)
    if option.form is Form.LIST:
        return parsed
    return parsed[0].complete() if isinstance(parsed[0], BindAddress) else parsed[0]


class Sources:
    """
    A directory for TOML files.

    @ivar test: the test that they are for.
    """

    def __init__(self, test: SynchronousTestCase) -> None:
        self.path = Path(test.mktemp())
        self.path.mkdir(parents=True)

    def file(self, content: str | bytes) -> str:
        """Writes a file with that content, and returns its path."""
        path = self.path / "etcd.toml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)
