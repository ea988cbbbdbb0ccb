"""
Makes a L{Config}: flags take precedence over the environment, the TOML file and the defaults, in this order.

This module must never touch anything except the one file that it is asked to read: the code that opens a port or a
directory checks whether it can be used.
"""

import difflib
import errno
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from etcd_twisted.config.config import OPTIONS, Config
from etcd_twisted.config.option import Option, written
from etcd_twisted.config.value_types import Form
from etcd_twisted.errors import ConfigError
from etcd_twisted.logs.observers import masked

_REMEDIES = {
    errno.EISDIR: "name the file in it",
    errno.EACCES: "give this user the right to read it",
}

_PREFIX = "ETCD_"

LIKELY_TYPO = 0.7
"""How similar two names must be, from 0 to 1, for one to be taken for a typo of the other where it may be a name of
something else."""

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
    A value that was given for an option.

    @ivar source: how it was given, in the giver's own spelling.
    @ivar texts: the values, in order. Unless the option is a L{Form.LIST}, only the last one counts.
    """

    option: Option
    source: str
    texts: tuple[str, ...]

    def value(self) -> object:
        """
        Returns the value that the texts stand for.

        @raise ConfigError: one of them can't be used.
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
    Returns the configuration that was given: the flags over the environment over the TOML file over the defaults.

    Every value that was given is checked, even if another one wins.

    @param flags: the values of the flags that were given, by their names without dashes. A flag that was given several
        times has a tuple of values, of which the last one counts unless the option collects them.
    @param environment: the environment of the process. An empty variable counts as not set.
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
    fields = {option.field: values[option.name] for option in OPTIONS if option.field and option.name in values}
    return Config(**fields, sources=sources)


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
                renamed = _renamed_keys(key, value)
                raise ConfigError(f"{file}: {key!r} is a table, but all keys are at the top level; {renamed}")
            close = nearest(plain, options)
            hint = f"did you mean {close}?" if close else f"the keys are {', '.join(options)}"
            raise ConfigError(f"{file}: {key!r} is not a setting; {hint}")
        if plain in spellings:
            raise ConfigError(f"{file}: {spellings[plain]} and {key} are the same setting; leave one of them out")
        spellings[plain] = key
        yield _from_toml(options[plain], f"{file}: {key}", value)


def _renamed_keys(table: str, content: Mapping[str, object]) -> str:
    """
    Returns a remedy, which says what the keys of a table are called here: etcd 0.4 has the tables C{peer} and
    C{cluster}.
    """
    options = [option.key for option in OPTIONS if option.field]
    found = {key: nearest(f"{table}_{key}", options, LIKELY_TYPO) for key in content}
    renamed = [f"{new} for {key!r} in it" for key, new in found.items() if new]
    return f"write {', '.join(renamed)}" if renamed else f"the keys are {', '.join(options)}"


def nearest(name: str, known: Iterable[str], similarity: float = 0.6) -> str | None:
    """
    Returns the known name that is most like a mistyped one, whatever separates its words; C{None} if none is.

    @param similarity: how similar they must be, from 0 to 1.
    """
    plain = {_squeezed(each): each for each in known}
    close = difflib.get_close_matches(_squeezed(name), plain, n=1, cutoff=similarity)
    return plain[close[0]] if close else None


def _squeezed(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def mistyped_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """
    Returns the variables that set nothing, but whose names are so like one that does that this one may be meant; and
    for each, that one. Variables of other programs begin with C{ETCD_} too.
    """
    variables = {option.variable for option in OPTIONS}
    unknown = sorted(name for name in environment if name.startswith(_PREFIX) and name not in variables)
    names = {variable.removeprefix(_PREFIX): variable for variable in variables}
    found = {name: nearest(name.removeprefix(_PREFIX), names, LIKELY_TYPO) for name in unknown}
    return {name: names[close] for name, close in found.items() if close is not None}


def _from_toml(option: Option, source: str, value: object) -> _Setting:
    """Check the type of a value in the file. C{True} is an C{int} in Python, but not in TOML: hence C{type}."""
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
    """Returns a value from a TOML file on one line, nearly as it is written there."""
    match value:
        case str():
            return repr(value)
        case list():
            return "[...]"
        case dict():
            return "{...}"
    return written(value)
