"""
Putting together what was given: flags over the environment over the TOML file over the defaults.

Must never touch anything but the one file it is told to read: whether a port is free or a directory can be written
is found out by those who open them.
"""

import difflib
import errno
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from etcd_twisted.config.config import Config
from etcd_twisted.config.settings import OPTIONS, Form, Option, written
from etcd_twisted.errors import ConfigError
from etcd_twisted.logs.observers import masked

_REMEDIES = {
    errno.EISDIR: "name the file in it",
    errno.EACCES: "give this user the right to read it",
}

_PREFIX = "ETCD_"

ALIKE = 0.7
"""How alike two names have to be, from 0 to 1, for one to be taken for the other where it may be something else."""

_HEARTBEATS = 3
"""How many heartbeats should fit into an election timeout."""

_TOML_TYPES: dict[Form, tuple[type, ...]] = {
    Form.TEXT: (str,),
    Form.WHOLE: (int,),
    Form.NUMBER: (int, float),
    Form.SWITCH: (bool,),
    Form.LIST: (list,),
}


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
            raise ConfigError(masked(f"{self.source} {text!r}: {e}")) from e


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
    if config.addr.overlaps(config.peer_addr):
        raise _one_port(config, "addr", "peer-addr")
    if config.bind_addr.overlaps(config.peer_bind_addr):
        raise _one_port(config, "bind-addr", "peer-bind-addr")
    _check_timing(config)
    return config


def _check_timing(config: Config) -> None:
    """
    See to it that a lost heartbeat is no reason for an election.

    @raise ConfigError: it would be.
    """
    if config.peer_election_timeout < _HEARTBEATS * config.peer_heartbeat_interval:
        election, heartbeat = config.given("peer-election-timeout"), config.given("peer-heartbeat-interval")
        raise ConfigError(f"{election} should be at least {_HEARTBEATS} times {heartbeat}")


def _one_port(config: Config, clients: str, peers: str) -> ConfigError:
    """Clients and machines should have an address each, but these options give them the same."""
    return ConfigError(
        f"{config.given(clients)} and {config.given(peers)} take the same port; give one of them another"
    )


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
            if isinstance(value, dict):
                moved = _moved(key, value)
                raise ConfigError(f"{file}: {key!r} is a table, but all keys are at the top level; {moved}")
            close = nearest(plain, options)
            hint = f"did you mean {close}?" if close else f"the keys are {', '.join(options)}"
            raise ConfigError(f"{file}: {key!r} is not a setting; {hint}")
        if plain in spellings:
            raise ConfigError(f"{file}: {spellings[plain]} and {key} are the same setting; leave one of them out")
        spellings[plain] = key
        yield _from_toml(options[plain], f"{file}: {key}", value)


def _moved(table: str, content: Mapping[str, object]) -> str:
    """What the keys of a table are called here: etcd 0.4 has tables C{peer} and C{cluster}."""
    options = [option.key for option in OPTIONS if option.field]
    moved = [f"{found} for {key!r} in it" for key in content if (found := nearest(f"{table}_{key}", options, ALIKE))]
    return f"write {', '.join(moved)}" if moved else f"the keys are {', '.join(options)}"


def nearest(name: str, known: Iterable[str], least: float = 0.6) -> str | None:
    """
    The one of several names that somebody meant who wrote another one, whatever lines they have put between its words.

    @param least: how alike they have to be, from 0 to 1.
    """
    plain = {_squeezed(each): each for each in known}
    close = difflib.get_close_matches(_squeezed(name), plain, n=1, cutoff=least)
    return plain[close[0]] if close else None


def _squeezed(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def mistyped_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """
    Variables that are not of the table and so nearly called like one of it that this one may be meant. Those of other
    programs begin with C{ETCD_} too.
    """
    variables = {option.variable for option in OPTIONS}
    unknown = sorted(name for name in environment if name.startswith(_PREFIX) and name not in variables)
    names = {variable.removeprefix(_PREFIX): variable for variable in variables}
    found = {name: nearest(name.removeprefix(_PREFIX), names, ALIKE) for name in unknown}
    return {name: names[close] for name, close in found.items() if close is not None}


def _from_toml(option: Option, source: str, value: object) -> _Setting:
    """Check the type of a value in the file. C{True} is a Python whole number, but not a TOML one: hence C{type}."""
    items = value if isinstance(value, list) else [value]
    matches = type(value) in _TOML_TYPES[option.form]
    if not matches or (option.form is Form.LIST and not all(isinstance(item, str) for item in items)):
        raise ConfigError(f"{source} {_shown(value)}: should be {option.form.value}")
    return _Setting(option, source, tuple(written(item) for item in items))


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


def _shown(value: object) -> str:
    """A value from a TOML file, on one line, as it is written there or nearly so."""
    match value:
        case str():
            return repr(value)
        case list():
            return "[...]"
        case dict():
            return "{...}"
    return written(value)
