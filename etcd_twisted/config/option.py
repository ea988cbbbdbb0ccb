"""
An option, and how a field of L{etcd_twisted.config.Config} declares one.

This module must never know one option from another.
"""

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from etcd_twisted.config.value_types import Form, ValueType
from etcd_twisted.errors import ConfigError
from etcd_twisted.logs.observers import masked

Declaration = Mapping[type, "Option"]
"""The metadata of a field that an option sets."""


@attrs.frozen
class Option:
    """
    Something that can be set.

    @ivar form: how its value is written.
    @ivar parse: makes one value from its text; raises L{ValueError} with what the text should be.
    @ivar metavar: stands for a value in help texts.
    @ivar help: says what it sets, in a sentence.
    @ivar default: the default as one would write it, or a description of where it comes from.
    @ivar has_literal_default: whether L{default} is a value that L{parse} takes.
    @ivar profile_defaults: other defaults as one would write them, by the profile that sets them.
    @ivar letter: a flag of one letter that sets a number to how often it is given, as C{-vv} does; or empty.
    @ivar name: the flag without its dashes.
    @ivar field: the attribute of L{etcd_twisted.config.Config} that it sets; C{None} if it sets none.
    """

    form: Form
    parse: Callable[[str], object]
    metavar: str
    help: str
    default: str = "none"
    has_literal_default: bool = False
    profile_defaults: Mapping[str, str] = attrs.field(factory=dict)
    letter: str = ""
    name: str = ""
    field: str | None = None

    @property
    def defaults(self) -> str:
        """The default in every profile, for people."""
        others = (f", with --profile {name} {default}" for name, default in self.profile_defaults.items())
        return "".join((self.default, *others))

    @property
    def flag(self) -> str:
        """The flag with its dashes."""
        return f"--{self.name}"

    @property
    def key(self) -> str:
        """The key in a TOML file, in its spelling with underscores."""
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"ETCD_{self.key.upper()}"


def option(
    value_type: ValueType[Any], help_text: str, default_text: str = "", letter: str = "", **profile_defaults: str
) -> Declaration:
    """
    Returns the metadata of a field that an option sets; the option has the field's name, with dashes.

    @param default_text: describes the default, where no value could.
    @param profile_defaults: see L{Option}.
    """
    return {
        Option: Option(
            value_type.form,
            value_type.parse,
            value_type.metavar,
            help_text,
            default_text,
            profile_defaults=profile_defaults,
            letter=letter,
        )
    }


def repeated_option(value_type: ValueType[Any], help_text: str, name: str = "") -> Declaration:
    """
    Returns the metadata of a field that collects the values of an option that may be given several times.

    @param name: the option's name, if it is not that of the field.
    """
    return {Option: Option(Form.LIST, value_type.parse, value_type.metavar, help_text, "", name=name)}


def options_of(config_class: type[attrs.AttrsInstance]) -> tuple[Option, ...]:
    """Returns the options that the fields of a class declare, in their order."""
    return tuple(field.metadata[Option] for field in attrs.fields(config_class) if Option in field.metadata)


def with_options(_: type, fields: "list[attrs.Attribute[Any]]") -> "list[attrs.Attribute[Any]]":
    """
    Complete the fields of a class that options set. Their converter takes a value, or the text that a flag would
    have, and raises a L{ConfigError} with the name of the field if that can't be used. Their default is that of the
    profile, which is another field, before those that differ. This is a field transformer of attrs.
    """
    return [_with_option(each, each.metadata[Option]) if Option in each.metadata else each for each in fields]


def _with_option(field: "attrs.Attribute[Any]", declared: Option) -> "attrs.Attribute[Any]":
    has_no_default = field.default is None or field.default == ()
    complete = attrs.evolve(
        declared,
        default=declared.default or ("none" if has_no_default else written(field.default)),
        has_literal_default=not (declared.default or has_no_default),
        name=declared.name or field.name.replace("_", "-"),
        field=field.name,
    )
    return field.evolve(
        default=_default_in_profile(field.default, declared.profile_defaults),
        converter=_checking(field),
        metadata={**field.metadata, Option: complete},
    )


def _default_in_profile(default: Any, profile_defaults: Mapping[str, str]) -> Any:
    if not profile_defaults:
        return default
    return attrs.Factory(lambda config: profile_defaults.get(config.profile, default), takes_self=True)


def _checking(field: "attrs.Attribute[Any]") -> Callable[[Any], Any]:
    declared: Option = field.metadata[Option]
    convert: Any = field.converter or (lambda value: value)

    def one(value: Any) -> Any:
        try:
            return _parsed(declared, value)
        except ValueError as error:
            raise ConfigError(masked(f"{field.name} {value!r}: {error}")) from error

    def check(value: Any) -> Any:
        try:
            if declared.form is Form.LIST and not isinstance(value, str):
                return convert([one(each) for each in value])
            return convert(one(value))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{field.name} {value!r}: {error}") from error

    return check


def _parsed(declared: Option, value: Any) -> Any:
    """
    Returns the value of a text, or what is a value already.

    @raise ValueError: it can't be used.
    """
    if isinstance(value, str):
        return declared.parse(value)
    if declared.form not in (Form.TEXT, Form.LIST):
        declared.parse(written(value))  # it may be out of range
    return value


def written(value: object) -> str:
    """Returns a value as one would write it for L{Option.parse}."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value.bit_length() > 64:
        # It is too large for any option. Python writes thousands of digits only in hexadecimal.
        return hex(value)
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
