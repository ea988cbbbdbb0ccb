"""
What the service is told before it starts: L{Config}, and L{OPTIONS}, the one table of what can be set.

Flags, environment variables, the keys of the TOML file and the help text all follow from the table, and
C{docs/configuration.md} is checked against it. Flags win over variables, variables over the file, the file over
the defaults.

Must never touch anything but the one file it is told to read: whether a port is free or a directory can be
written is found out by those who open them.
"""

import difflib
import enum
import errno
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from etcd_twisted.addresses import Address, BindAddress
from etcd_twisted.errors import ConfigError

_WHOLE = re.compile(r"[0-9]+")
_DECIMAL = re.compile(r"[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")
_CLIENTS = Address("127.0.0.1", 4001)
_PEERS = Address("127.0.0.1", 7001)
_LARGEST = 2**63 - 1
_LARGEST_BODY = 512 * 1024 * 1024
"""Bytes. A request has to fit into one record of the log, of at most 1 GiB, with room for what is kept beside it."""
_LONGEST_TIMEOUT = 86400.0
"""Seconds. The reactor's poll takes a wait of at most 24 days; nobody means one of more than a day."""

_REMEDIES = {
    errno.EISDIR: "name the file in it",
    errno.EACCES: "give this user the right to read it",
}


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
    @ivar snapshot: whether to take snapshots and shorten the log.
    @ivar snapshot_count: how many entries are applied from one snapshot to the next.
    @ivar watch_history: how many events are kept for watchers that ask for the past.
    @ivar max_request_bytes: the longest request body, in bytes.
    @ivar http_read_timeout: how long a client may take to send a request, in seconds.
    @ivar http_write_timeout: how long a client may take to read an answer, in seconds.
    @ivar frontends: further protocols to serve, each C{NAME[:option=value...]}.
    @ivar sources: how options were given, by their names in the table; see L{given_as}. Has no part in comparisons.
    """

    name: str | None = None
    data_dir: Path = attrs.field()
    addr: Address = _CLIENTS
    bind_addr: Address = attrs.field()
    peer_addr: Address = _PEERS
    peer_bind_addr: Address = attrs.field()
    snapshot: bool = True
    snapshot_count: int = 10000
    watch_history: int = 1000
    max_request_bytes: int = 10 * 1024 * 1024
    http_read_timeout: float = 10.0
    http_write_timeout: float = 10.0
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


@enum.unique
class Form(enum.Enum):
    """How a value is written: the TOML type, and whether a flag takes a value, comes as a pair, or repeats."""

    TEXT = "a string"
    WHOLE = "a whole number"
    NUMBER = "a number"
    SWITCH = "true or false"
    LIST = "a list of strings"


_TOML_TYPES: dict[Form, tuple[type, ...]] = {
    Form.TEXT: (str,),
    Form.WHOLE: (int,),
    Form.NUMBER: (int, float),
    Form.SWITCH: (bool,),
    Form.LIST: (list,),
}


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
    """

    name: str
    form: Form
    parse: Callable[[str], object]
    metavar: str
    help: str
    field: str | None = attrs.field()
    depends: str | None = None

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
        return "none" if value in {None, ()} else _written(value)


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("should be 1 to 255 letters, digits, '.', '_' and '-', the first not '.' or '-'")
    return text


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError("should be a path, neither empty nor with a zero byte")
    return Path(text)


def _positive(text: str, largest: int = _LARGEST, why: str = "") -> int:
    # The length is looked at first, as Python refuses to make a number of thousands of digits.
    if not _WHOLE.fullmatch(text) or len(text.lstrip("0")) > len(str(largest)) or not 1 <= int(text) <= largest:
        raise ValueError(f"should be a whole number from 1 to {largest}{why}")
    return int(text)


def _body_size(text: str) -> int:
    return _positive(text, _LARGEST_BODY, " (512 MiB), as a request has to fit into one record of the log")


def _seconds(text: str) -> float:
    if not _DECIMAL.fullmatch(text) or not 0 < float(text) <= _LONGEST_TIMEOUT:
        raise ValueError(f"should be a number of seconds above 0, at most {_LONGEST_TIMEOUT:.0f}, as in 10 or 0.5")
    return float(text)


def _switch(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise ValueError("should be true or false")
    return text.lower() == "true"


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
        Address.parse,
        "HOST:PORT",
        "The address that clients are told to reach this machine at.",
    ),
    Option(
        "bind-addr",
        Form.TEXT,
        BindAddress.parse,
        "HOST[:PORT]",
        "The address to listen on for clients; without a port, on that of --addr.",
        depends="the value of --addr",
    ),
    Option(
        "peer-addr",
        Form.TEXT,
        Address.parse,
        "HOST:PORT",
        "The address that other machines are told to reach this one at.",
    ),
    Option(
        "peer-bind-addr",
        Form.TEXT,
        BindAddress.parse,
        "HOST[:PORT]",
        "The address to listen on for other machines; without a port, on that of --peer-addr.",
        depends="the value of --peer-addr",
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
        "max-request-bytes",
        Form.WHOLE,
        _body_size,
        "BYTES",
        "The longest request body that a client may send.",
    ),
    Option(
        "http-read-timeout",
        Form.NUMBER,
        _seconds,
        "SECONDS",
        "How long a client may take to send a request.",
    ),
    Option(
        "http-write-timeout",
        Form.NUMBER,
        _seconds,
        "SECONDS",
        "How long a client may take to read an answer.",
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


@attrs.frozen
class _Setting:
    """
    A value that somebody gave.

    @ivar option: what it is for.
    @ivar source: how it was given, in the giver's own spelling.
    @ivar texts: the values of a L{Form.LIST}; else the value, after those that were given before it and lost to it.
    """

    option: Option
    source: str
    texts: tuple[str, ...]

    def value(self) -> object:
        """
        What the text means.

        @raise ConfigError: nothing that can be used.
        """
        values = tuple(self._parse(text) for text in self.texts)
        return values if self.option.form is Form.LIST else values[-1]

    def _parse(self, text: str) -> object:
        try:
            return self.option.parse(text)
        except ValueError as e:
            raise ConfigError(f"{self.source} {text!r}: {e}") from e


def load_config(flags: Mapping[str, str | tuple[str, ...]], environment: Mapping[str, str]) -> Config:
    """
    Put together what was given, the flags over the environment over the TOML file over the defaults.

    Every value that was given is checked, also where another one wins.

    @param flags: the flags that were given, without their dashes; a tuple of its values where one was given several
        times, of which the last one counts unless they are collected.
    @param environment: the process's environment. An empty variable counts as not set.
    @raise ConfigError: a value can't be used, two of them don't go together, or the file can't be read.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}

    def add(setting: _Setting) -> None:
        values.setdefault(setting.option.name, setting.value())
        sources.setdefault(setting.option.name, setting.source)

    for setting in (*_from_flags(flags), *_from_environment(environment)):
        add(setting)
    if "config" in values:
        for setting in _from_file(values["config"], sources["config"]):
            add(setting)
    return _resolve({o.field: values[o.name] for o in OPTIONS if o.field and o.name in values}, sources)


def _resolve(values: dict[str, Any], sources: Mapping[str, str]) -> Config:
    """Make a L{Config} of its fields' values; an address to listen on without a port takes the advertised one."""
    listening = {field: values.pop(field) for field in ("bind_addr", "peer_bind_addr") if field in values}
    config = Config(**values, sources=sources)
    ports = {"bind_addr": config.addr.port, "peer_bind_addr": config.peer_addr.port}
    config = attrs.evolve(config, **{field: given.complete(ports[field]) for field, given in listening.items()})
    _check_apart(config, ("addr", config.addr), ("peer-addr", config.peer_addr))
    _check_apart(config, ("bind-addr", config.bind_addr), ("peer-bind-addr", config.peer_bind_addr))
    return config


def _check_apart(config: Config, clients: tuple[str, Address], peers: tuple[str, Address]) -> None:
    """
    See to it that clients and machines have an address each.

    @raise ConfigError: they share one.
    """
    if clients[1].overlaps(peers[1]):
        first, second = (f"{config.given_as(option)} {address}" for option, address in (clients, peers))
        raise ConfigError(f"{first} and {second} take the same port; give one of them another")


def _from_flags(flags: Mapping[str, str | tuple[str, ...]]) -> Iterator[_Setting]:
    options = {option.name: option for option in OPTIONS}
    for name, value in flags.items():
        if name not in options:
            raise ConfigError(f"--{name}: there is no such option")
        yield _Setting(options[name], options[name].flag, (value,) if isinstance(value, str) else value)


def _from_environment(environment: Mapping[str, str]) -> Iterator[_Setting]:
    for option in OPTIONS:
        text = environment.get(option.variable)
        if text:
            texts = tuple(text.split()) if option.form is Form.LIST else (text,)
            yield _Setting(option, option.variable, texts)


def _from_file(path: Path, source: str) -> Iterator[_Setting]:
    """
    Read the configuration file.

    @param source: how the file was given.
    """
    file = str(path) if str(path).isprintable() else repr(str(path))
    options = {option.key: option for option in OPTIONS if option.field}
    spellings: dict[str, str] = {}
    for key, value in _read_toml(path, f"{source} {file}").items():
        plain = key.replace("-", "_")
        if plain not in options:
            close = difflib.get_close_matches(plain, options, n=1)
            hint = f"did you mean {close[0]}?" if close else f"the keys are {', '.join(options)}"
            raise ConfigError(f"{file}: {key!r} is not a setting; {hint}")
        if plain in spellings:
            raise ConfigError(f"{file}: {spellings[plain]} and {key} are the same setting; leave one of them out")
        spellings[plain] = key
        yield _from_toml(options[plain], f"{file}: {key}", value)


def _from_toml(option: Option, source: str, value: object) -> _Setting:
    """Check the type of a value in the file. C{True} is a Python whole number, but not a TOML one: hence C{type}."""
    items = value if isinstance(value, list) else [value]
    matches = type(value) in _TOML_TYPES[option.form]
    if not matches or (option.form is Form.LIST and not all(isinstance(item, str) for item in items)):
        raise ConfigError(f"{source} {_shown(value)}: should be {option.form.value}")
    return _Setting(option, source, tuple(_written(item) for item in items))


def _read_toml(path: Path, given: str) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as e:
        remedy = _REMEDIES.get(e.errno or 0, "give the path of a TOML file, or leave it out")
        raise ConfigError(f"{given}: can't be read: {e.strerror}; {remedy}") from e
    except UnicodeDecodeError as e:
        raise ConfigError(f"{given}: is not UTF-8 text, at byte {e.start}; save it as UTF-8") from e
    except (ValueError, RecursionError) as e:
        raise ConfigError(f"{given}: is not TOML: {e}") from e


def _written(value: object) -> str:
    """A value as one would write it for L{Option.parse}."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value.bit_length() > 64:
        # Too large for any option; Python refuses to write a number of thousands of digits, but for this way.
        return hex(value)
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _shown(value: object) -> str:
    """A value from a TOML file, on one line, as it is written there or nearly so."""
    match value:
        case str():
            return repr(value)
        case list():
            return "[...]"
        case dict():
            return "{...}"
    return _written(value)
