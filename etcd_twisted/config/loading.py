"""
Makes a L{Config}: flags take precedence over the environment, the TOML file and the defaults, in this order.

This module must never touch anything except the one file that it is asked to read: the code that opens a port or a
directory checks whether it can be used.
"""

import difflib
import errno
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from etcd_twisted.config.config import CONFIG_FILE, OPTIONS, Config
from etcd_twisted.config.etcd2 import FOREIGN_SETTINGS, ForeignSetting, Meaning
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


_OPTIONS = {option.name: option for option in OPTIONS}
_KNOWN: tuple[Option | ForeignSetting, ...] = (*OPTIONS, *FOREIGN_SETTINGS)


@attrs.frozen
class _Given:
    """
    A setting as it was given.

    @ivar source: how it was given, in the giver's own spelling.
    @ivar texts: the values, in order. Unless the setting is a L{Form.LIST}, only the last one counts.
    """

    setting: Option | ForeignSetting
    source: str
    texts: tuple[str, ...]


@attrs.frozen
class _Foreign:
    """A foreign setting as it was given, and what its value means."""

    source: str
    text: str
    meaning: Meaning

    def __str__(self) -> str:
        return f"{self.source} {self.text!r}"


@attrs.frozen
class _Setting:
    """
    A value that was given for an option.

    @ivar source: how it was given, in the giver's own spelling.
    @ivar texts: see L{_Given}.
    """

    option: Option
    source: str
    texts: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.source} {' '.join(self.texts) if self.option.form is Form.LIST else self.texts[-1]}"

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
    found = _Found()
    found.add(_from_flags(flags))
    found.add(_from_environment(environment))
    if "config" in found.values:
        found.add(_from_file(found.values["config"], found.sources["config"]))
    found.complete()
    values = found.values
    fields = {option.field: values[option.name] for option in OPTIONS if option.field and option.name in values}
    without_effect = tuple(each.source for each in found.foreign if each.meaning.without_effect)
    return Config(**fields, sources=found.sources, without_effect=without_effect)


@attrs.define
class _Found:
    """
    What has been found so far.

    @ivar values: the values of options.
    @ivar sources: how each of them was given.
    @ivar foreign: the foreign settings that were given.
    """

    values: dict[str, Any] = attrs.field(factory=dict)
    sources: dict[str, str] = attrs.field(factory=dict)
    foreign: list[_Foreign] = attrs.field(factory=list)

    def add(self, level: Iterable[_Given]) -> None:
        """
        Add settings of the same precedence, which is lower than that of all before.

        @raise ConfigError: a value can't be used, or two spellings of one setting disagree.
        """
        chosen: dict[str, _Setting] = {}
        for setting in self._settings(level):
            name, value = setting.option.name, setting.value()
            other = chosen.setdefault(name, setting)
            if other.value() != value:
                raise ConfigError(masked(f"{other} and {setting} set the same; leave one of them out"))
            if name not in self.values:
                self.values[name], self.sources[name] = value, setting.source

    def _settings(self, level: Iterable[_Given]) -> Iterator[_Setting]:
        for given in level:
            if isinstance(given.setting, Option):
                yield _Setting(given.setting, given.source, given.texts)
                continue
            for text in given.texts:
                foreign = _Foreign(given.source, text, _meaning(given.setting, given.source, text))
                sets = foreign.meaning.sets.items()
                settings = [_Setting(_OPTIONS[name], given.source, texts) for name, texts in sets]
                for setting in settings:
                    setting.value()  # it is checked, even if a later one counts
            self.foreign.append(foreign)
            yield from settings

    def complete(self) -> None:
        """
        Follow from the foreign settings what else they say, unless others have taken their place.

        @raise ConfigError: something that one of them needs was not given, or something that it excludes was.
        """
        effective = [each for each in self.foreign if self._has_effect(each)]
        for each in effective:
            for name, texts in each.meaning.suggests.items():
                if name not in self.values:
                    self.values[name] = _Setting(_OPTIONS[name], each.source, texts).value()
                    self.sources[name] = each.source
        for each in effective:
            for name, needed in each.meaning.needs.items():
                if name not in self.values:
                    raise ConfigError(f"{each} needs {needed} too")
            for name, instead in each.meaning.excludes.items():
                if name in self.values:
                    raise ConfigError(f"{each} does not go with {self.sources[name]}: {instead}")

    def _has_effect(self, foreign: _Foreign) -> bool:
        sets = foreign.meaning.sets
        return not sets or any(self.sources[name] == foreign.source for name in sets)


def _meaning(setting: ForeignSetting, source: str, text: str) -> Meaning:
    try:
        return setting.read(text)
    except ValueError as e:
        raise ConfigError(masked(f"{source} {text!r}: {e}")) from e


def _from_flags(flags: Mapping[str, str | tuple[str, ...]]) -> Iterator[_Given]:
    known = {setting.name: setting for setting in _KNOWN}
    for name, value in flags.items():
        if name not in known:
            raise ConfigError(f"--{name}: there is no such option")
        yield _Given(known[name], known[name].flag, (value,) if isinstance(value, str) else value)


def _from_environment(environment: Mapping[str, str]) -> Iterator[_Given]:
    for setting in _KNOWN:
        text = environment.get(setting.variable)
        if text:
            texts = tuple(text.split()) if setting.form is Form.LIST else (text,)
            yield _Given(setting, setting.variable, texts)


def _from_file(path: Path, source: str) -> Iterator[_Given]:
    """
    Read the configuration file.

    @param source: how the file was given.
    """
    file = str(path) if str(path).isprintable() else repr(str(path))
    known = {setting.key: setting for setting in _KNOWN if setting is not CONFIG_FILE}
    spellings: dict[str, str] = {}
    for key, value in _read_toml(path, f"{source} {file}").items():
        plain = key.replace("-", "_")
        if plain not in known:
            if isinstance(value, dict):
                renamed = _renamed_keys(key, value)
                raise ConfigError(f"{file}: {key!r} is a table, but all keys are at the top level; {renamed}")
            close = nearest(plain, known)
            options = (option.key for option in OPTIONS if option.field)
            hint = f"did you mean {close}?" if close else f"the keys are {', '.join(options)}"
            raise ConfigError(f"{file}: {key!r} is not a setting; {hint}")
        if plain in spellings:
            raise ConfigError(f"{file}: {spellings[plain]} and {key} are the same setting; leave one of them out")
        spellings[plain] = key
        yield _from_toml(known[plain], f"{file}: {key}", value)


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


def unknown_variables(environment: Mapping[str, str]) -> dict[str, str | None]:
    """
    Returns the variables that begin as those of settings do but set nothing, and for each the variable that may be
    meant; C{None} if there is none of nearly that name. Variables of other programs begin with C{ETCD_} too.
    """
    names = {setting.variable.removeprefix(_PREFIX): setting.variable for setting in _KNOWN}
    unknown = sorted({name.removeprefix(_PREFIX) for name in environment if name.startswith(_PREFIX)} - set(names))
    close = {name: nearest(name, names, LIKELY_TYPO) for name in unknown}
    return {f"{_PREFIX}{name}": None if meant is None else names[meant] for name, meant in close.items()}


def _from_toml(setting: Option | ForeignSetting, source: str, value: object) -> _Given:
    """Check the type of a value in the file. C{True} is an C{int} in Python, but not in TOML: hence C{type}."""
    items = value if isinstance(value, list) else [value]
    matches = type(value) in _TOML_TYPES[setting.form]
    if not matches or (setting.form is Form.LIST and not all(isinstance(item, str) for item in items)):
        raise ConfigError(f"{source} {_shown(value)}: should be {setting.form.value}")
    return _Given(setting, source, tuple(written(item) for item in items))


def _read_toml(path: Path, given: str) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415 - few machines have such a file, and all start

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
