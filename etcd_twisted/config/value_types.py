"""
What can be set: L{OPTIONS}, the one table of it.

Flags, environment variables, the keys of the TOML file and the help text all follow from the table, and
C{docs/configuration.md} is checked against it. Must never know where a value came from.
"""

import enum
import math
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import attrs

from etcd_twisted.config.addresses import Address, BindAddress, parse_listening
from etcd_twisted.config.config import Config
from etcd_twisted.interfaces.cluster_config import (
    LARGEST_ACTIVE_SIZE,
    LEAST_ACTIVE_SIZE,
    LEAST_REMOVE_DELAY,
    LEAST_SYNC_INTERVAL,
    LONGEST_REMOVE_DELAY,
    LONGEST_SYNC_INTERVAL,
)
from etcd_twisted.logs.observers import FORMATS, LOUDEST

_WHOLE = re.compile(r"[0-9]+")
_DECIMAL = re.compile(r"[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")
_URL = re.compile(r"https?://[!\"$->@-~]+")
"""Without a query or a fragment."""
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[!$&'()+.0-9:;=\[\]_a-z~-]+")
"""As browsers send it: in small letters, without a path or a user."""
_LARGEST = 2**63 - 1
_LARGEST_BODY = 16 * 1024 * 1024
"""Bytes. What is done with a value at once, for each machine anew, has to take less time than an election timeout."""
_LONGEST_TIMEOUT = 86400.0
"""Seconds. The reactor's poll takes a wait of at most 24 days; nobody means one of more than a day."""

_LONGEST_SILENCE = 60_000
"""Milliseconds without a leader that anybody could mean."""


@enum.unique
class Form(enum.Enum):
    """How a value is written: the TOML type, and whether a flag takes a value, comes as a pair, or repeats."""

    TEXT = "a string"
    WHOLE = "a whole number"
    NUMBER = "a number"
    SWITCH = "true or false"
    LIST = "a list of strings"


@attrs.frozen
class Option:
    """
    One line of the table.

    @ivar name: the flag without its dashes.
    @ivar form: how a value is written.
    @ivar parse: makes one value from its text; raises L{ValueError} saying what it should be.
    @ivar metavar: what stands for a value in help texts.
    @ivar help: what it sets, as a sentence.
    @ivar field: the attribute of L{Config} that it sets, or L{None} if it sets none.
    @ivar depends: the default in words, where it follows from something else.
    @ivar letter: a flag of one letter that sets a number to how often it is given, as C{-vv} does.
    """

    name: str
    form: Form
    parse: Callable[[str], object]
    metavar: str
    help: str
    field: str | None = attrs.field()
    depends: str | None = None
    letter: str | None = None

    @field.default
    def _same_name(self) -> str:
        return self.key

    @property
    def flag(self) -> str:
        """The flag, dashes and all."""
        return f"--{self.name}"

    @property
    def key(self) -> str:
        """The key in a TOML file, in its spelling with underscores."""
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"ETCD_{self.key.upper()}"

    @property
    def default(self) -> str:
        """The default, for people: the value as it would be written, or the words for where it comes from."""
        if self.depends is not None or self.field is None:
            return self.depends or "none"
        value = getattr(Config(), self.field)
        return "none" if value in {None, ()} else written(value)


def written(value: object) -> str:
    """A value as one would write it for L{Option.parse}."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value.bit_length() > 64:
        # Too large for any option; Python refuses to write a number of thousands of digits, but for this way.
        return hex(value)
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("should be 1 to 255 letters, digits, '.', '_' and '-', the first not '.' or '-'")
    return text


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError("should be a path, neither empty nor with a zero byte")
    return Path(text)


def _whole(text: str, least: int, largest: int = _LARGEST, why: str = "") -> int:
    # The length is looked at first, as Python refuses to make a number of thousands of digits.
    if not _WHOLE.fullmatch(text) or len(text.lstrip("0")) > len(str(largest)) or not least <= int(text) <= largest:
        raise ValueError(f"should be a whole number from {least} to {largest}{why}")
    return int(text)


def _positive(text: str) -> int:
    return _whole(text, 1)


def _size(text: str) -> int:
    return _whole(text, 0)


def _body_size(text: str) -> int:
    return _whole(text, 1, _LARGEST_BODY, " (16 MiB): a longer one would hold up the leader")


def _milliseconds(text: str) -> int:
    return _whole(text, 1, _LONGEST_SILENCE, " (a minute)")


def _active_size(text: str) -> int:
    return _whole(text, LEAST_ACTIVE_SIZE, LARGEST_ACTIVE_SIZE)


def _number(text: str) -> float:
    """What a text means; where it is no number, one that is between no others."""
    return float(text) if _DECIMAL.fullmatch(text) else math.nan


def _timeout(text: str) -> float:
    seconds = _number(text)
    if not 0 < seconds <= _LONGEST_TIMEOUT:
        raise ValueError(f"should be a number of seconds above 0, at most {_LONGEST_TIMEOUT:.0f}, as in 10 or 0.5")
    return seconds


def _remove_delay(text: str) -> float:
    return _seconds(text, LEAST_REMOVE_DELAY, LONGEST_REMOVE_DELAY, "1800")


def _sync_interval(text: str) -> float:
    return _seconds(text, LEAST_SYNC_INTERVAL, LONGEST_SYNC_INTERVAL, "5 or 2.5")


def _seconds(text: str, least: float, longest: float, example: str) -> float:
    seconds = _number(text)
    if not least <= seconds <= longest:
        raise ValueError(f"should be a number of seconds from {least:.0f} to {longest:.0f}, as in {example}")
    return seconds


def _addresses(text: str) -> tuple[Address, ...]:
    written = [each.strip() for each in text.split(",")]
    addresses = tuple(_one_of_several(each) for each in written if each)
    if not addresses:
        # Who is told of nobody would begin a cluster of its own.
        raise ValueError("should be HOST:PORT or several of these with commas between them, as in h:7001,[::1]:7001")
    return addresses


def _one_of_several(text: str) -> Address:
    try:
        return Address.parse_reachable(text)
    except ValueError as error:
        raise ValueError(f"{error}, unlike {text!r}") from error


def _url(text: str) -> str:
    try:
        if not _URL.fullmatch(text):
            raise ValueError(text)
        BindAddress.parse(urlsplit(text).netloc)
    except ValueError:
        example = "http://127.0.0.1:4001/v2/keys/discovery/TOKEN"
        raise ValueError(f"should be the URL of a directory, as in {example}") from None
    return text


def _switch(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise ValueError("should be true or false")
    return text.lower() == "true"


def _origins(text: str) -> str:
    """One origin or several, without the spaces between them."""
    origins = [each.strip().lower() for each in text.split(",")]
    if not all(each == "*" or _ORIGIN.fullmatch(each) for each in origins):
        raise ValueError("should be * or origins with commas between them, as in http://a.example.com:8080")
    return ",".join(origins)


def _hosts(text: str) -> str:
    """One host or several, without the spaces between them."""
    hosts = [each.strip().lower() for each in text.split(",")]
    if not all(each == "*" or _is_host(each) for each in hosts):
        raise ValueError("should be * or host names with commas between them, as in etcd.example.com,etcd")
    return ",".join(hosts)


def _is_host(text: str) -> bool:
    try:
        return BindAddress.parse(text).port is None
    except ValueError:
        return False


def _verbosity(text: str) -> int:
    return _whole(text, 0, LOUDEST)


def _log_format(text: str) -> str:
    if text not in FORMATS:
        raise ValueError(f"should be {' or '.join(FORMATS)}")
    return text


def _frontend(text: str) -> str:
    if not text or text.startswith(":"):
        raise ValueError("should be NAME or NAME:option=value...")
    return text


OPTIONS: tuple[Option, ...] = (
    Option(
        "config",
        Form.TEXT,
        _path,
        "FILE",
        "A TOML file to read settings from.",
        field=None,
    ),
    Option(
        "name",
        Form.TEXT,
        _name,
        "NAME",
        "This machine's name in the cluster: letters, digits, '.', '_' and '-'.",
        depends="a UUID kept in the data directory",
    ),
    Option(
        "data-dir",
        Form.TEXT,
        _path,
        "DIRECTORY",
        "The directory of the log and the snapshots.",
        depends="NAME.etcd, or default.etcd when no name is given",
    ),
    Option(
        "addr",
        Form.TEXT,
        partial(Address.parse_reachable, listening="--bind-addr"),
        "HOST:PORT",
        "The address that clients are told to reach this machine at.",
    ),
    Option(
        "bind-addr",
        Form.TEXT,
        parse_listening,
        "HOST[:PORT]|ENDPOINT",
        "The address or endpoint to listen on for clients; without a port, on that of --addr.",
        depends="the value of --addr",
    ),
    Option(
        "peer-addr",
        Form.TEXT,
        partial(Address.parse_reachable, listening="--peer-bind-addr"),
        "HOST:PORT",
        "The address that other machines are told to reach this one at.",
    ),
    Option(
        "peer-bind-addr",
        Form.TEXT,
        parse_listening,
        "HOST[:PORT]|ENDPOINT",
        "The address or endpoint to listen on for other machines; without a port, on that of --peer-addr.",
        depends="the value of --peer-addr",
    ),
    Option(
        "peers",
        Form.TEXT,
        _addresses,
        "HOST:PORT,...",
        "Peer addresses of members of the cluster that this machine is to join.",
    ),
    Option(
        "peers-file",
        Form.TEXT,
        _path,
        "FILE",
        "A file of such addresses, with commas between them or each on a line.",
    ),
    Option(
        "discovery",
        Form.TEXT,
        _url,
        "URL",
        "A directory of another cluster, where the machines of a new one find each other.",
    ),
    Option(
        "force",
        Form.SWITCH,
        _switch,
        "true|false",
        "Whether to forget everything that the data directory holds, and begin anew.",
    ),
    Option(
        "cert-file",
        Form.TEXT,
        _path,
        "FILE",
        "The certificate of the client port, with the chain behind it, in PEM; the port then speaks TLS.",
    ),
    Option(
        "key-file",
        Form.TEXT,
        _path,
        "FILE",
        "The key of --cert-file, in PEM.",
    ),
    Option(
        "ca-file",
        Form.TEXT,
        _path,
        "FILE",
        "The authority that clients have to have a certificate of, in PEM.",
    ),
    Option(
        "peer-cert-file",
        Form.TEXT,
        _path,
        "FILE",
        "The certificate of the peer port, with the chain behind it, in PEM; the port then speaks TLS.",
    ),
    Option(
        "peer-key-file",
        Form.TEXT,
        _path,
        "FILE",
        "The key of --peer-cert-file, in PEM.",
    ),
    Option(
        "peer-ca-file",
        Form.TEXT,
        _path,
        "FILE",
        "The authority that other machines have to have a certificate of, in PEM.",
    ),
    Option(
        "peer-heartbeat-interval",
        Form.WHOLE,
        _milliseconds,
        "MILLISECONDS",
        "How often the leader is heard.",
    ),
    Option(
        "peer-election-timeout",
        Form.WHOLE,
        _milliseconds,
        "MILLISECONDS",
        "How long the leader may be silent, at the least, before another is elected.",
    ),
    Option(
        "max-retry-attempts",
        Form.WHOLE,
        _positive,
        "NUMBER",
        "How often a machine that is to join a cluster asks before it gives up.",
    ),
    Option(
        "cluster-active-size",
        Form.WHOLE,
        _active_size,
        "NUMBER",
        "How many machines take part in consensus, until that is set for the cluster.",
    ),
    Option(
        "cluster-remove-delay",
        Form.NUMBER,
        _remove_delay,
        "SECONDS",
        "How long a machine may be silent before it is taken out, until that is set for the cluster.",
    ),
    Option(
        "cluster-sync-interval",
        Form.NUMBER,
        _sync_interval,
        "SECONDS",
        "How often a standby looks for a place, until that is set for the cluster.",
    ),
    Option(
        "snapshot",
        Form.SWITCH,
        _switch,
        "true|false",
        "Whether to take snapshots of the key space and drop the part of the log that they stand for.",
    ),
    Option(
        "snapshot-count",
        Form.WHOLE,
        _positive,
        "NUMBER",
        "How many log entries are applied from one snapshot to the next.",
    ),
    Option(
        "watch-history",
        Form.WHOLE,
        _positive,
        "NUMBER",
        "How many events are kept for watchers that ask for past ones.",
    ),
    Option(
        "watch-history-bytes",
        Form.WHOLE,
        _positive,
        "BYTES",
        "How large these events may be together, in bytes.",
    ),
    Option(
        "quota-bytes",
        Form.WHOLE,
        _size,
        "BYTES",
        "How large the key space may get, in bytes; 0 for any size.",
    ),
    Option(
        "max-request-bytes",
        Form.WHOLE,
        _body_size,
        "BYTES",
        "The longest request body that a client may send.",
    ),
    Option(
        "http-read-timeout",
        Form.NUMBER,
        _timeout,
        "SECONDS",
        "How long a client may take to send a request.",
    ),
    Option(
        "http-write-timeout",
        Form.NUMBER,
        _timeout,
        "SECONDS",
        "How long a client may take nothing of an answer.",
    ),
    Option(
        "cors",
        Form.LIST,
        _origins,
        "ORIGIN,...",
        "The origins whose web pages may read what clients are answered, or * for all; may be given several times.",
    ),
    Option(
        "allowed-hosts",
        Form.LIST,
        _hosts,
        "HOST,...",
        "Further host names that browsers may use this machine by, or * for all; may be given several times.",
    ),
    Option(
        "verbosity",
        Form.WHOLE,
        _verbosity,
        "NUMBER",
        "How much is logged: 0 for what an operator has to know, 1 for more, 2 for every request too.",
        letter="v",
    ),
    Option(
        "log-format",
        Form.TEXT,
        _log_format,
        "text|json",
        "How it is logged: lines for people, or an object of JSON on each line.",
    ),
    Option(
        "frontend",
        Form.LIST,
        _frontend,
        "NAME[:option=value...]",
        "A further protocol to serve; may be given several times.",
        field="frontends",
    ),
)
"""Everything that can be set. The order is that of the help text."""
